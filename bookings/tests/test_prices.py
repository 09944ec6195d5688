"""Prices are whole local days, percent rules and fees, and the lines add up."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from bookings.models import Booking
from bookings.services.errors import NotOnSale
from bookings.services.quote import local_days, price_stay, quote_stay
from bookings.tests.world import DAY, NOW, add_rule, hold, make_product
from foundation.errors import InvalidInput

LONDON = ZoneInfo("Europe/London")
pytestmark = pytest.mark.django_db


def local(year: int, month: int, day: int, hour: int = 12, zone: ZoneInfo = LONDON) -> datetime:
    return datetime(year, month, day, hour, tzinfo=zone).astimezone(UTC)


@pytest.mark.parametrize(
    ("start", "end", "days"),
    [
        (local(2026, 6, 5, 23), local(2026, 6, 6, 1), 2),
        (local(2026, 6, 5, 8), local(2026, 6, 5, 18), 1),
        (local(2026, 6, 5, 8), local(2026, 6, 6, 0), 1),
        (local(2026, 3, 28), local(2026, 3, 30), 3),  # a night of 23 hours
        (local(2026, 10, 24), local(2026, 10, 26), 3),  # a night of 25 hours
        (local(2026, 10, 24, 0), local(2026, 10, 26, 0), 2),
    ],
)
def test_days_are_counted_on_the_airports_calendar(start: datetime, end: datetime, days: int) -> None:
    assert local_days(start_at=start, end_at=end, zone=LONDON) == days


@pytest.mark.parametrize("month_and_day", [(3, 27), (10, 23), (7, 10)])
def test_a_change_of_the_clocks_does_not_change_the_price(month_and_day: tuple[int, int]) -> None:
    product = make_product()
    month, day = month_and_day
    now = datetime(2026, 1, 5, tzinfo=UTC)
    priced = price_stay(
        product, start_at=local(2026, month, day, 0), end_at=local(2026, month, day + 4, 0), now=now
    )
    assert (priced.days, priced.total.amount_minor) == (4, 4000)


def test_rule_lines_add_up_to_the_total() -> None:
    product = make_product(daily_minor=1111, stay_fee_minor=1200)
    add_rule(product, "length_of_stay", "-10", min_days=2, max_days=7)
    add_rule(product, "length_of_stay", "-20", min_days=5, max_days=14)
    add_rule(product, "early_bird", "-10", hours_ahead=720)
    add_rule(product, "last_minute", "15", hours_ahead=48)
    add_rule(product, "arrival_weekday", "8", weekdays=[4, 5, 6])
    add_rule(product, "season", "20", season_from=date(2000, 7, 1), season_to=date(2000, 8, 31))
    start = local(2026, 7, 17)  # a Friday, 46 days ahead
    priced = price_stay(product, start_at=start, end_at=start + 6 * DAY, now=NOW)
    amounts = {line["rule"]: line["amount_minor"] for line in priced.lines}
    assert amounts == {
        "days": 7777,
        "length_of_stay": -778,
        "early_bird": -778,
        "arrival_weekday": 622,
        "season": 1555,
        "stay_fee": 1200,
    }
    assert priced.total.amount_minor == sum(amounts.values()) == 9598
    assert priced.per_day.amount_minor == 1371
    assert [line["label"] for line in priced.lines][1:4:2] == [
        "length_of_stay (-10%)",
        "arrival_weekday (+8%)",
    ]


def test_a_season_may_run_over_new_year() -> None:
    product = make_product()
    rule = add_rule(product, "season", "20", season_from=date(2000, 12, 20), season_to=date(2000, 1, 5))
    assert rule.in_season(date(2026, 12, 31))
    assert rule.in_season(date(2027, 1, 5))
    assert not rule.in_season(date(2027, 1, 6))


def test_last_spaces_cost_more_only_when_the_pool_is_nearly_sold() -> None:
    product = make_product(capacity=4)
    add_rule(product, "occupancy", "12", occupancy_percent=50)
    stay = {"start_at": NOW + 2 * DAY, "end_at": NOW + 4 * DAY, "now": NOW}
    prices = []
    for _sold in range(4):
        prices.append(price_stay(product, **stay).total.amount_minor)
        hold(product)
    assert prices == [3000, 3000, 3000, 3360]


def test_discounts_never_go_below_nothing() -> None:
    product = make_product()
    add_rule(product, "early_bird", "-80", hours_ahead=1)
    add_rule(product, "season", "-80", season_from=date(2000, 1, 1), season_to=date(2000, 12, 31))
    priced = price_stay(product, start_at=NOW + DAY, end_at=NOW + 2 * DAY, now=NOW)
    assert priced.total.amount_minor == 0 == sum(line["amount_minor"] for line in priced.lines)


def test_a_price_change_does_not_touch_a_quote_or_its_booking() -> None:
    product = make_product()
    quote = quote_stay(product, start_at=NOW + DAY, end_at=NOW + 2 * DAY, now=NOW)
    placed = hold(product)
    product.tariff.daily_minor = 9999
    product.tariff.save()
    quote.refresh_from_db()
    assert quote.total_minor == 2000
    assert Booking.objects.get(pk=placed.booking.pk).total_minor == 4000


@pytest.mark.parametrize(
    ("start", "length", "field"),
    [
        (NOW + DAY, -DAY, "return"),
        (NOW + DAY, timedelta(0), "return"),
        (NOW - DAY, 3 * DAY, "dropOff"),
        (NOW + timedelta(minutes=59), DAY, "dropOff"),
        (NOW + 366 * DAY, DAY, "dropOff"),
        (NOW + DAY, 91 * DAY, "return"),
    ],
)
def test_a_stay_that_cannot_be_sold_is_refused_by_field(
    start: datetime, length: timedelta, field: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        quote_stay(make_product(), start_at=start, end_at=start + length, now=NOW)
    assert refusal.value.field == field


def test_a_closed_car_park_is_not_sold() -> None:
    product = make_product()
    product.car_park.is_open = False
    product.car_park.save()
    with pytest.raises(NotOnSale):
        quote_stay(product, start_at=NOW + DAY, end_at=NOW + 2 * DAY, now=NOW)
