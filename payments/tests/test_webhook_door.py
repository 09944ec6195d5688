"""Stripe's door: a true signature gets 200 and one row, anything else 400 and none."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.test import Client

from payments.models import ProviderEvent

pytestmark = pytest.mark.django_db


def deliver(
    client: Client, body: dict[str, Any], *, secret: str = "", at: float | None = None, altered: bool = False
) -> int:
    raw = json.dumps(body)
    stamp = int(at or time.time())
    signature = hmac.new(
        (secret or settings.STRIPE_WEBHOOK_SECRET).encode(), f"{stamp}.{raw}".encode(), hashlib.sha256
    )
    return client.post(
        f"/stripe/webhook/{settings.STRIPE_WEBHOOK_UUID}/",
        raw.replace("evt_1", "evt_2") if altered else raw,
        content_type="application/json",
        headers={"Stripe-Signature": f"t={stamp},v1={signature.hexdigest()}"},
    ).status_code


@pytest.fixture(autouse=True)
def provisioned() -> None:
    call_command("provision_stripe")
    call_command("provision_stripe")


EVENT = {
    "id": "evt_1",
    "object": "event",
    "type": "payment_intent.succeeded",
    "livemode": False,
    "api_version": "x",
    "data": {"object": {"id": "pi_1", "object": "payment_intent"}},
}


def test_a_signed_event_is_noted_once(client: Client) -> None:
    assert [deliver(client, EVENT) for _time in range(3)] == [200, 200, 200]
    assert ProviderEvent.objects.get().object_ref == "pi_1"


@pytest.mark.parametrize(
    "how",
    [{"secret": "whsec_somebody_elses_secret_0000"}, {"altered": True}, {"at": time.time() - 3600}],
    ids=["wrong secret", "altered body", "replayed"],
)
def test_a_forged_event_is_refused(client: Client, how: dict[str, Any]) -> None:
    assert deliver(client, EVENT, **how) == 400
    assert not ProviderEvent.objects.exists()


def test_an_event_of_the_other_mode_is_refused(client: Client) -> None:
    assert deliver(client, EVENT | {"livemode": True}) == 400
    assert not ProviderEvent.objects.exists()
