"""Refunds: asked for under a lock, sent once, followed until the bank has the money."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from bookings.models import Amendment, Booking, Cancellation
from bookings.services.confirm import lock_booking
from bookings.services.messages import queue_cancellation_without_refund
from foundation import audit, jobs
from foundation.errors import DomainError, InvalidInput
from foundation.money import Money, payable_step
from foundation.transitions import change_status
from payments.gateways import gateway_for
from payments.gateways.base import Declined, OutcomeUnknown, ProviderRefund, Rejected, Unavailable
from payments.models import (
    MONEY_AT_STAKE,
    REFUND_TRANSITIONS,
    BreakKind,
    Payment,
    PaymentStatus,
    Refund,
    RefundSource,
    RefundStatus,
)
from payments.queries import lost_since
from payments.services import approval, disputes, documents, ledger, messages
from payments.services.breaks import open_break

ACCEPTED = (RefundStatus.PENDING, RefundStatus.SUCCEEDED)
UNSENT = (RefundStatus.REQUESTED, RefundStatus.SUBMITTED, RefundStatus.UNKNOWN)


class RefundExceedsCaptured(DomainError):
    code = "refund_exceeds_captured"
    message = _("That is more than is left to refund.")


@dataclass(frozen=True)
class RefundPreview:
    """What a refund would do: the amount, and what could still be refunded after it."""

    amount: Money
    left_after: Money


def preview_refund(payment: Payment, amount_minor: int) -> RefundPreview:
    """Say what a refund would do, changing nothing. Raises InvalidInput, PaymentDisputed, RefundExceedsCaptured."""
    if amount_minor <= 0:
        raise InvalidInput(_("Enter an amount above zero."), field="amount")
    disputes.refuse_while_disputed(payment)
    left = payment.refundable
    if amount_minor > left.amount_minor:
        raise RefundExceedsCaptured(_("Only %(left)s is left to refund.") % {"left": left})
    amount = Money(amount_minor, payment.currency)
    return RefundPreview(amount=amount, left_after=left - amount)


def refuse_odd_amount(payment: Payment, amount_minor: int) -> None:
    """Raise InvalidInput for an amount that the payment's provider cannot name, such as 1.005 KWD. What a policy gives is rounded already."""
    amount = Money(amount_minor, payment.currency)
    if not gateway_for(payment.provider).can_move(amount):
        step = Money(payable_step(payment.currency), payment.currency)
        raise InvalidInput(
            _("%(currency)s is given back in steps of %(step)s. Enter such an amount.")
            % {"currency": amount.currency, "step": step.to_major()},
            field="amount",
        )


def request_refund(
    payment: Payment,
    *,
    amount_minor: int,
    reason: str,
    requested_by: Any,
    source: str,
    cancellation: Cancellation | None = None,
    retries: Refund | None = None,
    needs_approval: bool | None = None,
    amendment: Amendment | None = None,
) -> Refund:
    """Record that money should go back; the worker sends it, above the limit for staff once a second person approved it.

    amount_minor is in payment.currency's minor unit. `needs_approval` is decided here unless the caller (a retry) knows better. Locks the
    booking, then the payment. What staff ask for is audited in the same commit. Raises RefundExceedsCaptured, PaymentDisputed, InvalidInput.
    """
    with transaction.atomic():
        lock_booking(payment.booking_id)
        payment = Payment.objects.select_for_update().get(pk=payment.pk)
        preview_refund(payment, amount_minor)
        asked_by_staff = source == RefundSource.STAFF
        if asked_by_staff:
            refuse_odd_amount(payment, amount_minor)
        if needs_approval is None:
            needs_approval = asked_by_staff and approval.needs_approval(
                payment, amount_minor, now=timezone.now()
            )
        refund = Refund.objects.create(
            payment=payment,
            amount_minor=amount_minor,
            currency=payment.currency,
            reason=reason[:500],
            source=source,
            requested_by=requested_by if getattr(requested_by, "pk", None) else None,
            cancellation=cancellation,
            retries=retries,
            needs_approval=needs_approval,
            amendment=amendment,
        )
        if source in approval.ASKED_FOR_BY_STAFF:
            audit.record(
                actor=requested_by,
                action="refund.retried" if retries else "refund.requested",
                subject=f"payment:{payment.pk}",
                reason=reason,
                data={
                    "amount": str(refund.amount),
                    "refund": str(refund.pk),
                    "needs approval": needs_approval,
                    **({"failed": str(retries.pk)} if retries else {}),
                },
            )
        if not needs_approval:
            jobs.defer("payments.send_refund", refund_id=str(refund.pk))
    return refund


