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
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import requests
from apimatic_core.exceptions.auth_validation_exception import AuthValidationException
from django.conf import settings
from django.urls import reverse
from paypalserversdk.configuration import Configuration, Server
from paypalserversdk.exceptions.api_exception import ApiException
from paypalserversdk.http.auth.o_auth_2 import ClientCredentialsAuthCredentials, OAuth2
from paypalserversdk.models.o_auth_token import OAuthToken
from paypalserversdk.paypal_serversdk_client import PaypalServersdkClient

from foundation.metrics import operation_of, provider_called
from foundation.money import Money
from payments.gateways.base import (
    Declined,
    DisputeMove,
    Evidence,
    Gone,
    OutcomeUnknown,
    ProviderDispute,
    ProviderMethod,
    ProviderPayment,
    ProviderRefund,
    ProviderSetup,
    Rejected,
    Unavailable,
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
# Of a dispute that is over, by PayPal's outcome. With RESOLVED_WITH_PAYOUT it is PayPal that pays the buyer.
WON_OUTCOMES = frozenset({"RESOLVED_SELLER_FAVOUR", "RESOLVED_WITH_PAYOUT", "CANCELED_BY_BUYER", "DENIED"})
DISPUTE_FEES = frozenset({"DISPUTE_FEE", "DISPUTE_SETTLEMENT_FEE", "CHARGEBACK_FEE"})
# These kinds of evidence want tracking numbers or refunds instead of words and papers.
NUMBERED_EVIDENCE = frozenset({"PROOF_OF_FULFILLMENT", "PROOF_OF_REFUND", "PROOF_OF_RETURN"})
LONGEST_NOTE = 2000
CLOCKS_DIFFER = timedelta(minutes=10)  # at most, PayPal's and ours
PAGE = 50
DISPUTES = "/v1/customer/disputes"
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

    listed_within = timedelta(hours=3)  # PayPal's own word for its transaction search
    resend_window_hours = 44 * 24  # PayPal remembers the keys of refunds for 45 days; a day of margin
    publishable_key = ""
    takes_cards = False
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

    @property
    def is_configured(self) -> bool:
        return bool(settings.PAYPAL_CLIENT_ID)

    def takes(self, amount: Money) -> bool:
        """PayPal has its own list of currencies, and its own idea of their decimals."""
        return self.is_configured and amount.major <= LARGEST_MAJOR and self.can_move(amount)

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

    def fetch_payment(self, ref: str, *, with_disputes: bool = False) -> ProviderPayment:
        """Return the order with its capture, fee and refunds as they are now, and on request with its disputes: the order names none."""
        order = _read(lambda: self._client.orders.get_order({"id": ref}))
        capture = _capture(order)
        disputes: list[ProviderDispute] = []
        if with_disputes and capture:
            refunds = (order["purchase_units"][0].get("payments") or {}).get("refunds") or []
            listed = self._disputes(disputed_transaction_id=capture["id"])
            disputes = [_dispute(self.retrieve("dispute", one["dispute_id"]), refunds) for one in listed]
        return replace(_payment(order), disputes=tuple(disputes))

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

    def delete_customer(self, ref: str) -> None:
        """PayPal's customer is no more than the wallets saved under it, and goes with the last of them."""

    def detach_method(self, ref: str) -> None:
        """Make PayPal forget a wallet. One that it has let go already is no error."""
        try:
            _write(lambda: self._client.vault.delete_payment_token(ref), is_silent=True)
        except Rejected:
            if self.fetch_method(ref) is not None:
                raise

    def answer_dispute(self, ref: str, evidence: Evidence) -> None:
        """Look at what PayPal has, then send our words in pieces that it takes, with the papers, in one call."""
        dispute = self.retrieve("dispute", ref)
        notes = [evidence.text[at : at + LONGEST_NOTE] for at in range(0, len(evidence.text), LONGEST_NOTE)]
        if _has_evidence(dispute, notes[0], since=evidence.said_at - CLOCKS_DIFFER):
            return
        if "provide_evidence" not in _links(dispute):
            raise Rejected(provider_code="PAYPAL_TAKES_NO_EVIDENCE_NOW")
        facts = f"{evidence.product} {evidence.policy}".strip()
        kind = _wanted_evidence(dispute)
        told = {
            "evidences": [{"evidence_type": kind, "notes": note[:LONGEST_NOTE]} for note in (*notes, facts)]
        }
        files: list[tuple[str, tuple[str | None, Any, str]]] = [
            ("input", (None, json.dumps(told), "application/json"))
        ]
        papers = (("evidence.pdf", evidence.pack), ("receipt.pdf", evidence.receipt))
        files += [("evidence-file", (name, paper, "application/pdf")) for name, paper in papers if paper]
        _write(
            lambda: self._call(
                "POST", f"/v1/customer/disputes/{quote(ref, safe='')}/provide-evidence", files=files
            )
        )

    def accept_dispute(self, ref: str, *, reason: str) -> None:
        """Accept the claim: PayPal gives the buyer the money."""
        told = {"note": reason[:LONGEST_NOTE], "accept_claim_type": "REFUND"}
        _write(
            lambda: self._call("POST", f"/v1/customer/disputes/{quote(ref, safe='')}/accept-claim", json=told)
        )

    def disputed_payments(self, *, since: datetime) -> list[str]:
        """Return the orders that were disputed since then; PayPal lists disputes without their transactions."""
        listed = self._disputes(start_time=since.isoformat(timespec="milliseconds"))
        return [self.disputed_payment(self.retrieve("dispute", one["dispute_id"])) for one in listed]

    def disputed_payment(self, dispute: dict[str, Any]) -> str:
        """Return the order of a dispute; for a sale that was none, the transaction itself."""
        transaction_ref = str(dispute["disputed_transactions"][0]["seller_transaction_id"])
        try:
            return parent_of(self.retrieve("capture", transaction_ref)) or transaction_ref
        except Gone:
            return transaction_ref

    def _disputes(self, **query: str) -> list[dict[str, Any]]:
        page = _read(lambda: self._call("GET", DISPUTES, params={**query, "page_size": PAGE}))
        found: list[dict[str, Any]] = page.get("items") or []
        following = dict(parse_qsl(urlsplit(_links(page).get("next", "")).query)).get("next_page_token")
        return found + self._disputes(**query | {"next_page_token": following}) if following else found

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
        """Return an object of PayPal's (checkout-order, capture, refund, dispute) as plain JSON."""
        calls: dict[str, Callable[[], Any]] = {
            "checkout-order": lambda: self._client.orders.get_order({"id": ref}),
            "capture": lambda: self._client.payments.get_captured_payment({"capture_id": ref}),
            "refund": lambda: self._client.payments.get_refund({"refund_id": ref}),
            "dispute": lambda: self._call("GET", f"/v1/customer/disputes/{quote(ref, safe='')}"),
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
        path = "/v1/notifications/verify-webhook-signature"
        return self._call("POST", path, data=text.encode(), headers={"Content-Type": "application/json"})

    def _call(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **sent: Any
    ) -> requests.Response:
        """Make a call that the SDK does not know. Raises _Refused for an answer that is an error."""
        token = _token(None, self._client.oauth_2).access_token
        answer = requests.request(
            method,
            settings.PAYPAL_API_BASE + path,
            headers={**(headers or {}), "Authorization": f"Bearer {token}"},
            timeout=settings.PAYPAL_TIMEOUT_SECONDS,
            allow_redirects=False,
            **sent,
        )
        if not 200 <= answer.status_code < 300:
            raise _Refused(answer.status_code, answer.text)
        return answer


class _Refused(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(status)
        self.status, self.text = status, text


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
    with provider_called("paypal", operation_of(call)):
        return _answer(call, when_lost=when_lost, is_silent=is_silent)


def _answer(
    call: Callable[[], Any], *, when_lost: type[Unavailable | OutcomeUnknown], is_silent: bool
) -> dict[str, Any]:
    try:
        with provider_call():
            text = call().text
            answer = {} if is_silent else json.loads(text)
    except AuthValidationException as error:
        raise Unavailable from error
    except ApiException as error:
        raise _translated(int(error.response_code), error.response.text, when_lost) from error
    except _Refused as error:
        raise _translated(error.status, error.text, when_lost) from error
    except (requests.RequestException, *UNREADABLE) as error:
        raise when_lost from error
    if not isinstance(answer, dict):
        raise when_lost
    return answer


def _translated(status: int, text: str, when_lost: type[Unavailable | OutcomeUnknown]) -> Exception:
    if status in (401, 403, 429):
        # A revoked or rotated secret says nothing about the payment: nothing was done, and the next token will do it.
        _tokens.pop(_token_key(), None)
        logger.error("PayPal refused us: %s", status)
        return Unavailable()
    if status >= 500 or status in (408, 409):
        return when_lost()
    issue = _issue(text)
    if issue in DECLINED_ISSUES:
        return Declined(provider_code=issue)
    if status == 404:
        return Gone(provider_code=issue)
    logger.error("PayPal rejected our request: %s %s", status, issue)
    return Rejected(provider_code=issue)


def _issue(text: str) -> str:
    """PayPal's word for what is wrong, such as ORDER_NOT_APPROVED."""
    try:
        told = json.loads(text)
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


def parent_of(thing: dict[str, Any]) -> str:
    """The id of what an object belongs to: a refund to a capture, a capture to an order; "" where it names none."""
    return urlsplit(_links(thing).get("up", "")).path.rpartition("/")[2]


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


def _case(ref: str, action: str = "") -> str:
    return f"{DISPUTES}/{quote(ref, safe='')}{action}"


def _dispute(dispute: dict[str, Any], refunds: list[dict[str, Any]]) -> ProviderDispute:
    """`refunds`: those of the payment, since one of them may be what ended the dispute."""
    ref, amount = dispute["dispute_id"], dispute["dispute_amount"]
    amount_minor, currency = _minor(amount), amount["currency_code"]
    is_inquiry = dispute.get("dispute_life_cycle_stage") == "INQUIRY"
    status = _dispute_status(dispute, refunds)
    moves: list[DisputeMove] = []
    if status == "lost" or not is_inquiry:  # an inquiry takes nothing unless it is lost
        moves.append(DisputeMove(f"{ref}:held", -amount_minor, 0, currency))
        kept = _refunded(dispute, amount_minor) if status == "lost" else amount_minor
        returned = amount_minor - kept if status == "lost" else amount_minor
        if status in ("lost", "won", "refunded") and returned > 0:
            moves.append(DisputeMove(f"{ref}:returned", returned, 0, currency))
    for move in dispute.get("money_movements") or []:
        if move.get("affected_party") == "SELLER" and move.get("reason") in DISPUTE_FEES:
            fee = _minor(move["amount"]) * (-1 if move["type"] == "CREDIT" else 1)
            fact = f"{ref}:{move['reason']}:{move['type']}:{move.get('initiated_time', '')}"
            moves.append(DisputeMove(fact, 0, fee, move["amount"]["currency_code"]))
    due = dispute.get("seller_response_due_date")
    return ProviderDispute(
        ref=ref,
        status=status,
        amount_minor=amount_minor,
        currency=currency,
        reason=str(dispute.get("reason") or "").lower(),
        opened_at=datetime.fromisoformat(dispute["create_time"]),
        due_by=datetime.fromisoformat(due) if due else None,
        moves=tuple(moves),
        updated_at=datetime.fromisoformat(dispute.get("update_time") or dispute["create_time"]),
    )


def _dispute_status(dispute: dict[str, Any], refunds: list[dict[str, Any]]) -> str:
    """Our word for where a dispute stands. PayPal calls what has taken no money yet an inquiry, as Stripe does."""
    is_inquiry = dispute.get("dispute_life_cycle_stage") == "INQUIRY"
    if dispute["status"] != "RESOLVED":
        waits = dispute["status"] == "WAITING_FOR_SELLER_RESPONSE"
        return ("warning_" if is_inquiry else "") + ("needs_response" if waits else "under_review")
    outcome = (dispute.get("dispute_outcome") or {}).get("outcome_code") or "NONE"
    settled = any(
        move.get("affected_party") == "SELLER"
        and move.get("reason") == "DISPUTE_SETTLEMENT"
        and move.get("type") == "DEBIT"
        for move in dispute.get("money_movements") or []
    )
    given_back = _refunded(dispute, 0)
    if outcome in WON_OUTCOMES or (outcome == "NONE" and not settled and not given_back):
        return "warning_closed" if is_inquiry else "won"
    if not settled and _refunded_during(dispute, refunds) >= max(given_back, 1):
        return "refunded"  # a refund of the payment ended it, and the books have that refund
    return "lost"


def _refunded(dispute: dict[str, Any], otherwise: int) -> int:
    amount = (dispute.get("dispute_outcome") or {}).get("amount_refunded")
    return _minor(amount) if amount else otherwise


def _refunded_during(dispute: dict[str, Any], refunds: list[dict[str, Any]]) -> int:
    began, ended = (datetime.fromisoformat(dispute[name]) for name in ("create_time", "update_time"))
    slack = timedelta(minutes=1)
    return sum(
        _minor(one["amount"])
        for one in refunds
        if one["status"] in ("COMPLETED", "PENDING")
        and began <= datetime.fromisoformat(one["create_time"]) <= ended + slack
    )


def _has_evidence(dispute: dict[str, Any], note: str, *, since: datetime) -> bool:
    return any(
        one.get("source") == "SUBMITTED_BY_SELLER"
        and (one.get("notes") or "").split() == note.split()
        and ("date" not in one or datetime.fromisoformat(one["date"]) >= since)
        for one in dispute.get("evidences") or []
    )


def _wanted_evidence(dispute: dict[str, Any]) -> str:
    """What PayPal asks for, if words and papers can be it."""
    asked = [
        str(one["evidence_type"])
        for one in dispute.get("evidences") or []
        if one.get("source") == "REQUESTED_FROM_SELLER"
    ]
    return next((kind for kind in asked if kind not in NUMBERED_EVIDENCE), "OTHER")
