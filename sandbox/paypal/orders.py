"""Orders v2: created, approved by the buyer, captured once."""

from __future__ import annotations

from typing import Any

from sandbox.core import Sandbox
from sandbox.paypal import money, payments, vault
from sandbox.paypal.buyers import PAYER, WALLET
from sandbox.paypal.call import Answer, Body, Call, iso, new_id
from sandbox.paypal.errors import PayPalError, Waiting, malformed, refused
from sandbox.paypal.parameters import BREAKDOWN, CAPTURE, ORDER

UNIT = "/purchase_units/0"


def create(call: Call) -> Answer:
    ORDER(call.body, "")
    wallet = (call.body.get("payment_source") or {}).get("paypal")
    context = call.body.get("application_context")
    if call.body["intent"] != "CAPTURE":
        raise refused("UNSUPPORTED_INTENT", "The sandbox plays the intent CAPTURE only.", "/intent")
    if wallet is not None and not call.request_id:
        raise malformed(
            "PayPal-Request-Id", "PAYPAL_REQUEST_ID_REQUIRED",
            "A PayPal-Request-Id is required if you are trying to process payment for an Order.", location="header",
        )  # fmt: skip
    if context and wallet and "experience_context" in wallet:
        raise malformed(
            "/application_context", "INCOMPATIBLE_PARAMETER_VALUE",
            "The value of the field is incompatible/redundant with other fields in the order.",
        )  # fmt: skip
    context = context or (wallet or {}).get("experience_context") or {}
    for name, other in (("return_url", "cancel_url"), ("cancel_url", "return_url")):
        if other in context and name not in context:
            raise refused(
                f"{name.upper()}_REQUIRED", f"{name} is required when {other} is given.", f"/{name}"
            )
    unit = call.body["purchase_units"][0]
    amount, currency = _amount(unit)
    if any(payments.payee(call).get(name) != value for name, value in unit.get("payee", {}).items()):
        raise refused("PAYEE_ACCOUNT_INVALID", "Payee account is invalid.", f"{UNIT}/payee")
    _refuse_same_invoice(call, unit)
    order: Body = {
        "id": new_id(), "object": "paypal_order", "created": call.now, "updated": call.now, "intent": "CAPTURE",
        "status": "CREATED" if wallet is None else "PAYER_ACTION_REQUIRED", "amount_minor": amount,
        "currency": currency, "unit": unit, "wallet": wallet, "context": context, "buyer": "", "capture": None,
        "stored": None,
    }  # fmt: skip
    if wallet and "vault_id" in wallet:
        if "vault" in wallet.get("attributes", {}):
            raise malformed(
                "/payment_source/paypal/attributes/vault", "INCOMPATIBLE_PARAMETER_VALUE",
                "The value of the field is incompatible/redundant with other fields in the order.",
            )  # fmt: skip
        return _pay_with_token(call, order, wallet["vault_id"])
    call.save(order)
    shown = order_shown(call, order)
    # PayPal answers 200 when the payer has to act next, 201 otherwise.
    return 201 if wallet is None else 200, shown if call.full else _minimal(shown)


def _amount(unit: Body) -> tuple[int, str]:
    """The total in minor units, after PayPal's own sums over breakdown and items."""
    amount, currency = money.minor(unit["amount"], f"{UNIT}/amount")
    parts = {
        name: _part(value, currency, f"{UNIT}/amount/breakdown/{name}")
        for name, value in unit["amount"].get("breakdown", {}).items()
    }
    sums = dict.fromkeys(BREAKDOWN, 0) | parts
    if parts and amount != sum(
        -value if name in {"discount", "shipping_discount"} else value for name, value in sums.items()
    ):
        raise refused(
            "AMOUNT_MISMATCH", "Should equal item_total + tax_total + shipping + handling + insurance - "
            "shipping_discount - discount.", f"{UNIT}/amount/value", value=unit["amount"]["value"],
        )  # fmt: skip
    for name, total, title in (("unit_amount", "item_total", "ITEM"), ("tax", "tax_total", "TAX")):
        items = [
            _part(item[name], currency, f"{UNIT}/items/{number}/{name}") * int(item["quantity"])
            for number, item in enumerate(unit.get("items", []))
            if name in item
        ]
        if items and total not in parts:
            raise refused(
                f"{title}_TOTAL_REQUIRED", f"{total} is required when items[].{name} is given.",
                f"{UNIT}/amount/breakdown/{total}",
            )  # fmt: skip
        if items and sum(items) != parts[total]:
            raise refused(
                f"{title}_TOTAL_MISMATCH", f"Should equal the sum of ({name} * quantity) across all items.",
                f"{UNIT}/amount/breakdown/{total}/value",
            )  # fmt: skip
    return amount, currency


