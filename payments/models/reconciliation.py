"""Breaks: where our books and a provider's disagree and a person must decide."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class BreakKind(models.TextChoices):
    MISSING_LOCAL = "missing_local", _("unknown here")
    MISSING_REMOTE = "missing_remote", _("unknown at the provider")
    AMOUNT = "amount", _("amounts differ")
    CURRENCY = "currency", _("currencies differ")
    STATE = "state", _("states differ")
    DUPLICATE = "duplicate", _("paid twice")


class Break(models.Model):
    """One open question about money. The same question is asked once while it is open."""

    kind = models.CharField(_("kind"), max_length=16, choices=BreakKind.choices)
    provider = models.CharField(_("provider"), max_length=16)
    provider_ref = models.CharField(_("provider reference"), max_length=255, blank=True)
    payment = models.ForeignKey(
        "payments.Payment",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="breaks",
        verbose_name=_("payment"),
    )
    detail = models.TextField(_("detail"), blank=True)
    opened_at = models.DateTimeField(_("opened"), auto_now_add=True)
    resolved_at = models.DateTimeField(_("resolved"), null=True, blank=True)
    resolved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("resolved by"),
    )
    resolution = models.TextField(_("resolution"), blank=True)

    class Meta:
        verbose_name = _("break")
        verbose_name_plural = _("breaks")
        ordering = ["-opened_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "provider", "provider_ref"],
                condition=Q(resolved_at__isnull=True),
                name="break_open_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.provider_ref}"
