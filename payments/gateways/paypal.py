"""PayPal: Orders v2, Payments v2, Vault v3. The same code runs against the sandbox, PayPal's own sandbox and live mode.

The customer agrees on PayPal's page, and nothing is taken until we capture. An order whose id we never learnt was therefore never
paid, and an order that is not wanted any more is simply never captured. A saved wallet keeps to that: its order is created bare, and the
capture names the wallet. (An order that names it at birth would be paid at birth, and a lost answer would be lost money.)
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import requests
from apimatic_core.exceptions.auth_validation_exception import AuthValidationException
from django.conf import settings
from django.urls import reverse
from paypalserversdk.configuration import Configuration, Server
from paypalserversdk.exceptions.api_exception import ApiException
from paypalserversdk.http.auth.o_auth_2 import ClientCredentialsAuthCredentials, OAuth2
from paypalserversdk.models.o_auth_token import OAuthToken
from paypalserversdk.paypal_serversdk_client import PaypalServersdkClient

from foundation.money import Money
from payments.gateways.base import (
    Declined,
    Gone,
    OutcomeUnknown,
    ProviderMethod,
    ProviderPayment,
    ProviderRefund,
    ProviderSetup,
    Rejected,
    Unavailable,
    provider_call,
)

logger = logging.getLogger(__name__)

STATUS_OF_ORDER = {
    "CREATED": "requires_action",
    "SAVED": "requires_action",
    "PAYER_ACTION_REQUIRED": "requires_action",
    "APPROVED": "requires_action",
    "VOIDED": "cancelled",
    "COMPLETED": "processing",  # its capture says how it went
}
STATUS_OF_CAPTURE = {
    "COMPLETED": "captured",
    "PARTIALLY_REFUNDED": "captured",
    "REFUNDED": "captured",
    "PENDING": "processing",
    "DECLINED": "failed",
    "FAILED": "failed",
}
STATUS_OF_REFUND = {"PENDING": "pending", "COMPLETED": "succeeded", "FAILED": "failed", "CANCELLED": "failed"}
# developer.paypal.com, "Currency codes": what it settles in. Three of them it takes in whole units only.
CURRENCIES = frozenset({
    "AUD", "BRL", "CAD", "CHF", "CNY", "CZK", "DKK", "EUR", "GBP", "HKD", "HUF", "ILS", "JPY", "MXN", "MYR", "NOK", "NZD",
    "PHP", "PLN", "SEK", "SGD", "THB", "TWD", "USD",
})  # fmt: skip
WHOLE_UNITS = frozenset({"HUF", "JPY", "TWD"})
LARGEST_MAJOR = 9_999_999
# The buyer's side said no. Everything else in a 422 is between PayPal and us.
DECLINED_ISSUES = frozenset({
    "INSTRUMENT_DECLINED", "PAYER_CANNOT_PAY", "PAYER_ACCOUNT_RESTRICTED", "PAYER_ACCOUNT_LOCKED_OR_CLOSED",
    "TRANSACTION_REFUSED", "TRANSACTION_LIMIT_EXCEEDED", "MAX_NUMBER_OF_PAYMENT_ATTEMPTS_EXCEEDED",
    "REDIRECT_PAYER_FOR_ALTERNATE_FUNDING", "COMPLIANCE_VIOLATION",
})  # fmt: skip
# Answers to a charge that tell of the order's state, which the look that follows sees: it is paid, or its buyer must agree first.
TOLD_BY_THE_ORDER = frozenset({"ORDER_ALREADY_CAPTURED", "PAYER_ACTION_REQUIRED"})
WHOLE_ANSWER = "return=representation"
UNREADABLE = (ValueError, TypeError, KeyError, AttributeError)
TOKEN_MARGIN_SECONDS = 60
IMMEDIATE = "IMMEDIATE_PAYMENT_REQUIRED"
BRAND = "paypal"
KEPT_FOR = {"usage_type": "MERCHANT", "customer_type": "CONSUMER"}
# One token serves a process until shortly before it ends; by address and client, so that tests never share one.
_tokens: dict[tuple[str, str, str], OAuthToken] = {}


class _Addressed(Configuration):
    """The SDK knows PayPal's two addresses only; ours is a setting, and is the sandbox's in development."""

    def get_base_uri(self, server: Server = Server.DEFAULT) -> str:
        return settings.PAYPAL_API_BASE


class PayPalGateway:
    """Every call checks that no transaction is open: a slow provider must never hold our locks."""

    resend_window_hours = 44 * 24  # PayPal remembers the keys of refunds for 45 days; a day of margin
    publishable_key = ""
    has_fixed_terms = True  # an order takes no new payment source or wish to save once it is made

    def __init__(self) -> None:
        self._client = PaypalServersdkClient(
            config=_Addressed(
                timeout=settings.PAYPAL_TIMEOUT_SECONDS,
                max_retries=0,
                client_credentials_auth_credentials=ClientCredentialsAuthCredentials(
                    o_auth_client_id=settings.PAYPAL_CLIENT_ID,
                    o_auth_client_secret=settings.PAYPAL_CLIENT_SECRET,
                    o_auth_token_provider=_token,
                    o_auth_clock_skew=TOKEN_MARGIN_SECONDS,
                ),
            )
        )

    def is_configured(self) -> bool:
        """PayPal is optional."""
        return bool(settings.PAYPAL_CLIENT_ID)

    def takes(self, amount: Money) -> bool:
        """PayPal has its own list of currencies, and its own idea of their decimals."""
        return self.is_configured() and amount.major <= LARGEST_MAJOR and self.can_move(amount)

    def can_move(self, amount: Money) -> bool:
        if amount.currency not in CURRENCIES:
            return False
        return amount.currency not in WHOLE_UNITS or amount.major == amount.major.to_integral_value()

    def create_payment(self, payment: Any, *, customer_ref: str) -> ProviderPayment:
        """Create the order under the payment's own key, so a repeat within six hours finds the first one.

        A hold lasts minutes and an eCheck days: the buyer is asked to pay immediately. An order that a saved wallet shall pay is bare: its
        capture names the wallet, and its page is there for the buyer whom PayPal wants to ask.
        """
        booking = payment.booking
        context: dict[str, Any] = {
            "brand_name": settings.SITE_NAME,
            "shipping_preference": "NO_SHIPPING",
            "user_action": "PAY_NOW",
            "return_url": settings.SITE_URL + reverse("payments:return", args=[booking.reference]),
            "cancel_url": settings.SITE_URL + reverse("payments:pay", args=[booking.reference]),
        }
        body: dict[str, Any] = {
            "intent": "CAPTURE",
            "purchase_units": [
                {
                    "amount": _written(payment.amount),
                    "custom_id": str(payment.pk),
                    "invoice_id": f"{booking.reference}-{payment.pk}",
                    "description": f"Parking {booking.reference}",
                }
            ],
        }
        if payment.stored_method_id:
            body["application_context"] = context | {"payment_method": {"payee_preferred": IMMEDIATE}}
        else:
            wallet: dict[str, Any] = {
                "experience_context": context | {"payment_method_preference": IMMEDIATE}
            }
            if payment.saves_method:
                wallet["attributes"] = {"vault": {"store_in_vault": "ON_SUCCESS", **KEPT_FOR}}
                if customer_ref:
                    wallet["attributes"]["customer"] = {"id": customer_ref}
            body["payment_source"] = {"paypal": wallet}
        asked = {"body": body, "paypal_request_id": payment.idempotency_key, "prefer": WHOLE_ANSWER}
        return _payment(_write(lambda: self._client.orders.create_order(asked)))

    def find_payment(self, payment_id: str, *, since: datetime) -> ProviderPayment | None:
        """None, and that is the whole truth: nobody can find an order by our id, and one we never heard of was never captured."""
        return None

    def fetch_payment(self, ref: str) -> ProviderPayment:
        """Return the order with its capture, fee and refunds as they are now."""
        return _payment(_read(lambda: self._client.orders.get_order({"id": ref})))

    def capture_payment(self, payment: Any) -> ProviderPayment:
        """Take the money of an approved order. Whoever was faster took it for both of us: the order is then fetched."""
        asked = {
            "id": payment.provider_ref,
            "paypal_request_id": f"{payment.idempotency_key}:capture",
            "prefer": WHOLE_ANSWER,
        }
        try:
            return _payment(_write(lambda: self._client.orders.capture_order(asked)))
        except Rejected as error:
            if error.details.get("provider_code") != "ORDER_ALREADY_CAPTURED":
                raise
        return self.fetch_payment(payment.provider_ref)

    def cancel_payment(self, ref: str) -> ProviderPayment:
        """An order that was not captured is abandoned by not capturing it; PayPal has no call for that and forgets it by itself."""
        order = self.fetch_payment(ref)
        if order.is_untaken:
            return replace(order, status="cancelled", awaits_capture=False, approve_url="")
        return order

    def refund(self, refund: Any) -> ProviderRefund:
        """Send money of the order's capture back under the refund's own key."""
        order = _read(lambda: self._client.orders.get_order({"id": refund.payment.provider_ref}))
        capture = _capture(order)
        if not capture:
            raise Rejected(provider_code="nothing_captured")
        asked = {
            "capture_id": capture["id"],
            "body": {"amount": _written(refund.amount), "custom_id": str(refund.pk)},
            "paypal_request_id": str(refund.pk),
            "prefer": WHOLE_ANSWER,
        }
        return _refund(_write(lambda: self._client.payments.refund_captured_payment(asked)))

    def find_refund(self, payment_ref: str, refund_id: str) -> ProviderRefund | None:
        refunds = self.fetch_payment(payment_ref).refunds
        return next((one for one in refunds if one.our_id == refund_id), None)

    def create_customer(self, user: Any) -> str:
        """PayPal names a customer itself, with the first wallet that is saved."""
        return ""

    def revise_payment(self, ref: str, *, customer_ref: str, keep_method: bool) -> ProviderPayment:
        raise Rejected

    def charge_method(self, ref: str, method_ref: str, *, is_off_session: bool) -> None:
        """Capture the order from a saved wallet. PayPal captures an order once, so each try may have a key of its own: an old key could
        bring back a decline that was cured since."""
        credential = {
            "payment_initiator": "MERCHANT" if is_off_session else "CUSTOMER",
            "charge_pattern": "UNSCHEDULED_POSTPAID" if is_off_session else "IMMEDIATE",
            "usage": "SUBSEQUENT",
        }
        asked = {
            "id": ref,
            "paypal_request_id": f"charge-{uuid.uuid4()}",
            "prefer": WHOLE_ANSWER,
            "body": {"payment_source": {"paypal": {"vault_id": method_ref, "stored_credential": credential}}},
        }
        try:
            _write(lambda: self._client.orders.capture_order(asked))
        except Rejected as error:
            if error.details.get("provider_code") not in TOLD_BY_THE_ORDER:
                raise

    def create_setup(self, customer_ref: str) -> ProviderSetup:
        """Begin to save a wallet; its owner agrees on PayPal's page, and nothing is charged. PayPal says whose saving it is."""
        back = settings.SITE_URL + reverse("payments:method_added")
        body: dict[str, Any] = {
            "payment_source": {
                "paypal": {
                    **KEPT_FOR,
                    "description": f"Parking with {settings.SITE_NAME}"[:127],
                    "experience_context": {
                        "brand_name": settings.SITE_NAME,
                        "shipping_preference": "NO_SHIPPING",
                        "vault_instruction": "ON_PAYER_APPROVAL",
                        "return_url": back,
                        "cancel_url": settings.SITE_URL + reverse("payments:methods"),
                    },
                }
            }
        }
        if customer_ref:
            body["customer"] = {"id": customer_ref}
        asked = {"body": body, "paypal_request_id": f"setup-{uuid.uuid4()}"}
        return _setup(_write(lambda: self._client.vault.create_setup_token(asked)))

    def fetch_setup(self, ref: str) -> ProviderSetup | None:
        """Return a saving as it is now. One that is done names no wallet: the newest of its customer is the one."""
        found = _found(lambda: self._client.vault.get_setup_token(ref))
        if found is None:
            return None
        setup = _setup(found)
        if not setup.has_succeeded:
            return setup
        asked = {"customer_id": setup.customer_ref, "page_size": 5}
        listed = _read(lambda: self._client.vault.list_customer_payment_tokens(asked))
        kept = [one for one in map(_method, listed.get("payment_tokens") or []) if one]
        return replace(setup, method=kept[0] if kept else None)

    def complete_setup(self, setup: ProviderSetup) -> ProviderSetup:
        asked = {
            "body": {"payment_source": {"token": {"id": setup.ref, "type": "SETUP_TOKEN"}}},
            "paypal_request_id": f"keep-{setup.ref}",
        }
        try:
            kept = _write(lambda: self._client.vault.create_payment_token(asked))
        except Rejected:  # perhaps another tab was faster
            return self.fetch_setup(setup.ref) or setup
        return replace(setup, is_agreed=False, has_succeeded=True, method=_method(kept))

    def fetch_method(self, ref: str) -> ProviderMethod | None:
        """Return a wallet that PayPal keeps for some customer; None for one that was let go or never was."""
        found = _found(lambda: self._client.vault.get_payment_token(ref))
        return _method(found) if found is not None else None

    def detach_method(self, ref: str) -> None:
        """Make PayPal forget a wallet. One that it has let go already is no error."""
        try:
            _write(lambda: self._client.vault.delete_payment_token(ref), is_silent=True)
        except Rejected:
            if self.fetch_method(ref) is not None:
                raise

    def retrieve(self, kind: str, ref: str) -> dict[str, Any]:
        """Return an object of PayPal's (checkout-order, capture, refund) as plain JSON."""
        calls: dict[str, Callable[[], Any]] = {
            "checkout-order": lambda: self._client.orders.get_order({"id": ref}),
            "capture": lambda: self._client.payments.get_captured_payment({"capture_id": ref}),
            "refund": lambda: self._client.payments.get_refund({"refund_id": ref}),
        }
        return _read(calls[kind])

    def verify_event(self, headers: Mapping[str, str], body: str) -> bool:
        """Ask PayPal whether it signed this body, which goes along unchanged. `headers` by their names in the request to PayPal.

        Not part of the SDK. Raises Unavailable.
        """
        asked = json.dumps({**headers, "webhook_id": settings.PAYPAL_WEBHOOK_ID})
        answer = _read(lambda: self._post_verification(f'{asked[:-1]}, "webhook_event": {body}}}'))
        return answer.get("verification_status") == "SUCCESS"

    def _post_verification(self, text: str) -> requests.Response:
        answer = requests.post(
            f"{settings.PAYPAL_API_BASE}/v1/notifications/verify-webhook-signature",
            data=text.encode(),
            headers={
                "Authorization": f"Bearer {_token(None, self._client.oauth_2).access_token}",
                "Content-Type": "application/json",
            },
            timeout=settings.PAYPAL_TIMEOUT_SECONDS,
        )
        if answer.status_code in (401, 403):
            _tokens.pop(_token_key(), None)
        if answer.status_code >= 500 or answer.status_code in (401, 403, 429):
            raise requests.HTTPError(f"PayPal answered {answer.status_code}.", response=answer)
        return answer


