"""Control for tests and people: JSON in, JSON out."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, jsonify, make_response, render_template, request

from sandbox import desk, sendgrid, training, twilio
from sandbox.clock import ClockError
from sandbox.core import Sandbox, current
from sandbox.faults import BEHAVIOURS, FaultError
from sandbox.paypal import disputes as paypal_disputes
from sandbox.paypal import payments as paypal_payments
from sandbox.paypal.errors import PayPalError
from sandbox.stripe import disputes, refunds
from sandbox.stripe.errors import StripeError
from sandbox.webhooks import WebhookError

HERE = Path(__file__).parent
blueprint = Blueprint("control", __name__)


class ControlError(ValueError):
    """A control call that cannot be carried out; the message says what to send instead."""


@blueprint.errorhandler(ControlError)
@blueprint.errorhandler(FaultError)
@blueprint.errorhandler(ClockError)
@blueprint.errorhandler(WebhookError)
@blueprint.errorhandler(training.TrainingError)
def _refuse(problem: ValueError) -> Response:
    response = jsonify(error=str(problem))
    response.status_code = 404 if str(problem).startswith("There is no ") else 400
    return response


@blueprint.errorhandler(training.NothingToActOnError)
def _refuse_for_now(problem: ValueError) -> Response:
    response = jsonify(error=str(problem))
    response.status_code = 409
    return response


@blueprint.errorhandler(StripeError)
def _refuse_stripe(problem: StripeError) -> Response:
    response = jsonify(error=problem.message)
    response.status_code = problem.status
    return response


@blueprint.errorhandler(PayPalError)
def _refuse_paypal(problem: PayPalError) -> Response:
    response = jsonify(error=str(problem))
    response.status_code = problem.status
    return response


@blueprint.errorhandler(twilio.SmsError)
def _refuse_sms(problem: twilio.SmsError) -> Response:
    response = jsonify(error=problem.message)
    response.status_code = problem.status
    return response


def _body() -> dict[str, Any]:
    if not request.get_data():
        return {}
    try:
        sent = json.loads(request.get_data())
    except (ValueError, RecursionError) as problem:
        raise ControlError("Send a JSON object.") from problem
    if not isinstance(sent, dict):
        raise ControlError("Send a JSON object.")
    try:
        text = json.dumps(sent, ensure_ascii=False).encode()
    except UnicodeEncodeError as problem:
        raise ControlError(
            "The text holds half a character (a lone surrogate); send whole ones."
        ) from problem
    if b"\\u0000" in text:
        raise ControlError("The text holds a NUL character; leave it out.")
    return sent


def _limit(default: int = 1_000) -> int:
    try:
        return min(max(int(request.args.get("limit", default)), 1), 100_000)
    except ValueError as problem:
        raise ControlError("limit must be a whole number.") from problem


# Reading


@blueprint.get("/health")
def health() -> Response:
    return jsonify(status="ok", name="provider sandbox", time=current().clock.moment().isoformat())


@blueprint.get("/keys.json")
def keys() -> Response:
    """The public halves of the signing keys: SendGrid's as anymail's setting takes it, PayPal's as a certificate."""
    box = current()
    return jsonify(
        sendgrid={"public_key": box.webhooks.sendgrid_key.public_key},
        paypal={"certificate": box.parts["paypal_signer"].certificate},
    )


@blueprint.get("/mail.json")
def mail() -> Response:
    return jsonify(mail=sendgrid.mails(current(), to=request.args.get("to", ""), limit=_limit()))


@blueprint.get("/sms.json")
def sms() -> Response:
    return jsonify(sms=twilio.everything(current(), number=request.args.get("number", ""), limit=_limit()))


@blueprint.post("/sms.json")
def answer_sms() -> tuple[Response, int]:
    """{"from": "+49...", "to": our number, "body": "STOP"}: an answer from the sandbox phone."""
    sent = _body()
    record = twilio.receive(
        current(),
        phone=str(sent.get("from", "")),
        number=str(sent.get("to", "")),
        body=str(sent.get("body", "")),
    )
    return jsonify(record), 201


def paypal_status(record: dict[str, Any]) -> str:
    """PayPal's word for a capture or refund in the words that the ledger uses for Stripe's."""
    return {"PENDING": "pending", "DECLINED": "failed", "FAILED": "failed"}.get(record["status"], "succeeded")


