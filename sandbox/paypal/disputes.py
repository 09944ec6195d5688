"""Disputes: a buyer complains, the money is held, the seller answers, PayPal decides."""

from __future__ import annotations

from typing import Any

from sandbox.core import Sandbox
from sandbox.paypal import ipn, money
from sandbox.paypal.buyers import PAYER
from sandbox.paypal.call import Answer, Body, Call, iso, new_id
from sandbox.paypal.errors import malformed, refused
from sandbox.paypal.parameters import ACCEPTANCE, EVIDENCE
from sandbox.paypal.reporting import moment, number

JOB = "paypal.dispute.overdue"
ANSWER_DAYS = 10
WAITING, REVIEW, RESOLVED = "WAITING_FOR_SELLER_RESPONSE", "UNDER_REVIEW", "RESOLVED"
STATES = {WAITING: "REQUIRED_ACTION", REVIEW: "UNDER_PAYPAL_REVIEW", RESOLVED: "RESOLVED"}
WON, LOST = "RESOLVED_SELLER_FAVOUR", "RESOLVED_BUYER_FAVOUR"
INQUIRY, CHARGEBACK = "INQUIRY", "CHARGEBACK"
CHANNELS = ("INTERNAL", "EXTERNAL")  # opened at PayPal, or by the buyer's bank, which costs the seller a fee
FEE_MAJOR = 20
REASONS = (
    "MERCHANDISE_OR_SERVICE_NOT_AS_DESCRIBED", "MERCHANDISE_OR_SERVICE_NOT_RECEIVED", "UNAUTHORISED", "CREDIT_NOT_PROCESSED",
    "DUPLICATE_TRANSACTION", "INCORRECT_AMOUNT", "PAYMENT_BY_OTHER_MEANS", "CANCELED_RECURRING_BILLING",
    "PROBLEM_WITH_REMITTANCE", "OTHER",
)  # fmt: skip
FILE_TYPES = ("application/pdf", "image/gif", "image/jpeg", "image/png", "text/plain")
QUERY = "start_time disputed_transaction_id dispute_state page_size next_page_token"


def open_dispute(
    box: Sandbox, capture_id: str, *, reason: str = "", amount_minor: int | None = None,
    stage: str = CHARGEBACK, channel: str = "INTERNAL",
) -> Body:  # fmt: skip
    """A buyer disputes a capture; its money is held at once, unless the buyer only asks (INQUIRY). Raises PayPalError."""
    call = Call(box)
    with box.state.transaction():
        capture = call.find("paypal_capture", capture_id)
        left = capture["amount_minor"] - capture["refunded_minor"]
        amount = left if amount_minor is None else amount_minor
        if capture["status"] not in {"COMPLETED", "PARTIALLY_REFUNDED"} or of_capture(call, capture):
            raise refused("NOT_DISPUTABLE", "Only a completed capture can be disputed, and only once.")
        if reason and reason not in REASONS:
            raise refused("NOT_DISPUTABLE", f"reason must be one of {', '.join(REASONS)}.")
        if stage not in {INQUIRY, CHARGEBACK} or channel not in CHANNELS:
            raise refused("NOT_DISPUTABLE", "stage is INQUIRY or CHARGEBACK, channel INTERNAL or EXTERNAL.")
        unit = money.step(capture["currency"])
        if not 0 < amount <= left or amount % unit:
            raise refused(
                "NOT_DISPUTABLE", f"amount_minor must be from {unit} to {left}, in steps of {unit}."
            )
        dispute = {
            "id": f"PP-R-{new_id(3)}-{new_id(9)}", "object": "paypal_dispute", "created": call.now, "updated": call.now,
            "capture": capture["id"], "amount_minor": amount, "currency": capture["currency"],
            "reason": reason or REASONS[0], "status": WAITING, "outcome": None, "evidences": [], "hold": None,
            "release": None, "stage": stage, "channel": channel, "due": 0, "fee_minor": 0, "ended": None,
            "custom_id": capture["custom_id"], "invoice_id": capture["invoice_id"],
        }  # fmt: skip
        _ask_seller(call, dispute)
        if stage == CHARGEBACK:
            _hold(call, dispute)
        call.save(dispute)
        call.emit("CUSTOMER.DISPUTE.CREATED", shown(call, dispute))
    return shown(call, dispute)


def _ask_seller(call: Call, dispute: Body) -> None:
    """The seller has ANSWER_DAYS from now."""
    dispute.update(status=WAITING, due=call.now + ANSWER_DAYS * 86_400)
    due_at = call.box.clock.now() + ANSWER_DAYS * 86_400
    call.box.state.later(due_at, JOB, {"dispute": dispute["id"], "due": dispute["due"]})


