"""What staff decide about money that does not fit: send a stray charge back, say that it is not ours, confirm a lost refund by hand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from foundation import audit, jobs
from foundation.errors import DomainError, InvalidInput
from foundation.money import Money
from foundation.transitions import change_status
from payments.gateways import gateway_for
from payments.gateways.base import Declined, OutcomeUnknown, ProviderRefund, Rejected, Unavailable
from payments.models import (
    REFUND_TRANSITIONS,
    Break,
    BreakKind,
    Refund,
    RefundStatus,
    StrayRefund,
)
from payments.services import approval
from payments.services import refund as refunds
from payments.services.approval import NotWaiting, OwnRequest
from payments.services.recheck import refund_of

STRAY = (BreakKind.MISSING_LOCAL, BreakKind.DUPLICATE)
UNSENT = (RefundStatus.REQUESTED, RefundStatus.SUBMITTED, RefundStatus.UNKNOWN)
UNSURE = (RefundStatus.SUBMITTED, RefundStatus.UNKNOWN, RefundStatus.PENDING)
NOT_MADE = "confirmed_not_made"


class BreakClosed(DomainError):
    code = "break_closed"
    message = _("Somebody settled this break before. Nothing was changed.")


class NotRefundable(DomainError):
    code = "not_refundable"
    message = _("There is no charge to refund here, or nothing of it is left.")


class NothingToConfirm(DomainError):
    code = "nothing_to_confirm"
    message = _("This break is not about a refund whose outcome is unknown.")


@dataclass(frozen=True)
class StrayPreview:
    """What sending a stray back would do: all that is left of the charge."""

    taken: Money
    amount: Money


def can_refund(found: Break) -> bool:
    """Whether the break tells of a charge that is not in our books and was not sent back yet."""
    is_stray = found.kind in STRAY and bool(found.object_ref) and found.taken_minor > 0
    return found.resolved_at is None and is_stray and refund_under_way(found) is None


def refund_under_way(found: Break) -> StrayRefund | None:
    """The break's refund at the provider that waits, goes or was made; what failed or was rejected may be tried anew."""
    tries = StrayRefund.objects.filter(question=found)
    return tries.exclude(status__in=[RefundStatus.FAILED, RefundStatus.CANCELLED]).first()


def waiting_refund(found: Break) -> StrayRefund | None:
    """The break's refund that lies still until a second person decides, if there is one."""
    stray = refund_under_way(found)
    return stray if found.resolved_at is None and stray is not None and stray.waits_for_approval else None


def needs_approval(amount: Money, *, by: Any, now: datetime) -> bool:
    """Say whether sending back this much needs a second person: it and what `by` sent back alone in 24 hours exceed the limit.

    Exact while the row of `by` is locked.
    """
    limit = approval.limit_of(amount.currency)
    if limit is None:
        return False
    alone = StrayRefund.objects.filter(
        requested_by=by,
        currency=amount.currency,
        needs_approval=False,
        created_at__gt=now - approval.COUNTED_FOR,
    ).exclude(status__in=[RefundStatus.FAILED, RefundStatus.CANCELLED])
    return alone.aggregate(total=Sum("amount_minor", default=0))["total"] + amount.amount_minor > limit


def preview_refund(found: Break) -> StrayPreview:
    """Ask the provider what is left of the charge. Raises NotRefundable, Unavailable, Rejected."""
    if not can_refund(found):
        raise NotRefundable
    truth = gateway_for(found.provider).fetch_payment(found.provider_ref)
    given = sum(one.amount_minor for one in truth.refunds if one.status != RefundStatus.FAILED)
    left = truth.captured_minor - given
    if left <= 0:
        raise NotRefundable
    return StrayPreview(Money(truth.captured_minor, truth.currency), Money(left, truth.currency))


