"""The inbox: verified notices from providers, each only a reason to look."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class EventStatus(models.TextChoices):
    RECEIVED = "received", _("received")
    PROCESSED = "processed", _("processed")
    DEAD = "dead", _("given up")


class ProviderEvent(models.Model):
    """One verified event, kept 90 days. It holds references only, never the payload."""

    provider = models.CharField(_("provider"), max_length=16)
    event_ref = models.CharField(_("event"), max_length=255)
    kind = models.CharField(_("kind"), max_length=100)
    object_kind = models.CharField(_("object kind"), max_length=64, blank=True)
    object_ref = models.CharField(_("object"), max_length=255, blank=True)
    livemode = models.BooleanField(_("live"), default=False)
    status = models.CharField(
        _("status"), max_length=16, choices=EventStatus.choices, default=EventStatus.RECEIVED
    )
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    last_error = models.CharField(_("last error"), max_length=500, blank=True)
    # By the provider's clock, where its notice says when it happened.
    occurred_at = models.DateTimeField(_("happened at"), null=True, blank=True)
    received_at = models.DateTimeField(_("received at"), auto_now_add=True, db_index=True)
    processed_at = models.DateTimeField(_("processed at"), null=True, blank=True)

    class Meta:
        verbose_name = _("provider event")
        verbose_name_plural = _("provider events")
        ordering = ["-received_at"]
        constraints = [
            models.UniqueConstraint(fields=["provider", "event_ref"], name="provider_event_unique")
        ]
        indexes = [
            models.Index(
                fields=["received_at"], condition=Q(status="received"), name="provider_event_waiting"
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.event_ref}"
