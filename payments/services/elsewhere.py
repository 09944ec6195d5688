"""Money that staff gave to a customer without the provider, such as by bank transfer: booked and told like any refund."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from foundation.transitions import change_status
from payments.models import REFUND_TRANSITIONS, Account, Break, Payment, Refund, RefundStatus
from payments.services import disputes, documents, ledger, messages


def book(refund: Refund, payment: Payment, *, now: datetime) -> None:
    """Record that a refund's money was paid another way. No provider is asked.

    It counts against the payment, has a credit note and is told to the customer, and the break of the failed refund that it takes the place
    of is answered. The booking, the payment and the refund must be locked. Raises PaymentDisputed.
    """
    disputes.refuse_while_disputed(payment)
    refund.submitted_at = now
    for status in (RefundStatus.SUBMITTED, RefundStatus.SUCCEEDED):
        change_status(refund, status, REFUND_TRANSITIONS)
        refund.finished_at = now if status == RefundStatus.SUCCEEDED else None
        refund.save(update_fields=["status", "submitted_at", "finished_at"])
    ledger.post(
        "refund",
        payment,
        amount_minor=refund.amount_minor,
        currency=refund.currency,
        at=now,
        refund=refund,
        out_of=Account.PAID_ELSEWHERE,
    )
    if refund.retries is not None:
        answer_break(refund.retries, by=refund.requested_by, resolution=refund.reason, now=now)
    messages.tell_refund(refund)
    payment.refresh_from_db()
    documents.issue_credit_note(refund, payment, now=now)  # its counter is the last lock


def answer_break(failed: Refund, *, by: Any, resolution: str, now: datetime) -> None:
    """Close the question that a refund's failure opened: this is its answer."""
    Break.objects.filter(
        payment=failed.payment_id,
        provider_ref=failed.provider_ref or str(failed.pk),
        resolved_at__isnull=True,
    ).update(resolved_at=now, resolved_by=by, resolution=resolution)
