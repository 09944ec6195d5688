"""Stripe's HTTP surface: keys, routes, strict parameters, idempotency, faults."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, request

from sandbox import faults
from sandbox.core import Sandbox, current
from sandbox.stripe import disputes, intents, methods, objects, payouts, refunds
from sandbox.stripe.call import Call, Handler, new_request_id
from sandbox.stripe.errors import StripeError, invalid, no_such
from sandbox.stripe.objects import Body
from sandbox.stripe.parameters import check, decode
from sandbox.webhooks import WebhookError

blueprint = Blueprint("stripe", __name__)

LARGEST_BODY = 1024 * 1024
LARGEST_FILE = 8 * 1024 * 1024
PURPOSES = frozenset(["dispute_evidence"])  # what the sandbox has a use for
KEYS_LIVE_SECONDS = 24 * 3_600
SECRET_KEY = re.compile(r"(sk|rk)_test_[A-Za-z0-9_]{16,247}")
PUBLISHABLE_KEY = re.compile(r"pk_test_[A-Za-z0-9_]{16,247}")
# What Stripe.js adds to its calls.
_FROM_BROWSERS = """
    key client_secret use_stripe_sdk expected_payment_method_type client_attribution_metadata referrer
    guid muid sid payment_user_agent time_on_page pasted_fields payment_method_data return_url
    _stripe_version radar_options
