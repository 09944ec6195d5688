"""The seller moves money from PayPal to the bank. PayPal has no call for it: people do it on PayPal's site."""

from __future__ import annotations

from typing import Any

from sandbox.core import Sandbox
from sandbox.paypal import money
from sandbox.paypal.call import Body, Call, new_id
from sandbox.paypal.errors import refused

DAYS = 1
JOB = "paypal.withdrawal.finish"


def withdraw(box: Sandbox, amount: int, currency: str) -> Body:
    """Withdraw part of what the account holds, in minor units. Raises PayPalError."""
    call = Call(box)
    code = money.check_currency(currency.upper(), "/currency")
    with box.state.transaction():
        row = box.state.row(
            "SELECT ifnull(sum(amount_minor), 0) AS held FROM ledger WHERE provider = 'paypal' AND currency = ?",
            code.lower(),
        )
        held = row["held"] if row else 0
        if not 0 < amount <= held or amount % money.step(code):
            raise refused(
                "INSUFFICIENT_FUNDS",
                f"The account holds {money.shown(held, code)['value']} {code}; withdraw that or less.",
            )
        made = {
            "id": new_id(), "object": "paypal_withdrawal", "created": call.now, "updated": call.now, "status": "PENDING",
            "amount_minor": amount, "currency": code, "returned": None,
        }  # fmt: skip
        call.save(made)
        call.enter("payout", made, -amount)
        box.state.later(box.clock.now() + DAYS * 86_400, JOB, {"withdrawal": made["id"]})
    return made


def finish(box: Sandbox, withdrawal_id: str, status: str) -> Body:
    """COMPLETED: the bank has it. DECLINED: it came back. Raises PayPalError."""
    call = Call(box)
    with box.state.transaction():
        made = call.find("paypal_withdrawal", withdrawal_id)
        allowed = {"PENDING": {"COMPLETED", "DECLINED"}, "COMPLETED": {"DECLINED"}}
        if status not in allowed.get(made["status"], set()):
            raise refused(
                "STATUS_NOT_VALID", f"A withdrawal that is {made['status']} cannot become {status[:40]}."
            )
        made["status"] = status
        made["returned"] = new_id() if status == "DECLINED" else None
        call.save(made)
        if status == "DECLINED":
            call.enter("payout_failure", made, made["amount_minor"])
    return made


def plug_in(box: Sandbox) -> None:
    """Let the courier bring the money to the bank."""

    def arrives(payload: dict[str, Any]) -> None:
        made = box.state.get("paypal_withdrawal", payload["withdrawal"])
        if made is not None and made["status"] == "PENDING":
            finish(box, made["id"], "COMPLETED")

    box.webhooks.handle_jobs(JOB, arrives)
