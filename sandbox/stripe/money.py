"""Currencies, smallest and largest amounts, and Stripe's fee. Amounts are integers in minor units."""

from __future__ import annotations

from sandbox.stripe.errors import StripeError, invalid

# The currencies Stripe charges cards in: two decimals unless listed below.
_CURRENCIES = """
    usd aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bif bmd bnd bob brl bsd bwp byn bzd cad
    cdf chf clp cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gnf gtq gyd hkd
    hnl htg huf idr ils inr isk jmd jpy kes kgs khr kmf krw kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd
    mmk mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd pab pen pgk php pkr pln pyg qar ron rsd
    rub rwf sar sbd scr sek sgd shp sle sos srd std szl thb tjs top try ttd twd tzs uah ugx uyu uzs vnd
    vuv wst xaf xcd xcg xof xpf yer zar zmw bhd jod kwd omr tnd
"""
CURRENCIES = frozenset(_CURRENCIES.split())
NO_DECIMALS = frozenset(
    [
        "bif",
        "clp",
        "djf",
        "gnf",
        "jpy",
        "kmf",
        "krw",
        "mga",
        "pyg",
        "rwf",
        "ugx",
        "vnd",
        "vuv",
        "xaf",
        "xof",
        "xpf",
    ]
)
THREE_DECIMALS = frozenset(["bhd", "jod", "kwd", "omr", "tnd"])
SMALLEST = {
    "usd": 50, "eur": 50, "gbp": 30, "chf": 50, "cad": 50, "aud": 50, "nzd": 50, "sgd": 50, "brl": 50, "inr": 50,
    "aed": 200, "bgn": 100, "czk": 1_500, "dkk": 250, "hkd": 400, "huf": 17_500, "jpy": 50, "mxn": 1_000,
    "myr": 200, "nok": 300, "pln": 200, "ron": 200, "sek": 300, "thb": 1_000,
}  # fmt: skip
LARGEST = 99_999_999
FEE_PER_THOUSAND, FEE_FIXED = 15, 20


def major(amount: int, currency: str) -> str:
    """Minor units as a decimal text in major units: 123456 usd -> 1,234.56."""
    decimals = 0 if currency in NO_DECIMALS else 3 if currency in THREE_DECIMALS else 2
    whole, rest = divmod(abs(amount), 10**decimals)
    return ("-" if amount < 0 else "") + f"{whole:,}" + (f".{rest:0{decimals}d}" if decimals else "")


def shown(amount: int, currency: str) -> str:
    """An amount as Stripe writes it in messages: $12.00, 50 jpy..."""
    text = major(amount, currency)
    sign = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥"}.get(currency)
    return f"{sign}{text}" if sign else f"{text} {currency}"


def check_currency(currency: str) -> str:
    lowered = currency.lower()
    if lowered not in CURRENCIES:
        raise invalid(
            f"Invalid currency: {lowered[:40]}. Stripe currently supports these currencies: "
            f"{', '.join(sorted(CURRENCIES))}",
            param="currency",
        )
    return lowered


def check_amount(amount: int, currency: str) -> int:
    if amount < 0 or amount == 0:
        raise invalid(
            "This value must be greater than or equal to 1.", param="amount", code="parameter_invalid_integer"
        )
    if amount > LARGEST:
        raise StripeError(
            f"Amount must be no more than {shown(LARGEST, currency)}", code="amount_too_large", param="amount",
            validation=True,
        )  # fmt: skip
    smallest = SMALLEST.get(currency, 1)
    if amount < smallest:
        raise StripeError(
            f"Amount must be at least {shown(smallest, currency)} {currency}", code="amount_too_small", param="amount",
            validation=True,
        )  # fmt: skip
    if currency in THREE_DECIMALS and amount % 10:
        raise invalid(
            f"Invalid amount: in {currency} the last of the three decimals must be 0, so the amount must be a "
            "multiple of 10.",
            param="amount",
        )
    return amount


def fee(amount: int) -> int:
    """1.5 % rounded half up, plus 20 minor units."""
    return (amount * FEE_PER_THOUSAND * 2 + 1_000) // 2_000 + FEE_FIXED
