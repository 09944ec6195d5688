"""Signed webhooks: delivered, retried, held, shuffled and forged."""

from __future__ import annotations

import json
import time

import pytest
import requests
import stripe

from sandbox.tests.conftest import Process, Receiver, wait_until

SECRET = "whsec_aSecretForTests"


@pytest.fixture
def listening(box: Process, receiver: Receiver) -> Receiver:
    box.post("/webhooks/endpoints", {"provider": "stripe", "url": f"{receiver.url}/hook/", "secret": SECRET})
    return receiver


def test_an_event_arrives_signed_for_the_library(box: Process, listening: Receiver) -> None:
    customer = box.stripe().v1.customers.create({"name": "Zoë"})
    (got,) = listening.wait_for(1)
    event = stripe.Webhook.construct_event(got.body, got.headers["Stripe-Signature"], SECRET)
    assert (event.type, event.data.object["id"], event.api_version) == (
        "customer.created",
        customer.id,
        "2026-08-26.dahlia",
    )
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(got.body + b" ", got.headers["Stripe-Signature"], SECRET)
    delivered = wait_until(lambda: box.get("/webhooks.json", status="delivered")["deliveries"])
    assert delivered[0]["response_code"] == 200
    assert delivered[0]["body"].encode() == got.body
    assert delivered[0]["headers"]["Stripe-Signature"] == got.headers["Stripe-Signature"]


def test_a_failed_delivery_is_tried_again_when_its_time_comes(box: Process, listening: Receiver) -> None:
    listening.answers = [500, 302]
    box.stripe().v1.customers.create({})
    listening.wait_for(1)
    wait_until(lambda: box.get("/webhooks.json")["deliveries"][0]["attempts"] == 1)
    box.post("/clock", {"advance_seconds": 3})
    listening.wait_for(2)
    wait_until(lambda: box.get("/webhooks.json")["deliveries"][0]["attempts"] == 2)
    time.sleep(0.3)
    assert len(listening.received) == 2
    box.post("/clock", {"advance_seconds": 11})
    listening.wait_for(3)
    wait_until(lambda: box.get("/webhooks.json")["deliveries"][0]["status"] == "delivered")
    assert len({got.body for got in listening.received}) == 1


def test_held_events_are_ready_to_be_pulled_and_pushed(box: Process, listening: Receiver) -> None:
    box.post("/webhooks/mode", {"mode": "hold", "provider": "stripe"})
    box.stripe().v1.customers.create({})
    (held,) = box.get("/webhooks.json", status="held")["deliveries"]
    event = stripe.Webhook.construct_event(held["body"], held["headers"]["Stripe-Signature"], SECRET)
    assert event.type == "customer.created"
    assert listening.received == []
    assert box.post(f"/webhooks/{held['id']}/deliver")["status"] == "delivered"
    assert box.post(f"/webhooks/{held['id']}/deliver")["attempts"] == 2
    assert len(listening.received) == 2


def test_what_was_held_is_released_and_what_was_dropped_is_lost(box: Process, listening: Receiver) -> None:
    box.post("/webhooks/mode", {"mode": "drop"})
    box.stripe().v1.customers.create({"name": "lost"})
    box.post("/webhooks/mode", {"mode": "hold"})
    box.stripe().v1.customers.create({"name": "held"})
    box.post("/webhooks/mode", {"mode": "deliver", "release": True})
    (got,) = listening.wait_for(1)
    assert json.loads(got.body)["data"]["object"]["name"] == "held"
    assert len(box.get("/webhooks.json", status="dropped")["deliveries"]) == 1


def test_copies_forgeries_and_skew(box: Process, listening: Receiver) -> None:
    box.post("/webhooks/mode", {"duplicate": 4, "shuffle": True, "provider": "stripe"})
    box.stripe().v1.customers.create({})
    got = listening.wait_for(5)
    assert len({json.loads(item.body)["id"] for item in got}) == 1
    box.post("/webhooks/mode", {"duplicate": 0, "shuffle": False, "forge": True})
    box.stripe().v1.customers.create({})
    forged = listening.wait_for(6)[-1]
    with pytest.raises(stripe.SignatureVerificationError, match="No signatures found"):
        stripe.Webhook.construct_event(forged.body, forged.headers["Stripe-Signature"], SECRET)
    box.post("/webhooks/mode", {"forge": False, "skew_seconds": -900})
    box.stripe().v1.customers.create({})
    old = listening.wait_for(7)[-1]
    with pytest.raises(stripe.SignatureVerificationError, match="tolerance"):
        stripe.Webhook.construct_event(old.body, old.headers["Stripe-Signature"], SECRET)


def test_endpoints_are_made_through_the_api_and_choose_their_events(box: Process, receiver: Receiver) -> None:
    service = box.stripe().v1.webhook_endpoints
    made = service.create({"url": f"{receiver.url}/api", "enabled_events": ["payment_intent.created"]})
    assert made.secret is not None
    assert getattr(service.retrieve(made.id), "secret", None) is None
    box.stripe().v1.customers.create({})
    box.stripe().v1.payment_intents.create({"amount": 500, "currency": "usd"})
    (got,) = receiver.wait_for(1)
    event = stripe.Webhook.construct_event(got.body, got.headers["Stripe-Signature"], made.secret)
    assert event.type == "payment_intent.created"
    service.delete(made.id)
    assert service.list().data == []


def test_nobody_home_is_written_down(box: Process) -> None:
    box.post("/webhooks/endpoints", {"provider": "stripe", "url": "http://127.0.0.1:9/", "secret": SECRET})
    box.stripe().v1.customers.create({})
    tried = wait_until(lambda: [item for item in box.get("/webhooks.json")["deliveries"] if item["attempts"]])
    assert (tried[0]["status"], tried[0]["response_code"]) == ("pending", None)
    assert "No answer" in tried[0]["response_excerpt"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/webhooks/mode", {"mode": "perhaps"}),
        ("/webhooks/mode", {"duplicate": -1}),
        ("/webhooks/mode", {"provider": "nobody"}),
        ("/webhooks/mode", {"delay_seconds": "soon"}),
        ("/webhooks/endpoints", {"provider": "stripe", "url": "ftp://x"}),
        ("/webhooks/endpoints", {"provider": "x", "url": "http://x"}),
    ],
)
def test_senseless_settings_are_refused(box: Process, path: str, body: dict[str, object]) -> None:
    refused = requests.post(box.url + path, json=body, timeout=10)
    assert refused.status_code == 400
    assert refused.json()["error"]
