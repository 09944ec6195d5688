"""Promo codes: what they take off, when they hold, and that their uses are counted."""

from __future__ import annotations

import threading
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from bookings.models import Booking, PromoCode, PromoUse, Quote
from bookings.services.errors import PromoCodeUsedUp
from bookings.services.hold import Driver, expire, place_hold
from bookings.services.quote import quote_stay
from bookings.tests.world import ADA, DAY, NOW, make_product
from foundation.errors import InvalidInput

pytestmark = pytest.mark.django_db


def code(**given: Any) -> PromoCode:
    return PromoCode.objects.create(**{"code": "SPRING20", "percent": Decimal(20), **given})


def offer(product: Any, text: str = "SPRING20", **more: Any) -> Quote:
    return quote_stay(product, start_at=NOW + 2 * DAY, end_at=NOW + 4 * DAY, now=NOW, promo_code=text, **more)


def held(quote: Quote, email: str = "ada@example.com", plate: str = "AB12CDE", now: Any = NOW) -> Booking:
    return place_hold(quote, driver=Driver(ADA.name, email, ADA.phone), plate=plate, now=now).booking


def test_a_percentage_is_a_price_line_that_adds_up() -> None:
    code()
    quote = offer(make_product(), " spring 20 ")
    assert quote.total_minor == 2400 == sum(line["amount_minor"] for line in quote.lines)
    assert quote.lines[-1] == {"label": "Promo code SPRING20 (-20%)", "rule": "promo", "amount_minor": -600}


def test_an_amount_takes_off_no_more_than_the_price_and_a_full_discount_is_a_free_booking() -> None:
    code(kind="amount", percent=None, amount_minor=99_999, currency="GBP")
    quote = offer(make_product())
    assert quote.total_minor == 0
    assert held(quote).status == "confirmed"


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"is_active": False}, "do not know"),
        ({"valid_from": NOW + DAY}, "from 2 June 2026"),
        ({"valid_until": NOW - DAY}, "ended on 31 May 2026"),
        ({"currency": "USD"}, "USD only"),
        ({"max_uses": 0}, "as often as it can be"),
    ],
)
def test_a_code_that_does_not_hold_says_why(given: dict[str, Any], word: str) -> None:
    code(**given)
    with pytest.raises(InvalidInput, match=word) as refused:
        offer(make_product())
    assert refused.value.field == "promoCode"


def test_a_code_holds_only_where_it_is_for() -> None:
    here, there = make_product(), make_product(iata="MAN")
    code().airports.add(there.car_park.airport)
    code(code="PRODUCT").products.add(there)
    for text in ("SPRING20", "PRODUCT"):
        with pytest.raises(InvalidInput):
            offer(here, text)
        assert offer(there, text).total_minor == 2400


def test_a_use_is_taken_at_the_hold_and_given_back_when_it_lapses() -> None:
    promo = code(max_uses=1)
    product = make_product()
    first, second = offer(product), offer(product)
    booking = held(first)
    promo.refresh_from_db()
    assert (promo.used, PromoUse.objects.get().discount_minor) == (1, 600)
    with pytest.raises(PromoCodeUsedUp), transaction.atomic():
        held(second, "ben@example.com", "BEN1")
    assert expire(booking.pk, now=NOW + timedelta(minutes=16))
    promo.refresh_from_db()
    assert promo.used == 0
    held(second, "ben@example.com", "BEN1", now=NOW + timedelta(minutes=17))
    promo.refresh_from_db()
    assert promo.used == 1


def test_one_customer_uses_a_code_once_whatever_the_capitals() -> None:
    code()
    product = make_product()
    held(offer(product), "Ada@Example.com")
    with pytest.raises(PromoCodeUsedUp, match="e-mail address"), transaction.atomic():
        held(offer(product), "ada@example.com", "SECOND")
    assert Booking.objects.count() == 1


def test_a_code_that_ended_after_the_quote_still_holds() -> None:
    promo = code()
    quote = offer(make_product())
    PromoCode.objects.update(is_active=False, percent=Decimal(1))
    assert held(quote).total_minor == 2400
    promo.refresh_from_db()
    assert promo.used == 1