def _hold(call: Call, dispute: Body) -> None:
    dispute["hold"] = new_id()
    call.enter("dispute", dispute, -dispute["amount_minor"])
    capture = call.find("paypal_capture", dispute["capture"])
    ipn.post(call, "Reversed", capture, {**dispute, "id": dispute["hold"]}, -dispute["amount_minor"])


def of_capture(call: Call, capture: Body) -> Body | None:
    """The capture's dispute that is open or lost; a won one is over."""
    found = call.box.state.select("paypal_dispute", equal={"capture": capture["id"]})
    return next((dispute for dispute in found if dispute["outcome"] != WON), None)


def resolve(box: Sandbox, dispute_id: str, outcome: str) -> Body:
    """PayPal decides: "won" gives the held money back to the seller, "lost" leaves it with the buyer. Or the buyer escalates an inquiry
    ("escalated"), or PayPal wants to know more ("asked")."""
    call = Call(box)
    with box.state.transaction():
        dispute = call.find("paypal_dispute", dispute_id)
        possible = {"won", "lost", "asked", *(["escalated"] if dispute["stage"] == INQUIRY else [])}
        if dispute["status"] == RESOLVED or outcome not in possible:
            raise refused("DISPUTE_NOT_OPEN", f"An open dispute can be {', '.join(sorted(possible))}.")
        if outcome in {"won", "lost"}:
            _end(call, dispute, WON if outcome == "won" else LOST)
        else:
            _ask_seller(call, dispute)
            if outcome == "escalated":
                dispute["stage"] = CHARGEBACK
                _hold(call, dispute)
            call.save(dispute)
            call.emit("CUSTOMER.DISPUTE.UPDATED", shown(call, dispute))
    return shown(call, dispute)


def refund_instead(call: Call, dispute: Body) -> None:
    """A full refund answers the complaint: the hold ends, because the refund takes the money."""
    _end(call, dispute, LOST, release=True)


def overdue(box: Sandbox, payload: dict[str, Any]) -> None:
    """Nobody answered in time: the buyer wins."""
    dispute = box.state.get("paypal_dispute", payload["dispute"])
    if dispute is not None and dispute["status"] == WAITING and dispute["due"] == payload["due"]:
        resolve(box, dispute["id"], "lost")


def _end(call: Call, dispute: Body, outcome: str, *, release: bool = False) -> None:
    dispute.update(status=RESOLVED, outcome=outcome, ended=call.now)
    if outcome == LOST and not release:
        if not dispute["hold"]:
            _hold(call, dispute)
        if dispute["channel"] == "EXTERNAL":
            dispute["fee_minor"] = FEE_MAJOR * (1 if dispute["currency"] == "JPY" else 100)
            call.enter("dispute_fee", dispute, -dispute["fee_minor"])
    elif dispute["hold"]:
        dispute["release"] = new_id()
        call.enter("dispute_reversal", dispute, dispute["amount_minor"])
        capture = call.find("paypal_capture", dispute["capture"])
        moved = {**dispute, "id": dispute["release"]}
        ipn.post(call, "Canceled_Reversal", capture, moved, dispute["amount_minor"])
    call.save(dispute)
    call.emit("CUSTOMER.DISPUTE.RESOLVED", shown(call, dispute))


def shown(call: Call, dispute: Body) -> Body:
    amount = money.shown(dispute["amount_minor"], dispute["currency"])
    path = f"/v1/customer/disputes/{dispute['id']}"
    links = [call.link(path)]
    if dispute["status"] == WAITING:
        links.append(call.link(f"{path}/provide-evidence", "provide_evidence", "POST"))
    if dispute["status"] != RESOLVED:
        links.append(call.link(f"{path}/accept-claim", "accept_claim", "POST"))
    capture = call.find("paypal_capture", dispute["capture"])
    bought = {
        "seller_transaction_id": capture["id"], "buyer_transaction_id": capture["id"],
        "create_time": iso(capture["created"]), "transaction_status": "COMPLETED",
        "gross_amount": money.shown(capture["amount_minor"], capture["currency"]),
        "buyer": {"name": f"{PAYER['name']['given_name']} {PAYER['name']['surname']}"},  # type: ignore[index]
        "seller": {"email": call.box.options.paypal_email, "merchant_id": call.box.options.paypal_merchant_id},
        **{name: capture[field] for field, name in (("invoice_id", "invoice_number"), ("custom_id", "custom")) if capture[field]},
    }  # fmt: skip
    whole: Body = {
        "dispute_id": dispute["id"], "create_time": iso(dispute["created"]), "update_time": iso(dispute["updated"]),
        "disputed_transactions": [bought], "reason": dispute["reason"], "status": dispute["status"],
        "dispute_state": STATES[dispute["status"]], "dispute_amount": amount, "dispute_life_cycle_stage": dispute["stage"],
        "dispute_channel": dispute["channel"],
    }  # fmt: skip
    if dispute["status"] == WAITING:
        whole["seller_response_due_date"] = iso(dispute["due"])
    if dispute["status"] != RESOLVED:
        whole["allowed_response_options"] = {"accept_claim": {"accept_claim_types": ["REFUND"]}}
    if dispute["outcome"] == LOST and not dispute["release"] and dispute["hold"]:
        whole["money_movements"] = [
            {
                "affected_party": "SELLER", "type": "DEBIT", "reason": reason, "initiated_time": iso(dispute["ended"]),
                "amount": money.shown(moved, dispute["currency"]),
            }
            for moved, reason in ((dispute["amount_minor"], "DISPUTE_SETTLEMENT"), (dispute["fee_minor"], "CHARGEBACK_FEE"))
            if moved
        ]  # fmt: skip
    if dispute["outcome"]:
        returned = amount if dispute["outcome"] == LOST else money.shown(0, dispute["currency"])
        whole["dispute_outcome"] = {"outcome_code": dispute["outcome"], "amount_refunded": returned}
    if dispute["evidences"]:
        whole["evidences"] = dispute["evidences"]
    return {**whole, "links": links}