"""
FROM_BROWSERS = frozenset(_FROM_BROWSERS.split())


# Events and webhook endpoints are small enough to live beside their routes.


def retrieve_account(call: Call, account_id: str = objects.ACCOUNT_ID) -> Body:
    if account_id != objects.ACCOUNT_ID:
        raise no_such("account", account_id)
    return call.shown(objects.account())


def retrieve_event(call: Call, event_id: str) -> Body:
    return call.shown(call.find("event", event_id))


def list_events(call: Call) -> Body:
    types = list(call.params.get("types") or [])
    if call.params.get("type"):
        if types:
            raise invalid("You may only specify one of these parameters: type, types.")
        types = [call.params["type"]]
    if call.params.get("delivery_success") is not None:
        raise invalid(
            "The sandbox does not filter events by delivery_success; see its webhook log.", "delivery_success"
        )
    if types and types[0].endswith("*"):
        raise invalid("The sandbox filters events by whole types only.", "type")
    return call.page("event", "/v1/events", types=types)


def create_endpoint(call: Call) -> Body:
    if any(known["url"] == call.params["url"] for known in call.box.webhooks.endpoints("stripe")):
        raise invalid("The sandbox keeps one endpoint per url; delete the old one first.", "url")
    details = {
        "description": call.params.get("description"), "metadata": call.params.get("metadata") or {},
        "api_version": call.params.get("api_version"),
    }  # fmt: skip
    try:
        made = call.box.webhooks.set_endpoint(
            "stripe", call.params["url"], enabled_events=call.params["enabled_events"], details=details
        )
    except WebhookError as problem:
        raise invalid(f"Invalid URL: {problem}", "url", "url_invalid") from problem
    return {**objects.webhook_endpoint(made), "secret": made["secret"]}


def _endpoint(call: Call, endpoint_id: str) -> dict[str, Any]:
    for known in call.box.webhooks.endpoints("stripe"):
        if known["id"] == endpoint_id:
            return known
    raise no_such("webhook endpoint", endpoint_id)


def retrieve_endpoint(call: Call, endpoint_id: str) -> Body:
    return call.shown(objects.webhook_endpoint(_endpoint(call, endpoint_id)))


def list_endpoints(call: Call) -> Body:
    found = [objects.webhook_endpoint(known) for known in reversed(call.box.webhooks.endpoints("stripe"))]
    limit = call.params.get("limit", 10)
    return {
        "object": "list",
        "data": found[:limit],
        "has_more": len(found) > limit,
        "url": "/v1/webhook_endpoints",
    }


def delete_endpoint(call: Call, endpoint_id: str) -> Body:
    _endpoint(call, endpoint_id)
    call.box.webhooks.remove_endpoint(endpoint_id)
    return {"id": endpoint_id, "object": "webhook_endpoint", "deleted": True}


# Routes


@dataclass(frozen=True)
class Route:
    """One call. takes: the published parameters that the sandbox plays; others are refused, never ignored."""

    method: str
    pattern: re.Pattern[str]
    operation: str
    params: str
    handler: Handler
    takes: frozenset[str]
    publishable: bool = False


def _route(
    method: str,
    path: str,
    operation: str,
    params: str,
    handler: Handler,
    takes: str = "",
    *,
    publishable: bool = False,
) -> Route:
    pattern = re.compile(re.sub(r"\{\w+\}", r"([^/]+)", path))
    names = frozenset(takes.split()) | {"expand"}
    return Route(method, pattern, f"stripe.{operation}", params, handler, names, publishable)


PAGED = "limit starting_after ending_before created"
CUSTOMER = (
    "name email phone description metadata address shipping preferred_locales tax_exempt invoice_settings"
)
INTENT = (
    "amount currency customer description metadata payment_method payment_method_types payment_method_options "
    "receipt_email setup_future_usage shipping statement_descriptor statement_descriptor_suffix transfer_group "
    "capture_method"
)
CONFIRM = (
    "payment_method off_session receipt_email setup_future_usage shipping return_url error_on_requires_action "
    "use_stripe_sdk capture_method"
)

ROUTES = (
    _route("GET", "account", "account.retrieve", "AccountRetrieveCurrentParams", retrieve_account),
    _route("GET", "accounts/{id}", "account.retrieve", "AccountRetrieveParams", retrieve_account),
    _route("GET", "balance", "balance.retrieve", "BalanceRetrieveParams", refunds.balance),
    _route(
        "GET", "balance_transactions", "balance_transactions.list", "BalanceTransactionListParams",
        refunds.list_entries, f"{PAGED} source currency type",
    ),
    _route(
        "GET", "balance_transactions/{id}", "balance_transactions.retrieve", "BalanceTransactionRetrieveParams",
        refunds.retrieve_entry,
    ),
    _route("POST", "customers", "customers.create", "CustomerCreateParams", methods.create_customer, f"{CUSTOMER} payment_method"),
    _route("GET", "customers", "customers.list", "CustomerListParams", methods.list_customers, f"{PAGED} email"),
    _route("GET", "customers/{id}", "customers.retrieve", "CustomerRetrieveParams", methods.retrieve_customer),
    _route("POST", "customers/{id}", "customers.update", "CustomerUpdateParams", methods.update_customer, CUSTOMER),
    _route("DELETE", "customers/{id}", "customers.delete", "CustomerDeleteParams", methods.delete_customer),
    _route(
        "GET", "customers/{id}/payment_methods", "customers.payment_methods.list", "CustomerListPaymentMethodsParams",
        methods.list_customer_methods, f"{PAGED} type",
    ),
    _route(
        "GET", "customers/{id}/payment_methods/{id}", "customers.payment_methods.retrieve",
        "CustomerRetrievePaymentMethodParams", methods.retrieve_customer_method,
    ),
    _route(
        "POST", "payment_methods", "payment_methods.create", "PaymentMethodCreateParams", methods.create_method,
        "type card billing_details metadata", publishable=True,
    ),
    _route(
        "GET", "payment_methods", "payment_methods.list", "PaymentMethodListParams", methods.list_methods,
        f"{PAGED} customer type",
    ),
    _route("GET", "payment_methods/{id}", "payment_methods.retrieve", "PaymentMethodRetrieveParams", methods.retrieve_method),
    _route(
        "POST", "payment_methods/{id}", "payment_methods.update", "PaymentMethodUpdateParams", methods.update_method,
        "metadata billing_details allow_redisplay",
    ),
    _route(
        "POST", "payment_methods/{id}/attach", "payment_methods.attach", "PaymentMethodAttachParams",
        methods.attach_method, "customer",
    ),
    _route("POST", "payment_methods/{id}/detach", "payment_methods.detach", "PaymentMethodDetachParams", methods.detach_method),
    _route(
        "POST", "payment_intents", "payment_intents.create", "PaymentIntentCreateParams", intents.create_payment,
        f"{INTENT} automatic_payment_methods confirm confirmation_method off_session return_url "
        "error_on_requires_action use_stripe_sdk",
    ),
    _route("GET", "payment_intents", "payment_intents.list", "PaymentIntentListParams", intents.list_payments, f"{PAGED} customer"),
    _route(
        "GET", "payment_intents/{id}", "payment_intents.retrieve", "PaymentIntentRetrieveParams",
        intents.retrieve_payment, "client_secret", publishable=True,
    ),
    _route("POST", "payment_intents/{id}", "payment_intents.update", "PaymentIntentUpdateParams", intents.update_payment, INTENT),
    _route(
        "POST", "payment_intents/{id}/confirm", "payment_intents.confirm", "PaymentIntentConfirmParams",
        intents.confirm_payment, CONFIRM, publishable=True,
    ),
    _route(
        "POST", "payment_intents/{id}/cancel", "payment_intents.cancel", "PaymentIntentCancelParams",
        intents.cancel_payment, "cancellation_reason",
    ),
    _route(
        "POST", "payment_intents/{id}/capture", "payment_intents.capture", "PaymentIntentCaptureParams",
        intents.capture_payment, "amount_to_capture metadata",
    ),
    _route(
        "POST", "setup_intents", "setup_intents.create", "SetupIntentCreateParams", intents.create_setup,
        "automatic_payment_methods confirm customer description metadata payment_method payment_method_types return_url "
        "usage use_stripe_sdk",
    ),
    _route("GET", "setup_intents", "setup_intents.list", "SetupIntentListParams", intents.list_setups, f"{PAGED} customer payment_method"),
    _route(
        "GET", "setup_intents/{id}", "setup_intents.retrieve", "SetupIntentRetrieveParams", intents.retrieve_setup,
        "client_secret", publishable=True,
    ),
    _route(
        "POST", "setup_intents/{id}", "setup_intents.update", "SetupIntentUpdateParams", intents.update_setup,
        "customer description metadata payment_method",
    ),
    _route(
        "POST", "setup_intents/{id}/confirm", "setup_intents.confirm", "SetupIntentConfirmParams",
        intents.confirm_setup, "payment_method return_url use_stripe_sdk", publishable=True,
    ),
    _route(
        "POST", "setup_intents/{id}/cancel", "setup_intents.cancel", "SetupIntentCancelParams", intents.cancel_setup,
        "cancellation_reason",
    ),
    _route(
        "POST", "refunds", "refunds.create", "RefundCreateParams", refunds.create_refund,
        "amount charge payment_intent reason metadata",
    ),
    _route("GET", "refunds", "refunds.list", "RefundListParams", refunds.list_refunds, f"{PAGED} charge payment_intent"),
    _route("GET", "refunds/{id}", "refunds.retrieve", "RefundRetrieveParams", refunds.retrieve_refund),
    _route("POST", "refunds/{id}", "refunds.update", "RefundUpdateParams", refunds.update_refund, "metadata"),
    _route("POST", "refunds/{id}/cancel", "refunds.cancel", "RefundCancelParams", refunds.cancel_refund),
    _route("GET", "charges", "charges.list", "ChargeListParams", refunds.list_charges, f"{PAGED} customer payment_intent"),
    _route("GET", "charges/{id}", "charges.retrieve", "ChargeRetrieveParams", refunds.retrieve_charge),
    _route("POST", "charges/{id}", "charges.update", "ChargeUpdateParams", refunds.update_charge, "metadata description receipt_email"),
    _route("GET", "charges/{id}/refunds", "charges.refunds.list", "ChargeListRefundsParams", refunds.list_charge_refunds, PAGED),
    _route("GET", "disputes", "disputes.list", "DisputeListParams", disputes.list_disputes, f"{PAGED} charge payment_intent"),
    _route("GET", "disputes/{id}", "disputes.retrieve", "DisputeRetrieveParams", disputes.retrieve_dispute),
    _route("POST", "disputes/{id}", "disputes.update", "DisputeUpdateParams", disputes.update_dispute, "evidence metadata submit"),
    _route("POST", "disputes/{id}/close", "disputes.close", "DisputeCloseParams", disputes.close_dispute),
    _route(
        "POST", "payouts", "payouts.create", "PayoutCreateParams", payouts.create_payout,
        "amount currency description metadata statement_descriptor",
    ),
    _route("GET", "payouts", "payouts.list", "PayoutListParams", payouts.list_payouts, f"{PAGED} status"),
    _route("GET", "payouts/{id}", "payouts.retrieve", "PayoutRetrieveParams", payouts.retrieve_payout),
    _route("GET", "files/{id}", "files.retrieve", "FileRetrieveParams", disputes.retrieve_file),
    _route("GET", "events", "events.list", "EventListParams", list_events, f"{PAGED} type types delivery_success"),
    _route("GET", "events/{id}", "events.retrieve", "EventRetrieveParams", retrieve_event),
    _route(
        "POST", "webhook_endpoints", "webhook_endpoints.create", "WebhookEndpointCreateParams", create_endpoint,
        "url enabled_events description metadata api_version",
    ),
    _route("GET", "webhook_endpoints", "webhook_endpoints.list", "WebhookEndpointListParams", list_endpoints, "limit"),
    _route("GET", "webhook_endpoints/{id}", "webhook_endpoints.retrieve", "WebhookEndpointRetrieveParams", retrieve_endpoint),
    _route("DELETE", "webhook_endpoints/{id}", "webhook_endpoints.delete", "WebhookEndpointDeleteParams", delete_endpoint),
)  # fmt: skip


# One request


@blueprint.route("/stripe/v1/<path:path>", methods=["GET", "POST", "DELETE", "OPTIONS", "PUT", "PATCH"])
def answer(path: str) -> Response:
    """Every call to Stripe's API."""
    if request.method == "OPTIONS":
        return _allow_browsers(Response(status=204))
    box, request_id = current(), new_request_id()
    try:
        response = _answer(box, path, request_id)
    except StripeError as error:
        response = _json(error.body(), error.status)
    response.headers.setdefault("Request-Id", request_id)
    response.headers["Stripe-Version"] = request.headers.get("Stripe-Version", objects.API_VERSION)
    key = request.headers.get("Idempotency-Key")
    if key and key.isprintable() and key.isascii():
        response.headers["Idempotency-Key"] = key
    return _allow_browsers(response)


