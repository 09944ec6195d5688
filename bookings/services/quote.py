"""Prices. Whole days on the airport's calendar, percent rules on their sum, a fee per stay: each a line."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django.db import connection
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext as _

from bookings.models import Product, PromoCode, Quote, TariffRule
from bookings.services import promo as promo_codes
from bookings.services.errors import NotOnSale
from bookings.services.stay import check_stay
from foundation import rules
from foundation.errors import InvalidInput
from foundation.money import LARGEST_MINOR, Money, payable, percent_of, signed_percent

Kind = TariffRule.Kind


@dataclass(frozen=True)
class PricedStay:
    """A price with its reasons: the amounts of `lines` add up to `total`. `days` are local calendar days."""

    total: Money
    lines: list[dict[str, Any]]
    per_day: Money
    days: int


def local_days(*, start_at: datetime, end_at: datetime, zone: ZoneInfo) -> int:
    """Return how many local calendar days the stay touches; a return at midnight does not begin a day.

    Calendar days, so that a night of 23 or 25 hours (a change of the clocks) costs what any night costs.
    """
    first = start_at.astimezone(zone).date()
    last = (end_at - timedelta(microseconds=1)).astimezone(zone).date()
    return (last - first).days + 1


def spaces_for_price(product: Product, *, start_at: datetime, end_at: datetime) -> int:
    """Return the spaces left, or a lower bound that is high enough to rule out every occupancy rule."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT spaces_left(%s, %s, %s, %s)",
            [product.pool_id, start_at, end_at, enough_spaces(product.pool.capacity)],
        )
        return int(cursor.fetchone()[0])


def enough_spaces(capacity: int) -> int:
    """From so many free spaces on, no occupancy rule applies (they start at 50 %) and search shows 10."""
    return max(10, capacity // 2 + 1)


def price_stay(
    product: Product,
    *,
    start_at: datetime,
    end_at: datetime,
    now: datetime,
    spaces: int | None = None,
    promo: PromoCode | None = None,
) -> PricedStay:
    """Price a stay that is to be sold, without storing anything. As price_of. Raises InvalidInput for a stay that cannot be sold, NotOnSale."""
    check_stay(start_at=start_at, end_at=end_at, now=now)
    if not (product.is_active and product.tariff.is_active and product.car_park.airport.is_active):
        raise NotOnSale
    return price_of(product, start_at=start_at, end_at=end_at, now=now, spaces=spaces, promo=promo)


def price_of(
    product: Product,
    *,
    start_at: datetime,
    end_at: datetime,
    now: datetime,
    spaces: int | None = None,
    promo: PromoCode | None = None,
) -> PricedStay:
    """Say what a stay costs at the prices of `now`, whether or not it can be sold.

    spaces: free spaces, looked up when not given. Each rule takes its percentage of the days and rounds
    half up to the minor unit, and the total to what can be paid; of one kind only the first rule that matches applies. A promo code takes
    its part of the sum. Raises InvalidInput for a price that cannot be paid in one go.
    """
    tariff = product.tariff
    zone = product.car_park.airport.zone
    days = local_days(start_at=start_at, end_at=end_at, zone=zone)
    base = tariff.daily_minor * days
    lines: list[dict[str, Any]] = [
        {
            "label": ngettext("%(days)d day at %(price)s", "%(days)d days at %(price)s", days)
            % {"days": days, "price": tariff.daily.format()},
            "rule": "days",
            "amount_minor": base,
        }
    ]
    rules = list(tariff.rules.all())
    if spaces is None and any(rule.kind == Kind.OCCUPANCY for rule in rules):
        spaces = spaces_for_price(product, start_at=start_at, end_at=end_at)
    applied: set[str] = set()
    for rule in sorted(rules, key=lambda rule: (rule.position, rule.pk)):
        if rule.kind in applied or not _applies(
            rule,
            days=days,
            local_start=start_at.astimezone(zone),
            notice=start_at - now,
            product=product,
            spaces=spaces,
        ):
            continue
        applied.add(rule.kind)
        amount = percent_of(base, rule.percent)
        if amount:
            label = f"{rule.label} ({signed_percent(rule.percent, get_language() or 'en')})"
            lines.append({"label": label, "rule": rule.kind, "amount_minor": amount})
    if tariff.stay_fee_minor:
        lines.append({"label": _("Fee per stay"), "rule": "stay_fee", "amount_minor": tariff.stay_fee_minor})
    total = sum(line["amount_minor"] for line in lines)
    if total < 0:
        lines.append({"label": _("Discounts end at nothing to pay"), "rule": "floor", "amount_minor": -total})
        total = 0
    if promo is not None and (line := promo_codes.line_of(promo, total_minor=total)):
        lines.append(line)
        total += line["amount_minor"]
    if (rounded := payable(total, tariff.currency)) != total:
        lines.append(
            {
                "label": _("Rounded to what can be paid"),
                "rule": "rounding",
                "amount_minor": rounded - total,
            }
        )
        total = rounded
    if total > LARGEST_MINOR:
        raise InvalidInput(
            _("This stay costs more than can be paid in one go. Choose a shorter one."), field="return"
        )
    per_day = int((Decimal(total) / days).to_integral_value(rounding=ROUND_HALF_UP))
    return PricedStay(
        total=Money(total, tariff.currency), lines=lines, per_day=Money(per_day, tariff.currency), days=days
    )


def _applies(
    rule: TariffRule,
    *,
    days: int,
    local_start: datetime,
    notice: timedelta,
    product: Product,
    spaces: int | None,
) -> bool:
    match rule.kind:
        case Kind.LENGTH_OF_STAY:
            return (rule.min_days or 1) <= days <= (rule.max_days or days)
        case Kind.EARLY_BIRD:
            return rule.hours_ahead is not None and notice >= timedelta(hours=rule.hours_ahead)
        case Kind.LAST_MINUTE:
            return rule.hours_ahead is not None and notice < timedelta(hours=rule.hours_ahead)
        case Kind.ARRIVAL_WEEKDAY:
            return local_start.weekday() in rule.weekdays
        case Kind.SEASON:
            return rule.in_season(local_start.date())
        case Kind.OCCUPANCY:
            capacity = product.pool.capacity
            if rule.occupancy_percent is None or spaces is None or not capacity:
                return False
            return (capacity - spaces) * 100 > capacity * rule.occupancy_percent
    return False


def quote_stay(
    product: Product,
    *,
    start_at: datetime,
    end_at: datetime,
    now: datetime,
    user: Any = None,
    promo_code: str = "",
    quote_id: uuid.UUID | None = None,
) -> Quote:
    """Store a price and the cancellation policy, both kept for QUOTE_LIFETIME_MINUTES. Promises no space.

    quote_id: a fresh id that the caller chose, so that it can find the quote again. Raises InvalidInput (promoCode: the code does not
    hold), NotOnSale.
    """
    if not product.car_park.is_open:
        raise NotOnSale(_("This car park is closed for booking. Choose another one."))
    customer = user if getattr(user, "pk", None) else None
    promo = promo_codes.promo_for(promo_code, product=product, now=now, user=customer)
    priced = price_stay(product, start_at=start_at, end_at=end_at, now=now, promo=promo)
    return Quote.objects.create(
        id=quote_id or uuid.uuid4(),
        product=product,
        start_at=start_at,
        end_at=end_at,
        total_minor=priced.total.amount_minor,
        currency=priced.total.currency,
        lines=priced.lines,
        policy=product.policy.frozen(),
        promo=promo,
        user=customer,
        created_at=now,
        expires_at=now + timedelta(minutes=rules.value("QUOTE_LIFETIME_MINUTES")),
    )
