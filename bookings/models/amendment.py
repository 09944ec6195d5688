"""Amendments: a booking's stay changes, and only the change is priced."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from foundation.money import LARGEST_MINOR, Money
from foundation.transitions import Transitions


class AmendmentStatus(models.TextChoices):
    HELD = "held", _("Waiting for payment")
    APPLIED = "applied", _("Made")
    EXPIRED = "expired", _("Not paid in time")
    CANCELLED = "cancelled", _("Withdrawn")


AMENDMENT_TRANSITIONS: Transitions = {
    AmendmentStatus.HELD: {
        AmendmentStatus.APPLIED,
        AmendmentStatus.EXPIRED,
        AmendmentStatus.CANCELLED,
    },
    AmendmentStatus.APPLIED: set(),
    AmendmentStatus.EXPIRED: {AmendmentStatus.APPLIED},  # late money, while the extra time is still free
    AmendmentStatus.CANCELLED: set(),
}


class Amendment(models.Model):
    """Other times for a booking. What costs more is held, with the extra time kept, until it is paid; anything else is made at once.

    Amounts are in the booking's currency. `difference_minor` is what the new stay costs more (negative: less) at the prices of
    `created_at`; `refund_minor` is the part of a reduction that goes back. PostgreSQL holds: legal transitions, what is fixed at birth,
    one held amendment per booking, and that a held one has its space.
    """

    Status = AmendmentStatus

    booking = models.ForeignKey(
        "bookings.Booking", on_delete=models.PROTECT, related_name="amendments", verbose_name=_("booking")
    )
    status = models.CharField(_("status"), max_length=12, choices=AmendmentStatus.choices)
    old_start_at = models.DateTimeField(_("drop-off before"))
    old_end_at = models.DateTimeField(_("return before"))
    new_start_at = models.DateTimeField(_("new drop-off"))
    new_end_at = models.DateTimeField(_("new return"))
    lines = models.JSONField(_("how the difference is made up"), default=list)
    old_total_minor = models.PositiveIntegerField(_("total before"))
    new_total_minor = models.PositiveIntegerField(_("new total"))
    difference_minor = models.IntegerField(_("difference"))
    refund_minor = models.PositiveIntegerField(_("refund"), default=0)
    # What a later cancellation gives back at most of all that was paid before, in percent: who moves a stay gains no notice by it.
    refund_percent = models.PositiveSmallIntegerField(_("refundable part of what was paid"), default=100)
    currency = models.CharField(_("currency"), max_length=3)
    hold_expires_at = models.DateTimeField(_("held until"), null=True, blank=True)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        verbose_name=_("requested by"),
    )
    reason = models.TextField(_("reason"), blank=True)
    created_at = models.DateTimeField(_("requested"))
    applied_at = models.DateTimeField(_("made"), null=True, blank=True)
    closed_at = models.DateTimeField(_("lapsed or withdrawn"), null=True, blank=True)

    class Meta:
        verbose_name = _("change of a booking")
        verbose_name_plural = _("changes of bookings")
        ordering = ["-created_at", "-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["booking"], condition=Q(status="held"), name="amendment_one_held_per_booking"
            ),
            models.CheckConstraint(
                condition=Q(status__in=AmendmentStatus.values), name="amendment_status_known"
            ),
            models.CheckConstraint(
                condition=Q(new_end_at__gt=F("new_start_at"), old_end_at__gt=F("old_start_at")),
                name="amendment_ends_after_start",
            ),
            models.CheckConstraint(
                condition=Q(
                    difference_minor__gte=0,
                    refund_minor=0,
                    new_total_minor=F("old_total_minor") + F("difference_minor"),
                )
                | Q(
                    difference_minor__lt=0,
                    refund_minor__lte=-F("difference_minor"),
                    new_total_minor=F("old_total_minor") - F("refund_minor"),
                ),
                name="amendment_adds_up",
            ),
            models.CheckConstraint(
                condition=Q(
                    old_total_minor__lte=LARGEST_MINOR,
                    new_total_minor__gte=0,
                    new_total_minor__lte=LARGEST_MINOR,
                ),
                name="amendment_totals_in_range",
            ),
            models.CheckConstraint(
                condition=Q(refund_percent__lte=100), name="amendment_refund_percent_in_range"
            ),
            models.CheckConstraint(
                condition=Q(currency__regex=r"^[A-Z]{3}$"), name="amendment_currency_code"
            ),
            models.CheckConstraint(
                condition=Q(difference_minor__gt=0, hold_expires_at__isnull=False)
                | Q(difference_minor__lte=0, status="applied", hold_expires_at__isnull=True),
                name="amendment_held_for_money_only",
            ),
            models.CheckConstraint(
                condition=(Q(status="applied", applied_at__isnull=False))
                | (~Q(status="applied") & Q(applied_at__isnull=True)),
                name="amendment_applied_when",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=["expired", "cancelled"]) | Q(closed_at__isnull=False),
                name="amendment_closed_when",
            ),
        ]
        indexes = [
            models.Index(
                fields=["hold_expires_at"], condition=Q(status="held"), name="amendment_held_by_expiry"
            )
        ]

    def __str__(self) -> str:
        return f"{self.booking_id}: {self.difference.format()} ({self.get_status_display()})"

    @property
    def difference(self) -> Money:
        return Money(self.difference_minor, self.currency)

    @property
    def refund(self) -> Money:
        return Money(self.refund_minor, self.currency)

    @property
    def new_total(self) -> Money:
        return Money(self.new_total_minor, self.currency)

    @property
    def moves_drop_off(self) -> bool:
        return self.new_start_at != self.old_start_at