@blueprint.post("/stripe/v1/files")
def upload() -> Response:
    """Take a file, the one call that is not form-encoded: multipart, with `purpose` and `file`."""
    box, request_id = current(), new_request_id()
    try:
        response = _upload(box, request_id)
    except StripeError as error:
        response = _json(error.body(), error.status)
    response.headers["Request-Id"] = request_id
    return response


def _upload(box: Sandbox, request_id: str) -> Response:
    if _authenticate(b""):
        raise StripeError("Please use a secret API key.", status=403, code="secret_key_required")
    if not 0 < (request.content_length or 0) <= LARGEST_FILE:
        raise StripeError("The file is too large.", status=413)
    fault = box.faults.take("stripe.files.create")
    if fault.refuses:
        return _refusal(429 if fault.behaviour == faults.TOO_MANY else fault.status)
    purpose, sent = request.form.get("purpose", ""), request.files.get("file")
    if sent is None or not purpose:
        missing = "purpose" if sent is not None else "file"
        raise invalid(f"Missing required param: {missing}.", param=missing, code="parameter_missing")
    if purpose not in PURPOSES:
        raise invalid(f"Invalid purpose: {purpose[:40]}.", "purpose")
    faults.before(fault)
    call = Call(box, request_id=request_id)
    with box.state.transaction():
        kept = disputes.keep_file(
            call, filename=sent.filename or "file", content=sent.read(), purpose=purpose
        )
    if fault.behaviour == faults.DO_THEN_500:
        return _refusal(500)
    return faults.after(fault, _json(kept, 200))


