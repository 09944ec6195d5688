"""The space of a booking when its stay changes: extra time is taken beside it, then the stay moves; its old space is never let go first."""

from __future__ import annotations

from datetime import datetime

from django.db import IntegrityError, connection, transaction
from psycopg.types.range import TimestamptzRange

from bookings.models import Amendment, Booking, Occupancy
from bookings.services.errors import CarParkFull, capacity_error

Period = tuple[datetime, datetime]


def extra_time(old: Period, new: Period) -> list[Period]:
    """Return the parts of the new stay that the old one does not cover, in order: none, one or two."""
    if new[0] >= old[1] or new[1] <= old[0]:
        return [new]
    before = [(new[0], old[0])] if new[0] < old[0] else []
    after = [(old[1], new[1])] if new[1] > old[1] else []
    return before + after


def extra_time_is_free(booking: Booking, new: Period) -> bool:
    """Say whether the pool has a space for all of the extra time now. Nothing is kept; nothing is promised."""
    needed = extra_time((booking.start_at, booking.end_at), new)
    return all(spaces_without(booking, start_at=start, end_at=end) > 0 for start, end in needed)


def spaces_without(booking: Booking, *, start_at: datetime, end_at: datetime) -> int:
    """Return how many spaces of the booking's pool would be free all through the time if this car took none."""
    own = Occupancy.objects.filter(booking=booking, released_at=None).values_list("pk", flat=True)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT COALESCE(max(taken), 0) FROM (SELECT sum(step) OVER (ORDER BY at, step) AS taken FROM bookings_occupancy AS o "
            "CROSS JOIN LATERAL (VALUES (greatest(lower(o.period), %(start)s), 1), (upper(o.period), -1)) AS steps (at, step) "
            "WHERE o.pool_id = %(pool)s AND o.released_at IS NULL AND o.period && tstzrange(%(start)s, %(end)s) "
            "AND o.id <> ALL(%(own)s)) AS sums",
            {"start": start_at, "end": end_at, "pool": booking.pool_id, "own": list(own)},
        )
        return booking.pool.capacity - int(cursor.fetchone()[0])


def take_extra_time(amendment: Amendment, booking: Booking) -> None:
    """Keep the extra time of a held change. Locks the day gates of both stays. Raises CarParkFull; the transaction stays usable."""
    old, new = (booking.start_at, booking.end_at), (amendment.new_start_at, amendment.new_end_at)
    try:
        with transaction.atomic():
            lock_gates(booking, new)
            for start, end in extra_time(old, new):
                Occupancy.objects.create(
                    booking=booking,
                    amendment=amendment,
                    pool_id=booking.pool_id,
                    period=TimestamptzRange(start, end),
                )
    except IntegrityError as error:
        raise _full(error) from None


def move_to(booking: Booking, new: Period, *, now: datetime) -> None:
    """Make the space of a live stay that of the new one, and let go what a held change kept for it.

    Locks the day gates of both stays. Raises CarParkFull; the transaction stays usable.
    """
    try:
        with transaction.atomic():
            lock_gates(booking, new)
            release_extra_time(booking, now=now)
            Occupancy.objects.filter(booking=booking, amendment=None).update(period=TimestamptzRange(*new))
    except IntegrityError as error:
        raise _full(error) from None


def release_extra_time(booking: Booking, *, now: datetime) -> None:
    """Let go what a held change of the booking kept."""
    for extra in Occupancy.objects.filter(
        booking=booking, amendment__isnull=False, released_at=None
    ).order_by("period"):
        extra.released_at = now
        extra.save(update_fields=["released_at"])


def release(booking: Booking, *, now: datetime) -> None:
    """Give back all space of the booking, that of a held change included. Locks the day gates in order."""
    taken = Occupancy.objects.filter(booking=booking, released_at=None)
    for row in taken.order_by("period"):
        row.released_at = now
        row.save(update_fields=["released_at"])


def lock_gates(booking: Booking, *others: Period) -> None:
    """Lock the days of the booking's stay and of others, in the order in which everybody locks them."""
    spans: list[Period] = []
    for start, end in sorted([(booking.start_at, booking.end_at), *others]):
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], end))
        else:
            spans.append((start, end))
    with connection.cursor() as cursor:
        for start, end in spans:
            cursor.execute("SELECT bookings_lock_gates(%s, %s, %s)", [booking.pool_id, start, end])


def _full(error: IntegrityError) -> Exception:
    return capacity_error(error) or error


__all__ = [
    "CarParkFull",
    "extra_time",
    "extra_time_is_free",
    "lock_gates",
    "move_to",
    "release",
    "release_extra_time",
    "spaces_without",
    "take_extra_time",
]
