"""PayPal's signed webhooks, their verification, and instant payment notifications."""

from __future__ import annotations

import json
import urllib.parse
import zlib
from base64 import b64decode

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from sandbox.tests.conftest import Process, Received, Receiver, wait_until
from sandbox.tests.paypal import WEBHOOK_ID, Shop, issue


@pytest.fixture
def shop(box: Process) -> Shop:
    return Shop(box)


@pytest.fixture
def listening(box: Process, receiver: Receiver) -> Receiver:
    endpoint = {"provider": "paypal", "url": f"{receiver.url}/hook/", "secret": WEBHOOK_ID}
    box.post("/webhooks/endpoints", endpoint)
    return receiver


@pytest.fixture
def notified(box: Process, receiver: Receiver) -> Receiver:
    box.post("/webhooks/endpoints", {"provider": "paypal_ipn", "url": f"{receiver.url}/ipn/"})
    return receiver


def event(got: Received) -> dict[str, object]:
    return json.loads(got.body)


def test_a_paid_order_is_told_with_signatures_that_verify(shop: Shop, listening: Receiver) -> None:
    capture = shop.paid(custom_id="payment-1")
    shop.refund(capture["id"])
    got = {str(event(item)["event_type"]): item for item in listening.wait_for(3)}
    assert set(got) == {"CHECKOUT.ORDER.APPROVED", "PAYMENT.CAPTURE.COMPLETED", "PAYMENT.CAPTURE.REFUNDED"}
    assert [shop.verify(item) for item in got.values()] == ["SUCCESS"] * 3
    resource = json.loads(got["PAYMENT.CAPTURE.COMPLETED"].body)["resource"]
    assert (resource["id"], resource["custom_id"]) == (capture["id"], "payment-1")
    refund = json.loads(got["PAYMENT.CAPTURE.REFUNDED"].body)["resource"]
    assert refund["links"][1]["href"].endswith(f"/v2/payments/captures/{capture['id']}")


def test_only_what_was_signed_together_verifies(shop: Shop, listening: Receiver) -> None:
    shop.paid()
    got = listening.wait_for(1)[0]
    text = got.body.decode()
    assert shop.verify(got) == "SUCCESS"
    for changes in (
        {"webhook_id": "WH-ANOTHER"},
        {"webhook_event": text.replace("50.00", "5.00")},
        {"webhook_event": json.dumps(json.loads(text))},
        {"cert_url": "https://attacker.example/cert.pem"},
        {"transmission_time": "2020-01-01T00:00:00Z"},
        {"transmission_id": "another-transmission"},
        {"transmission_sig": "Zm9yZ2Vk"},
        {"transmission_sig": "not base64"},
        {"auth_algo": "none"},
    ):
        assert shop.verify(got, **changes) == "FAILURE", changes


def test_the_signature_can_be_checked_against_the_certificate(shop: Shop, listening: Receiver) -> None:
    shop.paid()
    got = listening.wait_for(1)[0]
    headers = {name.upper(): value for name, value in got.headers.items()}
    pem = requests.get(headers["PAYPAL-CERT-URL"], timeout=10).content
    key = x509.load_pem_x509_certificate(pem).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    names = headers["PAYPAL-TRANSMISSION-ID"], headers["PAYPAL-TRANSMISSION-TIME"]
    message = f"{names[0]}|{names[1]}|{WEBHOOK_ID}|{zlib.crc32(got.body)}".encode()
    key.verify(b64decode(headers["PAYPAL-TRANSMISSION-SIG"]), message, padding.PKCS1v15(), hashes.SHA256())


def test_forged_events_arrive_and_do_not_verify(box: Process, shop: Shop, listening: Receiver) -> None:
    box.post("/webhooks/mode", {"provider": "paypal", "forge": True, "duplicate": 2})
    shop.approve(shop.order())
    got = listening.wait_for(3)
    assert len({event(item)["id"] for item in got}) == 1
    assert [shop.verify(item) for item in got] == ["FAILURE"] * 3


def test_held_events_can_be_pulled_and_released(box: Process, shop: Shop, listening: Receiver) -> None:
    box.post("/webhooks/mode", {"provider": "paypal", "mode": "hold"})
    shop.approve(shop.order())
    (held,) = box.get("/webhooks.json", status="held")["deliveries"]
    assert shop.verify(Received("", held["headers"], held["body"].encode())) == "SUCCESS"
    assert listening.received == []
    box.post("/webhooks/mode", {"provider": "paypal", "mode": "deliver", "release": True})
    assert shop.verify(listening.wait_for(1)[0]) == "SUCCESS"


