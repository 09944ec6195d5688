"""Receipts and credit notes: numbered without gaps, frozen when they are issued."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from foundation.money import Money


class DocumentKind(models.TextChoices):
    RECEIPT = "receipt", _("receipt")
    CREDIT_NOTE = "credit_note", _("credit note")
    # A bank returned the refund: the note that was sent out cannot be taken back or altered, so another one cancels it.
    CREDIT_NOTE_CANCELLATION = "credit_note_cancellation", _("cancellation of a credit note")


SERIES = {
    DocumentKind.RECEIPT: "R",
    DocumentKind.CREDIT_NOTE: "C",
    DocumentKind.CREDIT_NOTE_CANCELLATION: "X",
}


class DocumentCounter(models.Model):
    """The last number given in one operator's series of one year. Its row is locked until the commit that uses the number, so a
    rollback leaves no gap; PostgreSQL refuses any other step than the next one."""

    operator = models.ForeignKey("bookings.Operator", on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=24, choices=DocumentKind.choices)
    year = models.PositiveSmallIntegerField()
    last = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name = _("document counter")
        verbose_name_plural = _("document counters")
        constraints = [
            models.UniqueConstraint(
                fields=["operator", "kind", "year"], name="document_counter_one_per_series"
            )
        ]

    def __str__(self) -> str:
        return f"{SERIES[DocumentKind(self.kind)]}-{self.year}: {self.last}"


class Document(models.Model):
    """What the customer gets on paper about one entry of the ledger: the same amount, in the same commit, append-only.

    `content` is all that the paper says (seller, customer, stay, lines, VAT), as it was when the number was given; rendering it
    gives the same bytes each time. Amounts are positive and in minor units; the kind says which way the money went.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(_("kind"), max_length=24, choices=DocumentKind.choices)
    operator = models.ForeignKey(
        "bookings.Operator", on_delete=models.PROTECT, related_name="documents", verbose_name=_("operator")
    )
    year = models.PositiveSmallIntegerField(_("year"))
    serial = models.PositiveIntegerField(_("serial"))
    number = models.CharField(_("number"), max_length=20, db_index=True)
    issued_at = models.DateTimeField(_("issued"), db_index=True)
    payment = models.ForeignKey(
        "payments.Payment", on_delete=models.PROTECT, related_name="documents", verbose_name=_("payment")
    )
    refund = models.ForeignKey(
        "payments.Refund",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="documents",
        verbose_name=_("refund"),
    )
    total_minor = models.BigIntegerField(_("total"))
    vat_minor = models.BigIntegerField(_("VAT in it"), default=0)
    currency = models.CharField(_("currency"), max_length=3)
    content = models.JSONField(_("content"))

    class Meta:
        verbose_name = _("document")
        verbose_name_plural = _("documents")
        ordering = ["-issued_at", "-number"]
        constraints = [
            models.UniqueConstraint(
                fields=["operator", "kind", "year", "serial"], name="document_number_once"
            ),
            models.UniqueConstraint(
                fields=["payment"], condition=Q(kind="receipt"), name="document_one_receipt_per_payment"
            ),
            models.UniqueConstraint(
                fields=["refund", "kind"],
                condition=Q(refund__isnull=False),
                name="document_one_of_a_kind_per_refund",
            ),
            models.CheckConstraint(condition=Q(kind__in=DocumentKind.values), name="document_kind_known"),
            models.CheckConstraint(
                condition=Q(kind="receipt", refund__isnull=True)
                | (~Q(kind="receipt") & Q(refund__isnull=False)),
                name="document_of_a_refund_names_it",
            ),
            models.CheckConstraint(
                condition=Q(total_minor__gt=0, vat_minor__gte=0, vat_minor__lte=F("total_minor")),
                name="document_amounts_in_range",
            ),
        ]

    def __str__(self) -> str:
        return self.number

    @property
    def total(self) -> Money:
        return Money(self.total_minor, self.currency)

    @property
    def vat(self) -> Money:
        return Money(self.vat_minor, self.currency)
