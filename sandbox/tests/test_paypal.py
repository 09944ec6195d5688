"""PayPal's orders, captures and refunds over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests

from sandbox.tests.conftest import Process, wait_until
from sandbox.tests.paypal import BACK, CLIENT, Shop, issue, order

ORDERS = "v2/checkout/orders"


@pytest.fixture
def shop(box: Process) -> Shop:
    return Shop(box)


# Access tokens


def test_a_wrong_client_gets_no_token(box: Process) -> None:
    for client in ((CLIENT[0], "wrong"), ("wrong", CLIENT[1]), None):
        answer = requests.post(
            f"{box.url}/paypal/v1/oauth2/token",
            auth=client,
            data={"grant_type": "client_credentials"},
            timeout=10,
        )
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_calls_need_a_token_that_was_issued_here(shop: Shop) -> None:
    for token in ("", "A21AA.99999999999.x.y", shop.token[:-1] + ("A" if shop.token[-1] != "A" else "B")):
        answer = shop.call("GET", f"{ORDERS}/X", headers={"Authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.json()["name"]) == (401, "AUTHENTICATION_FAILURE")


def test_a_token_expires(tmp_path: Path) -> None:
    started = Process(tmp_path, options=["--paypal-token-seconds", "1"]).start()
    try:
        shop = Shop(started)
        assert shop.call("GET", f"{ORDERS}/X").status_code == 404
        wait_until(lambda: shop.call("GET", f"{ORDERS}/X").status_code == 401)
    finally:
        started.stop()


# Orders


def test_an_order_is_approved_and_captured_once(box: Process, shop: Shop) -> None:
    made = shop.post(ORDERS, order(custom_id="payment-1", invoice_id="INV-1"))
    body = made.json()
    assert (made.status_code, body["status"]) == (200, "PAYER_ACTION_REQUIRED")
    assert [link["rel"] for link in body["links"]] == ["self", "payer-action"]
    assert issue(shop.capture(body["id"])) == (422, "ORDER_NOT_APPROVED")
    page = requests.get(body["links"][1]["href"], timeout=10).text
    assert "50.00 USD" in page
    back = shop.approve(body["id"]).headers["Location"]
    assert back.startswith("https://shop.example/back?x=1&token=" + body["id"] + "&PayerID=")
    approved = shop.get(f"{ORDERS}/{body['id']}")
    assert (approved["status"], approved["purchase_units"][0]["custom_id"]) == ("APPROVED", "payment-1")
    answer = shop.capture(body["id"])
    capture = answer.json()["purchase_units"][0]["payments"]["captures"][0]
    assert (answer.status_code, answer.json()["status"], capture["status"]) == (201, "COMPLETED", "COMPLETED")
    assert issue(shop.capture(body["id"])) == (422, "ORDER_ALREADY_CAPTURED")
    assert shop.get(f"v2/payments/captures/{capture['id']}")["invoice_id"] == "INV-1"
    ledger = box.get("/ledger.json")
    assert ledger["providers"]["paypal"]["usd"] == {
        "charged": 5000,
        "refunded": 0,
        "disputed": 0,
        "fees": 175,
        "net": 4825,
    }
    assert [(charge["provider"], charge["custom_id"]) for charge in ledger["charges"]] == [
        ("paypal", "payment-1")
    ]


def test_an_order_in_the_older_style_shows_approve_and_capture(shop: Shop) -> None:
    body = {**order(), "application_context": BACK}
    del body["payment_source"]
    made = shop.post(ORDERS, body)
    assert (made.status_code, made.json()["status"]) == (201, "CREATED")
    assert [link["rel"] for link in made.json()["links"]] == ["self", "approve", "capture"]


def test_a_buyer_may_cancel_and_come_back(shop: Shop) -> None:
    order_id = shop.order()
    left = shop.approve(order_id, decision="cancel")
    assert left.headers["Location"] == f"https://shop.example/cancel?token={order_id}"
    assert shop.get(f"{ORDERS}/{order_id}")["status"] == "PAYER_ACTION_REQUIRED"
    assert shop.approve(order_id).status_code == 303
    shop.capture(order_id)
    assert shop.approve(order_id).status_code == 409


def test_a_declined_instrument_can_be_replaced_at_the_redirect(box: Process, shop: Shop) -> None:
    order_id = shop.order()
    shop.approve(order_id, "declined")
    refused = shop.capture(order_id)
    assert issue(refused) == (422, "INSTRUMENT_DECLINED")
    assert refused.json()["links"][-1]["rel"] == "redirect"
    assert box.get("/ledger.json")["entries"] == []
    shop.approve(order_id, "at_once")
    assert shop.capture(order_id).status_code == 201


def test_an_invoice_is_paid_once(shop: Shop) -> None:
    first, second = shop.order(invoice_id="INV-7"), shop.order(invoice_id="INV-7")
    for order_id in (first, second):
        shop.approve(order_id)
    shop.capture(first)
    assert issue(shop.capture(second)) == (422, "DUPLICATE_INVOICE_ID")
    assert issue(shop.post(ORDERS, order(invoice_id="INV-7"))) == (422, "DUPLICATE_INVOICE_ID")


@pytest.mark.parametrize(
    ("change", "status", "found", "field"),
    [
        ({"foo": 1}, 400, "INVALID_PARAMETER", "/foo"),
        ({"intent": "AUTHORIZE"}, 422, "UNSUPPORTED_INTENT", "/intent"),
        ({"intent": "STEAL"}, 400, "INVALID_PARAMETER_VALUE", "/intent"),
        ({"purchase_units": []}, 400, "INVALID_ARRAY_MIN_ITEMS", "/purchase_units"),
        ({"purchase_units": [{}]}, 400, "MISSING_REQUIRED_PARAMETER", "/purchase_units/0/amount"),
        ({"payment_source": {"card": {}}}, 400, "INVALID_PARAMETER", "/payment_source/card"),
        ({"application_context": BACK}, 400, "INCOMPATIBLE_PARAMETER_VALUE", "/application_context"),
    ],
)
def test_what_paypal_would_not_take_is_refused(
    shop: Shop, change: dict[str, Any], status: int, found: str, field: str
) -> None:
    answer = shop.post(ORDERS, {**order(), **change})
    assert issue(answer) == (status, found)
    assert answer.json()["details"][0]["field"] == field


@pytest.mark.parametrize(
    ("value", "currency", "status", "found"),
    [
        ("0", "USD", 422, "CANNOT_BE_ZERO_OR_NEGATIVE"),
        ("-5.00", "USD", 422, "CANNOT_BE_ZERO_OR_NEGATIVE"),
        ("0.001", "USD", 422, "DECIMAL_PRECISION"),
        ("NaN", "USD", 400, "INVALID_PARAMETER_SYNTAX"),
        ("1e3", "USD", 400, "INVALID_PARAMETER_SYNTAX"),
        ("9223372036854775808", "USD", 422, "MAX_VALUE_EXCEEDED"),
        ("50.50", "JPY", 422, "DECIMALS_NOT_SUPPORTED"),
        ("5.000", "KWD", 422, "CURRENCY_NOT_SUPPORTED"),
        ("5.00", "usd", 400, "INVALID_CURRENCY_CODE"),
    ],
)
def test_senseless_amounts_are_refused(
    shop: Shop, value: str, currency: str, status: int, found: str
) -> None:
    assert issue(shop.post(ORDERS, order(value, currency))) == (status, found)


def test_items_and_breakdown_must_add_up(shop: Shop) -> None:
    dollars = {"currency_code": "USD", "value": "25.00"}
    item = {"name": "Parking", "quantity": "2", "unit_amount": dollars}
    assert issue(shop.post(ORDERS, order(items=[item]))) == (422, "ITEM_TOTAL_REQUIRED")
    unit = {"amount": {"currency_code": "USD", "value": "50.00", "breakdown": {"item_total": dollars}}}
    assert issue(shop.post(ORDERS, {**order(), "purchase_units": [unit]})) == (422, "AMOUNT_MISMATCH")


def test_bodies_that_are_not_json_objects_are_refused(shop: Shop) -> None:
    json_type = {"Content-Type": "application/json"}
    for text in (
        b"[]",
        b"{",
        b'{"a": NaN}',
        b"\xff",
        b'{"a": "\\u0000"}',
        b'{"a": "\\ud800"}',
        b"[" * 10_000,
    ):
        answer = shop.call("POST", ORDERS, data=text, headers=json_type)
        assert issue(answer) == (400, "MALFORMED_REQUEST_JSON"), text[:20]
    assert shop.call("POST", ORDERS, data=b"a=b").status_code == 415
    assert shop.call("GET", "v2/no/such").status_code == 404
    assert shop.call("DELETE", ORDERS).status_code == 405
    assert issue(shop.call("GET", f"{ORDERS}/X?foo=1"))[1] == "INVALID_PARAMETER"
    assert issue(shop.call("GET", f"{ORDERS}/X?fields=all"))[1] == "INVALID_PARAMETER_VALUE"
    mocked = shop.call("GET", f"{ORDERS}/X", headers={"PayPal-Mock-Response": "{}"})
    assert issue(mocked) == (400, "INVALID_PARAMETER")


# Idempotency


def test_the_same_request_id_replays_its_answer(box: Process, shop: Shop) -> None:
    first, again = (shop.post(ORDERS, order(), key="key-1") for _ in range(2))
    assert first.json() == again.json()
    assert issue(shop.post(ORDERS, order("51.00"), key="key-1")) == (422, "DUPLICATE_REQUEST_ID")
    order_id = first.json()["id"]
    assert issue(shop.capture(order_id, key="key-2")) == (422, "ORDER_NOT_APPROVED")
    shop.approve(order_id)
    taken = [shop.capture(order_id, key="key-2") for _ in range(2)]
    assert [answer.status_code for answer in taken] == [201, 201]
    box.post("/clock", {"advance_seconds": 6 * 3600 + 1})
    assert shop.post(ORDERS, order(), key="key-1").json()["id"] != order_id


def test_a_refund_is_remembered_for_45_days(box: Process, shop: Shop) -> None:
    capture = shop.paid()
    part = {"amount": {"currency_code": "USD", "value": "10.00"}}
    first = shop.refund(capture["id"], part, key="refund-1").json()
    box.post("/clock", {"advance_seconds": 44 * 86_400})
    assert shop.refund(capture["id"], part, key="refund-1").json() == first
    box.post("/clock", {"advance_seconds": 2 * 86_400})
    assert shop.refund(capture["id"], part, key="refund-1").json()["id"] != first["id"]


@pytest.mark.parametrize("behaviour", ["do_then_500", "do_then_reset"])
def test_a_capture_done_behind_an_error_is_found_by_its_request_id(
    box: Process, shop: Shop, behaviour: str
) -> None:
    order_id = shop.order()
    shop.approve(order_id)
    box.post("/faults", {"operation": "paypal.orders.capture", "behaviour": behaviour})
    try:
        assert shop.capture(order_id, key="k").status_code == 500
    except requests.exceptions.ConnectionError:
        assert behaviour == "do_then_reset"
    assert shop.capture(order_id, key="k").json()["status"] == "COMPLETED"
    assert box.get("/ledger.json")["balances"]["usd"]["charged"] == 5000


def test_scripted_refusals_do_nothing(box: Process, shop: Shop) -> None:
    for behaviour, status in (("429", 429), ("refuse", 400)):
        box.post("/faults", {"operation": "paypal.orders.create", "behaviour": behaviour})
        assert shop.post(ORDERS, order(), key="k").status_code == status
    assert shop.post(ORDERS, order(), key="k").status_code == 200


# Captures that wait, fees, refunds


@pytest.mark.parametrize(
    ("buyer", "reason", "days"), [("echeck", "ECHECK", 3), ("review", "PENDING_REVIEW", 1)]
)
def test_a_pending_capture_is_settled_by_the_clock(
    box: Process, shop: Shop, buyer: str, reason: str, days: int
) -> None:
    capture = shop.paid(buyer=buyer)
    assert (capture["status"], capture["status_details"]) == ("PENDING", {"reason": reason})
    assert issue(shop.refund(capture["id"])) == (422, "PENDING_CAPTURE")
    assert box.get("/ledger.json")["entries"] == []
    box.post("/clock", {"advance_seconds": days * 86_400 + 1})
    assert shop.get(f"v2/payments/captures/{capture['id']}")["status"] == "COMPLETED"
    assert box.get("/ledger.json")["balances"]["usd"]["charged"] == 5000


def test_a_pending_capture_can_be_declined_by_hand(box: Process, shop: Shop) -> None:
    capture = shop.paid(buyer="review")
    assert box.post(f"/paypal-captures/{capture['id']}", {"status": "DECLINED"})["status"] == "DECLINED"
    box.post("/clock", {"advance_seconds": 5 * 86_400})
    assert shop.get(f"v2/payments/captures/{capture['id']}")["status"] == "DECLINED"
    assert box.get("/ledger.json")["entries"] == []
    refused = requests.post(
        f"{box.url}/paypal-captures/{capture['id']}", json={"status": "COMPLETED"}, timeout=10
    )
    assert refused.status_code == 422


def test_a_shop_that_wants_its_money_now_is_offered_no_echeck(shop: Shop) -> None:
    body = order()
    context = {**BACK, "payment_method_preference": "IMMEDIATE_PAYMENT_REQUIRED"}
    body["payment_source"]["paypal"]["experience_context"] = context
    order_id = shop.post(ORDERS, body).json()["id"]
    assert "eCheck" not in requests.get(f"{shop.base}/checkoutnow?token={order_id}", timeout=10).text
    assert shop.approve(order_id, "echeck").status_code == 200
    assert shop.get(f"{ORDERS}/{order_id}")["status"] == "PAYER_ACTION_REQUIRED"


@pytest.mark.parametrize(
    ("value", "currency", "fee", "net"),
    [
        ("50.00", "USD", "1.75", "48.25"),
        ("5000", "JPY", "185", "4815"),
        ("0.01", "USD", "0.01", "0.00"),
        ("5000", "HUF", "235", "4765"),
    ],
)
def test_fees_are_exact(shop: Shop, value: str, currency: str, fee: str, net: str) -> None:
    breakdown = shop.paid(value, currency)["seller_receivable_breakdown"]
    assert [breakdown[name]["value"] for name in ("gross_amount", "paypal_fee", "net_amount")] == [
        value,
        fee,
        net,
    ]


def test_whole_forints_are_booked_in_iso_minor_units(box: Process, shop: Shop) -> None:
    shop.paid("5000", "HUF")
    assert box.get("/ledger.json")["balances"]["huf"]["charged"] == 500_000


def test_refunds_in_parts_never_exceed_the_capture(box: Process, shop: Shop) -> None:
    capture = shop.paid(custom_id="payment-9")

    def part(value: str, **more: str) -> requests.Response:
        return shop.refund(capture["id"], {"amount": {"currency_code": "USD", "value": value}, **more})

    made = part("20.00", invoice_id="R-1", note_to_payer="Sorry", custom_id="refund-1")
    assert set(made.json()) == {"id", "status", "links"}
    shown = shop.get(f"v2/payments/refunds/{made.json()['id']}")
    assert (shown["amount"]["value"], shown["note_to_payer"], shown["custom_id"]) == (
        "20.00",
        "Sorry",
        "refund-1",
    )
    assert shop.get(f"v2/payments/captures/{capture['id']}")["status"] == "PARTIALLY_REFUNDED"
    assert issue(part("30.01")) == (422, "REFUND_AMOUNT_EXCEEDED")
    assert issue(part("1.00", invoice_id="R-1")) == (422, "DUPLICATE_INVOICE_ID")
    other = shop.refund(capture["id"], {"amount": {"currency_code": "EUR", "value": "1.00"}})
    assert issue(other) == (422, "REFUND_CAPTURE_CURRENCY_MISMATCH")
    rest = shop.refund(capture["id"], Prefer="return=representation").json()
    assert (rest["amount"]["value"], rest["seller_payable_breakdown"]["total_refunded_amount"]["value"]) == (
        "30.00",
        "50.00",
    )
    assert issue(part("1.00")) == (422, "CAPTURE_FULLY_REFUNDED")
    assert shop.get(f"v2/payments/captures/{capture['id']}")["status"] == "REFUNDED"
    assert box.get("/ledger.json")["providers"]["paypal"]["usd"]["refunded"] == 5000


def test_a_refund_to_a_bank_is_pending_and_may_fail(box: Process, shop: Shop) -> None:
    capture = shop.paid(buyer="echeck")
    box.post("/clock", {"advance_seconds": 3 * 86_400 + 1})
    refund = shop.refund(capture["id"]).json()
    assert refund["status"] == "PENDING"
    assert box.post(f"/paypal-refunds/{refund['id']}", {"status": "FAILED"})["status"] == "FAILED"
    assert shop.get(f"v2/payments/captures/{capture['id']}")["status"] == "COMPLETED"
    assert box.get("/ledger.json")["balances"]["usd"]["refunded"] == 0
