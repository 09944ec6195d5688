"""Stripe: PaymentIntents, refunds, customers. The same code runs against the sandbox, test mode and live mode."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import stripe
from django.conf import settings

from foundation.money import Money
from payments.gateways.base import (
    Declined,
    Gone,
    OutcomeUnknown,
    ProviderPayment,
    ProviderRefund,
    Rejected,
    Unavailable,
    provider_call,
)

if TYPE_CHECKING:
    from stripe.params import (
        CustomerCreateParams,
        PaymentIntentCreateParams,
        PaymentIntentListParams,
        RefundCreateParams,
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
EXPAND = ["latest_charge.balance_transaction"]


class StripeGateway:
    """Every call checks that no transaction is open: a slow provider must never hold our locks."""

    resend_window_hours = 23  # Stripe forgets idempotency keys after 24 hours; one hour of margin

    def __init__(self) -> None:
        self.publishable_key = settings.STRIPE_PUBLISHABLE_KEY
        self._client = stripe.StripeClient(
            settings.STRIPE_SECRET_KEY,
            base_addresses={"api": settings.STRIPE_API_BASE},
            stripe_version=settings.STRIPE_API_VERSION,
            max_network_retries=0,
            http_client=stripe.RequestsClient(timeout=settings.STRIPE_TIMEOUT_SECONDS),
        )

    def takes(self, amount: Money) -> bool:
        return bool(settings.STRIPE_SECRET_KEY)

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

    def fetch_payment(self, ref: str) -> ProviderPayment:
        """Return the intent with its charge, fee and refunds as they are now."""
        try:
            intent = _read(lambda: self._client.v1.payment_intents.retrieve(ref, {"expand": EXPAND}))
        except Rejected as error:
            if error.details.get("provider_code") == "resource_missing":
                raise Gone(**error.details) from error
            raise
        refunds: list[ProviderRefund] = []
        if intent.status == "succeeded":
            page = _read(
                lambda: list(
                    self._client.v1.refunds.list({"payment_intent": ref, "limit": 100}).auto_paging_iter()
                )
            )
            refunds = [_refund(one) for one in page]
        return _payment(intent, tuple(refunds))

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

    def retrieve(self, kind: str, ref: str) -> dict[str, Any]:
        """Return an object of Stripe's (payment_intent, charge, refund, customer) as plain JSON."""
        services: dict[str, Any] = {
            "payment_intent": self._client.v1.payment_intents,
            "charge": self._client.v1.charges,
            "refund": self._client.v1.refunds,
            "customer": self._client.v1.customers,
        }
        return _plain(_read(lambda: services[kind].retrieve(ref)))


def _read(call: Callable[[], Any]) -> Any:
    return _guarded(call, when_lost=Unavailable)


def _write(call: Callable[[], Any]) -> Any:
    return _guarded(call, when_lost=OutcomeUnknown)


def _guarded(call: Callable[[], Any], *, when_lost: type[Unavailable | OutcomeUnknown]) -> Any:
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
        lost = isinstance(error, stripe.APIConnectionError) or (error.http_status or 500) >= 500
        if lost or error.code == "idempotency_key_in_use":
            raise when_lost from error
        logger.error("Stripe rejected our request: %s", error)
        raise Rejected(provider_code=error.code or "invalid_request") from error


def _plain(thing: Any) -> dict[str, Any]:
    return json.loads(str(thing))


def _expanded(data: dict[str, Any], field: str) -> dict[str, Any]:
    """The object in a field that may also hold only its id, or nothing."""
    value = data.get(field)
    return value if isinstance(value, dict) else {}


def _payment(intent: Any, refunds: tuple[ProviderRefund, ...] = ()) -> ProviderPayment:
    data = _plain(intent)
    charge = _expanded(data, "latest_charge")
    fee = _expanded(charge, "balance_transaction")
    card = (charge.get("payment_method_details") or {}).get("card") or {}
    failure = data.get("last_payment_error") or {}
    label = f"{card.get('brand', 'card').capitalize()} •••• {card['last4']}" if card.get("last4") else ""
    return ProviderPayment(
        ref=data["id"],
        status=STATUS_OF_INTENT[data["status"]],
        amount_minor=data["amount"],
        currency=data["currency"].upper(),
        captured_minor=data.get("amount_received") or 0,
        our_id=(data.get("metadata") or {}).get("payment_id", ""),
        client_secret=data.get("client_secret") or "",
        method_label=label,
        failure_code=(failure.get("code") == "card_declined" and failure.get("decline_code"))
        or failure.get("code")
        or "",
        failure_message=(failure.get("message") or "")[:500],
        fee_minor=fee.get("fee") or 0,
        fee_currency=(fee.get("currency") or "").upper(),
        refunds=refunds,
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
