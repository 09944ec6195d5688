"""The cast pays: a held booking, and a customer at the card form."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from datetime import timedelta
from typing import Any

import requests
from django.conf import settings
from django.utils import timezone

from bookings.models import Booking, Product
from bookings.tests.world import hold, make_product
from payments.services.checkout import CheckoutSession, start


def held_booking(product: Product | None = None, **more: Any) -> Booking:
    """Hold a stay that starts in two days."""
    now = timezone.now()
    return hold(product or make_product(capacity=5), start=now + timedelta(days=2), now=now, **more).booking


def checkout(booking: Booking, *, provider: str = "stripe") -> CheckoutSession:
    return start(booking, provider=provider, now=timezone.now())


def pay(session: CheckoutSession, *, card: str = "pm_card_visa") -> int:
    """Do what Stripe.js does in the customer's browser; return the HTTP status."""
    form = {
        "client_secret": session.client_secret,
        "key": settings.STRIPE_PUBLISHABLE_KEY,
        "payment_method": card,
    }
    request = urllib.request.Request(
        f"{settings.STRIPE_API_BASE}/v1/payment_intents/{session.provider_ref}/confirm",
        data=urllib.parse.urlencode(form).encode(),
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            json.loads(answer.read())
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def approve(session: CheckoutSession, *, buyer: str = "at_once", decision: str = "approve") -> str:
    """Do what the buyer does on PayPal's page; return the address that PayPal sends the browser to."""
    answer = requests.post(
        session.approve_url, data={"buyer": buyer, "decision": decision}, allow_redirects=False, timeout=20
    )
    return answer.headers.get("Location", "")


def expire_hold(booking: Booking) -> None:
    """Let the hold run out as the clock does."""
    from bookings.services.hold import expire

    Booking.objects.filter(pk=booking.pk).update(hold_expires_at=timezone.now() - timedelta(seconds=1))
    if not expire(booking.pk, now=timezone.now()):
        raise AssertionError("the hold did not expire")


def age(row: Any, **fields: Any) -> None:
    """Make a row older than the janitor's minute."""
    type(row).objects.filter(pk=row.pk).update(**fields)