# What an entry of the ledger counts towards; anything else is a refund or one that came back.
SUMS = {
    "charge": ("charged", 1), "fee": ("fees", -1), "dispute": ("disputed", -1), "dispute_reversal": ("disputed", -1),
    "dispute_fee": ("fees", -1), "payout": ("paid_out", -1), "payout_failure": ("paid_out", -1),
}  # fmt: skip


def _add(balances: dict[str, dict[str, int]], entry: dict[str, Any]) -> None:
    sums = balances.setdefault(
        entry["currency"], {"charged": 0, "refunded": 0, "disputed": 0, "fees": 0, "net": 0}
    )
    name, sign = SUMS.get(entry["kind"], ("refunded", -1))
    sums[name] = sums.get(name, 0) + sign * entry["amount_minor"]
    sums["net"] += entry["amount_minor"]


def ledger_of(box: Sandbox) -> dict[str, Any]:
    """Ground truth about money: every charge and refund, every entry, and the sums per currency and per provider."""
    with box.state.transaction():
        charges = box.state.select("charge", limit=1_000_000)
        returned = box.state.select("refund", limit=1_000_000)
        captures = box.state.select("paypal_capture", limit=1_000_000)
        given_back = box.state.select("paypal_refund", limit=1_000_000)
        rows = [dict(row) for row in box.state.rows("SELECT * FROM ledger ORDER BY seq")]
    entries = [{**row, "metadata": json.loads(row["metadata"])} for row in rows]
    providers: dict[str, dict[str, dict[str, int]]] = {}
    for entry in entries:
        _add(providers.setdefault(entry["provider"], {}), entry)
    balances: dict[str, dict[str, int]] = {}
    for entry in entries:
        _add(balances, entry)
    return {
        "charges": [
            {
                "provider": "stripe", "id": charge["id"], "payment_intent": charge["payment_intent"],
                "amount_minor": charge["amount"], "captured_minor": charge["amount_captured"],
                "refunded_minor": charge["amount_refunded"], "currency": charge["currency"],
                "status": charge["status"], "customer": charge["customer"], "metadata": charge["metadata"],
                "created": charge["created"],
            }
            for charge in reversed(charges)
        ]
        + [
            {
                "provider": "paypal", "id": capture["id"], "order": capture["order"],
                "amount_minor": capture["amount_minor"],
                "captured_minor": 0 if capture["status"] in {"PENDING", "DECLINED"} else capture["amount_minor"],
                "refunded_minor": capture["refunded_minor"], "currency": capture["currency"].lower(),
                "status": paypal_status(capture), "custom_id": capture["custom_id"],
                "invoice_id": capture["invoice_id"], "created": capture["created"],
            }
            for capture in reversed(captures)
        ],
        "refunds": [
            {
                "provider": "stripe", "id": refund["id"], "charge": refund["charge"],
                "payment_intent": refund["payment_intent"], "amount_minor": refund["amount"],
                "currency": refund["currency"], "status": refund["status"], "metadata": refund["metadata"],
                "created": refund["created"],
            }
            for refund in reversed(returned)
        ]
        + [
            {
                "provider": "paypal", "id": refund["id"], "charge": refund["capture"],
                "amount_minor": refund["amount_minor"], "currency": refund["currency"].lower(),
                "status": paypal_status(refund), "custom_id": refund["custom_id"],
                "invoice_id": refund["invoice_id"], "created": refund["created"],
            }
            for refund in reversed(given_back)
        ],
        "entries": entries,
        "balances": balances,
        "providers": providers,
    }  # fmt: skip


@blueprint.get("/ledger.json")
def ledger() -> Response:
    return jsonify(ledger_of(current()))


# Webhooks


@blueprint.get("/webhooks.json")
def webhooks() -> Response:
    """Deliveries, newest first, with headers and raw body as sent (or, unsent, as they would be sent now)."""
    wanted = request.args.get
    found = current().webhooks.log(
        provider=wanted("provider", ""), status=wanted("status", ""), event_type=wanted("event_type", ""), limit=_limit()
    )  # fmt: skip
    return jsonify(deliveries=found)


@blueprint.get("/webhooks/endpoints")
def endpoints() -> Response:
    return jsonify(endpoints=current().webhooks.endpoints(request.args.get("provider", "")))


