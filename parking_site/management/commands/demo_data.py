"""Everything the demo shows: places, prices, people and a few bookings. Safe to run again at each start."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from allauth.account.models import EmailAddress
from django.conf import settings
from django.contrib.auth.models import Group, Permission
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from accounts.models import User
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
from bookings.services.access import DOCUMENTED_REFERENCE, guest_token_for, hashed
from bookings.services.hold import Driver, Flights, place_hold
from bookings.services.quote import quote_stay
from parking_site.demo_catalogue import (
    AIRPORTS,
    CAR_PARKS,
    EV_FEE_MINOR,
    PER_DAY,
    POLICIES,
    POLICY_OF,
    RULES,
    SAVER,
    SAVER_FEE_MINOR,
    STREETS,
)

PASSWORD = "demo-parking"  # noqa: S105 - printed by the demo, refused on servers
HELD_FOR = timedelta(days=30)
READ_ONLY_APPS = ("bookings", "payments", "communications", "accounts")


class Command(BaseCommand):
    help = "Fill an empty shop with the demo's airports, car parks, prices, people and bookings; run again to refresh."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument(
            "--password-file",
            type=Path,
            help="a file with the password of the demo's people; a staging server requires it",
        )

    def handle(
        self, *args: Any, verbosity: int = 1, password_file: Path | None = None, **options: Any
    ) -> None:
        if settings.PRODUCTION:
            raise CommandError("Demo data has made-up prices and people: it is not loaded in production.")
        self.password = password_file.read_text().strip() if password_file else PASSWORD
        if settings.DEPLOYED and (self.password == PASSWORD or len(self.password) < 16):
            raise CommandError(
                "Everybody knows the demo's password. Put one of 16 or more characters in a file and name it with --password-file."
            )
        now = timezone.now()
        with transaction.atomic():
            customer = self._people()
            filled = Airport.objects.filter(iata=AIRPORTS[-1][0]).exists()
            created = 0 if filled else self._shop()
        self._bookings(customer, now=now)
        if verbosity:
            self.stdout.write(f"Demo data is in place ({created} new products).")

    def _people(self) -> User:
        customer = self._user("customer@example.com", "Ada Lovelace", phone="+442079460123")
        staff = self._user("staff@example.com", "Sam Rivers", is_staff=True)
        viewer = self._user("viewer@example.com", "Vic Stone", is_staff=True)
        self._user("admin@example.com", "Alex Admin", is_staff=True, is_superuser=True)
        ours = Permission.objects.filter(content_type__app_label__in=READ_ONLY_APPS)
        viewers, _ = Group.objects.get_or_create(name="Viewers")
        viewers.permissions.set(ours.filter(codename__startswith="view_"))
        operators, _ = Group.objects.get_or_create(name="Operations")
        operators.permissions.set(
            ours.filter(codename__startswith="view_")
            | ours.filter(content_type__app_label="bookings", codename__regex=r"^(add|change)_")
            | ours.filter(
                content_type__app_label="communications", codename__regex=r"^(add|change)_.*template"
            )
            | ours.filter(
                content_type__app_label="communications",
                codename__in=[
                    "add_campaign",
                    "change_campaign",
                    "run_campaign",
                    "send_emergencyalert",
                    "change_message",
                    "change_inboundtext",
                    "lift_suppression",
                ],
            )
            | ours.filter(content_type__app_label="payments").exclude(
                codename__regex=r"^(add|change|delete|view)_"
            )
            | ours.filter(content_type__app_label="payments", codename="change_break")
        )
        sending = ours.filter(codename__in=["send_email", "send_sms", "reset_breaker"])
        operators.permissions.add(*sending, Permission.objects.get(codename="view_system"))
        viewer.groups.set([viewers])
        staff.groups.set([operators])
        return customer

    def _user(self, email: str, name: str, **fields: Any) -> User:
        user = User.objects.filter(email=email).first()
        if user is None:
            user = User.objects.create_user(email, self.password, name=name, **fields)
        EmailAddress.objects.get_or_create(
            user=user, email=email, defaults={"verified": True, "primary": True}
        )
        return user

    def _shop(self) -> int:
        operator = Operator.objects.get_or_create(
            name="Runway Parking",
            defaults={
                "legal_name": "Runway Parking Ltd",
                "address": "1 Perimeter Road, Hounslow TW6 1AA, United Kingdom",
                "email": "operations@runway.example",
                "phone": "+442079460123",
                "vat_number": "GB123456789",
                "vat_percent": Decimal(20),
            },
        )[0]
        tariffs, policies = self._tariffs(), self._policies()
        for row in AIRPORTS:
            airport = self._airport(row)
            for car_park in CAR_PARKS:
                self._car_park(airport, operator, car_park, tariffs, policies)
        self._special_cases(operator, policies)
        return Product.objects.count()

    def _airport(self, row: tuple[str, ...]) -> Airport:
        iata, name, city, country, zone, latitude, longitude, currency = row
        return Airport.objects.get_or_create(
            iata=iata,
            defaults={
                "name": name,
                "city": city,
                "country": country,
                "timezone": zone,
                "latitude": Decimal(latitude),
                "longitude": Decimal(longitude),
                "currency": currency,
            },
        )[0]

    def _tariffs(self) -> dict[tuple[str, str], Tariff]:
        made = {}
        for key, prices in PER_DAY.items():
            for currency, whole in prices.items():
                variants = [(key, 0)]
                if key in {"walk", "covered"}:
                    variants.append((f"{key}-ev", EV_FEE_MINOR[currency]))
                for variant, fee in variants:
                    tariff = Tariff.objects.create(
                        name=f"{variant.replace('-ev', ' with charging').capitalize()} {currency}",
                        currency=currency,
                        daily_minor=whole * 100,
                        stay_fee_minor=fee,
                    )
                    TariffRule.objects.bulk_create(
                        TariffRule(
                            tariff=tariff,
                            kind=kind,
                            label=label,
                            percent=percent,
                            position=position,
                            **{
                                name: date.fromisoformat(value) if isinstance(value, str) else value
                                for name, value in conditions.items()
                            },
                        )
                        for position, (kind, label, percent, conditions) in enumerate(RULES)
                    )
                    made[variant, currency] = tariff
        return made

    def _policies(self) -> dict[str, CancellationPolicy]:
        made = {}
        rows = [(name, name, summary, tiers, 0, "") for name, summary, tiers in POLICIES]
        name, summary, tiers = SAVER
        rows += [
            (f"{name}-{currency}", f"{name} {currency}", summary, tiers, fee, currency)
            for currency, fee in SAVER_FEE_MINOR.items()
        ]
        for key, title, summary, tiers, fee, currency in rows:
            policy = CancellationPolicy.objects.create(
                name=title, summary=summary, fee_minor=fee, currency=currency
            )
            for notice_hours, percent in tiers:
                PolicyTier.objects.create(policy=policy, notice_hours=notice_hours, refund_percent=percent)
            made[key] = policy
        return made

    def _car_park(
        self,
        airport: Airport,
        operator: Operator,
        row: tuple[Any, ...],
        tariffs: dict[tuple[str, str], Tariff],
        policies: dict[str, CancellationPolicy],
    ) -> None:
        key, name, kind, (north, east), minutes, capacity, height, covered, amenities, description = row
        street = STREETS[airport.iata][0 if kind == "park_and_ride" else 1]
        car_park = CarPark.objects.create(
            airport=airport,
            operator=operator,
            name=name,
            slug=f"{airport.iata.lower()}-{key}",
            kind=kind,
            latitude=airport.latitude + Decimal(str(north)),
            longitude=airport.longitude + Decimal(str(east)),
            transfer_minutes=minutes,
            address=street,
            directions=(
                f"Follow the signs to {airport.name}, then to {name}. The barrier reads your number plate; "
                "if it does not open, show your QR code to the reader."
            ),
            description=description,
            height_limit_cm=height,
            is_covered=covered,
            amenities=amenities,
        )
        currency = airport.currency
        policy = policies.get(f"{POLICY_OF[key]}-{currency}") or policies[POLICY_OF[key]]
        standard = Pool.objects.create(car_park=car_park, kind="standard", name="Standard", capacity=capacity)
        Product.objects.create(
            car_park=car_park,
            pool=standard,
            name=name,
            tariff=tariffs[key, currency],
            policy=policy,
            needs_flight_number=kind == "meet_and_greet",
        )
        if (f"{key}-ev", currency) in tariffs:
            charging = Pool.objects.create(car_park=car_park, kind="ev", name="Charging bays", capacity=40)
            Product.objects.create(
                car_park=car_park,
                pool=charging,
                name="EV charging bay",
                description="A bay with a charger of your own; the car is full when you come back.",
                tariff=tariffs[f"{key}-ev", currency],
                policy=policy,
            )
        if key in {"economy", "walk"}:
            accessible = Pool.objects.create(
                car_park=car_park, kind="accessible", name="Accessible bays", capacity=30
            )
            Product.objects.create(
                car_park=car_park,
                pool=accessible,
                name="Accessible bay",
                description="A wide bay by the lift or the shuttle stop, for holders of a disabled badge.",
                tariff=tariffs[key, currency],
                policy=policy,
            )

    def _special_cases(self, operator: Operator, policies: dict[str, CancellationPolicy]) -> None:
        """A flat-price car park at JFK for the 50.00 USD booking, a tiny one with one space left, a closed one."""
        for iata, slug, name, capacity, is_open in (
            ("JFK", "jfk-short-stay", "Short Stay Blue", 200, True),
            ("LHR", "lhr-cottage", "Cottage Yard", 3, True),
            ("LGW", "lgw-summer-field", "Summer Field", 400, False),
        ):
            airport = Airport.objects.get(iata=iata)
            car_park = CarPark.objects.create(
                airport=airport,
                operator=operator,
                name=name,
                slug=slug,
                kind="park_and_walk",
                latitude=airport.latitude - Decimal("0.004"),
                longitude=airport.longitude - Decimal("0.003"),
                transfer_minutes=9,
                address=STREETS[iata][1],
                directions="Follow the blue signs. The barrier reads your number plate.",
                description="One flat price per day, whatever the season.",
                is_open=is_open,
                amenities=["cctv"],
            )
            pool = Pool.objects.create(car_park=car_park, kind="standard", name="Standard", capacity=capacity)
            tariff = Tariff.objects.create(name=f"Flat {name}", currency=airport.currency, daily_minor=2500)
            Product.objects.create(
                car_park=car_park, pool=pool, name=name, tariff=tariff, policy=policies["Tiered"]
            )

    def _bookings(self, customer: User, *, now: datetime) -> None:
        self._test_booking(customer, now=now)
        if Booking.objects.filter(driver_email="grace@example.com").exists():
            return
        # Two of three spaces of the Cottage Yard: one is left for the same nights.
        for name, email, plate in (
            ("Grace Hopper", "grace@example.com", "GR4CE"),
            ("Alan Kay", "kay@example.com", "KAY70"),
        ):
            self._hold(
                "lhr-cottage",
                Driver(name, email, "+447700900123"),
                plate,
                days_ahead=20,
                nights=4,
                now=now,
                lasts=HELD_FOR,
            )
        # A night in which the clocks change costs what any night costs.
        self._hold(
            "lhr-economy", Driver("Edsger Night", "night@example.com", "+447700900124"), "DST1",
            days_ahead=_days_to_clock_change(now), nights=2, now=now, lasts=HELD_FOR,
        )  # fmt: skip
        # And one that runs out while you look, to be seen expiring.
        self._hold(
            "man-walk", Driver("Hasty Harry", "harry@example.com", "+447700900125"), "HASTY1",
            days_ahead=10, nights=3, now=now, lasts=timedelta(minutes=3),
        )  # fmt: skip

    def _hold(
        self,
        slug: str,
        driver: Driver,
        plate: str,
        *,
        days_ahead: int,
        nights: int,
        now: datetime,
        lasts: timedelta,
        user: User | None = None,
    ) -> Booking:
        product = Product.objects.select_related("car_park__airport", "tariff", "policy", "pool").get(
            car_park__slug=slug, pool__kind="standard"
        )
        zone = product.car_park.airport.zone
        day = now.astimezone(zone).date() + timedelta(days=days_ahead)
        quote = quote_stay(
            product,
            start_at=datetime.combine(day, time(8), zone).astimezone(UTC),
            end_at=datetime.combine(day + timedelta(days=nights), time(18), zone).astimezone(UTC),
            now=now,
            user=user,
        )
        booking = place_hold(quote, driver=driver, plate=plate, flights=Flights(), user=user, now=now).booking
        booking.hold_expires_at = now + lasts
        booking.save(update_fields=["hold_expires_at"])
        return booking

    def _test_booking(self, customer: User, *, now: datetime) -> None:
        """The booking that the documentation's curl lines name: 50.00 USD, held, and held anew at each start."""
        booking = Booking.objects.filter(reference=DOCUMENTED_REFERENCE).first()
        if booking is None:
            with transaction.atomic():
                booking = self._hold(
                    "jfk-short-stay", Driver("Ada Lovelace", customer.email, "+442079460123"), "ADA1815",
                    days_ahead=60, nights=1, now=now, lasts=HELD_FOR, user=customer,
                )  # fmt: skip
                booking.reference = DOCUMENTED_REFERENCE
                booking.guest_token_hash = hashed(guest_token_for(DOCUMENTED_REFERENCE, booking.quote_id))
                booking.save(update_fields=["reference", "guest_token_hash"])
        elif booking.status == Booking.Status.HELD:
            booking.hold_expires_at = now + HELD_FOR
            booking.save(update_fields=["hold_expires_at"])


def _days_to_clock_change(now: datetime) -> int:
    """Days from today to the eve of London's next change of the clocks: the last Sunday of March or October."""
    today = now.date()
    for ahead in range(2, 360):
        sunday = today + timedelta(days=ahead + 1)
        if sunday.month in {3, 10} and sunday.weekday() == 6 and sunday.day >= 25:
            return ahead
    raise AssertionError("unreachable: every year has two changes")
