"""The providers' calls in plain words: what the Faults page lets people choose from."""

from __future__ import annotations

from sandbox.paypal.api import OPERATIONS as PAYPAL
from sandbox.stripe.api import ROUTES as STRIPE

PROVIDERS = {"stripe": "Stripe", "paypal": "PayPal", "sendgrid": "SendGrid", "twilio": "Twilio"}
# The calls that trainers ask for, in the order of a booking's life. Every other call gets its words from its own name.
WORDS = {
    "stripe.*": "Everything at Stripe",
    "stripe.payment_intents.create": "Start a card payment",
    "stripe.payment_intents.confirm": "Pay with the card (the customer's browser calls it)",
    "stripe.payment_intents.retrieve": "Ask how a card payment went",
    "stripe.payment_intents.cancel": "Withdraw a card payment",
    "stripe.refunds.create": "Refund a card payment",
    "stripe.refunds.retrieve": "Ask how a refund went",
    "stripe.customers.create": "Make a customer",
    "stripe.payment_methods.detach": "Remove a saved card",
    "stripe.disputes.update": "Answer a dispute",
    "stripe.files.create": "Upload evidence",
    "paypal.*": "Everything at PayPal",
    "paypal.oauth2.token": "Log in to PayPal's API",
    "paypal.orders.create": "Start a PayPal payment",
    "paypal.orders.get": "Ask how a PayPal payment went",
    "paypal.orders.capture": "Take the money of an approved payment",
    "paypal.captures.refund": "Refund a PayPal payment",
    "paypal.captures.get": "Ask about money taken",
    "paypal.webhooks.verify": "Check the signature of a webhook",
    "paypal.ipn.verify": "Check an instant payment notification",
    "sendgrid.mail.send": "Send an e-mail",
    "twilio.messages.create": "Send a text message",
    "twilio.messages.fetch": "Ask how a text message went",
}
BEHAVIOURS = {
    "refuse": "Says no and does nothing: an error with the status you choose",
    "do_then_timeout": "Does it, stays silent and then hangs up: the answer is lost",
    "do_then_500": "Does it, then says that it failed",
    "do_then_reset": "Does it, then cuts the connection at once",
    "slow": "Waits the seconds you choose, then works",
    "429": "Says “too many requests” and does nothing",
    "ok": "Works; lets that many calls pass before the next line counts",
}


def words_for(operation: str) -> str:
    """Say what a call or a pattern of calls does."""
    if operation in WORDS:
        return WORDS[operation]
    _provider, _, rest = operation.partition(".")
    return rest.replace("_", " ").replace(".", ": ")


def groups() -> list[tuple[str, list[tuple[str, str]]]]:
    """(provider's name, [(operation, words)]): the well-known calls first, then all others by name."""
    known = [
        *WORDS, *sorted({route.operation for route in STRIPE}), *sorted(PAYPAL),
    ]  # fmt: skip
    found: dict[str, dict[str, str]] = {}
    for operation in known:
        provider = operation.partition(".")[0]
        found.setdefault(provider, {}).setdefault(operation, words_for(operation))
    return [(PROVIDERS[provider], list(calls.items())) for provider, calls in found.items()]
