"""Stripe: PaymentIntents, refunds, customers, saved payment methods. The same code runs against the sandbox, test mode and live mode."""

from __future__ import annotations

import io
import json
import logging
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import stripe
from django.conf import settings

from foundation.logs import current_request_id
from foundation.metrics import operation_of, provider_called
from foundation.money import Money, exponent
from payments.gateways.base import (
    Declined,
    DisputeMove,
    Evidence,
    Gone,
    Missing,
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
from payments.gateways.statement import Statement
from payments.gateways.stripe_statement import read_statement

if TYPE_CHECKING:
    from stripe.params import (
        CustomerCreateParams,
        DisputeListParams,
        DisputeUpdateParamsEvidence,
        PaymentIntentConfirmParams,
        PaymentIntentCreateParams,
        PaymentIntentListParams,
        PaymentIntentUpdateParams,
        RefundCreateParams,
        SetupIntentCreateParams,
    )

logger = logging.getLogger(__name__)

STATUS_OF_INTENT = {
    "requires_payment_method": "requires_action",
    "requires_confirmation": "requires_action",
    "requires_action": "requires_action",
    "requires_capture": "processing",
    "processing": "processing",
    "succeeded": "captured",
    "canceled": "cancelled",
}
STATUS_OF_REFUND = {
    "pending": "pending",
    "requires_action": "pending",
    "succeeded": "succeeded",
    "failed": "failed",
    "canceled": "failed",
}
EXPAND = ["latest_charge.balance_transaction", "payment_method"]
# Charging it later in the customer's absence is part of what the customer agrees to, so the bank is asked for it at once.
KEPT_FOR: Literal["off_session"] = "off_session"
NEEDS_CUSTOMER = "authentication_required"
BRANDS = {
    "amex": "American Express",
    "diners": "Diners Club",
    "jcb": "JCB",
    "unionpay": "UnionPay",
    "eftpos_au": "eftpos",
}
STATUS_OF_DISPUTE = {
    "prevented": "warning_closed"
}  # the bank dropped it before it took money; else Stripe's words are ours


# docs.stripe.com/currencies: what an integer amount counts. All others have two decimals there, ISK and UGX among them; of three decimals
# the last must be 0, in payments and refunds alike.
NO_DECIMALS = frozenset({
    "BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF",
})  # fmt: skip
THREE_DECIMALS = frozenset({"BHD", "JOD", "KWD", "OMR", "TND"})


# The least that can be charged, in minor units, by currency of settlement (Stripe, "Minimum and maximum charge amounts").
SMALLEST = {
    "USD": 50, "AED": 200, "AUD": 50, "BGN": 100, "BRL": 50, "CAD": 50, "CHF": 50, "CZK": 1500, "DKK": 250, "EUR": 50, "GBP": 30,
    "HKD": 400, "HUF": 17500, "INR": 50, "JPY": 50, "MXN": 1000, "MYR": 200, "NOK": 300, "NZD": 50, "PLN": 200, "RON": 200, "SEK": 300,
    "SGD": 50, "THB": 1000,
}  # fmt: skip


class _HttpClient(stripe.RequestsClient):
    """Stripe's client; each call names our request, so that Stripe's own log can be compared with ours."""

    def request(self, method: str, url: str, headers: Any, post_data: Any = None, **more: Any) -> Any:
        named = {**(headers or {}), "X-Request-ID": current_request_id()} if current_request_id() else headers
        return super().request(method, url, named, post_data, **more)


class StripeGateway:
    """Every call checks that no transaction is open: a slow provider must never hold our locks."""

    listed_within = timedelta(minutes=5)
    resend_window_hours = 23  # Stripe forgets idempotency keys after 24 hours; one hour of margin
    takes_cards = True
    has_fixed_terms = False

    def __init__(self) -> None:
        self.publishable_key = settings.STRIPE_PUBLISHABLE_KEY
        self._client = stripe.StripeClient(
            settings.STRIPE_SECRET_KEY,
            base_addresses={
                "api": settings.STRIPE_API_BASE,
                "files": settings.STRIPE_API_BASE if settings.SANDBOX_URL else stripe.DEFAULT_UPLOAD_API_BASE,
            },
            stripe_version=settings.STRIPE_API_VERSION,
            max_network_retries=0,
            http_client=_HttpClient(timeout=settings.STRIPE_TIMEOUT_SECONDS),
        )

    @property
    def is_configured(self) -> bool:
        return bool(settings.STRIPE_SECRET_KEY)

    def takes(self, amount: Money) -> bool:
        return (
            self.is_configured
            and amount.amount_minor >= SMALLEST.get(amount.currency, 1)
            and self.can_move(amount)
        )

    def can_move(self, amount: Money) -> bool:
        """Where Stripe counts another number of decimals than ISO 4217's tables, our integer would be another amount there: never."""
        if amount.currency in THREE_DECIMALS:
            return exponent(amount.currency) == 3 and amount.amount_minor % 10 == 0
        return exponent(amount.currency) == (0 if amount.currency in NO_DECIMALS else 2)

    def create_payment(self, payment: Any, *, customer_ref: str) -> ProviderPayment:
        """Create the intent under the payment's own key, so a repeat finds the first one."""
        params: PaymentIntentCreateParams = {
            "amount": payment.amount_minor,
            "currency": payment.currency.lower(),
            "payment_method_types": ["card"],
            "description": f"Parking {payment.booking.reference}",
            "metadata": {"payment_id": str(payment.pk), "booking": payment.booking.reference},
        }
        if customer_ref:
            params["customer"] = customer_ref
            if payment.saves_method:
                params["setup_future_usage"] = KEPT_FOR
        return _payment(
            _write(
                lambda: self._client.v1.payment_intents.create(
                    params, {"idempotency_key": payment.idempotency_key}
                )
            )
        )

    def find_payment(self, payment_id: str, *, since: datetime) -> ProviderPayment | None:
        """Look for our payment by the id in its metadata, among those made since five minutes before `since`."""
        params: PaymentIntentListParams = {
            "created": {"gte": int((since - timedelta(minutes=5)).timestamp())},
            "limit": 100,
        }

        def look() -> Any:
            for intent in self._client.v1.payment_intents.list(params).auto_paging_iter():
                if _plain(intent).get("metadata", {}).get("payment_id") == payment_id:
                    return intent
            return None

        found = _read(look)
        return self.fetch_payment(found.id) if found is not None else None

    def fetch_payment(self, ref: str, *, with_disputes: bool = False) -> ProviderPayment:
        """Return the intent with its charge, fee, refunds and disputes as they are now. The charge says whether there are disputes."""
        try:
            intent = _read(lambda: self._client.v1.payment_intents.retrieve(ref, {"expand": EXPAND}))
        except Missing as error:
            raise Gone(**error.details) from error
        refunds: list[ProviderRefund] = []
        if intent.status == "succeeded":
            page = _read(
                lambda: list(
                    self._client.v1.refunds.list({"payment_intent": ref, "limit": 100}).auto_paging_iter()
                )
            )
            refunds = [_refund(one) for one in page]
        disputes: list[ProviderDispute] = []
        if _expanded(_plain(intent), "latest_charge").get("disputed"):
            listed = _read(
                lambda: list(
                    self._client.v1.disputes.list({"payment_intent": ref, "limit": 100}).auto_paging_iter()
                )
            )
            disputes = [_dispute(one) for one in listed]
        return _payment(intent, tuple(refunds), tuple(disputes))

    def revise_payment(self, ref: str, *, customer_ref: str, keep_method: bool) -> ProviderPayment:
        """Say whose payment it is and whether the method is kept once it is paid. Raises Rejected when it is already final."""
        params: PaymentIntentUpdateParams = {
            "customer": customer_ref,
            "setup_future_usage": KEPT_FOR if keep_method else "",
        }
        return _payment(_write(lambda: self._client.v1.payment_intents.update(ref, params)))

    def charge_method(self, ref: str, method_ref: str, *, is_off_session: bool) -> None:
        """Pay with a saved method. Look at the payment afterwards, however this ends: an intent is paid once, whatever is repeated.

        Off-session: a bank that wants the customer declines at once, as nobody is there to ask. Raises Declined, Rejected, OutcomeUnknown.
        """
        params: PaymentIntentConfirmParams = {"payment_method": method_ref}
        if is_off_session:
            params["off_session"] = True
        else:
            params["use_stripe_sdk"] = (
                True  # the bank's question opens above our page, not on a page of its own
            )
        key = f"charge-{uuid.uuid4()}"  # a new one each time: an old key would bring back the decline that was cured since
        _write(lambda: self._client.v1.payment_intents.confirm(ref, params, {"idempotency_key": key}))

    def capture_payment(self, payment: Any) -> ProviderPayment:
        """Stripe takes the money as the customer confirms: there is nothing left to do."""
        return self.fetch_payment(payment.provider_ref)

    def cancel_payment(self, ref: str) -> ProviderPayment:
        """Cancel an intent that nobody may pay any more; one that is already final stays what it is."""
        try:
            return _payment(_write(lambda: self._client.v1.payment_intents.cancel(ref)))
        except Rejected as error:
            logger.info("intent %s was not cancelled: %s", ref, error.details)
            return self.fetch_payment(ref)

    def refund(self, refund: Any) -> ProviderRefund:
        """Send money back under the refund's own key."""
        params: RefundCreateParams = {
            "payment_intent": refund.payment.provider_ref,
            "amount": refund.amount_minor,
            "metadata": {"refund_id": str(refund.pk), "booking": refund.payment.booking.reference},
        }
        return _refund(
            _write(lambda: self._client.v1.refunds.create(params, {"idempotency_key": str(refund.pk)}))
        )

    def find_refund(self, payment_ref: str, refund_id: str) -> ProviderRefund | None:
        refunds = self.fetch_payment(payment_ref).refunds
        return next((one for one in refunds if one.our_id == refund_id), None)

    def create_customer(self, user: Any) -> str:
        """Return the customer that stands for our user, looked up first: a key whose first answer was lost would bring back the
        same failure for a day. Two tabs at once may make two, which harms nobody: the first one written down is used.
        """
        known = _read(lambda: self._client.v1.customers.list({"email": user.email, "limit": 100}))
        for one in known.data:
            if (_plain(one).get("metadata") or {}).get("user_id") == str(user.pk):
                return str(one.id)
        params: CustomerCreateParams = {
            "email": user.email,
            "name": user.get_full_name(),
            "metadata": {"user_id": str(user.pk)},
        }
        made = _write(
            lambda: self._client.v1.customers.create(params, {"idempotency_key": f"customer-{uuid.uuid4()}"})
        )
        return str(made.id)

    def delete_customer(self, ref: str) -> None:
        """Delete the customer at Stripe, with everything saved for it. One that is gone already is no error."""
        try:
            _write(lambda: self._client.v1.customers.delete(ref))
        except Missing:
            logger.info("customer %s was gone already", ref)

    def create_setup(self, customer_ref: str) -> ProviderSetup:
        """Begin to save a card for a customer; the browser finishes it with the client secret. Nothing is charged."""
        params: SetupIntentCreateParams = {
            "customer": customer_ref,
            "payment_method_types": ["card"],
            "usage": KEPT_FOR,
        }
        key = f"setup-{uuid.uuid4()}"
        return _setup(_write(lambda: self._client.v1.setup_intents.create(params, {"idempotency_key": key})))

    def fetch_setup(self, ref: str) -> ProviderSetup | None:
        found = _found(lambda: self._client.v1.setup_intents.retrieve(ref, {"expand": ["payment_method"]}))
        return _setup(found) if found is not None else None

    def complete_setup(self, setup: ProviderSetup) -> ProviderSetup:
        """Stripe keeps the card as the customer confirms: there is nothing left to do."""
        return setup

    def fetch_method(self, ref: str) -> ProviderMethod | None:
        """Return a method that Stripe keeps for some customer; None for one that was let go or never was."""
        found = _found(lambda: self._client.v1.payment_methods.retrieve(ref))
        return _method(_plain(found)) if found is not None else None

    def detach_method(self, ref: str) -> None:
        """Make Stripe forget a method. One that it has let go already is no error."""
        try:
            _write(lambda: self._client.v1.payment_methods.detach(ref))
        except Rejected:
            if self.fetch_method(ref) is not None:
                raise

    def answer_dispute(self, ref: str, evidence: Evidence) -> None:
        """Upload the papers and submit everything to the bank. A repeat replaces the same evidence."""
        proof: DisputeUpdateParamsEvidence = {
            "uncategorized_text": evidence.text,
            "customer_name": evidence.customer_name,
            "customer_email_address": evidence.customer_email,
            "product_description": evidence.product,
            "service_date": evidence.service_on,
            "cancellation_policy_disclosure": evidence.policy,
            "uncategorized_file": self._upload("evidence.pdf", evidence.pack),
        }
        if evidence.receipt:
            proof["receipt"] = self._upload("receipt.pdf", evidence.receipt)
        _write(lambda: self._client.v1.disputes.update(ref, {"evidence": proof, "submit": True}))

    def accept_dispute(self, ref: str, *, reason: str) -> None:
        """Close the dispute as lost. Stripe asks for no reason."""
        _write(lambda: self._client.v1.disputes.close(ref))

    def _upload(self, name: str, content: bytes) -> str:
        file = io.BytesIO(content)
        file.name = name  # Stripe's library sends it as the file's name
        return str(
            _write(lambda: self._client.v1.files.create({"purpose": "dispute_evidence", "file": file})).id
        )

    def disputed_payments(self, *, since: datetime) -> list[str]:
        """Return the intents that were disputed since then."""
        params: DisputeListParams = {"created": {"gte": int(since.timestamp())}, "limit": 100}
        found = _read(lambda: list(self._client.v1.disputes.list(params).auto_paging_iter()))
        return [ref for one in found if (ref := _plain(one).get("payment_intent"))]

    def statement(self, *, since: datetime, until: datetime) -> Statement:
        """Return what the account shows; a page that fails fails all of it."""
        return read_statement(
            self._client.v1,
            _read,
            since=since,
            until=until,
            status_of_intent=STATUS_OF_INTENT,
            status_of_refund=STATUS_OF_REFUND,
        )

    def dashboard_url(self, ref: str) -> str:
        if settings.SANDBOX_URL:
            return f"{settings.SANDBOX_URL}/stripe-payments/{ref}" if ref.startswith("pi_") else ""
        mode = "" if settings.STRIPE_LIVE_MODE else "test/"
        return f"https://dashboard.stripe.com/{mode}search?query={ref}" if ref else ""

    def refund_stray(self, object_ref: str, amount: Money, *, key: str) -> ProviderRefund:
        params: RefundCreateParams = {
            "charge": object_ref,
            "amount": amount.amount_minor,
            "metadata": {"refund_id": key},
        }
        return _refund(_write(lambda: self._client.v1.refunds.create(params, {"idempotency_key": key})))

    def find_stray_refund(self, object_ref: str, *, key: str) -> ProviderRefund | None:
        listed = _read(
            lambda: list(
                self._client.v1.refunds.list({"charge": object_ref, "limit": 100}).auto_paging_iter()
            )
        )
        return next((one for one in map(_refund, listed) if one.our_id == key), None)

    def retrieve(self, kind: str, ref: str) -> dict[str, Any]:
        """Return an object of Stripe's (payment_intent, charge, refund, customer, payment_method, ...) as plain JSON."""
        services: dict[str, Any] = {
            "payment_intent": self._client.v1.payment_intents,
            "charge": self._client.v1.charges,
            "refund": self._client.v1.refunds,
            "customer": self._client.v1.customers,
            "payment_method": self._client.v1.payment_methods,
            "setup_intent": self._client.v1.setup_intents,
            "dispute": self._client.v1.disputes,
        }
        return _plain(_read(lambda: services[kind].retrieve(ref)))


def _read(call: Callable[[], Any]) -> Any:
    return _guarded(call, when_lost=Unavailable)


def _write(call: Callable[[], Any]) -> Any:
    return _guarded(call, when_lost=OutcomeUnknown)


def _found(call: Callable[[], Any]) -> Any:
    """What a read finds, or None where Stripe says that there is no such thing."""
    try:
        return _read(call)
    except Missing:
        return None


def _guarded(call: Callable[[], Any], *, when_lost: type[Unavailable | OutcomeUnknown]) -> Any:
    with provider_called("stripe", operation_of(call)):
        return _translated(call, when_lost=when_lost)


def _translated(call: Callable[[], Any], *, when_lost: type[Unavailable | OutcomeUnknown]) -> Any:
    try:
        with provider_call():
            return call()
    except stripe.CardError as error:
        raise Declined(error.user_message or None, provider_code=error.code or "card_declined") from error
    except (stripe.RateLimitError, stripe.AuthenticationError, stripe.PermissionError) as error:
        # A revoked or rotated key says nothing about the payment: nothing was done, and the new key will do it.
        logger.error("Stripe refused us: %s", error)
        raise Unavailable from error
    except stripe.StripeError as error:
        # 409: another call with this key still runs, and may yet succeed. The library leaves such an error's code empty.
        status = error.http_status or 500
        if isinstance(error, stripe.APIConnectionError) or status >= 500 or status == 409:
            raise when_lost from error
        logger.error("Stripe rejected our request: %s", error)
        kind = Missing if error.code == "resource_missing" else Rejected
        raise kind(provider_code=error.code or "invalid_request") from error


def _plain(thing: Any) -> dict[str, Any]:
    return json.loads(str(thing))


def _expanded(data: dict[str, Any], field: str) -> dict[str, Any]:
    """The object in a field that may also hold only its id, or nothing."""
    value = data.get(field)
    return value if isinstance(value, dict) else {}


def _payment(
    intent: Any, refunds: tuple[ProviderRefund, ...] = (), disputes: tuple[ProviderDispute, ...] = ()
) -> ProviderPayment:
    data = _plain(intent)
    charge = _expanded(data, "latest_charge")
    fee = _expanded(charge, "balance_transaction")
    card = (charge.get("payment_method_details") or {}).get("card") or {}
    failure = data.get("last_payment_error") or {}
    failed_method = failure.get("payment_method") or {}
    # A try that reached the bank left a charge behind; one that failed before (3-D Secure) only its card.
    declined = (failure.get("charge") or failed_method.get("id") or "") if failure else ""
    return ProviderPayment(
        ref=data["id"],
        status=STATUS_OF_INTENT[data["status"]],
        amount_minor=data["amount"],
        currency=data["currency"].upper(),
        captured_minor=data.get("amount_received") or 0,
        our_id=(data.get("metadata") or {}).get("payment_id", ""),
        client_secret=data.get("client_secret") or "",
        method_label=_label(card),
        failure_code=(failure.get("code") == "card_declined" and failure.get("decline_code"))
        or failure.get("code")
        or "",
        failure_message=(failure.get("message") or "")[:500],
        fee_minor=fee.get("fee") or 0,
        fee_currency=(fee.get("currency") or "").upper(),
        refunds=refunds,
        disputes=disputes,
        customer_ref=data.get("customer") or "",
        bank_asks=data["status"] == "requires_action",
        needs_customer=data["status"] == "requires_action" or failure.get("code") == NEEDS_CUSTOMER,
        keeps_method=bool(data.get("setup_future_usage")),
        kept_method=_method(_expanded(data, "payment_method")) if data.get("setup_future_usage") else None,
        decline_ref=f"{data['id']}:{declined}" if declined else "",
        card_fingerprint=(failed_method.get("card") or {}).get("fingerprint") or "",
    )


def _label(card: dict[str, Any]) -> str:
    """How people name a card: "Visa •••• 4242"."""
    brand = card.get("brand") or "card"
    return f"{BRANDS.get(brand, brand.capitalize())} •••• {card['last4']}" if card.get("last4") else ""


def _method(data: dict[str, Any]) -> ProviderMethod | None:
    card = data.get("card") or {}
    if not data.get("customer") or not card:
        return None
    return ProviderMethod(
        ref=data["id"],
        customer_ref=data["customer"],
        label=_label(card),
        brand=card.get("brand") or "",
        last4=card.get("last4") or "",
        exp_month=card.get("exp_month"),
        exp_year=card.get("exp_year"),
    )


def _setup(setup: Any) -> ProviderSetup:
    data = _plain(setup)
    return ProviderSetup(
        ref=data["id"],
        customer_ref=data.get("customer") or "",
        client_secret=data.get("client_secret") or "",
        has_succeeded=data["status"] == "succeeded",
        method=_method(_expanded(data, "payment_method")),
    )


def _dispute(dispute: Any) -> ProviderDispute:
    data = _plain(dispute)
    due_by = (data.get("evidence_details") or {}).get("due_by")
    return ProviderDispute(
        ref=data["id"],
        status=STATUS_OF_DISPUTE.get(data["status"], data["status"]),
        amount_minor=data["amount"],
        currency=data["currency"].upper(),
        reason=data.get("reason") or "",
        opened_at=datetime.fromtimestamp(data["created"], tz=UTC),
        due_by=datetime.fromtimestamp(due_by, tz=UTC) if due_by else None,
        moves=tuple(
            DisputeMove(one["id"], one["amount"], one.get("fee") or 0, one["currency"].upper())
            for one in data.get("balance_transactions") or []
        ),
    )


def _refund(refund: Any) -> ProviderRefund:
    data = _plain(refund)
    return ProviderRefund(
        ref=data["id"],
        amount_minor=data["amount"],
        currency=data["currency"].upper(),
        status=STATUS_OF_REFUND[data["status"]],
        our_id=(data.get("metadata") or {}).get("refund_id", ""),
        failure_code=data.get("failure_reason") or "",
    )
