"""Reading: what is on offer, what a pool has sold, what happened to a booking, what a local time means."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.db import connection
from django.db.models import F, Func, IntegerField, QuerySet, Value
from django.db.models.functions import Greatest
from django.utils.translation import gettext as _

from bookings.models import Airport, Booking, BookingEvent, CarPark, Pool, Product
from bookings.services.errors import AmbiguousTime, ImpossibleTime
from bookings.services.quote import price_stay
from bookings.services.stay import check_stay
from foundation.errors import InvalidInput
from foundation.money import Money

MOST_SPACES_SHOWN = 10
LOCAL_TIME = re.compile(
    r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?( ?Z|[ +-]\d{2}:?\d{2})?\Z", re.ASCII
)


@dataclass(frozen=True)
class SearchFilters:
    """What a search may be narrowed to; nothing by default. `kinds` are CarPark.Kind values."""

    covered: bool = False
    ev: bool = False
    accessible: bool = False
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Offer:
    """One product for one stay. `spaces_left` is capped at 10; `policy` is as a quote would freeze it."""

    product: Product
    car_park: CarPark
    total: Money
    per_day: Money
    lines: list[dict[str, Any]]
    spaces_left: int
    sold_out: bool
    policy: dict[str, Any]


def search(
    airport: Airport,
    *,
    start_at: datetime,
    end_at: datetime,
    now: datetime,
    filters: SearchFilters | None = None,
) -> list[Offer]:
    """Return what the airport offers for the stay, cheapest first, sold-out offers last.

    One statement finds products with their free spaces; two more bring rules and policies. Raises InvalidInput
    for a stay that cannot be sold.
    """
    check_stay(start_at=start_at, end_at=end_at, now=now)
    filters = filters or SearchFilters()
    products = (
        Product.objects.filter(
            is_active=True,
            tariff__is_active=True,
            car_park__is_open=True,
            car_park__airport=airport,
            car_park__airport__is_active=True,
        )
        .select_related("car_park__airport", "car_park__operator", "pool", "tariff", "policy")
        .prefetch_related("tariff__rules", "policy__tiers")
        .annotate(
            free=Func(
                F("pool_id"),
                Value(start_at),
                Value(end_at),
                Greatest(Value(MOST_SPACES_SHOWN), F("pool__capacity") / 2 + 1),  # as quote.enough_spaces
                function="spaces_left",
                output_field=IntegerField(),
            )
        )
    )
    if filters.covered:
        products = products.filter(car_park__is_covered=True)
    wanted_pools = [
        kind for kind, wanted in (("ev", filters.ev), ("accessible", filters.accessible)) if wanted
    ]
    if wanted_pools:
        products = products.filter(pool__kind__in=wanted_pools)
    if filters.kinds:
        products = products.filter(car_park__kind__in=filters.kinds)
    offers = [
        _offer(product, start_at=start_at, end_at=end_at, now=now, spaces=product.free)
        for product in products
    ]
    return sorted(offers, key=lambda offer: (offer.sold_out, offer.total.amount_minor, offer.product.pk))


def _offer(product: Product, *, start_at: datetime, end_at: datetime, now: datetime, spaces: int) -> Offer:
    priced = price_stay(product, start_at=start_at, end_at=end_at, now=now, spaces=spaces)
    return Offer(
        product=product,
        car_park=product.car_park,
        total=priced.total,
        per_day=priced.per_day,
        lines=priced.lines,
        spaces_left=max(0, min(spaces, MOST_SPACES_SHOWN)),
        sold_out=spaces <= 0,
        policy=product.policy.frozen(),
    )


def spaces_left(pool: Pool, *, start_at: datetime, end_at: datetime) -> int:
    """Return exactly how many more such stays the pool can take; 0 when its car park is closed."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT spaces_left(%s, %s, %s)", [pool.pk, start_at, end_at])
        return int(cursor.fetchone()[0])


def sold_peak(pool: Pool) -> int:
    """Return the most spaces that are taken at any one instant from now on."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT bookings_peak(%s, tstzrange(now(), NULL))", [pool.pk])
        return int(cursor.fetchone()[0])


def oversold_pools() -> list[tuple[int, int, int]]:
    """Return (pool id, capacity, peak) of each pool that has sold more than it has; nothing should be in it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, capacity, peak FROM (SELECT id, capacity, "
            "bookings_peak(id, tstzrange(now(), NULL)) AS peak FROM bookings_pool) AS pools WHERE peak > capacity ORDER BY id"
        )
        return cursor.fetchall()


def timeline(booking: Booking) -> QuerySet[BookingEvent]:
    """Return what happened to the booking, oldest first."""
    return BookingEvent.objects.filter(booking=booking).select_related("actor").order_by("at", "pk")


def parse_local(text: str, zone: ZoneInfo, *, field: str) -> datetime:
    """Return the instant (aware UTC) that "2026-10-25T01:30" means on the zone's clock.

    A written offset wins. Raises AmbiguousTime or ImpossibleTime (with `readings`) at a change of the clocks,
    InvalidInput for anything else that is no time.
    """
    unreadable = InvalidInput(_("Enter a date and time such as 2026-09-04T10:30."), field=field)
    if not isinstance(text, str) or len(text) > 40 or not LOCAL_TIME.match(text):
        raise unreadable
    tidy = text.replace(" ", "T", 1) if text[10] == " " else text
    tidy = re.sub(r" (\d{2}:?\d{2})\Z", r"+\1", tidy).replace(
        " Z", "Z"
    )  # an unescaped "+" of a query arrives as a space
    try:
        given = datetime.fromisoformat(tidy)
        if given.tzinfo is not None:
            return given.astimezone(UTC)
        earlier = given.replace(tzinfo=zone, fold=0)
        later = given.replace(tzinfo=zone, fold=1)
        instants = sorted({earlier.astimezone(UTC), later.astimezone(UTC)})
        if len(instants) == 1:
            return instants[0]
        readings = [instant.astimezone(zone).isoformat(timespec="minutes") for instant in instants]
        # Away from UTC and back: a time that the clock skips comes back as another one.
        skipped = earlier.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != given
    except (ValueError, OverflowError):
        raise unreadable from None
    if skipped:
        raise ImpossibleTime(
            _("The clocks go forward then, so this time does not exist. Choose %(before)s or %(after)s.")
            % {"before": readings[0][11:16], "after": readings[1][11:16]},
            field=field,
            readings=readings,
        )
    raise AmbiguousTime(
        _(
            "The clocks go back then, so this time comes twice. "
            "Choose the first (UTC%(first)s) or the second (UTC%(second)s)."
        )
        % {"first": readings[0][-6:], "second": readings[1][-6:]},
        field=field,
        readings=readings,
    )
