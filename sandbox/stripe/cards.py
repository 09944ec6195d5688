"""Stripe's published test cards, and what each of them makes happen."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from sandbox.stripe.errors import StripeError, invalid

SUCCEEDS = "succeeds"


@dataclass(frozen=True)
class Decline:
    code: str
    decline_code: str
    message: str


GENERIC = Decline("card_declined", "generic_decline", "Your card was declined.")
DECLINES = {
    "generic_decline": GENERIC,
    "insufficient_funds": Decline("card_declined", "insufficient_funds", "Your card has insufficient funds."),
    "lost_card": Decline("card_declined", "lost_card", "Your card was declined."),
    "stolen_card": Decline("card_declined", "stolen_card", "Your card was declined."),
    "fraudulent": Decline("card_declined", "fraudulent", "Your card was declined."),
    "velocity": Decline("card_declined", "card_velocity_exceeded", "Your card was declined for making repeated attempts too frequently or exceeding its amount limit."),  # noqa: E501
    "expired_card": Decline("expired_card", "expired_card", "Your card has expired."),
    "incorrect_cvc": Decline("incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect."),
    "processing_error": Decline("processing_error", "processing_error", "An error occurred while processing your card. Try again in a little bit."),
}  # fmt: skip


@dataclass(frozen=True)
class Card:
    """A test card. outcome: SUCCEEDS or a key of DECLINES. authentication: "" , "always" or "unless_set_up"."""

    number: str
    brand: str = "visa"
    funding: str = "credit"
    country: str = "US"
    outcome: str = SUCCEEDS
    authentication: str = ""
    refund: str = "succeeds"  # "fails_later" or "succeeds_later"
    disputes: str = ""  # the reason with which the cardholder disputes the charge a little later
    attaches: bool = True
    note: str = ""


CARDS = {
    card.number: card
    for card in (
        Card("4242424242424242", note="Succeeds"),
        Card("4000056655665556", funding="debit", note="Visa debit, succeeds"),
        Card("5555555555554444", "mastercard", note="Mastercard, succeeds"),
        Card("2223003122003222", "mastercard", note="Mastercard 2-series, succeeds"),
        Card("5200828282828210", "mastercard", "debit", note="Mastercard debit, succeeds"),
        Card("378282246310005", "amex", note="American Express, succeeds"),
        Card("6011111111111117", "discover", note="Discover, succeeds"),
        Card("3056930009020004", "diners", note="Diners Club, succeeds"),
        Card("3566002020360505", "jcb", note="JCB, succeeds"),
        Card("6200000000000005", "unionpay", note="UnionPay, succeeds"),
        Card("4000008260000000", country="GB", note="United Kingdom, succeeds"),
        Card("4000002760000016", country="DE", note="Germany, succeeds"),
        Card("4000002500003155", authentication="unless_set_up", note="3-D Secure unless set up before"),
        Card("4000002760003184", authentication="always", note="3-D Secure always"),
        Card("4000000000003220", authentication="always", note="3-D Secure 2 required"),
        Card(
            "4000008400001629", authentication="always", outcome="generic_decline", note="3-D Secure, then declined"
        ),
        Card(
            "4000008260003178", country="GB", authentication="always", outcome="insufficient_funds",
            note="3-D Secure, then insufficient funds",
        ),
        Card("4000000000000002", outcome="generic_decline", attaches=False, note="Declined"),
        Card("4000000000009995", outcome="insufficient_funds", attaches=False, note="Insufficient funds"),
        Card("4000000000009987", outcome="lost_card", attaches=False, note="Lost card"),
        Card("4000000000009979", outcome="stolen_card", attaches=False, note="Stolen card"),
        Card("4100000000000019", outcome="fraudulent", attaches=False, note="Blocked as fraudulent"),
        Card("4000000000006975", outcome="velocity", attaches=False, note="Too many attempts"),
        Card("4000000000000069", outcome="expired_card", attaches=False, note="Expired card"),
        Card("4000000000000127", outcome="incorrect_cvc", attaches=False, note="Wrong security code"),
        Card("4000000000000119", outcome="processing_error", attaches=False, note="Processing error"),
        Card("4000000000000341", outcome="generic_decline", note="Saves, then declines when charged"),
        Card("4000000000005126", refund="fails_later", note="Refund stays pending, then fails"),
        Card("4000000000007726", refund="succeeds_later", note="Refund stays pending, then succeeds"),
        Card("4000000000000259", disputes="fraudulent", note="Succeeds, then disputed as fraudulent"),
        Card("4000000000002685", disputes="product_not_received", note="Succeeds, then disputed as not received"),
        Card("4000000000001976", disputes="inquiry", note="Succeeds, then the bank inquires"),
    )
}  # fmt: skip

NAMED = {
    "pm_card_visa": "4242424242424242",
    "pm_card_us": "4242424242424242",
    "pm_card_visa_debit": "4000056655665556",
    "pm_card_mastercard": "5555555555554444",
    "pm_card_mastercard_debit": "5200828282828210",
    "pm_card_amex": "378282246310005",
    "pm_card_discover": "6011111111111117",
    "pm_card_diners": "3056930009020004",
    "pm_card_jcb": "3566002020360505",
    "pm_card_unionpay": "6200000000000005",
    "pm_card_gb": "4000008260000000",
    "pm_card_de": "4000002760000016",
    "pm_card_threeDSecure2Required": "4000000000003220",
    "pm_card_threeDSecureRequired": "4000000000003220",
    "pm_card_authenticationRequired": "4000002760003184",
    "pm_card_authenticationRequiredOnSetup": "4000002500003155",
    "pm_card_authenticationRequiredSetupForOffSession": "4000002500003155",
    "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds": "4000008260003178",
    "pm_card_chargeDeclined": "4000000000000002",
    "pm_card_visa_chargeDeclined": "4000000000000002",
    "pm_card_chargeDeclinedInsufficientFunds": "4000000000009995",
    "pm_card_visa_chargeDeclinedInsufficientFunds": "4000000000009995",
    "pm_card_visa_chargeDeclinedLostCard": "4000000000009987",
    "pm_card_chargeDeclinedLostCard": "4000000000009987",
    "pm_card_visa_chargeDeclinedStolenCard": "4000000000009979",
    "pm_card_chargeDeclinedStolenCard": "4000000000009979",
    "pm_card_chargeDeclinedFraudulent": "4100000000000019",
    "pm_card_radarBlock": "4100000000000019",
    "pm_card_chargeDeclinedExpiredCard": "4000000000000069",
    "pm_card_chargeDeclinedIncorrectCvc": "4000000000000127",
    "pm_card_chargeDeclinedProcessingError": "4000000000000119",
    "pm_card_visa_chargeDeclinedVelocityLimitExceeded": "4000000000006975",
    "pm_card_chargeCustomerFail": "4000000000000341",
    "pm_card_refundFail": "4000000000005126",
    "pm_card_pendingRefund": "4000000000007726",
    "pm_card_createDispute": "4000000000000259",
    "pm_card_createDisputeProductNotReceived": "4000000000002685",
    "pm_card_createDisputeInquiry": "4000000000001976",
}
SAVED_AND_SET_UP = {"pm_card_authenticationRequiredSetupForOffSession"}


def luhn(number: str) -> bool:
    total = 0
    for position, digit in enumerate(reversed(number)):
        value = int(digit) * (1 + position % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def card_error(message: str, code: str, param: str) -> StripeError:
    return StripeError(message, status=402, kind="card_error", code=code, param=param)


def by_number(number: str) -> Card:
    """The published test card with this number. Raises Stripe's card errors."""
    digits = re.sub(r"[\s-]", "", number)
    if not re.fullmatch(r"[0-9]{12,19}", digits) or not luhn(digits):
        raise card_error("Your card number is incorrect.", "incorrect_number", "number")
    known = CARDS.get(digits)
    if known is None:
        # Real test mode declines unknown numbers too: real cards must never be typed here.
        raise StripeError(
            "Your card was declined. Your request was in test mode, but used a non test card. For a list of valid "
            "test cards, visit: https://stripe.com/docs/testing.",
            status=402, kind="card_error", code="card_declined", param="", decline_code="test_mode_live_card",
        )  # fmt: skip
    return known


