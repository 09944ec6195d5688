"""What bookings keep about a person."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime
from typing import Any

from django.db.models import CharField, F, Q, QuerySet, Value
from django.db.models.functions import Cast, Concat, Lower
from django.utils.translation import gettext as _

from bookings.models import Amendment, Booking, BookingEvent, Cancellation, PromoUse, Quote
from foundation.personal import (
    ERASED,
    GONE,
    KEPT_BY_LAW,
    NOT_A_CUSTOMER,
    SHORT_LIVED,
    Person,
    gone_address,
    instant,
    is_gone,
)

GONE_PLATE = "ERASED"
GONE_DATA = {"erased": True}
# What events say about people. The others hold times and amounts.
TELLING = (BookingEvent.Kind.DETAILS_CHANGED, BookingEvent.Kind.NOTE)

FIELDS = {
    **{
        f"bookings.Booking.{name}": ERASED
        for name in (
            "driver_name", "driver_email", "driver_phone", "plate", "outbound_flight", "return_flight", "offers_wording",
            "guest_token_hash",
        )
    },
    "bookings.BookingEvent.data": ERASED,
    "bookings.Cancellation.reason": ERASED,
    "bookings.Amendment.reason": ERASED,
    "bookings.PromoUse.customer": ERASED,
    # What was sold and when, without the person: the books stand on it.
    **{f"bookings.{model}.lines": KEPT_BY_LAW for model in ("Booking", "Quote", "Amendment", "Cancellation")},
    "bookings.Booking.reference": KEPT_BY_LAW,
    "bookings.Quote.policy": SHORT_LIVED,
    "bookings.Booking.policy": KEPT_BY_LAW,
    **{
        f"bookings.{field}": NOT_A_CUSTOMER
        for field in (
            "Airport.name", "CarPark.name", "CarPark.address", "Operator.name", "Operator.legal_name", "Operator.address", "Operator.email",
            "Operator.phone", "Pool.name", "Product.name", "PromoCode.name", "Tariff.name", "CancellationPolicy.name", "TariffRule.label",
        )
    },
}  # fmt: skip


def bookings_of(person: Person) -> QuerySet[Booking]:
    """Return the person's bookings: their account's, and those that a guest made with an address which is proven to be theirs."""
    mine = Q(user=person.user) if person.user is not None else Q(pk__in=[])
    return Booking.objects.annotate(_mail=Lower("driver_email")).filter(
        mine | Q(user=None, _mail__in=person.emails)
    )


def phones_of(person: Person) -> set[str]:
    """Return the phones of their bookings, those that appear in somebody else's left out."""
    mine = bookings_of(person)
    phones = {str(phone) for phone in mine.values_list("driver_phone", flat=True).distinct() if phone}
    return phones - shared_phones(phones, person)


def shared_phones(phones: set[str], person: Person) -> set[str]:
    """Return those of these phones that other customers' bookings name as well."""
    others = Booking.objects.filter(driver_phone__in=phones).exclude(pk__in=bookings_of(person).values("pk"))
    return {str(phone) for phone in others.values_list("driver_phone", flat=True).distinct()}


def key_of_guest(person: Person) -> int | None:
    """Return what stands for a guest's address in a link, so that the link does not tell it; None for a stranger."""
    return bookings_of(person).filter(user=None).order_by("-pk").values_list("pk", flat=True).first()


def address_of_guest(key: int) -> str:
    """Return the address that a key of key_of_guest() stands for; "" when nobody's any more."""
    found = Booking.objects.filter(pk=key, user=None).values_list("driver_email", flat=True).first() or ""
    return "" if is_gone(found) else found.lower()


def export(person: Person) -> dict[str, Any]:
    """Return bookings with drivers, vehicles and flights, everything that happened to them, and quotes that were asked for."""
    rows = (
        bookings_of(person)
        .select_related("product__car_park__airport")
        .prefetch_related("events", "amendments", "cancellation")
        .order_by("created_at")
    )
    quotes = Quote.objects.filter(user=person.user).order_by("created_at") if person.user else []
    return {
        "bookings": [_booking(row) for row in rows],
        "quotes": [
            {
                "made": instant(quote.created_at),
                "drop_off": instant(quote.start_at),
                "return": instant(quote.end_at),
                "total": str(quote.total),
                "valid_until": instant(quote.expires_at),
            }
            for quote in quotes
        ],
    }


