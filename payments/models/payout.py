"""Money that leaves the provider for our bank."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from foundation.money import Money
from foundation.transitions import Transitions
from payments.models.payment import Provider


class PayoutStatus(models.TextChoices):
    IN_TRANSIT = "in_transit", _("on its way")
    PAID = "paid", _("arrived")
    FAILED = "failed", _("returned by the bank")


PAYOUT_TRANSITIONS: Transitions = {
    PayoutStatus.IN_TRANSIT: {PayoutStatus.PAID, PayoutStatus.FAILED},
    PayoutStatus.PAID: {PayoutStatus.FAILED},  # a bank may return it days later
    PayoutStatus.FAILED: set(),
}


class Payout(models.Model):
    """One payout as the provider has it. Only payments.services.payouts writes it.

    The money leaves the provider's balance when the payout is made, and is in transit until `arrives_on`.
    """

    provider = models.CharField(_("provider"), max_length=16, choices=Provider.choices)
    provider_ref = models.CharField(_("provider reference"), max_length=255)
    status = models.CharField(_("status"), max_length=16, choices=PayoutStatus.choices)
    amount_minor = models.BigIntegerField(_("amount"))
    currency = models.CharField(_("currency"), max_length=3)
    made_at = models.DateTimeField(_("made"), db_index=True)
    arrives_on = models.DateField(_("arrives"), null=True, blank=True)
    failure_code = models.CharField(_("failure code"), max_length=64, blank=True)

    class Meta:
        verbose_name = _("payout")
        verbose_name_plural = _("payouts")
        ordering = ["-made_at"]
        constraints = [
            models.CheckConstraint(condition=Q(amount_minor__gt=0), name="payout_amount_positive"),
            models.UniqueConstraint(fields=["provider", "provider_ref"], name="payout_provider_ref_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.amount} ({self.get_status_display()})"

    @property
    def amount(self) -> Money:
        return Money(self.amount_minor, self.currency)
