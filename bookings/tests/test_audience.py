"""Who a campaign's audience is: each address once, by what they booked, in the order of the addresses."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from bookings.audience import customers, promo_codes
from bookings.models import Booking, Product, PromoCode, PromoUse
from bookings.tests.world import DAY, NOW, hold, make_product

pytestmark = pytest.mark.django_db


def booked(
    product: Product, email: str, *, start: datetime = NOW + 2 * DAY, days: float = 3, **fields: Any
) -> Booking:
    booking = hold(product, start=start, days=days, now=min(NOW, start - DAY), email=email).booking
    Booking.objects.filter(pk=booking.pk).update(
        **{"status": "confirmed", "confirmed_at": NOW, "kept_minor": booking.total_minor, **fields}
    )
    return booking


def found(definition: dict[str, Any], channel: str = "email", **more: Any) -> list[str]:
    definition = customers.check(definition)
    given = {"after": "", "limit": 100, **more}
    return [member.address for member in customers.members(definition, channel=channel, **given)]


@pytest.fixture
def lhr(db: None) -> Product:
    return make_product(capacity=50)


def test_one_address_is_one_person_however_they_write_it_and_however_often_they_book(lhr: Product) -> None:
    for email in ("Ada@example.com", "ada@example.com", "ben@example.com"):
        booked(lhr, email)
    assert found({}) == ["ada@example.com", "ben@example.com"]
    assert found({}, limit=1) == ["ada@example.com"]
    assert found({}, after="ada@example.com") == ["ben@example.com"]
    assert found({}, channel="sms") == ["+447700900123"]


def test_a_hold_or_a_cancelled_booking_makes_nobody_a_customer(lhr: Product) -> None:
    hold(lhr, email="held@example.com")
    booked(lhr, "ada@example.com")
    assert found({}) == ["ada@example.com"]


def test_airport_and_days_are_of_one_and_the_same_stay(lhr: Product) -> None:
    man = make_product(iata="MAN", capacity=50)
    june, july = NOW + 2 * DAY, NOW + 35 * DAY
    booked(lhr, "both@example.com", start=june)
    booked(man, "both@example.com", start=july)
    booked(man, "june@example.com", start=june)
    in_june = {"stay_from": "2026-06-01", "stay_to": "2026-06-30"}
    assert found(in_june) == ["both@example.com", "june@example.com"]
    assert found({**in_june, "airports": ["MAN"]}) == ["june@example.com"]


def test_the_days_are_the_airports_own(db: None) -> None:
    sydney = make_product(iata="SYD", timezone="Australia/Sydney", capacity=5)
    booked(sydney, "ada@example.com", start=datetime.fromisoformat("2026-06-30T23:00+00:00"), days=0.2)
    assert found({"stay_from": "2026-07-01", "stay_to": "2026-07-01"}) == ["ada@example.com"]
    assert found({"stay_from": "2026-06-30", "stay_to": "2026-06-30"}) == []


def test_language_spend_and_last_booking(lhr: Product) -> None:
    booked(lhr, "de@example.com", language="de", kept_minor=9_999)
    booked(lhr, "rich@example.com", kept_minor=6_000)
    booked(lhr, "rich@example.com", kept_minor=4_000, created_at=NOW - timedelta(days=300))
    booked(lhr, "old@example.com", kept_minor=0, created_at=NOW - timedelta(days=300))
    assert found({"spend_currency": "GBP", "spend_minimum": "100"}) == ["rich@example.com"]
    assert found({"spend_currency": "USD", "spend_minimum": "1"}) == []
    assert found({"last_booking_before": "2026-01-01"}) == ["old@example.com"]
    assert found({"last_booking_after": "2026-05-30"}) == ["de@example.com", "rich@example.com"]
    assert found({"languages": ["en"]}) == ["old@example.com", "rich@example.com"]


@pytest.mark.parametrize(
    ("definition", "field"),
    [
        ({"airports": ["ZZZ"]}, "airports"), ({"airports": "LHR"}, "airports"), ({"languages": ["tlh"]}, "languages"),
        ({"stay_from": "soon"}, "stay_from"), ({"stay_from": "2026-02-31"}, "stay_from"),
        ({"stay_from": "2026-02-02", "stay_to": "2026-02-01"}, "stay_to"), ({"spend_minimum": "5"}, "spend_currency"),
        ({"spend_currency": "GBP", "spend_minimum": "NaN"}, "spend_minimum"),
        ({"spend_currency": "GBP", "spend_minimum": "-5"}, "spend_minimum"),
        ({"spend_currency": "ZZZ", "spend_minimum": "5"}, "spend_minimum"),
    ],
)  # fmt: skip
def test_a_definition_that_says_nothing_is_refused_by_field(
    lhr: Product, definition: dict[str, Any], field: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        customers.check(definition)
    assert field in refused.value.message_dict


def test_parts_that_nobody_knows_are_refused(lhr: Product) -> None:
    with pytest.raises(ValidationError):
        customers.check({"sql": "1=1"})


def test_what_a_code_brought_counts_bookings_that_stand(lhr: Product) -> None:
    code = promo_codes.create(code="spring-20", name="Spring", percent="20", valid_until=None, by=None)
    assert code == "SPRING-20" and promo_codes.link("spring-20") == code
    for number, status in enumerate(["confirmed", "held"]):
        booking = hold(lhr, email=f"p{number}@example.com").booking
        PromoUse.objects.create(
            promo=PromoCode.objects.get(),
            booking=booking,
            customer=f"p{number}",
            discount_minor=1,
            created_at=NOW,
        )
        Booking.objects.filter(pk=booking.pk).update(status=status, confirmed_at=NOW)
    assert promo_codes.takings(code, since=NOW) == (1, [("GBP", 4000)])
    assert [count for _hour, count in promo_codes.by_hour(code, since=NOW)] == [1]
    later = NOW + timedelta(microseconds=1)
    assert promo_codes.takings(code, since=later) == (0, []), (
        "what was booked before a campaign is not its own"
    )
    assert promo_codes.by_hour(code, since=later) == []
    for bad in ({"code": "x"}, {"code": "SPRING-20"}, {"percent": "200"}, {"percent": "lots"}):
        with pytest.raises(ValidationError):
            promo_codes.create(
                **{"code": "NEW", "name": "n", "percent": "10", "valid_until": None, "by": None, **bad}
            )
