"""Reconciliation: its runs, and the breaks where our books and a provider's disagree and a person must decide."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from foundation.money import Money
from payments.models.payment import Provider
from payments.models.refund import RefundStatus


class BreakKind(models.TextChoices):
    MISSING_LOCAL = "missing_local", _("unknown here")
    MISSING_REMOTE = "missing_remote", _("unknown at the provider")
    AMOUNT = "amount", _("amounts differ")
    CURRENCY = "currency", _("currencies differ")
    STATE = "state", _("states differ")
    DUPLICATE = "duplicate", _("paid twice")
    BALANCE = "balance", _("balances differ")


class Break(models.Model):
    """One open question about money. The same question is asked once while it is open, and not again once a person answered it.

    `movements` is the money at the provider that our books do not hold because of it: its reference there -> the net amount in
    minor units of `currency`; `unbooked_minor` is their sum. It stays after the break is resolved, so that balances can be compared.
    """

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
    object_ref = models.CharField(_("charge at the provider"), max_length=255, blank=True)
    taken_minor = models.BigIntegerField(_("taken there"), default=0)
    currency = models.CharField(_("currency"), max_length=3, blank=True)
    movements = models.JSONField(_("movements"), default=dict, blank=True)
    unbooked_minor = models.BigIntegerField(_("not in our books"), default=0)
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
        indexes = [models.Index(fields=["provider", "provider_ref"], name="break_by_reference")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.provider_ref}"

    @property
    def taken(self) -> Money | None:
        return Money(self.taken_minor, self.currency) if self.taken_minor and self.currency else None


class StrayRefund(models.Model):
    """Money of a charge that is not in our books, sent back in full. One per break that did not fail: a second click finds the first.

    Its key at the provider is its id. The states are those of a refund (payments.models.refund), and so is the second person.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    question = models.ForeignKey(
        Break, on_delete=models.PROTECT, related_name="stray_refunds", verbose_name=_("break")
    )
    status = models.CharField(
        _("status"), max_length=16, choices=RefundStatus.choices, default=RefundStatus.REQUESTED
    )
    amount_minor = models.BigIntegerField(_("amount"))
    currency = models.CharField(_("currency"), max_length=3)
    reason = models.CharField(_("reason"), max_length=500)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", verbose_name=_("requested by")
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
    provider_ref = models.CharField(_("provider reference"), max_length=255, blank=True)
    failure_code = models.CharField(_("failure code"), max_length=64, blank=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    submitted_at = models.DateTimeField(_("sent"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)

    class Meta:
        verbose_name = _("refund at the provider")
        verbose_name_plural = _("refunds at the provider")
        constraints = [
            models.CheckConstraint(condition=Q(amount_minor__gt=0), name="stray_refund_amount_positive"),
            models.UniqueConstraint(
                fields=["question"],
                condition=~Q(status__in=["failed", "cancelled"]),
                name="stray_refund_once",
            ),
            models.CheckConstraint(
                condition=Q(needs_approval=False)
                | Q(approved_by__isnull=False)
                | Q(status__in=["requested", "cancelled"]),
                name="stray_refund_waits_for_approval",
            ),
            models.CheckConstraint(
                condition=Q(approved_by__isnull=True, approved_at__isnull=True)
                | Q(approved_by__isnull=False, approved_at__isnull=False, needs_approval=True),
                name="stray_refund_approval_says_when",
            ),
            models.CheckConstraint(
                condition=Q(approved_by__isnull=True) | ~Q(approved_by=models.F("requested_by")),
                name="stray_refund_approver_is_another",
            ),
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


class ReconciliationRun(models.Model):
    """One comparison of our books with a provider's, from `since` to `until`, in both directions.

    At most one per provider is under way. `balances` has a line per currency: what the provider holds, what our books say it holds,
    and what explains the difference, all in minor units.
    """

    provider = models.CharField(_("provider"), max_length=16, choices=Provider.choices)
    since = models.DateTimeField(_("from"))
    until = models.DateTimeField(_("to"))
    started_at = models.DateTimeField(_("started"), db_index=True)
    alive_at = models.DateTimeField(_("last sign of life"))
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("asked for by"),
    )
    checked = models.PositiveIntegerField(_("checked"), default=0)
    healed = models.PositiveIntegerField(_("healed"), default=0)
    opened = models.PositiveIntegerField(_("breaks opened"), default=0)
    closed = models.PositiveIntegerField(_("breaks closed"), default=0)
    clock_skew_seconds = models.IntegerField(_("clock skew in seconds"), default=0)
    balances = models.JSONField(_("balances"), default=list, blank=True)
    error = models.CharField(_("error"), max_length=500, blank=True)

    class Meta:
        verbose_name = _("reconciliation")
        verbose_name_plural = _("reconciliations")
        ordering = ["-started_at", "-pk"]
        permissions = [("start_reconciliation", _("Can start a reconciliation"))]
        constraints = [
            models.UniqueConstraint(
                fields=["provider"],
                condition=Q(finished_at__isnull=True),
                name="reconciliation_one_at_a_time",
            ),
            models.CheckConstraint(
                condition=Q(since__lt=models.F("until")), name="reconciliation_window_is_forward"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_provider_display()} {self.started_at:%Y-%m-%d %H:%M}"