def list_disputes(call: Call) -> Answer:
    """Newest first."""
    size = number(call, "page_size", 10, 50)
    skip = number(call, "next_page_token", 1, 100_000) - 1
    wanted = call.query.get("dispute_state", ",".join(STATES.values())).split(",")
    if not set(wanted) <= set(STATES.values()):
        raise malformed(
            "dispute_state",
            "INVALID_PARAMETER_VALUE",
            f"Choose from {', '.join(STATES.values())}.",
            location="query",
        )
    began = moment(call, "start_time") if "start_time" in call.query else 0.0
    about = call.query.get("disputed_transaction_id")
    found = [
        dispute
        for dispute in call.box.state.select("paypal_dispute", limit=100_000)
        if STATES[dispute["status"]] in wanted
        and dispute["created"] >= began
        and about in {None, dispute["capture"]}
    ]
    kept = (
        "dispute_id", "create_time", "update_time", "reason", "status", "dispute_state", "dispute_amount",
        "dispute_life_cycle_stage", "dispute_channel", "seller_response_due_date",
    )  # fmt: skip
    items = []
    for dispute in found[skip : skip + size]:
        whole = shown(call, dispute)
        items.append({**{name: whole[name] for name in kept if name in whole}, "links": whole["links"][:1]})
    links = [call.link("/v1/customer/disputes")]
    if len(found) > skip + size:
        links.append(
            call.link(f"/v1/customer/disputes?page_size={size}&next_page_token={skip + size + 1}", "next")
        )
    return 200, {"items": items, "links": links}


def get(call: Call, dispute_id: str) -> Answer:
    return 200, shown(call, call.find("paypal_dispute", dispute_id))


def _waiting(call: Call, dispute_id: str) -> Body:
    dispute = call.find("paypal_dispute", dispute_id)
    if dispute["status"] == RESOLVED:
        raise refused("ACTION_NOT_ALLOWED_IN_CURRENT_DISPUTE_STATE", "The dispute is resolved.")
    return dispute


def provide_evidence(call: Call, dispute_id: str) -> Answer:
    """Multipart: a part `input` with JSON, and files. PayPal looks at it next. Only while it waits for the seller."""
    EVIDENCE(call.body, "")
    dispute = _waiting(call, dispute_id)
    if dispute["status"] != WAITING or call.now > dispute["due"]:
        raise refused(
            "ACTION_NOT_ALLOWED_IN_CURRENT_DISPUTE_STATE", "The dispute does not wait for the seller."
        )
    for name, kind, _ in call.files:
        if kind not in FILE_TYPES:
            raise malformed(
                "file", "INVALID_PARAMETER_VALUE", f"A file must be one of {', '.join(FILE_TYPES)}.", name
            )
    documents = [{"name": name, "size_in_bytes": size} for name, _, size in call.files]
    for evidence in call.body["evidences"]:
        told = {**evidence, "date": iso(call.now), "source": "SUBMITTED_BY_SELLER"}
        dispute["evidences"].append({**told, "documents": documents} if documents else told)
    dispute["status"] = REVIEW
    call.save(dispute)
    call.emit("CUSTOMER.DISPUTE.UPDATED", shown(call, dispute))
    return 200, {"links": [call.link(f"/v1/customer/disputes/{dispute_id}")]}


def accept_claim(call: Call, dispute_id: str) -> Answer:
    """The seller gives in; the buyer keeps the held money."""
    ACCEPTANCE(call.body, "")
    _end(call, _waiting(call, dispute_id), LOST)
    return 200, {"links": [call.link(f"/v1/customer/disputes/{dispute_id}")]}
