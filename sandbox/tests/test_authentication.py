"""Cards typed in a browser, and 3-D Secure, over the same HTTP that Stripe.js uses."""

from __future__ import annotations

import urllib.parse
from typing import Any

import pytest
import requests

from sandbox.tests.conftest import PUBLISHABLE_KEY, Process

RETURN = "https://shop.example/return?step=1"


def intent_for(box: Process, **more: Any) -> Any:
    return box.stripe().v1.payment_intents.create(
        {"amount": 5000, "currency": "eur", "metadata": {"secret": "inner"}, **more}
    )


def type_card(box: Process, number: str, **more: str) -> requests.Response:
    card = {"number": number, "exp_month": "12", "exp_year": "34", "cvc": "123", **more}
    return box.raw(
        "POST",
        "payment_methods",
        key=PUBLISHABLE_KEY,
        data={"type": "card", **{f"card[{k}]": v for k, v in card.items()}},
    )


def confirm(box: Process, intent: Any, number: str) -> requests.Response:
    method = type_card(box, number).json()["id"]
    body = {
        "payment_method": method,
        "client_secret": intent.client_secret,
        "return_url": RETURN,
        "use_stripe_sdk": "true",
    }
    return box.raw("POST", f"payment_intents/{intent.id}/confirm", key=PUBLISHABLE_KEY, data=body)


def answer(screen: str, outcome: str, **more: str) -> requests.Response:
    parts = urllib.parse.urlsplit(screen)
    form = {**dict(urllib.parse.parse_qsl(parts.query)), "outcome": outcome, **more}
    return requests.post(parts._replace(query="").geturl(), data=form, allow_redirects=False, timeout=10)


def test_a_typed_card_pays_and_the_page_sees_only_what_is_public(box: Process) -> None:
    paid = confirm(box, intent_for(box), "4242424242424242").json()
    assert paid["status"] == "succeeded"
    assert "metadata" not in paid
    assert "latest_charge" not in paid


def test_card_and_confirmation_may_come_in_one_call(box: Process) -> None:
    intent = intent_for(box)
    card = {"number": "5555555555554444", "exp_month": "1", "exp_year": "2040", "cvc": "999"}
    body = {
        "client_secret": intent.client_secret, "return_url": RETURN, "payment_method_data[type]": "card",
        **{f"payment_method_data[card][{name}]": value for name, value in card.items()},
    }  # fmt: skip
    assert (
        box.raw("POST", f"payment_intents/{intent.id}/confirm", key=PUBLISHABLE_KEY, data=body).json()[
            "status"
        ]
        == "succeeded"
    )


@pytest.mark.parametrize(
    ("card", "code"),
    [
        ({"number": "4242424242424241"}, "incorrect_number"),
        ({"number": "4111111111111111"}, "card_declined"),
        ({"exp_month": "13"}, "invalid_expiry_month"),
        ({"exp_year": "20"}, "invalid_expiry_year"),
        ({"cvc": "12"}, "invalid_cvc"),
    ],
)
def test_a_wrong_card_is_refused(box: Process, card: dict[str, str], code: str) -> None:
    refused = type_card(box, card.pop("number", "4242424242424242"), **card)
    assert (refused.status_code, refused.json()["error"]["code"]) == (402, code)


def test_servers_may_not_send_card_numbers(box: Process) -> None:
    body = {
        "type": "card",
        "card[number]": "4242424242424242",
        "card[exp_month]": "1",
        "card[exp_year]": "40",
    }
    refused = box.raw("POST", "payment_methods", data=body)
    assert "raw card data" in refused.json()["error"]["message"]


@pytest.mark.parametrize("secret", ["", "pi_x_secret_y"])
def test_a_page_needs_the_client_secret(box: Process, secret: str) -> None:
    intent = intent_for(box)
    for method, path in (
        ("GET", f"payment_intents/{intent.id}"),
        ("POST", f"payment_intents/{intent.id}/confirm"),
    ):
        params = (
            {"params": {"client_secret": secret}} if method == "GET" else {"data": {"client_secret": secret}}
        )
        refused = box.raw(method, path, key=PUBLISHABLE_KEY, **params)
        assert refused.status_code == 400, refused.text


def test_the_challenge_is_passed(box: Process) -> None:
    intent = intent_for(box)
    asked = confirm(box, intent, "4000002760003184").json()
    assert (asked["status"], asked["next_action"]["type"]) == ("requires_action", "use_stripe_sdk")
    screen = asked["next_action"]["use_stripe_sdk"]["stripe_js"]
    page = requests.get(screen, timeout=10)
    assert "Complete authentication" in page.text
    assert "50.00 EUR" in page.text
    assert answer(screen, "complete").status_code == 200
    after = box.stripe().v1.payment_intents.retrieve(intent.id, {"expand": ["latest_charge"]})
    assert after.status == "succeeded"
    assert after.latest_charge.payment_method_details.card.three_d_secure.result == "authenticated"
    answer(screen, "fail")
    assert box.stripe().v1.payment_intents.retrieve(intent.id).status == "succeeded"
    assert box.events() == [
        "payment_intent.created",
        "payment_intent.requires_action",
        "charge.succeeded",
        "payment_intent.succeeded",
    ]


