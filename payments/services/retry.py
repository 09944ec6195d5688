"""What becomes of a refund that failed: it is sent again as a new one, or staff say how the customer got the money otherwise."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils.translation import gettext_lazy as _

from bookings.services.confirm import lock_booking
from foundation import audit
from foundation.errors import DomainError, InvalidInput
from payments.models import (
    Payment,
    Refund,
    RefundSource,
    RefundStatus,
)
from payments.services import approval, elsewhere
from payments.services.given_up import DUE_ANYWAY
from payments.services.refund import preview_refund, request_refund


class NotRetryable(DomainError):
    code = "not_retryable"
    message = _("This refund needs nothing more: it did not fail, or it was sent again or settled already.")


class PlanChanged(DomainError):
    code = "preview_outdated"
    message = _("What this would do has changed since you looked. Look again and confirm what you see then.")


def unresolved() -> QuerySet[Refund]:
    """Return the refunds that failed and that nobody sent again, settled otherwise or closed."""
    taken_up = Refund.objects.filter(retries=OuterRef("pk")).exclude(status=RefundStatus.CANCELLED)
    return Refund.objects.filter(~Exists(taken_up), status=RefundStatus.FAILED, note="")


def retry_needs_approval(failed: Refund, *, now: datetime) -> bool:
    """Say whether a second person must approve another try: not what was due anyway, nor what was approved once."""
    origin = failed
    while True:
        if origin.approved_by_id is not None or origin.source in DUE_ANYWAY or origin.requested_by is None:
            return False
        if origin.retries is None:
            break
        origin = origin.retries
    return approval.needs_approval(failed.payment, failed.amount_minor, now=now)


def retry_refund(failed_id: Any, *, reason: str, by: Any, shown_approval: bool, now: datetime) -> Refund:
    """Ask for the same amount again under a key of its own; what it needs is reserved anew.

    `shown_approval` is what the person saw about a second person. Locks the booking, the payment, the failed refund. Raises NotRetryable,
    PlanChanged, PaymentDisputed, RefundExceedsCaptured, InvalidInput without a reason.
    """
    with transaction.atomic():
        failed = _failed(failed_id, reason=reason)
        waits = retry_needs_approval(failed, now=now)
        if waits != shown_approval:
            raise PlanChanged
        refund = request_refund(
            failed.payment,
            amount_minor=failed.amount_minor,
            reason=reason,
            requested_by=by,
            source=RefundSource.RETRY,
            retries=failed,
            needs_approval=waits,
        )
        elsewhere.answer_break(failed, by=by, resolution=f"Sent again as refund {refund.pk}.", now=now)
    return refund


def settle_elsewhere(failed_id: Any, *, reason: str, by: Any, now: datetime) -> Refund:
    """Record that the customer got a failed refund's money without the provider, such as by bank transfer. No provider is asked.

    It is a refund of its own that succeeded: it counts against the payment, has a credit note and is told to the customer. Above the limit
    for one person it waits until another one approves it, as any refund that staff ask for. Locks the booking, the payment, the failed
    refund. Raises NotRetryable, PaymentDisputed, RefundExceedsCaptured, InvalidInput without a reason.
    """
    with transaction.atomic():
        failed = _failed(failed_id, reason=reason)
        payment = failed.payment
        preview_refund(payment, failed.amount_minor)
        waits = approval.needs_approval(payment, failed.amount_minor, now=now)
        refund = Refund.objects.create(
            payment=payment,
            amount_minor=failed.amount_minor,
            currency=failed.currency,
            source=RefundSource.ELSEWHERE,
            reason=reason.strip()[:500],
            requested_by=by,
            needs_approval=waits,
            retries=failed,
        )
        audit.record(
            actor=by,
            action="refund.settled_elsewhere",
            subject=f"payment:{payment.pk}",
            reason=refund.reason,
            data={
                "amount": str(refund.amount),
                "refund": str(refund.pk),
                "failed": str(failed.pk),
                "needs approval": waits,
            },
        )
        if not waits:
            elsewhere.book(refund, payment, now=now)
    return refund


def close_failed(failed_id: Any, *, reason: str, by: Any, now: datetime) -> Refund:
    """Note why a failed refund is no longer owed, such as money that the customer's bank gave back. No money moves.

    Locks the booking, the payment, the failed refund. Raises NotRetryable, InvalidInput without a reason.
    """
    with transaction.atomic():
        failed = _failed(failed_id, reason=reason)
        failed.note = reason.strip()[:500]
        failed.save(update_fields=["note"])
        audit.record(
            actor=by,
            action="refund.closed",
            subject=f"payment:{failed.payment_id}",
            reason=failed.note,
            data={"amount": str(failed.amount), "refund": str(failed.pk)},
        )
        elsewhere.answer_break(failed, by=by, resolution=failed.note, now=now)
    return failed


def _failed(refund_id: Any, *, reason: str) -> Refund:
    """Lock and return a failed refund that nobody has dealt with."""
    if not reason.strip():
        raise InvalidInput(_("Say why."), field="reason")
    booking = lock_booking(Payment.objects.values_list("booking_id", flat=True).get(refunds=refund_id))
    payment = Payment.objects.select_for_update().get(refunds=refund_id)
    payment.booking = booking
    refund = Refund.objects.select_for_update(of=("self",)).select_related("retries").get(pk=refund_id)
    if not unresolved().filter(pk=refund_id).exists():
        raise NotRetryable
    refund.payment = payment
    return refund
