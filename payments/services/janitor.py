"""The janitor: whatever a crash, a timeout or a lost webhook left half done is finished within a minute or two."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Exists, F, OuterRef, Q

from bookings.models import Amendment, Cancellation
from foundation import jobs, retention
from payments.gateways.base import Gone
from payments.models import (
    ANSWERABLE,
    LIVE_STATUSES,
    MONEY_AT_STAKE,
    OPEN,
    Dispute,
    EventStatus,
    Payment,
    PaymentStatus,
    ProviderEvent,
    Refund,
    RefundStatus,
    StoredMethod,
    StoredMethodStatus,
    StrayRefund,
)
from payments.services import answers, checkout, methods, refund, settle, strays
from payments.services.due import is_payable

logger = logging.getLogger(__name__)

DISPUTES_CHECKED_EVERY = timedelta(minutes=15)
METHODS_CHECKED_EVERY = timedelta(minutes=15)
STUCK_AFTER = timedelta(seconds=60)
# A wallet that its payment saved is there a little later than the money. The webhook tells; if it is lost, looking does.
METHODS_CHECKED_FOR = timedelta(hours=6)
BATCH = 200


def sweep(*, now: datetime) -> None:
    """Do one round. Each row on its own: one that fails is logged and does not stop the others."""
    ago = now - STUCK_AFTER
    unchecked = Q(last_checked_at__isnull=True) | Q(last_checked_at__lte=ago)
    live = Payment.objects.filter(unchecked, status__in=LIVE_STATUSES, created_at__lte=ago)
    unkept = Q(
        saves_method=True, status=PaymentStatus.CAPTURED, captured_at__gt=now - METHODS_CHECKED_FOR
    ) & ~Exists(
        StoredMethod.objects.filter(
            user=OuterRef("user"), provider=OuterRef("provider"), created_at__gte=OuterRef("created_at")
        )
    )
    followed = Payment.objects.filter(
        unchecked & Q(refunds__status=RefundStatus.PENDING)
        | unkept & Q(last_checked_at__lte=now - METHODS_CHECKED_EVERY)
        | Q(disputes__status__in=OPEN, last_checked_at__lte=now - DISPUTES_CHECKED_EVERY)
    )
    unanswered = Dispute.objects.filter(status__in=ANSWERABLE, answered_at__lte=ago)
    waits_for_approval = Q(needs_approval=True, approved_by__isnull=True)
    waits_for_bank = Exists(Dispute.objects.filter(payment=OuterRef("payment"), status__in=MONEY_AT_STAKE))
    unaccepted = Dispute.objects.filter(
        ~Q(acceptance_needs_approval=True, acceptance_approved_by__isnull=True),
        status__in=MONEY_AT_STAKE,
        accepted_at__lte=ago,
    )
    unsent = Refund.objects.filter(
        Q(~waits_for_approval, ~waits_for_bank, status=RefundStatus.REQUESTED, created_at__lte=ago)
        | Q(status__in=[RefundStatus.SUBMITTED, RefundStatus.UNKNOWN], submitted_at__lte=ago)
    )
    owed = Q(refund_minor__gt=0, payment_refunds__isnull=True, booking__kept_minor__gt=0)
    cancelled = Cancellation.objects.filter(owed)
    reduced = Amendment.objects.filter(owed, status=Amendment.Status.APPLIED)
    unsent_strays = StrayRefund.objects.filter(
        ~waits_for_approval, status__in=strays.UNSENT, created_at__lte=ago
    )
    detaching = StoredMethod.objects.filter(status=StoredMethodStatus.REMOVING, removed_at__lte=ago)
    waiting = ProviderEvent.objects.filter(status=EventStatus.RECEIVED, received_at__lte=ago)
    oldest_first = F("last_checked_at").asc(nulls_first=True)
    _each(live.order_by(oldest_first), lambda pk: finish(pk, now=now))
    _each(followed.order_by(oldest_first), lambda pk: _settle_in_turn(pk, now=now))
    _each(cancelled.order_by("created_at"), refund.refund_cancellation)
    _each(reduced.order_by("created_at"), refund.refund_amendment)
    _each(unsent, refund.send_refund)
    _each(unsent_strays, strays.send_refund)
    _each(detaching.order_by("removed_at"), methods.finish_removal)
    _each(unanswered, answers.send_answer)
    _each(unaccepted, answers.send_acceptance)
    _each(waiting, lambda pk: jobs.defer("payments.process_event", queueing_lock=f"event:{pk}", event_id=pk))


def finish(payment_id: Any, *, now: datetime) -> Payment:
    """Settle a live payment; if nobody may pay it any more, cancel it at the provider first."""
    try:
        payment = _settle_in_turn(payment_id, now=now)
    except Gone:  # nobody paid it in time, and nobody can any more
        Payment.objects.filter(pk=payment_id, status__in=LIVE_STATUSES).update(status=PaymentStatus.CANCELLED)
        return Payment.objects.get(pk=payment_id)
    if is_payable(payment, now=now) or not payment.is_live or payment.status == PaymentStatus.PROCESSING:
        return payment
    return checkout.withdraw(payment)


def _settle_in_turn(payment_id: Any, *, now: datetime) -> Payment:
    # In a commit of its own: a payment that cannot be settled takes its turn, and does not stay in front of all others.
    Payment.objects.filter(pk=payment_id).update(last_checked_at=now)
    return settle.settle(payment_id)


def purge(*, now: datetime) -> None:
    """Forget what providers told, each after its term (payments.retention)."""
    retention.run(now=now, only="payments.retention")


def _each(rows: Any, act: Callable[[Any], object]) -> None:
    keys: Iterable[Any] = list(dict.fromkeys(rows.values_list("pk", flat=True)[:BATCH]))
    for key in keys:
        try:
            act(key)
        except Exception:
            logger.exception("janitor: %s %s is left for the next round", rows.model.__name__, key)
