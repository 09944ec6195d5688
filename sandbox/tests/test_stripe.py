"""Stripe's API as its own library sees it."""

from __future__ import annotations

import concurrent.futures
import io
from typing import Any

import pytest
import stripe

from sandbox.tests.conftest import PUBLISHABLE_KEY, Process

PAID = {
    "amount": 5000,
    "currency": "usd",
    "payment_method": "pm_card_visa",
    "payment_method_types": ["card"],
    "confirm": True,
}


def pay(box: Process, **more: Any) -> stripe.PaymentIntent:
    return box.stripe().v1.payment_intents.create({**PAID, **more})


# Keys and parameters


@pytest.mark.parametrize(
    "key", ["", "sk_test_short", "sk_live_" + "a" * 24, "pk_live_" + "a" * 24, "nonsense"]
)
def test_only_test_keys_open_the_door(box: Process, key: str) -> None:
    answer = box.raw("GET", "account", key=key)
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_basic_authentication_works_too(box: Process) -> None:
    answer = box.raw("GET", "account", headers={"Authorization": ""}, auth=("sk_test_" + "a" * 24, ""))
    assert answer.json()["object"] == "account"


def test_a_publishable_key_opens_only_what_pages_need(box: Process) -> None:
    answer = box.raw("GET", "customers", key=PUBLISHABLE_KEY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "secret_key_required")


