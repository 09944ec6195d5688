"""Cancellation policies, and the record of a cancellation: the refund that is due."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, RegexValidator
from django.db import models
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from foundation.money import LARGEST_MINOR, Money


class CancellationPolicy(models.Model):
    """How much comes back, by notice given before drop-off. Frozen into the quote and the booking."""

    name = models.CharField(_("name"), max_length=60, unique=True)
    summary = models.CharField(_("summary"), max_length=200, help_text=_("One sentence for the customer."))
    fee_minor = models.PositiveIntegerField(
        _("cancellation fee"),
        default=0,
        validators=[MaxValueValidator(LARGEST_MINOR)],
        help_text=_("In the smallest unit of the currency, such as pence."),
    )
    currency = models.CharField(
        _("currency"),
        max_length=3,
        blank=True,
        validators=[RegexValidator(r"^[A-Z]{3}\Z", _("Enter a three-letter currency code such as GBP."))],
        help_text=_("Only when there is a fee."),
    )

    class Meta:
        verbose_name = _("cancellation policy")
        verbose_name_plural = _("cancellation policies")
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(fee_minor=0) | models.Q(currency__regex=r"^[A-Z]{3}$"),
                name="policy_fee_has_currency",
            )
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.fee_minor and not self.currency:
            raise ValidationError({"currency": _("A fee needs its currency.")})

    @property
    def summary_with_fee(self) -> str:
        """The sentence for the customer; who has to pay a fee reads its amount before paying."""
        if not self.fee_minor:
            return self.summary
        fee = Money(self.fee_minor, self.currency).format()
        return gettext("%(summary)s The fee is %(fee)s.") % {"summary": self.summary, "fee": fee}

    def frozen(self) -> dict[str, Any]:
        """Return the policy as quotes and bookings keep it: JSON, tiers by falling notice."""
        tiers = sorted(self.tiers.all(), key=lambda tier: -tier.notice_hours)
        return {
            "name": self.name,
            "summary": self.summary_with_fee,
            "fee_minor": self.fee_minor,
            "currency": self.currency,
            "tiers": [
                {"notice_hours": tier.notice_hours, "refund_percent": tier.refund_percent} for tier in tiers
            ],
        }


class PolicyTier(models.Model):
    """With at least `notice_hours` before drop-off, `refund_percent` of the price comes back."""

    policy = models.ForeignKey(
        CancellationPolicy, on_delete=models.CASCADE, related_name="tiers", verbose_name=_("policy")
    )
    notice_hours = models.PositiveIntegerField(_("notice"), help_text=_("Hours before drop-off."))
    refund_percent = models.PositiveSmallIntegerField(_("refund"), validators=[MaxValueValidator(100)])

    class Meta:
        verbose_name = _("policy tier")
        verbose_name_plural = _("policy tiers")
        ordering = ["policy", "-notice_hours"]
        constraints = [
            models.UniqueConstraint(fields=["policy", "notice_hours"], name="policy_tier_once"),
            models.CheckConstraint(
                condition=models.Q(refund_percent__lte=100), name="policy_tier_percent_in_range"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.notice_hours} h: {self.refund_percent} %"


class Cancellation(models.Model):
    """A cancelled booking and the refund that is due for it; payments picks it up."""

    booking = models.OneToOneField("bookings.Booking", on_delete=models.PROTECT, related_name="cancellation")
    refund_minor = models.PositiveIntegerField(_("refund"))
    currency = models.CharField(_("currency"), max_length=3)
    lines = models.JSONField(_("how it was worked out"), default=list)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    reason = models.TextField(_("reason"), blank=True)
    created_at = models.DateTimeField(_("cancelled at"))

    class Meta:
        verbose_name = _("cancellation")
        verbose_name_plural = _("cancellations")
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(refund_minor__lte=LARGEST_MINOR), name="cancellation_refund_in_range"
            ),
            models.CheckConstraint(
                condition=models.Q(currency__regex=r"^[A-Z]{3}$"), name="cancellation_currency_code"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.booking_id}: {self.refund.format()}"

    @property
    def refund(self) -> Money:
        return Money(self.refund_minor, self.currency)
