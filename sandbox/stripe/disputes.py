"""Disputes: the bank takes the money back, evidence is sent, the bank decides."""

from __future__ import annotations

from typing import Any

from sandbox.core import Sandbox
from sandbox.stripe import objects
from sandbox.stripe.call import Call
from sandbox.stripe.errors import StripeError, invalid
from sandbox.stripe.money import NO_DECIMALS, THREE_DECIMALS
from sandbox.stripe.objects import Body
from sandbox.stripe.parameters import merge_metadata

# On the sandbox's clock: until a disputing card disputes, until the bank has decided, until evidence is due.
OPENS_AFTER_SECONDS = 5
DECIDES_AFTER_SECONDS = 60
DUE_AFTER_SECONDS = 9 * 86_400
FEE_MAJOR = 15
OPEN_JOB, DECIDE_JOB, OVERDUE_JOB = "stripe.dispute.open", "stripe.dispute.decide", "stripe.dispute.overdue"
VERDICTS = {
    "winning_evidence": "won",
    "losing_evidence": "lost",
}  # what the text decides, as in Stripe's test mode
NEEDS_RESPONSE = {"needs_response": "under_review", "warning_needs_response": "warning_under_review"}
ENDS = {
    "needs_response": {"won", "lost"},
    "under_review": {"won", "lost"},
    "warning_needs_response": {"warning_closed"},
    "warning_under_review": {"warning_closed"},
}
_FILES = """
    cancellation_policy customer_communication customer_signature duplicate_charge_documentation receipt refund_policy
    service_documentation shipping_documentation uncategorized_file
"""
FILES = frozenset(_FILES.split())


def open_later(box: Sandbox, charge: Body, reason: str) -> None:
    """A card that disputes what it was charged does so a few seconds later."""
    box.state.later(
        box.clock.now() + OPENS_AFTER_SECONDS, OPEN_JOB, {"charge": charge["id"], "reason": reason}
    )


def open_dispute(box: Sandbox, charge_id: str, *, reason: str = "fraudulent", inquiry: bool = False) -> Body:
    """The cardholder disputes what is left of a charge. An inquiry (reason "inquiry" or `inquiry`) takes no money yet.

    Raises StripeError when there is nothing to dispute or it is disputed already.
    """
    call = Call(box)
    inquiry = inquiry or reason == "inquiry"
    with box.state.transaction():
        charge = call.find("charge", charge_id, "charge")
        left = charge["amount_captured"] - charge["amount_refunded"]
        if charge["disputed"] or left <= 0:
            raise StripeError(
                f"Charge {charge_id} is disputed already, or nothing of it is left.", param="charge"
            )
        dispute = objects.dispute(
            call.now, charge, amount=left, reason="general" if reason == "inquiry" else reason, inquiry=inquiry,
            due_by=call.now + DUE_AFTER_SECONDS,
        )  # fmt: skip
        charge["disputed"] = True
        call.save(dispute)
        call.save(charge)
        box.state.later(box.clock.now() + DUE_AFTER_SECONDS, OVERDUE_JOB, {"dispute": dispute["id"]})
        call.emit("charge.dispute.created", dispute)
        call.emit("charge.updated", charge, {"disputed": False})
        if not inquiry:
            _move(call, dispute, -left, fee=FEE_MAJOR * _units(dispute["currency"]))
            call.emit("charge.dispute.funds_withdrawn", dispute)
    return dispute


def decide(box: Sandbox, dispute_id: str, status: str) -> Body:
    """The bank decides: won, lost, or an inquiry is closed. Raises StripeError for what cannot follow."""
    call = Call(box)
    with box.state.transaction():
        dispute = call.find("dispute", dispute_id)
        if status not in ENDS.get(dispute["status"], ()):
            raise StripeError(f"A dispute that is {dispute['status']} cannot become {status[:40]}.")
        _end(call, dispute, status)
    return dispute


def _end(call: Call, dispute: Body, status: str) -> None:
    before = {"status": dispute["status"]}
    dispute["status"] = status
    if status == "won":
        dispute["is_charge_refundable"] = True
        _move(call, dispute, dispute["amount"], fee=0)
        call.emit("charge.dispute.funds_reinstated", dispute)
    call.save(dispute)
    call.emit("charge.dispute.closed", dispute, before)


def list_disputes(call: Call) -> Body:
    wanted = {name: call.params.get(name, "") for name in ("charge", "payment_intent")}
    return call.page("dispute", "/v1/disputes", equal=wanted)


def retrieve_dispute(call: Call, dispute_id: str) -> Body:
    return call.shown(call.find("dispute", dispute_id))