def _answer(box: Sandbox, path: str, request_id: str) -> Response:
    encoded = request.query_string if request.method in {"GET", "DELETE"} else _body()
    publishable = _authenticate(encoded)
    route, identifiers = _find_route(path)
    if publishable and not route.publishable:
        raise StripeError(
            "This API call cannot be made with a publishable API key. Please use a secret API key. You can find a list "
            "of your API keys at https://dashboard.stripe.com/account/apikeys.",
            status=403, code="secret_key_required",
        )  # fmt: skip
    fault = box.faults.take(route.operation)
    if fault.refuses:
        return _refusal(429 if fault.behaviour == faults.TOO_MANY else fault.status)
    raw = decode(encoded)
    params = _checked(route, raw, publishable)
    key = request.headers.get("Idempotency-Key") if request.method == "POST" else None
    call = Call(box, params, raw, publishable, key, request_id)
    if key is None:
        faults.before(fault)
        return faults.after(fault, _execute(call, route, identifiers, fault))
    if len(key) > 255:
        raise invalid("Idempotency-Key is too long: it may have up to 255 characters.")
    return _once(call, route, identifiers, fault, encoded)


def _body() -> bytes:
    if (request.content_length or 0) > LARGEST_BODY:
        raise StripeError("Request body is too large.", status=413)
    body = request.get_data(cache=False)
    if len(body) > LARGEST_BODY:
        raise StripeError("Request body is too large.", status=413)
    kind = request.mimetype
    if body and kind not in {"application/x-www-form-urlencoded", ""}:
        raise StripeError(
            f"Invalid request: this call takes form data (application/x-www-form-urlencoded), not {kind[:80]}."
        )
    return body


