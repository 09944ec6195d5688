"""Twilio as its own library sees it."""

from __future__ import annotations

import urllib.parse
from typing import Any

import pytest
import requests
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from sandbox.tests.conftest import ACCOUNT, TOKEN, Process, Receiver, wait_until
from sandbox.twilio import segments

OURS = "+15005550006"
ADA = "+4915112345678"


class Loopback(TwilioHttpClient):
    def __init__(self, base: str) -> None:
        super().__init__(timeout=10)
        self.base = base

    def request(self, method: str, url: str, *arguments: Any, **more: Any) -> Any:
        return super().request(
            method, url.replace("https://api.twilio.com", f"{self.base}/twilio"), *arguments, **more
        )


def client(box: Process, token: str = TOKEN) -> Client:
    return Client(ACCOUNT, token, http_client=Loopback(box.url))


def fields_of(body: bytes) -> dict[str, str]:
    return dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True))


def test_a_message_is_sent_delivered_and_reported_signed(box: Process, receiver: Receiver) -> None:
    sent = client(box).messages.create(
        to=ADA, from_=OURS, body="Hi Ada ✈", status_callback=f"{receiver.url}/status?x=1"
    )
    assert (sent.status, sent.sid[:2], sent.num_segments) == ("queued", "SM", "1")
    receiver.wait_for(3)
    for got in receiver.received:
        signature = got.headers["X-Twilio-Signature"]
        assert RequestValidator(TOKEN).validate(f"{receiver.url}/status?x=1", fields_of(got.body), signature)
        assert not RequestValidator("other").validate(
            f"{receiver.url}/status?x=1", fields_of(got.body), signature
        )
    statuses = [fields_of(got.body)["MessageStatus"] for got in receiver.received]
    assert sorted(statuses) == ["delivered", "queued", "sent"]
    assert client(box).messages(sent.sid).fetch().status == "delivered"
    assert [item.sid for item in client(box).messages.list(to=ADA)] == [sent.sid]
    assert box.get("/sms.json", number=ADA)["sms"][0]["body"] == "Hi Ada ✈"


@pytest.mark.parametrize(
    ("to", "sender", "body", "code"),
    [
        ("+15005550001", OURS, "x", 21211),
        ("+15005550009", OURS, "x", 21614),
        ("+15005550004", OURS, "x", 21610),
        ("0151 1234", OURS, "x", 21211),
        (ADA, "+15005550001", "x", 21212),
        (ADA, "+15005550007", "x", 21606),
        (ADA, OURS, "x" * 1601, 21617),
        (ADA, OURS, "", 21602),
    ],
)
def test_magic_numbers_and_wrong_input_are_refused(
    box: Process, to: str, sender: str, body: str, code: int
) -> None:
    with pytest.raises(TwilioRestException) as caught:
        client(box).messages.create(to=to, from_=sender, body=body)
    assert (caught.value.code, caught.value.status) == (code, 400)
    assert box.get("/sms.json")["sms"] == []


@pytest.mark.parametrize(
    ("ending", "status", "code"),
    [("0003", "undelivered", 30003), ("0006", "undelivered", 30006), ("0008", "failed", 30008)],
)
def test_some_numbers_are_never_reached(
    box: Process, receiver: Receiver, ending: str, status: str, code: int
) -> None:
    sent = client(box).messages.create(
        to=f"+49151123{ending}", from_=OURS, body="x", status_callback=receiver.url
    )
    box.post("/clock", {"advance_seconds": 5})
    fetched = client(box).messages(sent.sid).fetch()
    assert (fetched.status, fetched.error_code) == (status, code)
    last = wait_until(
        lambda: [f for g in receiver.received if (f := fields_of(g.body))["MessageStatus"] == status]
    )
    assert last[0]["ErrorCode"] == str(code)


def test_a_wrong_token_is_refused(box: Process) -> None:
    with pytest.raises(TwilioRestException) as caught:
        client(box, "wrong").messages.create(to=ADA, from_=OURS, body="x")
    assert (caught.value.status, caught.value.code) == (401, 20003)


def test_stop_blocks_and_start_opens_again(box: Process, receiver: Receiver) -> None:
    box.post("/webhooks/endpoints", {"provider": "twilio", "url": f"{receiver.url}/inbound"})
    receiver.kind, receiver.text = (
        "text/xml",
        b"<Response><Message>You will hear no more.</Message></Response>",
    )
    client(box).messages.create(to=ADA, from_=OURS, body="Offer!")
    box.post("/sms.json", {"from": ADA, "to": OURS, "body": " stop "})
    (got,) = receiver.wait_for(1)
    assert fields_of(got.body)["OptOutType"] == "STOP"
    assert RequestValidator(TOKEN).validate(
        f"{receiver.url}/inbound", fields_of(got.body), got.headers["X-Twilio-Signature"]
    )
    wait_until(lambda: [s for s in box.get("/sms.json")["sms"] if s["body"] == "You will hear no more."])
    with pytest.raises(TwilioRestException) as caught:
        client(box).messages.create(to=ADA, from_=OURS, body="Offer!")
    assert caught.value.code == 21610
    requests.post(
        f"{box.url}/phone/{urllib.parse.quote(ADA)}", data={"body": "START"}, timeout=10
    ).raise_for_status()
    client(box).messages.create(to=ADA, from_=OURS, body="Offer!")
    assert "Offer!" in requests.get(f"{box.url}/phone/{urllib.parse.quote(ADA)}", timeout=10).text


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("ß" * 160, 1),
        ("✈" * 70, 1),
        ("✈" * 71, 2),
        ("🚗" * 36, 2),
    ],
)
def test_segments_are_counted_as_networks_do(body: str, count: int) -> None:
    assert segments(body) == count


def test_faults_of_the_phone_service(box: Process) -> None:
    for behaviour, status, kept in (("429", 429, 0), ("do_then_500", 500, 1)):
        box.post("/faults", {"operation": "twilio.messages.create", "behaviour": behaviour})
        with pytest.raises(TwilioRestException) as caught:
            client(box).messages.create(to=ADA, from_=OURS, body="x")
        assert caught.value.status == status
        assert len(box.get("/sms.json")["sms"]) == kept
