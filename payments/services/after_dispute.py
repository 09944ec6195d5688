"""Refunds that were asked for before a dispute opened: they lie still while the bank has the money, and its decision ends the wait."""

from __future__ import annotations

from datetime import datetime

from django.utils.translation import gettext as _

from bookings.services.messages import queue_cancellation_without_refund
from foundation import audit, jobs
from foundation.transitions import change_status
from payments.models import (
    MONEY_AT_STAKE,
    REFUND_TRANSITIONS,
    DisputeStatus,
    Payment,
    Refund,
    RefundSource,
    RefundStatus,
)
from payments.services.given_up import owe_the_rest


def release_refunds(payment: Payment, *, now: datetime) -> None:
    """Send what waited for the bank's decision if it was for us; cancel it if the customer got the money that way.

    What a policy still owes beyond the lost dispute is asked for anew. The booking and the payment must be locked.
    """
    if payment.disputes.filter(status__in=MONEY_AT_STAKE).exists():
        return
    waiting = payment.refunds.select_for_update(of=("self",)).filter(status=RefundStatus.REQUESTED)
    for refund in waiting.order_by("created_at"):
        paid_back = payment.disputes.filter(
            status__in=(DisputeStatus.LOST, DisputeStatus.REFUNDED), closed_at__gte=refund.created_at
        ).exists()
        if paid_back:
            _give_up(refund, payment, now=now)
        elif not refund.waits_for_approval:
            jobs.defer("payments.send_refund", refund_id=str(refund.pk))


def _give_up(refund: Refund, payment: Payment, *, now: datetime) -> None:
    change_status(refund, RefundStatus.CANCELLED, REFUND_TRANSITIONS)
    refund.finished_at = now
    refund.note = _("The customer's bank gave the money back in a dispute, so it was not sent a second time.")
    refund.save(update_fields=["status", "finished_at", "note"])
    audit.record(
        actor=None,
        action="refund.cancelled",
        subject=f"payment:{payment.pk}",
        reason=refund.note,
        data={"amount": str(refund.amount), "refund": str(refund.pk)},
    )
    payment.refresh_from_db(fields=["captured_minor", "reserved_minor", "disputed_minor"])
    if not owe_the_rest(refund, payment) and refund.source == RefundSource.CUSTOMER_CANCELLATION:
        queue_cancellation_without_refund(payment.booking)
