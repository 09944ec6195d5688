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
    ANSWERABLE,
    DISPUTE_TRANSITIONS,
    MONEY_AT_STAKE,
    BreakKind,
    Dispute,
    DisputeStatus,
    Payment,
)
from payments.services import ledger
from payments.services.after_dispute import release_refunds
from payments.services.breaks import open_break

logger = logging.getLogger(__name__)


UNDER_REVIEW = (DisputeStatus.UNDER_REVIEW, DisputeStatus.WARNING_UNDER_REVIEW)
DECIDED = (DisputeStatus.WON, DisputeStatus.LOST, DisputeStatus.REFUNDED)


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
    elif _is_older(truth, dispute):
        return
    elif truth.status != dispute.status and truth.status not in DISPUTE_TRANSITIONS[dispute.status]:
        _question(
            payment,
            truth,
            BreakKind.STATE,
            f"A dispute that is {dispute.status} here is {truth.status} there.",
        )
        return
    before = "" if is_new else dispute.status
    if (
        before in UNDER_REVIEW and truth.status in ANSWERABLE
    ):  # they want to know more: another answer can be given
        dispute.answer, dispute.answered_by, dispute.answered_at = "", None, None
    change_status(dispute, DisputeStatus(truth.status), DISPUTE_TRANSITIONS)
    dispute.amount_minor, dispute.currency = truth.amount_minor, truth.currency
    dispute.reason, dispute.due_by = truth.reason[:64], truth.due_by or dispute.due_by
    dispute.provider_updated_at = truth.updated_at
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
    if dispute.status in DECIDED and before != dispute.status:
        _end_the_wait(payment, now=now)
    if before != dispute.status:
        logger.warning("dispute %s of payment %s is %s", dispute.provider_ref, payment.pk, dispute.status)
        audit.record(
            actor=None,
            action=f"dispute.{dispute.status}",
            subject=f"payment:{payment.pk}",
            data={"dispute": dispute.provider_ref, "amount": str(dispute.amount), "reason": dispute.reason},
        )


def _is_older(truth: ProviderDispute, dispute: Dispute) -> bool:
    """Whether this look was overtaken by another one. PayPal's clock has whole seconds: within one, a dispute only moves on."""
    if truth.updated_at is None or dispute.provider_updated_at is None:
        return False
    if truth.updated_at == dispute.provider_updated_at:
        return truth.status in ANSWERABLE and dispute.status in UNDER_REVIEW
    return truth.updated_at < dispute.provider_updated_at


def _end_the_wait(payment: Payment, *, now: datetime) -> None:
    """Refunds waited for the bank: now they are sent or given up, and a cancellation's is made or the customer told that none is due."""
    release_refunds(payment, now=now)
    owed = Q(booking_id=payment.booking_id, refund_minor__gt=0, payment_refunds__isnull=True)
    for cancellation in Cancellation.objects.filter(owed):
        jobs.defer("payments.refund_cancellation", cancellation_id=cancellation.pk)
    for amendment in Amendment.objects.filter(owed, status=Amendment.Status.APPLIED):
        jobs.defer("payments.refund_amendment", amendment_id=amendment.pk)


def _question(payment: Payment, truth: ProviderDispute, kind: str, detail: str) -> None:
    open_break(kind, provider=payment.provider, provider_ref=truth.ref, detail=detail, payment=payment)
