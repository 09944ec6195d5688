"""A stay that costs nothing: no provider is asked, it is confirmed at once, and nothing is said or written about a payment."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from bookings.models import Booking, Occupancy, Product
from bookings.services.access import guest_token_for, manage_url
from bookings.services.errors import CarParkFull, QuoteUsed
from bookings.services.hold import Driver, PlacedHold, place_hold
from bookings.services.quote import quote_stay
from bookings.tests.world import DAY, add_rule, make_product
from communications.models import Message
from payments.models import Document, LedgerTransaction, Payment, Refund
from payments.services import checkout

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def books_are_right() -> Any:
    yield
    call_command("audit_books")


@pytest.fixture
def free(db: None) -> Product:
    """Every stay is discounted by all of its price."""
    product = make_product(capacity=3)
    add_rule(product, "length_of_stay", "-100", min_days=1)
    return product


def asked_nobody(sandbox: Any) -> bool:
    return sandbox.get("/ledger.json")["charges"] == [] and not Payment.objects.exists()


def told() -> set[str]:
    return set(Message.objects.filter(channel="email").values_list("kind", flat=True))


def stay(product: Product) -> Any:
    now = timezone.now()
    start = now + 3 * DAY
    return quote_stay(product, start_at=start, end_at=start + DAY, now=now)


def placed(quote: Any, email: str = "ada@example.com") -> PlacedHold:
    driver = Driver(name="Ada Lovelace", email=email, phone="+44 7700 900123")
    return place_hold(quote, driver=driver, plate="AB12CDE", now=timezone.now())


def test_by_the_api_it_is_confirmed_at_once_and_there_is_nothing_to_pay(sandbox: Any, free: Product) -> None:
    client, quote = APIClient(), stay(free)
    body = {
        "quoteId": str(quote.pk),
        "driver": {"name": "Ada", "email": "ada@example.com", "phone": "+447700900123"},
        "vehicle": {"plate": "AB12CDE"},
    }
    made = client.post("/api/bookings", body, format="json")
    assert made.status_code == 201, made.content
    answer = made.json()
    assert (answer["status"], answer["amountDue"]) == ("confirmed", "0.00")
    again = client.post("/api/bookings", body, format="json").json()
    assert again["bookingId"] == answer["bookingId"]
    guest = {"X-Guest-Token": answer["guestToken"]}
    for provider in ("stripe", "paypal"):
        intent = client.post(
            "/api/payments/create-intent",
            {"bookingId": answer["bookingId"], "provider": provider},
            format="json",
            headers=guest,
        )
        assert (intent.status_code, intent.json()["code"]) == (409, "already_paid")
        assert "nothing to pay" in intent.json()["detail"]
    assert asked_nobody(sandbox)
    assert told() == {"booking_confirmation"}
    assert not Document.objects.exists()
    assert not LedgerTransaction.objects.exists()
    shown = client.get(f"/api/bookings/{answer['bookingId']}/cancellation", headers=guest).json()
    assert shown["refund"] == "0.00"
    done = client.post(
        f"/api/bookings/{answer['bookingId']}/cancel",
        {"previewToken": shown["previewToken"]},
        format="json",
        headers={**guest, "Idempotency-Key": "c"},
    )
    assert done.status_code == 200, done.content
    assert done.json()["refund"] == {"amount": "0.00", "currency": "GBP", "status": "none"}
    assert not Refund.objects.exists()
    assert told() == {"booking_confirmation", "cancellation"}
    assert not Occupancy.objects.filter(released_at=None).exists()


def test_by_the_pages_a_double_press_makes_one_confirmed_booking(sandbox: Any, free: Product) -> None:
    client = Client()
    start = timezone.now() + 3 * DAY
    search = {
        "airport": "LHR",
        "drop_off": f"{start:%Y-%m-%dT10:00}",
        "return": f"{start + DAY:%Y-%m-%dT10:00}",
    }
    page = reverse("bookings:book", args=[free.pk])
    details = client.get(page, search)
    form = {
        "name": "Ada Lovelace", "email": "ada@example.com", "phone": "+447700900123", "plate": "AB12CDE",
        "attempt": str(details.context["attempt"]), "shown_total_minor": "0", **search,
    }  # fmt: skip
    for _press in range(2):
        answer = client.post(f"{page}?airport=LHR", form, follow=True)
        assert answer.status_code == 200
        assert "You are booked." in answer.content.decode()
        assert "Nothing to pay" in answer.content.decode()
    booking = Booking.objects.get()
    assert (booking.status, booking.total_minor) == ("confirmed", 0)
    assert asked_nobody(sandbox)
    assert told() == {"booking_confirmation"}
    detail = client.get(manage_url(booking), follow=True).content.decode()
    assert "Nothing to pay" in detail
    assert "Cancel booking" in detail


def test_presses_at_once_make_one(sandbox: Any, free: Product) -> None:
    quote, start, found = stay(free), threading.Barrier(4), []

    def press() -> None:
        start.wait()
        try:
            found.append(placed(quote).booking.reference)
        finally:
            connection.close()

    threads = [threading.Thread(target=press) for _number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert Booking.objects.count() == Occupancy.objects.count() == 1


def test_the_same_price_for_another_driver_is_refused_and_the_link_is_the_same(
    sandbox: Any, free: Product
) -> None:
    quote = stay(free)
    first = placed(quote)
    assert (
        placed(quote).guest_token == first.guest_token == guest_token_for(first.booking.reference, quote.pk)
    )
    with pytest.raises(QuoteUsed):
        placed(quote, email="eve@example.com")


def test_free_stays_never_oversell(sandbox: Any, free: Product) -> None:
    for number in range(3):
        placed(stay(free), email=f"p{number}@example.com")
    with pytest.raises(CarParkFull):
        placed(stay(free), email="late@example.com")
    assert Booking.objects.filter(status="confirmed").count() == 3


def test_a_free_hold_of_an_earlier_release_is_confirmed_when_it_would_be_paid(
    sandbox: Any, free: Product
) -> None:
    quote = stay(free)
    type(quote).objects.filter(pk=quote.pk).update(total_minor=100)
    quote.refresh_from_db()
    booking = placed(quote).booking
    assert booking.status == "held"
    Booking.objects.filter(pk=booking.pk).update(total_minor=0)
    booking.refresh_from_db()
    with pytest.raises(checkout.AlreadyPaid, match="nothing to pay"):
        checkout.start(booking, now=timezone.now())
    booking.refresh_from_db()
    assert booking.status == "confirmed"
    assert asked_nobody(sandbox)
