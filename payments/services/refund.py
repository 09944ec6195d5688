"""Refunds: asked for under a lock, sent once, followed until the bank has the money."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from bookings.models import Amendment, Booking, Cancellation
from bookings.services.confirm import lock_booking
from bookings.services.messages import queue_cancellation_without_refund
from foundation import audit, jobs
from foundation.errors import DomainError, InvalidInput
from foundation.money import Money
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
from payments.services import disputes, documents, ledger, messages
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


def request_refund(
    payment: Payment,
    *,
    amount_minor: int,
    reason: str,
    requested_by: Any,
    source: str,
    cancellation: Cancellation | None = None,
    amendment: Amendment | None = None,
) -> Refund:
    """Record that money should go back; the worker sends it.

    amount_minor is in payment.currency's minor unit. Locks the booking, then the payment. What staff ask for is audited in the same commit.
    Raises RefundExceedsCaptured, PaymentDisputed, InvalidInput.
    """
    with transaction.atomic():
        lock_booking(payment.booking_id)
        payment = Payment.objects.select_for_update().get(pk=payment.pk)
        preview_refund(payment, amount_minor)
        refund = Refund.objects.create(
            payment=payment,
            amount_minor=amount_minor,
            currency=payment.currency,
            reason=reason[:500],
            source=source,
            requested_by=requested_by if getattr(requested_by, "pk", None) else None,
            cancellation=cancellation,
            amendment=amendment,
        )
        if source == RefundSource.STAFF:
            audit.record(
                actor=requested_by,
                action="refund.requested",
                subject=f"payment:{payment.pk}",
                reason=reason,
                data={"amount": str(refund.amount), "refund": str(refund.pk)},
            )
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
        made = _spread(
            booking,
            cancellation.refund_minor,
            for_={"cancellation": cancellation},
            reason=cancellation.reason or "cancellation",
            requested_by=cancellation.requested_by,
            source=RefundSource.CUSTOMER_CANCELLATION,
        )
        if made == []:
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
    payments = list(
        Payment.objects.select_for_update()
        .filter(booking=booking, status=PaymentStatus.CAPTURED)
        .exclude(refunds__source=RefundSource.LATE_PAYMENT)
        .order_by("-captured_at", "-created_at")
    )
    disputed = {
        payment.pk for payment in payments if payment.disputes.filter(status__in=MONEY_AT_STAKE).exists()
    }
    parts: list[tuple[Payment, int]] = []
    for payment in payments:
        part = min(due_minor, payment.refundable.amount_minor)
        if part > 0 and payment.pk not in disputed:
            parts.append((payment, part))
            due_minor -= part
    if due_minor > 0 and disputed:
        return None
    return [
        request_refund(
            payment, amount_minor=part, reason=reason, requested_by=requested_by, source=source, **for_
        )
        for payment, part in parts
    ]


def send_refund(refund_id: Any) -> Refund:
    """Send a refund to the provider under its own key; after an unknown outcome look first.

    Past the provider's key window a refund that cannot be found is never sent again: a break is opened. Raises Unavailable.
    """
    now = timezone.now()
    with transaction.atomic():
        refund = Refund.objects.select_for_update().get(pk=refund_id)
        if refund.status not in UNSENT:
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
        messages.tell_refund_failed(refund)
    if refund.source == RefundSource.LATE_PAYMENT:
        return refund  # told with the apology
    if refund.cancellation_id or refund.amendment_id:
        _tell_when_whole(refund, before)
    elif refund.status != RefundStatus.FAILED and before not in ACCEPTED:
        messages.tell_refund(refund)
    return refund


def _tell_when_whole(refund: Refund, before: RefundStatus) -> None:
    """Tell of a refund in parts once, with the true sum, when the provider has answered for the last part."""
    for_ = (
        Q(cancellation=refund.cancellation_id) if refund.cancellation_id else Q(amendment=refund.amendment_id)
    )
    parts = list(Refund.objects.filter(for_).order_by("-created_at"))
    accepted = [part for part in parts if part.status in ACCEPTED]
    if before in ACCEPTED or not accepted or any(part.status in UNSENT for part in parts):
        return
    messages.tell_refund(
        accepted[0] if refund not in accepted else refund,
        amount_minor=sum(part.amount_minor for part in accepted),
        is_done=all(part.status == RefundStatus.SUCCEEDED for part in accepted),
    )