def _find_route(path: str) -> tuple[Route, tuple[str, ...]]:
    for route in ROUTES:
        found = route.pattern.fullmatch(path)
        if found and route.method == request.method:
            return route, found.groups()
    raise StripeError(
        f"Unrecognized request URL ({request.method}: /v1/{path[:200]}). Please see https://stripe.com/docs or we can "
        "help at https://support.stripe.com/.",
        status=404,
    )


def _authenticate(encoded: bytes) -> bool:
    """True for a publishable key, False for a secret one. Raises Stripe's 401."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    key = value.strip()
    if scheme.lower() == "basic":
        try:
            key = base64.b64decode(key, validate=True).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            key = ""
    elif scheme and scheme.lower() != "bearer":
        key = ""
    if not key:
        given = re.search(rb"(?:^|&)key=(pk_[A-Za-z0-9_]+)", encoded)
        key = given.group(1).decode() if given else ""
    if not key:
        raise StripeError(
            "You did not provide an API key. You need to provide your API key in the Authorization header, using "
            "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See https://stripe.com/docs/api#authentication "
            "for details, or we can help at https://support.stripe.com/.",
            status=401,
        )
    if PUBLISHABLE_KEY.fullmatch(key):
        return True
    if SECRET_KEY.fullmatch(key):
        return False
    hidden = key[:8] + "*" * max(len(key) - 12, 0) + key[-4:] if len(key) > 12 else "*" * len(key)
    live = " This is a sandbox: it takes test keys only, never a live key." if "_live_" in key else ""
    raise StripeError(f"Invalid API Key provided: {hidden[:60]}.{live}", status=401)


def _checked(route: Route, raw: dict[str, Any], publishable: bool) -> dict[str, Any]:
    extra = FROM_BROWSERS if publishable else frozenset()
    # What browsers add has its own reader; the published types describe servers only.
    values = {
        name: value for name, value in raw.items() if not (publishable and name == "payment_method_data")
    }
    params = check(values, route.params, extra=extra)
    unplayed = [name for name in params if name not in route.takes and name not in extra]
    if unplayed:
        raise StripeError(
            f"The sandbox does not play the parameter {min(unplayed)} of {route.operation}, and ignores none.",
            code="sandbox_unsupported", param=min(unplayed), validation=True,
        )  # fmt: skip
    return params


def _execute(call: Call, route: Route, identifiers: tuple[str, ...], fault: faults.Fault) -> Response:
    with call.box.state.transaction():
        return _run(call, route, identifiers, fault)


def _run(call: Call, route: Route, identifiers: tuple[str, ...], fault: faults.Fault) -> Response:
    """Run inside the caller's transaction: an error undoes its own changes unless it says otherwise."""
    try:
        response = _attempt(call, route, identifiers)
    except StripeError as error:
        if error.validation:
            raise
        response = _json(error.body(), error.status)
    if fault.behaviour == faults.DO_THEN_500:
        return _refusal(500)
    return response


class _Undo(Exception):
    """Carries an error out of a savepoint."""

    def __init__(self, error: StripeError) -> None:
        super().__init__(str(error))
        self.error = error