def test_an_unknown_parameter_is_refused_in_stripes_words(box: Process) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        box.stripe().v1.refunds.create({"payment_intent": "pi_x", "foo": "1"})  # type: ignore[typeddict-unknown-key]
    error = caught.value
    assert (error.http_status, error.code, error.param) == (400, "parameter_unknown", "foo")
    assert error.user_message == "Received unknown parameter: foo"


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ("currency=usd", "parameter_missing", "amount"),
        ("amount=1e3&currency=usd", "parameter_invalid_integer", "amount"),
        ("amount=-5&currency=usd", "parameter_invalid_integer", "amount"),
        ("amount=0&currency=usd", "parameter_invalid_integer", "amount"),
        ("amount=49&currency=usd", "amount_too_small", "amount"),
        ("amount=100000000&currency=usd", "amount_too_large", "amount"),
        ("amount=9223372036854775807&currency=usd", "amount_too_large", "amount"),
        ("amount=9223372036854775808&currency=usd", "parameter_invalid_integer", "amount"),
        ("amount=&currency=usd", "parameter_invalid_empty", "amount"),
        ("amount=500&currency=zzz", None, "currency"),
        ("amount=1005&currency=kwd", None, "amount"),
        ("amount=500&currency=usd&shipping[foo]=x", "parameter_unknown", "shipping[foo]"),
        ("amount=500&currency=usd&capture_method=perhaps", None, "capture_method"),
        ("amount=500&currency=usd&confirm=maybe", None, "confirm"),
        ("amount[x]=500&currency=usd", None, "amount"),
        ("amount=500&currency=usd&metadata=x", None, "metadata"),
        ("amount=500&currency=usd&metadata[" + "k" * 41 + "]=x", None, "metadata"),
        ("amount=500&currency=usd&metadata[k]=" + "v" * 501, None, "metadata"),
        ("amount=500&currency=usd&" + "&".join(f"metadata[k{n}]=v" for n in range(51)), None, "metadata"),
        ("amount=500&currency=usd&description=%00", None, "description"),
        ("amount=500&currency=usd&description=%ED%A0%80", None, None),
        (
            "amount=500&currency=usd&transfer_group=" + "x" * 5001,
            "parameter_invalid_string",
            "transfer_group",
        ),
        ("amount=500&currency=usd&application_fee_amount=5", "sandbox_unsupported", "application_fee_amount"),
        ("amount=500&currency=usd&customer=cus_none", "resource_missing", "customer"),
        ("amount=500&currency=usd&off_session=true", None, "off_session"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_a_reason(
    box: Process, body: str, code: str, param: str
) -> None:
    answer = box.raw(
        "POST", "payment_intents", data=body, headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    error = answer.json()["error"]
    assert answer.status_code == 400, error
    assert (error.get("code"), error.get("param")) == (code, param)
    assert box.events() == []


def test_json_and_oversized_bodies_are_refused(box: Process) -> None:
    assert box.raw("POST", "customers", json={"name": "Ada"}).status_code == 400
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert box.raw("POST", "customers", data="name=" + "x" * 1_100_000, headers=form).status_code == 413
    assert box.raw("GET", "no/such/thing").status_code == 404
    assert box.raw("PUT", "customers").status_code == 404


def test_currencies_keep_their_own_minor_units(box: Process) -> None:
    assert pay(box, amount=5000, currency="jpy").amount_received == 5000
    assert pay(box, amount=5000, currency="kwd").currency == "kwd"
    assert box.get("/ledger.json")["balances"]["jpy"]["charged"] == 5000


# Idempotency


def test_the_same_key_replays_the_same_answer(box: Process) -> None:
    body = {"amount": 700, "currency": "eur"}
    first = box.raw("POST", "payment_intents", data=body, headers={"Idempotency-Key": "k1"})
    second = box.raw("POST", "payment_intents", data=body, headers={"Idempotency-Key": "k1"})
    assert (first.status_code, first.text) == (second.status_code, second.text)
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert len(box.stripe().v1.payment_intents.list().data) == 1


def test_a_decline_is_replayed_and_a_validation_error_is_not_kept(box: Process) -> None:
    declined = {
        **PAID,
        "payment_method": "pm_card_chargeDeclined",
        "confirm": "true",
        "payment_method_types[]": "card",
    }
    declined.pop("payment_method_types")
    first = box.raw("POST", "payment_intents", data=declined, headers={"Idempotency-Key": "k2"})
    again = box.raw("POST", "payment_intents", data=declined, headers={"Idempotency-Key": "k2"})
    assert (first.status_code, again.status_code, first.text) == (402, 402, again.text)
    assert again.headers["Idempotent-Replayed"] == "true"
    wrong = box.raw("POST", "payment_intents", data={"amount": "x"}, headers={"Idempotency-Key": "k3"})
    right = box.raw(
        "POST", "payment_intents", data={"amount": 500, "currency": "usd"}, headers={"Idempotency-Key": "k3"}
    )
    assert (wrong.status_code, right.status_code) == (400, 200)


def test_a_key_is_bound_to_its_parameters_and_endpoint(box: Process) -> None:
    head = {"Idempotency-Key": "k4"}
    box.raw("POST", "payment_intents", data={"amount": 700, "currency": "eur"}, headers=head)
    for path, body in (
        ("payment_intents", {"amount": 701, "currency": "eur"}),
        ("customers", {"name": "Ada"}),
    ):
        answer = box.raw("POST", path, data=body, headers=head)
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "idempotency_error")


def test_two_calls_with_one_key_at_once_conflict(box: Process) -> None:
    box.post("/faults", {"operation": "stripe.payment_intents.create", "behaviour": "slow", "seconds": 1.5})

    def send(_: int) -> Any:
        head = {"Idempotency-Key": "k5"}
        return box.raw("POST", "payment_intents", data={"amount": 700, "currency": "eur"}, headers=head)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(send, range(4)))
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [200, 409, 409, 409]
    assert (
        next(a for a in answers if a.status_code == 409).json()["error"]["code"] == "idempotency_key_in_use"
    )
    assert len(box.stripe().v1.payment_intents.list().data) == 1


def test_a_key_lives_for_a_day_of_the_sandbox_clock(box: Process) -> None:
    body, head = {"amount": 700, "currency": "eur"}, {"Idempotency-Key": "k6"}
    first = box.raw("POST", "payment_intents", data=body, headers=head).json()["id"]
    box.post("/clock", {"advance_seconds": 23 * 3600})
    assert box.raw("POST", "payment_intents", data=body, headers=head).json()["id"] == first
    box.post("/clock", {"advance_seconds": 3601})
    assert box.raw("POST", "payment_intents", data=body, headers=head).json()["id"] != first


# Paying


