"""Refunds: asked for under a lock, sent once, followed until the bank has the money."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from bookings.models import Cancellation
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


def refund_cancellation(cancellation_id: Any) -> Refund | None:
    """Request the refund that a cancellation says is due, once. None when nothing was paid or nothing is left.

    While a bank holds the money it waits: None, and the janitor asks again.
    """
    with transaction.atomic():
        booking = lock_booking(
            Cancellation.objects.values_list("booking_id", flat=True).get(pk=cancellation_id)
        )
        cancellation = Cancellation.objects.select_for_update().get(pk=cancellation_id)
        if (existing := Refund.objects.filter(cancellation=cancellation).first()) is not None:
            return existing
        payment = (
            Payment.objects.select_for_update()
            .filter(booking_id=cancellation.booking_id, status=PaymentStatus.CAPTURED)
            .exclude(refunds__source=RefundSource.LATE_PAYMENT)
            .first()
        )
        if payment is not None and payment.disputes.filter(status__in=MONEY_AT_STAKE).exists():
            return None
        left = payment.refundable.amount_minor if payment is not None else 0
        amount_minor = min(cancellation.refund_minor, left)
        if payment is None or amount_minor <= 0:
            queue_cancellation_without_refund(booking)  # told once: the message's key is the booking's
            return None
        return request_refund(
            payment,
            amount_minor=amount_minor,
            reason=cancellation.reason or "cancellation",
            requested_by=cancellation.requested_by,
            source=RefundSource.CUSTOMER_CANCELLATION,
            cancellation=cancellation,
        )


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
        if before not in ACCEPTED and refund.cancellation_id is not None:
            messages.tell_refund(
                refund
            )  # the word that the booking is cancelled, with what is true about its refund
        else:
            messages.tell_refund_failed(refund)
    elif before not in ACCEPTED and refund.source != RefundSource.LATE_PAYMENT:
        messages.tell_refund(refund)  # a late payment's refund was told with the apology
    return refund