def _part(value: Body, currency: str, at: str) -> int:
    amount, found = money.minor(value, at, zero=True)
    if found != currency:
        raise refused(
            "MULTI_CURRENCY_ORDER", "Multiple differing values of currency_code are not supported.", at
        )
    return amount


def _refuse_same_invoice(call: Call, unit: Body) -> None:
    if payments.same_invoice(call, unit.get("invoice_id")):
        raise refused(
            "DUPLICATE_INVOICE_ID",
            "Duplicate Invoice ID detected. To avoid a potential duplicate transaction your account setting requires "
            "that Invoice Id be unique for each transaction.",
            f"{UNIT}/invoice_id", value=unit["invoice_id"],
        )  # fmt: skip


def get(call: Call, order_id: str) -> Answer:
    if call.query.get("fields", "payment_source") != "payment_source":  # which is always shown
        raise malformed("fields", "INVALID_PARAMETER_VALUE", "payment_source or nothing.", location="query")
    return 200, order_shown(call, call.find("paypal_order", order_id))


def approve(call: Call, order: Body, buyer: str) -> None:
    """The buyer agreed on PayPal's page."""
    order.update(buyer=buyer, status="APPROVED")
    call.save(order)
    call.emit("CHECKOUT.ORDER.APPROVED", order_shown(call, order))


def capture(call: Call, order_id: str) -> Answer:
    """Of an approved order, or of any that a saved wallet pays, which the request names."""
    CAPTURE(call.body, "")
    order = call.find("paypal_order", order_id)
    if order["status"] == "COMPLETED":
        raise refused(
            "ORDER_ALREADY_CAPTURED",
            "Order already captured. If 'intent=CAPTURE' only one capture per order is allowed.",
        )
    wallet = call.body.get("payment_source", {}).get("paypal", {})
    if wallet and order["wallet"] is not None:
        raise refused(
            "PAYMENT_SOURCE_CANNOT_BE_USED",
            "The order was created for another payment source: the sandbox takes none at its capture.",
            "/payment_source",
        )
    if "vault_id" in wallet:
        _refuse_same_invoice(call, order["unit"])
        return _pay_with_token(call, order, wallet["vault_id"])
    if order["status"] != "APPROVED":
        raise refused(
            "ORDER_NOT_APPROVED",
            "Payer has not yet approved the Order for payment. Please redirect the payer to the 'rel':'approve' url "
            "returned as part of the HATEOAS links within the Create Order call or provide a valid payment_source in "
            "the request.",
        )
    _refuse_same_invoice(call, order["unit"])
    _complete(call, order)
    shown = order_shown(call, order)
    return 201, shown if call.full else _minimal(shown)


def _complete(call: Call, order: Body) -> None:
    if order["buyer"] == "declined":
        raise declined(call, order)
    taken = payments.take(call, order)
    order.update(status="COMPLETED", capture=taken["id"])
    attributes = (order["wallet"] or {}).get("attributes", {})
    if "vault" in attributes:
        order["customer"] = attributes.get("customer", {}).get("id") or new_id(10)
        if order["buyer"] == "saved_later":
            order["stored"] = "later"
            due_at = call.box.clock.now() + vault.LATER_SECONDS
            call.box.state.later(due_at, vault.JOB, {"order": order["id"]})
        else:
            keep_wallet(call, order)
    call.save(order)


def keep_wallet(call: Call, order: Body) -> None:
    usage = order["wallet"]["attributes"]["vault"]
    order["stored"] = vault.store(call, order["customer"], usage, order["buyer"], order["id"])["id"]


def keep_wallet_later(box: Sandbox, payload: dict[str, Any]) -> None:
    """A wallet whose saving took longer than its payment."""
    call = Call(box)
    with box.state.transaction():
        order = call.find("paypal_order", payload["order"])
        if order["stored"] == "later":
            keep_wallet(call, order)
            call.save(order)


