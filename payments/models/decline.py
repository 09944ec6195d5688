"""Declined cards, remembered for as long as they count, and what too many of them stopped."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class Decline(models.Model):
    """One try with a card that a bank declined. Who, from where and which card are keyed hashes: they can be compared and not read."""

    ref = models.CharField(_("reference at the provider"), max_length=255, unique=True)
    payment = models.ForeignKey(
        "payments.Payment", on_delete=models.CASCADE, related_name="declines", verbose_name=_("payment")
    )
    at = models.DateTimeField(_("declined"), db_index=True)
    code = models.CharField(_("code"), max_length=64, blank=True)
    address_key = models.CharField(max_length=64, blank=True)
    account_key = models.CharField(max_length=64, blank=True)
    card_key = models.CharField(max_length=64, blank=True)

    class Meta:
        verbose_name = _("declined card")
        verbose_name_plural = _("declined cards")
        indexes = [
            models.Index(fields=["address_key", "at"], name="decline_by_address"),
            models.Index(fields=["account_key", "at"], name="decline_by_account"),
            models.Index(fields=["card_key", "at"], name="decline_by_card"),
        ]

    def __str__(self) -> str:
        return f"{self.ref} ({self.code})"


class DeclineScope(models.TextChoices):
    ADDRESS = "address", _("one internet address")
    ACCOUNT = "account", _("one customer")
    CARD = "card", _("one card")


class CardBreaker(models.Model):
    """What had so many cards declined that it looks like trying out stolen ones: no card is taken of it until `until`, or until staff let it go."""

    scope = models.CharField(_("what it is"), max_length=8, choices=DeclineScope.choices)
    key = models.CharField(_("hash"), max_length=64)
    payment = models.ForeignKey(
        "payments.Payment",
        on_delete=models.CASCADE,
        related_name="+",
        verbose_name=_("last declined payment"),
    )
    declines = models.PositiveIntegerField(_("declined"))
    tripped_at = models.DateTimeField(_("stopped"))
    until = models.DateTimeField(_("until"))
    reset_at = models.DateTimeField(_("let go at"), null=True, blank=True)
    reset_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        verbose_name=_("let go by"),
    )
    reset_reason = models.CharField(_("why it was let go"), max_length=500, blank=True)

    class Meta:
        verbose_name = _("stop of card tries")
        verbose_name_plural = _("stops of card tries")
        ordering = ["-tripped_at"]
        permissions = [("reset_cardbreaker", _("Can let cards be tried again"))]
        constraints = [
            models.UniqueConstraint(
                fields=["scope", "key"], condition=Q(reset_at__isnull=True), name="card_breaker_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_scope_display()} {self.key[:8]}"
