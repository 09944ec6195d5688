"""Customers and their payment methods."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sandbox.stripe import objects
from sandbox.stripe.call import Call
from sandbox.stripe.cards import (
    CARDS,
    DECLINES,
    NAMED,
    SAVED_AND_SET_UP,
    Card,
    by_number,
    check_cvc,
    check_date,
    named,
)
from sandbox.stripe.errors import StripeError, invalid
from sandbox.stripe.objects import Body
from sandbox.stripe.parameters import merge_metadata

TOKENS = {
    "tok_visa": "pm_card_visa", "tok_mastercard": "pm_card_mastercard", "tok_amex": "pm_card_amex",
    "tok_chargeDeclined": "pm_card_chargeDeclined",
}  # fmt: skip


# Customers


def create_customer(call: Call) -> Body:
    body = objects.customer(call.now)
    body["metadata"] = merge_metadata({}, call.params.get("metadata"))
    _fill_customer(call, body)
    method_id = call.params.get("payment_method")
    call.save(body)
    if method_id:
        attach(call, _usable(call, method_id, "payment_method"), body["id"])
    call.emit("customer.created", body)
    return call.shown(body)


def retrieve_customer(call: Call, customer_id: str) -> Body:
    found = call.find("customer", customer_id, "customer_path")
    if found.get("deleted"):
        return {"id": found["id"], "object": "customer", "deleted": True}
    return call.shown(found)


def update_customer(call: Call, customer_id: str) -> Body:
    body = call.find("customer", customer_id)
    before = dict(body)
    body["metadata"] = merge_metadata(body["metadata"], call.params.get("metadata"))
    _fill_customer(call, body)
    call.save(body)
    changed = {name: value for name, value in before.items() if body[name] != value}
    if changed:
        call.emit("customer.updated", body, changed)
    return call.shown(body)


def delete_customer(call: Call, customer_id: str) -> Body:
    body = call.find("customer", customer_id)
    for method in call.box.state.select("payment_method", equal={"customer": customer_id}, limit=10_000):
        _release(call, method)
    call.save({**body, "deleted": True})
    call.emit("customer.deleted", body)
    return {"id": customer_id, "object": "customer", "deleted": True}


def list_customers(call: Call) -> Body:
    return call.page("customer", "/v1/customers", equal={"email": call.params.get("email", "")})


def _fill_customer(call: Call, body: Body) -> None:
    call.apply(body, ("name", "email", "phone", "description", "preferred_locales"))
    email = body["email"]
    if email is not None and ("@" not in email or any(ord(letter) < 33 for letter in email)):
        raise StripeError(
            f"Invalid email address: {email[:200]}", code="email_invalid", param="email", validation=True
        )
    if "address" in call.params:
        given = call.params["address"]
        body["address"] = {**objects.EMPTY_ADDRESS, **given} if given else None
    if "shipping" in call.params:
        body["shipping"] = call.params["shipping"] or None
    if "tax_exempt" in call.params:
        body["tax_exempt"] = call.params["tax_exempt"] or "none"
    settings = call.params.get("invoice_settings") or {}
    unsupported = set(settings) - {"default_payment_method"}
    if unsupported:
        raise invalid("The sandbox keeps only invoice_settings[default_payment_method].", "invoice_settings")
    if "default_payment_method" in settings:
        method_id = settings["default_payment_method"] or None
        if method_id:
            method = call.find("payment_method", method_id, "invoice_settings[default_payment_method]")
            if method["customer"] != body["id"]:
                raise not_attached(method_id, "invoice_settings[default_payment_method]")
        body["invoice_settings"] = {**body["invoice_settings"], "default_payment_method": method_id}


# Payment methods


def create_method(call: Call) -> Body:
    kind = call.params.get("type", "card")
    if kind != "card":
        raise invalid(f"The sandbox plays cards only, not '{kind}'.", "type")
    return call.shown(make_method(call, call.params.get("card"), call.params.get("billing_details")))


def make_method(call: Call, given: Any, billing: Body | None, metadata: Any = None) -> Body:
    """Create a PaymentMethod from what a browser typed. Servers may pass only tokens, as at Stripe."""
    if not isinstance(given, dict) or not given:
        raise invalid("Missing required param: card.", "card", "parameter_missing")
    today = dt.datetime.fromtimestamp(call.box.clock.now(), tz=dt.UTC)
    if given.get("token"):
        if given["token"] not in TOKENS:
            raise invalid(f"No such token: '{given['token'][:100]}'", "card[token]", "resource_missing")
        card, month, year, cvc = named(TOKENS[given["token"]]), 12, today.year + 3, True
    else:
        if not call.publishable:
            raise StripeError(
                "Sending credit card numbers directly to the Stripe API is generally unsafe. We suggest you use test "
                "tokens that map to the test card you are using, see https://stripe.com/docs/testing. To enable testing "
                "raw card data APIs, see https://support.stripe.com/questions/enabling-access-to-raw-card-data-apis.",
                status=402, kind="invalid_request_error",
            )  # fmt: skip
        for name in ("number", "exp_month", "exp_year"):
            if not given.get(name):
                raise invalid(f"Missing required param: card[{name}].", f"card[{name}]", "parameter_missing")
        card = by_number(str(given["number"]))
        month, year = check_date(
            given["exp_month"], given["exp_year"], now_year=today.year, now_month=today.month
        )
        check_cvc(given.get("cvc"), card.brand)
        cvc = given.get("cvc") is not None
    return _store(call, card, month=month, year=year, cvc=cvc, billing=billing, metadata=metadata)


def _store(
    call: Call, card: Card, *, month: int, year: int, cvc: bool, billing: Body | None, metadata: Any = None,
    set_up: bool = False,
) -> Body:  # fmt: skip
    body = objects.payment_method(
        card, now=call.now, month=month, year=year, cvc=cvc, billing=objects.billing_details(billing)
    )
    body["metadata"] = merge_metadata({}, metadata if metadata is not None else call.params.get("metadata"))
    # Only the published test number is remembered: it is the key to the card's behaviour.
    return call.save(body, {"test_card": card.number, "set_up": set_up, "used": False})


def _usable(call: Call, method_id: str, param: str) -> Body:
    """The PaymentMethod; a name such as pm_card_visa makes a fresh one, as in Stripe's test mode."""
    if method_id in NAMED:
        year = dt.datetime.fromtimestamp(call.box.clock.now(), tz=dt.UTC).year + 3
        return _store(
            call, named(method_id), month=12, year=year, cvc=True, billing=None, metadata={},
            set_up=method_id in SAVED_AND_SET_UP,
        )  # fmt: skip
    return call.find("payment_method", method_id, param)