def _token(_last: OAuthToken | None, auth: OAuth2) -> OAuthToken:
    """Return this process's access token, fetched when there is none. Raises Unavailable: without one nothing was done."""
    known = _tokens.get(_token_key())
    if known is not None and not auth.is_token_expired(known):
        return known
    try:
        fresh = auth.fetch_token()
    except (ApiException, requests.RequestException, *UNREADABLE) as error:
        logger.error("PayPal gave us no access token: %s", type(error).__name__)
        raise Unavailable from error
    _tokens[_token_key()] = fresh
    return fresh


def _token_key() -> tuple[str, str, str]:
    return settings.PAYPAL_API_BASE, settings.PAYPAL_CLIENT_ID, settings.PAYPAL_CLIENT_SECRET


def _read(call: Callable[[], Any]) -> dict[str, Any]:
    return _guarded(call, when_lost=Unavailable)


def _found(call: Callable[[], Any]) -> dict[str, Any] | None:
    """What a read finds, or None where PayPal says that there is no such thing."""
    try:
        return _read(call)
    except Gone:
        return None


def _write(call: Callable[[], Any], *, is_silent: bool = False) -> dict[str, Any]:
    return _guarded(call, when_lost=OutcomeUnknown, is_silent=is_silent)


def _guarded(
    call: Callable[[], Any], *, when_lost: type[Unavailable | OutcomeUnknown], is_silent: bool = False
) -> dict[str, Any]:
    """is_silent: PayPal answers such a call with a status and no words."""
    try:
        with provider_call():
            text = call().text
            answer = {} if is_silent else json.loads(text)
    except AuthValidationException as error:
        raise Unavailable from error
    except ApiException as error:
        raise _translated(error, when_lost) from error
    except (requests.RequestException, *UNREADABLE) as error:
        raise when_lost from error
    if not isinstance(answer, dict):
        raise when_lost
    return answer


