"""The seller's bank: payouts made and brought to their end, by hand or by a test."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from sandbox.control import ControlError, ledger_of
from sandbox.core import Sandbox, current
from sandbox.paypal import withdrawals
from sandbox.paypal.errors import PayPalError
from sandbox.stripe import payouts
from sandbox.stripe.call import Call
from sandbox.stripe.errors import StripeError
from sandbox.stripe.money import NO_DECIMALS, THREE_DECIMALS

blueprint = Blueprint("bank", __name__)
NAMES = {"stripe": "Stripe", "paypal": "PayPal"}


@blueprint.errorhandler(ControlError)
@blueprint.errorhandler(StripeError)
@blueprint.errorhandler(PayPalError)
def _refuse(problem: ControlError | StripeError | PayPalError) -> Response:
    response = jsonify(error=_said(problem))
    response.status_code = 400 if isinstance(problem, ControlError) else problem.status
    return response


def _said(problem: ControlError | StripeError | PayPalError) -> str:
    return problem.message if isinstance(problem, StripeError) else str(problem)


def _sent() -> dict[str, Any]:
    sent = request.get_json(force=True, silent=True)
    if not isinstance(sent, dict):
        raise ControlError("Send a JSON object.")
    return sent


def pay_out(box: Sandbox, provider: str, currency: str, amount: int | None = None) -> dict[str, Any]:
    """Pay out an amount in minor units, or all that the provider holds of a currency. Raises ControlError, StripeError, PayPalError."""
    held = ledger_of(box)["providers"].get(provider, {}).get(currency.lower(), {}).get("net", 0)
    if provider not in NAMES:
        raise ControlError(f"provider must be one of {', '.join(NAMES)}.")
    if amount is None and held <= 0:
        raise ControlError(f"{NAMES[provider]} holds no {currency.upper()[:3]} to pay out.")
    wanted = held if amount is None else amount
    if provider == "paypal":
        return withdrawals.withdraw(box, wanted, currency)
    with box.state.transaction():
        return payouts.create_payout(Call(box, params={"amount": wanted, "currency": currency.lower()}))


def end_payout(box: Sandbox, payout_id: str, *, arrived: bool) -> dict[str, Any]:
    """The bank has a payout, or sends it back. Raises StripeError, PayPalError."""
    if payout_id.startswith("po_"):
        return payouts.finish(box, payout_id, "paid" if arrived else "failed")
    return withdrawals.finish(box, payout_id, "COMPLETED" if arrived else "DECLINED")


@blueprint.post("/payouts.json")
def make_payout() -> tuple[Response, int]:
    """{"provider", "currency", "amount_minor"?}: pay out; all that is there without an amount."""
    sent = _sent()
    amount = sent.get("amount_minor")
    if amount is not None and (isinstance(amount, bool) or not isinstance(amount, int)):
        raise ControlError("amount_minor must be a whole number of minor units.")
    made = pay_out(current(), str(sent.get("provider", "stripe")), str(sent.get("currency", "")), amount)
    return jsonify(made), 201


@blueprint.post("/payouts.json/<payout_id>")
def finish_payout(payout_id: str) -> Response:
    """{"status": "paid" | "failed"}: the bank has it, or sends it back."""
    status = _sent().get("status")
    if status not in {"paid", "failed"}:
        raise ControlError("status must be paid or failed.")
    return jsonify(end_payout(current(), payout_id, arrived=status == "paid"))


# The page


def _all(box: Sandbox) -> list[dict[str, Any]]:
    ended = {"PENDING": "in_transit", "COMPLETED": "paid", "DECLINED": "failed"}
    found = [
        {"provider": "Stripe", **{name: one[name] for name in ("id", "amount", "currency", "status", "created")}}
        for one in box.state.select("payout", limit=200)
    ] + [
        {
            "provider": "PayPal", "id": one["id"], "amount": one["amount_minor"], "currency": one["currency"].lower(),
            "status": ended[one["status"]], "created": one["created"],
        }
        for one in box.state.select("paypal_withdrawal", limit=200)
    ]  # fmt: skip
    return sorted(found, key=lambda one: one["created"], reverse=True)


@blueprint.get("/payouts")
def page() -> str:
    box = current()
    held = [
        {"provider": provider, "name": NAMES[provider], "currency": code, "net": sums["net"]}
        for provider, balances in ledger_of(box)["providers"].items()
        for code, sums in balances.items()
    ]
    return render_template(
        "payouts.html", held=held, payouts=_all(box), problem=request.args.get("problem", "")
    )


@blueprint.post("/payouts/make")
def make() -> BaseResponse:
    form, problem = request.form, None
    try:
        code = form.get("currency", "").lower()
        amount = _minor(form["amount"], code) if form.get("amount") else None
        pay_out(current(), form.get("provider", ""), code, amount)
    except (ControlError, StripeError, PayPalError) as error:
        problem = _said(error)
    return redirect(url_for("bank.page", problem=problem), code=303)


@blueprint.post("/payouts/end")
def end() -> BaseResponse:
    problem = None
    try:
        end_payout(current(), request.form.get("id", ""), arrived=request.form.get("value") == "paid")
    except (StripeError, PayPalError) as error:
        problem = _said(error)
    return redirect(url_for("bank.page", problem=problem), code=303)


def _minor(text: str, currency: str) -> int:
    """Read an amount as people write it (10.50)."""
    places = 0 if currency in NO_DECIMALS else 3 if currency in THREE_DECIMALS else 2
    whole, _, rest = text.strip().partition(".")
    if not (
        whole.isascii()
        and whole.isdigit()
        and len(whole) <= 9
        and len(rest) <= places
        and (rest.isdigit() or not rest)
    ):
        raise ControlError("Enter an amount such as 10.50.")
    return int(whole + rest.ljust(places, "0"))
