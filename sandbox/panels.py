"""What a trainer drives: situations, faults, webhooks, the clock, and the ledger to read."""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import Any

from flask import Blueprint, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from sandbox import operations, training
from sandbox.clock import ClockError
from sandbox.control import ControlError, ledger_of, move_clock
from sandbox.core import Sandbox, current
from sandbox.faults import FaultError
from sandbox.paypal import disputes as paypal_disputes
from sandbox.paypal import payments as paypal_payments
from sandbox.stripe import disputes, refunds
from sandbox.webhooks import AGAIN, DEFAULT_MODE, WebhookError

blueprint = Blueprint("panels", __name__)

PER_PAGE = 50
CORRESPONDENTS = {
    "stripe": "Stripe", "paypal": "PayPal", "paypal_ipn": "PayPal IPN", "sendgrid": "SendGrid", "twilio": "Twilio",
}  # fmt: skip
# What a waiting job will do: words, and where its object is shown.
JOBS = {
    refunds.JOB: "A refund at Stripe is settled",
    disputes.OPEN_JOB: "A cardholder disputes a payment",
    disputes.DECIDE_JOB: "The bank decides a dispute",
    disputes.OVERDUE_JOB: "Time to answer a dispute at Stripe ends",
    paypal_payments.CAPTURE_JOB: "A pending PayPal payment completes",
    paypal_payments.REFUND_JOB: "A PayPal refund arrives",
    paypal_disputes.JOB: "Time to answer a dispute at PayPal ends",
}


@blueprint.app_template_filter("span")
def span(seconds: float) -> str:
    """A length of time in the two largest units that it has."""
    left, parts = round(abs(seconds)), []
    for size, word in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {word}{'' if count == 1 else 's'}")
    return " ".join(parts[:2]) or "no time"


@blueprint.app_template_global("operation_words")
def operation_words(operation: str) -> str:
    return operations.words_for(operation)


# Situations


@blueprint.get("/training")
def situations() -> str:
    return _training()


def _training(problem: str = "", about: str = "") -> str:
    return render_template(
        "training.html", situations=training.listed(current()), problem=problem, about=about
    )


@blueprint.post("/training/<key>/start")
def start(key: str) -> BaseResponse | tuple[str, int]:
    try:
        training.start(current(), key)
    except training.NothingToActOnError as problem:
        return _training(str(problem), key), 409
    except training.TrainingError as problem:
        abort(404, str(problem))
    return redirect(url_for("panels.situations", _anchor=key), code=303)


@blueprint.post("/training/<key>/undo")
def undo(key: str) -> BaseResponse:
    try:
        training.undo(current(), key)
    except training.TrainingError as problem:
        abort(404, str(problem))
    return redirect(url_for("panels.situations", _anchor=key), code=303)


@blueprint.post("/training/undo-all")
def undo_all() -> BaseResponse:
    training.undo_all(current())
    return redirect(url_for("panels.situations"), code=303)


# Faults: the page itself is control's GET /faults, which answers programs too


@blueprint.app_context_processor
def fault_choices() -> dict[str, Any]:
    return {"operation_groups": operations.groups, "behaviour_words": operations.BEHAVIOURS}


@blueprint.post("/faults/add")
def add_fault() -> BaseResponse | tuple[str, int]:
    box, form = current(), request.form
    operation = form.get("pattern", "").strip() or form.get("operation", "")
    wanted: dict[str, Any] = {"operation": operation, "behaviour": form.get("behaviour", "")}
    try:
        wanted["times"] = int(form.get("times") or 1)
        if form.get("seconds"):
            wanted["seconds"] = float(form["seconds"])
        if form.get("status") and wanted["behaviour"] == "refuse":
            wanted["status"] = int(form["status"])
        box.faults.add(wanted)
    except ValueError as error:
        problem = (
            str(error)
            if isinstance(error, FaultError)
            else "Times and status are whole numbers, seconds is a number."
        )
        return render_template("faults.html", faults=box.faults.all(), problem=problem, wanted=form), 400
    return redirect(url_for("control.faults"), code=303)


@blueprint.post("/faults/remove")
def remove_fault() -> BaseResponse:
    chosen = request.form.get("id", "")
    current().faults.clear(int(chosen) if re.fullmatch(r"\d{1,12}", chosen) else None)
    return redirect(url_for("control.faults"), code=303)


# Webhooks


def _webhooks(problem: str = "", sent: list[dict[str, Any]] | None = None) -> str:
    post = current().webhooks
    chosen = {name: request.args.get(name, "") for name in ("provider", "status")}
    page = request.args.get("page", "1")
    number = int(page) if re.fullmatch(r"[0-9]{1,5}", page) and int(page) else 1
    found = post.log(
        provider=chosen["provider"], status=chosen["status"], limit=PER_PAGE + 1, skip=(number - 1) * PER_PAGE
    )
    return render_template(
        "webhooks.html", deliveries=found[:PER_PAGE], more=len(found) > PER_PAGE, page=number, chosen=chosen, sent=sent,
        modes={name: post.mode(name) for name in post.providers}, usual=DEFAULT_MODE, names=CORRESPONDENTS,
        ways=AGAIN, endpoints=post.endpoints(), problem=problem or request.args.get("problem", ""),
    )  # fmt: skip


@blueprint.get("/webhooks")
def webhooks() -> str:
    return _webhooks()


