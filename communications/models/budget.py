"""What SMS were sent where, per day, and prefixes to which none goes until a person has looked."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class SmsShare(models.TextChoices):
    """Purses, so that neither offers nor staff's own texts can use up what paid bookings, or each other, need."""

    BOOKINGS = "bookings", _("bookings and payments")
    OFFERS = "offers", _("offers")
    OTHER = "other", _("staff's own texts")
    EMERGENCY = "emergency", _("emergencies")


class SmsScope(models.TextChoices):
    NUMBER = "number", _("number")
    PREFIX = "prefix", _("prefix")
    COUNTRY = "country", _("country")
    DAY = "day", _("day")


class SmsSpend(models.Model):
    """Segments sent on one UTC day from one purse to one number, prefix, country, and in all."""

    on = models.DateField(_("day"))
    share = models.CharField(_("purse"), max_length=10, choices=SmsShare.choices)
    scope = models.CharField(_("counted by"), max_length=8, choices=SmsScope.choices)
    key = models.CharField(_("of"), max_length=20, blank=True)
    segments = models.PositiveIntegerField(_("segments"))
    last_at = models.DateTimeField(_("last"), null=True, blank=True)

    class Meta:
        verbose_name = _("SMS spending")
        verbose_name_plural = _("SMS spending")
        ordering = ["-on", "share", "scope", "-segments"]
        constraints = [models.UniqueConstraint(fields=["on", "share", "scope", "key"], name="sms_spend_once")]
        # Numbers are looked up by how they begin.
        indexes = [
            models.Index(
                fields=["scope", "key"], opclasses=["", "varchar_pattern_ops"], name="sms_spend_range"
            )
        ]

    def __str__(self) -> str:
        return f"{self.on} {self.get_scope_display()} {self.key}: {self.segments}"


class SmsBreaker(models.Model):
    """A block of numbers of which too many were texted in a short time: staff's own texts do not go there until staff reset it."""

    prefix = models.CharField(_("prefix"), max_length=20)
    why = models.CharField(_("why"), max_length=200)
    tripped_at = models.DateTimeField(_("tripped"))
    reset_at = models.DateTimeField(_("reset"), null=True, blank=True)
    reset_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        verbose_name=_("reset by"),
    )
    reset_reason = models.CharField(_("why it was reset"), max_length=500, blank=True)

    class Meta:
        verbose_name = _("SMS breaker")
        verbose_name_plural = _("SMS breakers")
        ordering = ["-tripped_at"]
        permissions = [("reset_breaker", _("Can let SMS go to a prefix again"))]
        constraints = [
            models.UniqueConstraint(
                fields=["prefix"], condition=Q(reset_at__isnull=True), name="sms_breaker_once"
            )
        ]

    def __str__(self) -> str:
        return self.prefix
