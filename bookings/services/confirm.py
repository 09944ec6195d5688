"""Confirming: the customer has paid, so the hold becomes a booking."""

from __future__ import annotations

from datetime import datetime

from django.db import IntegrityError, connection, transaction

from bookings.models import TRANSITIONS, Booking, BookingEvent, Occupancy
from bookings.services.access import with_places
from bookings.services.errors import CarParkFull, StayIsOver, capacity_error
from bookings.services.messages import queue_booking_confirmation
from communications.catalogue import EMAIL
from communications.models import ConsentSource
from communications.services.consent import has_refused, record_consent
from foundation.transitions import change_status

Status = Booking.Status

__all__ = ["CarParkFull", "confirm", "could_confirm", "lock_booking"]


def lock_booking(booking_id: int) -> Booking:
    """Return the booking with its row locked (SELECT FOR UPDATE) and its places joined.

    Call inside a transaction. Raises Booking.DoesNotExist.
    """
    return with_places().select_for_update(of=("self",)).get(pk=booking_id)


def could_confirm(booking: Booking, *, now: datetime) -> bool:
    """Say whether confirm() would give a locked booking its space at this moment. Nothing is kept; nothing is promised.

    May lock the day gates of the stay until the caller's transaction ends.
    """
    if booking.status != Status.EXPIRED:
        return booking.status == Status.HELD
    if booking.end_at <= now:
        return False
    try:
        with transaction.atomic():
            Occupancy.objects.filter(booking=booking, amendment=None).update(released_at=None)
            transaction.set_rollback(True)  # the trigger has answered; the space stays where it was
    except IntegrityError as error:
        if capacity_error(error) is None:
            raise
        return False
    return True


def confirm(booking: Booking, *, now: datetime) -> None:
    """Make a locked booking confirmed and queue its confirmation, in the caller's transaction.

    A confirmed booking is left as it is. An expired one must get its space again: raises CarParkFull when
    there is none or the stay is over, and the caller's transaction stays usable. Raises IllegalTransition from any
    other state.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("confirm() belongs into the transaction that locked the booking")
    if booking.status == Status.CONFIRMED:
        return
    was_expired = booking.status == Status.EXPIRED
    if was_expired and booking.end_at <= now:
        raise StayIsOver
    change_status(booking, Status.CONFIRMED, TRANSITIONS)
    booking.confirmed_at = now
    try:
        with transaction.atomic():
            booking.save(update_fields=["status", "confirmed_at"])
            if was_expired:
                Occupancy.objects.filter(booking=booking, amendment=None).update(released_at=None)
    except IntegrityError as error:
        refusal = capacity_error(error)
        if refusal is None:
            raise
        booking.status, booking.confirmed_at = Status.EXPIRED, None
        raise refusal from None
    BookingEvent.objects.create(
        booking=booking,
        kind=BookingEvent.Kind.CONFIRMED,
        at=now,
        data={"after_expiry": True} if was_expired else {},
    )
    queue_booking_confirmation(booking)
    if booking.offers_wording and _may_agree(booking):
        record_consent(
            channel=EMAIL,
            address=booking.driver_email,
            is_granted=True,
            source=ConsentSource.BOOKING,
            now=now,
            wording=booking.offers_wording,
            language=booking.language,
            user=booking.user,
            note=booking.reference,
        )


def _may_agree(booking: Booking) -> bool:
    """The address is theirs as far as a paid booking tells; but a no that stands is taken back by its own account only."""
    is_own = booking.user is not None and booking.user.email.lower() == booking.driver_email.lower()
    return is_own or not has_refused(channel=EMAIL, address=booking.driver_email)
