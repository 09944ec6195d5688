"""The cast pays: a held booking, and a customer at the card form."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
import uuid
from datetime import timedelta
from typing import Any

import requests
import stripe
from django.conf import settings
from django.utils import timezone

from bookings.models import Booking, Product
from bookings.tests.world import hold, make_product
from payments.models import StoredMethod
from payments.services.checkout import CheckoutSession, start
from payments.services.methods import SetupSession, begin_setup, save_method


def held_booking(product: Product | None = None, **more: Any) -> Booking:
    """Hold a stay that starts in two days."""
    now = timezone.now()
    return hold(product or make_product(capacity=5), start=now + timedelta(days=2), now=now, **more).booking


def checkout(booking: Booking, *, provider: str = "stripe") -> CheckoutSession:
    return start(booking, provider=provider, now=timezone.now())


def pay(session: CheckoutSession, *, card: str = "pm_card_visa") -> int:
    """Do what Stripe.js does in the customer's browser; return the HTTP status."""
    return in_browser(
        f"payment_intents/{session.provider_ref}/confirm", session.client_secret, payment_method=card
    )


def enter_card(session: SetupSession, *, card: str = "pm_card_visa") -> int:
    """Enter a card that is to be saved, as Stripe.js does; return the HTTP status."""
    return in_browser(
        f"setup_intents/{session.setup_ref}/confirm", session.client_secret, payment_method=card
    )


def saved_card(user: Any, *, card: str = "pm_card_visa") -> StoredMethod:
    """Save a card from begin to end."""
    session = begin_setup(user)
    if enter_card(session, card=card) != 200:
        raise AssertionError("the card was not taken")
    return save_method(user, setup_ref=session.setup_ref)


def in_browser(path: str, client_secret: str, **sent: str) -> int:
    """Call the provider from a page: with the publishable key and the secret of this one intent; return the HTTP status."""
    form = {"client_secret": client_secret, "key": settings.STRIPE_PUBLISHABLE_KEY, **sent}
    request = urllib.request.Request(
        f"{settings.STRIPE_API_BASE}/v1/{path}", data=urllib.parse.urlencode(form).encode()
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            json.loads(answer.read())
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def answer_bank(intent_ref: str, *, passes: bool = True) -> None:
    """Press the button on the bank's page, as the customer does, for a payment or for the saving of a card."""
    service = provider().v1.setup_intents if intent_ref.startswith("seti_") else provider().v1.payment_intents
    intent = json.loads(str(service.retrieve(intent_ref)))
    url = urllib.parse.urlsplit(intent["next_action"]["use_stripe_sdk"]["stripe_js"])
    form = {
        "attempt": urllib.parse.parse_qs(url.query)["attempt"][0],
        "outcome": "complete" if passes else "fail",
    }
    page = urllib.parse.urlunsplit(url._replace(query=""))
    urllib.request.urlopen(page, data=urllib.parse.urlencode(form).encode(), timeout=20).close()


def provider() -> stripe.StripeClient:
    """Stripe as its own dashboard would use it: behind our back."""
    return stripe.StripeClient(settings.STRIPE_SECRET_KEY, base_addresses={"api": settings.STRIPE_API_BASE})


def approve(session: CheckoutSession, *, buyer: str = "at_once", decision: str = "approve") -> str:
    """Do what the buyer does on PayPal's page; return the address that PayPal sends the browser to."""
    return agree(session.approve_url, buyer=buyer, decision=decision)


def expire_hold(booking: Booking) -> None:
    """Let the hold run out as the clock does."""
    from bookings.services.hold import expire

    Booking.objects.filter(pk=booking.pk).update(hold_expires_at=timezone.now() - timedelta(seconds=1))
    if not expire(booking.pk, now=timezone.now()):
        raise AssertionError("the hold did not expire")


def age(row: Any, **fields: Any) -> None:
    """Make a row older than the janitor's minute."""
    type(row).objects.filter(pk=row.pk).update(**fields)


def agree(approve_url: str, *, buyer: str = "at_once", decision: str = "approve") -> str:
    """Do what the buyer does on any of PayPal's pages; return the address that PayPal sends the browser to."""
    answer = requests.post(
        approve_url, data={"buyer": buyer, "decision": decision}, allow_redirects=False, timeout=20
    )
    return answer.headers.get("Location", "")


def saved_wallet(user: Any, *, buyer: str = "at_once") -> StoredMethod:
    """Save a PayPal wallet from begin to end; `buyer` is how its money behaves."""
    session = begin_setup(user, provider="paypal")
    agree(session.approve_url, buyer=buyer)
    return save_method(user, setup_ref=session.setup_ref, provider="paypal")


def at_paypal(method: str, path: str, body: Any = None) -> requests.Response:
    """PayPal's API as somebody else with the shop's credentials uses it: behind our back."""
    token = requests.post(
        f"{settings.PAYPAL_API_BASE}/v1/oauth2/token",
        auth=(settings.PAYPAL_CLIENT_ID, settings.PAYPAL_CLIENT_SECRET),
        data={"grant_type": "client_credentials"},
        timeout=20,
    ).json()["access_token"]
    return requests.request(
        method,
        f"{settings.PAYPAL_API_BASE}/{path}",
        json=body,
        headers={"Authorization": f"Bearer {token}", "PayPal-Request-Id": str(uuid.uuid4())},
        timeout=20,
    )