def test_uses_cannot_be_deleted_or_moved() -> None:
    code()
    held(offer(make_product()))
    for change in (
        lambda: PromoUse.objects.all().delete(),
        lambda: PromoUse.objects.update(discount_minor=1),
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            change()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("guarded", [True, False])
def test_the_last_use_goes_to_one_of_many(guarded: bool) -> None:
    """Eight people at once and two uses. Without the trigger's lock (the control) more get through."""
    promo = code(max_uses=2)
    product = make_product(capacity=20)
    quotes = [offer(product) for _number in range(8)]
    if not guarded:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT replace(pg_get_functiondef('bookings_promo_use_taken'::regproc), 'FOR UPDATE', '')"
            )
            body = cursor.fetchone()[0].replace(
                "IF code.max_uses_per", "PERFORM pg_sleep(0.3); IF code.max_uses_per", 1
            )
            cursor.execute(body)
    start, outcomes = threading.Barrier(8), []

    def one(number: int) -> None:
        start.wait()
        try:
            held(quotes[number], f"p{number}@example.com", f"P{number}X")
            outcomes.append("held")
        except PromoCodeUsedUp:
            outcomes.append("used up")
        finally:
            connection.close()

    threads = [threading.Thread(target=one, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    promo.refresh_from_db()
    assert len(outcomes) == 8
    if guarded:
        assert (outcomes.count("held"), promo.used, Booking.objects.count()) == (2, 2, 2)
    else:
        assert outcomes.count("held") > 2


def test_the_api_prices_with_a_code_and_names_the_field_when_it_does_not_hold() -> None:
    code()
    product = make_product()
    start = timezone.now() + 5 * DAY
    body = {
        "productId": product.pk,
        "dropOff": f"{start:%Y-%m-%dT10:00}",
        "return": f"{start + DAY:%Y-%m-%dT18:00}",
    }
    good = APIClient().post("/api/quotes", {**body, "promoCode": "spring20"}, format="json")
    assert good.status_code == 201
    assert (good.json()["total"], good.json()["lines"][-1]["rule"]) == ("16.00", "promo")
    bad = APIClient().post("/api/quotes", {**body, "promoCode": "NOPE"}, format="json")
    assert (bad.status_code, bad.json()["errors"][0]["field"]) == (400, "promoCode")
    strange = APIClient().post("/api/quotes", {**body, "promoCode": "%00'\"\u202e"}, format="json")
    assert strange.status_code in (400, 422)


def test_a_campaigns_link_fills_the_code_in_and_the_page_books_with_it() -> None:
    code()
    product = make_product()
    client = Client()
    client.get("/", {"code": "spring20"})
    start = timezone.now() + 5 * DAY
    stay = {"drop_off": f"{start:%Y-%m-%dT10:00}", "return": f"{start + DAY:%Y-%m-%dT18:00}"}
    page = reverse("bookings:book", args=[product.pk])
    shown = client.get(page, stay).content.decode()
    assert "Promo code SPRING20 (-20%)" in shown and "£16.00" in shown
    form = {
        **stay, "name": "Ada", "email": "ada@example.com", "phone": "+447700900123", "plate": "AB12CDE", "promo_code": "SPRING20",
        "shown_total_minor": "1600",
    }  # fmt: skip
    refused = client.post(page, {**form, "promo_code": "WRONG", "apply": "1"})
    assert refused.status_code == 422
    assert "We do not know this promo code" in refused.content.decode()
    assert "AB12CDE" in refused.content.decode()
    assert client.post(page, {**form, "promo_code": "WRONG"}).status_code == 422
    assert not Booking.objects.exists()
    assert client.post(page, form).status_code == 302
    assert Booking.objects.get().total_minor == 1600


def test_a_code_typed_but_not_applied_is_shown_before_it_is_booked() -> None:
    code()
    product = make_product()
    start = timezone.now() + 5 * DAY
    form = {
        "drop_off": f"{start:%Y-%m-%dT10:00}", "return": f"{start + DAY:%Y-%m-%dT18:00}", "name": "Ada", "email": "ada@example.com",
        "phone": "+447700900123", "plate": "AB12CDE", "promo_code": "SPRING20", "shown_total_minor": "2000",
    }  # fmt: skip
    answer = Client().post(reverse("bookings:book", args=[product.pk]), form)
    assert answer.status_code == 409
    assert "£16.00" in answer.content.decode()
    assert not Booking.objects.exists()
