"""What a booking has to pay now: its price while it is held, or the difference of a change that waits for payment. One thing at a time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bookings.models import Amendment, Booking
from bookings.services.lapse import held_amendment
from foundation.money import Money


@dataclass(frozen=True)
class Due:
    """An amount, until when it can be paid (aware UTC), and the change that it is for (None: the booking itself)."""

    amount: Money
    expires_at: datetime
    amendment: Amendment | None = None

    @property
    def amendment_id(self) -> Any:
        return self.amendment.pk if self.amendment else None


def due_for(booking: Booking) -> Due | None:
    """Return what the booking has to pay, also when the time for it is just over; None when there is nothing to pay any more."""
    if booking.status == Booking.Status.HELD:
        return Due(booking.total, booking.hold_expires_at)
    amendment = held_amendment(booking)
    if amendment is None or amendment.hold_expires_at is None:
        return None
    return Due(amendment.difference, amendment.hold_expires_at, amendment)


def is_payable(payment: Any, *, now: datetime) -> bool:
    """Say whether somebody may still pay this payment: it is for what its booking has to pay, and in time."""
    due = due_for(payment.booking)
    return due is not None and due.amendment_id == payment.amendment_id and due.expires_at > now
