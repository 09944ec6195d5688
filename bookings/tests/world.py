"""A small airport to test in. Monday 1 June 2026, 09:00 UTC is now, unless a test says otherwise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from bookings.models import (
    Airport,
    Booking,
    CancellationPolicy,
    CarPark,
    Operator,
    PolicyTier,
    Pool,
    Product,
    Tariff,
    TariffRule,
)
from bookings.services.hold import Driver, PlacedHold, place_hold
from bookings.services.quote import quote_stay

NOW = datetime(2026, 6, 1, 9, tzinfo=UTC)
ADA = Driver(name="Ada Lovelace", email="ada@example.com", phone="+44 7700 900123")
DAY = timedelta(days=1)


def make_product(
    *,
    capacity: int = 2,
    iata: str = "LHR",
    timezone: str = "Europe/London",
    currency: str = "GBP",
    **tariff: Any,
) -> Product:
    """One airport, one car park, one pool, one product at 10.00 a day under the tiered policy."""
    airport = Airport.objects.create(
        iata=iata, name=f"Airport {iata}", city="City", country="GB", timezone=timezone, latitude=51, longitude=0, currency=currency
    )  # fmt: skip
    operator, _made = Operator.objects.get_or_create(name="Runway Parking")
    car_park = CarPark.objects.create(
        airport=airport, operator=operator, name="Meadow", slug=f"{iata}-meadow".lower(), kind="park_and_ride",
        latitude=51, longitude=0, transfer_minutes=12, address="1 Meadow Lane",
    )  # fmt: skip
    pool = Pool.objects.create(car_park=car_park, name="Standard", capacity=capacity)
    policy = CancellationPolicy.objects.create(
        name=f"Tiered {iata}", summary="Full refund until 24 h before."
    )
    PolicyTier.objects.create(policy=policy, notice_hours=24, refund_percent=100)
    PolicyTier.objects.create(policy=policy, notice_hours=12, refund_percent=50)
    return Product.objects.create(
        car_park=car_park,
        pool=pool,
        name="Economy",
        policy=policy,
        tariff=Tariff.objects.create(name="Plain", currency=currency, **{"daily_minor": 1000, **tariff}),
    )


def add_rule(product: Product, kind: str, percent: str, **condition: Any) -> TariffRule:
    """Add a rule to the product's tariff, after those it has."""
    position = product.tariff.rules.count()
    rule = TariffRule.objects.create(
        tariff=product.tariff, kind=kind, label=kind, percent=Decimal(percent), position=position, **condition
    )
    product.tariff.refresh_from_db()
    return rule


def hold(
    product: Product,
    *,
    start: datetime = NOW + 2 * DAY,
    days: float = 3,
    now: datetime = NOW,
    email: str = "",
    **more: Any,
) -> PlacedHold:
    """Quote and hold a stay for somebody new, or for `email`."""
    person = email or f"p{Booking.objects.count()}-{start:%d%H%M}@example.com"
    quote = quote_stay(
        product, start_at=start, end_at=start + timedelta(days=days), now=now, user=more.get("user")
    )
    driver = Driver(name=ADA.name, email=person, phone=ADA.phone)
    return place_hold(quote, driver=driver, plate="ab12 cde", now=now, **more)
