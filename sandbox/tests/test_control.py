"""Faults, the clock, restarts and screens."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests
import stripe

from sandbox.tests.conftest import ROOT, SECRET_KEY, Process, wait_until

NEW = {"amount": 900, "currency": "usd"}


def intents(box: Process) -> int:
    return len(box.stripe().v1.payment_intents.list().data)


def test_done_then_silent(box: Process) -> None:
    box.post(
        "/faults",
        {"operation": "stripe.payment_intents.create", "behaviour": "do_then_timeout", "seconds": 2},
    )
    with pytest.raises(requests.exceptions.ReadTimeout):
        box.raw("POST", "payment_intents", data=NEW, headers={"Idempotency-Key": "t1"}, timeout=0.7)
    wait_until(lambda: intents(box) == 1)  # a busy machine does it after the client has given up
    again = box.raw("POST", "payment_intents", data=NEW, headers={"Idempotency-Key": "t1"})
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (200, "true")
    assert intents(box) == 1


def test_done_then_cut(box: Process) -> None:
    box.post("/faults", {"operation": "stripe.payment_intents.*", "behaviour": "do_then_reset"})
    with pytest.raises(requests.exceptions.ConnectionError):
        box.raw("POST", "payment_intents", data=NEW, headers={"Idempotency-Key": "t2"})
    assert intents(box) == 1


def test_done_then_an_error_that_is_replayed(box: Process) -> None:
    box.post("/faults", {"operation": "stripe.payment_intents.create", "behaviour": "do_then_500"})
    head = {"Idempotency-Key": "t3"}
    assert [box.raw("POST", "payment_intents", data=NEW, headers=head).status_code for _ in range(2)] == [
        500,
        500,
    ]
    assert intents(box) == 1


@pytest.mark.parametrize(("behaviour", "status"), [("refuse", 400), ("429", 429)])
def test_nothing_done(box: Process, behaviour: str, status: int) -> None:
    box.post("/faults", {"operation": "stripe.*", "behaviour": behaviour, "times": 2})
    head = {"Idempotency-Key": "t4"}
    assert [box.raw("POST", "payment_intents", data=NEW, headers=head).status_code for _ in range(2)] == [
        status
    ] * 2
    assert intents(box) == 0
    assert box.raw("POST", "payment_intents", data=NEW, headers=head).status_code == 200


def test_the_script_is_read_in_order_and_cleared(box: Process) -> None:
    box.post("/faults", {"operation": "stripe.payment_intents.create", "behaviour": "ok"})
    box.post("/faults", {"operation": "stripe.payment_intents.create", "behaviour": "refuse", "status": 503})
    codes = [box.raw("POST", "payment_intents", data=NEW).status_code for _ in range(3)]
    assert codes == [200, 503, 200]
    assert [fault["left"] for fault in box.get("/faults")["faults"]] == [0, 0]
    assert requests.delete(f"{box.url}/faults", timeout=10).json() == {"deleted": 2}


@pytest.mark.parametrize(
    "body", [{}, {"operation": "x", "behaviour": "explode"}, {"operation": "x", "behaviour": "ok", "times": 0},
             {"operation": "x", "behaviour": "slow", "seconds": 1e9}, {"operation": "x", "behaviour": "refuse", "status": 200}],
)  # fmt: skip
def test_a_senseless_fault_is_refused(box: Process, body: dict[str, Any]) -> None:
    refused = requests.post(f"{box.url}/faults", json=body, timeout=10)
    assert refused.status_code == 400
    assert refused.json()["error"]


def test_the_library_heals_a_lost_answer_by_itself(box: Process) -> None:
    box.post("/faults", {"operation": "stripe.payment_intents.create", "behaviour": "do_then_reset"})
    made = box.stripe(max_network_retries=2).v1.payment_intents.create(NEW)  # type: ignore[arg-type]
    assert made.status == "requires_payment_method"
    assert intents(box) == 1


def test_the_clock_moves_and_returns(box: Process) -> None:
    moved = box.post("/clock", {"set": "2030-01-02T03:04:05+00:00"})
    assert moved["time"].startswith("2030-01-02T03:04:0")
    assert box.stripe().v1.payment_intents.create(NEW).created >= 1_893_553_445  # type: ignore[arg-type]
    assert abs(box.post("/clock", {"set": None})["offset_seconds"]) < 1
    for body in (
        {},
        {"advance_seconds": "x"},
        {"advance_seconds": 1e300},
        {"set": "tomorrow"},
        {"set": "2030-01-01T00:00:00"},
    ):
        assert requests.post(f"{box.url}/clock", json=body, timeout=10).status_code == 400


def test_a_killed_sandbox_remembers(tmp_path: Path) -> None:
    hook = ["--stripe-webhook", "http://127.0.0.1:9/hook/=whsec_x"]
    first = Process(tmp_path, hook).start()
    paid = first.stripe().v1.payment_intents.create(
        {**NEW, "payment_method": "pm_card_visa", "confirm": True, "payment_method_types": ["card"]},  # type: ignore[typeddict-item]
        {"idempotency_key": "r1"},
    )
    first.post("/clock", {"advance_seconds": 5000})
    key = first.get("/keys.json")
    first.stop(signal.SIGKILL)
    second = Process(tmp_path, hook).start()
    try:
        assert second.stripe().v1.payment_intents.retrieve(paid.id).status == "succeeded"
        replayed = second.stripe().v1.payment_intents.create(
            {**NEW, "payment_method": "pm_card_visa", "confirm": True, "payment_method_types": ["card"]},  # type: ignore[typeddict-item]
            {"idempotency_key": "r1"},
        )
        assert replayed.id == paid.id
        assert second.get("/ledger.json")["balances"]["usd"]["charged"] == 900
        assert second.get("/clock.json")["offset_seconds"] == 5000
        assert second.get("/keys.json") == key
        assert len(second.get("/webhooks/endpoints")["endpoints"]) == 1
        assert {item["status"] for item in second.get("/webhooks.json")["deliveries"]} <= {
            "pending",
            "delivering",
        }
    finally:
        second.stop()
    assert second.running is not None
    assert second.running.returncode == 0


def test_a_busy_port_and_a_wrong_option_are_said_plainly(box: Process, tmp_path: Path) -> None:
    def run(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "sandbox", "--data", str(tmp_path), *options],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
        )

    busy = run("--port", box.url.rpartition(":")[2])
    assert busy.returncode == 1
    assert "choose another --port" in busy.stderr
    wrong = run("--port", "0", "--stripe-webhook", "nonsense")
    assert wrong.returncode == 2
    assert "URL=SECRET" in wrong.stderr


def test_reset_forgets_all_but_the_endpoints(box: Process) -> None:
    box.post("/webhooks/endpoints", {"provider": "stripe", "url": "http://127.0.0.1:9/", "secret": "whsec_x"})
    box.stripe().v1.customers.create({"name": "Ada"})
    box.post("/faults", {"operation": "x", "behaviour": "ok"})
    box.post("/reset")
    assert box.stripe().v1.customers.list().data == []
    assert box.get("/webhooks.json")["deliveries"] == []
    assert box.get("/faults")["faults"] == []
    assert len(box.get("/webhooks/endpoints")["endpoints"]) == 1


def test_every_screen_opens(box: Process) -> None:
    box.post("/webhooks/endpoints", {"provider": "stripe", "url": "http://127.0.0.1:9/", "secret": "whsec_x"})
    paid = box.stripe().v1.payment_intents.create(
        {**NEW, "payment_method": "pm_card_pendingRefund", "confirm": True, "payment_method_types": ["card"]}  # type: ignore[typeddict-item]
    )
    refund = box.stripe().v1.refunds.create({"payment_intent": paid.id})
    delivery = box.get("/webhooks.json")["deliveries"][0]["id"]
    pages = [
        "/",
        "/mail",
        "/phone",
        "/stripe-payments",
        f"/stripe-payments/{paid.id}",
        "/webhooks",
        f"/webhooks/{delivery}",
        "/faults",
        "/clock",
    ]
    for path in pages:
        page = requests.get(box.url + path, headers={"Accept": "text/html"}, timeout=10)
        assert page.status_code == 200, path
        assert "no real money, no real messages" in page.text
    settled = requests.post(
        f"{box.url}/stripe-payments/{paid.id}/refunds/{refund.id}", data={"status": "succeeded"}, timeout=10
    )
    assert settled.status_code == 200
    assert box.stripe().v1.refunds.retrieve(refund.id).status == "succeeded"
    for path in ("/mail/none", "/stripe-payments/none", "/webhooks/none"):
        assert requests.get(box.url + path, timeout=10).status_code == 404


def test_the_screens_forms_work(box: Process) -> None:
    def post(path: str, **form: str) -> requests.Response:
        return requests.post(box.url + path, data=form, timeout=10)

    assert (
        post("/faults/add", operation="stripe.*", behaviour="refuse", times="2", seconds="").status_code
        == 200
    )
    assert box.get("/faults")["faults"][0]["times"] == 2
    assert post("/faults/add", operation="", behaviour="refuse").status_code == 400
    post("/faults/remove")
    assert box.get("/faults")["faults"] == []
    post("/clock/move", advance="3600")
    assert box.get("/clock.json")["offset_seconds"] == 3600
    assert post("/clock/move", set="never").status_code == 400
    post("/clock/move", real="1")
    post("/webhooks/travel", provider="stripe", mode="hold", duplicate="2", delay_seconds="0")
    assert box.get("/webhooks/mode")["stripe"]["mode"] == "hold"
    assert "whole numbers" in post("/webhooks/travel", provider="stripe", mode="hold", duplicate="x").text
    box.stripe().v1.customers.create({})
    box.post("/faults", {"operation": "stripe.*", "behaviour": "slow"})
    post("/tidy")
    assert box.get("/faults")["faults"] == []
    assert len(box.stripe().v1.customers.list().data) == 1, (
        "a provider never forgets a customer that a site knows"
    )


def test_other_websites_cannot_press_the_buttons(box: Process) -> None:
    box.stripe().v1.customers.create({})
    for head in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        assert requests.post(f"{box.url}/reset", headers=head, timeout=10).status_code == 403
    assert (
        requests.post(
            f"{box.url}/clock", headers={"Origin": box.url}, json={"advance_seconds": 0}, timeout=10
        ).status_code
        == 200
    )
    assert len(box.stripe().v1.customers.list().data) == 1


def test_broken_control_calls_are_answered_plainly(box: Process) -> None:
    for body in (b"{", b"[]", b"\xff", b"[" * 100_000):
        answer = requests.post(f"{box.url}/faults", data=body, timeout=10)
        assert answer.status_code == 400
        assert answer.json()["error"]
    assert requests.get(f"{box.url}/mail.json?limit=x", timeout=10).status_code == 400


def test_the_ledger_cannot_be_rewritten(tmp_path: Path) -> None:
    import sqlite3

    started = Process(tmp_path).start()
    started.stripe().v1.payment_intents.create(
        {**NEW, "payment_method": "pm_card_visa", "confirm": True, "payment_method_types": ["card"]}  # type: ignore[typeddict-item]
    )
    started.stop()
    with (
        sqlite3.connect(tmp_path / "sandbox.sqlite3") as connection,
        pytest.raises(sqlite3.IntegrityError, match="append-only"),
    ):
        connection.execute("UPDATE ledger SET amount_minor = 1")


def test_stripe_python_default_client_reaches_it(box: Process) -> None:
    client = stripe.StripeClient(SECRET_KEY, base_addresses={"api": f"{box.url}/stripe"})
    assert client.v1.accounts.retrieve_current().charges_enabled
    wait_until(lambda: box.get("/health")["status"] == "ok")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "payment_intents?created[gte]=9223372036854775808", ""),
        ("GET", "payment_intents?created[gte]=x&limit=1", ""),
        ("GET", "payment_intents?limit=0", ""),
        ("GET", "payment_intents?starting_after=pi_none", ""),
        ("GET", "events?types[0][a]=1", ""),
        ("GET", "customers/%00", ""),
        ("GET", "customers/cus_%ED%A0%80?expand[a]=b", ""),
        ("GET", "customers?%FF=1", ""),
        ("POST", "payment_intents", "a[b=1&[x]=2&amount[][]=3"),
        ("POST", "payment_intents", "&".join(f"metadata[k{n}]=v" for n in range(1200))),
        ("POST", "payment_intents", "a" + "[b]" * 50 + "=1"),
        ("POST", "payment_intents", "amount=500&currency=usd&expand[]=&expand[]=metadata.x"),
        ("POST", "payment_intents", "amount=500&currency=usd&expand[]=a.b.c.d.e.f"),
        ("POST", "customers", "invoice_settings=x"),
        ("POST", "customers", "address[line1][x]=1"),
        ("POST", "customers", "email=%0a@b"),
        ("POST", "payment_methods", "type=card&card=x"),
        ("POST", "payment_methods", "type=sofort"),
        ("POST", "refunds", "amount=1&payment_intent[x]=1"),
        (
            "POST",
            "payment_intents",
            "amount=500&currency=usd&payment_method=pm_card_visa&confirm=true&return_url=http://[",
        ),
        ("POST", "webhook_endpoints", "url=javascript:x&enabled_events[]=*"),
    ],
)
def test_hostile_input_is_never_a_server_error(box: Process, method: str, path: str, body: str) -> None:
    head = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = box.raw(method, path, data=body, headers=head)
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.json()["error"]["message"]


def test_hostile_control_calls_are_never_server_errors(box: Process) -> None:
    calls: list[tuple[str, str, bytes]] = [
        ("POST", "/faults", b'{"operation": "\\ud800", "behaviour": "ok"}'),
        ("POST", "/faults", b'{"operation": "a\\u0000", "behaviour": "ok"}'),
        ("POST", "/faults", b'{"operation": "a", "behaviour": "slow", "seconds": NaN}'),
        ("POST", "/clock", b'{"advance_seconds": NaN}'),
        ("POST", "/clock", b'{"set": 5}'),
        ("POST", "/sms.json", b'{"from": "x", "to": "", "body": 7}'),
        ("POST", "/webhooks/endpoints", b'{"provider": "stripe", "url": "http://[", "enabled_events": 5}'),
        ("POST", "/webhooks/endpoints", b'{"provider": "stripe", "url": "http://["}'),
        ("POST", "/webhooks/none/deliver", b""),
        ("DELETE", f"/faults/{10**30}", b""),
        ("POST", "/stripe-refunds/none", b'{"status": "failed"}'),
    ]
    for method, path, body in calls:
        answer = requests.request(method, box.url + path, data=body, timeout=10)
        assert 400 <= answer.status_code < 500, (path, body, answer.text)
        assert answer.json()["error"]
