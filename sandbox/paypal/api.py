"""PayPal's REST API: access tokens, routing, idempotency."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, request

from sandbox import faults
from sandbox.core import Sandbox, current
from sandbox.paypal import disputes, ipn, notifications, orders, payments, reporting, vault, withdrawals
from sandbox.paypal.call import Answer, Call, new_id
from sandbox.paypal.errors import PayPalError, Waiting, malformed
from sandbox.paypal.parameters import read

blueprint = Blueprint("paypal", __name__)

LARGEST_BODY = 1024 * 1024
HOUR, DAY = 3_600, 86_400
LONGEST_REQUEST_ID = 108
SCOPE = (
    "https://uri.paypal.com/services/payments/payment https://uri.paypal.com/services/reporting/search/read "
    "https://uri.paypal.com/services/reporting/balances/read"
)


@dataclass(frozen=True)
class Route:
    method: str
    pattern: re.Pattern[str]
    operation: str
    handler: Callable[..., Answer]
    keeps_seconds: int = 0  # how long PayPal-Request-Id is remembered
    query: tuple[str, ...] = ()


def _route(
    method: str, path: str, operation: str, handler: Callable[..., Answer], keeps: int = 0, query: str = ""
) -> Route:
    pattern = re.compile(re.sub(r"\{id\}", r"([^/]+)", path))
    return Route(method, pattern, f"paypal.{operation}", handler, keeps, tuple(query.split()))


ROUTES = (
    _route("POST", "v2/checkout/orders", "orders.create", orders.create, 6 * HOUR),
    _route("GET", "v2/checkout/orders/{id}", "orders.get", orders.get, query="fields"),
    _route("POST", "v2/checkout/orders/{id}/capture", "orders.capture", orders.capture, 6 * HOUR),
    _route("GET", "v2/payments/captures/{id}", "captures.get", payments.get_capture),
    _route("POST", "v2/payments/captures/{id}/refund", "captures.refund", payments.refund_capture, 45 * DAY),
    _route("GET", "v2/payments/refunds/{id}", "refunds.get", payments.get_refund),
    _route("POST", "v1/notifications/verify-webhook-signature", "webhooks.verify", notifications.verify),
    _route("POST", "v1/notifications/webhooks", "webhooks.create", notifications.create_webhook),
    _route("GET", "v1/notifications/webhooks", "webhooks.list", notifications.list_webhooks),
    _route("GET", "v1/notifications/webhooks/{id}", "webhooks.get", notifications.get_webhook),
    _route("DELETE", "v1/notifications/webhooks/{id}", "webhooks.delete", notifications.delete_webhook),
    _route("GET", "v1/notifications/webhooks-events/{id}", "events.get", notifications.get_event),
    _route(
        "POST", "v1/notifications/webhooks-events/{id}/resend", "events.resend", notifications.resend_event
    ),
    _route("POST", "v3/vault/setup-tokens", "setup_tokens.create", vault.create_setup, 3 * HOUR),
    _route("GET", "v3/vault/setup-tokens/{id}", "setup_tokens.get", vault.get_setup),
    _route("POST", "v3/vault/payment-tokens", "payment_tokens.create", vault.create_token, 3 * HOUR),
    _route(
        "GET",
        "v3/vault/payment-tokens",
        "payment_tokens.list",
        vault.list_tokens,
        query="customer_id page_size page total_required",
    ),
    _route("GET", "v3/vault/payment-tokens/{id}", "payment_tokens.get", vault.get_token),
    _route("DELETE", "v3/vault/payment-tokens/{id}", "payment_tokens.delete", vault.delete_token),
    _route(
        "GET", "v1/reporting/transactions", "transactions.list", reporting.transactions, query=reporting.QUERY
    ),
    _route(
        "GET", "v1/reporting/balances", "balances.list", reporting.balances, query="as_of_time currency_code"
    ),
    _route("GET", "v1/customer/disputes", "disputes.list", disputes.list_disputes, query=disputes.QUERY),
    _route("GET", "v1/customer/disputes/{id}", "disputes.get", disputes.get),
    _route(
        "POST",
        "v1/customer/disputes/{id}/provide-evidence",
        "disputes.provide_evidence",
        disputes.provide_evidence,
    ),
    _route("POST", "v1/customer/disputes/{id}/accept-claim", "disputes.accept_claim", disputes.accept_claim),
)
TOKEN_OPERATION = "paypal.oauth2.token"  # noqa: S105 the name of an operation
OPERATIONS = ("paypal.*", TOKEN_OPERATION, *(route.operation for route in ROUTES), "paypal.ipn.verify")


# Access tokens: signed, not stored, so they outlive a restart and end by the real clock


@blueprint.post("/paypal/v1/oauth2/token")
def token() -> Response:
    box = current()
    fault = box.faults.take(TOKEN_OPERATION)
    return faults.play(fault, lambda: _token(box), _refusal)


def _token(box: Sandbox) -> Response:
    client = request.authorization
    known = (
        client is not None
        and client.type == "basic"
        and hmac.compare_digest(str(client.username).encode(), box.options.paypal_client_id.encode())
        and hmac.compare_digest(str(client.password).encode(), box.options.paypal_client_secret.encode())
    )
    if not known:
        return _json({"error": "invalid_client", "error_description": "Client Authentication failed"}, 401)
    form = urllib.parse.parse_qs(request.get_data(as_text=True), keep_blank_values=True)
    if form.get("grant_type") != ["client_credentials"]:
        return _json(
            {"error": "unsupported_grant_type", "error_description": "Grant Type is NULL or not supported"},
            400,
        )
    if extra := sorted(set(form) - {"grant_type"}):
        description = f"The sandbox does not play {extra[0][:100]}, and ignores nothing."
        return _json({"error": "invalid_request", "error_description": description}, 400)
    seconds = box.options.paypal_token_seconds
    body = f"{int(time.time() + seconds)}.{secrets.token_urlsafe(12)}"
    return _json(
        {
            "scope": SCOPE, "access_token": f"A21AA.{body}.{_seal(box, body)}", "token_type": "Bearer",
            "app_id": "APP-80W284485P519543T", "expires_in": seconds, "nonce": secrets.token_urlsafe(24),
        },
        200,
    )  # fmt: skip


def _seal(box: Sandbox, body: str) -> str:
    key = f"{box.options.paypal_client_id}:{box.options.paypal_client_secret}".encode()
    sealed = hmac.new(key, body.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(sealed).decode().rstrip("=")


def _authenticate(box: Sandbox) -> None:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    found = re.fullmatch(r"A21AA\.((\d{1,12})\.[\w-]+)\.([\w-]+)", value.strip(), re.ASCII)
    good = (
        scheme.lower() == "bearer"
        and found is not None
        and hmac.compare_digest(found[3], _seal(box, found[1]))
        and int(found[2]) > time.time()
    )
    if not good:
        raise PayPalError(401, "INVALID_ACCESS_TOKEN", "The access token is missing, wrong or expired.")


# One request


@blueprint.get(f"/paypal{notifications.CERTIFICATES}<name>")
def certificate(name: str) -> Response:
    """The certificate behind PAYPAL-CERT-URL."""
    signer: notifications.Signer = current().parts["paypal_signer"]
    if name != signer.certificate_id:
        return _problem(PayPalError(404))
    return Response(signer.certificate, mimetype="application/x-pem-file")


@blueprint.route("/paypal/<path:path>", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
def answer(path: str) -> Response:
    """Every call to PayPal's REST API."""
    try:
        return _answer(current(), path)
    except PayPalError as error:
        return _problem(error)


