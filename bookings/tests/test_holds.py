"""Holding a space, losing it again, and who may see it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import AnonymousUser, Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from bookings import queries
from bookings.models import Booking, Occupancy
from bookings.services import access
from bookings.services.errors import CarParkFull, QuoteExpired, TooManyHolds
from bookings.services.hold import Flights, expire, expire_overdue_holds, place_hold
from bookings.services.quote import quote_stay
from bookings.tests.world import ADA, DAY, NOW, hold, make_product
from foundation.errors import InvalidInput, NotAllowed, NotFound

pytestmark = pytest.mark.django_db
LATER = NOW + timedelta(minutes=settings.HOLD_LIFETIME_MINUTES + 1)


def left(product: Any, days: float = 3) -> int:
    return queries.spaces_left(product.pool, start_at=NOW + 2 * DAY, end_at=NOW + (2 + days) * DAY)


def test_a_hold_takes_a_space_and_keeps_the_price() -> None:
    product = make_product(capacity=2)
    placed = hold(product)
    booking = placed.booking
    assert booking.status == "held"
    assert booking.reference.startswith("AP-")
    assert booking.plate == "AB12CDE"
    assert str(booking.driver_phone) == "+447700900123"
    assert booking.total_minor == sum(line["amount_minor"] for line in booking.lines) == 4000
    assert booking.hold_expires_at == NOW + timedelta(minutes=settings.HOLD_LIFETIME_MINUTES)
    assert left(product) == 1
    assert [event.kind for event in queries.timeline(booking)] == ["held"]


def test_a_full_car_park_says_so() -> None:
    product = make_product(capacity=1)
    hold(product)
    with pytest.raises(CarParkFull) as refusal:
        hold(product)
    assert refusal.value.code == "car_park_full"
    assert Booking.objects.count() == 1


def test_a_car_may_come_in_the_minute_in_which_another_leaves() -> None:
    product = make_product(capacity=1)
    hold(product, start=NOW + 2 * DAY, days=1)
    hold(product, start=NOW + 3 * DAY, days=1)
    with pytest.raises(CarParkFull):
        hold(product, start=NOW + 3 * DAY - timedelta(minutes=1), days=0.5)


def test_an_expired_hold_gives_its_space_back_once() -> None:
    product = make_product(capacity=1)
    placed = hold(product)
    assert expire_overdue_holds(now=NOW) == 0
    assert expire_overdue_holds(now=LATER) == 1
    assert not expire(placed.booking.pk, now=LATER)
    assert left(product) == 1
    placed.booking.refresh_from_db()
    assert (placed.booking.status, placed.booking.expired_at) == ("expired", LATER)


def test_a_new_customer_gets_the_space_of_an_overdue_hold_without_waiting_for_the_clock() -> None:
    product = make_product(capacity=1)
    first = hold(product).booking
    hold(product, now=LATER)
    first.refresh_from_db()
    assert first.status == "expired"


def test_an_old_price_is_not_honoured() -> None:
    product = make_product()
    quote = quote_stay(product, start_at=NOW + DAY, end_at=NOW + 2 * DAY, now=NOW)
    with pytest.raises(QuoteExpired):
        place_hold(quote, driver=ADA, plate="AB12CDE", now=quote.expires_at)


def test_hoarding_is_capped_by_address_whatever_its_case() -> None:
    product = make_product(capacity=50)
    for _hold in range(settings.OPEN_HOLDS_PER_CUSTOMER):
        hold(product, email="ben@example.com")
    with pytest.raises(TooManyHolds):
        hold(product, email="Ben@Example.com")
    hold(product, email="ada@example.com")
    hold(product, email="ben@example.com", now=LATER)  # the overdue ones do not count


def test_hoarding_is_capped_by_account() -> None:
    product = make_product(capacity=50)
    user = User.objects.create_user("ben@example.com", "a long enough one")
    for _hold in range(settings.OPEN_HOLDS_PER_CUSTOMER):
        hold(product, user=user)
    with pytest.raises(TooManyHolds):
        hold(product, user=user)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "  "}, "driver.name"),
        ({"name": "A\x00da"}, "driver.name"),
        ({"name": "A" * 121}, "driver.name"),
        ({"name": "\ud800"}, "driver.name"),
        ({"email": "ada"}, "driver.email"),
        ({"email": "ada@example.com\nBcc: x@example.com"}, "driver.email"),
        ({"phone": "12"}, "driver.phone"),
        ({"phone": "07700"}, "driver.phone"),
        ({"phone": "+49110"}, "driver.phone"),
        ({"phone": "+49123456789012345"}, "driver.phone"),
        ({"phone": "+447700900123;ext=55"}, "driver.phone"),
        ({"name": "\u202eadA"}, "driver.name"),
        ({"name": "\u200b"}, "driver.name"),
        ({"phone": "+44" + "7" * 100}, "driver.phone"),
    ],
)
def test_bad_details_are_refused_by_field(change: dict[str, str], field: str) -> None:
    quote = quote_stay(make_product(), start_at=NOW + DAY, end_at=NOW + 2 * DAY, now=NOW)
    with pytest.raises(InvalidInput) as refusal:
        place_hold(quote, driver=replace(ADA, **change), plate="AB12CDE", now=NOW)
    assert refusal.value.field == field
    assert not Booking.objects.exists()


@pytest.mark.parametrize("plate", ["", "A", "AB12\x00CDE", "Ω123", "A" * 13, "A" * 1_000_000, "<b>x</b>"])
def test_a_plate_that_is_none_is_refused(plate: str) -> None:
    quote = quote_stay(make_product(), start_at=NOW + DAY, end_at=NOW + 2 * DAY, now=NOW)
    with pytest.raises(InvalidInput) as refusal:
        place_hold(quote, driver=ADA, plate=plate, now=NOW)
    assert refusal.value.field == "vehicle.plate"


def test_meet_and_greet_needs_a_flight_number() -> None:
    product = make_product()
    product.needs_flight_number = True
    product.save()
    quote = quote_stay(product, start_at=NOW + DAY, end_at=NOW + 2 * DAY, now=NOW)
    for flights in (Flights(), Flights(outbound="not a flight")):
        with pytest.raises(InvalidInput) as refusal:
            place_hold(quote, driver=ADA, plate="AB12CDE", flights=flights, now=NOW)
        assert refusal.value.field == "flights.outbound"
    placed = place_hold(
        quote, driver=ADA, plate="AB12CDE", flights=Flights(outbound="ba 117", return_="U28456"), now=NOW
    )
    assert (placed.booking.outbound_flight, placed.booking.return_flight) == ("BA117", "U28456")


def test_a_hold_takes_few_statements() -> None:
    quote = quote_stay(make_product(), start_at=NOW + DAY, end_at=NOW + 2 * DAY, now=NOW)
    with CaptureQueriesContext(connection) as captured:
        place_hold(quote, driver=ADA, plate="AB12CDE", now=NOW)
    work = [query["sql"] for query in captured if "SAVEPOINT" not in query["sql"]]
    assert len(work) == 4, work


def test_only_owner_staff_and_the_link_open_a_booking() -> None:
    ada = User.objects.create_user("ada@example.com", "a long enough one")
    ben = User.objects.create_user("ben@example.com", "a long enough one")
    vic = User.objects.create_user("vic@example.com", "a long enough one", is_staff=True)
    placed = hold(make_product(), user=ada)
    reference = placed.booking.reference
    assert access.booking_for(reference, user=ada, guest_token="") == placed.booking
    assert (
        access.booking_for(reference, user=AnonymousUser(), guest_token=placed.guest_token) == placed.booking
    )
    strangers: list[tuple[Any, str]] = [
        (ben, ""), (vic, ""), (AnonymousUser(), ""), (ben, "0" * 64), (None, "\ud800"),
        (AnonymousUser(), placed.booking.guest_token_hash),
    ]  # fmt: skip
    for user, token in strangers:
        with pytest.raises(NotFound):
            access.booking_for(reference, user=user, guest_token=token)
    vic.user_permissions.add(Permission.objects.get(codename="view_booking"))
    assert access.booking_for(reference, user=User.objects.get(pk=vic.pk), guest_token="") == placed.booking
    with pytest.raises(NotAllowed):  # looking is not cancelling
        access.booking_for(reference, user=User.objects.get(pk=vic.pk), guest_token="", to_change=True)
    vic.user_permissions.add(Permission.objects.get(codename="change_booking"))
    operator = User.objects.get(pk=vic.pk)
    assert access.booking_for(reference, user=operator, guest_token="", to_change=True) == placed.booking
    for odd in ("AP-\x00", "", "A" * 500, "AP-ÄÄÄÄÄÄ"):
        with pytest.raises(NotFound):
            access.booking_for(odd, user=ada, guest_token="")


def test_the_guest_link_is_long_and_stored_only_as_a_hash() -> None:
    placed = hold(make_product())
    assert len(placed.guest_token) * 5 >= 128  # base32
    assert placed.guest_token not in str(Booking.objects.filter(pk=placed.booking.pk).values().get())
    assert access.manage_url(placed.booking).endswith(f"/b/{placed.booking.reference}/{placed.guest_token}")


def test_a_guest_finds_the_booking_by_reference_and_address() -> None:
    placed = hold(make_product(), email="Ada@example.com")
    assert access.guest_booking(placed.booking.reference.lower(), email=" ada@EXAMPLE.com ") == placed.booking
    with pytest.raises(NotFound):
        access.guest_booking(placed.booking.reference, email="ben@example.com")


def test_search_shows_what_is_free_at_the_price_of_the_quote() -> None:
    product = make_product(capacity=1)
    stay = {"start_at": NOW + 2 * DAY, "end_at": NOW + 5 * DAY, "now": NOW}
    [offer] = queries.search(product.car_park.airport, **stay)
    assert (offer.spaces_left, offer.sold_out) == (1, False)
    assert offer.total.amount_minor == quote_stay(product, **stay).total_minor
    hold(product)
    [offer] = queries.search(product.car_park.airport, **stay)
    assert (offer.spaces_left, offer.sold_out) == (0, True)
    assert queries.search(product.car_park.airport, **stay, filters=queries.SearchFilters(ev=True)) == []
    product.car_park.is_open = False
    product.car_park.save()
    assert queries.search(product.car_park.airport, **stay) == []


def test_search_caps_the_spaces_it_shows_and_takes_three_statements() -> None:
    product = make_product(capacity=500)
    with CaptureQueriesContext(connection) as captured:
        [offer] = queries.search(product.car_park.airport, start_at=NOW + DAY, end_at=NOW + 2 * DAY, now=NOW)
    assert offer.spaces_left == 10
    assert len(captured) == 3


def test_a_language_that_is_not_spoken_falls_back() -> None:
    assert hold(make_product(), language="xx\x00").booking.contact_language == settings.LANGUAGE_CODE


def test_an_anonymous_visitor_is_not_stored_as_a_user() -> None:
    placed = hold(make_product(), user=AnonymousUser())
    assert placed.booking.user is None
    assert Occupancy.objects.get(booking=placed.booking).released_at is None


def test_one_address_holds_so_many_spaces_and_fewer_in_one_car_park(settings: Any) -> None:
    settings.OPEN_HOLDS_PER_ADDRESS = [4, 3]
    one, other = make_product(capacity=9), make_product(capacity=9, iata="LGW")
    for _number in range(3):
        hold(one, address="192.0.2.1")
    with pytest.raises(TooManyHolds, match="from where you are"):
        hold(one, address="192.0.2.1")
    hold(one, address="192.0.2.2")
    hold(other, address="192.0.2.1")
    with pytest.raises(TooManyHolds):
        hold(other, address="192.0.2.1")
    hold(one, address="192.0.2.1", now=LATER)
    assert "192.0.2" not in str(list(Booking.objects.values_list("held_from_key")))