def _translated(error: ApiException, when_lost: type[Unavailable | OutcomeUnknown]) -> Exception:
    status = int(error.response_code)
    if status in (401, 403, 429):
        # A revoked or rotated secret says nothing about the payment: nothing was done, and the next token will do it.
        _tokens.pop(_token_key(), None)
        logger.error("PayPal refused us: %s", status)
        return Unavailable()
    if status >= 500 or status in (408, 409):
        return when_lost()
    issue = _issue(error)
    if issue in DECLINED_ISSUES:
        return Declined(provider_code=issue)
    if status == 404:
        return Gone(provider_code=issue)
    logger.error("PayPal rejected our request: %s %s", status, issue)
    return Rejected(provider_code=issue)


def _issue(error: ApiException) -> str:
    """PayPal's word for what is wrong, such as ORDER_NOT_APPROVED."""
    try:
        told = json.loads(error.response.text)
        details = told.get("details") or [{}]
        return str(details[0].get("issue") or told.get("name") or "invalid_request")[:64]
    except (*UNREADABLE, IndexError):
        return "invalid_request"


def _written(money: Money) -> dict[str, str]:
    value = str(int(money.major)) if money.currency in WHOLE_UNITS else money.to_major()
    return {"currency_code": money.currency, "value": value}


def _minor(amount: dict[str, Any]) -> int:
    return Money.from_major(amount["value"], amount["currency_code"]).amount_minor


