"""PayPal: Orders v2 and Payments v2. The same code runs against the sandbox, PayPal's own sandbox and live mode.

The customer agrees on PayPal's page, and nothing is taken until we capture. An order whose id we never learnt was therefore never
paid, and an order that is not wanted any more is simply never captured.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
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
    ProviderPayment,
    ProviderRefund,
    Rejected,
    Unavailable,
    WithoutSavedMethods,
    provider_call,
)
from payments.gateways.paypal_statement import read_statement
from payments.gateways.statement import Statement

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
WHOLE_ANSWER = "return=representation"
UNREADABLE = (ValueError, TypeError, KeyError, AttributeError)
TOKEN_MARGIN_SECONDS = 60
# One token serves a process until shortly before it ends; by address and client, so that tests never share one.
_tokens: dict[tuple[str, str, str], OAuthToken] = {}


class _Addressed(Configuration):
    """The SDK knows PayPal's two addresses only; ours is a setting, and is the sandbox's in development."""

    def get_base_uri(self, server: Server = Server.DEFAULT) -> str:
        return settings.PAYPAL_API_BASE


class PayPalGateway(WithoutSavedMethods):
    """Every call checks that no transaction is open: a slow provider must never hold our locks."""

    listed_within = timedelta(hours=3)  # PayPal's own word for its transaction search
    resend_window_hours = 44 * 24  # PayPal remembers the keys of refunds for 45 days; a day of margin
    publishable_key = ""

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

    @property
    def is_configured(self) -> bool:
        return bool(settings.PAYPAL_CLIENT_ID)

    def takes(self, amount: Money) -> bool:
        """PayPal is optional, has its own list of currencies, and its own idea of their decimals."""
        if not self.is_configured or amount.currency not in CURRENCIES or amount.major > LARGEST_MAJOR:
            return False
        return amount.currency not in WHOLE_UNITS or amount.major == amount.major.to_integral_value()

    def create_payment(self, payment: Any, *, customer_ref: str) -> ProviderPayment:
        """Create the order under the payment's own key, so a repeat within six hours finds the first one.

        A hold lasts minutes and an eCheck days: the buyer is asked to pay immediately.
        """
        booking = payment.booking
        back = settings.SITE_URL + reverse("payments:return", args=[booking.reference])
        body = {
            "intent": "CAPTURE",
            "purchase_units": [
                {
                    "amount": _written(payment.amount),
                    "custom_id": str(payment.pk),
                    "invoice_id": f"{booking.reference}-{payment.pk}",
                    "description": f"Parking {booking.reference}",
                }
            ],
            "payment_source": {
                "paypal": {
                    "experience_context": {
                        "brand_name": settings.SITE_NAME,
                        "shipping_preference": "NO_SHIPPING",
                        "user_action": "PAY_NOW",
                        "payment_method_preference": "IMMEDIATE_PAYMENT_REQUIRED",
                        "return_url": back,
                        "cancel_url": settings.SITE_URL + reverse("payments:pay", args=[booking.reference]),
                    }
                }
            },
        }
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
        if order.status == "requires_action":
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
        return ""

    def statement(self, *, since: datetime, until: datetime) -> Statement:
        """Return what the account shows; a page that fails fails all of it."""
        search = self._client.transaction_search
        return read_statement(
            lambda asked: _read(lambda: search.search_transactions(asked)),
            lambda: _read(search.search_balances),
            self._order_of,
            since=since,
            until=until,
        )

    def _order_of(self, capture_ref: str) -> str:
        capture = self.retrieve("capture", capture_ref)
        return str((capture.get("supplementary_data") or {}).get("related_ids", {}).get("order_id") or "")

    def dashboard_url(self, ref: str) -> str:
        if settings.SANDBOX_URL:
            return f"{settings.SANDBOX_URL}/paypal-payments/{ref}" if ref else ""
        host = "www.paypal.com" if settings.PAYPAL_LIVE_MODE else "www.sandbox.paypal.com"
        return f"https://{host}/unifiedtransactions/?query={ref}" if ref else ""

    def refund_stray(self, object_ref: str, amount: Money, *, key: str) -> ProviderRefund:
        asked = {
            "capture_id": object_ref,
            "body": {"amount": _written(amount), "custom_id": key},
            "paypal_request_id": key,
            "prefer": WHOLE_ANSWER,
        }
        return _refund(_write(lambda: self._client.payments.refund_captured_payment(asked)))

    def find_stray_refund(self, object_ref: str, *, key: str) -> ProviderRefund | None:
        """Found through the capture's order; None as well where it has none, as for money that somebody just sent."""
        order_ref = self._order_of(object_ref)
        return self.find_refund(order_ref, key) if order_ref else None

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


def _write(call: Callable[[], Any]) -> dict[str, Any]:
    return _guarded(call, when_lost=OutcomeUnknown)


def _guarded(call: Callable[[], Any], *, when_lost: type[Unavailable | OutcomeUnknown]) -> dict[str, Any]:
    try:
        with provider_call():
            answer = json.loads(call().text)
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
    links = {link["rel"]: link["href"] for link in order.get("links", [])}
    return ProviderPayment(
        ref=order["id"],
        status=status,
        amount_minor=_minor(unit["amount"]),
        currency=unit["amount"]["currency_code"],
        captured_minor=_minor(capture["amount"]) if status == "captured" else 0,
        our_id=unit.get("custom_id") or "",
        approve_url=links.get("payer-action") or links.get("approve") or "",
        awaits_capture=order["status"] == "APPROVED" and not capture,
        method_label=_label(order),
        failure_code=(reason or "CAPTURE_DECLINED")[:64] if status == "failed" else "",
        fee_minor=_minor(fee) if fee else 0,
        fee_currency=fee["currency_code"] if fee else "",
        refunds=tuple(_refund(one) for one in (unit.get("payments") or {}).get("refunds") or []),
    )


def _label(order: dict[str, Any]) -> str:
    """PayPal, and enough of the buyer's address to know it again."""
    email = ((order.get("payment_source") or {}).get("paypal") or {}).get("email_address") or ""
    name, _at, host = email.partition("@")
    return f"PayPal {name[:1]}•••@{host}" if host else "PayPal"


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
