"""Settle: make our state agree with the provider's. The only way the state of a payment changes after it was sent.

Where the provider takes nothing before we capture, settling is also what captures: whoever comes first, the return page, a webhook
or the janitor. An approval is captured only while the booking can be given.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from bookings.models import Booking
from bookings.services.amend import AmendmentLapsed, apply_amendment, could_apply
from bookings.services.confirm import confirm, could_confirm, lock_booking
from bookings.services.errors import CarParkFull
from foundation import jobs
from payments.gateways import gateway_for
from payments.gateways.base import Declined, Gateway, OutcomeUnknown, ProviderPayment, Rejected
from payments.models import (
    LIVE_STATUSES,
    PAYMENT_TRANSITIONS,
    BreakKind,
    Payment,
    PaymentStatus,
    Refund,
    RefundSource,
)
from payments.services import declines, disputes, documents, ledger, messages, methods, refund
from payments.services.breaks import open_break

# A call that was made may still take money, whatever the provider says meanwhile.
TAKING_LASTS = timedelta(seconds=60)
CAPTURING = (PaymentStatus.PROCESSING, PaymentStatus.UNKNOWN)
PAYABLE = (Booking.Status.HELD, Booking.Status.EXPIRED)


def settle(payment_id: Any, *, is_disputed: bool = False) -> Payment:
    """Fetch the provider's truth about a payment, capture what the customer agreed to, and commit what follows in one commit.

    is_disputed: somebody says so, hence the provider is asked about disputes; for a payment with a known one it always is.
    Safe to repeat, in any order, by anybody: return page, webhook inbox, janitor. Raises Unavailable or Rejected (nothing changed),
    OutcomeUnknown (a capture was asked for; settle again).
    """
    payment = Payment.objects.get(pk=payment_id)
    gateway = gateway_for(payment.provider)
    if payment.provider_ref:
        truth: ProviderPayment | None = gateway.fetch_payment(
            payment.provider_ref, with_disputes=is_disputed or payment.disputes.exists()
        )
    elif payment.submitted_at:
        truth = gateway.find_payment(str(payment.pk), since=payment.submitted_at)
    else:
        truth = None
    payment = record(payment_id, truth, now=timezone.now())
    if truth is not None and truth.awaits_capture:
        payment = _capture(payment, truth, gateway)
    return payment


def _capture(payment: Payment, truth: ProviderPayment, gateway: Gateway) -> Payment:
    """Take what the customer agreed to: intent, call, record. A refusal is final for this payment; the customer starts another one."""
    if not _intend_capture(payment.pk, truth):
        return Payment.objects.select_related("booking").get(pk=payment.pk)
    under_way = Payment.objects.filter(pk=payment.pk, status__in=LIVE_STATUSES)
    try:
        taken = gateway.capture_payment(payment)
    except (Declined, Rejected) as error:
        code = str(error.details.get("provider_code", "rejected"))[:64]
        under_way.update(status=PaymentStatus.FAILED, failure_code=code)
        return Payment.objects.select_related("booking").get(pk=payment.pk)
    except OutcomeUnknown:
        under_way.update(status=PaymentStatus.UNKNOWN)
        raise
    return record(payment.pk, taken, now=timezone.now())


def _intend_capture(payment_id: Any, truth: ProviderPayment) -> bool:
    """Commit that we are about to take the money, or that we never will. Locks the booking, then the payment.

    Not taken: money for a booking that cannot be given any more, for another amount than was asked for, or for a payment that was
    given up.
    """
    with transaction.atomic():
        booking = lock_booking(Payment.objects.values_list("booking_id", flat=True).get(pk=payment_id))
        payment = Payment.objects.select_for_update().get(pk=payment_id)
        if not payment.is_live or _difference(payment, truth):
            return False
        now = timezone.now()
        wanted = (
            could_confirm(booking, now=now)
            if payment.amendment is None
            else could_apply(payment.amendment, booking, now=now)
        )
        payment.status = PaymentStatus.PROCESSING if wanted else PaymentStatus.CANCELLED
        payment.taking_since = timezone.now() if wanted else None
        payment.save(update_fields=["status", "taking_since"])
    return wanted


def record(payment_id: Any, truth: ProviderPayment | None, *, now: datetime) -> Payment:
    """Commit a truth that was just fetched. Locks the booking, then the payment. `None`: the provider knows nothing of it."""
    with transaction.atomic():
        booking = lock_booking(Payment.objects.values_list("booking_id", flat=True).get(pk=payment_id))
        payment = Payment.objects.select_for_update().get(pk=payment_id)
        payment.booking = booking
        payment.last_checked_at = now
        if truth is None:
            payment.save(update_fields=["last_checked_at"])
            return payment
        difference = _difference(payment, truth)
        if difference:
            kind, detail = difference
            if kind != BreakKind.STATE:  # it is our payment, only wrong: never lose sight of it
                payment.provider_ref = payment.provider_ref or truth.ref
            payment.save(update_fields=["last_checked_at", "provider_ref"])
            open_break(
                kind, provider=payment.provider, provider_ref=truth.ref, detail=detail, payment=payment
            )
            return payment
        payment.provider_ref = payment.provider_ref or truth.ref
        payment.method_label = truth.method_label[:64] or payment.method_label
        newly_captured = truth.status == PaymentStatus.CAPTURED and payment.status != PaymentStatus.CAPTURED
        if newly_captured or (
            payment.is_live and not truth.is_untaken
        ):  # the reason of a failure that is over stays
            payment.failure_code, payment.failure_message = truth.failure_code[:64], truth.failure_message
        waited = payment.status == PaymentStatus.PROCESSING
        # What somebody is about to take is not waiting for the customer, although the provider says so still.
        being_captured = (
            truth.is_untaken
            and payment.status in CAPTURING
            and (truth.awaits_capture or _is_being_taken(payment, now))
        )
        if truth.status in PAYMENT_TRANSITIONS[PaymentStatus(payment.status)] and not being_captured:
            payment.status = truth.status
        if newly_captured:
            payment.captured_minor, payment.captured_at = truth.captured_minor, now
        payment.save()
        declines.note(payment, truth, now=now)
        if newly_captured:
            ledger.post(
                "capture", payment, amount_minor=truth.captured_minor, currency=payment.currency, at=now
            )
            _honour(payment, booking, now=now)
        elif waited and payment.status == PaymentStatus.FAILED:
            messages.tell_payment_failed(payment)
        if payment.is_live and payment.is_off_session and truth.needs_customer:
            messages.tell_customer_needed(payment)
        if payment.status == PaymentStatus.CAPTURED:
            if payment.saves_method and payment.user and truth.kept_method:
                methods.keep(
                    payment.user, provider=payment.provider, method=truth.kept_method, paid_with=True
                )
            if newly_captured:  # after every other lock: its counter is shared by all who pay this operator
                documents.issue_receipt(payment, now=now)
            if truth.fee_minor:
                ledger.post("fee", payment, amount_minor=truth.fee_minor, currency=truth.fee_currency, at=now)
            for one in truth.refunds:
                refund.record_from_provider(payment, one, now=now)
            for disputed in truth.disputes:
                disputes.record_from_provider(payment, disputed, now=now)
            payment.refresh_from_db()
        return payment


def _is_being_taken(payment: Payment, now: datetime) -> bool:
    return payment.taking_since is not None and now - payment.taking_since < TAKING_LASTS


def _difference(payment: Payment, truth: ProviderPayment) -> tuple[str, str] | None:
    if truth.our_id and truth.our_id != str(payment.pk):
        return BreakKind.STATE, f"The provider's object names payment {truth.our_id[:64]}, not {payment.pk}."
    if truth.currency != payment.currency:
        return BreakKind.CURRENCY, f"We asked for {payment.currency}; the provider has {truth.currency}."
    taken = truth.captured_minor if truth.status == PaymentStatus.CAPTURED else truth.amount_minor
    if taken != payment.amount_minor:
        return (
            BreakKind.AMOUNT,
            f"We asked for {payment.amount_minor} {payment.currency}; the provider has {taken}.",
        )
    return None


def _honour(payment: Payment, booking: Booking, *, now: datetime) -> None:
    """Give the customer what was paid for, the booking or its change, or where that is impossible all the money and the reason."""
    paid_before = (
        booking.payments.filter(status=PaymentStatus.CAPTURED, amendment=payment.amendment)
        .exclude(pk=payment.pk)
        .exclude(refunds__source=RefundSource.LATE_PAYMENT)
        .exists()
    )
    if not paid_before and _give(payment, booking, now=now):
        messages.tell_paid(payment)
        return
    refund_row = Refund.objects.create(
        payment=payment,
        amount_minor=payment.captured_minor,
        currency=payment.currency,
        reason="paid a second time" if paid_before else "paid when it could no longer be given",
        source=RefundSource.LATE_PAYMENT,
    )
    jobs.defer("payments.send_refund", refund_id=str(refund_row.pk))
    if paid_before:
        messages.tell_paid_twice(payment, refund_row)
    elif payment.amendment is not None:
        messages.tell_change_paid_too_late(payment, refund_row)
    else:
        messages.tell_paid_too_late(payment, refund_row)


def _give(payment: Payment, booking: Booking, *, now: datetime) -> bool:
    """Confirm the booking, or make its change. Say whether that was possible."""
    try:
        if payment.amendment is not None:
            apply_amendment(payment.amendment, booking, now=now)
        elif booking.status in PAYABLE:
            confirm(booking, now=now)
        else:
            return False
    except (CarParkFull, AmendmentLapsed):
        return False
    return True
