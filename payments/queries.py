"""Reading money. Nothing here writes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet, Sum
from django.utils.translation import gettext as _

from communications.senders.base import Attachment
from foundation.money import Money
from payments.causes import cause_of
from payments.models import (
    MONEY_AT_STAKE,
    Dispute,
    DisputeStatus,
    Document,
    DocumentKind,
    Payment,
    PaymentStatus,
    Refund,
    RefundSource,
    RefundStatus,
    StoredMethod,
    StoredMethodStatus,
)
from payments.paper import receipt

UNDECIDED = (PaymentStatus.PROCESSING, PaymentStatus.UNKNOWN)
WAITING = (RefundStatus.REQUESTED, RefundStatus.SUBMITTED, RefundStatus.PENDING, RefundStatus.UNKNOWN)


def refunds_waiting() -> QuerySet[Refund]:
    """Return the refunds that lie still until a second person approves them, the oldest first."""
    waiting = Refund.objects.filter(
        status=RefundStatus.REQUESTED, needs_approval=True, approved_by__isnull=True
    )
    return waiting.order_by("created_at")


def refunds_waiting_for(user: Any) -> QuerySet[Refund]:
    """Return those of them that this user may approve; one's own are not among them."""
    if not user.has_perm("payments.approve_refund"):
        return Refund.objects.none()
    return refunds_waiting().exclude(requested_by=user)


@dataclass(frozen=True)
class RefundStory:
    """One refund as its customer may know it: how much, and where it stands in a sentence."""

    amount: Money
    state: str
    words: str
    has_failed: bool


def refund_words(refund: Refund) -> str:
    """Say truthfully where a refund stands, to its customer."""
    match refund.status:
        case RefundStatus.SUCCEEDED if refund.source == RefundSource.ELSEWHERE:
            return _("Paid to you another way than by card.")
        case RefundStatus.SUCCEEDED:
            return _("Given back; your bank usually shows it within 5 to 10 days.")
        case RefundStatus.FAILED if refund.note:
            return _("It did not arrive and is no longer due. Write to us if you see that otherwise.")
        case RefundStatus.FAILED:
            return _("It did not arrive. %(why)s") % {"why": _why_it_failed(refund)}
        case RefundStatus.CANCELLED:
            return _("It was not sent.")
        case RefundStatus.PENDING:
            return _("On its way; we watch it until your bank has it.")
        case RefundStatus.REQUESTED if refund.waits_for_approval:
            return _("We are checking it; nothing was sent yet.")
        case RefundStatus.REQUESTED if _is_held_by_bank(refund.payment):
            return _("It waits for your bank's decision about this payment.")
    return _("We are sending it.")


def _why_it_failed(refund: Refund) -> str:
    return _("%(cause)s We see to it and write to you.") % {"cause": cause_of(refund.failure_code).customer}


def dispute_words(payment: Payment) -> str:
    """Say truthfully, to its customer, that a bank disputes a payment; "" when none does."""
    if _is_held_by_bank(payment):
        return _("Disputed: your bank has taken this payment back and decides about it.")
    if any(one.status == DisputeStatus.LOST for one in payment.disputes.all()):
        return _("Your bank gave you money of this payment back in a dispute.")
    if any(one.is_open for one in payment.disputes.all()):
        return _("Your bank asks about this payment.")
    return ""


def _is_held_by_bank(payment: Payment) -> bool:
    return any(one.status in MONEY_AT_STAKE for one in payment.disputes.all())


def refund_stories(refunds: list[Refund]) -> list[RefundStory]:
    """Tell the refunds of a booking to its customer, oldest first. One that was sent again is told once, as it stands now."""
    taken_up = {one.retries_id for one in refunds if one.status != RefundStatus.CANCELLED}
    return [
        RefundStory(
            amount=one.amount,
            state=one.status,
            words=_why_it_failed(one)
            if one.status == RefundStatus.FAILED and not one.note
            else refund_words(one),
            has_failed=one.status == RefundStatus.FAILED,
        )
        for one in refunds
        if one.pk not in taken_up and one.status != RefundStatus.CANCELLED
    ]