def usable_for(call: Call, method_id: str, customer_id: str | None) -> Body:
    """The PaymentMethod for an intent of this customer. Raises where Stripe would refuse the combination."""
    method = _usable(call, method_id, "payment_method")
    if method["customer"] and method["customer"] != customer_id:
        if customer_id is None:
            raise StripeError(
                f"The provided PaymentMethod ({method_id}) belongs to a Customer. To use it, you must also provide "
                f"the Customer ({method['customer']}) that it is attached to.",
                param="payment_method",
            )
        raise not_attached(method_id, "payment_method")
    if method["customer"] is None and call.private(method).get("used"):
        raise StripeError(
            "The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, shared "
            "with a connected account without Customer attachment, or was detached from a Customer. It may not be "
            "used again. To use a PaymentMethod multiple times, you must attach it to a Customer first.",
            code="payment_method_unexpected_state", param="payment_method",
        )  # fmt: skip
    return method


def retrieve_method(call: Call, method_id: str) -> Body:
    return call.shown(_usable(call, method_id, "id"))


def update_method(call: Call, method_id: str) -> Body:
    body = call.find("payment_method", method_id)
    if body["customer"] is None:
        raise StripeError(
            "You must save this PaymentMethod to a customer before you can update it.", param="payment_method"
        )
    before = dict(body)
    body["metadata"] = merge_metadata(body["metadata"], call.params.get("metadata"))
    if "billing_details" in call.params:
        old = body["billing_details"]
        given = call.params["billing_details"] or {}
        merged = {**old, **given, "address": {**old["address"], **(given.get("address") or {})}}
        body["billing_details"] = objects.billing_details(merged)
    if "allow_redisplay" in call.params:
        body["allow_redisplay"] = call.params["allow_redisplay"]
    call.save(body)
    changed = {name: value for name, value in before.items() if body[name] != value}
    call.emit("payment_method.updated", body, changed)
    return call.shown(body)


