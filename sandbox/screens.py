"""What people see of the providers: mail, phone, payments."""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
import urllib.parse
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, abort, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from sandbox import desk, sendgrid, training, twilio
from sandbox.control import ledger_of
from sandbox.core import current
from sandbox.paypal import disputes as paypal_disputes
from sandbox.paypal import payments as paypal_payments
from sandbox.paypal.buyers import BUYERS
from sandbox.paypal.call import Call
from sandbox.paypal.errors import PayPalError
from sandbox.paypal.orders import order_shown
from sandbox.stripe import disputes, refunds
from sandbox.stripe.cards import CARDS
from sandbox.stripe.errors import StripeError
from sandbox.stripe.money import major

blueprint = Blueprint("screens", __name__)

PER_PAGE = 200
INLINE_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp")
# Mail is shown as a mail client would: no scripts, no forms, nothing of the sandbox's own origin.
MAIL_POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; img-src * data:; "
    "style-src 'unsafe-inline'; font-src data:"
)


@blueprint.app_template_filter("moment")
def moment(value: float | str | None) -> str:
    """A time of the sandbox's clock, UTC."""
    if value is None or value == "":
        return "-"
    when = (
        dt.datetime.fromisoformat(value)
        if isinstance(value, str)
        else dt.datetime.fromtimestamp(value, tz=dt.UTC)
    )
    return when.astimezone(dt.UTC).strftime("%d %b %Y, %H:%M:%S")


@blueprint.app_template_filter("major")
def in_major_units(amount: int, currency: str) -> str:
    return f"{major(amount, currency)} {currency.upper()}"


@blueprint.app_template_filter("plain")
def without_currency(amount: int, currency: str) -> str:
    return major(amount, currency)


@blueprint.app_template_filter("card_number")
def grouped(number: str) -> str:
    """A card's number as it is printed on cards."""
    sizes = (4, 6, 5) if len(number) == 15 else (4, 6, 4) if len(number) == 14 else (4, 4, 4, 4)
    parts, start = [], 0
    for size in sizes:
        parts.append(number[start : start + size])
        start += size
    return " ".join(parts)


@blueprint.app_template_filter("pretty")
def pretty(text: str) -> str:
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return "\n".join(urllib.parse.unquote_plus(part) for part in text.split("&"))


@blueprint.app_template_filter("mailbox")
def mailbox(person: dict[str, Any]) -> str:
    return f"{person['name']} <{person['email']}>" if person.get("name") else str(person.get("email", ""))


@blueprint.app_context_processor
def everywhere() -> dict[str, Any]:
    box = current()
    return {
        "site": box.options.site,
        "now": box.clock.now(),
        "clock_offset": box.clock.offset(),
        "pulse": pulse_of(),
    }


def pulse_of() -> str:
    """Changes whenever something worth showing has changed."""
    state = current().state
    row = state.row(
        "SELECT (SELECT ifnull(max(seq), 0) FROM objects) AS objects, (SELECT ifnull(max(seq), 0) FROM mail) AS mail, "
        "(SELECT ifnull(max(seq), 0) FROM sms) AS sms, (SELECT ifnull(sum(attempts), 0) FROM deliveries) AS attempts, "
        "(SELECT count(*) FROM deliveries) AS deliveries, (SELECT count(*) FROM jobs) AS jobs"
    )
    return "-".join(str(value) for value in tuple(row or ()))


@blueprint.get("/pulse.json")
def pulse() -> Response:
    response = make_response({"pulse": pulse_of()})
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.get("/favicon.ico")
def icon() -> BaseResponse:
    return redirect(url_for("static", filename="icon.svg"))


@blueprint.get("/")
def overview() -> str:
    box = current()
    deliveries = {
        row["status"]: row["count"]
        for row in box.state.rows("SELECT status, count(*) AS count FROM deliveries GROUP BY status")
    }
    return render_template(
        "overview.html", mails=sendgrid.mails(box, limit=5), mail_count=_count("SELECT count(*) AS n FROM mail"),
        texts=twilio.everything(box, limit=5), sms_count=_count("SELECT count(*) AS n FROM sms"),
        payments=_payments(5), ledger=ledger_of(box), deliveries=deliveries,
        faults=[fault for fault in box.faults.all() if fault["left"]], cards=CARDS, buyers=BUYERS,
        running=[item for item in training.listed(box) if item["running"]],
    )  # fmt: skip


