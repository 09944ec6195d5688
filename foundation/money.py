"""Money: an integer in minor units joined to an ISO 4217 code."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import cache

from babel.numbers import format_currency, format_percent, get_currency_precision, list_currencies
from django.utils.translation import get_language
from django.utils.translation import gettext as _

LARGEST_MINOR = 99_999_999  # eight digits: the largest amount that Stripe charges in one go


@cache
def exponent(currency: str) -> int:
    """Return how many decimals the currency has: JPY 0, USD 2, KWD 3. Raises ValueError for an unknown code."""
    if currency not in _known_currencies():
        raise ValueError(_("“%(code)s” is not a currency code.") % {"code": currency[:8]})
    return get_currency_precision(currency)


@cache
def _known_currencies() -> frozenset[str]:
    return frozenset(list_currencies())


@dataclass(frozen=True, order=False)
class Money:
    """An exact amount. `amount_minor` is in the currency's minor unit (1050 = 10.50 EUR; JPY has none)."""

    amount_minor: int
    currency: str

    @classmethod
    def from_major(cls, text: str | int | Decimal, currency: str) -> Money:
        """Read an amount in major units ("10.50"). Raises ValueError for anything that is not exactly representable."""
        try:
            value = Decimal(str(text).replace("_", "?"))  # Decimal would read 1_0 as 10
        except InvalidOperation:
            raise ValueError(_("Enter an amount such as 10.50.")) from None
        # Size first: abs() of 1e99999999999 is itself an overflow.
        if not value.is_finite() or value.adjusted() > 9 or abs(value) > Decimal(LARGEST_MINOR):
            raise ValueError(_("That amount is out of range."))
        if len(value.as_tuple().digits) > 28:  # more than is calculated with exactly, so it would be rounded
            raise ValueError(_("That amount is out of range."))
        scaled = value.scaleb(exponent(currency))
        if scaled != scaled.to_integral_value():
            raise ValueError(
                _("%(currency)s has %(decimals)s decimals; give no more.")
                % {"currency": currency, "decimals": exponent(currency)}
            )
        if abs(scaled) > LARGEST_MINOR:
            raise ValueError(_("That amount is out of range."))
        return cls(int(scaled), currency)

    @property
    def major(self) -> Decimal:
        """The amount in major units, with the currency's own number of decimals."""
        places = exponent(self.currency)
        return Decimal(self.amount_minor).scaleb(-places).quantize(Decimal(1).scaleb(-places))

    def to_major(self) -> str:
        """The amount as the API writes it: "10.50", "1050" for JPY, "1.050" for KWD."""
        return f"{self.major:f}"

    def format(self, language: str | None = None) -> str:
        """The amount as a person reads it in the language ("£10.50"); the active language by default."""
        return format_currency(
            self.major, self.currency, locale=(language or get_language() or "en").replace("-", "_")
        )

    def __str__(self) -> str:
        return self.format()

    def __add__(self, other: Money) -> Money:
        self._same_currency(other)
        return Money(self.amount_minor + other.amount_minor, self.currency)

    def __sub__(self, other: Money) -> Money:
        self._same_currency(other)
        return Money(self.amount_minor - other.amount_minor, self.currency)

    def __lt__(self, other: Money) -> bool:
        self._same_currency(other)
        return self.amount_minor < other.amount_minor

    def __le__(self, other: Money) -> bool:
        self._same_currency(other)
        return self.amount_minor <= other.amount_minor

    def __bool__(self) -> bool:
        return self.amount_minor != 0

    def _same_currency(self, other: Money) -> None:
        if self.currency != other.currency:
            raise ValueError(f"{self.currency} and {other.currency} do not add up")


def payable_step(currency: str) -> int:
    """Return the step, in minor units, in which the currency can be paid: card networks want the last of three decimals to be 0, and
    forints and new Taiwan dollars change hands in whole ones only."""
    if currency in ("HUF", "TWD"):
        return 100
    return 10 if exponent(currency) == 3 else 1


def payable(amount_minor: int, currency: str) -> int:
    """Return the nearest amount that can be paid, half a step rounded up."""
    step = payable_step(currency)
    return (amount_minor + step // 2) // step * step


@cache
def amounts_by_currency(entries: tuple[str, ...]) -> dict[str, int]:
    """Read ("USD:200.00", "JPY:30000") into minor units by currency. Raises ValueError that names the entry."""
    found: dict[str, int] = {}
    for entry in entries:
        currency, colon, text = entry.strip().partition(":")
        try:
            amount = Money.from_major(text, currency)
        except ValueError as error:
            raise ValueError(f"{entry!r}: {error}") from None
        if not colon or amount.amount_minor < 0 or currency in found:
            raise ValueError(f"{entry!r}: write each currency once, as in USD:200.00")
        found[currency] = amount.amount_minor
    return found


def percent_of(amount_minor: int, percent: Decimal | int) -> int:
    """Return percent % of an amount, rounded half up to the minor unit (the house's one rounding rule)."""
    return int((Decimal(amount_minor) * Decimal(percent) / 100).to_integral_value(rounding=ROUND_HALF_UP))


@cache
def signed_percent(percent: Decimal, language: str) -> str:
    """Write "-20%" or "+12.5%" as the language does."""
    text = format_percent(percent / 100, locale=language.replace("-", "_"), decimal_quantization=False)
    return f"+{text}" if percent > 0 else text


def tax_within(gross_minor: int, percent: Decimal | int) -> int:
    """Return the tax that a gross amount holds at percent %, rounded half up to the minor unit; the rest is the net amount."""
    share = Decimal(gross_minor) * Decimal(percent) / (100 + Decimal(percent))
    return int(share.to_integral_value(rounding=ROUND_HALF_UP))
