"""Reading money. Nothing here writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from communications.senders.base import Attachment
from foundation.money import Money
from payments.models import (
    Document,
    DocumentKind,
    Payment,
    Refund,
    RefundStatus,
    StoredMethod,
    StoredMethodStatus,
)
from payments.paper import receipt

WAITING = (RefundStatus.REQUESTED, RefundStatus.SUBMITTED, RefundStatus.PENDING, RefundStatus.UNKNOWN)


@dataclass(frozen=True)
class PaymentSummary:
    """A booking's money in one look. `status`: none, pending, failed, paid, refund_pending, partly_refunded, refunded."""

    status: str
    paid: Money
    refunded: Money
    refund_pending: Money
    method_label: str
    payments: list[Payment]
    refunds: list[Refund]


def payments_for(booking: Any) -> QuerySet[Payment]:
    return Payment.objects.filter(booking=booking).order_by("-created_at")


def stored_methods(user: Any) -> QuerySet[StoredMethod]:
    """Return the saved methods that this user may pay with, the default first, then the newest."""
    mine = StoredMethod.objects.filter(user_id=user.pk, status=StoredMethodStatus.ACTIVE)
    return mine.order_by("-is_default", "-created_at")


def payment_summary(booking: Any) -> PaymentSummary:
    """Return what was paid, what went back and what is on its way back, in the booking's currency."""
    payments = list(payments_for(booking).prefetch_related("refunds"))
    refunds = sorted(
        (one for payment in payments for one in payment.refunds.all()), key=lambda one: one.created_at
    )
    paid = sum(payment.captured_minor for payment in payments)
    refunded = sum(payment.refunded_minor for payment in payments)
    waiting = sum(one.amount_minor for one in refunds if one.status in WAITING)
    if paid:
        status = (
            "refund_pending"
            if waiting
            else "paid"
            if not refunded
            else "refunded"
            if refunded >= paid
            else "partly_refunded"
        )
    elif any(payment.is_live for payment in payments):
        status = "pending"
    else:
        status = "failed" if payments else "none"
    return PaymentSummary(
        status=status,
        paid=Money(paid, booking.currency),
        refunded=Money(refunded, booking.currency),
        refund_pending=Money(waiting, booking.currency),
        method_label=next((payment.method_label for payment in payments if payment.captured_minor), ""),
        payments=payments,
        refunds=refunds,
    )


def documents_for(booking: Any) -> QuerySet[Document]:
    """Return the receipts and credit notes of a booking, oldest first."""
    return Document.objects.filter(payment__booking=booking).order_by("issued_at", "number")


def document_for_message(name: str) -> Attachment | None:
    """Return the PDF that a message names ("receipt:<payment's id>", "credit_note:<refund's id>"); None while it is not issued."""
    kind, _colon, subject = name.partition(":")
    owner = {"payment_id": subject} if kind == DocumentKind.RECEIPT else {"refund_id": subject}
    document = Document.objects.filter(kind=kind, **owner).first()
    if document is None:
        return None
    return Attachment(f"{document.number}.pdf", receipt.render(document), "application/pdf")