def test_a_pending_capture_tells_each_step(box: Process, shop: Shop, listening: Receiver) -> None:
    denied, declined = shop.paid(buyer="review"), shop.paid(buyer="echeck")
    for capture in (denied, declined):
        box.post(f"/paypal-captures/{capture['id']}", {"status": "DECLINED"})
    got = [str(event(item)["event_type"]) for item in listening.wait_for(6)]
    assert sorted(got) == [
        "CHECKOUT.ORDER.APPROVED", "CHECKOUT.ORDER.APPROVED", "PAYMENT.CAPTURE.DECLINED", "PAYMENT.CAPTURE.DENIED",
        "PAYMENT.CAPTURE.PENDING", "PAYMENT.CAPTURE.PENDING",
    ]  # fmt: skip


def test_webhooks_are_made_listed_and_deleted_through_the_api(shop: Shop, receiver: Receiver) -> None:
    wanted = {"url": f"{receiver.url}/api/", "event_types": [{"name": "PAYMENT.CAPTURE.COMPLETED"}]}
    made = shop.post("v1/notifications/webhooks", wanted).json()
    assert issue(shop.post("v1/notifications/webhooks", wanted)) == (400, "WEBHOOK_URL_ALREADY_EXISTS")
    unknown = {**wanted, "event_types": [{"name": "NO.SUCH"}]}
    assert issue(shop.post("v1/notifications/webhooks", unknown)) == (400, "INVALID_PARAMETER_VALUE")
    shop.paid()
    (got,) = receiver.wait_for(1)
    assert shop.verify(got, webhook_id=made["id"]) == "SUCCESS"
    again = shop.call("POST", f"v1/notifications/webhooks-events/{event(got)['id']}/resend")
    assert (again.status_code, len(receiver.wait_for(2))) == (202, 2)
    assert [item["id"] for item in shop.get("v1/notifications/webhooks")["webhooks"]] == [made["id"]]
    path = f"v1/notifications/webhooks/{made['id']}"
    assert shop.call("DELETE", path).status_code == 204
    assert shop.call("GET", path).status_code == 404


# Instant payment notifications


def fields(got: Received) -> dict[str, str]:
    return dict(urllib.parse.parse_qsl(got.body.decode()))


def confirm(shop: Shop, body: bytes) -> str:
    postback = b"cmd=_notify-validate&" + body
    return requests.post(f"{shop.base}/cgi-bin/webscr", data=postback, timeout=10).text


def test_each_movement_is_notified_and_confirmed(box: Process, shop: Shop, notified: Receiver) -> None:
    capture = shop.paid(custom_id="payment-1", invoice_id="INV-1")
    refund = shop.refund(capture["id"], {"amount": {"currency_code": "USD", "value": "10.00"}}).json()
    pending = shop.paid(buyer="echeck")
    box.post(f"/paypal-captures/{pending['id']}", {"status": "COMPLETED"})
    got = {(found["payment_status"], found["txn_id"]): found for found in map(fields, notified.wait_for(4))}
    paid = got["Completed", capture["id"]]
    assert {name: paid[name] for name in ("mc_gross", "mc_currency", "mc_fee", "invoice", "custom", "test_ipn")} == {
        "mc_gross": "50.00", "mc_currency": "USD", "mc_fee": "1.75", "invoice": "INV-1", "custom": "payment-1",
        "test_ipn": "1",
    }  # fmt: skip
    assert paid["receiver_email"] == paid["business"] == "seller@runway.example"
    back = got["Refunded", refund["id"]]
    assert (back["parent_txn_id"], back["mc_gross"]) == (capture["id"], "-10.00")
    assert got["Pending", pending["id"]]["pending_reason"] == "echeck"
    assert ("Completed", pending["id"]) in got
    assert {confirm(shop, item.body) for item in notified.received} == {"VERIFIED"}


def test_an_altered_or_invented_notification_is_invalid(box: Process, shop: Shop, notified: Receiver) -> None:
    shop.paid()
    (got,) = notified.wait_for(1)
    assert confirm(shop, got.body.replace(b"50.00", b"5000.00")) == "INVALID"
    assert confirm(shop, b"txn_id=1&payment_status=Completed") == "INVALID"
    assert requests.post(f"{shop.base}/cgi-bin/webscr", data=got.body, timeout=10).text == "INVALID"
    box.post("/webhooks/mode", {"provider": "paypal_ipn", "forge": True})
    shop.paid()
    assert confirm(shop, notified.wait_for(2)[1].body) == "INVALID"


def test_a_failed_notification_is_tried_again(box: Process, shop: Shop, notified: Receiver) -> None:
    notified.answers = [500]
    shop.paid()
    notified.wait_for(1)
    wait_until(lambda: box.get("/webhooks.json")["deliveries"][0]["attempts"] == 1)
    box.post("/clock", {"advance_seconds": 3})
    assert {confirm(shop, item.body) for item in notified.wait_for(2)} == {"VERIFIED"}
