"""Vault v3: a buyer lets the shop charge the wallet again later."""

from __future__ import annotations

from sandbox.paypal.buyers import WALLET
from sandbox.paypal.call import Answer, Body, Call, new_id
from sandbox.paypal.errors import malformed, refused
from sandbox.paypal.parameters import CUSTOMER_ID, PAYMENT_TOKEN, SETUP_TOKEN
from sandbox.paypal.reporting import number

SETUP_SECONDS = 3 * 86_400
JOB = "paypal.vault.later"
LATER_SECONDS = 60
_USAGE = ("usage_type", "customer_type", "description", "usage_pattern", "permit_multiple_payment_tokens")


def create_setup(call: Call) -> Answer:
    SETUP_TOKEN(call.body, "")
    wallet = call.body["payment_source"]["paypal"]
    context = wallet.get("experience_context", {})
    for name in ("return_url", "cancel_url"):
        if name not in context:
            raise malformed(
                f"/payment_source/paypal/experience_context/{name}", "MISSING_REQUIRED_PARAMETER",
                "A required field / parameter is missing.",
            )  # fmt: skip
    setup = {
        "id": new_id(), "object": "paypal_setup_token", "created": call.now, "updated": call.now,
        "customer": call.body.get("customer", {}).get("id") or new_id(10), "status": "PAYER_ACTION_REQUIRED",
        "usage": {name: wallet[name] for name in _USAGE if name in wallet}, "context": context, "buyer": "",
    }  # fmt: skip
    call.save(setup)
    return 201, setup_shown(call, setup)


def setup_shown(call: Call, setup: Body) -> Body:
    links = [call.link(f"/v3/vault/setup-tokens/{setup['id']}")]
    if setup["status"] == "PAYER_ACTION_REQUIRED":
        page = f"{call.url}/agreements/approve?approval_session_id={setup['id']}"
        links.append({"href": page, "rel": "approve", "method": "GET"})
    if setup["status"] == "APPROVED":
        links.append(call.link("/v3/vault/payment-tokens", "confirm", "POST"))
    told = WALLET if setup["buyer"] else {}
    return {
        "id": setup["id"], "customer": {"id": setup["customer"]}, "status": setup["status"],
        "payment_source": {"paypal": {**setup["usage"], **told}}, "links": links,
    }  # fmt: skip


def get_setup(call: Call, setup_id: str) -> Answer:
    return 200, setup_shown(call, call.find("paypal_setup_token", setup_id))


def approve_setup(call: Call, setup: Body, buyer: str) -> None:
    """The buyer agreed on PayPal's page."""
    setup.update(buyer=buyer, status="APPROVED")
    call.save(setup)


def create_token(call: Call) -> Answer:
    """An approved setup token becomes a payment token, once."""
    PAYMENT_TOKEN(call.body, "")
    setup = call.find("paypal_setup_token", call.body["payment_source"]["token"]["id"], "TOKEN_ID_NOT_FOUND")
    customer = call.body.get("customer", {}).get("id")
    if setup["status"] != "APPROVED":
        text = (
            "The setup token was used already."
            if setup["status"] == "VAULTED"
            else "The payer has not approved the setup token yet."
        )
        raise refused("SETUP_TOKEN_NOT_APPROVED", text, "/payment_source/token/id")
    if setup["created"] + SETUP_SECONDS < call.now:
        raise refused("TOKEN_EXPIRED", "The token has expired.", "/payment_source/token/id")
    if customer not in {None, setup["customer"]}:
        raise refused("CUSTOMER_ID_MISMATCH", "The setup token belongs to another customer.", "/customer/id")
    setup["status"] = "VAULTED"
    call.save(setup)
    token = store(call, setup["customer"], setup["usage"], setup["buyer"])
    return 201, token_shown(call, token)


def store(call: Call, customer: str, usage: Body, buyer: str, order_id: str = "") -> Body:
    """Keep a wallet; order_id is that of the payment that saved it."""
    token = {
        "id": new_id(10).lower(), "object": "paypal_payment_token", "created": call.now, "updated": call.now,
        "customer": customer, "usage": {name: usage[name] for name in _USAGE if name in usage}, "buyer": buyer,
    }  # fmt: skip
    call.save(token)
    metadata = {"metadata": {"order_id": order_id}} if order_id else {}
    call.emit("VAULT.PAYMENT-TOKEN.CREATED", {**token_shown(call, token), **metadata})
    return token


def token_shown(call: Call, token: Body) -> Body:
    path = f"/v3/vault/payment-tokens/{token['id']}"
    return {
        "id": token["id"], "customer": {"id": token["customer"]},
        "payment_source": {"paypal": {**token["usage"], **WALLET, "payer_id": WALLET["account_id"]}},
        "links": [call.link(path), call.link(path, "delete", "DELETE")],
    }  # fmt: skip


def find_token(call: Call, token_id: str) -> Body:
    """For paying with it. Raises TOKEN_ID_NOT_FOUND."""
    found = call.box.state.get("paypal_payment_token", token_id)
    if found is None or found.get("deleted"):
        raise refused(
            "TOKEN_ID_NOT_FOUND",
            "Specified token was not found.",
            "/payment_source/paypal/vault_id",
            value=token_id,
        )
    return found


def get_token(call: Call, token_id: str) -> Answer:
    return 200, token_shown(call, call.find("paypal_payment_token", token_id))


def list_tokens(call: Call) -> Answer:
    """One customer's tokens, newest first."""
    customer = call.query.get("customer_id")
    CUSTOMER_ID(customer, "customer_id")
    size, page = number(call, "page_size", 5, 5), number(call, "page", 1, 10)
    total_required = call.query.get("total_required", "false")
    if total_required not in {"true", "false"}:
        raise malformed("total_required", "INVALID_PARAMETER_VALUE", "true or false.", location="query")
    found = call.box.state.select("paypal_payment_token", equal={"customer": str(customer)}, limit=1_000)
    answer: Body = {
        "customer": {"id": customer},
        "payment_tokens": [token_shown(call, token) for token in found[(page - 1) * size : page * size]],
        "links": [call.link(f"/v3/vault/payment-tokens?customer_id={customer}&page={page}&page_size={size}")],
    }
    if len(found) > page * size:
        path = f"/v3/vault/payment-tokens?customer_id={customer}&page={page + 1}&page_size={size}"
        answer["links"].append(call.link(path, "next"))
    if total_required == "true" and found:
        answer.update(total_items=len(found), total_pages=-(-len(found) // size))
    return 200, answer


def delete_token(call: Call, token_id: str) -> Answer:
    token = call.find("paypal_payment_token", token_id)
    call.save({**token, "deleted": True})
    call.emit("VAULT.PAYMENT-TOKEN.DELETED", {"id": token_id})
    return 204, None