def _capture(order: dict[str, Any]) -> dict[str, Any]:
    """The order's capture: the one that went furthest, or {} when nothing was captured."""
    captures = (order["purchase_units"][0].get("payments") or {}).get("captures") or []
    best = ["captured", "processing", "failed"]
    return min(captures, key=lambda one: best.index(STATUS_OF_CAPTURE[one["status"]]), default={})


def _payment(order: dict[str, Any]) -> ProviderPayment:
    unit = order["purchase_units"][0]
    capture = _capture(order)
    status = STATUS_OF_CAPTURE[capture["status"]] if capture else STATUS_OF_ORDER[order["status"]]
    fee = (capture.get("seller_receivable_breakdown") or {}).get("paypal_fee")
    reason = (capture.get("status_details") or {}).get("reason") or ""
    links = _links(order)
    kept = (_wallet(order).get("attributes") or {}).get("vault") or {}
    asks = status == "requires_action" and order["status"] == "PAYER_ACTION_REQUIRED"
    return ProviderPayment(
        ref=order["id"],
        status=status,
        amount_minor=_minor(unit["amount"]),
        currency=unit["amount"]["currency_code"],
        captured_minor=_minor(capture["amount"]) if status == "captured" else 0,
        our_id=unit.get("custom_id") or "",
        approve_url=links.get("payer-action") or links.get("approve") or "",
        awaits_capture=order["status"] == "APPROVED" and not capture,
        is_untaken=status == "requires_action",
        method_label=_label(order),
        failure_code=(reason or "CAPTURE_DECLINED")[:64] if status == "failed" else "",
        fee_minor=_minor(fee) if fee else 0,
        fee_currency=fee["currency_code"] if fee else "",
        refunds=tuple(_refund(one) for one in (unit.get("payments") or {}).get("refunds") or []),
        bank_asks=asks,
        needs_customer=asks,
        keeps_method=bool(kept),
        kept_method=ProviderMethod(
            ref=kept["id"],
            customer_ref=(kept.get("customer") or {}).get("id") or "",
            label=_label(order),
            brand=BRAND,
        )
        if kept.get("id") and kept.get("status") == "VAULTED"
        else None,
    )


