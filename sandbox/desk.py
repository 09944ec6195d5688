"""What a seller, a bank or a buyer does outside the shop: the buttons of the payment pages.

Each acts as the provider's dashboard would: through the provider's own rules, with its own events and ledger lines.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sandbox.core import Sandbox
from sandbox.paypal import disputes as paypal_disputes
from sandbox.paypal import money as paypal_money
from sandbox.paypal import payments as paypal_payments
from sandbox.paypal.call import Call as PayPalCall
from sandbox.stripe import disputes, refunds
from sandbox.stripe.call import Call
from sandbox.stripe.money import major

REFUNDABLE = ("COMPLETED", "PARTIALLY_REFUNDED")


class Done(NamedTuple):
    """What was done, in words, and the page of the payment that it was done to."""

    text: str
    path: str


def refund_at_stripe(box: Sandbox, intent_id: str, amount_minor: int | None = None) -> dict[str, Any]:
    """Refund a payment as in Stripe's dashboard, in full or in part. Raises StripeError."""
    wanted: dict[str, Any] = {"payment_intent": intent_id}
    if amount_minor is not None:
        wanted["amount"] = amount_minor
    with box.state.transaction():
        return refunds.create_refund(Call(box, params=wanted))


def refund_at_paypal(box: Sandbox, capture_id: str, amount_minor: int | None = None) -> dict[str, Any]:
    """Refund a capture as in PayPal's dashboard, in full or in part. Raises PayPalError."""
    call = PayPalCall(box, full=True)
    with box.state.transaction():
        capture = call.find("paypal_capture", capture_id)
        if amount_minor is not None:
            call.body = {"amount": paypal_money.shown(amount_minor, capture["currency"])}
        _status, refund = paypal_payments.refund_capture(call, capture_id)
    assert refund is not None  # a refund always answers with itself
    return refund


# Acts on whatever is latest: None when there is nothing to act upon.


def _latest(box: Sandbox) -> list[tuple[str, dict[str, Any]]]:
    """Charges of both providers of which money is left and nothing is disputed, newest first."""
    call = PayPalCall(box)
    found = [
        ("stripe", charge)
        for charge in box.state.select("charge", limit=500)
        if charge["payment_intent"]
        and not charge["disputed"]
        and charge["amount_captured"] > charge["amount_refunded"]
    ] + [
        ("paypal", capture)
        for capture in box.state.select("paypal_capture", limit=500)
        if capture["status"] in REFUNDABLE and paypal_disputes.of_capture(call, capture) is None
    ]
    return sorted(found, key=lambda item: item[1]["created"], reverse=True)


def dispute_latest(box: Sandbox) -> Done | None:
    for provider, charge in _latest(box)[:1]:
        if provider == "stripe":
            made = disputes.open_dispute(box, charge["id"])
            text = f"{major(made['amount'], made['currency'])} {made['currency'].upper()} are disputed as fraudulent at Stripe"
            return Done(text, f"/stripe-payments/{charge['payment_intent']}")
        opened = paypal_disputes.open_dispute(box, charge["id"])
        amount = opened["dispute_amount"]
        text = f"{amount['value']} {amount['currency_code']} are disputed at PayPal"
        return Done(text, f"/paypal-payments/{charge['order']}")
    return None


def refund_half_of_latest(box: Sandbox) -> Done | None:
    for provider, charge in _latest(box)[:1]:
        if provider == "stripe":
            half = max((charge["amount_captured"] - charge["amount_refunded"]) // 2, 1)
            refund_at_stripe(box, charge["payment_intent"], half)
            path, name = f"/stripe-payments/{charge['payment_intent']}", "Stripe"
        else:
            step = paypal_money.step(charge["currency"])
            half = max((charge["amount_minor"] - charge["refunded_minor"]) // 2 // step * step, step)
            refund_at_paypal(box, charge["id"], half)
            path, name = f"/paypal-payments/{charge['order']}", "PayPal"
        currency = charge["currency"].lower()
        return Done(f"{major(half, currency)} {currency.upper()} were refunded in {name}'s dashboard", path)
    return None


def return_latest_refund(box: Sandbox) -> Done | None:
    """The bank returns the newest refund that reached it."""
    found = [
        ("stripe", refund)
        for refund in box.state.select("refund", limit=200)
        if refund["status"] in {"pending", "succeeded"} and refund["payment_intent"]
    ] + [
        ("paypal", refund)
        for refund in box.state.select("paypal_refund", limit=200)
        if refund["status"] in {"PENDING", "COMPLETED"}
    ]
    for provider, refund in sorted(found, key=lambda item: item[1]["created"], reverse=True)[:1]:
        if provider == "stripe":
            refunds.finish(box, refund["id"], "failed")
            amount, path = refund["amount"], f"/stripe-payments/{refund['payment_intent']}"
        else:
            paypal_payments.finish_refund(box, refund["id"], "FAILED")
            capture = PayPalCall(box).find("paypal_capture", refund["capture"])
            amount, path = refund["amount_minor"], f"/paypal-payments/{capture['order']}"
        currency = refund["currency"].lower()
        return Done(f"The bank returned a refund of {major(amount, currency)} {currency.upper()}", path)
    return None
