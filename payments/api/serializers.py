"""What the payment doors take and give."""

from __future__ import annotations

from datetime import UTC
from decimal import Decimal
from typing import Any

from django.utils.dateparse import parse_date, parse_datetime
from django.utils.translation import gettext_lazy as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from foundation.api import StrictSerializer, UtcInstant
from payments.models import Provider

LONGEST_AMOUNT = 40


@extend_schema_field(OpenApiTypes.DECIMAL)
class AmountField(serializers.Field):
    """An amount in major units, a JSON number or a string ("50.00"). Its currency decides later what is exact."""

    default_error_messages = {"invalid": _("Enter an amount such as 10.50.")}

    def to_internal_value(self, data: Any) -> str:
        if isinstance(data, bool) or not isinstance(data, (str, int, Decimal)):
            self.fail("invalid")
        text = str(data).strip()
        if not text or len(text) > LONGEST_AMOUNT or not text.isascii():
            self.fail("invalid")
        return text

    def to_representation(self, value: Any) -> str:
        return str(value)


@extend_schema_field(OpenApiTypes.STR)
class InstantOrDay(serializers.Field):
    """An ISO 8601 instant with offset, or a day, which is read in UTC."""

    default_error_messages = {"invalid": _("Give a day (2026-07-01) or an instant with its offset.")}

    def to_internal_value(self, data: Any) -> Any:
        text = str(data)
        try:
            if len(text) == 10:
                return parse_date(text) or self.fail("invalid")
            moment = parse_datetime(text.replace(" ", "+"))  # an unescaped + arrives as a space
        except ValueError:
            self.fail("invalid")
        if moment is None or moment.tzinfo is None:
            self.fail("invalid")
        try:
            # PostgreSQL refuses offsets beyond 16 hours, Python only from 24 on.
            return moment.astimezone(UTC)
        except OverflowError:
            self.fail("invalid")

    def to_representation(self, value: Any) -> str:
        return value.isoformat()


class IntentInput(StrictSerializer):
    bookingId = serializers.CharField(max_length=32)
    amount = AmountField(required=False, help_text=_("Compared with our price; a different one is refused."))
    currency = serializers.CharField(max_length=3, required=False)
    provider = serializers.ChoiceField(
        choices=Provider.choices,
        required=False,
        help_text=_("Without it that of the saved method, else stripe."),
    )
    methodId = serializers.UUIDField(
        required=False,
        help_text=_("Pay with this saved method of the caller's now, without entering a card."),
    )
    saveMethod = serializers.BooleanField(
        required=False,
        help_text=_("Keep the card or the wallet for the caller's next payment once it has paid."),
    )

    def validate(self, asked: dict[str, Any]) -> dict[str, Any]:
        if "methodId" in asked and asked.get("saveMethod"):
            raise serializers.ValidationError(
                {"saveMethod": [_("The method is saved already: send one of the two.")]}
            )
        return asked


class IntentAnswer(serializers.Serializer):
    paymentId = serializers.UUIDField()
    amount = serializers.CharField()
    currency = serializers.CharField()
    status = serializers.CharField()


class StripeIntentAnswer(IntentAnswer):
    provider = serializers.ChoiceField(choices=["stripe"])
    paymentIntentId = serializers.CharField()
    clientSecret = serializers.CharField()
    publishableKey = serializers.CharField()


class PayPalIntentAnswer(IntentAnswer):
    provider = serializers.ChoiceField(choices=["paypal"])
    orderId = serializers.CharField()
    approveUrl = serializers.CharField(
        allow_blank=True,
        help_text=_(
            "Send the buyer there, then call confirm-paypal. Empty once there is nothing left to approve."
        ),
    )


class ConfirmStripeInput(StrictSerializer):
    paymentIntentId = serializers.RegexField(r"^pi_[A-Za-z0-9_]{1,250}$")


class ConfirmPayPalInput(StrictSerializer):
    orderId = serializers.RegexField(r"^[A-Z0-9]{8,36}$")


class ConfirmAnswer(serializers.Serializer):
    paymentId = serializers.UUIDField()
    status = serializers.CharField()
    bookingId = serializers.CharField()
    bookingStatus = serializers.CharField()


