"""Holds: a space kept for a customer until `hold_expires_at`, and given back after it."""

from __future__ import annotations

import logging
import secrets
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Count, Q
from django.utils.translation import gettext as _
from psycopg.types.range import TimestamptzRange

from bookings.models import TRANSITIONS, Booking, BookingEvent, Occupancy, Quote
from bookings.services.access import guest_token_for, hashed
from bookings.services.confirm import confirm
from bookings.services.errors import (
    CarParkFull,
    NotOnSale,
    QuoteExpired,
    QuoteUsed,
    TooManyHolds,
    capacity_error,
    constraint_of,
)
from bookings.services.lapse import expire_overdue_amendments
from bookings.services.promo import take_use
from bookings.services.stay import Driver, Flights, check_stay, clean_driver, clean_flight, clean_plate
from communications.services.consent import key_of
from foundation import features, rules
from foundation.addresses import network_of
from foundation.errors import InvalidInput, NotAllowed
from foundation.transitions import change_status

logger = logging.getLogger(__name__)

REFERENCE_ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"  # nothing that is misread: no 0 O 1 I L
Status = Booking.Status

__all__ = ["Driver", "Flights", "PlacedHold", "expire", "expire_overdue_holds", "place_hold"]


@dataclass(frozen=True)
class PlacedHold:
    """The new booking, and the secret of its guest link, which is shown once and stored only as a hash."""

    booking: Booking
    guest_token: str


def place_hold(
    quote: Quote,
    *,
    driver: Driver,
    plate: str,
    flights: Flights = Flights(),  # noqa: B008 - frozen
    user: Any = None,
    language: str = "en",
    offers_wording: str = "",
    address: str = "",
    now: datetime,
) -> PlacedHold:
    """Keep one space of the quote's product at the quoted price until HOLD_LIFETIME_MINUTES from `now`.

    Locks the day gates of the stay, for the length of one insert and the commit. When the car park is full, overdue holds in the way are
    expired first and it tries once more. A stay that costs nothing is confirmed in the same commit. The same quote, car and driver again
    is the same hold. A promo code of the quote has one use less until the hold lapses or the booking is cancelled. `address` is where the
    request came from, kept as a keyed hash for the cap on open holds. Raises QuoteUsed, QuoteExpired, NotOnSale, CarParkFull, TooManyHolds,
    PromoCodeUsedUp, InvalidInput.
    """
    product = quote.product
    if not getattr(user, "pk", None) and not features.is_on("guest_checkout"):
        raise NotAllowed(_("Please log in or open an account to book."))
    if quote.expires_at <= now:
        raise QuoteExpired
    if not product.is_active:
        raise NotOnSale
    check_stay(start_at=quote.start_at, end_at=quote.end_at, now=now, was_quoted=True)
    driver = clean_driver(driver)
    flights = Flights(
        outbound=clean_flight(flights.outbound, field="flights.outbound"),
        return_=clean_flight(flights.return_, field="flights.return"),
    )
    if product.needs_flight_number and not (flights.outbound or flights.return_):
        raise InvalidInput(
            _("Enter your flight number: the driver meets you by it."), field="flights.outbound"
        )
    booking = Booking(
        status=Status.HELD,
        product=product,
        pool_id=product.pool_id,
        quote=quote,
        user=user if getattr(user, "pk", None) else None,
        start_at=quote.start_at,
        end_at=quote.end_at,
        driver_name=driver.name,
        driver_email=driver.email,
        driver_phone=driver.phone,
        plate=clean_plate(plate),
        outbound_flight=flights.outbound,
        return_flight=flights.return_,
        language=language if language in dict(settings.MESSAGE_LANGUAGES) else settings.LANGUAGE_CODE,
        offers_wording=offers_wording[:500],
        held_from_key=key_of("internet", network_of(address)) if address else "",
        total_minor=quote.total_minor,
        currency=quote.currency,
        lines=quote.lines,
        policy=quote.policy,
        hold_expires_at=now + timedelta(minutes=rules.value("HOLD_LIFETIME_MINUTES")),
        created_at=now,
    )
    try:
        return _insert(booking, now=now)
    except CarParkFull:
        if not expire_overdue_in_the_way(
            booking.pool_id, start_at=booking.start_at, end_at=booking.end_at, now=now
        ):
            raise
        return _insert(booking, now=now)


