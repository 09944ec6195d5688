"""What buyers see of PayPal: the page on which they approve."""

from __future__ import annotations

import urllib.parse

from flask import Blueprint, make_response, redirect, render_template, request
from werkzeug.wrappers import Response

from sandbox import faults
from sandbox.core import Sandbox, current
from sandbox.paypal import ipn, orders, vault
from sandbox.paypal.buyers import BUYERS, PAYER, PAYER_ID
from sandbox.paypal.call import Body, Call
from sandbox.stripe.money import major

blueprint = Blueprint("paypal_browser", __name__)


def back(address: str, **more: str) -> Response:
    """To the shop's page with what PayPal appends."""
    parts = urllib.parse.urlsplit(address)
    query = [*urllib.parse.parse_qsl(parts.query, keep_blank_values=True), *more.items()]
    return redirect(urllib.parse.urlunsplit(parts._replace(query=urllib.parse.urlencode(query))), code=303)


def _page(name: str, status: int = 200, **values: object) -> Response:
    response = make_response(render_template(name, **values), status)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Robots-Tag"] = "noindex"
    return response


def buyers_of(order: Body) -> dict[str, str]:
    """A shop that wants its money immediately is not offered an eCheck."""
    context = order["context"]
    older = context.get("payment_method", {}).get("payee_preferred")
    wanted = context.get("payment_method_preference") or older
    return {
        name: text
        for name, text in BUYERS.items()
        if not (name == "echeck" and wanted == "IMMEDIATE_PAYMENT_REQUIRED")
    }


@blueprint.route("/paypal/checkoutnow", methods=["GET", "POST"])
def approve_order() -> Response:
    """The buyer approves or cancels an order, and chooses how the money will behave."""
    call = Call(current())
    with call.box.state.transaction():
        order = call.box.state.get("paypal_order", request.args.get("token", ""))
        if order is None or order["status"] == "COMPLETED":
            return _page("paypal_over.html", 404 if order is None else 409, paid=order is not None)
        context, buyers = order["context"], buyers_of(order)
        if request.method == "POST":
            buyer = request.form.get("buyer", "")
            if request.form.get("decision") == "cancel":
                cancel_url = context.get("cancel_url")
                return (
                    back(cancel_url, token=order["id"])
                    if cancel_url
                    else _page("paypal_done.html", approved=False)
                )
            if buyer in buyers:
                orders.approve(call, order, buyer)
                if not context.get("return_url"):
                    return _page("paypal_done.html", approved=True)
                return back(context["return_url"], token=order["id"], PayerID=PAYER_ID)
    amount = f"{major(order['amount_minor'], order['currency'].lower())} {order['currency']}"
    return _page(
        "paypal_approve.html", title="Pay with PayPal", amount=amount, buyers=buyers, payer=PAYER,
        merchant=context.get("brand_name") or call.box.options.paypal_email,
        about=order["unit"].get("description", ""), pay_now=context.get("user_action") == "PAY_NOW",
        chosen=order["buyer"] or call.box.state.setting("suggested_paypal_buyer", "at_once"),
    )  # fmt: skip


@blueprint.route("/paypal/agreements/approve", methods=["GET", "POST"])
def approve_wallet() -> Response:
    """The buyer lets the shop keep the wallet, or not."""
    call = Call(current())
    with call.box.state.transaction():
        setup = call.box.state.get("paypal_setup_token", request.args.get("approval_session_id", ""))
        if setup is None or setup["status"] != "PAYER_ACTION_REQUIRED":
            return _page("paypal_over.html", 404 if setup is None else 409, paid=setup is not None)
        context = setup["context"]
        names = {"approval_token_id": setup["id"], "approval_session_id": setup["id"]}
        if request.method == "POST":
            if request.form.get("decision") == "cancel":
                return back(context["cancel_url"], **names)
            if request.form.get("buyer") in BUYERS:
                vault.approve_setup(call, setup, request.form["buyer"])
                return back(context["return_url"], **names)
    return _page(
        "paypal_approve.html", title="Save PayPal for later", amount="", buyers=BUYERS, payer=PAYER,
        merchant=context.get("brand_name") or call.box.options.paypal_email,
        about=setup["usage"].get("description", ""), pay_now=False, chosen="at_once",
    )  # fmt: skip


@blueprint.post("/paypal/cgi-bin/webscr")
def confirm_notification() -> Response:
    """The postback of an instant payment notification: VERIFIED if it came from here as it stands."""
    fault = current().faults.take("paypal.ipn.verify")
    return faults.play(
        fault,
        lambda: make_response(
            "VERIFIED" if ipn.genuine(current(), request.get_data(as_text=True)) else "INVALID"
        ),
        lambda status: make_response("", status),
    )


def plug_in(_box: Sandbox) -> None:
    """Nothing happens later here."""