def refund_cancellation(cancellation_id: Any) -> list[Refund]:
    """Request the refund that a cancellation says is due, once, spread over the booking's payments, the latest first.

    Nothing when nothing was paid or nothing is left. While a bank holds money that is needed for it, it waits as a whole: the end of the
    dispute and the janitor ask again.
    """
    with transaction.atomic():
        booking = lock_booking(
            Cancellation.objects.values_list("booking_id", flat=True).get(pk=cancellation_id)
        )
        cancellation = Cancellation.objects.select_for_update().get(pk=cancellation_id)
        # What a bank gave the customer back since then is not given a second time.
        lost = lost_since(Payment.objects.filter(booking=booking), cancellation.created_at)
        made = _spread(
            booking,
            max(cancellation.refund_minor - lost, 0),
            for_={"cancellation": cancellation},
            reason=cancellation.reason or "cancellation",
            requested_by=cancellation.requested_by,
            source=RefundSource.CUSTOMER_CANCELLATION,
        )
        if made is None:
            cancellation.booking = booking
            messages.tell_refund_waits(cancellation)
        elif not made:
            queue_cancellation_without_refund(booking)  # told once: the message's key is the booking's
    return made or []


def refund_amendment(amendment_id: Any) -> list[Refund]:
    """Request what a change of the booking gives back, once. As refund_cancellation."""
    with transaction.atomic():
        booking = lock_booking(Amendment.objects.values_list("booking_id", flat=True).get(pk=amendment_id))
        amendment = Amendment.objects.select_for_update().get(pk=amendment_id)
        made = _spread(
            booking,
            amendment.refund_minor if amendment.status == Amendment.Status.APPLIED else 0,
            for_={"amendment": amendment},
            reason=amendment.reason or "change of the booking",
            requested_by=amendment.requested_by,
            source=RefundSource.AMENDMENT,
        )
    return made or []


def _spread(
    booking: Booking, due_minor: int, *, for_: dict[str, Any], reason: str, requested_by: Any, source: str
) -> list[Refund] | None:
    """Request a sum from the payments of a locked booking, the latest first; a repeat returns the refunds that it has.

    A payment that came late or twice is given back on its own and no part of it. None: a bank holds some of the money, so nothing yet.
    """
    if existing := list(Refund.objects.filter(**for_)):
        return existing
    parts = _parts(_payments_of(booking.pk).select_for_update(), due_minor)
    if parts is None:
        return None
    return [
        request_refund(
            payment, amount_minor=part, reason=reason, requested_by=requested_by, source=source, **for_
        )
        for payment, part in parts
    ]


def _payments_of(booking_id: Any) -> QuerySet[Payment]:
    return (
        Payment.objects.filter(booking_id=booking_id, status=PaymentStatus.CAPTURED)
        .exclude(refunds__source=RefundSource.LATE_PAYMENT)
        .order_by("-captured_at", "-created_at")
    )


def _parts(payments: QuerySet[Payment], due_minor: int) -> list[tuple[Payment, int]] | None:
    """Say what of a sum each payment gives, the latest first; None while a bank holds money that is needed for it."""
    is_disputed = False
    parts: list[tuple[Payment, int]] = []
    for payment in payments:
        part = min(due_minor, payment.refundable.amount_minor)
        if payment.disputes.filter(status__in=MONEY_AT_STAKE).exists():
            is_disputed = True
        elif part > 0:
            parts.append((payment, part))
            due_minor -= part
    return None if due_minor > 0 and is_disputed else parts


def part_of_cancellation(cancellation: Cancellation, payment: Payment) -> Money:
    """Say what of a cancellation's refund comes from this payment, asked for already or not."""
    asked = list(Refund.objects.filter(cancellation=cancellation))
    parts = [(one.payment, one.amount_minor) for one in asked]
    if not asked:
        parts = _parts(_payments_of(cancellation.booking_id), cancellation.refund_minor) or []
    return Money(sum(part for one, part in parts if one.pk == payment.pk), payment.currency)


