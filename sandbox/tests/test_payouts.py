"""Payouts of both providers: the balance goes down at once, the bank has the money later, or sends it back."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
import requests
import stripe

from sandbox.tests.conftest import Process
from sandbox.tests.paypal import Shop
from sandbox.tests.test_paypal_vault_and_disputes import search

FOLDER = Path(os.environ.get("CONTRACTS_DIR") or "/nonexistent")


@pytest.fixture
def shop(box: Process) -> Shop:
    return Shop(box)


def charged(box: Process, amount: int = 5000, currency: str = "usd") -> Any:
    return box.stripe().v1.payment_intents.create(
        {"amount": amount, "currency": currency, "payment_method": "pm_card_visa", "confirm": True,
         "payment_method_types": ["card"]}
    )  # fmt: skip


def refused(box: Process, path: str, body: Any) -> tuple[int, str]:
    answer = requests.post(box.url + path, json=body, timeout=15)
    return answer.status_code, answer.json()["error"]


def test_a_payout_leaves_the_balance_and_arrives(box: Process) -> None:
    client = box.stripe()
    charged(box)
    payout = client.v1.payouts.create({"amount": 3000, "currency": "usd"})
    assert (payout.status, payout.amount) == ("in_transit", 3000)
    (entry,) = client.v1.balance_transactions.list({"type": "payout", "expand": ["data.source"]}).data
    assert (entry.amount, entry.net, entry.id) == (-3000, -3000, payout.balance_transaction)
    assert entry["source"]["id"] == payout.id
    balance = client.v1.balance.retrieve()
    assert balance.available[0].amount + balance.pending[0].amount == 5000 - 95 - 3000
    sums = box.get("/ledger.json")["providers"]["stripe"]["usd"]
    assert (sums["paid_out"], sums["net"]) == (3000, 1905)
    box.post("/clock", {"advance_seconds": 3 * 86_400})
    assert client.v1.payouts.retrieve(payout.id).status == "paid"
    assert [one.id for one in client.v1.payouts.list({"status": "paid"}).data] == [payout.id]
    assert {"payout.created", "payout.paid"} <= set(box.events())


def test_a_payout_that_the_bank_returns_comes_back_to_the_balance(box: Process) -> None:
    charged(box)
    made = box.post("/payouts.json", {"provider": "stripe", "currency": "usd"})
    assert made["amount"] == 4905
    failed = box.post(f"/payouts.json/{made['id']}", {"status": "failed"})
    assert (failed["status"], failed["failure_code"]) == ("failed", "account_closed")
    kinds = [entry.type for entry in box.stripe().v1.balance_transactions.list().data]
    assert kinds == ["payout_failure", "payout", "charge"]
    assert box.get("/ledger.json")["providers"]["stripe"]["usd"]["net"] == 4905
    assert refused(box, f"/payouts.json/{made['id']}", {"status": "paid"})[0] == 400


def test_more_than_is_there_is_not_paid_out(box: Process) -> None:
    charged(box)
    with pytest.raises(stripe.InvalidRequestError, match="insufficient funds"):
        box.stripe().v1.payouts.create({"amount": 4906, "currency": "usd"})
    assert refused(box, "/payouts.json", {"provider": "stripe", "currency": "eur"})[0] == 400
    assert refused(box, "/payouts.json", {"provider": "bank", "currency": "usd"})[0] == 400
    assert (
        refused(box, "/payouts.json", {"provider": "stripe", "currency": "usd", "amount_minor": "1"})[0]
        == 400
    )
    assert refused(box, "/payouts.json", [])[0] == 400


def test_a_withdrawal_is_in_paypals_report_and_balance(box: Process, shop: Shop) -> None:
    shop.paid()
    made = box.post("/payouts.json", {"provider": "paypal", "currency": "usd", "amount_minor": 4000})
    report = search(shop).json()["transaction_details"]
    info = report[-1]["transaction_info"]
    assert (info["transaction_event_code"], info["transaction_amount"]["value"]) == ("T0400", "-40.00")
    assert (info["transaction_id"], info["transaction_status"]) == (made["id"], "P")
    (held,) = shop.get("v1/reporting/balances")["balances"]
    assert (held["currency"], held["total_balance"]["value"]) == ("USD", "8.25")
    box.post("/clock", {"advance_seconds": 86_401})
    assert search(shop).json()["transaction_details"][-1]["transaction_info"]["transaction_status"] == "S"
    box.post(f"/payouts.json/{made['id']}", {"status": "failed"})
    (held,) = shop.get("v1/reporting/balances")["balances"]
    assert held["total_balance"]["value"] == "48.25"
    codes = [
        (
            row["transaction_info"]["transaction_event_code"],
            row["transaction_info"]["transaction_amount"]["value"],
        )
        for row in search(shop, end_date="2099-01-01T00:00:00Z", start_date="2098-12-31T00:00:00Z").json()[
            "transaction_details"
        ]
    ]
    assert codes == []
    status, error = refused(
        box, "/payouts.json", {"provider": "paypal", "currency": "usd", "amount_minor": 4826}
    )
    assert (status, "48.25" in error) == (422, True)


def test_the_page_pays_out_and_says_what_went_wrong(box: Process) -> None:
    charged(box)
    page = requests.get(f"{box.url}/payouts", timeout=15).text
    assert "49.05" in page
    made = requests.post(
        f"{box.url}/payouts/make",
        data={"provider": "stripe", "currency": "usd", "amount": "10.50"},
        timeout=15,
    )
    assert "in transit" in made.text
    assert "10.50 USD" in made.text
    wrong = requests.post(
        f"{box.url}/payouts/make", data={"provider": "stripe", "currency": "usd", "amount": "ten"}, timeout=15
    )
    assert "Enter an amount such as 10.50." in wrong.text
    more = requests.post(
        f"{box.url}/payouts/make", data={"provider": "stripe", "currency": "usd", "amount": "100"}, timeout=15
    )
    assert "insufficient funds" in more.text


def problems(contract: Any, name: str, shown: Any) -> list[str]:
    """Where an object has not exactly the fields that Stripe publishes for it, or null where it publishes none."""
    fields = {field: rule for field, rule in contract[name].items() if field != "__object__"}
    unknown = [f"{name}.{field} is not published" for field in shown if field not in fields]
    missing, wrong = [], []
    for field, rule in fields.items():
        kinds = rule["type"]["of"] if rule["type"]["t"] == "any_of" else [rule["type"]]
        for kind in kinds:
            if kind["t"] == "obj" and isinstance(shown.get(field), dict) and kind["ref"] in contract:
                wrong += problems(contract, kind["ref"], shown[field])
        nullable = {"t": "null"} in kinds
        if field not in shown and rule["req"] and not nullable:
            missing.append(f"{name}.{field} is missing")
        if field in shown and shown[field] is None and not nullable:
            wrong.append(f"{name}.{field} may not be null")
    return unknown + missing + wrong


@pytest.mark.skipif(
    not (FOLDER / "stripe_contract.json.gz").exists(),
    reason="CONTRACTS_DIR names no folder with Stripe's fields",
)
def test_what_is_shown_has_the_published_fields(box: Process) -> None:
    charged(box)
    box.post("/payouts.json", {"provider": "stripe", "currency": "usd", "amount_minor": 1000})
    made = box.post("/payouts.json", {"provider": "stripe", "currency": "usd", "amount_minor": 500})
    box.post(f"/payouts.json/{made['id']}", {"status": "failed"})
    contract = json.loads(gzip.decompress((FOLDER / "stripe_contract.json.gz").read_bytes()))["resources"]
    shown = [
        *box.raw("GET", "payouts").json()["data"],
        *box.raw("GET", "balance_transactions").json()["data"],
        box.raw("GET", "balance").json(),
    ]
    names = {
        "payout": "_payout:Payout",
        "balance_transaction": "_balance_transaction:BalanceTransaction",
        "balance": "_balance:Balance",
    }
    assert len(shown) == 2 + 4 + 1
    assert [line for one in shown for line in problems(contract, names[one["object"]], one)] == []
    assert problems(contract, "_payout:Payout", {**shown[0], "amount": None, "paid": True}) == [
        "_payout:Payout.paid is not published",
        "_payout:Payout.amount may not be null",
    ]