def check_date(month: int, year: int, *, now_year: int, now_month: int) -> tuple[int, int]:
    """Validated month and four-digit year; the card is good through the end of its month."""
    if not 1 <= month <= 12:
        raise card_error("Your card's expiration month is invalid.", "invalid_expiry_month", "exp_month")
    full = 2000 + year if 0 <= year < 100 else year
    if not now_year <= full <= now_year + 50:
        raise card_error("Your card's expiration year is invalid.", "invalid_expiry_year", "exp_year")
    if (full, month) < (now_year, now_month):
        raise card_error("Your card's expiration month is invalid.", "invalid_expiry_month", "exp_month")
    return month, full


def check_cvc(cvc: str | None, brand: str) -> None:
    if cvc is None:
        return
    lengths = {4, 3} if brand == "amex" else {3}
    if not re.fullmatch(r"[0-9]+", cvc) or len(cvc) not in lengths:
        raise card_error("Your card's security code is invalid.", "invalid_cvc", "cvc")


def fingerprint(number: str) -> str:
    """The same card has the same fingerprint, and the number cannot be read back from it."""
    return hashlib.sha256(f"sandbox card {number}".encode()).hexdigest()[:16]


def named(name: str) -> Card:
    if name not in NAMED:
        raise invalid(
            f"No such PaymentMethod: '{name[:100]}'", param="payment_method", code="resource_missing"
        )
    return CARDS[NAMED[name]]
