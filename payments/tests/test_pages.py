"""Paying in a browser: the card form, coming back from the bank, the pass, and the time that runs out."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import stripe
from django.conf import settings
from django.test import Client

from bookings.models import Booking, Pool
from bookings.services.hold import Driver, PlacedHold, expire, place_hold
from bookings.services.quote import quote_stay
from bookings.tests.world import make_product
from payments.models import Payment, PaymentStatus

pytestmark = pytest.mark.django_db(transaction=True)


def text(response: Any) -> str:
    return response.content.decode()


@pytest.fixture
def placed(client: Client) -> PlacedHold:
    """Ada's held booking, opened in this browser."""
    now = datetime.now(UTC)
    start = now + timedelta(days=20)
    quote = quote_stay(make_product(), start_at=start, end_at=start + timedelta(days=3), now=now)
    driver = Driver(name="Ada Lovelace", email="ada@example.com", phone="+447700900123")
    placed = place_hold(quote, driver=driver, plate="AB12CDE", now=now)
    client.get(f"/b/{placed.booking.reference}/{placed.guest_token}")
    return placed


def overdue(booking: Booking) -> None:
    Booking.objects.filter(pk=booking.pk).update(hold_expires_at=datetime.now(UTC) - timedelta(minutes=1))


def pay_at_provider(payment: Payment, method: str) -> None:
    """Do what the card form does: confirm the intent with a method."""
    provider = stripe.StripeClient(
        settings.STRIPE_SECRET_KEY, base_addresses={"api": settings.STRIPE_API_BASE}
    )
    with contextlib.suppress(stripe.CardError):
        provider.v1.payment_intents.confirm(
            payment.provider_ref or "",
            params={"payment_method": method, "return_url": "https://parking.example/"},
        )


def test_the_card_form_carries_the_secret_and_a_refresh_pays_once(
    client: Client, placed: PlacedHold, sandbox: Any
) -> None:
    address = f"/pay/{placed.booking.reference}"
    first, second = client.get(address), client.get(address)
    payment = Payment.objects.get()
    assert payment.amount_minor == placed.booking.total_minor
    assert first.context["session"].client_secret == second.context["session"].client_secret
    assert first.context["session"].client_secret in text(first)
    assert settings.STRIPE_JS_URL in text(first)
    assert "data-countdown=" in text(first)


def test_coming_back_after_paying_shows_the_pass(client: Client, placed: PlacedHold, sandbox: Any) -> None:
    reference = placed.booking.reference
    client.get(f"/pay/{reference}")
    pay_at_provider(Payment.objects.get(), "pm_card_visa")
    response = client.get(f"/pay/{reference}/return")
    assert response["Location"] == f"/bookings/{reference}/confirmed"
    page = text(client.get(response["Location"]))
    assert "You are booked." in page
    assert f"/bookings/{reference}/qr.svg" in page
    assert Booking.objects.get().status == "confirmed"
    assert Payment.objects.get().status == PaymentStatus.CAPTURED
    assert client.get(f"/pay/{reference}")["Location"] == f"/bookings/{reference}/confirmed"


def test_a_decline_leads_back_to_the_form_with_the_reason(
    client: Client, placed: PlacedHold, sandbox: Any
) -> None:
    reference = placed.booking.reference
    client.get(f"/pay/{reference}")
    pay_at_provider(Payment.objects.get(), "pm_card_visa_chargeDeclinedInsufficientFunds")
    response = client.get(f"/pay/{reference}/return")
    assert response["Location"] == f"/pay/{reference}?declined=1"
    page = text(client.get(response["Location"]))
    assert "not enough money" in page
    assert placed.booking.plate in page
    assert Booking.objects.get().status == "held"


def test_a_provider_that_does_not_answer_keeps_the_space_and_says_so(
    client: Client, placed: PlacedHold, sandbox: Any
) -> None:
    sandbox.post("/faults", {"operation": "stripe.payment_intents.create", "behaviour": "refuse", "times": 5})
    response = client.get(f"/pay/{placed.booking.reference}")
    assert response.status_code == 503
    assert "Your space is kept until" in text(response)
    assert Booking.objects.get().status == "held"


def test_coming_back_while_the_provider_is_silent_waits_and_does_not_invite_a_second_payment(
    client: Client, placed: PlacedHold, sandbox: Any
) -> None:
    reference = placed.booking.reference
    client.get(f"/pay/{reference}")
    sandbox.post(
        "/faults", {"operation": "stripe.payment_intents.retrieve", "behaviour": "refuse", "times": 9}
    )
    page = text(client.get(f"/pay/{reference}/return"))
    assert "do not pay a second time" in page
    assert 'hx-trigger="every 3s"' in page
    poll = client.get(f"/pay/{reference}/return", headers={"HX-Request": "true"})
    assert "<html" not in text(poll)


def test_a_poll_that_finds_the_money_moves_the_whole_page(
    client: Client, placed: PlacedHold, sandbox: Any
) -> None:
    reference = placed.booking.reference
    client.get(f"/pay/{reference}")
    pay_at_provider(Payment.objects.get(), "pm_card_visa")
    poll = client.get(f"/pay/{reference}/return", headers={"HX-Request": "true"})
    assert poll["HX-Redirect"] == f"/bookings/{reference}/confirmed"


def test_when_the_time_is_over_one_button_holds_again_with_the_same_details(
    client: Client, placed: PlacedHold
) -> None:
    reference = placed.booking.reference
    overdue(placed.booking)
    response = client.get(f"/pay/{reference}")
    assert response.status_code == 410
    assert not Payment.objects.exists()
    again = dict(response.context["again"])
    assert (again["plate"], again["email"]) == ("AB12CDE", "ada@example.com")
    expire(placed.booking.pk, now=datetime.now(UTC))
    held = client.post(f"/book/{placed.booking.product_id}", again)
    new = Booking.objects.get(status="held")
    assert held["Location"] == f"/pay/{new.reference}"
    assert new.reference != reference
    assert (new.plate, new.total_minor) == ("AB12CDE", placed.booking.total_minor)


def test_when_the_time_is_over_and_the_space_is_gone_it_leads_to_other_car_parks(
    client: Client, placed: PlacedHold
) -> None:
    overdue(placed.booking)
    again = dict(client.get(f"/pay/{placed.booking.reference}").context["again"])
    expire(placed.booking.pk, now=datetime.now(UTC))
    Pool.objects.update(capacity=0)
    response = client.post(f"/book/{placed.booking.product_id}", again)
    assert response.status_code == 409
    assert "/search?airport=" in text(response)


def test_nobody_else_reaches_the_payment_pages(placed: PlacedHold) -> None:
    stranger = Client()
    for path in (f"/pay/{placed.booking.reference}", f"/pay/{placed.booking.reference}/return"):
        assert stranger.get(path).status_code == 404
    assert stranger.get(f"/bookings/{placed.booking.reference}/confirmed").status_code == 404
    assert not Payment.objects.exists()


def test_the_confirmation_of_an_unpaid_booking_is_its_payment_page(
    client: Client, placed: PlacedHold
) -> None:
    reference = placed.booking.reference
    assert client.get(f"/bookings/{reference}/confirmed")["Location"] == f"/pay/{reference}"
    assert client.get(f"/pay/{reference}/return")["Location"] == f"/pay/{reference}"
