"""Paying, refunding and the list of transactions, for programs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, PolymorphicProxySerializer, extend_schema
from rest_framework.exceptions import NotAuthenticated
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from bookings.models import Booking, Cancellation
from bookings.services.access import booking_for
from foundation import audit
from foundation.api import caller_principal, idempotent, instant, limit_rate, query_of, valid
from foundation.errors import DomainError, InvalidInput, NotAllowed, NotFound
from foundation.middleware import client_address
from foundation.money import Money
from payments.api import serializers as s
from payments.api import transactions
from payments.gateways import offered
from payments.models import Payment, Provider, Refund
from payments.services import checkout, disputes, refund_preview
from payments.services.charge import pay_with_saved
from payments.services.due import due_for
from payments.services.methods import own_method
from payments.services.refund import part_of_cancellation, refund_cancellation, request_refund
from payments.services.settle import settle

GUEST_TOKEN = OpenApiParameter(
    "X-Guest-Token",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description=_("Of a booking without an account."),
)
REFUND_KEY = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description=_(
        "Required, but for a preview. 1 to 255 printable ASCII characters. A repeat with the same key gets the same answer."
    ),
)
OPTIONAL_KEY = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description=_(
        "Optional: repeating the call does no harm. With a key a repeat gets the first answer again, also when things have moved on since; "
        "leave it out to ask how they stand now."
    ),
)
INTENT_KEY = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description=_(
        "A repeat with the same key gets the same answer. Without the header the key is derived from the caller and "
        "the booking: repeats then share the booking's one live payment."
    ),
)


INTENT_ANSWER = PolymorphicProxySerializer(
    component_name="IntentAnswer",
    serializers={"stripe": s.StripeIntentAnswer, "paypal": s.PayPalIntentAnswer},
    resource_type_field_name="provider",
)


class CurrencyMismatch(DomainError):
    code = "currency_mismatch"
    message = _("The currency is not that of this booking.")


class CustomerView(APIView):
    """A door for a customer with an account or with the guest token of one booking."""

    permission_classes = [AllowAny]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if not request.user.is_authenticated and not request.headers.get("X-Guest-Token"):
            raise NotAuthenticated(_("Sign in with a bearer token, or send the booking's X-Guest-Token."))

    def booking(self, request: Request, reference: str, *, to_change: bool = False) -> Booking:
        user = request.user if request.user.is_authenticated else None
        token = request.headers.get("X-Guest-Token", "")
        return booking_for(reference, user=user, guest_token=token, to_change=to_change)


def _key_of_booking(request: Request) -> str:
    named = request.data.get("bookingId") if isinstance(request.data, dict) else None
    return "booking:" + hashlib.sha256(str(named).encode()).hexdigest()


def amount_from(text: str, currency: str) -> Money:
    """Read a positive amount of this currency. Raises InvalidInput."""
    try:
        money = Money.from_major(text, currency)
    except ValueError as error:
        raise InvalidInput(str(error), field="amount") from None
    if money.amount_minor <= 0:
        raise InvalidInput(_("The amount must be above zero."), field="amount")
    return money


class CreateIntentView(CustomerView):
    @extend_schema(
        request=s.IntentInput,
        responses={201: INTENT_ANSWER},
        parameters=[INTENT_KEY, GUEST_TOKEN],
        tags=["payments"],
    )
    @idempotent(derived_key=_key_of_booking)
    def post(self, request: Request) -> Response:
        """Start paying a held booking, or the difference of a change that waits for payment, at our price.

        An `amount` or `currency` that differs is refused with 422.

        With `methodId` the saved method is charged now. The `status` is then captured or, where the bank or PayPal asks, requires_action:
        let the customer answer with the `clientSecret` (at `approveUrl`), then call confirm-stripe (confirm-paypal). A declined method is 402.
        """
        asked = valid(s.IntentInput, request)
        booking = self.booking(request, asked["bookingId"], to_change=True)
        due = due_for(booking)
        price = due.amount if due else booking.total
        _compare(asked, price)
        user = request.user if request.user.is_authenticated else None
        if user is None and ("methodId" in asked or asked.get("saveMethod")):
            raise NotAllowed(_("Saved payment methods belong to an account: sign in with a bearer token."))
        method = None
        if "methodId" in asked:
            limit_rate(request, "methods", account=str(request.user.pk))
            method = own_method(user, asked["methodId"])
        own_provider = method.provider if method else Provider.STRIPE
        provider = asked.get("provider", own_provider)
        if price and provider not in offered(price):
            raise InvalidInput(_("This provider is not offered for this booking."), field="provider")
        if method is not None and provider != own_provider:
            raise InvalidInput(_("The saved method is with another provider."), field="provider")
        if method is not None:
            session = pay_with_saved(
                booking, method=method, address=client_address(request._request), now=timezone.now()
            )
        else:
            session = checkout.start(
                booking,
                provider=provider,
                user=user,
                saves_method=asked.get("saveMethod"),
                address=client_address(request._request),
                now=timezone.now(),
            )
        payment = session.payment
        return Response(
            {
                "paymentId": str(payment.pk),
                "provider": payment.provider,
                "amount": payment.amount.to_major(),
                "currency": payment.currency,
                "status": payment.status,
                **SECRETS_OF[payment.provider](session),
            },
            status=201,
        )


# What the customer's side needs of each provider, and nothing of the others.
SECRETS_OF: dict[str, Callable[[checkout.CheckoutSession], dict[str, str]]] = {
    "stripe": lambda session: {
        "paymentIntentId": session.provider_ref,
        "clientSecret": session.client_secret,
        "publishableKey": session.publishable_key,
    },
    "paypal": lambda session: {"orderId": session.provider_ref, "approveUrl": session.approve_url},
}


def _compare(asked: dict[str, Any], price: Money) -> None:
    expected = {"expectedAmount": price.to_major(), "expectedCurrency": price.currency}
    if "currency" in asked and asked["currency"].upper() != price.currency:
        raise CurrencyMismatch(
            _("This booking costs %(amount)s %(currency)s. Send that currency, or leave it out.")
            % {"amount": price.to_major(), "currency": price.currency},
            **expected,
        )
    if "amount" in asked and amount_from(asked["amount"], price.currency) != price:
        raise checkout.AmountMismatch(
            _("This booking costs %(amount)s %(currency)s. Send that amount, or leave it out.")
            % {"amount": price.to_major(), "currency": price.currency},
            **expected,
        )


class ConfirmView(CustomerView):
    """Settle a payment that the customer has agreed to at its provider."""

    def settled(self, request: Request, *, provider: str, provider_ref: str) -> Response:
        payment = (
            Payment.objects.select_related("booking")
            .filter(provider=provider, provider_ref=provider_ref)
            .first()
        )
        # What does not exist and what is somebody else's get the same answer, letter by letter.
        self.booking(request, payment.booking.reference if payment else "", to_change=True)
        assert payment is not None  # no booking has an empty reference
        settled = settle(payment.pk)
        booking_status = Booking.objects.values_list("status", flat=True).get(pk=payment.booking_id)
        return Response(
            {
                "paymentId": str(settled.pk),
                "status": settled.status,
                "bookingId": payment.booking.reference,
                "bookingStatus": booking_status,
            }
        )


class ConfirmStripeView(ConfirmView):
    @extend_schema(
        request=s.ConfirmStripeInput,
        responses={200: s.ConfirmAnswer},
        parameters=[OPTIONAL_KEY, GUEST_TOKEN],
        tags=["payments"],
    )
    @idempotent(required=False)
    def post(self, request: Request) -> Response:
        """Look the payment up at Stripe and say where it and the booking stand. Repeating it does no harm."""
        asked = valid(s.ConfirmStripeInput, request)
        return self.settled(request, provider="stripe", provider_ref=asked["paymentIntentId"])


class ConfirmPayPalView(ConfirmView):
    @extend_schema(
        request=s.ConfirmPayPalInput,
        responses={200: s.ConfirmAnswer},
        parameters=[OPTIONAL_KEY, GUEST_TOKEN],
        tags=["payments"],
    )
    @idempotent(required=False)
    def post(self, request: Request) -> Response:
        """Take what the buyer approved at PayPal, once, and say where the payment and the booking stand. Repeating it does no harm.

        "processing" means that PayPal waits for the buyer's bank: the booking is confirmed when the money is there. "cancelled" means
        that the time to pay was over, so nothing was taken.
        """
        asked = valid(s.ConfirmPayPalInput, request)
        return self.settled(request, provider="paypal", provider_ref=asked["orderId"])


class RefundStarted(DomainError):
    code = "refund_started"
    message = _(
        "The refund of this cancellation has started by itself. /api/payments/transactions says where it stands."
    )


class RefundView(CustomerView):
    @extend_schema(
        request=s.RefundInput,
        responses={200: s.RefundPreviewAnswer, 202: s.RefundAnswer},
        parameters=[REFUND_KEY, GUEST_TOKEN],
        tags=["payments"],
    )
    def post(self, request: Request) -> Response:
        """Give money back. Staff with the refund permission: any part. The owner: what the policy gives, once cancelled.

        With `preview: true` it only says what would happen (200); its `previewToken`, sent within 15 minutes, does exactly that. Above the
        operator's limit a refund that staff ask for waits for another person: `needsApproval`.
        """
        # Whatever is not plainly "no preview" moves no money, also a "true" in quotes.
        plainly_none = not isinstance(request.data, dict) or request.data.get("preview", False) is False
        return self._refund(request) if plainly_none else self._preview(request)

    @idempotent()
    def _refund(self, request: Request) -> Response:
        asked = valid(s.RefundInput, request)
        payment, by_staff = self._payment(request, asked)
        refund = (
            self._by_staff(request, payment, asked) if by_staff else self._by_owner(request, payment, asked)
        )
        return Response(
            {
                "refundId": str(refund.pk),
                "status": refund.status,
                "amount": refund.amount.to_major(),
                "currency": refund.currency,
                "needsApproval": refund.waits_for_approval,
            },
            status=202,
        )

    def _preview(self, request: Request) -> Response:
        asked = valid(s.RefundInput, request)
        if not asked["preview"]:
            raise InvalidInput(_("Send true, or leave it out."), field="preview")
        payment, by_staff = self._payment(request, asked)
        if by_staff:
            amount = _amount_of(asked, payment)
        else:
            due, amount = self._given(payment, asked)
            if Refund.objects.filter(cancellation=due).exists():
                raise RefundStarted
        shown = refund_preview.show_refund(
            payment,
            amount_minor=amount.amount_minor,
            reason=asked["reason"],
            principal=caller_principal(request),
            by_staff=by_staff,
            now=timezone.now(),
        )
        return Response(
            {
                "amount": shown.amount.to_major(),
                "currency": shown.amount.currency,
                "leftAfter": shown.left_after.to_major(),
                "needsApproval": shown.needs_approval,
                "previewToken": shown.token,
                "expiresAt": instant(shown.expires_at),
            }
        )

    def _payment(self, request: Request, asked: dict[str, Any]) -> tuple[Payment, bool]:
        """Return the payment, and whether the caller refunds it as staff. Raises NotFound, NotAllowed."""
        payment = Payment.objects.select_related("booking").filter(pk=asked["paymentId"]).first()
        user = request.user
        if not (user.is_authenticated and user.is_staff):
            self.booking(request, payment.booking.reference if payment else "")  # the same 404 for both
            assert payment is not None  # no booking has an empty reference
            return payment, False
        if not user.has_perm("payments.refund_payment"):
            audit.record(actor=user, action="payment.refund_refused", subject=f"payment:{asked['paymentId']}")
            raise NotAllowed(
                _("Your account may not refund payments. Ask an administrator for the refund permission.")
            )
        if payment is None:
            raise NotFound
        return payment, True

    def _by_staff(self, request: Request, payment: Payment, asked: dict[str, Any]) -> Refund:
        if "previewToken" in asked:
            principal = caller_principal(request)
            self._compare_with_preview(request, payment, asked)
            return refund_preview.refund_as_shown(
                payment,
                token=asked["previewToken"],
                principal=principal,
                requested_by=request.user,
                now=timezone.now(),
            )
        return request_refund(
            payment,
            amount_minor=_amount_of(asked, payment).amount_minor,
            reason=asked["reason"],
            requested_by=request.user,
            source="staff",
        )

    def _by_owner(self, request: Request, payment: Payment, asked: dict[str, Any]) -> Refund:
        due, _given = self._given(payment, asked)
        if "previewToken" in asked:
            self._compare_with_preview(request, payment, asked)
        parts = refund_cancellation(due.pk)
        refund = next((part for part in parts if part.payment_id == payment.pk), None)
        if refund is None:
            disputes.refuse_while_disputed(payment)
            raise NotAllowed(_("The refund of this booking does not belong to this payment."))
        return refund

    def _given(self, payment: Payment, asked: dict[str, Any]) -> tuple[Cancellation, Money]:
        """Return the cancellation and what its policy gives. Raises NotAllowed when there is none, or another amount is asked for."""
        due = Cancellation.objects.filter(booking_id=payment.booking_id).first()
        if due is None:
            raise NotAllowed(
                _(
                    "Cancel the booking to get back what its policy gives: the preview at "
                    "/api/bookings/%(reference)s/cancellation says how much. The refund then starts by itself."
                )
                % {"reference": payment.booking.reference}
            )
        given = Money(due.refund_minor, due.currency)
        part = part_of_cancellation(due, payment) if given else given
        if given and not part:
            disputes.refuse_while_disputed(payment)
            raise NotAllowed(_("The refund of this booking does not belong to this payment."))
        if not given or ("amount" in asked and amount_from(asked["amount"], payment.currency) != part):
            raise NotAllowed(
                _("The policy of this booking gives back %(amount)s %(currency)s.")
                % {"amount": part.to_major(), "currency": part.currency}
            )
        return due, part

    def _compare_with_preview(self, request: Request, payment: Payment, asked: dict[str, Any]) -> None:
        """Refuse a token that is not of this caller and payment, or a body that says something else than was shown."""
        shown = refund_preview.read_token(
            asked["previewToken"],
            payment,
            principal=caller_principal(request),
            now=timezone.now(),
        )
        amount = Money(shown["amount_minor"], payment.currency)
        if ("amount" in asked and amount_from(asked["amount"], payment.currency) != amount) or (
            "reason" in asked and asked["reason"] != shown["reason"]
        ):
            raise refund_preview.PreviewOutdated(
                _("The preview showed another amount or reason. Leave both out, or ask for a new preview.")
            )


def _amount_of(asked: dict[str, Any], payment: Payment) -> Money:
    return amount_from(asked["amount"], payment.currency) if "amount" in asked else payment.refundable


class TransactionsView(APIView):
    permission_classes = [IsAuthenticated]

    @extend_schema(
        operation_id="payments_transactions_list",
        parameters=[s.TransactionsQuery],
        responses={200: s.TransactionsAnswer},
        tags=["payments"],
    )
    def get(self, request: Request) -> Response:
        """Payments and refunds, newest first: one's own; all for staff who may view payments."""
        asked = query_of(s.TransactionsQuery, request)
        rows, following, preceding = transactions.page_of(request.user, asked)
        return Response(
            {
                "results": [transactions.body(row) for row in rows],
                "next": _address(request, following),
                "previous": _address(request, preceding),
            }
        )


def _address(request: Request, cursor: str | None) -> str | None:
    if cursor is None:
        return None
    query = urlencode({**dict(request.query_params.items()), "cursor": cursor})
    return request.build_absolute_uri(f"{request.path}?{query}")


class TransactionView(APIView):
    permission_classes = [IsAuthenticated]

    @extend_schema(responses={200: s.TransactionAnswer}, tags=["payments"])
    def get(self, request: Request, transaction_id: Any) -> Response:
        """One payment or refund."""
        row = (
            transactions.visible_payments(request.user).filter(pk=transaction_id).first()
            or transactions.visible_refunds(request.user).filter(pk=transaction_id).first()
        )
        if row is None:
            raise NotFound(_("There is no such transaction here."))
        return Response(transactions.body(row))