def declined(call: Call, order: Body) -> PayPalError:
    return refused(
        "INSTRUMENT_DECLINED",
        "The instrument presented was either declined by the processor or bank, or it can't be used for this payment.",
        links=[{"href": approval_page(call, order["id"]), "rel": "redirect", "method": "GET"}],
    )


def _pay_with_token(call: Call, order: Body, token_id: str) -> Answer:
    """A wallet that the shop keeps pays without its owner at the page, unless PayPal wants to ask the owner."""
    token = vault.find_token(call, token_id)
    order["buyer"] = token["buyer"]
    if token["buyer"] == "asked" and order["status"] != "APPROVED":
        order["status"] = "PAYER_ACTION_REQUIRED"
        call.save(order)
        if call.body.get("intent"):  # asked for at birth: an order that waits for its payer is an answer
            shown = order_shown(call, order)
            return 200, shown if call.full else _minimal(shown)
        raise Waiting(
            422, "PAYER_ACTION_REQUIRED", "Payer needs to perform the following action before proceeding with payment.",
            links=[{"href": approval_page(call, order["id"]), "rel": "payer-action", "method": "GET"}],
        )  # fmt: skip
    _complete(call, order)
    shown = order_shown(call, order)
    return 201, shown if call.full else _minimal(shown)


# How an order is shown


def approval_page(call: Call, order_id: str) -> str:
    return f"{call.url}/checkoutnow?token={order_id}"


def order_shown(call: Call, order: Body) -> Body:
    approved = order["status"] in {"APPROVED", "COMPLETED"}
    shown: Body = {"id": order["id"], "intent": order["intent"], "status": order["status"]}
    if order["wallet"] is not None or approved:
        shown["payment_source"] = {"paypal": _source(call, order) if approved else {}}
    unit: Body = {"reference_id": "default", **order["unit"], "payee": payments.payee(call)}
    unit["amount"] = {**order["unit"]["amount"], **money.shown(order["amount_minor"], order["currency"])}
    if order["capture"]:
        taken = call.find("paypal_capture", order["capture"])
        returned = call.box.state.select("paypal_refund", equal={"capture": taken["id"]})
        unit["payments"] = {"captures": [payments.capture_shown(call, taken, within_order=True)]}
        if returned:
            unit["payments"]["refunds"] = [
                payments.refund_shown(call, refund) for refund in reversed(returned)
            ]
    shown["purchase_units"] = [unit]
    if approved:
        shown["payer"] = PAYER
    shown["create_time"] = iso(order["created"])
    shown["update_time"] = iso(order["updated"])
    shown["links"] = _links(call, order)
    return shown


def _source(call: Call, order: Body) -> Body:
    if not order["stored"]:
        return WALLET
    if order["stored"] == "later":
        up = call.link(f"/v2/checkout/orders/{order['id']}", "up")
        return {**WALLET, "attributes": {"vault": {"status": "APPROVED", "links": [up]}}}
    token = call.box.state.get("paypal_payment_token", order["stored"]) or {}
    path = f"/v3/vault/payment-tokens/{order['stored']}"
    kept = {
        "id": order["stored"], "status": "VAULTED", "customer": {"id": token["customer"]},
        "links": [call.link(path), call.link(path, "delete", "DELETE")],
    }  # fmt: skip
    return {**WALLET, "attributes": {"vault": kept}}


def _links(call: Call, order: Body) -> list[dict[str, str]]:
    path = f"/v2/checkout/orders/{order['id']}"
    links = [call.link(path)]
    if order["status"] in {"CREATED", "PAYER_ACTION_REQUIRED"}:
        rel = "approve" if order["wallet"] is None else "payer-action"
        links.append({"href": approval_page(call, order["id"]), "rel": rel, "method": "GET"})
    if order["status"] in {"CREATED", "APPROVED"}:
        links.append(call.link(f"{path}/capture", "capture", "POST"))
    return links


def _minimal(shown: Body) -> Body:
    """What PayPal answers without Prefer: return=representation."""
    kept: dict[str, Any] = {
        name: shown[name] for name in ("id", "status", "payment_source", "payer", "links") if name in shown
    }
    units = [
        {name: unit[name] for name in ("reference_id", "payments")}
        for unit in shown["purchase_units"]
        if "payments" in unit
    ]
    return {**kept, "purchase_units": units} if units else kept