@blueprint.get("/webhooks/<delivery_id>")
def delivery(delivery_id: str) -> str:
    try:
        found = current().webhooks.find(delivery_id)
    except WebhookError as problem:
        abort(404, str(problem))
    return render_template("delivery.html", delivery=found, ways=AGAIN, names=CORRESPONDENTS)


@blueprint.post("/webhooks/<delivery_id>/resend")
def resend(delivery_id: str) -> BaseResponse:
    """Send a delivery that waits, or was dropped, now."""
    try:
        current().webhooks.deliver_now(delivery_id)
    except WebhookError as problem:
        abort(404, str(problem))
    return redirect(url_for("panels.delivery", delivery_id=delivery_id), code=303)


@blueprint.post("/webhooks/again")
def again() -> str | tuple[str, int]:
    """Send the chosen deliveries once more; the page shows what the receiver said."""
    form = request.form
    ids = form.getlist("delivery")[:PER_PAGE]
    if form.get("order") == "oldest":  # the log lists the newest first
        ids = ids[::-1]
    try:
        return _webhooks(sent=current().webhooks.send_again(ids, form.get("how", "again")))
    except WebhookError as problem:
        return _webhooks(str(problem)), 400


@blueprint.post("/webhooks/travel")
def travel() -> BaseResponse | tuple[str, int]:
    form = request.form
    try:
        if "usual" in form:
            current().webhooks.set_mode({**DEFAULT_MODE, "release": True})
        else:
            current().webhooks.set_mode(
                {
                    "provider": form.get("provider"), "mode": form.get("mode"), "duplicate": int(form.get("duplicate") or 0),
                    "shuffle": "shuffle" in form, "forge": "forge" in form,
                    "delay_seconds": float(form.get("delay_seconds") or 0),
                    "skew_seconds": -float(form.get("signed_ago") or 0), "release": form.get("mode") == "deliver",
                }
            )  # fmt: skip
    except ValueError as error:
        problem = (
            str(error) if isinstance(error, WebhookError) else "Give whole numbers of copies and seconds."
        )
        return _webhooks(problem), 400
    return redirect(url_for("panels.webhooks"), code=303)


# Clock


@blueprint.get("/clock")
def clock() -> str:
    return _clock()


def _clock(problem: str = "") -> str:
    return render_template("clock.html", jobs=waiting(current()), problem=problem)


def waiting(box: Sandbox) -> list[dict[str, Any]]:
    """What the clock will bring, soonest first: jobs of the providers and webhooks that are tried again."""
    found = [
        {
            "due_at": row["due_at"], "words": JOBS.get(row["kind"], row["kind"]),
            **_about(box, json.loads(row["payload"])),
        }
        for row in box.state.rows("SELECT * FROM jobs ORDER BY due_at LIMIT 100")
    ] + [
        {
            "due_at": row["due_at"], "words": f"The webhook {row['event_type']} is tried again",
            "about": CORRESPONDENTS.get(row["provider"], row["provider"]), "path": f"/webhooks/{row['id']}",
        }
        for row in box.state.rows(
            "SELECT * FROM deliveries WHERE status = 'pending' AND attempts > 0 ORDER BY due_at LIMIT 50"
        )
    ]  # fmt: skip
    return sorted(found, key=lambda item: item["due_at"])


def _about(box: Sandbox, payload: dict[str, Any]) -> dict[str, str]:
    """The object of a job, and the page of the payment that it belongs to."""
    for object_id in payload.values():
        row = box.state.row("SELECT body FROM objects WHERE id = ?", str(object_id))
        if row is None:
            continue
        body = json.loads(row["body"])
        if body.get("payment_intent"):
            return {"about": body["id"], "path": f"/stripe-payments/{body['payment_intent']}"}
        capture = box.state.get("paypal_capture", body.get("capture") or body["id"])
        if capture:
            return {"about": body["id"], "path": f"/paypal-payments/{capture['order']}"}
        return {"about": body["id"], "path": ""}
    return {"about": "", "path": ""}


@blueprint.post("/clock/move")
def move() -> BaseResponse | tuple[str, int]:
    form, box = request.form, current()
    try:
        if form.get("advance"):
            move_clock(box, {"advance_seconds": float(form["advance"])})
        elif "ahead" in form:
            hours = float(form.get("hours") or 0) + 24 * float(form.get("days") or 0)
            move_clock(box, {"advance_seconds": hours * 3_600})
        elif "until" in form:
            moment = dt.datetime.fromtimestamp(float(form["until"]) + 1, tz=dt.UTC)
            move_clock(box, {"set": moment.isoformat()})
        elif "real" in form:
            move_clock(box, {"set": None})
        else:
            move_clock(box, {"set": f"{form.get('set', '')}+00:00"})
    except (ControlError, ClockError) as problem:
        return _clock(str(problem)), 400
    except (ValueError, OverflowError, OSError):
        return _clock("Days and hours are numbers, for example 1 or 1.5."), 400
    return redirect(url_for("panels.clock"), code=303)


# Ledger


@blueprint.get("/ledger")
def ledger() -> str:
    whole = ledger_of(current())
    return render_template(
        "ledger.html",
        providers=whole["providers"],
        entries=whole["entries"][::-1][:200],
        count=len(whole["entries"]),
        names=CORRESPONDENTS,
    )