def _attempt(call: Call, route: Route, identifiers: tuple[str, ...]) -> Response:
    try:
        with call.box.state.transaction():
            try:
                return _json(route.handler(call, *identifiers), 200)
            except StripeError as error:
                if not error.keeps_changes:
                    raise _Undo(error) from error
                return _json(error.body(), error.status)
    except _Undo as undone:
        raise undone.error from None


def _once(
    call: Call, route: Route, identifiers: tuple[str, ...], fault: faults.Fault, encoded: bytes
) -> Response:
    """Idempotency: the first answer of a key is the only one, for 24 hours of the sandbox's clock."""
    box, key = call.box, str(call.idempotency_key)
    path = request.path.removeprefix("/stripe")
    fingerprint = hashlib.sha256(encoded).hexdigest()
    with box.busy_lock:
        if key in box.busy_keys:
            raise StripeError(
                "There is currently another in-progress request using this Idempotent Key (that probably means you "
                f"submitted twice, and the other request is still going through): {key[:255]}. Please try again later.",
                status=409, kind="idempotency_error", code="idempotency_key_in_use",
            )  # fmt: skip
        box.busy_keys.add(key)
    try:
        known = box.state.row("SELECT * FROM idempotency WHERE key = ?", key)
        if known is not None and known["created"] > box.clock.now() - KEYS_LIVE_SECONDS:
            return _replay(known, path, fingerprint, key)
        faults.before(fault)
        with box.state.transaction():
            response = _run(call, route, identifiers, fault)
            box.state.run(
                "INSERT OR REPLACE INTO idempotency (key, path, fingerprint, status, body, request_id, created) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                key, path, fingerprint, response.status_code, response.get_data(as_text=True), call.request_id,
                box.clock.now(),
            )  # fmt: skip
    finally:
        with box.busy_lock:
            box.busy_keys.discard(key)
    return faults.after(fault, response)


def _replay(known: Any, path: str, fingerprint: str, key: str) -> Response:
    if known["path"] != path:
        raise StripeError(
            f"Keys for idempotent requests can only be used for the same endpoint they were first used for ('{path}' "
            f"vs '{known['path']}'). Try using a key other than '{key}' if you meant to execute a different request.",
            kind="idempotency_error",
        )
    if known["fingerprint"] != fingerprint:
        raise StripeError(
            "Keys for idempotent requests can only be used with the same parameters they were first used with. Try "
            f"using a key other than '{key}' if you meant to execute a different request.",
            kind="idempotency_error",
        )
    response = Response(known["body"], status=known["status"], mimetype="application/json")
    response.headers["Idempotent-Replayed"] = "true"
    response.headers["Original-Request"] = known["request_id"]
    response.headers["Request-Id"] = known["request_id"]
    return response


def _refusal(status: int) -> Response:
    if status == 429:
        error = StripeError(
            "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.",
            status=429, code="rate_limit",
        )  # fmt: skip
    elif status >= 500:
        error = StripeError(
            "An unknown error occurred. The sandbox was told to answer so.", status=status, kind="api_error"
        )
    else:
        error = StripeError("The sandbox was told to refuse this call; nothing was done.", status=status)
    return _json(error.body(), status)


def _json(body: Body, status: int) -> Response:
    return Response(
        json.dumps(body, indent=2, ensure_ascii=False) + "\n", status=status, mimetype="application/json"
    )


def _allow_browsers(response: Response) -> Response:
    """Stripe.js calls from the shop's pages; without cookies nothing is given away."""
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
    response.headers["Access-Control-Allow-Headers"] = (
        "Authorization, Content-Type, Stripe-Version, Idempotency-Key"
    )
    response.headers["Access-Control-Expose-Headers"] = "Request-Id, Idempotent-Replayed"
    response.headers["Access-Control-Max-Age"] = "300"
    response.headers["Cache-Control"] = "no-store"
    return response


def plug_in(box: Sandbox) -> None:
    """Let the courier carry out what Stripe does later."""

    def finish(payload: dict[str, Any]) -> None:
        refund = box.state.get("refund", payload["refund"])
        if refund is not None and refund["status"] == "pending":
            refunds.finish(box, payload["refund"], payload["status"])

    box.webhooks.handle_jobs(refunds.JOB, finish)
    disputes.plug_in(box)
    payouts.plug_in(box)