def test_a_payment_is_made_and_shows_everywhere(box: Process) -> None:
    client = box.stripe()
    customer = client.v1.customers.create(
        {"email": "ada@example.com", "name": "Ada", "metadata": {"user": "7"}}
    )
    intent = pay(
        box,
        customer=customer.id,
        metadata={"booking": "AP-1"},
        expand=["latest_charge.balance_transaction", "customer"],
    )
    assert (intent.status, intent.amount_received, intent.livemode) == ("succeeded", 5000, False)
    charge = intent.latest_charge
    assert isinstance(charge, stripe.Charge)
    assert charge.metadata["booking"] == "AP-1"
    assert isinstance(charge.balance_transaction, stripe.BalanceTransaction)
    assert (charge.balance_transaction.fee, charge.balance_transaction.net) == (95, 4905)
    assert isinstance(intent.customer, stripe.Customer)
    assert box.events() == [
        "customer.created",
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
    ]
    ledger = box.get("/ledger.json")
    assert ledger["balances"] == {
        "usd": {"charged": 5000, "refunded": 0, "disputed": 0, "fees": 95, "net": 4905}
    }
    assert ledger["charges"][0]["metadata"] == {"booking": "AP-1"}


@pytest.mark.parametrize(
    ("method", "code", "decline"),
    [
        ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_visa_chargeDeclinedLostCard", "card_declined", "lost_card"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", "incorrect_cvc"),
        ("pm_card_chargeDeclinedProcessingError", "processing_error", "processing_error"),
    ],
)
def test_a_decline_leaves_a_failed_charge_and_an_open_intent(
    box: Process, method: str, code: str, decline: str
) -> None:
    with pytest.raises(stripe.CardError) as caught:
        pay(box, payment_method=method)
    error = caught.value.error
    assert (caught.value.http_status, caught.value.code, error.decline_code) == (402, code, decline)
    intent = box.stripe().v1.payment_intents.retrieve(error.payment_intent.id)
    assert (intent.status, intent.payment_method) == ("requires_payment_method", None)
    assert intent.last_payment_error.code == code
    assert box.events()[-2:] == ["charge.failed", "payment_intent.payment_failed"]
    paid = box.stripe().v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})
    assert (paid.status, paid.last_payment_error) == ("succeeded", None)
    assert box.get("/ledger.json")["balances"]["usd"]["charged"] == 5000


def test_a_paid_intent_can_be_neither_paid_again_nor_cancelled_nor_changed(box: Process) -> None:
    intent, service = pay(box), box.stripe().v1.payment_intents
    for attempt in (
        lambda: service.confirm(intent.id),
        lambda: service.cancel(intent.id),
        lambda: service.update(intent.id, {"amount": 1}),
        lambda: service.capture(intent.id),
    ):
        with pytest.raises(stripe.InvalidRequestError) as caught:
            attempt()
        assert caught.value.code == "payment_intent_unexpected_state"
    assert service.update(intent.id, {"metadata": {"a": "b"}}).metadata["a"] == "b"


def test_an_open_intent_is_cancelled_once(box: Process) -> None:
    service = box.stripe().v1.payment_intents
    intent = service.create({"amount": 900, "currency": "gbp"})
    cancelled = service.cancel(intent.id, {"cancellation_reason": "abandoned"})
    assert (cancelled.status, cancelled.cancellation_reason) == ("canceled", "abandoned")
    with pytest.raises(stripe.InvalidRequestError):
        service.confirm(intent.id, {"payment_method": "pm_card_visa", "return_url": "https://shop.example/"})
    assert box.events()[-1] == "payment_intent.canceled"


def test_manual_capture_takes_part_and_releases_the_rest(box: Process) -> None:
    intent = pay(box, capture_method="manual")
    assert (intent.status, intent.amount_capturable) == ("requires_capture", 5000)
    assert box.get("/ledger.json")["balances"] == {}
    captured = box.stripe().v1.payment_intents.capture(intent.id, {"amount_to_capture": 2000})
    assert (captured.status, captured.amount_received) == ("succeeded", 2000)
    assert box.get("/ledger.json")["balances"]["usd"]["charged"] == 2000


def test_automatic_methods_need_somewhere_to_return_to(box: Process) -> None:
    service = box.stripe().v1.payment_intents
    with pytest.raises(stripe.InvalidRequestError, match="return_url"):
        service.create({"amount": 900, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True})
    never = {"enabled": True, "allow_redirects": "never"}
    intent = service.create(
        {
            "amount": 900,
            "currency": "usd",
            "payment_method": "pm_card_visa",
            "confirm": True,
            "automatic_payment_methods": never,
        }  # type: ignore[typeddict-item]
    )
    assert intent.status == "succeeded"