class RefundInput(StrictSerializer):
    paymentId = serializers.UUIDField()
    amount = AmountField(required=False, help_text=_("Without it, all that is left of the payment."))
    reason = serializers.CharField(
        max_length=500, required=False, help_text=_("Required, but for a confirmed preview, which has it.")
    )
    preview = serializers.BooleanField(
        default=False, help_text=_("Only say what the refund would do. Needs no Idempotency-Key.")
    )
    previewToken = serializers.CharField(
        max_length=4096,
        required=False,
        help_text=_("Of a preview: do exactly what it showed, once. Another amount or reason is refused."),
    )

    def validate(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["preview"] and "previewToken" in asked:
            raise serializers.ValidationError(
                {"previewToken": [_("Send either preview or previewToken, not both.")]}
            )
        if "reason" not in asked and "previewToken" not in asked:
            raise serializers.ValidationError({"reason": [_("Say why the money goes back.")]})
        return asked


class RefundAnswer(serializers.Serializer):
    refundId = serializers.UUIDField()
    status = serializers.CharField()
    amount = serializers.CharField()
    currency = serializers.CharField()
    needsApproval = serializers.BooleanField(
        help_text=_("True while another member of staff must approve it; nothing is sent before.")
    )


class RefundPreviewAnswer(serializers.Serializer):
    amount = serializers.CharField()
    currency = serializers.CharField()
    leftAfter = serializers.CharField(help_text=_("What could still be refunded after it."))
    needsApproval = serializers.BooleanField()
    previewToken = serializers.CharField()
    expiresAt = UtcInstant()


class TransactionsQuery(StrictSerializer):
    bookingId = serializers.CharField(max_length=32, required=False)
    vars()["from"] = InstantOrDay(required=False)  # a keyword of Python
    to = InstantOrDay(required=False, help_text=_("A day includes the whole day."))
    kind = serializers.ChoiceField(choices=["payment", "refund"], required=False)
    cursor = serializers.CharField(max_length=200, required=False)
    pageSize = serializers.IntegerField(min_value=1, max_value=100, default=25)


class TransactionAnswer(serializers.Serializer):
    id = serializers.UUIDField()
    kind = serializers.ChoiceField(choices=["payment", "refund"])
    provider = serializers.CharField()
    amount = serializers.CharField()
    currency = serializers.CharField()
    status = serializers.CharField()
    createdAt = serializers.DateTimeField()
    bookingId = serializers.CharField()
    detail = serializers.CharField(
        allow_blank=True,
        help_text=_("Where a refund stands, or that a bank disputes a payment, as a sentence."),
    )


class TransactionsAnswer(serializers.Serializer):
    results = TransactionAnswer(many=True)
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)


class SaveMethodInput(StrictSerializer):
    setupIntentId = serializers.RegexField(
        r"^seti_[A-Za-z0-9_]{1,250}$",
        required=False,
        help_text=_(
            "Of the card that the customer has entered. Without it a new one to enter a card with is made."
        ),
    )
    setupTokenId = serializers.RegexField(
        r"^[A-Za-z0-9_-]{1,36}$",
        required=False,
        help_text=_(
            "Of the wallet whose owner has agreed at PayPal. Without it a new one, with the page to agree on, is made."
        ),
    )
    provider = serializers.ChoiceField(choices=Provider.choices, default=Provider.STRIPE)

    def validate(self, asked: dict[str, Any]) -> dict[str, Any]:
        names = {Provider.STRIPE: "setupIntentId", Provider.PAYPAL: "setupTokenId"}
        own = names.pop(asked["provider"])
        for other in names.values():
            if other in asked:
                raise serializers.ValidationError(
                    {other: [_("This provider has %(name)s instead.") % {"name": own}]}
                )
        return asked


class MethodAnswer(serializers.Serializer):
    methodId = serializers.UUIDField()
    provider = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # a field of ours, not DRF's attribute of that name
    brand = serializers.CharField(help_text=_("Empty where it is no card."))
    last4 = serializers.CharField(help_text=_("Empty where it is no card."))
    expMonth = serializers.IntegerField(allow_null=True)
    expYear = serializers.IntegerField(allow_null=True)
    isDefault = serializers.BooleanField()
    createdAt = UtcInstant()


class StripeSetupAnswer(serializers.Serializer):
    provider = serializers.ChoiceField(choices=["stripe"])
    setupIntentId = serializers.CharField()
    clientSecret = serializers.CharField()
    publishableKey = serializers.CharField()


class PayPalSetupAnswer(serializers.Serializer):
    provider = serializers.ChoiceField(choices=["paypal"])
    setupTokenId = serializers.CharField()
    approveUrl = serializers.CharField(
        help_text=_("Send the owner of the wallet there, then call save-method again with the token's id.")
    )


class MethodsAnswer(serializers.Serializer):
    results = MethodAnswer(many=True)
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)