def request_refund(break_id: Any, *, amount: Money, reason: str, by: Any) -> StrayRefund:
    """Record that a stray charge goes back; the worker sends it, above the limit once a second person approved it.

    Once per break, until it fails or is rejected. Locks who asks (their parts add up), then the break. Raises BreakClosed, NotRefundable.
    """
    with transaction.atomic():
        get_user_model().objects.select_for_update(no_key=True).get(pk=by.pk)
        found = Break.objects.select_for_update().get(pk=break_id)
        if found.resolved_at is not None:
            raise BreakClosed
        if not can_refund(found):
            raise NotRefundable
        stray = StrayRefund.objects.create(
            question=found,
            amount_minor=amount.amount_minor,
            currency=amount.currency,
            reason=reason[:500],
            requested_by=by,
            needs_approval=needs_approval(amount, by=by, now=timezone.now()),
        )
        audit.record(
            actor=by,
            action="break.refund_requested",
            subject=f"break:{found.pk}",
            reason=reason,
            data={
                "amount": str(amount),
                "charge": found.object_ref,
                "refund": str(stray.pk),
                "needs approval": stray.needs_approval,
            },
        )
        if not stray.needs_approval:
            jobs.defer("payments.send_stray_refund", stray_id=str(stray.pk))
    return stray


def approve(break_id: Any, *, by: Any, now: datetime) -> StrayRefund:
    """Let the waiting refund of a break go out, under the name of another person than its requester. Once.

    Locks the break, then the refund. Raises NotWaiting, OwnRequest.
    """
    with transaction.atomic():
        found, stray = _waiting(break_id)
        if stray.requested_by_id == by.pk:
            raise OwnRequest
        stray.approved_by, stray.approved_at = by, now
        stray.save(update_fields=["approved_by", "approved_at"])
        _audit(found, stray, "break.refund_approved", by=by, reason=stray.reason)
        jobs.defer("payments.send_stray_refund", stray_id=str(stray.pk))
    return stray


def reject(break_id: Any, *, by: Any, reason: str, now: datetime) -> StrayRefund:
    """Cancel the waiting refund of a break, which stays open; its requester may take it back this way.

    Locks the break, then the refund. Raises NotWaiting, InvalidInput without a reason.
    """
    if not reason.strip():
        raise InvalidInput(_("Say why."), field="reason")
    with transaction.atomic():
        found, stray = _waiting(break_id)
        change_status(stray, RefundStatus.CANCELLED, REFUND_TRANSITIONS)
        stray.finished_at = now
        stray.save(update_fields=["status", "finished_at"])
        own = stray.requested_by_id == by.pk
        action = "break.refund_withdrawn" if own else "break.refund_rejected"
        _audit(found, stray, action, by=by, reason=reason.strip()[:500])
    return stray


def _waiting(break_id: Any) -> tuple[Break, StrayRefund]:
    found = Break.objects.select_for_update().get(pk=break_id)
    stray = waiting_refund(found)
    if stray is None:
        raise NotWaiting
    return found, StrayRefund.objects.select_for_update().get(pk=stray.pk)


def _audit(found: Break, stray: StrayRefund, action: str, *, by: Any, reason: str) -> None:
    data = {"amount": str(stray.amount), "charge": found.object_ref, "refund": str(stray.pk)}
    audit.record(actor=by, action=action, subject=f"break:{found.pk}", reason=reason, data=data)


def send_refund(stray_id: Any) -> StrayRefund:
    """Send a stray's refund under its own key; after an unknown outcome look first. Raises Unavailable.

    Past the provider's key window one that cannot be found is never sent again: it waits for a person.
    """
    now = timezone.now()
    with transaction.atomic():
        stray = StrayRefund.objects.select_for_update().get(pk=stray_id)
        if stray.status not in UNSENT or stray.waits_for_approval:
            return stray
        sent_before = stray.submitted_at
        if stray.status == RefundStatus.REQUESTED:
            stray.status, stray.submitted_at = RefundStatus.SUBMITTED, now
            stray.save(update_fields=["status", "submitted_at"])
    stray = StrayRefund.objects.select_related("question").get(pk=stray_id)
    gateway = gateway_for(stray.question.provider)
    if sent_before is not None:
        seen = gateway.find_stray_refund(stray.question.object_ref, key=str(stray.pk))
        if seen is not None:
            return _record(stray.pk, seen, now=now)
        if now - sent_before > timedelta(hours=gateway.resend_window_hours):
            return stray
    try:
        truth = gateway.refund_stray(stray.question.object_ref, stray.amount, key=str(stray.pk))
    except OutcomeUnknown:
        StrayRefund.objects.filter(pk=stray.pk, status=RefundStatus.SUBMITTED).update(
            status=RefundStatus.UNKNOWN
        )
        stray.refresh_from_db()
        return stray
    except Unavailable:
        return stray  # nothing was done: the janitor sends it again
    except (Rejected, Declined) as error:
        code = str(error.details.get("provider_code", "rejected"))
        refused = ProviderRefund("", stray.amount_minor, stray.currency, RefundStatus.FAILED, "", code)
        return _record(stray.pk, refused, now=now)
    return _record(stray.pk, truth, now=now)


