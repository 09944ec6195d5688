"""Money that goes back."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from foundation.money import Money
from foundation.transitions import Transitions


class RefundStatus(models.TextChoices):
    REQUESTED = "requested", _("requested")
    SUBMITTED = "submitted", _("sent to the provider")
    PENDING = "pending", _("on its way")
    UNKNOWN = "unknown", _("outcome unknown")
    SUCCEEDED = "succeeded", _("refunded")
    FAILED = "failed", _("failed")
    CANCELLED = "cancelled", _("cancelled")


_OUTCOMES = {RefundStatus.PENDING, RefundStatus.SUCCEEDED, RefundStatus.FAILED}
REFUND_TRANSITIONS: Transitions = {
    RefundStatus.REQUESTED: {RefundStatus.SUBMITTED, RefundStatus.CANCELLED},
    RefundStatus.SUBMITTED: _OUTCOMES | {RefundStatus.UNKNOWN},
    RefundStatus.UNKNOWN: _OUTCOMES,
    RefundStatus.PENDING: {RefundStatus.SUCCEEDED, RefundStatus.FAILED},
    RefundStatus.SUCCEEDED: {RefundStatus.FAILED},  # a bank can return it days later
    RefundStatus.FAILED: set(),
    RefundStatus.CANCELLED: set(),
}


class RefundSource(models.TextChoices):
    STAFF = "staff", _("staff")
    CUSTOMER_CANCELLATION = "customer_cancellation", _("cancellation")
    AMENDMENT = "amendment", _("change of the booking")
    LATE_PAYMENT = "late_payment", _("paid too late, or twice")
    EXTERNAL = "external", _("made at the provider")
    RETRY = "retry", _("another try")
    ELSEWHERE = "elsewhere", _("paid another way")


class Refund(models.Model):
    """A refund. Its birth reserves the amount on the payment row (by trigger, same statement), so parallel refunds
    can never exceed the capture; failing or being cancelled gives the reservation back.

    PostgreSQL also holds: one that needs approval is not sent before another person than its requester approved it, none is sent
    while a bank holds the payment's money, and what failed is taken up once (`retries`).
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    payment = models.ForeignKey(
        "payments.Payment", on_delete=models.PROTECT, related_name="refunds", verbose_name=_("payment")
    )
    amount_minor = models.BigIntegerField(_("amount"))
    currency = models.CharField(_("currency"), max_length=3)
    status = models.CharField(
        _("status"), max_length=16, choices=RefundStatus.choices, default=RefundStatus.REQUESTED
    )
    reason = models.CharField(_("reason"), max_length=500, blank=True)
    source = models.CharField(_("source"), max_length=24, choices=RefundSource.choices)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("requested by"),
    )
    cancellation = models.ForeignKey(
        "bookings.Cancellation",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="payment_refunds",
        verbose_name=_("cancellation"),
    )
    needs_approval = models.BooleanField(_("needs a second person"), default=False)
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("approved by"),
    )
    approved_at = models.DateTimeField(_("approved"), null=True, blank=True)
    retries = models.ForeignKey(
        "self",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="taken_up_by",
        verbose_name=_("takes the place of"),
    )
    note = models.CharField(_("why it was cancelled or closed"), max_length=500, blank=True)
    amendment = models.ForeignKey(
        "bookings.Amendment",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="payment_refunds",
        verbose_name=_("change of the booking"),
    )
    provider_ref = models.CharField(
        _("provider reference"), max_length=255, null=True, blank=True, unique=True
    )
    failure_code = models.CharField(_("failure code"), max_length=64, blank=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True, db_index=True)
    submitted_at = models.DateTimeField(_("sent"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)

    class Meta:
        verbose_name = _("refund")
        verbose_name_plural = _("refunds")
        ordering = ["-created_at"]
        permissions = [("approve_refund", _("Can approve refunds that others asked for"))]
        constraints = [
            models.CheckConstraint(condition=Q(amount_minor__gt=0), name="refund_amount_positive"),
            models.UniqueConstraint(
                fields=["payment"], condition=Q(source="late_payment"), name="refund_one_late_payment_refund"
            ),
            models.CheckConstraint(
                condition=Q(needs_approval=False)
                | Q(requested_by__isnull=False)
                & (Q(approved_by__isnull=False) | Q(status__in=["requested", "cancelled"])),
                name="refund_waits_for_approval",
            ),
            models.CheckConstraint(
                condition=Q(approved_by__isnull=True, approved_at__isnull=True)
                | Q(approved_by__isnull=False, approved_at__isnull=False, needs_approval=True),
                name="refund_approval_says_when",
            ),
            models.CheckConstraint(
                condition=Q(approved_by__isnull=True) | ~Q(approved_by=F("requested_by")),
                name="refund_approver_is_another",
            ),
            models.UniqueConstraint(
                fields=["retries"], condition=~Q(status="cancelled"), name="refund_taken_up_once"
            ),
            models.UniqueConstraint(
                fields=["cancellation", "payment"], name="refund_one_per_cancellation_and_payment"
            ),
            models.UniqueConstraint(
                fields=["amendment", "payment"], name="refund_one_per_amendment_and_payment"
            ),
            models.CheckConstraint(
                condition=Q(amendment__isnull=True) | Q(cancellation__isnull=True),
                name="refund_for_one_reason",
            ),
        ]
        indexes = [
            models.Index(
                fields=["created_at"],
                condition=Q(status="requested", needs_approval=True, approved_by__isnull=True),
                name="refund_waiting_by_age",
            )
        ]

    def __str__(self) -> str:
        return f"{self.amount} ({self.get_status_display()})"

    @property
    def amount(self) -> Money:
        return Money(self.amount_minor, self.currency)

    @property
    def waits_for_approval(self) -> bool:
        """Whether it lies still until another person than its requester approves it."""
        return self.needs_approval and self.approved_by_id is None and self.status == RefundStatus.REQUESTED
