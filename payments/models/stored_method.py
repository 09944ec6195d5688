"""Ways of paying that a customer lets the provider keep. We hold the provider's token and what names it to a person, never the card."""

from __future__ import annotations

import uuid
from datetime import date

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from foundation.transitions import Transitions


class StoredMethodStatus(models.TextChoices):
    ACTIVE = "active", _("active")
    REMOVING = "removing", _("being removed")  # the customer is rid of it; the provider has not confirmed yet
    REMOVED = "removed", _("removed")


STORED_METHOD_TRANSITIONS: Transitions = {
    StoredMethodStatus.ACTIVE: {StoredMethodStatus.REMOVING, StoredMethodStatus.REMOVED},
    StoredMethodStatus.REMOVING: {StoredMethodStatus.REMOVED},
    StoredMethodStatus.REMOVED: set(),  # providers never take a method back that was let go
}


class StoredMethod(models.Model):
    """A saved card (or account) at a provider. Only payments.services.methods changes it.

    PostgreSQL holds: one row per provider's token, at most one default per person, legal transitions, owner and token fixed at
    birth, and no text long enough in digits to be a card number.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="stored_methods",
        verbose_name=_("customer"),
    )
    provider = models.CharField(_("provider"), max_length=16)
    provider_ref = models.CharField(_("provider reference"), max_length=255)
    status = models.CharField(
        _("status"), max_length=16, choices=StoredMethodStatus.choices, default=StoredMethodStatus.ACTIVE
    )
    brand = models.CharField(_("brand"), max_length=32, blank=True)
    last4 = models.CharField(_("last four digits"), max_length=4, blank=True)
    exp_month = models.PositiveSmallIntegerField(_("expiry month"), null=True, blank=True)
    exp_year = models.PositiveSmallIntegerField(_("expiry year"), null=True, blank=True)
    label = models.CharField(_("shown as"), max_length=64)
    is_default = models.BooleanField(_("default"), default=False)
    created_at = models.DateTimeField(_("saved"), auto_now_add=True)
    removed_at = models.DateTimeField(_("removed at"), null=True, blank=True)

    class Meta:
        verbose_name = _("saved payment method")
        verbose_name_plural = _("saved payment methods")
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["provider", "provider_ref"], name="stored_method_ref_unique"),
            models.UniqueConstraint(
                fields=["user"], condition=Q(is_default=True), name="stored_method_one_default_per_user"
            ),
            models.CheckConstraint(
                condition=Q(status="active", removed_at__isnull=True)
                | (~Q(status="active") & Q(removed_at__isnull=False, is_default=False)),
                name="stored_method_removed_says_when",
            ),
            models.CheckConstraint(
                condition=Q(last4="") | Q(last4__regex=r"^[0-9]{4}$"),
                name="stored_method_last4_is_four_digits",
            ),
            models.CheckConstraint(
                condition=Q(exp_month__isnull=True, exp_year__isnull=True)
                | Q(exp_month__gte=1, exp_month__lte=12, exp_year__gte=2000, exp_year__lte=2999),
                name="stored_method_expiry_is_a_month",
            ),
            models.CheckConstraint(
                condition=~Q(label__regex=r"([0-9][ -]?){12}"), name="stored_method_label_is_no_card_number"
            ),
        ]
        indexes = [
            models.Index(
                fields=["removed_at"], condition=Q(status="removing"), name="stored_method_being_removed"
            ),
        ]

    def __str__(self) -> str:
        return self.label

    @property
    def expiry(self) -> str:
        """The month through which it is good, as on the card ("12/34"); "" where there is none."""
        return f"{self.exp_month:02d}/{self.exp_year % 100:02d}" if self.exp_month and self.exp_year else ""

    def has_expired(self, today: date) -> bool:
        return bool(self.exp_year) and (self.exp_year, self.exp_month) < (today.year, today.month)
