"""What browsers load from Stripe: the library, the Payment Element's frame, the 3-D Secure screen."""

from __future__ import annotations

import urllib.parse

from flask import Blueprint, Response, make_response, redirect, render_template, request, send_from_directory

from sandbox.core import Sandbox, current
from sandbox.stripe.call import Call
from sandbox.stripe.cards import CARDS
from sandbox.stripe.errors import StripeError
from sandbox.stripe.intents import finish_challenge
from sandbox.stripe.money import major
from sandbox.stripe.objects import Body

blueprint = Blueprint("stripe_browser", __name__)

HINTED = ("4242424242424242", "4000002760003184", "4000000000000002", "4000000000009995")


@blueprint.get("/stripe-js/v3/")
@blueprint.get("/stripe-js/v3")
@blueprint.get("/stripe.js")
def library() -> Response:
    """The stand-in for Stripe.js; it finds the sandbox through its own address."""
    response = send_from_directory("assets", "stripe.js", mimetype="text/javascript")
    response.headers["Cache-Control"] = "no-cache"
    response.headers["Access-Control-Allow-Origin"] = "*"
    return response


@blueprint.get("/stripe-js/elements/payment")
def payment_element() -> Response:
    """The frame in which card data is typed. It may be shown inside any page, as Stripe's is."""
    year = current().clock.moment().year
    return make_response(
        render_template("payment_element.html", hinted=[CARDS[number] for number in HINTED], year=year)
    )


def _intent(call: Call, intent_id: str) -> Body | None:
    kind = "setup_intent" if intent_id.startswith("seti_") else "payment_intent"
    return call.box.state.get(kind, intent_id)


def _amount(intent: Body) -> str:
    if intent["object"] != "payment_intent":
        return ""
    return f"{major(intent['amount'], intent['currency'])} {intent['currency'].upper()}"


@blueprint.route("/stripe/3ds/<intent_id>", methods=["GET", "POST"])
def challenge(intent_id: str) -> Response | tuple[str, int]:
    """The bank's screen: complete or fail the authentication."""
    call = Call(current())
    intent = _intent(call, intent_id)
    attempt = request.values.get("attempt", "")
    private = call.private(intent) if intent else {}
    if intent is None or not attempt or private.get("attempt") != attempt:
        return render_template("challenge_over.html", why="unknown"), 404
    redirects = request.values.get("mode") == "redirect"
    if request.method == "POST":
        try:
            with call.box.state.transaction():
                intent = finish_challenge(
                    call, intent_id, attempt, passed=request.form.get("outcome") == "complete"
                )
        except StripeError as problem:
            return render_template("challenge_over.html", why=problem.message), 409
    if intent["status"] != "requires_action":
        if redirects and private.get("return_url"):
            return redirect(return_address(intent, private["return_url"]), code=303)  # type: ignore[return-value]
        return make_response(render_template("challenge_done.html", intent=intent))
    method = call.box.state.get("payment_method", intent["payment_method"]) or {}
    return make_response(
        render_template(
            "challenge.html", intent=intent, attempt=attempt, mode="redirect" if redirects else "frame",
            amount=_amount(intent), card=method.get("card", {}),
        )
    )  # fmt: skip


def return_address(intent: Body, return_url: str) -> str:
    """The shop's return page with what Stripe appends to it."""
    name = intent["object"]
    outcome = {"succeeded": "succeeded", "requires_capture": "succeeded", "processing": "pending"}
    parts = urllib.parse.urlsplit(return_url)
    query = [
        *urllib.parse.parse_qsl(parts.query, keep_blank_values=True),
        (name, intent["id"]),
        (f"{name}_client_secret", intent["client_secret"]),
        ("redirect_status", outcome.get(intent["status"], "failed")),
    ]
    return urllib.parse.urlunsplit(parts._replace(query=urllib.parse.urlencode(query)))


def plug_in(_box: Sandbox) -> None:
    """Nothing happens later here."""