def _booking(row: Booking) -> dict[str, Any]:
    cancellation = Cancellation.objects.filter(booking=row).first()
    return {
        "reference": row.reference,
        "status": row.status,
        "made": instant(row.created_at),
        "car_park": row.product.car_park.name,
        "airport": row.product.car_park.airport.iata,
        "product": row.product.name,
        "drop_off": instant(row.start_at),
        "return": instant(row.end_at),
        "driver": {"name": row.driver_name, "email": row.driver_email, "phone": str(row.driver_phone)},
        "vehicle": {"plate": row.plate},
        "flights": {"outbound": row.outbound_flight, "return": row.return_flight},
        "language": row.language,
        "total": str(row.total),
        "price_lines": row.lines,
        "cancellation_policy": row.policy,
        "offers_agreed_to": row.offers_wording,
        "timeline": [
            {"at": instant(event.at), "what": event.kind, "details": event.data} for event in row.events.all()
        ],
        "changes": [
            {
                "at": instant(change.created_at),
                "status": change.status,
                "from": [instant(change.old_start_at), instant(change.old_end_at)],
                "to": [instant(change.new_start_at), instant(change.new_end_at)],
                "difference_minor": change.difference_minor,
                "currency": change.currency,
                "reason": change.reason,
            }
            for change in row.amendments.all()
        ],
        "cancellation": cancellation
        and {
            "at": instant(cancellation.created_at),
            "refund_minor": cancellation.refund_minor,
            "currency": cancellation.currency,
            "reason": cancellation.reason,
        },
    }


def open_matters(person: Person, *, now: datetime) -> list[str]:
    """Say which stays are still to come or under way, and which changes wait."""
    mine = bookings_of(person)
    said = []
    coming = mine.filter(status__in=[Booking.Status.CONFIRMED, Booking.Status.ARRIVED], end_at__gt=now)
    here = mine.filter(status=Booking.Status.ARRIVED, end_at__lte=now)
    for row in coming.order_by("start_at"):
        said.append(
            _("Booking %(reference)s is still to come: cancel it, or wait until the car is collected.")
            % {"reference": row.reference}
        )
    for row in here.order_by("start_at"):
        said.append(
            _("The car of booking %(reference)s has not been collected.") % {"reference": row.reference}
        )
    for row in mine.filter(status=Booking.Status.HELD):
        said.append(
            _("Booking %(reference)s is held and not paid: cancel it, or let it run out.")
            % {"reference": row.reference}
        )
    waiting = Amendment.objects.filter(booking__in=mine.values("pk"), status=Amendment.Status.HELD)
    for change in waiting.select_related("booking"):
        said.append(
            _("A change of booking %(reference)s waits for its payment.")
            % {"reference": change.booking.reference}
        )
    return said


def forget_elsewhere(person: Person, *, now: datetime) -> bool:
    """Nobody else gets bookings."""
    return True


def forget(person: Person, *, by: Any, reason: str, now: datetime) -> dict[str, int]:
    """Put nobody in the place of the driver, the car and the flights of bookings that are over; what is open is left alone.

    Stays, prices and the timeline remain. The guest link opens nothing any more.
    """
    over = bookings_of(person).exclude(
        Q(status__in=[Booking.Status.HELD, Booking.Status.ARRIVED])
        | Q(status=Booking.Status.CONFIRMED, end_at__gt=now)
    )
    keys = list(over.order_by("pk").values_list("pk", flat=True))
    put_nobody_in(keys)
    return {"bookings": len(keys)}


def put_nobody_in(keys: list[int]) -> None:
    """Blank driver, car and flights of these bookings, which are over, and what their timelines say of them. In the caller's transaction."""
    # In the order of the keys, as whoever locks several bookings does.
    list(Booking.objects.select_for_update().filter(pk__in=keys).order_by("pk").values_list("pk", flat=True))
    for key in keys:
        Booking.objects.filter(pk=key).update(
            driver_name=GONE,
            driver_email=gone_address(f"b{key}"),
            driver_phone="",
            plate=GONE_PLATE,
            outbound_flight="",
            return_flight="",
            offers_wording="",
            guest_token_hash=hashlib.sha256(secrets.token_bytes(32)).hexdigest(),
        )
    BookingEvent.objects.filter(booking_id__in=keys, kind__in=TELLING).exclude(data=GONE_DATA).update(
        data=GONE_DATA
    )
    Cancellation.objects.filter(booking_id__in=keys).exclude(reason="").update(reason="")
    Amendment.objects.filter(booking_id__in=keys).exclude(reason="").update(reason="")
    PromoUse.objects.filter(booking_id__in=keys).exclude(customer__startswith="erased:").update(
        customer=Concat(Value("erased:"), Cast(F("pk"), CharField()))
    )