def _answer(box: Sandbox, path: str) -> Response:
    _authenticate(box)
    route, identifiers = _find_route(path)
    fault = box.faults.take(route.operation)
    call = _call(box, route)

    def execute() -> Response:
        try:
            with box.state.transaction():
                try:
                    return _once(call, route, identifiers)
                except Waiting as waiting:
                    return _problem(waiting)
        except PayPalError as error:
            return _problem(error)

    return faults.play(fault, execute, _refusal)


def _find_route(path: str) -> tuple[Route, tuple[str, ...]]:
    found = [(route, match) for route in ROUTES if (match := route.pattern.fullmatch(path))]
    for route, match in found:
        if route.method == request.method:
            return route, match.groups()
    raise PayPalError(405 if found else 404, "", f"The sandbox does not play {request.method} /{path[:200]}.")


def _call(box: Sandbox, route: Route) -> Call:
    for header in ("PayPal-Auth-Assertion", "PayPal-Mock-Response"):
        if header in request.headers:
            raise malformed(
                header,
                "INVALID_PARAMETER",
                "The sandbox does not play this header, and ignores none.",
                location="header",
            )
    query = request.args.to_dict()
    unplayed = sorted(set(query) - set(route.query))
    if unplayed:
        raise malformed(
            unplayed[0][:100], "INVALID_PARAMETER",
            "The sandbox does not know or play this query parameter, and ignores none.", location="query",
        )  # fmt: skip
    prefer = request.headers.get("Prefer", "return=minimal")
    if prefer not in {"return=minimal", "return=representation"}:
        raise malformed(
            "Prefer",
            "INVALID_PARAMETER_VALUE",
            "Prefer return=minimal or return=representation.",
            prefer,
            "header",
        )
    request_id = request.headers.get("PayPal-Request-Id", "")
    if len(request_id) > LONGEST_REQUEST_ID:
        raise malformed(
            "PayPal-Request-Id",
            "INVALID_STRING_MAX_LENGTH",
            "The value of a field is too long.",
            request_id,
            "header",
        )
    full = prefer == "return=representation"
    if route.operation == "paypal.disputes.provide_evidence":
        body, files = _parts()
        return Call(box, body, query, full, request_id, files=files)
    body, raw = _body()
    return Call(box, body, query, full, request_id, raw)