def _count(sql: str) -> int:
    row = current().state.row(sql)
    return row["n"] if row else 0


# Mail


@blueprint.get("/mail")
def inbox() -> str:
    to = request.args.get("to", "")
    return render_template("inbox.html", mails=sendgrid.mails(current(), to=to, limit=PER_PAGE), to=to)


def _mail(mail_id: str) -> dict[str, Any]:
    found = sendgrid.mail(current(), mail_id)
    if found is None:
        abort(404, "There is no such mail; the sandbox may have been reset.")
    return found


@blueprint.get("/mail/<mail_id>")
def mail(mail_id: str) -> str:
    tab = request.args.get("tab", "")
    found = _mail(mail_id)
    if tab not in {"html", "text", "headers", "events"}:
        tab = "html" if found["html"] else "text"
    return render_template("mail.html", mail=found, tab=tab)


@blueprint.get("/mail/<mail_id>/html")
def mail_html(mail_id: str) -> Response:
    found = _mail(mail_id)
    html = found["html"] or "<p>This mail has no HTML part.</p>"
    for number, item in enumerate(found["attachments"]):
        if item["content_id"]:
            address = url_for("screens.attachment", mail_id=mail_id, number=number)
            html = html.replace(f"cid:{item['content_id'].strip('<>')}", address)
    if "<base" not in html.lower():
        html = re.sub(
            r"(?i)<head[^>]*>", lambda head: f'{head.group(0)}<base target="_blank">', html, count=1
        )
    response = make_response(html)
    response.headers["Content-Security-Policy"] = MAIL_POLICY
    return response


@blueprint.get("/mail/<mail_id>/attachments/<int:number>")
def attachment(mail_id: str, number: int) -> Response:
    attachments = _mail(mail_id)["attachments"]
    if number >= len(attachments):
        abort(404, "This mail has no such attachment.")
    item = attachments[number]
    response = make_response(base64.b64decode(item["content"]))
    kind = item["type"].partition(";")[0].strip().lower()
    inline = kind in INLINE_TYPES
    response.headers["Content-Type"] = kind if inline else "application/octet-stream"
    response.headers["X-Content-Type-Options"] = "nosniff"
    name = urllib.parse.quote(item["filename"], safe="")
    response.headers["Content-Disposition"] = (
        f"{'inline' if inline else 'attachment'}; filename*=UTF-8''{name}"
    )
    return response


# Phone


def _phones() -> dict[str, list[dict[str, Any]]]:
    """Conversations by the customer's number, the most recent first, each oldest message first."""
    found: dict[str, list[dict[str, Any]]] = {}
    for text in twilio.everything(current(), limit=10_000):
        number = text["from"] if text["direction"] == "inbound" else text["to"]
        found.setdefault(number, []).insert(0, text)
    return found


@blueprint.get("/phone")
def phone() -> str:
    return render_template("phone.html", phones=_phones(), number="", texts=[], problem="")


@blueprint.route("/phone/<number>", methods=["GET", "POST"])
def conversation(number: str) -> str | BaseResponse | tuple[str, int]:
    phones = _phones()
    texts = phones.get(number, [])
    ours = next((text["from"] for text in reversed(texts) if text["direction"] != "inbound"), "+15005550006")
    if request.method == "POST":
        try:
            twilio.receive(current(), phone=number, number=ours, body=request.form.get("body", ""))
        except twilio.SmsError as problem:
            page = render_template(
                "phone.html", phones=phones, number=number, texts=texts, problem=problem.message
            )
            return page, 400
        return redirect(url_for("screens.conversation", number=number), code=303)
    return render_template("phone.html", phones=phones, number=number, texts=texts, problem="")


# Payments


