"""SendGrid: what is accepted, what is refused, and what happens to mail."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import requests
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sandbox.tests.conftest import Process, Receiver, wait_until


def message(to: str = "ada@example.com", **more: Any) -> dict[str, Any]:
    return {
        "personalizations": [{"to": [{"email": to, "name": "Ada"}], "custom_args": {"anymail_id": "m-1"}}],
        "from": {"email": "shop@example.com", "name": "Shop"},
        "subject": "Your space is booked",
        "content": [
            {"type": "text/plain", "value": "See you."},
            {"type": "text/html", "value": "<p>See you.</p>"},
        ],
        **more,
    }


def send(box: Process, body: Any, key: str = "SG.sandbox.sandbox", **more: Any) -> requests.Response:
    head = {"Authorization": f"Bearer {key}", **more.pop("headers", {})}
    options = {"json": body} if not isinstance(body, bytes) else {"data": body}
    return requests.post(f"{box.url}/sendgrid/v3/mail/send", headers=head, timeout=15, **options, **more)


def test_mail_is_kept_as_it_was_sent(box: Process) -> None:
    file = {
        "filename": "stay.ics",
        "type": "text/calendar",
        "content": base64.b64encode(b"BEGIN:VCALENDAR").decode(),
    }
    accepted = send(
        box,
        message(attachments=[file], headers={"List-Unsubscribe": "<https://x.example>"}, categories=["a"]),
    )
    assert accepted.status_code == 202
    (mail,) = box.get("/mail.json")["mail"]
    assert mail["message_id"] == accepted.headers["X-Message-Id"]
    assert (mail["subject"], mail["text"], mail["html"]) == (
        "Your space is booked",
        "See you.",
        "<p>See you.</p>",
    )
    assert mail["headers"] == {"List-Unsubscribe": "<https://x.example>"}
    assert base64.b64decode(mail["attachments"][0]["content"]) == b"BEGIN:VCALENDAR"
    assert mail["custom_args"] == {"anymail_id": "m-1"}
    assert box.get("/mail.json", to="ben@example.com")["mail"] == []
    for path, kind in (
        (f"/mail/{mail['id']}", "stay.ics"),
        (f"/mail/{mail['id']}/html", "See you."),
        ("/mail", "Your space"),
    ):
        assert kind in requests.get(box.url + path, timeout=10).text
    rendered = requests.get(f"{box.url}/mail/{mail['id']}/html", timeout=10)
    assert rendered.headers["Content-Security-Policy"].startswith("sandbox ")
    file_back = requests.get(f"{box.url}/mail/{mail['id']}/attachments/0", timeout=10)
    assert (file_back.content, file_back.headers["Content-Type"]) == (
        b"BEGIN:VCALENDAR",
        "application/octet-stream",
    )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"personalizations": []}, "personalizations"),
        ({"personalizations": [{"to": []}]}, "personalizations.0.to"),
        ({"personalizations": [{"to": [{"email": "nobody"}]}]}, "personalizations.0.to.0.email"),
        (
            {"personalizations": [{"to": [{"email": "a@b.c"}], "cc": [{"email": "A@b.c"}]}]},
            "personalizations.0",
        ),
        ({"from": {}}, "from.email"),
        ({"subject": ""}, "subject"),
        ({"subject": "a\r\nBcc: x@y.z"}, "subject"),
        ({"subject": "a\x00"}, "subject"),
        ({"content": []}, "content"),
        ({"content": [{"type": "text/html", "value": "x"}, {"type": "text/plain", "value": "x"}]}, "content"),
        ({"headers": {"To": "x"}}, "headers.To"),
        ({"headers": {"X-A": "a\nb"}}, "headers"),
        ({"custom_args": {"a": 1}}, "custom_args"),
        ({"attachments": [{"filename": "a", "content": "!!"}]}, "attachments.0.content"),
        ({"colour": "blue"}, "colour"),
        ({"template_id": "d-1"}, "template_id"),
    ],
)
def test_what_sendgrid_refuses_is_refused(box: Process, change: dict[str, Any], field: str) -> None:
    refused = send(box, message(**change))
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, field)
    assert box.get("/mail.json")["mail"] == []


def test_wrong_keys_and_broken_bodies_are_refused(box: Process) -> None:
    assert send(box, message(), key="nonsense").status_code == 401
    head = {"Content-Type": "application/json"}
    assert send(box, b"{", headers=head).status_code == 400
    assert send(box, b"[]", headers=head).status_code == 400
    assert send(box, b"[" * 100_000, headers=head).status_code == 400
    lone = json.dumps(message(subject="x")).replace('"x"', '"\\ud800"').encode()
    assert send(box, lone, headers=head).status_code == 400
    assert send(box, b"a=b", headers={"Content-Type": "text/plain"}).status_code == 415


@pytest.mark.parametrize(
    ("address", "kinds"),
    [
        ("ada@example.com", ["processed", "delivered"]),
        ("x@bounce.example", ["processed", "bounce"]),
        ("x@blocked.example", ["processed", "bounce"]),
        ("x@dropped.example", ["dropped"]),
        ("x@spam.example", ["processed", "delivered", "spamreport"]),
        ("x@deferred.example", ["processed", "deferred", "delivered"]),
    ],
)
def test_the_address_decides_what_happens(
    box: Process, receiver: Receiver, address: str, kinds: list[str]
) -> None:
    box.post("/webhooks/endpoints", {"provider": "sendgrid", "url": receiver.url})
    send(box, message(address))
    box.post("/clock", {"advance_seconds": 60})
    receiver.wait_for(len(kinds))
    events = [event for got in receiver.received for event in json.loads(got.body)]
    assert sorted(event["event"] for event in events) == sorted(kinds)
    assert {(event["email"], event["anymail_id"]) for event in events} == {(address, "m-1")}
    assert len({event["sg_event_id"] for event in events}) == len(kinds)
    assert [event["event"] for event in box.get("/mail.json")["mail"][0]["events"]] == kinds


def test_a_bounced_address_is_dropped_next_time(box: Process) -> None:
    send(box, message("x@bounce.example"))
    box.post("/clock", {"advance_seconds": 5})
    send(box, message("x@bounce.example"))
    box.post("/clock", {"advance_seconds": 5})
    events = box.get("/mail.json")["mail"][0]["events"]
    assert [(event["event"], event["reason"]) for event in events] == [("dropped", "Bounced Address")]


def test_events_are_signed_with_the_published_key(box: Process, receiver: Receiver) -> None:
    box.post("/webhooks/endpoints", {"provider": "sendgrid", "url": receiver.url})
    send(box, message())
    got = receiver.wait_for(1)[0]
    key = serialization.load_der_public_key(base64.b64decode(box.get("/keys.json")["sendgrid"]["public_key"]))
    assert isinstance(key, ec.EllipticCurvePublicKey)
    signature = base64.b64decode(got.headers["X-Twilio-Email-Event-Webhook-Signature"])
    stamp = got.headers["X-Twilio-Email-Event-Webhook-Timestamp"].encode()
    key.verify(signature, stamp + got.body, ec.ECDSA(hashes.SHA256()))
    with pytest.raises(InvalidSignature):
        key.verify(signature, stamp + got.body + b" ", ec.ECDSA(hashes.SHA256()))


def test_faults_of_the_mail_service(box: Process) -> None:
    for behaviour, status, kept in (("refuse", 400, 0), ("429", 429, 0), ("do_then_500", 500, 1)):
        box.post("/faults", {"operation": "sendgrid.mail.send", "behaviour": behaviour})
        assert send(box, message()).status_code == status
        assert len(box.get("/mail.json")["mail"]) == kept
    assert send(box, message()).status_code == 202
    wait_until(lambda: box.get("/mail.json")["mail"][0]["events"])


@pytest.mark.parametrize(
    "change",
    [
        {"mail_settings": []},
        {"mail_settings": {"sandbox_mode": 1}},
        {"reply_to_list": 5},
        {"reply_to": "x"},
        {"categories": [1]},
        {"send_at": "soon"},
        {"personalizations": [{"to": [{"email": "a@b.c"}], "send_at": "x"}]},
        {"personalizations": "x"},
        {"attachments": [{"filename": "a", "content": "YQ==", "type": 5}]},
        {"content": ["x"]},
        {"headers": []},
    ],
)
def test_wrong_types_are_refused(box: Process, change: dict[str, Any]) -> None:
    assert send(box, message(**change)).status_code == 400