def update_dispute(call: Call, dispute_id: str) -> Body:
    """Stage evidence or, unless submit is false, send it to the bank: that works while a response is needed."""
    dispute = call.find("dispute", dispute_id)
    dispute["metadata"] = merge_metadata(dispute["metadata"], call.params.get("metadata"))
    evidence = call.params.get("evidence")
    if evidence is not None:
        if dispute["status"] not in NEEDS_RESPONSE:
            raise StripeError(
                "This dispute is already closed or under review; its evidence can no longer be changed."
            )
        for name, value in evidence.items():
            if name not in dispute["evidence"] or isinstance(value, dict):
                raise invalid(
                    f"The sandbox does not play the evidence {name}, and ignores none.", f"evidence[{name}]"
                )
            if name in FILES and value:
                call.find("file", value, f"evidence[{name}]")
            dispute["evidence"][name] = value or None
        dispute["evidence_details"]["has_evidence"] = any(dispute["evidence"].values())
        if call.params.get("submit", True):
            _submit(call, dispute)
    call.save(dispute)
    call.emit("charge.dispute.updated", dispute)
    return call.shown(dispute)


def _submit(call: Call, dispute: Body) -> None:
    dispute["evidence_details"]["submission_count"] += 1
    dispute["status"] = NEEDS_RESPONSE[dispute["status"]]
    text = (dispute["evidence"]["uncategorized_text"] or "").strip()
    verdict = next((status for word, status in VERDICTS.items() if word in text), "")
    if verdict and dispute["status"] == "under_review":
        call.box.state.later(
            call.box.clock.now() + DECIDES_AFTER_SECONDS,
            DECIDE_JOB,
            {"dispute": dispute["id"], "status": verdict},
        )


def close_dispute(call: Call, dispute_id: str) -> Body:
    """Accept the dispute: it is lost."""
    dispute = call.find("dispute", dispute_id)
    if "lost" not in ENDS.get(dispute["status"], ()):
        raise StripeError("This dispute is already closed.")
    _end(call, dispute, "lost")
    return call.shown(dispute)


def keep_file(call: Call, *, filename: str, content: bytes, purpose: str) -> Body:
    """Keep an uploaded file: its facts as Stripe shows them, its bytes for the sandbox's own pages and tests."""
    body = objects.file(call.now, filename=filename, size=len(content), purpose=purpose)
    return call.save(body, {"content_hex": content.hex()})


def retrieve_file(call: Call, file_id: str) -> Body:
    return call.shown(call.find("file", file_id))


def _move(call: Call, dispute: Body, amount: int, *, fee: int) -> None:
    """Money leaves or comes back: on the dispute, in the balance, and in the sandbox's ledger."""
    entry = objects.dispute_entry(call.now, dispute, amount=amount, fee=fee)
    dispute["balance_transactions"].append(entry)
    call.save(entry)
    call.save(dispute)
    kinds: list[tuple[str, int]] = [("dispute" if amount < 0 else "dispute_reversal", amount)]
    if fee:
        kinds.append(("dispute_fee", -fee))
    for kind, value in kinds:
        call.box.state.enter(
            at=call.box.clock.now(), provider="stripe", kind=kind, currency=dispute["currency"], amount_minor=value,
            object_id=dispute["id"], payment_id=dispute["payment_intent"] or dispute["charge"], metadata={},
        )  # fmt: skip


def _units(currency: str) -> int:
    return 1 if currency in NO_DECIMALS else 1_000 if currency in THREE_DECIMALS else 100


def plug_in(box: Sandbox) -> None:
    """Let the courier carry out what cardholders and banks do later."""

    def opens(payload: dict[str, Any]) -> None:
        charge = box.state.get("charge", payload["charge"])
        if charge is not None and not charge["disputed"] and not charge["refunded"]:
            open_dispute(box, payload["charge"], reason=payload["reason"])

    def decides(payload: dict[str, Any]) -> None:
        dispute = box.state.get("dispute", payload["dispute"])
        if dispute is not None and payload["status"] in ENDS.get(dispute["status"], ()):
            decide(box, payload["dispute"], payload["status"])

    def runs_out(payload: dict[str, Any]) -> None:
        """Nobody answered in time: the bank keeps the money, and an inquiry is closed."""
        dispute = box.state.get("dispute", payload["dispute"])
        if dispute is not None and dispute["status"] in NEEDS_RESPONSE:
            decide(box, dispute["id"], "lost" if dispute["status"] == "needs_response" else "warning_closed")

    box.webhooks.handle_jobs(OVERDUE_JOB, runs_out)
    box.webhooks.handle_jobs(OPEN_JOB, opens)
    box.webhooks.handle_jobs(DECIDE_JOB, decides)