def follow(stray_id: Any) -> StrayRefund:
    """Look how a refund on its way goes on. Raises Unavailable, Rejected."""
    stray = StrayRefund.objects.select_related("question").get(pk=stray_id)
    seen = gateway_for(stray.question.provider).find_stray_refund(
        stray.question.object_ref, key=str(stray.pk)
    )
    return _record(stray.pk, seen, now=timezone.now()) if seen is not None else stray


def _record(stray_id: Any, truth: ProviderRefund, *, now: datetime) -> StrayRefund:
    """Commit the provider's truth; a refund that was made settles its break. Locks the break, then the refund."""
    with transaction.atomic():
        found = Break.objects.select_for_update().get(stray_refunds=stray_id)
        stray = StrayRefund.objects.select_for_update().get(pk=stray_id)
        if truth.status == stray.status or truth.status not in REFUND_TRANSITIONS[RefundStatus(stray.status)]:
            return stray
        change_status(stray, RefundStatus(truth.status), REFUND_TRANSITIONS)
        stray.provider_ref = stray.provider_ref or truth.ref
        stray.failure_code = truth.failure_code[:64]
        stray.finished_at = now if truth.status != RefundStatus.PENDING else None
        stray.save()
        if stray.status == RefundStatus.SUCCEEDED and found.resolved_at is None:
            found.resolved_at, found.resolved_by = now, stray.requested_by
            found.resolution = gettext("Refunded at the provider: %(reason)s") % {"reason": stray.reason}
            found.save(update_fields=["resolved_at", "resolved_by", "resolution"])
        audit.record(
            actor=None,
            action=f"break.refund_{stray.status}",
            subject=f"break:{found.pk}",
            data={"refund": stray.provider_ref or str(stray.pk), "code": stray.failure_code},
        )
    return stray


def refund_to_confirm(found: Break) -> Refund | None:
    """The refund whose outcome only a person can tell, because nobody may send it again; None for any other break."""
    if found.resolved_at is not None or found.kind not in (BreakKind.MISSING_REMOTE, BreakKind.STATE):
        return None
    refund = refund_of(found)
    return refund if refund is not None and refund.status in UNSURE else None


def confirm_refund(break_id: Any, *, was_made: bool, reason: str, by: Any, now: datetime) -> Refund:
    """Record what a person saw at the provider: the refund was made, or it was not. Settles the break. Once.

    Made: booked and told as any refund. Not made: it failed, its amount is free for another one, and the customer is told that the
    money has not come. Raises BreakClosed, NothingToConfirm.
    """
    with transaction.atomic():
        payment_of = Break.objects.select_related("payment").get(pk=break_id)
        refund = refund_to_confirm(payment_of)
        if payment_of.resolved_at is not None:
            raise BreakClosed
        if refund is None:
            raise NothingToConfirm
        status = RefundStatus.SUCCEEDED if was_made else RefundStatus.FAILED
        truth = ProviderRefund(
            refund.provider_ref or "", refund.amount_minor, refund.currency, status, str(refund.pk),
            "" if was_made else NOT_MADE,
        )  # fmt: skip
        refund = refunds.record(
            refund.pk, truth, now=now
        )  # its locks: booking, payment, refund; then the break
        found = Break.objects.select_for_update().get(pk=break_id)
        if found.resolved_at is not None:
            raise BreakClosed
        found.resolved_at, found.resolved_by, found.resolution = now, by, reason
        found.save(update_fields=["resolved_at", "resolved_by", "resolution"])
        audit.record(
            actor=by,
            action="break.refund_confirmed_made" if was_made else "break.refund_confirmed_not_made",
            subject=f"break:{found.pk}",
            reason=reason,
            data={"refund": str(refund.pk), "amount": str(refund.amount)},
        )
    return refund
