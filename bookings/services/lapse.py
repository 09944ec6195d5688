"""How a change that waits for payment ends without being made: its time runs out, or it is withdrawn. The booking stands as it was."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction

from bookings.models import AMENDMENT_TRANSITIONS, Amendment, Booking, BookingEvent
from bookings.models.amendment import AmendmentStatus
from bookings.services.space import release_extra_time
from foundation.transitions import change_status

Status = Amendment.Status


def held_amendment(booking: Booking) -> Amendment | None:
    """Return the change of the booking that waits for payment, if there is one, whether or not its time is over."""
    return Amendment.objects.filter(booking_id=booking.pk, status=Status.HELD).first()


def withdraw_amendment(booking: Booking, *, now: datetime, by: Any = None) -> bool:
    """Take back the change that waits for payment. Say whether there was one. The booking must be locked.

    A payment of it that is under way is withdrawn by payments, or given back in full if it was faster.
    """
    amendment = held_amendment(booking)
    if amendment is None:
        return False
    _end(amendment, booking, Status.CANCELLED, BookingEvent.Kind.AMENDMENT_CANCELLED, now=now, by=by)
    return True


def expire_amendment(amendment_id: int, *, now: datetime) -> bool:
    """Let an overdue change go. Say whether it did. One booking per transaction; one that somebody else has locked is left to them."""
    with transaction.atomic():
        booking = (
            Booking.objects.select_for_update(of=("self",), skip_locked=True)
            .filter(amendments__pk=amendment_id)
            .first()
        )
        amendment = Amendment.objects.filter(
            pk=amendment_id, status=Status.HELD, hold_expires_at__lte=now
        ).first()
        if booking is None or amendment is None:
            return False
        _end(amendment, booking, Status.EXPIRED, BookingEvent.Kind.AMENDMENT_EXPIRED, now=now)
    return True


def expire_overdue_amendments(*, now: datetime, among: Any = None, limit: int = 500) -> int:
    """Let up to `limit` overdue changes (of bookings `among`) go, the longest overdue first; return how many."""
    overdue = Amendment.objects.filter(status=Status.HELD, hold_expires_at__lte=now)
    if among is not None:
        overdue = overdue.filter(booking__in=among)
    keys = list(overdue.order_by("hold_expires_at").values_list("pk", flat=True)[:limit])
    return sum(expire_amendment(pk, now=now) for pk in keys)


def _end(
    amendment: Amendment,
    booking: Booking,
    status: AmendmentStatus,
    kind: BookingEvent.Kind,
    *,
    now: datetime,
    by: Any = None,
) -> None:
    change_status(amendment, status, AMENDMENT_TRANSITIONS)
    amendment.closed_at = now
    amendment.save(update_fields=["status", "closed_at"])
    BookingEvent.objects.create(
        booking=booking, kind=kind, at=now, actor=by if getattr(by, "pk", None) else None
    )
    release_extra_time(booking, now=now)
