"""Currencies, decimal strings and PayPal's fee. Inside, amounts are integers in minor units."""

from __future__ import annotations

import re
from typing import Any

from sandbox.paypal.errors import malformed, refused

# The currencies PayPal settles in, with the fixed part of its fee in the smallest amount that it can name.
FIXED_FEES = {
    "AUD": 30, "BRL": 60, "CAD": 30, "CHF": 55, "CNY": 200, "CZK": 1_000, "DKK": 260, "EUR": 35, "GBP": 30, "HKD": 235,
    "HUF": 90, "ILS": 120, "JPY": 40, "MXN": 400, "MYR": 200, "NOK": 280, "NZD": 45, "PHP": 1_500, "PLN": 135,
    "SEK": 325, "SGD": 50, "THB": 1_100, "TWD": 10, "USD": 30,
}  # fmt: skip
# PayPal takes these in whole units only, though ISO 4217 gives HUF and TWD two decimals.
NO_DECIMALS = frozenset({"HUF", "JPY", "TWD"})
FEE_PER_THOUSAND = 29
LARGEST_WHOLE = 7  # digits before the decimal point
_NUMBER = re.compile(r"-?[0-9]+|-?[0-9]*\.[0-9]+")

Money = dict[str, str]


def decimals(currency: str) -> int:
    return 0 if currency in NO_DECIMALS else 2


def step(currency: str) -> int:
    """The smallest amount that PayPal can name, in ISO minor units: 100 for HUF, which it takes in whole units only."""
    return 100 if currency in NO_DECIMALS and currency != "JPY" else 1


def shown(amount: int, currency: str) -> Money:
    """1050 USD -> {"currency_code": "USD", "value": "10.50"}; 5000 JPY -> "5000"; 500000 HUF -> "5000"."""
    places = decimals(currency)
    whole, rest = divmod(abs(amount) // step(currency), 10**places)
    value = f"{whole}.{rest:0{places}d}" if places else str(whole)
    return {"currency_code": currency, "value": f"-{value}" if amount < 0 else value}


def check_currency(code: str, field: str) -> str:
    if not re.fullmatch(r"[A-Z]{3}", code):
        raise malformed(
            field, "INVALID_CURRENCY_CODE", "Currency code should be a three-character ISO-4217 code.", code
        )
    if code not in FIXED_FEES:
        raise refused(
            "CURRENCY_NOT_SUPPORTED", "Currency code is not currently supported.", field, value=code
        )
    return code


def minor(money: dict[str, Any], field: str, *, zero: bool = False) -> tuple[int, str]:
    """Minor units and currency of a money object. Raises PayPal's errors; zero is refused unless allowed."""
    currency = check_currency(money["currency_code"], f"{field}/currency_code")
    text, at = money["value"], f"{field}/value"
    if not _NUMBER.fullmatch(text):
        raise malformed(
            at,
            "INVALID_PARAMETER_SYNTAX",
            "The value of a field does not conform to the expected format.",
            text,
        )
    whole, _, rest = text.lstrip("-").partition(".")
    if rest and not decimals(currency):
        raise refused(
            "DECIMALS_NOT_SUPPORTED", "Currency does not support decimals.", at, value=text
        )  # fmt: skip
    if len(rest) > decimals(currency):
        raise refused(
            "DECIMAL_PRECISION",
            "If the currency supports decimals, only two decimal place precision is supported.", at, value=text,
        )  # fmt: skip
    if len(whole.lstrip("0")) > LARGEST_WHOLE:
        raise refused("MAX_VALUE_EXCEEDED", "Should be less than or equal to 9999999.99.", at, value=text)
    amount = int((whole or "0") + rest.ljust(decimals(currency), "0")) * step(currency)
    if text.startswith("-") and amount:
        amount = -amount
    if amount < 0 and zero:
        raise refused("CANNOT_BE_NEGATIVE", "Must be greater than or equal to zero.", at, value=text)
    if amount <= 0 and not zero:
        raise refused("CANNOT_BE_ZERO_OR_NEGATIVE", "Must be greater than zero.", at, value=text)
    return amount, currency


def fee(amount: int, currency: str) -> int:
    """2.9 % rounded half up, plus the currency's fixed part; never more than the amount itself. In minor units."""
    steps = amount // step(currency)
    taken = (steps * FEE_PER_THOUSAND * 2 + 1_000) // 2_000 + FIXED_FEES[currency]
    return min(taken, steps) * step(currency)
