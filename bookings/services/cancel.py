"""Cancelling: shown first, then done exactly as shown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core import signing
from django.db import transaction
from django.utils.translation import gettext as _

from bookings.models import TRANSITIONS, Booking, BookingEvent, Cancellation
from bookings.services.confirm import lock_booking
from bookings.services.errors import NotCancellable, PreviewOutdated
from bookings.services.lapse import withdraw_amendment
from bookings.services.messages import queue_cancellation_without_refund
from bookings.services.space import release
from foundation import audit
from foundation.jobs import defer
from foundation.money import Money, payable, percent_of
from foundation.transitions import change_status

Status = Booking.Status
PREVIEW_LIFETIME = timedelta(minutes=10)
SALT = "bookings.cancellation_preview"


@dataclass(frozen=True)
class CancellationPreview:
    """What would come back, line by line, and the token that makes it come true until `expires_at` (UTC)."""

    refund: Money
    lines: list[dict[str, Any]]
    token: str
    expires_at: datetime


def refund_due(booking: Booking, *, at: datetime) -> tuple[Money, list[dict[str, Any]]]:
    """Return the refund under the frozen policy for a cancellation at `at`, and the lines that add up to it.

    The tier with the longest notice that is still met decides; a price line with a `refund_percent` of its own (left by a change of the
    booking) gives back no more than that. The fee never exceeds what would come back; what a bank gave back counts as given, and never
    more goes back than we hold.
    """
    if booking.status == Status.HELD:
        return Money(0, booking.currency), []
    percent = percent_at(booking, at=at)
    capped = _capped_lines(booking)
    back, fee = _policy_gives(booking, at=at)
    kept = capped.get(0, 0)
    lines = [{"label": _("Price of the booking"), "rule": "price", "amount_minor": booking.total_minor}]
    if kept:
        lines.append({"label": _("Kept when the booking was changed"), "rule": "kept", "amount_minor": -kept})
    if back != booking.total_minor - kept:
        label = (
            _("Not refunded at this notice")
            if any(cap and amount for cap, amount in capped.items())
            else _("Not refunded at this notice (%(percent)d %%)") % {"percent": 100 - percent}
        )
        lines.append({"label": label, "rule": "notice", "amount_minor": back - booking.total_minor + kept})
    if fee:
        lines.append({"label": _("Cancellation fee"), "rule": "fee", "amount_minor": -fee})
    due = back - fee
    if by_bank := min(booking.taken_back_minor, due):
        lines.append({"label": _("Given back by your bank"), "rule": "bank", "amount_minor": -by_bank})
        due -= by_bank
    if due > booking.kept_minor:
        given = booking.kept_minor - due
        lines.append({"label": _("Already given back"), "rule": "refunded", "amount_minor": given})
        due = booking.kept_minor
    return Money(due, booking.currency), lines


def most_given_back(booking: Booking, *, at: datetime) -> int:
    """Return what the frozen policy gives for the whole booking at `at`, its fee and what a bank gave taken, in minor units."""
    back, fee = _policy_gives(booking, at=at)
    return max(back - fee - booking.taken_back_minor, 0)


def _policy_gives(booking: Booking, *, at: datetime) -> tuple[int, int]:
    """Return what the policy gives of the price, and the fee that it keeps of that."""
    percent = percent_at(booking, at=at)
    capped = _capped_lines(booking)
    back = percent_of(booking.total_minor - sum(capped.values()), percent)
    back += sum(percent_of(amount, min(cap, percent)) for cap, amount in capped.items())
    back = min(max(payable(back, booking.currency), 0), booking.total_minor)
    return back, min(payable(booking.policy.get("fee_minor") or 0, booking.currency), back)


def percent_at(booking: Booking, *, at: datetime) -> int:
    """Return how much of the price the frozen policy gives back at this notice, in percent."""
    notice = booking.start_at - at
    tiers = sorted(booking.policy.get("tiers", []), key=lambda tier: -tier["notice_hours"])
    return next(
        (tier["refund_percent"] for tier in tiers if notice >= timedelta(hours=tier["notice_hours"])), 0
    )


def _capped_lines(booking: Booking) -> dict[int, int]:
    """Sum the price lines that changes have capped, in minor units by their percent."""
    sums: dict[int, int] = {}
    for line in booking.lines:
        cap = line.get("refund_percent", 100)
        if cap < 100:
            sums[cap] = sums.get(cap, 0) + line["amount_minor"]
    return sums


def preview_cancellation(booking: Booking, *, now: datetime) -> CancellationPreview:
    """Say what cancelling would give back. Changes nothing. Raises NotCancellable."""
    _refuse_unless_cancellable(booking, at=now)
    refund, lines = refund_due(booking, at=now)
    expires_at = now + PREVIEW_LIFETIME
    token = signing.dumps(
        {
            "booking": booking.pk,
            "status": booking.status,
            "at": now.timestamp(),
            "refund": refund.amount_minor,
        },
        salt=SALT,
    )
    return CancellationPreview(refund=refund, lines=lines, token=token, expires_at=expires_at)


def cancel(
    booking: Booking, *, preview_token: str, now: datetime, requested_by: Any = None, reason: str = ""
) -> Cancellation:
    """Cancel with exactly the refund that the preview showed.

    Gives the space back and hands the refund to payments. Locks the booking row. A hold is let go without
    a refund. Raises PreviewOutdated, NotCancellable.
    """
    with transaction.atomic():
        locked = lock_booking(booking.pk)
        shown_at, shown_minor = _read_token(preview_token, booking=locked, now=now)
        _refuse_unless_cancellable(locked, at=shown_at)
        refund, lines = refund_due(locked, at=shown_at)
        if refund.amount_minor != shown_minor:
            raise PreviewOutdated
        change_status(locked, Status.CANCELLED, TRANSITIONS)
        locked.cancelled_at = now
        locked.save(update_fields=["status", "cancelled_at"])
        actor = requested_by if getattr(requested_by, "pk", None) else None
        cancellation = Cancellation.objects.create(
            booking=locked,
            refund_minor=refund.amount_minor,
            currency=refund.currency,
            lines=lines,
            requested_by=actor,
            reason=reason.replace("\x00", "").strip()[:1000],
            created_at=now,
        )
        if actor is not None and actor.is_staff and actor.pk != locked.user_id:
            audit.record(
                actor=actor,
                action="booking.cancel",
                subject=f"booking:{locked.reference}",
                reason=cancellation.reason,
                data={"refund": str(refund)},
            )
        BookingEvent.objects.create(
            booking=locked,
            kind=BookingEvent.Kind.CANCELLED,
            at=now,
            actor=actor,
            data={"refund_minor": refund.amount_minor, "currency": refund.currency},
        )
        if refund:
            defer("payments.refund_cancellation", cancellation_id=cancellation.pk)
        else:
            queue_cancellation_without_refund(locked)
        release(locked, now=now)
        withdraw_amendment(locked, now=now, by=actor)
    booking.status, booking.cancelled_at = locked.status, locked.cancelled_at
    return cancellation


def _refuse_unless_cancellable(booking: Booking, *, at: datetime) -> None:
    if booking.status == Status.CANCELLED:
        raise NotCancellable(_("This booking is already cancelled."))
    if booking.status not in (Status.HELD, Status.CONFIRMED):
        raise NotCancellable
    if booking.status == Status.CONFIRMED and booking.start_at <= at:
        raise NotCancellable(_("The stay has begun, so this booking can no longer be cancelled."))


def _read_token(token: str, *, booking: Booking, now: datetime) -> tuple[datetime, int]:
    try:
        shown = signing.loads(token, salt=SALT)
        shown_at = datetime.fromtimestamp(shown["at"], tz=UTC)
    except (signing.BadSignature, KeyError, TypeError, ValueError, UnicodeError):
        raise PreviewOutdated from None
    if shown["booking"] != booking.pk:
        raise PreviewOutdated
    if booking.status == Status.CANCELLED:
        raise NotCancellable(_("This booking is already cancelled."))
    if shown["status"] != booking.status or not shown_at <= now < shown_at + PREVIEW_LIFETIME:
        raise PreviewOutdated
    return shown_at, int(shown["refund"])