def _payments(limit: int) -> list[dict[str, Any]]:
    """Stripe's payment intents and PayPal's orders in one list, newest first."""
    state = current().state
    found = [
        {
            "path": f"/stripe-payments/{intent['id']}", "note": intent["description"], "provider": "Stripe",
            **{name: intent[name] for name in ("id", "amount", "currency", "status", "created")},
        }
        for intent in state.select("payment_intent", limit=limit)
    ] + [
        {
            "path": f"/paypal-payments/{order['id']}", "note": order["unit"].get("description"), "provider": "PayPal",
            "id": order["id"], "amount": order["amount_minor"], "currency": order["currency"].lower(),
            "status": _order_status(order), "created": order["created"],
        }
        for order in state.select("paypal_order", limit=limit)
    ]  # fmt: skip
    return sorted(found, key=lambda item: item["created"], reverse=True)[:limit]


def _order_status(order: dict[str, Any]) -> str:
    """A completed order is as good as its capture."""
    capture = current().state.get("paypal_capture", order["capture"] or "")
    return str((capture or order)["status"]).lower()


@blueprint.get("/stripe-payments")
def payments() -> str:
    state = current().state
    refunds_made = [
        {
            "path": f"/stripe-payments/{refund['payment_intent']}", "provider": "Stripe",
            **{name: refund[name] for name in ("id", "amount", "currency", "status", "created")},
        }
        for refund in state.select("refund", limit=PER_PAGE)
    ] + [
        {
            "path": f"/paypal-payments/{(state.get('paypal_capture', refund['capture']) or {}).get('order')}",
            "provider": "PayPal", "id": refund["id"], "amount": refund["amount_minor"],
            "currency": refund["currency"].lower(), "status": refund["status"].lower(), "created": refund["created"],
        }
        for refund in state.select("paypal_refund", limit=PER_PAGE)
    ]  # fmt: skip
    events = [
        {"type": event["type"], "about": event["data"]["object"]["id"], "created": event["created"]}
        for event in state.select("event", limit=50)
    ] + state.select("paypal_event", limit=50)

    def newest(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sorted(found, key=lambda item: item["created"], reverse=True)

    return render_template(
        "payments.html",
        payments=_payments(PER_PAGE),
        refunds=newest(refunds_made),
        events=newest(events)[:50],
    )


@blueprint.get("/paypal-payments/<order_id>")
def paypal_payment(order_id: str) -> str:
    box = current()
    order = box.state.get("paypal_order", order_id)
    if order is None:
        abort(404, "There is no such payment; the sandbox may have been reset.")
    capture = box.state.get("paypal_capture", order["capture"] or "")
    about = {"capture": capture["id"]} if capture else {"capture": "none"}
    returned = box.state.select("paypal_refund", equal=about)
    disputed = box.state.select("paypal_dispute", equal=about)
    ids = {order_id, *(item["id"] for item in (*returned, *disputed)), *([capture["id"]] if capture else [])}
    shown = order_shown(Call(box), order)
    return render_template(
        "paypal_payment.html", order=order, capture=capture, refunds=returned, disputes=disputed, payer=shown.get("payer"),
        status_now=_order_status(order),
        events=[event for event in box.state.select("paypal_event", limit=2_000) if event["about"] in ids],
        raw=json.dumps(shown, indent=2, ensure_ascii=False), problem=request.args.get("problem", ""),
    )  # fmt: skip


@blueprint.post("/paypal-payments/<order_id>/act")
def paypal_act(order_id: str) -> BaseResponse:
    """The buttons of a PayPal payment: what banks, reviewers and buyers would do."""
    acts: dict[str, Callable[[str, str], Any]] = {
        "give_back": lambda chosen, value: desk.refund_at_paypal(
            current(), chosen, entered(value, (state.get("paypal_capture", chosen) or {}).get("currency", ""))
        ),
        "capture": lambda chosen, value: paypal_payments.finish_capture(current(), chosen, value),
        "refund": lambda chosen, value: paypal_payments.finish_refund(current(), chosen, value),
        "complain": lambda chosen, value: paypal_disputes.open_dispute(
            current(), chosen, stage=value or paypal_disputes.CHARGEBACK
        ),
        "dispute": lambda chosen, value: paypal_disputes.resolve(current(), chosen, value),
    }
    form, problem, state = request.form, None, current().state
    act = acts.get(form.get("act", ""))
    try:
        if act:
            act(form.get("id", ""), form.get("value", ""))
    except (PayPalError, AmountError) as error:
        problem = str(error)
    return redirect(url_for("screens.paypal_payment", order_id=order_id, problem=problem), code=303)


@blueprint.get("/stripe-payments/<intent_id>")
def payment(intent_id: str) -> str:
    state = current().state
    intent = state.get("payment_intent", intent_id)
    if intent is None:
        abort(404, "There is no such payment; the sandbox may have been reset.")
    charges = state.select("charge", equal={"payment_intent": intent_id})
    returned = state.select("refund", equal={"payment_intent": intent_id})
    disputed = state.select("dispute", equal={"payment_intent": intent_id})
    ids = {intent_id, *(item["id"] for item in [*charges, *returned, *disputed])}
    events = [event for event in state.select("event", limit=2_000) if event["data"]["object"]["id"] in ids]
    customer = state.get("customer", intent["customer"]) if intent["customer"] else None
    return render_template(
        "payment.html", intent=intent, charges=charges, refunds=returned, disputes=disputed, ends=disputes.ENDS, events=events, customer=customer,
        raw=json.dumps(intent, indent=2, ensure_ascii=False), problem=request.args.get("problem", ""),
    )  # fmt: skip


class AmountError(ValueError):
    """What was typed is no amount; the message says how to write one."""


def entered(text: str, currency: str) -> int | None:
    """Minor units of an amount typed in major units, None for nothing typed. Raises AmountError."""
    if not text.strip():
        return None
    places = len(major(0, currency).partition(".")[2])
    match = re.fullmatch(r"([0-9]{1,9})(?:[.,]([0-9]{1,3}))?", text.strip())
    if not match or len(match[2] or "") > places:
        raise AmountError(
            f"Write the amount in {currency.upper()} with at most {places} decimals, for example {major(10**places, currency)}."
        )
    return int(match[1] + (match[2] or "").ljust(places, "0"))


@blueprint.post("/stripe-payments/<intent_id>/give-back")
def give_back(intent_id: str) -> BaseResponse:
    """A refund as made in Stripe's dashboard."""
    intent, problem = current().state.get("payment_intent", intent_id), None
    if intent is None:
        abort(404, "There is no such payment; the sandbox may have been reset.")
    try:
        desk.refund_at_stripe(
            current(), intent_id, entered(request.form.get("amount", ""), intent["currency"])
        )
    except StripeError as error:
        problem = error.message
    except AmountError as error:
        problem = str(error)
    return redirect(url_for("screens.payment", intent_id=intent_id, problem=problem), code=303)


@blueprint.post("/stripe-payments/<intent_id>/refunds/<refund_id>")
def settle(intent_id: str, refund_id: str) -> BaseResponse:
    problem = None
    try:
        refunds.finish(current(), refund_id, request.form.get("status", ""))
    except StripeError as error:
        problem = error.message
    return redirect(url_for("screens.payment", intent_id=intent_id, problem=problem), code=303)


@blueprint.post("/stripe-payments/<intent_id>/disputes/<subject>")
def dispute(intent_id: str, subject: str) -> BaseResponse:
    """Dispute a charge (`subject` is its id), or decide a dispute."""
    problem = None
    try:
        if subject.startswith("dp_"):
            disputes.decide(current(), subject, request.form.get("status", ""))
        else:
            disputes.open_dispute(current(), subject, reason=request.form.get("reason", ""))
    except StripeError as error:
        problem = error.message
    return redirect(url_for("screens.payment", intent_id=intent_id, problem=problem), code=303)


@blueprint.post("/tidy")
def tidy() -> BaseResponse:
    """Empty inbox and phone and undo faults, modes and clock. Payments stay: a provider forgets no customer of the site's."""
    training.undo_all(current())
    current().state.tidy()
    return redirect(url_for("screens.overview"), code=303)