def _parts() -> tuple[dict[str, Any], list[tuple[str, str, int]]]:
    """The JSON part `input` and the files of a multipart request."""
    if request.mimetype != "multipart/form-data":
        raise PayPalError(415)
    texts = {
        **request.form,
        **{
            name: part.read().decode(errors="replace")
            for name, part in request.files.items()
            if name == "input"
        },
    }
    if set(texts) != {"input"}:
        raise malformed("input", "INVALID_PARAMETER", "Send one part named input with JSON, and files.")
    files = [
        (part.filename or name, part.mimetype, len(part.read()))
        for name, part in request.files.items(multi=True)
        if name != "input"
    ]
    return read(texts["input"]), files


def _body() -> tuple[dict[str, Any], str]:
    """The JSON object of the request, and its text as it was sent."""
    if (request.content_length or 0) > LARGEST_BODY:
        raise PayPalError(413)
    raw = request.get_data()
    if raw and request.mimetype != "application/json":
        raise PayPalError(415)
    try:
        text = raw.decode()
    except UnicodeDecodeError as problem:
        raise malformed("/", "MALFORMED_REQUEST_JSON", "The request is not UTF-8.") from problem
    return read(text), text


def _once(call: Call, route: Route, identifiers: tuple[str, ...]) -> Response:
    """The first good answer of a PayPal-Request-Id is the only one while PayPal remembers it."""
    if not route.keeps_seconds or not call.request_id:
        return _json_answer(route.handler(call, *identifiers))
    state, now = call.box.state, call.box.clock.now()
    key = f"{route.operation} {call.request_id}"
    fingerprint = hashlib.sha256(
        request.path.encode() + b"\n" + json.dumps(call.body, sort_keys=True).encode()
    )
    known = state.row("SELECT * FROM idempotency WHERE key = ?", key)
    if known is not None and known["created"] > now - route.keeps_seconds:
        if known["fingerprint"] != fingerprint.hexdigest():
            raise PayPalError(
                422, "DUPLICATE_REQUEST_ID",
                "The value of PayPal-Request-Id header has already been used. Please specify a different value.",
                field="PayPal-Request-Id", location="header", value=call.request_id,
            )  # fmt: skip
        return Response(known["body"], status=known["status"], mimetype="application/json")
    response = _json_answer(route.handler(call, *identifiers))
    state.run(
        "INSERT OR REPLACE INTO idempotency (key, path, fingerprint, status, body, request_id, created) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        key, request.path, fingerprint.hexdigest(), response.status_code, response.get_data(as_text=True), new_id(), now,
    )  # fmt: skip
    return response


def _json_answer(given: Answer) -> Response:
    status, body = given
    return Response(status=status) if body is None else _json(body, status)


def _problem(error: PayPalError) -> Response:
    body = error.body()
    if not error.issue and error.description:
        body["message"] = error.description
    response = _json(body, error.status)
    response.headers["Paypal-Debug-Id"] = body["debug_id"]
    return response


def _refusal(status: int) -> Response:
    issue = "" if status in {429, 500, 503} else "SANDBOX_REFUSED"
    return _problem(PayPalError(status, issue, "The sandbox was told to answer so." if issue else ""))


def _json(body: dict[str, Any], status: int) -> Response:
    response = Response(json.dumps(body, ensure_ascii=False), status=status, mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def plug_in(box: Sandbox) -> None:
    """Sign what PayPal posts, and let the courier carry out what it does later."""

    def finish_capture(payload: dict[str, Any]) -> None:
        capture = box.state.get("paypal_capture", payload["capture"])
        if capture is not None and capture["status"] == "PENDING":
            payments.finish_capture(box, payload["capture"], payload["status"])

    def finish_refund(payload: dict[str, Any]) -> None:
        refund = box.state.get("paypal_refund", payload["refund"])
        if refund is not None and refund["status"] == "PENDING":
            payments.finish_refund(box, payload["refund"], payload["status"])

    box.parts["paypal_signer"] = notifications.Signer(box.state.folder)
    box.webhooks.sign_with("paypal", lambda row, at: notifications.headers(box, row, at))
    box.webhooks.sign_with("paypal_ipn", lambda _row, _at: ipn.HEADERS)
    box.webhooks.handle_jobs(payments.CAPTURE_JOB, finish_capture)
    box.webhooks.handle_jobs(payments.REFUND_JOB, finish_refund)
    box.webhooks.handle_jobs(vault.JOB, lambda payload: orders.keep_wallet_later(box, payload))
    withdrawals.plug_in(box)
    box.webhooks.handle_jobs(disputes.JOB, lambda payload: disputes.overdue(box, payload))