def earlier_attempt(attempt: uuid.UUID) -> tuple[Booking | None, bool]:
    """Wait for a running submission of the same form; return what it holds, and whether the attempt is unused.

    The attempt's id becomes the quote's. Call inside a transaction, which keeps the next submission waiting.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"hold:{attempt}"])
    stands = Q(status=Status.HELD) | Q(status=Status.CONFIRMED, total_minor=0)
    held = Booking.objects.filter(stands, quote_id=attempt).first()
    return held, not Quote.objects.filter(pk=attempt).exists()


def _insert(booking: Booking, *, now: datetime) -> PlacedHold:
    for attempt in range(5):
        booking.pk = None
        booking._state.adding = True
        booking.reference = "AP-" + "".join(secrets.choice(REFERENCE_ALPHABET) for _position in range(6))
        token = guest_token_for(booking.reference, booking.quote_id)
        booking.guest_token_hash = hashed(token)
        try:
            with transaction.atomic():
                if not booking.total_minor and (twin := _free_twin(booking)) is not None:
                    return twin
                _refuse_too_many_holds(booking, now=now)
                booking.save(force_insert=True)
                BookingEvent.objects.create(
                    booking=booking, kind=BookingEvent.Kind.HELD, at=now, actor=booking.user
                )
                take_use(booking, now=now)
                # Last, because it takes the gates: whoever waits for this stay waits for the commit alone.
                Occupancy.objects.create(
                    booking=booking,
                    pool_id=booking.pool_id,
                    period=TimestamptzRange(booking.start_at, booking.end_at),
                )
                if not booking.total_minor:
                    confirm(booking, now=now)
        except IntegrityError as error:
            if refusal := capacity_error(error):
                raise refusal from None
            if constraint_of(error) == "booking_one_hold_per_quote_and_car":
                return _same_hold(booking)
            if "reference" not in constraint_of(error) or attempt == 4:
                raise
            continue
        return PlacedHold(booking=booking, guest_token=token)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _free_twin(again: Booking) -> PlacedHold | None:
    """Return what this quote already gave this car, when it costs nothing: such a booking is no hold any more that a constraint could find.

    Locks the quote, so that the second of two presses at once waits for the first. Raises QuoteUsed for another driver.
    """
    Quote.objects.select_for_update(of=("self",)).order_by().get(pk=again.quote_id)
    given = Booking.objects.filter(
        quote=again.quote_id, plate=again.plate, status__in=[Status.HELD, Status.CONFIRMED]
    ).first()
    if given is None:
        return None
    if (given.driver_email, given.user_id) != (again.driver_email, again.user_id):
        raise QuoteUsed
    return PlacedHold(booking=given, guest_token=guest_token_for(given.reference, given.quote_id))


def _same_hold(again: Booking) -> PlacedHold:
    """Return the hold that this quote already has for this car: the button was pressed twice. Raises QuoteUsed for another driver."""
    held = Booking.objects.filter(quote=again.quote_id, plate=again.plate, status=Status.HELD).first()
    if held is None or (held.driver_email, held.user_id) != (again.driver_email, again.user_id):
        raise QuoteUsed
    return PlacedHold(booking=held, guest_token=guest_token_for(held.reference, held.quote_id))


def _refuse_too_many_holds(booking: Booking, *, now: datetime) -> None:
    cap = rules.value("OPEN_HOLDS_PER_CUSTOMER")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT bookings_open_holds(%s, %s, %s, %s)", [booking.user_id, booking.driver_email, now, cap]
        )
        if cursor.fetchone()[0] >= cap:
            raise TooManyHolds
        if not booking.held_from_key or not settings.RATE_LIMITS_ENABLED:
            return
        # After the customer's own lock, always in this order, so that parallel holds from one address cannot pass the cap together.
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"hold from:{booking.held_from_key}"]
        )
    here = Q(product__car_park=booking.product.car_park_id)
    open_holds = Booking.objects.filter(
        held_from_key=booking.held_from_key, status=Status.HELD, hold_expires_at__gt=now
    ).aggregate(in_all=Count("pk"), in_car_park=Count("pk", filter=here))
    most_in_all, most_in_car_park = settings.OPEN_HOLDS_PER_ADDRESS
    if open_holds["in_all"] >= most_in_all or open_holds["in_car_park"] >= most_in_car_park:
        raise TooManyHolds(
            _("Too many spaces are held from where you are. Pay for one, or try again in a few minutes.")
        )


def expire(booking_id: int, *, now: datetime) -> bool:
    """Give the space of an overdue hold back. Say whether it did.

    One booking per transaction, and a booking that somebody else has locked is left to them.
    """
    with transaction.atomic():
        booking = (
            Booking.objects.select_for_update(of=("self",), skip_locked=True)
            .filter(pk=booking_id, status=Status.HELD, hold_expires_at__lte=now)
            .first()
        )
        if booking is None:
            return False
        change_status(booking, Status.EXPIRED, TRANSITIONS)
        booking.expired_at = now
        booking.save(update_fields=["status", "expired_at"])
        BookingEvent.objects.create(booking=booking, kind=BookingEvent.Kind.EXPIRED, at=now)
        Occupancy.objects.filter(booking=booking).update(released_at=now)
    return True


def expire_overdue_in_the_way(pool_id: int, *, start_at: datetime, end_at: datetime, now: datetime) -> int:
    """Expire what is overdue and takes a space of the pool between the two instants, holds and changes; return how many."""
    holds = Booking.objects.filter(pool_id=pool_id, start_at__lt=end_at, end_at__gt=start_at)
    changed = Occupancy.objects.filter(
        pool_id=pool_id,
        amendment__isnull=False,
        released_at=None,
        period__overlap=TimestamptzRange(start_at, end_at),
    )
    return _expire_overdue(holds, now=now, limit=50) + expire_overdue_amendments(
        now=now, among=changed.values("booking"), limit=50
    )


def expire_overdue_holds(*, now: datetime, limit: int = 500) -> int:
    """Expire up to `limit` overdue holds, the longest overdue first; return how many."""
    return _expire_overdue(Booking.objects.all(), now=now, limit=limit)


def _expire_overdue(among: Any, *, now: datetime, limit: int) -> int:
    overdue = among.filter(status=Status.HELD, hold_expires_at__lte=now).order_by("hold_expires_at")
    return sum(expire(pk, now=now) for pk in list(overdue.values_list("pk", flat=True)[:limit]))
