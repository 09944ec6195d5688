"""Refunds, charges and the balance."""

from __future__ import annotations

from typing import Any

from sandbox.core import Sandbox
from sandbox.stripe import objects
from sandbox.stripe.call import Call
from sandbox.stripe.cards import CARDS
from sandbox.stripe.errors import StripeError, invalid
from sandbox.stripe.money import shown
from sandbox.stripe.objects import Body
from sandbox.stripe.parameters import merge_metadata

# Seconds on the sandbox's clock before a pending refund moves.
PENDING_SECONDS = 60
JOB = "stripe.refund.finish"


def create_refund(call: Call) -> Body:
    charge = _charge_to_refund(call)
    left = charge["amount_captured"] - charge["amount_refunded"]
    if any(
        not dispute["is_charge_refundable"]
        for dispute in call.box.state.select("dispute", equal={"charge": charge["id"]})
    ):
        raise StripeError(
            f"Charge {charge['id']} has been charged back; cannot issue a refund.", code="charge_disputed",
        )  # fmt: skip
    if charge["refunded"] or left <= 0:
        raise StripeError(
            f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded",
        )  # fmt: skip
    amount = call.params.get("amount", left)
    if amount < 1:
        raise invalid("Invalid positive integer", "amount", "parameter_invalid_integer")
    if amount > left:
        money = shown(amount, charge["currency"]), shown(left, charge["currency"])
        raise StripeError(
            f"Refund amount ({money[0]}) is greater than unrefunded amount on charge ({money[1]})",
            param="amount",
        )
    metadata = merge_metadata({}, call.params.get("metadata"))
    refund = objects.refund(
        call.now, charge, amount=amount, reason=call.params.get("reason"), metadata=metadata
    )
    method = CARDS[call.box.state.private(charge["payment_method"])["test_card"]]
    entry = objects.balance_transaction(call.now, kind="refund", source=refund, amount=-amount)
    refund["balance_transaction"] = entry["id"]
    call.save(entry)
    if method.refund != "succeeds":
        refund.update(status="pending", pending_reason="processing")
        _finish_later(call, refund, "failed" if method.refund == "fails_later" else "succeeded")
    call.save(refund)
    _enter(call, "refund", refund, -amount)
    before = {"amount_refunded": charge["amount_refunded"], "refunded": charge["refunded"]}
    _count(charge, amount)
    call.save(charge)
    call.emit("refund.created", refund)
    call.emit("charge.refunded", charge, before)
    return call.shown(refund)


def _charge_to_refund(call: Call) -> Body:
    charge_id, intent_id = call.params.get("charge"), call.params.get("payment_intent")
    if charge_id and intent_id:
        raise invalid("You may only specify one of these parameters: charge, payment_intent.")
    if intent_id:
        intent = call.find("payment_intent", intent_id, "payment_intent")
        if intent["status"] != "succeeded":
            raise StripeError(
                f"This PaymentIntent ({intent_id}) does not have a successful charge to refund.",
                param="payment_intent",
            )
        charge_id = intent["latest_charge"]
    if not charge_id:
        raise invalid(
            "One of the following params should be provided for this request: payment_intent or charge.",
            code="parameter_missing",
        )
    charge = call.find("charge", charge_id, "charge")
    if not charge["paid"] or not charge["captured"]:
        raise StripeError(
            f"Charge {charge_id} cannot be refunded because it was never captured. Cancel its PaymentIntent instead."
            if charge["paid"]
            else f"Charge {charge_id} has failed, so there is nothing to refund.",
            code="charge_not_refundable", param="charge",
        )  # fmt: skip
    return charge


def _count(charge: Body, amount: int) -> None:
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] >= charge["amount_captured"]


def _enter(call: Call, kind: str, refund: Body, amount: int) -> None:
    call.box.state.enter(
        at=call.box.clock.now(), provider="stripe", kind=kind, currency=refund["currency"], amount_minor=amount,
        object_id=refund["id"], payment_id=refund["payment_intent"] or refund["charge"], metadata=refund["metadata"],
    )  # fmt: skip


def _finish_later(call: Call, refund: Body, status: str) -> None:
    call.box.state.later(
        call.box.clock.now() + PENDING_SECONDS, JOB, {"refund": refund["id"], "status": status}
    )