def test_lists_are_paged_and_filtered(box: Process) -> None:
    service = box.stripe().v1.payment_intents
    made = [service.create({"amount": 100 + n, "currency": "usd"}).id for n in range(5)]
    box.post("/clock", {"advance_seconds": 1000})
    late = service.create({"amount": 999, "currency": "usd"})
    page = service.list({"limit": 2})
    assert ([item.id for item in page.data], page.has_more) == ([late.id, made[4]], True)
    after = service.list({"limit": 2, "starting_after": made[4]})
    assert [item.id for item in after.data] == [made[3], made[2]]
    before = service.list({"limit": 2, "ending_before": made[2]})
    assert ([item.id for item in before.data], before.has_more) == ([made[4], made[3]], True)
    assert [item.id for item in service.list({"created": {"gte": late.created}}).data] == [late.id]
    assert len(list(service.list({"limit": 2}).auto_paging_iter())) == 6
    with pytest.raises(stripe.InvalidRequestError):
        service.list({"limit": 101})


# Saved cards


def test_a_card_is_saved_charged_off_session_and_forgotten(box: Process) -> None:
    client = box.stripe()
    customer = client.v1.customers.create({"email": "ada@example.com"})
    first = pay(box, customer=customer.id, setup_future_usage="off_session")
    method = str(first.payment_method)
    assert [item.id for item in client.v1.payment_methods.list({"customer": customer.id}).data] == [method]
    assert pay(box, customer=customer.id, payment_method=method, off_session=True).status == "succeeded"
    client.v1.customers.update(customer.id, {"invoice_settings": {"default_payment_method": method}})
    client.v1.payment_methods.detach(method)
    assert client.v1.customers.retrieve(customer.id).invoice_settings.default_payment_method is None
    with pytest.raises(stripe.InvalidRequestError, match="may not be used again"):
        pay(box, payment_method=method)
    assert {"payment_method.attached", "payment_method.detached"} <= set(box.events())


def test_a_card_belongs_to_its_customer(box: Process) -> None:
    client = box.stripe()
    ada, ben = (client.v1.customers.create({"name": name}) for name in ("Ada", "Ben"))
    method = client.v1.payment_methods.attach("pm_card_visa", {"customer": ada.id}).id
    for customer in ({"customer": ben.id}, {}):
        with pytest.raises(stripe.InvalidRequestError):
            pay(box, payment_method=method, **customer)
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.payment_methods.attach(method, {"customer": ben.id})
    with pytest.raises(stripe.CardError):
        client.v1.payment_methods.attach("pm_card_chargeDeclined", {"customer": ada.id})
    client.v1.customers.delete(ada.id)
    assert client.v1.payment_methods.retrieve(method).customer is None
    assert client.v1.customers.retrieve(ada.id).deleted
    assert ada.id not in [item.id for item in client.v1.customers.list().data]


def test_a_card_that_needs_its_owner_fails_off_session(box: Process) -> None:
    client = box.stripe()
    customer = client.v1.customers.create({"name": "Ada"})
    method = client.v1.payment_methods.attach("pm_card_authenticationRequired", {"customer": customer.id}).id
    with pytest.raises(stripe.CardError) as caught:
        pay(box, customer=customer.id, payment_method=method, off_session=True)
    assert caught.value.code == "authentication_required"


def test_a_setup_saves_a_card(box: Process) -> None:
    client = box.stripe()
    customer = client.v1.customers.create({"name": "Ada"})
    setup = client.v1.setup_intents.create({"customer": customer.id, "payment_method_types": ["card"]})
    done = client.v1.setup_intents.confirm(setup.id, {"payment_method": "pm_card_visa"})
    assert done.status == "succeeded"
    assert len(client.v1.customers.payment_methods.list(customer.id).data) == 1
    assert "setup_intent.succeeded" in box.events()
    again = client.v1.setup_intents.create({"payment_method_types": ["card"]})
    assert client.v1.setup_intents.cancel(again.id).status == "canceled"


# Refunds