def _links(thing: dict[str, Any]) -> dict[str, str]:
    return {link["rel"]: link["href"] for link in thing.get("links") or []}


def _wallet(thing: dict[str, Any]) -> dict[str, Any]:
    return (thing.get("payment_source") or {}).get("paypal") or {}


def _label(thing: dict[str, Any]) -> str:
    """PayPal, and enough of the buyer's address to know it again."""
    name, _at, host = (_wallet(thing).get("email_address") or "").partition("@")
    return f"PayPal {name[:1]}•••@{host}" if host else "PayPal"


def _method(token: dict[str, Any]) -> ProviderMethod | None:
    customer_ref = (token.get("customer") or {}).get("id") or ""
    if not customer_ref or "paypal" not in (token.get("payment_source") or {}):
        return None
    return ProviderMethod(ref=token["id"], customer_ref=customer_ref, label=_label(token), brand=BRAND)


def _setup(setup: dict[str, Any]) -> ProviderSetup:
    return ProviderSetup(
        ref=setup["id"],
        customer_ref=(setup.get("customer") or {}).get("id") or "",
        client_secret="",
        has_succeeded=setup["status"] == "VAULTED",
        approve_url=_links(setup).get("approve", ""),
        is_agreed=setup["status"] == "APPROVED",
    )


def _refund(refund: dict[str, Any]) -> ProviderRefund:
    return ProviderRefund(
        ref=refund["id"],
        amount_minor=_minor(refund["amount"]),
        currency=refund["amount"]["currency_code"],
        status=STATUS_OF_REFUND[refund["status"]],
        our_id=refund.get("custom_id") or "",
        failure_code=((refund.get("status_details") or {}).get("reason") or "")
        if refund["status"] in ("FAILED", "CANCELLED")
        else "",
    )