@blueprint.post("/webhooks/endpoints")
def set_endpoint() -> tuple[Response, int]:
    """{"provider", "url", "secret"?, "enabled_events"?}: inserts or replaces the endpoint at that address."""
    sent = _body()
    events = sent.get("enabled_events")
    if events is not None and not (
        isinstance(events, list) and all(isinstance(name, str) for name in events)
    ):
        raise ControlError("enabled_events must be a list of event types.")
    made = current().webhooks.set_endpoint(
        str(sent.get("provider", "")),
        str(sent.get("url", "")),
        str(sent.get("secret") or ""),
        enabled_events=events,
    )
    return jsonify(made), 201


@blueprint.delete("/webhooks/endpoints/<endpoint_id>")
def remove_endpoint(endpoint_id: str) -> Response:
    if not current().webhooks.remove_endpoint(endpoint_id):
        raise ControlError(f"There is no webhook endpoint {endpoint_id}.")
    return jsonify(deleted=endpoint_id)


@blueprint.get("/webhooks/mode")
def modes() -> Response:
    return jsonify({name: current().webhooks.mode(name) for name in current().webhooks.providers})


@blueprint.post("/webhooks/mode")
def set_mode() -> Response:
    return jsonify(current().webhooks.set_mode(_body()))


@blueprint.post("/webhooks/<delivery_id>/deliver")
def deliver(delivery_id: str) -> Response:
    """Send one delivery now and wait for the receiver's answer."""
    return jsonify(current().webhooks.deliver_now(delivery_id))


@blueprint.post("/webhooks/send-again")
def send_again() -> Response:
    """{"deliveries": [ids], "how"?: one of AGAIN}: send them once more, in this order, and wait for the answers."""
    sent = _body()
    ids = sent.get("deliveries")
    if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
        raise ControlError("deliveries must be a list of delivery ids; GET /webhooks.json shows them.")
    return jsonify(deliveries=current().webhooks.send_again(ids, str(sent.get("how", "again"))))


# Faults, clock, refunds, reset


@blueprint.get("/faults")
def faults() -> Response:
    """The script as JSON; a browser that follows a link gets the screen."""
    if request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
        return make_response(render_template("faults.html", faults=current().faults.all()))
    return jsonify(faults=current().faults.all(), behaviours=BEHAVIOURS)


@blueprint.post("/faults")
def add_fault() -> tuple[Response, int]:
    fault_id = current().faults.add(_body())
    return jsonify(next(fault for fault in current().faults.all() if fault["id"] == fault_id)), 201


@blueprint.delete("/faults")
def clear_faults() -> Response:
    return jsonify(deleted=current().faults.clear())


@blueprint.delete("/faults/<int:fault_id>")
def clear_fault(fault_id: int) -> Response:
    if fault_id >= 2**63 or not current().faults.clear(fault_id):
        raise ControlError(f"There is no fault {fault_id}.")
    return jsonify(deleted=1)


def move_clock(box: Sandbox, sent: dict[str, Any]) -> dict[str, Any]:
    """{"advance_seconds": n} or {"set": ISO time with offset, or null for real time}; due work is done before return."""
    if "advance_seconds" in sent:
        seconds = sent["advance_seconds"]
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise ControlError("advance_seconds must be a number.")
        box.clock.advance(float(seconds))
    elif "set" in sent:
        moment = sent["set"]
        try:
            box.clock.set(dt.datetime.fromisoformat(moment) if moment is not None else None)
        except (TypeError, ValueError, OverflowError) as problem:
            raise ControlError(
                "set must be an ISO 8601 time with offset, for example 2026-11-23T09:00:00+00:00, or null."
            ) from problem
    else:
        raise ControlError('Send {"advance_seconds": 3600} or {"set": "2026-11-23T09:00:00+00:00"}.')
    done = box.webhooks.run_due_jobs()
    box.webhooks.wake()
    return {"time": box.clock.moment().isoformat(), "offset_seconds": box.clock.offset(), "jobs_done": done}


@blueprint.get("/clock.json")
def clock() -> Response:
    box = current()
    return jsonify(time=box.clock.moment().isoformat(), offset_seconds=box.clock.offset())


@blueprint.post("/clock")
def set_clock() -> Response:
    return jsonify(move_clock(current(), _body()))


def _amount(sent: dict[str, Any]) -> int | None:
    amount = sent.get("amount_minor")
    if amount is not None and (isinstance(amount, bool) or not isinstance(amount, int)):
        raise ControlError("amount_minor must be a whole number of minor units.")
    return amount


