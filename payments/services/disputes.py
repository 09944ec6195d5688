"""Disputes: the provider's truth, taken over under the lock. Answering is in answers.py."""

from __future__ import annotations

import logging
from datetime import datetime

from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from bookings.models import Amendment, Cancellation
from foundation import audit, jobs
from foundation.errors import DomainError
from foundation.transitions import change_status
from payments.gateways.base import ProviderDispute
from payments.models import (
    DISPUTE_TRANSITIONS,
    MONEY_AT_STAKE,
    BreakKind,
    Dispute,
    DisputeStatus,
    Payment,
)
from payments.services import ledger
from payments.services.breaks import open_break

logger = logging.getLogger(__name__)


class PaymentDisputed(DomainError):
    code = "payment_disputed"
    message = _(
        "The customer's bank has taken this payment back and decides about it. A refund now could pay the customer twice; wait for "
        "the decision."
    )


def refuse_while_disputed(payment: Payment) -> None:
    """Raise PaymentDisputed while a bank holds the payment's money."""
    if payment.disputes.filter(status__in=MONEY_AT_STAKE).exists():
        raise PaymentDisputed


def record_from_provider(payment: Payment, truth: ProviderDispute, *, now: datetime) -> None:
    """Take over a dispute as the provider has it: state, deadline, and each movement of money into the ledger, once.

    The booking and the payment must be locked. What cannot be ours (another currency, a state that cannot follow) becomes a break.
    """
    if truth.currency != payment.currency:
        _question(
            payment,
            truth,
            BreakKind.CURRENCY,
            f"A dispute in {truth.currency} of a payment in {payment.currency}.",
        )
        return
    dispute = (
        Dispute.objects.select_for_update().filter(provider=payment.provider, provider_ref=truth.ref).first()
    )
    is_new = dispute is None
    if dispute is None:
        dispute = Dispute(
            payment=payment,
            provider=payment.provider,
            provider_ref=truth.ref,
            status=truth.status,
            opened_at=truth.opened_at,
        )
    elif truth.status != dispute.status and truth.status not in DISPUTE_TRANSITIONS[dispute.status]:
        _question(
            payment,
            truth,
            BreakKind.STATE,
            f"A dispute that is {dispute.status} here is {truth.status} there.",
        )
        return
    before = "" if is_new else dispute.status
    change_status(dispute, DisputeStatus(truth.status), DISPUTE_TRANSITIONS)
    dispute.amount_minor, dispute.currency = truth.amount_minor, truth.currency
    dispute.reason, dispute.due_by = truth.reason[:64], truth.due_by
    dispute.closed_at = None if dispute.is_open else dispute.closed_at or now
    dispute.save()
    for move in truth.moves:
        if move.amount_minor:
            kind = "dispute" if move.amount_minor < 0 else "dispute_reversal"
            ledger.post(
                kind,
                payment,
                amount_minor=abs(move.amount_minor),
                currency=move.currency,
                at=now,
                dispute=dispute,
                fact=move.ref,
            )
        if move.fee_minor:
            ledger.post(
                "dispute_fee",
                payment,
                amount_minor=move.fee_minor,
                currency=move.currency,
                at=now,
                dispute=dispute,
                fact=move.ref,
            )
    if dispute.status in (DisputeStatus.WON, DisputeStatus.LOST) and before != dispute.status:
        _end_the_wait(payment)
    if before != dispute.status:
        logger.warning("dispute %s of payment %s is %s", dispute.provider_ref, payment.pk, dispute.status)
        audit.record(
            actor=None,
            action=f"dispute.{dispute.status}",
            subject=f"payment:{payment.pk}",
            data={"dispute": dispute.provider_ref, "amount": str(dispute.amount), "reason": dispute.reason},
        )


def _end_the_wait(payment: Payment) -> None:
    """A refund for a cancellation or a change waited for the bank: now it is made, or the customer is told that none is due."""
    owed = Q(booking_id=payment.booking_id, refund_minor__gt=0, payment_refunds__isnull=True)
    for cancellation in Cancellation.objects.filter(owed):
        jobs.defer("payments.refund_cancellation", cancellation_id=cancellation.pk)
    for amendment in Amendment.objects.filter(owed, status=Amendment.Status.APPLIED):
        jobs.defer("payments.refund_amendment", amendment_id=amendment.pk)


def _question(payment: Payment, truth: ProviderDispute, kind: str, detail: str) -> None:
    open_break(kind, provider=payment.provider, provider_ref=truth.ref, detail=detail, payment=payment)
