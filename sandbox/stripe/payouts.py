"""Payouts: money leaves the balance for the seller's bank, and arrives days later or comes back."""

from __future__ import annotations

from typing import Any

from sandbox.core import Sandbox
from sandbox.state import identifier
from sandbox.stripe import objects
from sandbox.stripe.call import Call
from sandbox.stripe.errors import StripeError, invalid
from sandbox.stripe.money import check_currency, shown
from sandbox.stripe.objects import Body
from sandbox.stripe.parameters import merge_metadata

DAYS = 2
JOB = "stripe.payout.finish"
BANK = "ba_1SandboxSellersBank"
STATUSES = ("pending", "in_transit", "paid", "failed", "canceled")


def create_payout(call: Call) -> Body:
    """Pay out part of the balance. Pending money counts as well: the sandbox does not make a trainer wait for it."""
    currency = check_currency(call.params["currency"])
    amount = call.params["amount"]
    if amount < 1:
        raise invalid("Invalid positive integer", "amount", "parameter_invalid_integer")
    held = _held(call.box, currency)
    if amount > held:
        raise StripeError(
            f"You have insufficient funds in your Stripe account for this transfer: {shown(held, currency)} is there.",
            code="balance_insufficient",
        )
    payout = _made(call, amount, currency)
    payout["description"] = call.params.get("description")
    payout["statement_descriptor"] = call.params.get("statement_descriptor")
    payout["metadata"] = merge_metadata({}, call.params.get("metadata"))
    entry = _entry(call, payout, "payout", -amount)
    payout["balance_transaction"] = entry["id"]
    call.save(entry)
    call.save(payout)
    _enter(call, "payout", payout, -amount)
    call.box.state.later(call.box.clock.now() + DAYS * 86_400, JOB, {"payout": payout["id"]})
    call.emit("payout.created", payout)
    return call.shown(payout)


def _made(call: Call, amount: int, currency: str) -> Body:
    return {
        "id": identifier("po_1", 23), "object": "payout", "amount": amount, "application_fee": None,
        "application_fee_amount": None, "arrival_date": call.now + DAYS * 86_400 - call.now % 86_400, "automatic": False,
        "balance_transaction": None, "created": call.now, "currency": currency, "description": None, "destination": BANK,
        "failure_balance_transaction": None, "failure_code": None, "failure_message": None, "livemode": False, "metadata": {},
        "method": "standard", "original_payout": None, "payout_method": None, "reconciliation_status": "not_applicable",
        "reversed_by": None, "source_type": "card", "statement_descriptor": None, "status": "in_transit",
        "trace_id": None, "type": "bank_account",
    }  # fmt: skip


def _entry(call: Call, payout: Body, kind: str, amount: int) -> Body:
    """The balance's line; money that is paid out is gone at once."""
    entry = objects.balance_transaction(call.now, kind=kind, source=payout, amount=amount)
    return {**entry, "available_on": call.now, "status": "available"}


def _held(box: Sandbox, currency: str) -> int:
    entries = box.state.select("balance_transaction", equal={"currency": currency}, limit=1_000_000)
    return sum(entry["net"] for entry in entries)


def _enter(call: Call, kind: str, payout: Body, amount: int) -> None:
    call.box.state.enter(
        at=call.box.clock.now(), provider="stripe", kind=kind, currency=payout["currency"], amount_minor=amount,
        object_id=payout["id"], payment_id="", metadata=payout["metadata"],
    )  # fmt: skip


def finish(box: Sandbox, payout_id: str, status: str) -> Body:
    """The bank has it (paid), or sends it back (failed), which it may do after it had it. Raises StripeError."""
    call = Call(box)
    with box.state.transaction():
        payout = call.find("payout", payout_id)
        allowed = {"in_transit": {"paid", "failed"}, "paid": {"failed"}}
        if status not in allowed.get(payout["status"], set()):
            raise StripeError(f"A payout that is {payout['status']} cannot become {status[:40]}.")
        payout["status"] = status
        if status == "failed":
            entry = _entry(call, payout, "payout_failure", payout["amount"])
            call.save(entry)
            payout["failure_balance_transaction"] = entry["id"]
            payout["failure_code"] = "account_closed"
            payout["failure_message"] = "The bank account has been closed."
            _enter(call, "payout_failure", payout, payout["amount"])
        call.save(payout)
        call.emit(f"payout.{status}", payout)
    return payout


def list_payouts(call: Call) -> Body:
    status = call.params.get("status", "")
    if status and status not in STATUSES:
        raise invalid(f"Invalid status: must be one of {', '.join(STATUSES)}", "status")
    return call.page("payout", "/v1/payouts", equal={"status": status})


def retrieve_payout(call: Call, payout_id: str) -> Body:
    return call.shown(call.find("payout", payout_id))


def plug_in(box: Sandbox) -> None:
    """Let the courier bring the money to the bank."""

    def arrives(payload: dict[str, Any]) -> None:
        payout = box.state.get("payout", payload["payout"])
        if payout is not None and payout["status"] == "in_transit":
            finish(box, payout["id"], "paid")

    box.webhooks.handle_jobs(JOB, arrives)
