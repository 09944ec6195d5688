"""Settle: make our state agree with the provider's. The only way the state of a payment changes after it was sent."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from bookings.models import Booking
from bookings.services.confirm import confirm, lock_booking
from bookings.services.errors import CarParkFull
from foundation import jobs
from payments.gateways import gateway_for
from payments.gateways.base import ProviderPayment
from payments.models import PAYMENT_TRANSITIONS, BreakKind, Payment, PaymentStatus, Refund, RefundSource
from payments.services import disputes, documents, ledger, messages, methods, refund
from payments.services.breaks import open_break

PAYABLE = (Booking.Status.HELD, Booking.Status.EXPIRED)


def settle(payment_id: Any) -> Payment:
    """Fetch the provider's truth about a payment and commit what follows from it, all in one commit.

    Safe to repeat, in any order, by anybody: return page, webhook inbox, janitor. Raises Unavailable or Rejected (nothing changed).
    """
    payment = Payment.objects.get(pk=payment_id)
    gateway = gateway_for(payment.provider)
    if payment.provider_ref:
        truth: ProviderPayment | None = gateway.fetch_payment(payment.provider_ref)
    elif payment.submitted_at:
        truth = gateway.find_payment(str(payment.pk), since=payment.submitted_at)
    else:
        truth = None
    return record(payment_id, truth, now=timezone.now())


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
        payment.failure_code, payment.failure_message = truth.failure_code[:64], truth.failure_message
        newly_captured = truth.status == PaymentStatus.CAPTURED and payment.status != PaymentStatus.CAPTURED
        if truth.status in PAYMENT_TRANSITIONS[PaymentStatus(payment.status)]:
            payment.status = truth.status
        if newly_captured:
            payment.captured_minor, payment.captured_at = truth.captured_minor, now
        payment.save()
        if newly_captured:
            ledger.post(
                "capture", payment, amount_minor=truth.captured_minor, currency=payment.currency, at=now
            )
            _honour(payment, booking, now=now)
            documents.issue_receipt(payment, now=now)
        if payment.is_live and payment.is_off_session and truth.needs_customer:
            messages.tell_customer_needed(payment)
        if payment.status == PaymentStatus.CAPTURED:
            if payment.saves_method and payment.user and truth.kept_method:
                methods.keep(payment.user, provider=payment.provider, method=truth.kept_method)
            if truth.fee_minor:
                ledger.post("fee", payment, amount_minor=truth.fee_minor, currency=truth.fee_currency, at=now)
            for one in truth.refunds:
                refund.record_from_provider(payment, one, now=now)
            for disputed in truth.disputes:
                disputes.record_from_provider(payment, disputed, now=now)
            payment.refresh_from_db()
        return payment


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
    """Give the customer the booking that was paid for or, where that is impossible, all the money and an apology."""
    if booking.status in PAYABLE:
        try:
            confirm(booking, now=now)
        except CarParkFull:
            pass
        else:
            messages.tell_paid(payment)
            return
    refund_row = Refund.objects.create(
        payment=payment,
        amount_minor=payment.captured_minor,
        currency=payment.currency,
        reason="paid when the booking could no longer be given",
        source=RefundSource.LATE_PAYMENT,
    )
    jobs.defer("payments.send_refund", refund_id=str(refund_row.pk))
    messages.tell_paid_too_late(payment, refund_row)
