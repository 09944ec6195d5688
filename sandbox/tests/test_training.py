"""What trainers drive: situations, webhooks sent by hand, the dashboards' buttons, the clock."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
import requests
import stripe

from sandbox.tests.conftest import Process, Receiver, wait_until
from sandbox.training import ACTS, SITUATIONS

SECRET = "whsec_aSecretForTests"
PAY: Any = {
    "amount": 900, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True, "payment_method_types": ["card"],
}  # fmt: skip


@pytest.fixture
def listening(box: Process, receiver: Receiver) -> Receiver:
    box.post("/webhooks/endpoints", {"provider": "stripe", "url": f"{receiver.url}/hook/", "secret": SECRET})
    return receiver


def page(box: Process, path: str, **form: Any) -> requests.Response:
    if form:
        return requests.post(box.url + path, data=form, timeout=20)
    return requests.get(box.url + path, headers={"Accept": "text/html"}, timeout=20)


def one_delivery(box: Process, receiver: Receiver) -> dict[str, Any]:
    box.stripe().v1.customers.create({"name": "Ada"})
    receiver.wait_for(1)
    found: dict[str, Any] = wait_until(lambda: box.get("/webhooks.json", status="delivered")["deliveries"])[0]
    return found


# Situations


def test_every_situation_is_set_up_and_undone_by_one_click(box: Process) -> None:
    paid, _another = (box.stripe().v1.payment_intents.create(PAY) for _ in range(2))
    box.stripe().v1.refunds.create({"payment_intent": paid.id, "amount": 100})
    quiet = box.get("/webhooks/mode")
    for key, situation in SITUATIONS.items():
        answer = page(box, f"/training/{key}/start", go="1")
        assert answer.status_code == 200, (key, answer.text)
        (card,) = re.findall(rf'id="{key}".*?</section>', answer.text, re.S)
        assert '<span class="chip wait">set up</span>' in card
        for line in (*situation["try"], *situation["see"], *situation["do"]):
            assert line in html.unescape(card)
        answer = page(box, f"/training/{key}/undo", go="1")
        assert '<span class="chip wait">set up</span>' not in answer.text
        assert box.get("/faults")["faults"] == []
        assert box.get("/webhooks/mode") == quiet


def test_a_situation_without_a_payment_says_what_to_do_first(box: Process) -> None:
    for key, situation in SITUATIONS.items():
        if "act" in situation["sets"]:
            answer = page(box, f"/training/{key}/start", go="1")
            assert answer.status_code == 409
            assert html.unescape(answer.text).count(situation["needs"]) == 1
            assert requests.post(f"{box.url}/training/{key}", timeout=10).status_code == 409
    assert box.get("/training.json")["situations"][0]["running"] is None


def test_situations_hold_only_what_the_sandbox_can_do(box: Process) -> None:
    """The data is right without code for each: faults and modes are accepted as they stand, acts and their excuses exist."""
    for situation in SITUATIONS.values():
        sets = situation["sets"]
        assert set(sets) <= {"faults", "webhooks", "buyer", "act"} and sets
        for fault in sets.get("faults", []):
            box.post("/faults", fault)
        for mode in sets.get("webhooks", []):
            box.post("/webhooks/mode", mode)
        assert sets.get("act", next(iter(ACTS))) in ACTS
        assert ("act" in sets) == ("needs" in situation)
        assert sets.get("buyer", "review") in {"review", "declined", "at_once", "echeck"}


def test_situations_that_change_the_same_webhooks_follow_each_other(box: Process) -> None:
    box.post("/training/webhook-lost")
    box.post("/training/forged-webhooks")
    running = {item["key"] for item in box.get("/training.json")["situations"] if item["running"]}
    assert running == {"forged-webhooks"}
    assert (
        box.get("/webhooks/mode")["stripe"] | {"forge": True, "mode": "deliver"}
        == box.get("/webhooks/mode")["stripe"]
    )
    requests.delete(f"{box.url}/training/forged-webhooks", timeout=10).raise_for_status()
    assert not box.get("/webhooks/mode")["paypal"]["forge"]


def test_undoing_takes_back_only_its_own_faults(box: Process) -> None:
    mine = box.post("/faults", {"operation": "stripe.customers.create", "behaviour": "slow"})
    box.post("/training/provider-down")
    requests.delete(f"{box.url}/training/provider-down", timeout=10).raise_for_status()
    assert [fault["id"] for fault in box.get("/faults")["faults"]] == [mine["id"]]


def test_tidying_up_undoes_situations(box: Process) -> None:
    box.post("/training/paypal-holds")
    box.post("/training/provider-down")
    page(box, "/tidy", go="1")
    assert [item for item in box.get("/training.json")["situations"] if item["running"]] == []
    assert box.get("/faults")["faults"] == []


def test_an_unknown_situation_is_not_found(box: Process) -> None:
    for method, path in (
        ("POST", "/training/none"),
        ("DELETE", "/training/none"),
        ("POST", "/training/none/start"),
    ):
        assert requests.request(method, box.url + path, timeout=10).status_code == 404


# Webhooks by hand


def test_a_delivery_is_sent_again_in_copies_reversed_forged_altered_and_old(
    box: Process, listening: Receiver
) -> None:
    first = one_delivery(box, listening)
    count = 1

    def send(how: str, *ids: str) -> list[Any]:
        nonlocal count
        sent = box.post("/webhooks/send-again", {"deliveries": list(ids) or [first["id"]], "how": how})[
            "deliveries"
        ]
        got = listening.received[count:]
        count = len(listening.received)
        assert len(sent) == len(got)
        assert {item["by_hand"] for item in sent} == {how}
        return got

    (again,) = send("again")
    assert (
        stripe.Webhook.construct_event(again.body, again.headers["Stripe-Signature"], SECRET).id
        == first["event_id"]
    )
    copies = send("copies")
    assert len(copies) == 5
    assert len({item.body for item in copies}) == 1
    (forged,) = send("forged")
    with pytest.raises(stripe.SignatureVerificationError, match="No signatures found"):
        stripe.Webhook.construct_event(forged.body, forged.headers["Stripe-Signature"], SECRET)
    (changed,) = send("altered")
    assert json.loads(changed.body)["altered"] is True
    with pytest.raises(stripe.SignatureVerificationError, match="No signatures found"):
        stripe.Webhook.construct_event(changed.body, changed.headers["Stripe-Signature"], SECRET)
    (old,) = send("old")
    with pytest.raises(stripe.SignatureVerificationError, match="tolerance"):
        stripe.Webhook.construct_event(old.body, old.headers["Stripe-Signature"], SECRET)
    assert stripe.Webhook.construct_event(old.body, old.headers["Stripe-Signature"], SECRET, tolerance=7_200)

    box.stripe().v1.customers.create({"name": "Ben"})
    listening.wait_for(count + 1)
    count += 1
    second = wait_until(
        lambda: [
            d
            for d in box.get("/webhooks.json", status="delivered")["deliveries"]
            if d["event_id"] != first["event_id"]
        ]
    )[0]
    reversed_order = send("again", second["id"], first["id"])
    assert [json.loads(item.body)["id"] for item in reversed_order] == [second["event_id"], first["event_id"]]


def test_what_is_sent_by_hand_is_not_retried_and_shows_the_answer(box: Process, listening: Receiver) -> None:
    first = one_delivery(box, listening)
    listening.answers, listening.text = [400], b"bad signature"
    (sent,) = box.post("/webhooks/send-again", {"deliveries": [first["id"]], "how": "forged"})["deliveries"]
    assert (sent["status"], sent["response_code"], sent["response_excerpt"]) == (
        "failed",
        400,
        "bad signature",
    )
    box.post("/clock", {"advance_seconds": 86_400})
    assert box.get("/webhooks.json", status="pending")["deliveries"] == []
    assert len(listening.received) == 2


def test_the_page_sends_the_chosen_and_says_what_the_receiver_said(box: Process, listening: Receiver) -> None:
    first = one_delivery(box, listening)
    listening.answers = [418]
    answer = page(box, "/webhooks/again", delivery=[first["id"]], how="altered", order="oldest")
    assert answer.status_code == 200
    assert "Sent 1: what the receiver said" in answer.text
    assert ">418<" in answer.text
    assert page(box, "/webhooks/again", how="again").status_code == 400
    assert page(box, "/webhooks/again", delivery="x", how="again").status_code == 400
    assert page(box, "/webhooks/again", delivery=first["id"], how="x").status_code == 400


def test_how_webhooks_travel_is_changed_and_put_right_on_the_page(box: Process) -> None:
    usual = box.get("/webhooks/mode")
    page(box, "/webhooks/travel", provider="paypal", mode="hold", duplicate="2", signed_ago="900", forge="on")
    changed = box.get("/webhooks/mode")["paypal"]
    assert (changed["mode"], changed["duplicate"], changed["skew_seconds"], changed["forge"]) == (
        "hold",
        2,
        -900,
        True,
    )
    assert "changed</span>" in page(box, "/webhooks").text
    page(box, "/webhooks/travel", usual="1")
    assert box.get("/webhooks/mode") == usual


def test_the_log_has_pages(box: Process, listening: Receiver) -> None:
    first = one_delivery(box, listening)
    for _batch in range(12):
        box.post("/webhooks/send-again", {"deliveries": [first["id"]], "how": "copies"})
    assert page(box, "/webhooks").text.count('name="delivery"') == 50
    assert page(box, "/webhooks?page=2").text.count('name="delivery"') == 11
    for odd in ("0", "-1", "x", "99999", "9" * 30):
        assert page(box, f"/webhooks?page={odd}").status_code == 200


# Dashboards


def test_a_refund_made_in_stripes_dashboard(box: Process) -> None:
    paid = box.stripe().v1.payment_intents.create(PAY)
    path = f"/stripe-payments/{paid.id}"
    assert "Refund as in Stripe" in page(box, path).text
    assert "at most 2 decimals" in page(box, f"{path}/give-back", amount="1.005").text
    assert "greater than unrefunded amount" in page(box, f"{path}/give-back", amount="99").text
    page(box, f"{path}/give-back", amount="2,50")
    page(box, f"{path}/give-back", amount="")
    assert [refund["amount_minor"] for refund in box.get("/ledger.json")["refunds"]] == [250, 650]
    assert "refund.created" in box.events()
    assert box.get("/ledger.json")["balances"]["usd"]["refunded"] == 900
    refused = requests.post(f"{box.url}{path}/refund", json={"amount_minor": 1}, timeout=10)
    assert (refused.status_code, refused.json()["error"]) == (
        400,
        f"Charge {paid.latest_charge} has already been refunded.",
    )


def test_a_currency_without_decimals_is_typed_without(box: Process) -> None:
    paid = box.stripe().v1.payment_intents.create({**PAY, "currency": "jpy"})
    assert "at most 0 decimals" in page(box, f"/stripe-payments/{paid.id}/give-back", amount="1.5").text
    page(box, f"/stripe-payments/{paid.id}/give-back", amount="300")
    assert box.get("/ledger.json")["balances"]["jpy"]["refunded"] == 300


def test_a_dispute_that_nobody_answers_is_lost_at_its_deadline(box: Process) -> None:
    paid = box.stripe().v1.payment_intents.create(PAY)
    box.post("/training/dispute")
    clock = page(box, "/clock").text
    assert "Time to answer a dispute at Stripe ends" in clock
    assert f'href="/stripe-payments/{paid.id}"' in clock
    due = re.search(r'name="until" value="([0-9.]+)"', clock)
    assert due
    page(box, "/clock/move", until=due[1])
    (dispute,) = box.stripe().v1.disputes.list().data
    assert dispute.status == "lost"


def test_the_clock_moves_by_days_and_hours(box: Process) -> None:
    page(box, "/clock/move", ahead="1", days="1", hours="1.5")
    assert box.get("/clock.json")["offset_seconds"] == 91_800
    for odd in ({"hours": "x"}, {"days": "1e300"}, {"days": "nan"}):
        assert page(box, "/clock/move", ahead="1", **odd).status_code == 400
    for until in ("1e300", "nan", "x"):
        assert page(box, "/clock/move", until=until).status_code == 400


def test_the_ledger_page_holds_every_entry_and_the_totals(box: Process) -> None:
    paid = box.stripe().v1.payment_intents.create(PAY)
    box.stripe().v1.refunds.create({"payment_intent": paid.id, "amount": 100})
    text = page(box, "/ledger").text
    for expected in ("9.00 USD", "-1.00 USD", ">9.00<", ">1.00<"):
        assert expected in text, expected


# Who may drive it


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8001", "127.0.0.1.evil.example", "10.0.0.1", "[::2]", "[", ""]
)
def test_a_foreign_name_for_this_machine_gets_nothing(box: Process, host: str) -> None:
    for method, path in (
        ("GET", "/mail"),
        ("GET", "/ledger.json"),
        ("POST", "/reset"),
        ("GET", "/stripe/v1/balance"),
    ):
        answer = requests.request(method, box.url + path, headers={"Host": host}, timeout=10)
        assert answer.status_code in {400, 403}, (host, path, answer.status_code)


def test_names_of_this_machine_are_answered(box: Process) -> None:
    for host in ("localhost", "localhost:1", "127.0.0.1", "127.0.0.2:80", "[::1]:8001"):
        assert requests.get(f"{box.url}/health", headers={"Host": host}, timeout=10).status_code == 200


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0", "192.0.2.1", "example.com", ""],  # noqa: S104 that it refuses them is the point
)
def test_it_listens_on_this_machine_only(
    tmp_path: Path, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from sandbox.__main__ import parse

    with pytest.raises(SystemExit):
        parse(["--host", address])
    assert "use 127.0.0.1" in capsys.readouterr().err


@pytest.mark.parametrize("written", ["abc", "70000", "-1", "80.5"])
def test_a_port_that_is_none_is_refused(written: str, capsys: pytest.CaptureFixture[str]) -> None:
    from sandbox.__main__ import parse

    with pytest.raises(SystemExit):
        parse([f"--port={written}"])
    assert "is not a port" in capsys.readouterr().err


def test_the_fault_page_names_every_call_and_takes_a_choice(box: Process) -> None:
    text = page(box, "/faults").text
    for operation in (
        "stripe.refunds.create",
        "paypal.orders.capture",
        "sendgrid.mail.send",
        "twilio.messages.create",
    ):
        assert f'value="{operation}"' in text
    page(
        box,
        "/faults/add",
        operation="stripe.refunds.create",
        pattern="",
        behaviour="refuse",
        times="3",
        status="429",
    )
    page(box, "/faults/add", operation="stripe.*", pattern="paypal.*.get", behaviour="slow", seconds="1.5")
    first, second = box.get("/faults")["faults"]
    assert (first["operation"], first["times"], first["status"]) == ("stripe.refunds.create", 3, 429)
    assert (second["operation"], second["seconds"]) == ("paypal.*.get", 1.5)
    text = page(box, "/faults").text
    assert "Refund a card payment" in text
    assert "3 of 3 to go" in text
