"""A second person for large refunds: what staff ask for above the limit lies still until somebody else approves it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Sum
from django.utils.translation import gettext_lazy as _

from bookings.services.confirm import lock_booking
from foundation import audit, jobs, rules
from foundation.errors import DomainError, InvalidInput, NotAllowed
from foundation.money import amounts_by_currency
from foundation.transitions import change_status
from payments.models import REFUND_TRANSITIONS, Payment, Refund, RefundSource, RefundStatus
from payments.services import elsewhere
from payments.services.given_up import owe_the_rest

PERMISSION = "payments.approve_refund"
COUNTED_FOR = timedelta(hours=24)
REMIND_AFTER = timedelta(hours=24)
# What people decide. What the policy, a late payment or the provider's own page gives is not asked about.
ASKED_FOR_BY_STAFF = (RefundSource.STAFF, RefundSource.RETRY, RefundSource.ELSEWHERE)


class NotWaiting(DomainError):
    code = "not_waiting"
    message = _("Somebody decided about this refund before. Nothing was changed.")


class OwnRequest(NotAllowed):
    message = _("You asked for this refund yourself. Another person must approve it.")


def limit_of(currency: str) -> int | None:
    """Return above which amount, in minor units, a second person is asked whenever money leaves; None: never."""
    return amounts_by_currency(tuple(rules.value("REFUND_APPROVAL_ABOVE"))).get(currency)


def needs_approval(payment: Payment, amount_minor: int, *, now: datetime) -> bool:
    """Say whether a refund that staff ask for now needs a second person.

    It does when it and what staff sent back alone on this booking in the last 24 hours, whoever asked, exceed the limit: parts add up.
    Exact while the booking is locked.
    """
    limit = limit_of(payment.currency)
    if limit is None:
        return False
    alone = (
        Refund.objects.filter(
            payment__booking_id=payment.booking_id,
            currency=payment.currency,
            source__in=ASKED_FOR_BY_STAFF,
            needs_approval=False,
            created_at__gt=now - COUNTED_FOR,
        )
        .exclude(status__in=[RefundStatus.FAILED, RefundStatus.CANCELLED])
        .aggregate(total=Sum("amount_minor", default=0))["total"]
    )
    return alone + amount_minor > limit


def approve(refund_id: Any, *, by: Any, now: datetime) -> Refund:
    """Let a waiting refund go out, under the name of another person than its requester.

    One effect however many approve at once: locks the booking, the payment, the refund. Raises OwnRequest, NotWaiting, PaymentDisputed.
    """
    with transaction.atomic():
        refund = _waiting(refund_id)
        if refund.requested_by_id == by.pk:
            raise OwnRequest
        refund.approved_by, refund.approved_at = by, now
        refund.save(update_fields=["approved_by", "approved_at"])
        _audit(refund, "refund.approved", by=by, reason=refund.reason)
        if refund.source == RefundSource.ELSEWHERE:
            elsewhere.book(refund, refund.payment, now=now)
        else:
            jobs.defer("payments.send_refund", refund_id=str(refund.pk))
    return refund


def reject(refund_id: Any, *, by: Any, reason: str, now: datetime) -> Refund:
    """Cancel a waiting refund; what it reserved is free again. Its requester may take it back this way.

    Locks the booking, the payment, the refund. Raises NotWaiting, InvalidInput without a reason.
    """
    if not reason.strip():
        raise InvalidInput(_("Say why."), field="reason")
    with transaction.atomic():
        refund = _waiting(refund_id)
        change_status(refund, RefundStatus.CANCELLED, REFUND_TRANSITIONS)
        refund.note, refund.finished_at = reason.strip()[:500], now
        refund.save(update_fields=["status", "note", "finished_at"])
        payment = refund.payment
        payment.refresh_from_db(fields=["captured_minor", "reserved_minor", "disputed_minor"])
        owe_the_rest(refund, payment)
        own = refund.requested_by_id == by.pk
        _audit(refund, "refund.withdrawn" if own else "refund.rejected", by=by, reason=refund.note)
    return refund


def _waiting(refund_id: Any) -> Refund:
    lock_booking(Payment.objects.values_list("booking_id", flat=True).get(refunds=refund_id))
    Payment.objects.select_for_update().get(refunds=refund_id)
    refund = (
        Refund.objects.select_for_update(of=("self",)).select_related("payment__booking").get(pk=refund_id)
    )
    if not refund.waits_for_approval:
        raise NotWaiting
    return refund


def _audit(refund: Refund, action: str, *, by: Any, reason: str) -> None:
    audit.record(
        actor=by,
        action=action,
        subject=f"payment:{refund.payment_id}",
        reason=reason,
        data={"amount": str(refund.amount), "refund": str(refund.pk)},
    )
