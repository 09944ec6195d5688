"""Airports, people and, for each schedule, car parks of its own: no schedule's crowd stands in another's way."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.auth.models import Permission

from accounts.models import User
from bench.chaos.stack import CURRENCIES
from bookings.models import (
    Airport,
    CancellationPolicy,
    CarPark,
    Operator,
    PolicyTier,
    Pool,
    Product,
    Tariff,
)

PASSWORD = "rather-long-Secret-7"  # noqa: S105 - of people who live for one run
CUSTOMERS = 4
# What a day costs, in minor units: chosen so that thirds and halves do not come out even (KWD: Stripe wants a nought at the end).
DAILY_MINOR = {"GBP": 1099, "USD": 1333, "JPY": 1501, "KWD": 3330}


def people() -> None:
    """Staff who may refund, customers with accounts, and an airport for each currency."""
    for name in ("sam", "kim"):
        staff = User.objects.create_user(f"{name}@example.com", PASSWORD, name=name.title(), is_staff=True)
        staff.user_permissions.set(
            Permission.objects.filter(
                codename__in=["refund_payment", "view_payment", "change_booking", "view_booking"]
            )
        )
    for number in range(CUSTOMERS):
        User.objects.create_user(f"regular{number}@example.com", PASSWORD, name=f"Regular {number}")
    Operator.objects.create(
        name="Chaos Parking", legal_name="Chaos Parking Ltd", address="1 Perimeter Road", vat_number="GB123456789", vat_percent=20
    )  # fmt: skip
    for number, currency in enumerate(CURRENCIES):
        Airport.objects.create(
            iata=f"CH{chr(65 + number)}", name=f"Chaos {currency}", city="City", country="GB", timezone="Europe/London",
            latitude=51, longitude=0, currency=currency,
        )  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A car park with one pool; `free_product` costs nothing, `boundary_product` gives half back at less than 48 hours."""

    product: int
    free_product: int
    pool: int
    tariff: int
    currency: str


def make_place(name: str, *, currency: str, capacity: int) -> Place:
    """A car park of this schedule's own."""
    airport = Airport.objects.get(currency=currency)
    car_park = CarPark.objects.create(
        airport=airport, operator=Operator.objects.get(name="Chaos Parking"), name=name, slug=name, kind="park_and_ride",
        latitude=51, longitude=0, transfer_minutes=5, address="1 Chaos Lane",
    )  # fmt: skip
    pool = Pool.objects.create(car_park=car_park, name="Standard", capacity=capacity)
    policy = CancellationPolicy.objects.create(
        name=f"Policy {name}", summary="All until 48 h before, then half."
    )
    PolicyTier.objects.create(policy=policy, notice_hours=48, refund_percent=100)
    PolicyTier.objects.create(policy=policy, notice_hours=0, refund_percent=50)
    made: dict[str, Any] = {}
    for kind, daily in (("paid", DAILY_MINOR[currency]), ("free", 0)):
        tariff = Tariff.objects.create(name=f"{kind} {name}", currency=currency, daily_minor=daily)
        made[kind] = Product.objects.create(
            car_park=car_park, pool=pool, name=kind.title(), policy=policy, tariff=tariff
        )
    return Place(made["paid"].pk, made["free"].pk, pool.pk, made["paid"].tariff_id, currency)


def raise_price(place: Place) -> None:
    """Staff edit the price while customers are paying."""
    Tariff.objects.filter(pk=place.tariff).update(daily_minor=DAILY_MINOR[place.currency] * 2 + 7)


def run_out(reference: str, *, now: datetime) -> None:
    """Let a hold's time pass, and the clock's task find it."""
    from bookings.models import Booking
    from bookings.services.hold import expire_overdue_holds

    Booking.objects.filter(reference=reference, status="held").update(
        hold_expires_at=now - timedelta(seconds=1)
    )
    expire_overdue_holds(now=now)


def let_change_lapse(reference: str) -> None:
    """The clock's task as an hour later, for one booking: when a change lapses stands in it and cannot be altered."""
    from bookings.models import Booking
    from bookings.services.lapse import expire_overdue_amendments

    expire_overdue_amendments(
        now=datetime.now(UTC) + timedelta(hours=1), among=Booking.objects.filter(reference=reference)
    )