def attach_method(call: Call, method_id: str) -> Body:
    customer_id = call.params.get("customer")
    if not customer_id:
        raise invalid("Missing required param: customer.", "customer", "parameter_missing")
    call.find("customer", customer_id, "customer")
    return call.shown(attach(call, _usable(call, method_id, "payment_method"), customer_id))


def attach(call: Call, method: Body, customer_id: str) -> Body:
    if method["customer"] == customer_id:
        return method
    if method["customer"]:
        raise StripeError(
            "The payment method you provided has already been attached to a customer.",
            code="payment_method_already_attached" if call.publishable else "", param="payment_method",
        )  # fmt: skip
    private = call.private(method)
    if private.get("used"):
        usable_for(call, method["id"], customer_id)
    card = CARDS[private["test_card"]]
    if not card.attaches:
        decline = DECLINES[card.outcome]
        raise StripeError(
            decline.message,
            status=402,
            kind="card_error",
            code=decline.code,
            decline_code=decline.decline_code,
        )
    method["customer"] = customer_id
    call.save(method)
    call.emit("payment_method.attached", method)
    return method


def detach_method(call: Call, method_id: str) -> Body:
    method = call.find("payment_method", method_id)
    if method["customer"] is None:
        raise StripeError(
            "The payment method you provided is not attached to a customer so detachment is impossible.",
            param="payment_method",
        )
    return call.shown(_release(call, method))


def _release(call: Call, method: Body) -> Body:
    customer_id = method["customer"]
    method["customer"] = None
    call.save(method, {**call.private(method), "used": True})
    owner = call.box.state.get("customer", customer_id)
    if owner and owner.get("invoice_settings", {}).get("default_payment_method") == method["id"]:
        owner["invoice_settings"] = {**owner["invoice_settings"], "default_payment_method": None}
        call.save(owner)
    call.emit("payment_method.detached", method, {"customer": customer_id})
    return method


def list_methods(call: Call) -> Body:
    customer_id = call.params.get("customer", "")
    if customer_id:
        call.find("customer", customer_id, "customer")
        if call.params.get("type", "card") != "card":
            return {"object": "list", "data": [], "has_more": False, "url": "/v1/payment_methods"}
        return call.page("payment_method", "/v1/payment_methods", equal={"customer": customer_id})
    # Without a customer Stripe lists only what the account itself owns, which is nothing here.
    return {"object": "list", "data": [], "has_more": False, "url": "/v1/payment_methods"}


def list_customer_methods(call: Call, customer_id: str) -> Body:
    call.find("customer", customer_id)
    url = f"/v1/customers/{customer_id}/payment_methods"
    if call.params.get("type", "card") != "card":
        return {"object": "list", "data": [], "has_more": False, "url": url}
    return call.page("payment_method", url, equal={"customer": customer_id})


def retrieve_customer_method(call: Call, customer_id: str, method_id: str) -> Body:
    call.find("customer", customer_id)
    method = call.find("payment_method", method_id)
    if method["customer"] != customer_id:
        raise StripeError(
            f"No such PaymentMethod: '{method_id[:100]}'; It's possible that this PaymentMethod exists on one of your "
            "customers but not this one.",
            status=404, code="resource_missing", param="payment_method",
        )  # fmt: skip
    return call.shown(method)


def not_attached(method_id: str, param: str) -> StripeError:
    return StripeError(
        f"The customer does not have a payment method with the ID {method_id[:100]}. The payment method must be "
        "attached to the customer.",
        code="resource_missing", param=param,
    )  # fmt: skip