def finish(box: Sandbox, refund_id: str, status: str) -> Body:
    """A bank settles a refund: pending -> succeeded or failed, or succeeded -> failed when the money comes back."""
    call = Call(box)
    with box.state.transaction():
        refund = call.find("refund", refund_id)
        allowed = {"pending": {"succeeded", "failed"}, "succeeded": {"failed"}}
        if status not in allowed.get(refund["status"], set()):
            raise StripeError(f"A refund that is {refund['status']} cannot become {status[:40]}.")
        before: dict[str, Any] = {"status": refund["status"]}
        refund["status"] = status
        refund.pop("pending_reason", None)
        if status == "failed":
            _take_back(call, refund)
        call.save(refund)
        call.emit("refund.updated", refund, before)
        call.emit("charge.refund.updated", refund, before)
        if status == "failed":
            call.emit("refund.failed", refund)
    return refund


def _take_back(call: Call, refund: Body) -> None:
    entry = objects.balance_transaction(
        call.now, kind="refund_failure", source=refund, amount=refund["amount"]
    )
    call.save(entry)
    refund["failure_balance_transaction"] = entry["id"]
    refund["failure_reason"] = "expired_or_canceled_card"
    charge = call.find("charge", refund["charge"])
    before = {"amount_refunded": charge["amount_refunded"], "refunded": charge["refunded"]}
    _count(charge, -refund["amount"])
    call.save(charge)
    _enter(call, "refund_failure", refund, refund["amount"])
    call.emit("charge.updated", charge, before)


def retrieve_refund(call: Call, refund_id: str) -> Body:
    return call.shown(call.find("refund", refund_id))


def update_refund(call: Call, refund_id: str) -> Body:
    refund = call.find("refund", refund_id)
    before = {"metadata": refund["metadata"]}
    refund["metadata"] = merge_metadata(refund["metadata"], call.params.get("metadata"))
    call.save(refund)
    if refund["metadata"] != before["metadata"]:
        call.emit("refund.updated", refund, before)
        call.emit("charge.refund.updated", refund, before)
    return call.shown(refund)


def cancel_refund(call: Call, refund_id: str) -> Body:
    refund = call.find("refund", refund_id)
    raise StripeError(
        f"Refund {refund_id} cannot be canceled because it has a status of {refund['status']}. Only refunds with the "
        "status requires_action may be canceled, and card refunds never have it.",
        code="refund_unexpected_state",
    )  # fmt: skip


def list_refunds(call: Call) -> Body:
    wanted = {name: call.params.get(name, "") for name in ("charge", "payment_intent")}
    return call.page("refund", "/v1/refunds", equal=wanted)


def retrieve_charge(call: Call, charge_id: str) -> Body:
    return call.shown(call.find("charge", charge_id))


def update_charge(call: Call, charge_id: str) -> Body:
    charge = call.find("charge", charge_id)
    before = {name: charge[name] for name in ("metadata", "description", "receipt_email")}
    charge["metadata"] = merge_metadata(charge["metadata"], call.params.get("metadata"))
    call.apply(charge, ("description", "receipt_email"))
    call.save(charge)
    changed = {name: value for name, value in before.items() if charge[name] != value}
    if changed:
        call.emit("charge.updated", charge, changed)
    return call.shown(charge)


def list_charges(call: Call) -> Body:
    wanted = {name: call.params.get(name, "") for name in ("customer", "payment_intent")}
    return call.page("charge", "/v1/charges", equal=wanted)


def list_charge_refunds(call: Call, charge_id: str) -> Body:
    call.find("charge", charge_id)
    return call.page("refund", f"/v1/charges/{charge_id}/refunds", equal={"charge": charge_id})


def _aged(call: Call, entry: Body) -> Body:
    return {**entry, "status": "available"} if entry["available_on"] <= call.now else entry


def retrieve_entry(call: Call, entry_id: str) -> Body:
    return call.shown(_aged(call, call.find("balance_transaction", entry_id)))


def list_entries(call: Call) -> Body:
    wanted = {name: call.params.get(name, "") for name in ("source", "currency", "type")}
    page = call.page("balance_transaction", "/v1/balance_transactions", equal=wanted)
    return {**page, "data": [_aged(call, entry) for entry in page["data"]]}


def balance(call: Call) -> Body:
    sums: dict[str, dict[str, int]] = {"available": {}, "pending": {}}
    for entry in call.box.state.select("balance_transaction", limit=1_000_000):
        side = sums[_aged(call, entry)["status"]]
        side[entry["currency"]] = side.get(entry["currency"], 0) + entry["net"]
    currencies = sorted(set(sums["available"]) | set(sums["pending"])) or ["usd"]
    return {
        "object": "balance",
        **{
            side: [
                {
                    "amount": sums[side].get(code, 0),
                    "currency": code,
                    "source_types": {"card": sums[side].get(code, 0)},
                }
                for code in currencies
            ]
            for side in ("available", "pending")
        },
        "livemode": False,
    }
