"""Promo codes: which one holds for a stay, what it takes off, and that each booking's use is counted."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from django.db import IntegrityError
from django.utils.formats import date_format
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from bookings.models import Booking, Product, PromoCode, PromoUse
from bookings.services.errors import PromoCodeUsedUp, constraint_of
from foundation import features
from foundation.errors import InvalidInput
from foundation.money import percent_of, signed_percent

FIELD = "promoCode"
Kind = PromoCode.Kind


def tidy(text: str) -> str:
    """Return the code as it is stored: capitals, without spaces; "" stays ""."""
    return re.sub(r"\s", "", text[:60]).upper()


def promo_for(
    text: str, *, product: Product, now: datetime, user: Any = None, currency: str = ""
) -> PromoCode | None:
    """Return the code that the text names, if it holds for the product at `now`; None for no text.

    Raises InvalidInput on the field promoCode that says why it does not hold. Whether a use is left is certain only when the
    space is held.
    """
    code = tidy(text)
    if not code:
        return None
    if not features.is_on("promo_codes"):
        raise _refused(_("Promo codes are not taken at the moment. Go on without it."))
    promo = PromoCode.objects.filter(code=code).first()
    if promo is None or not promo.is_active:
        raise _refused(_("We do not know this promo code. Check it, or go on without."))
    zone = product.car_park.airport.zone
    if promo.valid_from is not None and now < promo.valid_from:
        day = date_format(promo.valid_from.astimezone(zone), "j F Y")
        raise _refused(_("This promo code holds from %(day)s on.") % {"day": day})
    if promo.valid_until is not None and now >= promo.valid_until:
        day = date_format(promo.valid_until.astimezone(zone), "j F Y")
        raise _refused(_("This promo code ended on %(day)s.") % {"day": day})
    if promo.currency and promo.currency != (currency or product.tariff.currency):
        raise _refused(
            _("This promo code is for prices in %(currency)s only.") % {"currency": promo.currency}
        )
    airports, products = (set(rows.values_list("pk", flat=True)) for rows in (promo.airports, promo.products))
    if (airports and product.car_park.airport_id not in airports) or (
        products and product.pk not in products
    ):
        raise _refused(
            _("This promo code does not hold for this car park. Go on without it, or choose another one.")
        )
    if promo.max_uses is not None and promo.used >= promo.max_uses:
        raise PromoCodeUsedUp
    if user is not None and promo.max_uses_per_customer is not None:
        mine = promo.uses.filter(customer=user.email.lower(), given_back_at=None).count()
        if mine >= promo.max_uses_per_customer:
            raise PromoCodeUsedUp(_("You have used this promo code already. Go on without it."))
    return promo


def _refused(message: str) -> InvalidInput:
    return InvalidInput(message, field=FIELD)


def line_of(promo: PromoCode, *, total_minor: int) -> dict[str, Any] | None:
    """Return the price line of what the code takes off a price, at most all of it; None when that is nothing."""
    label = _("Promo code %(code)s") % {"code": promo.code}
    if promo.kind == Kind.PERCENT:
        assert promo.percent is not None  # a constraint
        off = percent_of(total_minor, promo.percent)
        label = f"{label} ({signed_percent(-promo.percent, get_language() or 'en')})"
    else:
        off = min(promo.amount_minor, total_minor)
    return {"label": label, "rule": "promo", "amount_minor": -off} if off else None


def take_use(booking: Booking, *, now: datetime) -> None:
    """Count the booking as a use of its quote's code, in the caller's transaction. Locks the code's row until the commit.

    A code that was changed or ended after the quote still holds: the price was promised. Raises PromoCodeUsedUp.
    """
    promo_id = booking.quote.promo_id
    if promo_id is None:
        return
    off = -sum(line["amount_minor"] for line in booking.lines if line.get("rule") == "promo")
    try:
        PromoUse.objects.create(
            promo_id=promo_id,
            booking=booking,
            customer=booking.driver_email.lower(),
            discount_minor=off,
            created_at=now,
        )
    except IntegrityError as error:
        match constraint_of(error):
            case "promo_code_used_up":
                raise PromoCodeUsedUp from None
            case "promo_code_used_by_customer":
                raise PromoCodeUsedUp(
                    _("This promo code was already used with this e-mail address. Go on without it.")
                ) from None
        raise