def test_refunds_never_exceed_the_charge(box: Process) -> None:
    intent, service = pay(box), box.stripe().v1.refunds
    part = service.create({"payment_intent": intent.id, "amount": 2000, "reason": "requested_by_customer"})
    assert (part.status, part.amount) == ("succeeded", 2000)
    with pytest.raises(
        stripe.InvalidRequestError,
        match=r"\(\$30.01\) is greater than unrefunded amount on charge \(\$30.00\)",
    ):
        service.create({"payment_intent": intent.id, "amount": 3001})
    assert service.create({"charge": str(intent.latest_charge)}).amount == 3000
    with pytest.raises(stripe.InvalidRequestError) as caught:
        service.create({"payment_intent": intent.id})
    assert caught.value.code == "charge_already_refunded"
    assert box.get("/ledger.json")["balances"]["usd"] == {
        "charged": 5000,
        "refunded": 5000,
        "disputed": 0,
        "fees": 95,
        "net": -95,
    }
    assert len(service.list({"payment_intent": intent.id}).data) == 2


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"payment_intent": "pi_none"},
        {"amount": 0},
        {"amount": -1},
        {"reason": "bored"},
        {"charge": "ch_x", "payment_intent": "pi_x"},
    ],
)
def test_a_senseless_refund_is_refused(box: Process, body: dict[str, Any]) -> None:
    intent = pay(box)
    if "amount" in body or "reason" in body:
        body = {**body, "payment_intent": intent.id}
    with pytest.raises(stripe.InvalidRequestError):
        box.stripe().v1.refunds.create(body)  # type: ignore[arg-type]
    assert box.get("/ledger.json")["refunds"] == []


def test_an_unpaid_intent_has_nothing_to_refund(box: Process) -> None:
    intent = box.stripe().v1.payment_intents.create({"amount": 900, "currency": "usd"})
    with pytest.raises(stripe.InvalidRequestError, match="does not have a successful charge"):
        box.stripe().v1.refunds.create({"payment_intent": intent.id})


@pytest.mark.parametrize(
    ("method", "outcome"), [("pm_card_pendingRefund", "succeeded"), ("pm_card_refundFail", "failed")]
)
def test_a_pending_refund_moves_with_the_clock(box: Process, method: str, outcome: str) -> None:
    intent, client = pay(box, payment_method=method), box.stripe()
    refund = client.v1.refunds.create({"payment_intent": intent.id, "amount": 5000})
    assert refund.status == "pending"
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.refunds.create({"payment_intent": intent.id, "amount": 1})
    box.post("/clock", {"advance_seconds": 61})
    after = client.v1.refunds.retrieve(
        refund.id, {"expand": ["failure_balance_transaction"]} if outcome == "failed" else {}
    )
    assert after.status == outcome
    charge = client.v1.charges.retrieve(str(intent.latest_charge))
    assert charge.refunded is (outcome == "succeeded")
    assert charge.amount_refunded == (5000 if outcome == "succeeded" else 0)
    assert box.get("/ledger.json")["balances"]["usd"]["refunded"] == charge.amount_refunded
    assert ("refund.failed" in box.events()) is (outcome == "failed")


def test_a_bank_returns_a_finished_refund(box: Process) -> None:
    intent = pay(box)
    refund = box.stripe().v1.refunds.create({"payment_intent": intent.id})
    assert box.post(f"/stripe-refunds/{refund.id}", {"status": "failed"})["status"] == "failed"
    assert box.stripe().v1.charges.retrieve(str(intent.latest_charge)).amount_refunded == 0
    assert box.stripe().v1.refunds.create({"payment_intent": intent.id}).amount == 5000


def test_parallel_refunds_do_not_give_back_too_much(box: Process) -> None:
    intent = pay(box)

    def refund(_: int) -> bool:
        try:
            box.stripe().v1.refunds.create({"payment_intent": intent.id, "amount": 2000})
        except stripe.InvalidRequestError:
            return False
        return True

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(refund, range(8))) == 2
    assert box.get("/ledger.json")["balances"]["usd"]["refunded"] == 4000


def test_balance_transactions_and_expansion(box: Process) -> None:
    client = box.stripe()
    intent = pay(box)
    refund = client.v1.refunds.create(
        {"payment_intent": intent.id, "amount": 1000, "expand": ["balance_transaction", "charge"]}
    )
    assert isinstance(refund.balance_transaction, stripe.BalanceTransaction)
    assert (refund.balance_transaction.amount, refund.balance_transaction.type) == (-1000, "refund")
    assert [entry.type for entry in client.v1.balance_transactions.list().data] == ["refund", "charge"]
    assert client.v1.balance.retrieve().pending[0].amount == 5000 - 95 - 1000
    box.post("/clock", {"advance_seconds": 4 * 86_400})
    assert client.v1.balance.retrieve().available[0].amount == 5000 - 95 - 1000
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        client.v1.payment_intents.retrieve(intent.id, {"expand": ["nonsense"]})
    listed = client.v1.payment_intents.list({"expand": ["data.latest_charge"]})
    assert isinstance(listed.data[0].latest_charge, stripe.Charge)
    assert client.v1.disputes.list().data == []


