"""One attempt to take the price of a booking through one provider."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from foundation.money import Money
from foundation.transitions import Transitions


class Provider(models.TextChoices):
    """In the order in which customers are offered them."""

    STRIPE = "stripe", "Stripe"
    PAYPAL = "paypal", "PayPal"


class PaymentStatus(models.TextChoices):
    CREATED = "created", _("created")
    SUBMITTED = "submitted", _("sent to the provider")
    REQUIRES_ACTION = "requires_action", _("waiting for the customer")
    PROCESSING = "processing", _("processing at the bank")
    UNKNOWN = "unknown", _("outcome unknown")
    CAPTURED = "captured", _("paid")
    FAILED = "failed", _("failed")
    CANCELLED = "cancelled", _("cancelled")


_OUTCOMES = {
    PaymentStatus.REQUIRES_ACTION,
    PaymentStatus.PROCESSING,
    PaymentStatus.CAPTURED,
    PaymentStatus.FAILED,
    PaymentStatus.CANCELLED,
}
PAYMENT_TRANSITIONS: Transitions = {
    PaymentStatus.CREATED: {PaymentStatus.SUBMITTED, PaymentStatus.FAILED, PaymentStatus.CANCELLED},
    PaymentStatus.SUBMITTED: _OUTCOMES | {PaymentStatus.UNKNOWN},
    PaymentStatus.REQUIRES_ACTION: _OUTCOMES | {PaymentStatus.UNKNOWN},
    PaymentStatus.PROCESSING: _OUTCOMES | {PaymentStatus.UNKNOWN},
    PaymentStatus.UNKNOWN: _OUTCOMES,
    # The provider's late truth wins over ours; settle refunds what can no longer be honoured.
    PaymentStatus.FAILED: {PaymentStatus.CAPTURED},
    PaymentStatus.CANCELLED: {PaymentStatus.CAPTURED},
    PaymentStatus.CAPTURED: set(),
}
LIVE_STATUSES = (
    PaymentStatus.CREATED,
    PaymentStatus.SUBMITTED,
    PaymentStatus.REQUIRES_ACTION,
    PaymentStatus.PROCESSING,
    PaymentStatus.UNKNOWN,
)


class Payment(models.Model):
    """Money taken, or being taken, for a booking: its price, or the difference that `amendment` costs. Only payments.services change it.

    PostgreSQL holds: refunded <= reserved <= captured <= amount, legal transitions, one live payment per booking, and the
    booking's currency. `reserved_minor` moves by trigger when a refund is born, fails or is cancelled.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    booking = models.ForeignKey(
        "bookings.Booking", on_delete=models.PROTECT, related_name="payments", verbose_name=_("booking")
    )
    amendment = models.ForeignKey(
        "bookings.Amendment",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="payments",
        verbose_name=_("for the change"),
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="payments",
        verbose_name=_("customer"),
    )
    provider = models.CharField(
        _("provider"), max_length=16, choices=Provider.choices, default=Provider.STRIPE
    )
    provider_ref = models.CharField(_("provider reference"), max_length=255, null=True, blank=True)  # noqa: DJ001 unique where known
    status = models.CharField(
        _("status"), max_length=16, choices=PaymentStatus.choices, default=PaymentStatus.CREATED
    )
    amount_minor = models.BigIntegerField(_("amount"))
    currency = models.CharField(_("currency"), max_length=3)
    captured_minor = models.BigIntegerField(_("captured"), default=0)
    reserved_minor = models.BigIntegerField(_("refunded or on its way"), default=0)
    refunded_minor = models.BigIntegerField(_("refunded"), default=0)
    disputed_minor = models.BigIntegerField(_("disputed"), default=0)
    idempotency_key = models.CharField(_("idempotency key"), max_length=64, unique=True)
    method_label = models.CharField(_("paid with"), max_length=64, blank=True)
    stored_method = models.ForeignKey(
        "payments.StoredMethod",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="payments",
        verbose_name=_("saved method"),
    )
    saves_method = models.BooleanField(_("saves the method"), default=False)
    # What it takes to pay was given to somebody else than `user` as well, so that it must never save a method for that user.
    is_shared = models.BooleanField(_("opened by others too"), default=False)
    is_off_session = models.BooleanField(_("charged in the customer's absence"), default=False)
    failure_code = models.CharField(_("failure code"), max_length=64, blank=True)
    failure_message = models.CharField(_("failure"), max_length=500, blank=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True, db_index=True)
    submitted_at = models.DateTimeField(_("sent"), null=True, blank=True)
    captured_at = models.DateTimeField(_("captured at"), null=True, blank=True)
    # Where the customer who was last given it came from, as a keyed hash, so that declines can be counted by it.
    address_key = models.CharField(max_length=64, blank=True, editable=False)
    taking_since = models.DateTimeField(_("being taken since"), null=True, blank=True)
    last_checked_at = models.DateTimeField(_("last looked up"), null=True, blank=True)

    class Meta:
        verbose_name = _("payment")
        verbose_name_plural = _("payments")
        ordering = ["-created_at"]
        permissions = [("refund_payment", _("Can refund a payment"))]
        constraints = [
            models.CheckConstraint(condition=Q(amount_minor__gt=0), name="payment_amount_positive"),
            models.CheckConstraint(
                condition=Q(captured_minor__gte=0, captured_minor__lte=F("amount_minor")),
                name="payment_captured_within_amount",
            ),
            models.CheckConstraint(
                condition=Q(
                    refunded_minor__gte=0,
                    refunded_minor__lte=F("reserved_minor"),
                    reserved_minor__lte=F("captured_minor"),
                ),
                name="payment_refunds_within_capture",
            ),
            models.CheckConstraint(
                condition=Q(disputed_minor__gte=0, disputed_minor__lte=F("captured_minor")),
                name="payment_disputed_within_capture",
            ),
            models.CheckConstraint(
                condition=Q(status="captured", captured_at__isnull=False, captured_minor__gt=0)
                | (~Q(status="captured") & Q(captured_minor=0)),
                name="payment_captured_says_what_and_when",
            ),
            models.UniqueConstraint(
                fields=["provider", "provider_ref"],
                condition=Q(provider_ref__isnull=False),
                name="payment_provider_ref_unique",
            ),
            models.CheckConstraint(
                condition=Q(saves_method=False) | Q(is_shared=False, user__isnull=False),
                name="payment_saves_only_for_its_payer",
            ),
            models.UniqueConstraint(
                fields=["booking"], condition=Q(status__in=LIVE_STATUSES), name="payment_one_live_per_booking"
            ),
        ]
        indexes = [
            models.Index(
                fields=["last_checked_at"],
                condition=Q(status__in=LIVE_STATUSES),
                name="payment_live_by_check",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.amount} ({self.get_status_display()})"

    @property
    def amount(self) -> Money:
        return Money(self.amount_minor, self.currency)

    @property
    def captured(self) -> Money:
        return Money(self.captured_minor, self.currency)

    @property
    def refunded(self) -> Money:
        return Money(self.refunded_minor, self.currency)

    @property
    def refundable(self) -> Money:
        """What can still be given back: captured, less what refunds have reserved and banks hold or have taken."""
        left = self.captured_minor - self.reserved_minor - self.disputed_minor
        return Money(max(left, 0), self.currency)

    @property
    def is_live(self) -> bool:
        return self.status in LIVE_STATUSES


class ProviderCustomer(models.Model):
    """Which customer object at a provider stands for one of our users."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="provider_customers"
    )
    provider = models.CharField(_("provider"), max_length=16)
    provider_ref = models.CharField(_("provider reference"), max_length=255)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("customer at a provider")
        verbose_name_plural = _("customers at providers")
        constraints = [
            models.UniqueConstraint(fields=["user", "provider"], name="provider_customer_one_per_user"),
            models.UniqueConstraint(fields=["provider", "provider_ref"], name="provider_customer_ref_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.provider}: {self.provider_ref}"
