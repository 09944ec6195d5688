"""Rows that every floor needs: the audit log and the memory of idempotent calls."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _


class AuditEntry(models.Model):
    """Who did what to which row, and why. Append-only in the database."""

    at = models.DateTimeField(auto_now_add=True, db_index=True)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        verbose_name=_("who"),
    )
    action = models.CharField(max_length=64)
    subject = models.CharField(
        max_length=120, help_text=_("Kind and reference of the row, such as booking:AP-7F3K2Q.")
    )
    reason = models.TextField(blank=True)
    data = models.JSONField(default=dict, blank=True)
    request_id = models.CharField(max_length=64, blank=True)

    class Meta:
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit log")
        ordering = ["-at", "-pk"]
        indexes = [models.Index(fields=["subject", "at"])]
        # Of no table; it has to stand at one.
        permissions = [("view_system", _("Can view the system page"))]

    def __str__(self) -> str:
        return f"{self.action} {self.subject}"


class IdempotencyRecord(models.Model):
    """One remembered call: (principal, method and route, key) -> its answer. Kept 48 hours."""

    principal = models.CharField(max_length=100)
    route = models.CharField(max_length=200)
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)
    finished_at = models.DateTimeField(null=True)
    status_code = models.PositiveSmallIntegerField(null=True)
    body = models.BinaryField(default=bytes)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["principal", "route", "key"], name="idempotency_unique_call")
        ]

    def __str__(self) -> str:
        return f"{self.route} {self.key}"


class Choice(models.Model):
    """What staff chose for a feature or a business rule in place of the environment's default. Append-only: the newest of a key holds.

    `value` is None for "back to the default".
    """

    key = models.CharField(_("what"), max_length=64)
    value = models.JSONField(_("value"), null=True)
    at = models.DateTimeField(_("when"), auto_now_add=True)
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        verbose_name=_("who"),
    )
    reason = models.CharField(_("reason"), max_length=500)

    class Meta:
        verbose_name = _("feature or rule")
        verbose_name_plural = _("features and rules")
        ordering = ["-pk"]
        indexes = [models.Index(fields=["key", "-id"], name="choice_newest")]
        permissions = [
            ("choose_feature", _("Can switch features")),
            ("choose_rule", _("Can change business rules")),
        ]

    def __str__(self) -> str:
        return self.key