# Disputes


def _disputed(box: Process, method: str = "pm_card_createDispute") -> stripe.Dispute:
    pay(box, payment_method=method)
    box.post("/clock", {"advance_seconds": 6})
    return box.stripe().v1.disputes.list().data[0]


def _named(name: str, content: bytes) -> io.BytesIO:
    file = io.BytesIO(content)
    file.name = name  # type: ignore[attr-defined]  # the library reads it
    return file


def _events(box: Process) -> list[str]:
    listed = box.stripe().v1.events.list({"limit": 100}).data
    return [event.type for event in reversed(listed) if event.type.startswith("charge.dispute.")]


def test_a_disputing_card_takes_the_money_and_a_fee(box: Process) -> None:
    dispute = _disputed(box)
    assert (dispute.status, dispute.amount, dispute.reason) == ("needs_response", 5000, "fraudulent")
    (entry,) = dispute.balance_transactions
    assert (entry.amount, entry.fee, entry.reporting_category) == (-5000, 1500, "dispute")
    assert box.stripe().v1.charges.retrieve(str(dispute.charge)).disputed
    assert _events(box) == ["charge.dispute.created", "charge.dispute.funds_withdrawn"]
    with pytest.raises(stripe.InvalidRequestError) as caught:
        box.stripe().v1.refunds.create({"charge": str(dispute.charge)})
    assert caught.value.code == "charge_disputed"


@pytest.mark.parametrize(
    ("text", "status", "net"),
    [("winning_evidence", "won", 5000 - 95 - 1500), ("losing_evidence", "lost", -95 - 1500)],
)
def test_the_evidence_decides_as_in_test_mode(box: Process, text: str, status: str, net: int) -> None:
    client, dispute = box.stripe(), _disputed(box)
    file = client.v1.files.create({"purpose": "dispute_evidence", "file": _named("pack.pdf", b"%PDF-1.7")})
    assert (file.size, file.type) == (8, "pdf")
    staged = client.v1.disputes.update(
        dispute.id, {"evidence": {"uncategorized_file": file.id}, "submit": False}
    )
    assert (staged.status, staged.evidence_details.has_evidence) == ("needs_response", True)
    sent = client.v1.disputes.update(dispute.id, {"evidence": {"uncategorized_text": text}})
    assert (sent.status, sent.evidence_details.submission_count) == ("under_review", 1)
    with pytest.raises(stripe.InvalidRequestError, match="can no longer be changed"):
        client.v1.disputes.update(dispute.id, {"evidence": {"customer_name": "Ada"}})
    box.post("/clock", {"advance_seconds": 61})
    assert client.v1.disputes.retrieve(dispute.id).status == status
    assert box.get("/ledger.json")["balances"]["usd"]["net"] == net
    assert _events(box)[-1] == "charge.dispute.closed"
    assert ("charge.dispute.funds_reinstated" in _events(box)) == (status == "won")


def test_an_inquiry_takes_no_money_and_can_be_refunded(box: Process) -> None:
    dispute = _disputed(box, "pm_card_createDisputeInquiry")
    assert (dispute.status, dispute.balance_transactions, dispute.is_charge_refundable) == (
        "warning_needs_response",
        [],
        True,
    )
    box.stripe().v1.refunds.create({"charge": str(dispute.charge)})
    assert (
        box.post(f"/stripe-disputes/{dispute.id}", {"status": "warning_closed"})["status"] == "warning_closed"
    )


def test_accepting_a_dispute_loses_it_and_nonsense_is_refused(box: Process) -> None:
    client, dispute = box.stripe(), _disputed(box)
    with pytest.raises(stripe.InvalidRequestError, match="No such file"):
        client.v1.disputes.update(dispute.id, {"evidence": {"receipt": "file_nonsense"}})
    with pytest.raises(stripe.InvalidRequestError, match="Invalid purpose"):
        client.v1.files.create({"purpose": "identity_document", "file": _named("a.pdf", b"x")})
    assert client.v1.disputes.close(dispute.id).status == "lost"
    with pytest.raises(stripe.InvalidRequestError, match="already closed"):
        client.v1.disputes.close(dispute.id)
