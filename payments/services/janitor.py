"""The janitor: whatever a crash, a timeout or a lost webhook left half done is finished within a minute or two."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db.models import F, Q
from djstripe.models import WebhookEventTrigger

from bookings.models import Booking, Cancellation
from foundation import jobs
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
    ReconciliationRun,
    Refund,
    RefundStatus,
    StoredMethod,
    StoredMethodStatus,
    StrayRefund,
)
from payments.services import answers, checkout, methods, refund, settle, strays

logger = logging.getLogger(__name__)

DISPUTES_CHECKED_EVERY = timedelta(minutes=15)
STUCK_AFTER = timedelta(seconds=60)
KEEP_EVENTS = timedelta(days=90)
KEEP_DELIVERIES = timedelta(days=7)
BATCH = 200


def sweep(*, now: datetime) -> None:
    """Do one round. Each row on its own: one that fails is logged and does not stop the others."""
    ago = now - STUCK_AFTER
    unchecked = Q(last_checked_at__isnull=True) | Q(last_checked_at__lte=ago)
    live = Payment.objects.filter(unchecked, status__in=LIVE_STATUSES, created_at__lte=ago)
    followed = Payment.objects.filter(
        unchecked & Q(refunds__status=RefundStatus.PENDING)
        | Q(disputes__status__in=OPEN, last_checked_at__lte=now - DISPUTES_CHECKED_EVERY)
    )
    unanswered = Dispute.objects.filter(status__in=ANSWERABLE, answered_at__lte=ago)
    unsent = Refund.objects.filter(
        Q(status=RefundStatus.REQUESTED, created_at__lte=ago)
        | Q(status__in=[RefundStatus.SUBMITTED, RefundStatus.UNKNOWN], submitted_at__lte=ago)
    )
    due = Cancellation.objects.filter(
        refund_minor__gt=0,
        payment_refund__isnull=True,
        booking__payments__captured_minor__gt=F("booking__payments__reserved_minor")
        + F("booking__payments__disputed_minor"),
    ).exclude(booking__payments__disputes__status__in=MONEY_AT_STAKE)
    unsent_strays = StrayRefund.objects.filter(status__in=strays.UNSENT, created_at__lte=ago)
    detaching = StoredMethod.objects.filter(status=StoredMethodStatus.REMOVING, removed_at__lte=ago)
    waiting = ProviderEvent.objects.filter(status=EventStatus.RECEIVED, received_at__lte=ago)
    oldest_first = F("last_checked_at").asc(nulls_first=True)
    _each(live.order_by(oldest_first), lambda pk: finish(pk, now=now))
    _each(followed.order_by(oldest_first), lambda pk: _settle_in_turn(pk, now=now))
    _each(due, refund.refund_cancellation)
    _each(unsent, refund.send_refund)
    _each(unsent_strays, strays.send_refund)
    _each(detaching.order_by("removed_at"), methods.finish_removal)
    _each(unanswered, answers.send_answer)
    _each(waiting, lambda pk: jobs.defer("payments.process_event", queueing_lock=f"event:{pk}", event_id=pk))


def finish(payment_id: Any, *, now: datetime) -> Payment:
    """Settle a live payment; if nobody may pay it any more, cancel it at the provider first."""
    try:
        payment = _settle_in_turn(payment_id, now=now)
    except Gone:  # nobody paid it in time, and nobody can any more
        Payment.objects.filter(pk=payment_id, status__in=LIVE_STATUSES).update(status=PaymentStatus.CANCELLED)
        return Payment.objects.get(pk=payment_id)
    booking = payment.booking
    payable = booking.status == Booking.Status.HELD and booking.hold_expires_at > now
    if payable or not payment.is_live or payment.status == PaymentStatus.PROCESSING:
        return payment
    return checkout.withdraw(payment)


def _settle_in_turn(payment_id: Any, *, now: datetime) -> Payment:
    # In a commit of its own: a payment that cannot be settled takes its turn, and does not stay in front of all others.
    Payment.objects.filter(pk=payment_id).update(last_checked_at=now)
    return settle.settle(payment_id)


def purge(*, now: datetime) -> None:
    """Forget inbox rows and reconciliation runs after 90 days, and raw webhook deliveries after 7."""
    ReconciliationRun.objects.filter(started_at__lt=now - KEEP_EVENTS).delete()
    ProviderEvent.objects.filter(received_at__lt=now - KEEP_EVENTS).exclude(
        status=EventStatus.RECEIVED
    ).delete()
    WebhookEventTrigger.objects.filter(created__lt=now - KEEP_DELIVERIES).delete()
    WebhookEventTrigger.objects.filter(valid=False, created__lt=now - timedelta(hours=1)).delete()


def _each(rows: Any, act: Callable[[Any], object]) -> None:
    keys: Iterable[Any] = list(dict.fromkeys(rows.values_list("pk", flat=True)[:BATCH]))
    for key in keys:
        try:
            act(key)
        except Exception:
            logger.exception("janitor: %s %s is left for the next round", rows.model.__name__, key)
