"""The ledger: append-only double entry. Each transaction's entries add up to zero per currency."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class Account(models.TextChoices):
    """Debits are positive, credits negative."""

    PROVIDER_BALANCE = "provider_balance", _("money held by the provider")
    CUSTOMER_PAYMENTS = "customer_payments", _("taken from customers")
    CUSTOMER_REFUNDS = "customer_refunds", _("given back to customers")
    CUSTOMER_DISPUTES = "customer_disputes", _("taken back by banks")
    PROVIDER_FEES = "provider_fees", _("fees of the provider")
    DISPUTE_FEES = "dispute_fees", _("fees for disputes")
    PAID_ELSEWHERE = "paid_elsewhere", _("paid to customers without the provider")
    BANK = "bank", _("paid out to our bank")


class LedgerKind(models.TextChoices):
    CAPTURE = "capture", _("capture")
    REFUND = "refund", _("refund")
    REFUND_REVERSAL = "refund_reversal", _("refund returned")
    FEE = "fee", _("fee")
    DISPUTE = "dispute", _("dispute")
    DISPUTE_REVERSAL = "dispute_reversal", _("dispute won")
    DISPUTE_FEE = "dispute_fee", _("fee for a dispute")
    PAYOUT = "payout", _("payout")
    PAYOUT_REVERSAL = "payout_reversal", _("payout returned")


PAYOUT_KINDS = (LedgerKind.PAYOUT, LedgerKind.PAYOUT_REVERSAL)


class LedgerTransaction(models.Model):
    """One fact about money. `source_key` is unique, so a fact that is seen twice is booked once."""

    source_key = models.CharField(_("source"), max_length=128, unique=True)
    kind = models.CharField(_("kind"), max_length=24, choices=LedgerKind.choices)
    booking_reference = models.CharField(_("booking"), max_length=16, blank=True, db_index=True)
    payment = models.ForeignKey(
        "payments.Payment",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="ledger",
        verbose_name=_("payment"),
    )
    refund = models.ForeignKey(
        "payments.Refund",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="ledger",
        verbose_name=_("refund"),
    )
    dispute = models.ForeignKey(
        "payments.Dispute",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="ledger",
        verbose_name=_("dispute"),
    )
    payout = models.ForeignKey(
        "payments.Payout",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="ledger",
        verbose_name=_("payout"),
    )
    occurred_at = models.DateTimeField(_("at"), db_index=True)
    description = models.CharField(_("description"), max_length=200, blank=True)

    class Meta:
        verbose_name = _("ledger transaction")
        verbose_name_plural = _("ledger")
        ordering = ["-occurred_at", "-pk"]
        constraints = [
            models.CheckConstraint(condition=Q(kind__in=LedgerKind.values), name="ledger_kind_known"),
            models.CheckConstraint(
                condition=Q(kind__in=PAYOUT_KINDS, payout__isnull=False, payment__isnull=True)
                | (~Q(kind__in=PAYOUT_KINDS) & Q(payout__isnull=True, payment__isnull=False)),
                name="ledger_names_its_subject",
            ),
            models.UniqueConstraint(
                fields=["payment"], condition=Q(kind="capture"), name="ledger_one_capture_per_payment"
            ),
        ]

    def __str__(self) -> str:
        return self.source_key


class LedgerEntry(models.Model):
    """One side of a ledger transaction; amount_minor is signed, in the currency's minor unit."""

    transaction = models.ForeignKey(LedgerTransaction, on_delete=models.PROTECT, related_name="entries")
    account = models.CharField(_("account"), max_length=24, choices=Account.choices, db_index=True)
    amount_minor = models.BigIntegerField(_("amount"))
    currency = models.CharField(_("currency"), max_length=3)

    class Meta:
        verbose_name = _("ledger entry")
        verbose_name_plural = _("ledger entries")
        constraints = [
            models.CheckConstraint(condition=~Q(amount_minor=0), name="ledger_entry_not_zero"),
            models.CheckConstraint(condition=Q(account__in=Account.values), name="ledger_account_known"),
            models.UniqueConstraint(
                fields=["transaction", "account", "currency"], name="ledger_entry_once_per_account"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.account} {self.amount_minor} {self.currency}"