@dataclass(frozen=True)
class PaymentSummary:
    """A booking's money in one look. `status`: none, pending, failed, paid, refund_pending, partly_refunded, refunded.

    `held_by_bank` is what banks hold in disputes that are not decided, `taken_by_bank` what they gave back for good.
    `checking` is the payment that its provider has not decided, or has not answered for: nobody should pay again beside it.
    """

    status: str
    checking: Payment | None
    paid: Money
    refunded: Money
    refund_pending: Money
    held_by_bank: Money
    taken_by_bank: Money
    stories: list[RefundStory]
    method_label: str
    payments: list[Payment]
    refunds: list[Refund]


def payments_for(booking: Any) -> QuerySet[Payment]:
    return Payment.objects.filter(booking=booking).order_by("-created_at")


def stored_methods(user: Any) -> QuerySet[StoredMethod]:
    """Return the saved methods that this user may pay with, the default first, then the newest."""
    mine = StoredMethod.objects.filter(user_id=user.pk, status=StoredMethodStatus.ACTIVE)
    return mine.order_by("-is_default", "-created_at")


def was_removed(user: Any, method_id: Any) -> bool:
    """Say whether this was a saved method of this user's own, and is one no more."""
    mine = StoredMethod.objects.filter(pk=method_id, user_id=user.pk)
    return mine.exclude(status=StoredMethodStatus.ACTIVE).exists()


def payment_summary(booking: Any) -> PaymentSummary:
    """Return what was paid, what went back and what is on its way back, in the booking's currency."""
    payments = list(payments_for(booking).prefetch_related("disputes", "refunds__payment__disputes"))
    refunds = sorted(
        (one for payment in payments for one in payment.refunds.all()), key=lambda one: one.created_at
    )
    paid = sum(payment.captured_minor for payment in payments)
    refunded = sum(payment.refunded_minor for payment in payments)
    waiting = sum(one.amount_minor for one in refunds if one.status in WAITING)
    disputes = [one for payment in payments for one in payment.disputes.all()]
    held = sum(one.amount_minor for one in disputes if one.status in MONEY_AT_STAKE)
    taken = sum(one.amount_minor for one in disputes if one.status == DisputeStatus.LOST)
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
        checking=next((payment for payment in payments if payment.status in UNDECIDED), None),
        paid=Money(paid, booking.currency),
        refunded=Money(refunded, booking.currency),
        refund_pending=Money(waiting, booking.currency),
        held_by_bank=Money(held, booking.currency),
        taken_by_bank=Money(taken, booking.currency),
        stories=refund_stories(refunds),
        method_label=next((payment.method_label for payment in payments if payment.captured_minor), ""),
        payments=payments,
        refunds=refunds,
    )


def documents_for(booking: Any) -> QuerySet[Document]:
    """Return the receipts and credit notes of a booking, oldest first."""
    return Document.objects.filter(payment__booking=booking).order_by("issued_at", "number")


def documents_for_message(name: str) -> list[Attachment]:
    """Return the PDFs that a message names, those that are issued by now.

    "receipt:<payment's id>", "credit_note:<refund's id>", or "credit_notes:cancellation_id:<its id>" (amendment_id) for all of one refund in parts.
    """
    kind, _colon, subject = name.partition(":")
    if kind == "credit_notes":
        purpose, _colon, subject = subject.partition(":")
        documents = Document.objects.filter(kind=DocumentKind.CREDIT_NOTE, **{f"refund__{purpose}": subject})
    else:
        owner = "payment_id" if kind == DocumentKind.RECEIPT else "refund_id"
        documents = Document.objects.filter(kind=kind, **{owner: subject})
    return [
        Attachment(f"{document.number}.pdf", receipt.render(document), "application/pdf")
        for document in documents.order_by("issued_at", "pk")
    ]


def lost_since(payments: QuerySet[Payment], at: datetime) -> int:
    """Return what banks gave back for good of these payments since an instant, in minor units: the customer has it."""
    lost = Dispute.objects.filter(payment__in=payments, status=DisputeStatus.LOST, closed_at__gte=at)
    return lost.aggregate(total=Sum("amount_minor", default=0))["total"]