def send_refund(refund_id: Any) -> Refund:
    """Send a refund to the provider under its own key; after an unknown outcome look first.

    One that waits for a second person, or for a bank that holds the payment's money, stays as it is. Past the provider's key window a refund
    that cannot be found is never sent again: a break is opened. Locks the booking, the payment, the refund. Raises Unavailable.
    """
    now = timezone.now()
    with transaction.atomic():
        lock_booking(Payment.objects.values_list("booking_id", flat=True).get(refunds=refund_id))
        payment = Payment.objects.select_for_update().get(refunds=refund_id)
        refund = Refund.objects.select_for_update().get(pk=refund_id)
        if refund.status not in UNSENT or refund.waits_for_approval:
            return refund
        disputed = payment.disputes.filter(status__in=MONEY_AT_STAKE).exists()
        if disputed and refund.status == RefundStatus.REQUESTED:
            return refund
        sent_before = refund.submitted_at
        if refund.status == RefundStatus.REQUESTED:
            refund.status, refund.submitted_at = RefundStatus.SUBMITTED, now
            refund.save(update_fields=["status", "submitted_at"])
    refund = Refund.objects.select_related("payment__booking").get(pk=refund_id)
    gateway = gateway_for(refund.payment.provider)
    if sent_before is not None:
        found = gateway.find_refund(refund.payment.provider_ref or "", str(refund.pk))
        if found is not None:
            return record(refund.pk, found, now=now)
        if disputed:
            return refund
        if now - sent_before > timedelta(hours=gateway.resend_window_hours):
            open_break(
                BreakKind.MISSING_REMOTE,
                provider=refund.payment.provider,
                provider_ref=str(refund.pk),
                detail="A refund was sent, its outcome is unknown, and the provider does not list it.",
                payment=refund.payment,
            )
            return refund
    try:
        truth = gateway.refund(refund)
    except OutcomeUnknown:
        Refund.objects.filter(pk=refund.pk, status=RefundStatus.SUBMITTED).update(status=RefundStatus.UNKNOWN)
        refund.refresh_from_db()
        return refund
    except Unavailable:
        return refund  # nothing was done: the janitor sends it again
    except (Rejected, Declined) as error:
        code = str(error.details.get("provider_code", "rejected"))
        refused = ProviderRefund(
            "", refund.amount_minor, refund.currency, RefundStatus.FAILED, str(refund.pk), code
        )
        return record(refund.pk, refused, now=now)
    return record(refund.pk, truth, now=now)


def record(refund_id: Any, truth: ProviderRefund, *, now: datetime) -> Refund:
    """Commit the provider's truth about one refund: status, ledger, message. Locks the booking, the payment, the refund."""
    with transaction.atomic():
        booking = lock_booking(Payment.objects.values_list("booking_id", flat=True).get(refunds=refund_id))
        payment = Payment.objects.select_for_update().get(refunds=refund_id)
        payment.booking = booking
        refund = (
            Refund.objects.select_for_update(of=("self",))
            .select_related("payment__booking")
            .get(pk=refund_id)
        )
        return _apply(refund, payment, truth, now=now)


def record_from_provider(payment: Payment, truth: ProviderRefund, *, now: datetime) -> None:
    """Take over a refund seen at the provider. One that we do not know was made there: it is recorded as external.

    The booking and the payment must be locked.
    """
    known = list(payment.refunds.select_for_update(of=("self",)).select_related("payment__booking"))
    refund = next(
        (one for one in known if truth.ref == one.provider_ref or truth.our_id == str(one.pk)), None
    )
    if refund is None:
        if truth.status == RefundStatus.FAILED:
            return
        try:
            with transaction.atomic():
                refund = Refund.objects.create(
                    payment=payment,
                    amount_minor=truth.amount_minor,
                    currency=truth.currency,
                    status=RefundStatus.SUBMITTED,
                    source=RefundSource.EXTERNAL,
                    provider_ref=truth.ref,
                    submitted_at=now,
                )
        except IntegrityError:
            open_break(
                BreakKind.AMOUNT,
                provider=payment.provider,
                provider_ref=truth.ref,
                detail="A refund made at the provider does not fit what is left of the payment.",
                payment=payment,
            )
            return
    _apply(refund, payment, truth, now=now)


def _apply(refund: Refund, payment: Payment, truth: ProviderRefund, *, now: datetime) -> Refund:
    before = RefundStatus(refund.status)
    if before == truth.status or truth.status not in REFUND_TRANSITIONS[before]:
        return refund
    change_status(refund, RefundStatus(truth.status), REFUND_TRANSITIONS)
    refund.provider_ref = refund.provider_ref or truth.ref or None
    refund.failure_code = truth.failure_code[:64]
    refund.finished_at = now if truth.status != RefundStatus.PENDING else None
    refund.save()
    money: dict[str, Any] = {
        "amount_minor": refund.amount_minor,
        "currency": refund.currency,
        "at": now,
        "refund": refund,
    }
    if refund.status == RefundStatus.SUCCEEDED:
        ledger.post("refund", payment, **money)
        documents.issue_credit_note(refund, payment, now=now)
    if refund.status == RefundStatus.FAILED:
        if before == RefundStatus.SUCCEEDED:
            ledger.post("refund_reversal", payment, **money)
            documents.cancel_credit_note(refund, payment, now=now)
        open_break(
            BreakKind.STATE,
            provider=payment.provider,
            provider_ref=refund.provider_ref or str(refund.pk),
            detail=f"The refund failed ({refund.failure_code}); the customer still waits for the money.",
            payment=payment,
        )
    if refund.source == RefundSource.LATE_PAYMENT:  # told with the apology, unless it comes to nothing
        if refund.status == RefundStatus.FAILED:
            messages.tell_refund_failed(refund)
    elif before not in ACCEPTED and (refund.cancellation_id or refund.amendment_id):
        messages.tell_parts(refund)
    elif refund.status == RefundStatus.FAILED:
        messages.tell_refund_failed(refund)
    elif before not in ACCEPTED:
        messages.tell_refund(refund)
    return refund
