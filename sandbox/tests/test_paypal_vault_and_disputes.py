"""PayPal's vault, disputes and transaction search."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pytest
import requests

from sandbox.tests.conftest import Process, Receiver
from sandbox.tests.paypal import BACK, WEBHOOK_ID, Shop, issue, order

TOKENS = "v3/vault/payment-tokens"


@pytest.fixture
def shop(box: Process) -> Shop:
    return Shop(box)


def set_up(shop: Shop, customer: str = "ada") -> Any:
    wallet = {"usage_type": "MERCHANT", "experience_context": BACK}
    made = shop.post(
        "v3/vault/setup-tokens", {"customer": {"id": customer}, "payment_source": {"paypal": wallet}}
    )
    assert made.status_code == 201, made.text
    return made.json()


def save(shop: Shop, buyer: str = "at_once", customer: str = "ada") -> str:
    setup = set_up(shop, customer)
    shop.at_page(f"agreements/approve?approval_session_id={setup['id']}", buyer)
    made = shop.post(TOKENS, {"payment_source": {"token": {"id": setup["id"], "type": "SETUP_TOKEN"}}})
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


def with_wallet(**wallet: Any) -> dict[str, Any]:
    return {**order(), "payment_source": {"paypal": wallet}}


# Vault


def test_a_wallet_is_saved_after_its_owner_agreed(shop: Shop) -> None:
    setup = set_up(shop)
    source = {"payment_source": {"token": {"id": setup["id"], "type": "SETUP_TOKEN"}}}
    assert issue(shop.post(TOKENS, source)) == (422, "SETUP_TOKEN_NOT_APPROVED")
    page = next(link["href"] for link in setup["links"] if link["rel"] == "approve")
    assert "Save PayPal for later" in requests.get(page, timeout=10).text
    back = shop.at_page(f"agreements/approve?approval_session_id={setup['id']}").headers["Location"]
    assert back.startswith(f"{BACK['return_url']}&approval_token_id={setup['id']}")
    assert shop.get(f"v3/vault/setup-tokens/{setup['id']}")["status"] == "APPROVED"
    token = shop.post(TOKENS, source).json()
    assert issue(shop.post(TOKENS, source)) == (422, "SETUP_TOKEN_NOT_APPROVED")
    listed = shop.get(TOKENS, customer_id="ada", total_required="true")
    assert ([item["id"] for item in listed["payment_tokens"]], listed["total_items"]) == ([token["id"]], 1)
    assert shop.get(TOKENS, customer_id="ben")["payment_tokens"] == []
    assert shop.call("DELETE", f"{TOKENS}/{token['id']}").status_code == 204
    assert shop.call("GET", f"{TOKENS}/{token['id']}").status_code == 404
    assert shop.get(TOKENS, customer_id="ada")["payment_tokens"] == []


def test_a_saved_wallet_pays_at_once(box: Process, shop: Shop) -> None:
    token = save(shop)
    credential = {"payment_initiator": "MERCHANT", "usage": "SUBSEQUENT", "charge_pattern": "IMMEDIATE"}
    paid = shop.post("v2/checkout/orders", with_wallet(vault_id=token, stored_credential=credential))
    assert (paid.status_code, paid.json()["status"]) == (201, "COMPLETED")
    assert paid.json()["purchase_units"][0]["payments"]["captures"][0]["status"] == "COMPLETED"
    assert box.get("/ledger.json")["balances"]["usd"]["charged"] == 5000
    nameless = shop.call("POST", "v2/checkout/orders", with_wallet(vault_id=token))
    assert issue(nameless) == (400, "PAYPAL_REQUEST_ID_REQUIRED")


def test_a_saved_wallet_behaves_as_its_owner_chose(box: Process, shop: Shop) -> None:
    for buyer, found in (("declined", "INSTRUMENT_DECLINED"), ("", "TOKEN_ID_NOT_FOUND")):
        token = save(shop, buyer) if buyer else "unknown"
        assert issue(shop.post("v2/checkout/orders", with_wallet(vault_id=token))) == (422, found)
    assert box.get("/ledger.json")["charges"] == []


def test_a_wallet_is_stored_when_its_first_payment_succeeds(
    box: Process, shop: Shop, receiver: Receiver
) -> None:
    box.post("/webhooks/endpoints", {"provider": "paypal", "url": receiver.url, "secret": WEBHOOK_ID})
    wish = {"store_in_vault": "ON_SUCCESS", "usage_type": "MERCHANT"}
    body = with_wallet(experience_context=BACK, attributes={"customer": {"id": "ada"}, "vault": wish})
    order_id = shop.post("v2/checkout/orders", body).json()["id"]
    shop.approve(order_id)
    kept = shop.capture(order_id).json()["payment_source"]["paypal"]["attributes"]["vault"]
    assert (kept["status"], kept["customer"]) == ("VAULTED", {"id": "ada"})
    types = {json.loads(item.body)["event_type"] for item in receiver.wait_for(3)}
    assert "VAULT.PAYMENT-TOKEN.CREATED" in types
    assert shop.post("v2/checkout/orders", with_wallet(vault_id=kept["id"])).json()["status"] == "COMPLETED"


# Disputes


def dispute(box: Process, capture: Any, **more: Any) -> Any:
    return box.post(f"/paypal-captures/{capture['id']}/dispute", more)


def paypal_sums(box: Process) -> Any:
    return box.get("/ledger.json")["providers"]["paypal"]["usd"]


def test_a_dispute_holds_the_money_until_it_is_won(box: Process, shop: Shop) -> None:
    capture = shop.paid(custom_id="payment-1", invoice_id="INV-1")
    opened = dispute(box, capture, reason="UNAUTHORISED")
    path = f"v1/customer/disputes/{opened['dispute_id']}"
    assert paypal_sums(box)["disputed"] == 5000
    assert shop.get(path)["disputed_transactions"][0]["custom"] == "payment-1"
    part = {"amount": {"currency_code": "USD", "value": "1.00"}}
    assert issue(shop.refund(capture["id"], part)) == (422, "TRANSACTION_DISPUTED")
    evidence = {"evidences": [{"evidence_type": "PROOF_OF_FULFILLMENT", "notes": "Checked in at 08:10"}]}
    answer = shop.call(
        "POST", f"{path}/provide-evidence",
        files={
            "input": (None, json.dumps(evidence), "application/json"),
            "file1": ("booking.pdf", b"%PDF-1.7", "application/pdf"),
        },
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    shown = shop.get(path)
    assert (shown["status"], shown["dispute_state"]) == ("UNDER_REVIEW", "UNDER_PAYPAL_REVIEW")
    assert shown["evidences"][0]["documents"] == [{"name": "booking.pdf", "size_in_bytes": 8}]
    won = box.post(f"/paypal-disputes/{opened['dispute_id']}", {"outcome": "won"})
    assert won["dispute_outcome"]["outcome_code"] == "RESOLVED_SELLER_FAVOUR"
    assert (paypal_sums(box)["disputed"], paypal_sums(box)["net"]) == (0, 4825)
    assert issue(shop.post(f"{path}/accept-claim", {"note": "Late"}))[0] == 422


def test_a_claim_can_be_accepted_and_the_money_is_gone(box: Process, shop: Shop) -> None:
    capture = shop.paid()
    opened = dispute(box, capture, amount_minor=2000)
    path = f"v1/customer/disputes/{opened['dispute_id']}"
    assert shop.post(f"{path}/accept-claim", {"note": "Our mistake"}).status_code == 200
    assert shop.get(path)["dispute_outcome"]["amount_refunded"]["value"] == "20.00"
    assert (paypal_sums(box)["disputed"], paypal_sums(box)["net"]) == (2000, 2825)
    assert issue(shop.refund(capture["id"])) == (422, "REFUND_NOT_PERMITTED_DUE_TO_CHARGEBACK")


def test_an_unanswered_dispute_is_lost(box: Process, shop: Shop) -> None:
    opened = dispute(box, shop.paid())
    box.post("/clock", {"advance_seconds": 10 * 86_400 + 1})
    found = shop.get("v1/customer/disputes", dispute_state="RESOLVED")["items"]
    assert [(item["dispute_id"], item["status"]) for item in found] == [(opened["dispute_id"], "RESOLVED")]
    assert shop.get("v1/customer/disputes", dispute_state="REQUIRED_ACTION")["items"] == []


def test_a_full_refund_answers_a_dispute_and_costs_once(box: Process, shop: Shop) -> None:
    capture = shop.paid()
    opened = dispute(box, capture)
    assert shop.refund(capture["id"]).status_code == 201
    assert shop.get(f"v1/customer/disputes/{opened['dispute_id']}")["status"] == "RESOLVED"
    sums = paypal_sums(box)
    assert (sums["disputed"], sums["refunded"], sums["net"]) == (0, 5000, -175)


def test_disputes_are_told_and_listed_by_page(box: Process, shop: Shop, receiver: Receiver) -> None:
    box.post("/webhooks/endpoints", {"provider": "paypal", "url": receiver.url, "secret": WEBHOOK_ID})
    first, second = (dispute(box, shop.paid())["dispute_id"] for _ in range(2))
    box.post(f"/paypal-disputes/{first}", {"outcome": "lost"})
    types = [json.loads(item.body)["event_type"] for item in receiver.wait_for(7)]
    assert (types.count("CUSTOMER.DISPUTE.CREATED"), types.count("CUSTOMER.DISPUTE.RESOLVED")) == (2, 1)
    page = shop.get("v1/customer/disputes", page_size=1)
    assert [item["dispute_id"] for item in page["items"]] == [second]
    following = next(link["href"] for link in page["links"] if link["rel"] == "next")
    rest = shop.call("GET", following.removeprefix(f"{shop.base}/")).json()["items"]
    assert [item["dispute_id"] for item in rest] == [first]


# Transaction search


def search(shop: Shop, **query: Any) -> Any:
    now = dt.datetime.now(dt.UTC)
    query.setdefault("start_date", (now - dt.timedelta(days=1)).isoformat())
    query.setdefault("end_date", (now + dt.timedelta(days=1)).isoformat())
    return shop.call("GET", "v1/reporting/transactions", params=query)


def test_the_report_agrees_with_the_ledger(box: Process, shop: Shop) -> None:
    capture = shop.paid(custom_id="payment-1", invoice_id="INV-1")
    refund = shop.refund(capture["id"], {"amount": {"currency_code": "USD", "value": "10.00"}}).json()
    pending = shop.paid("5000", "JPY", buyer="echeck")
    dispute(box, capture)
    found = search(shop, fields="all").json()["transaction_details"]
    rows = [
        (info["transaction_event_code"], info["transaction_id"], info["transaction_amount"]["value"])
        for info in (item["transaction_info"] for item in found)
    ]
    assert rows[:2] == [("T0006", capture["id"], "50.00"), ("T1107", refund["id"], "-10.00")]
    assert [row[0] for row in rows] == ["T0006", "T1107", "T1110"]
    info = found[0]["transaction_info"]
    assert (info["fee_amount"]["value"], info["invoice_id"], info["custom_field"]) == (
        "-1.75",
        "INV-1",
        "payment-1",
    )
    assert found[0]["payer_info"]["email_address"] == "buyer@sandbox.example"
    cents = sum(
        int(Decimal(item["transaction_info"][name]["value"]) * 100)
        for item in found
        for name in ("transaction_amount", "fee_amount")
        if name in item["transaction_info"]
    )
    assert cents == paypal_sums(box)["net"]
    every = search(shop, balance_affecting_records_only="N", transaction_currency="JPY").json()
    waiting = every["transaction_details"][0]["transaction_info"]
    assert (waiting["transaction_id"], waiting["transaction_status"]) == (pending["id"], "P")


def test_the_report_comes_in_pages(shop: Shop) -> None:
    captures = [shop.paid()["id"] for _ in range(3)]
    pages = [search(shop, page=page, page_size=2).json() for page in (1, 2)]
    assert [page["total_pages"] for page in pages] == [2, 2]
    found = [
        item["transaction_info"]["transaction_id"] for page in pages for item in page["transaction_details"]
    ]
    assert sorted(found) == sorted(captures)


@pytest.mark.parametrize(
    "query",
    [
        {"start_date": "yesterday"},
        {"start_date": "2026-01-01T00:00:00"},
        {"start_date": "2026-01-01T00:00:00Z", "end_date": "2026-02-02T00:00:00Z"},
        {"start_date": "2026-02-01T00:00:00Z", "end_date": "2026-01-02T00:00:00Z"},
        {"fields": "everything"},
        {"page_size": 501},
        {"page": 0},
        {"store_id": "1"},
    ],
)
def test_senseless_searches_are_refused(shop: Shop, query: dict[str, Any]) -> None:
    assert search(shop, **query).status_code == 400


# Screens


def test_a_payment_is_steered_from_its_screen(box: Process, shop: Shop) -> None:
    order_id = shop.order(description="Parking at Runway")
    address = f"{box.url}/paypal-payments/{order_id}"
    assert "approval page" in requests.get(address, timeout=10).text
    shop.approve(order_id, "echeck")
    capture = shop.capture(order_id).json()["purchase_units"][0]["payments"]["captures"][0]["id"]

    def press(act: str, chosen: str, value: str = "") -> str:
        return requests.post(
            f"{address}/act", data={"act": act, "id": chosen, "value": value}, timeout=10
        ).text

    assert "Let it complete" in requests.get(address, timeout=10).text
    assert "Let the buyer dispute it" in press("capture", capture, "COMPLETED")
    assert "cannot become" in press("capture", capture, "COMPLETED")
    assert "Let the seller win" in press("complain", capture)
    opened = shop.get("v1/customer/disputes")["items"][0]["dispute_id"]
    assert "resolved seller favour" in press("dispute", opened, "won")
    refund = shop.refund(capture).json()["id"]
    assert "failed" in press("refund", refund, "FAILED")
    for path in ("/", "/stripe-payments"):
        page = requests.get(box.url + path, timeout=10).text
        assert f"/paypal-payments/{order_id}" in page
    assert (
        "paypal.orders.capture"
        in requests.get(f"{box.url}/faults", headers={"Accept": "text/html"}, timeout=10).text
    )
    assert (
        "PayPal IPN" in requests.get(f"{box.url}/webhooks", headers={"Accept": "text/html"}, timeout=10).text
    )
    assert requests.get(f"{box.url}/paypal-payments/none", timeout=10).status_code == 404