@blueprint.post("/stripe-payments/<intent_id>/refund")
def refund_stripe_payment(intent_id: str) -> tuple[Response, int]:
    """{"amount_minor"?}: a refund as made in Stripe's dashboard; without an amount, all that is left."""
    return jsonify(desk.refund_at_stripe(current(), intent_id, _amount(_body()))), 201


@blueprint.post("/paypal-captures/<capture_id>/refund")
def refund_paypal_capture(capture_id: str) -> tuple[Response, int]:
    """{"amount_minor"?}: a refund as made in PayPal's dashboard; without an amount, all that is left."""
    return jsonify(desk.refund_at_paypal(current(), capture_id, _amount(_body()))), 201


@blueprint.post("/stripe-refunds/<refund_id>")
def settle_refund(refund_id: str) -> Response:
    """{"status": "succeeded" | "failed"}: the bank settles a pending refund, or returns a finished one."""
    return jsonify(refunds.finish(current(), refund_id, str(_body().get("status", ""))))


@blueprint.post("/paypal-captures/<capture_id>")
def settle_paypal_capture(capture_id: str) -> Response:
    """{"status": "COMPLETED" | "DECLINED"}: a pending eCheck or review ends."""
    return jsonify(paypal_payments.finish_capture(current(), capture_id, str(_body().get("status", ""))))


@blueprint.post("/paypal-refunds/<refund_id>")
def settle_paypal_refund(refund_id: str) -> Response:
    """{"status": "COMPLETED" | "FAILED"}: the bank settles a pending refund, or returns a finished one."""
    return jsonify(paypal_payments.finish_refund(current(), refund_id, str(_body().get("status", ""))))


@blueprint.post("/paypal-captures/<capture_id>/dispute")
def open_paypal_dispute(capture_id: str) -> tuple[Response, int]:
    """{"reason"?, "amount_minor"?, "stage"?: "INQUIRY" | "CHARGEBACK", "channel"?: "INTERNAL" | "EXTERNAL"}: the buyer disputes a capture."""
    sent = _body()
    amount = _amount(sent)
    made = paypal_disputes.open_dispute(
        current(),
        capture_id,
        reason=str(sent.get("reason") or ""),
        amount_minor=amount,
        stage=str(sent.get("stage") or paypal_disputes.CHARGEBACK),
        channel=str(sent.get("channel") or "INTERNAL"),
    )
    return jsonify(made), 201


@blueprint.post("/paypal-disputes/<dispute_id>")
def resolve_paypal_dispute(dispute_id: str) -> Response:
    """{"outcome": "won" | "lost" | "escalated" | "asked"}, for the seller."""
    return jsonify(paypal_disputes.resolve(current(), dispute_id, str(_body().get("outcome", ""))))


@blueprint.post("/stripe-disputes")
def open_dispute() -> Response:
    """{"charge" | "payment_intent", "reason"?, "inquiry"?}: the cardholder disputes a charge."""
    sent = _body()
    charge = sent.get("charge")
    if charge is None:
        intent = current().state.get("payment_intent", str(sent.get("payment_intent", "")))
        charge = intent and intent["latest_charge"]
    made = disputes.open_dispute(
        current(),
        str(charge),
        reason=str(sent.get("reason", "fraudulent")),
        inquiry=bool(sent.get("inquiry")),
    )
    return jsonify(made)


@blueprint.post("/stripe-disputes/<dispute_id>")
def decide_dispute(dispute_id: str) -> Response:
    """{"status": "won" | "lost" | "warning_closed"}: the bank decides."""
    return jsonify(disputes.decide(current(), dispute_id, str(_body().get("status", ""))))


# Situations for training


@blueprint.get("/training.json")
def situations() -> Response:
    return jsonify(situations=training.listed(current()))


@blueprint.post("/training/<key>")
def start_situation(key: str) -> Response:
    """Set a situation up."""
    return jsonify(training.start(current(), key))


@blueprint.delete("/training/<key>")
def undo_situation(key: str) -> Response:
    training.undo(current(), key)
    return jsonify(undone=key)


@blueprint.post("/reset")
def reset() -> Response:
    """Forget everything but the webhook endpoints ({"endpoints": true} forgets those too)."""
    current().state.forget(endpoints=bool(_body().get("endpoints")))
    return jsonify(status="empty")