def test_the_challenge_is_failed_and_another_card_pays(box: Process) -> None:
    intent = intent_for(box)
    screen = confirm(box, intent, "4000002500003155").json()["next_action"]["use_stripe_sdk"]["stripe_js"]
    answer(screen, "fail")
    failed = box.stripe().v1.payment_intents.retrieve(intent.id)
    assert failed.status == "requires_payment_method"
    assert failed.last_payment_error.code == "payment_intent_authentication_failure"
    assert confirm(box, intent, "4242424242424242").json()["status"] == "succeeded"


def test_a_card_may_pass_the_challenge_and_still_be_declined(box: Process) -> None:
    intent = intent_for(box)
    screen = confirm(box, intent, "4000008400001629").json()["next_action"]["use_stripe_sdk"]["stripe_js"]
    answer(screen, "complete")
    after = box.stripe().v1.payment_intents.retrieve(intent.id)
    assert (after.status, after.last_payment_error.code) == ("requires_payment_method", "card_declined")


@pytest.mark.parametrize(("outcome", "word"), [("complete", "succeeded"), ("fail", "failed")])
def test_a_server_is_sent_through_a_redirect_and_back(box: Process, outcome: str, word: str) -> None:
    asked = intent_for(box, payment_method="pm_card_threeDSecure2Required", confirm=True, return_url=RETURN)
    assert asked.next_action.type == "redirect_to_url"
    back = answer(asked.next_action.redirect_to_url.url, outcome)
    assert back.status_code == 303
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(back.headers["Location"]).query))
    assert query == {
        "step": "1", "payment_intent": asked.id, "payment_intent_client_secret": asked.client_secret, "redirect_status": word,
    }  # fmt: skip


def test_a_forged_or_old_challenge_does_nothing(box: Process) -> None:
    intent = intent_for(box)
    screen = confirm(box, intent, "4000002760003184").json()["next_action"]["use_stripe_sdk"]["stripe_js"]
    assert answer(screen, "complete", attempt="payatt_guess").status_code == 404
    confirm(box, intent, "4000002760003184")
    assert answer(screen, "complete").status_code == 404
    assert box.stripe().v1.payment_intents.retrieve(intent.id).status == "requires_action"


def test_an_abandoned_challenge_can_be_cancelled(box: Process) -> None:
    intent = intent_for(box)
    screen = confirm(box, intent, "4000002760003184").json()["next_action"]["use_stripe_sdk"]["stripe_js"]
    assert box.stripe().v1.payment_intents.cancel(intent.id).status == "canceled"
    answer(screen, "complete")
    assert box.stripe().v1.payment_intents.retrieve(intent.id).status == "canceled"


def test_a_saved_card_is_set_up_with_authentication_once(box: Process) -> None:
    client = box.stripe()
    customer = client.v1.customers.create({"name": "Ada"})
    setup = client.v1.setup_intents.create({"customer": customer.id})
    method = type_card(box, "4000002500003155").json()["id"]
    body = {
        "payment_method": method,
        "client_secret": setup.client_secret,
        "return_url": RETURN,
        "use_stripe_sdk": "true",
    }
    asked = box.raw("POST", f"setup_intents/{setup.id}/confirm", key=PUBLISHABLE_KEY, data=body).json()
    answer(asked["next_action"]["use_stripe_sdk"]["stripe_js"], "complete")
    assert client.v1.setup_intents.retrieve(setup.id).status == "succeeded"
    paid = intent_for(
        box,
        customer=customer.id,
        payment_method=method,
        off_session=True,
        confirm=True,
        payment_method_types=["card"],
    )
    assert paid.status == "succeeded"


def test_pages_of_other_origins_may_call_and_load_the_library(box: Process) -> None:
    asked = requests.options(
        f"{box.url}/stripe/v1/payment_methods", headers={"Origin": "https://shop.example"}, timeout=10
    )
    assert asked.headers["Access-Control-Allow-Origin"] == "*"
    for path in ("/stripe-js/v3/", "/stripe.js"):
        library = requests.get(box.url + path, timeout=10)
        assert "window.Stripe" in library.text
        assert library.headers["Content-Type"].startswith("text/javascript")
    assert "cc-number" in requests.get(f"{box.url}/stripe-js/elements/payment", timeout=10).text
