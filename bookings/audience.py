"""Who our customers are, for campaigns and alerts: the post office asks by the names in settings, and never sees a booking."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import Count, Q, Sum
from django.db.models.functions import TruncHour
from django.utils.dateparse import parse_date
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from bookings import queries
from bookings.models import Airport, Booking, CarPark, PromoCode, PromoUse
from bookings.services.promo import tidy
from communications.campaigns.audience import CarOwner, Choices, Member
from communications.catalogue import EMAIL
from foundation import audit
from foundation.errors import InvalidInput
from foundation.money import Money

# Whoever paid for a stay is a customer; a hold that lapsed or a booking that was cancelled makes nobody one.
STANDS = ("confirmed", "arrived", "completed", "no_show")
PARTS = {
    "airports", "stay_from", "stay_to", "languages", "spend_currency", "spend_minimum", "last_booking_after", "last_booking_before",
}  # fmt: skip
DATES = ("stay_from", "stay_to", "last_booking_after", "last_booking_before")

# One row an address, from the newest booking. The condition on the key stands inside, where the index on it cuts the work to one batch.
PEOPLE = """
    SELECT {key} AS key,
        (array_agg(b.driver_name ORDER BY b.created_at DESC, b.id DESC))[1] AS name,
        (array_agg(b.language ORDER BY b.created_at DESC, b.id DESC))[1] AS language,
        (array_agg(a.timezone ORDER BY b.created_at DESC, b.id DESC))[1] AS timezone
    FROM bookings_booking b
    JOIN bookings_product p ON p.id = b.product_id
    JOIN bookings_carpark c ON c.id = p.car_park_id
    JOIN bookings_airport a ON a.id = c.airport_id
    WHERE b.status = ANY(%(stands)s) AND {key} > %(after)s
    GROUP BY {key}
    HAVING {having}
"""
KEYS = {"email": "lower(b.driver_email)", "sms": "b.driver_phone"}


class CustomerAudience:
    """Customers by where and when they parked, their language, what they spent, and when they last booked."""

    def choices(self) -> Choices:
        airports = Airport.objects.order_by("iata").values_list("iata", "name")
        return Choices(
            airports=[(iata, f"{iata} · {name}") for iata, name in airports],
            currencies=[(code, code) for code in settings.CURRENCIES],
        )

    def check(self, definition: dict[str, Any]) -> dict[str, Any]:
        problems: dict[str, Any] = {}
        if not isinstance(definition, dict) or set(definition) - PARTS:
            raise ValidationError(_("That is no audience: it has parts that nobody knows."))
        tidied: dict[str, Any] = {}
        airports = definition.get("airports") or []
        known = set(Airport.objects.values_list("iata", flat=True))
        if not isinstance(airports, list) or not set(map(str, airports)) <= known:
            problems["airports"] = _("Choose airports of the list.")
        elif airports:
            tidied["airports"] = sorted(set(airports))
        languages = definition.get("languages") or []
        if not isinstance(languages, list) or not set(map(str, languages)) <= {
            code for code, _name in settings.MESSAGE_LANGUAGES
        }:
            problems["languages"] = _("Choose languages of the list.")
        elif languages:
            tidied["languages"] = sorted(set(languages))
        for name in DATES:
            if text := definition.get(name):
                day = _date(text)
                if day is None:
                    problems[name] = _("Enter a day such as 2026-12-01.")
                else:
                    tidied[name] = day.isoformat()
        for first, last in (("stay_from", "stay_to"), ("last_booking_after", "last_booking_before")):
            if first in tidied and last in tidied and tidied[last] < tidied[first]:
                problems[last] = _("Enter a day that is not before the first.")
        currency, minimum = definition.get("spend_currency") or "", str(definition.get("spend_minimum") or "")
        if minimum and not currency:
            problems["spend_currency"] = _("Choose the currency of the amount.")
        elif currency and not minimum:
            problems["spend_minimum"] = _("Enter the smallest amount.")
        elif minimum:
            try:
                amount = Money.from_major(minimum, str(currency))
                if amount.amount_minor <= 0:
                    raise ValueError(_("Enter more than zero."))
                tidied |= {"spend_currency": amount.currency, "spend_minimum": amount.to_major()}
            except ValueError as error:
                problems["spend_minimum"] = str(error)
        if problems:
            raise ValidationError(problems)
        return tidied

    def describe(self, definition: dict[str, Any]) -> list[tuple[str, str]]:
        words: list[tuple[str, str]] = []
        if airports := definition.get("airports"):
            words.append((_("Parked or will park at"), ", ".join(airports)))
        if definition.get("stay_from") or definition.get("stay_to"):
            words.append((_("With a stay between"), _between(definition, "stay_from", "stay_to")))
        if languages := definition.get("languages"):
            names = dict(settings.MESSAGE_LANGUAGES)
            words.append((_("Language"), ", ".join(str(names.get(code, code)) for code in languages)))
        if minimum := definition.get("spend_minimum"):
            words.append(
                (
                    _("Spent at least"),
                    str(Money.from_major(minimum, definition["spend_currency"])),
                )
            )
        if definition.get("last_booking_after") or definition.get("last_booking_before"):
            words.append(
                (
                    _("Booked last between"),
                    _between(definition, "last_booking_after", "last_booking_before"),
                )
            )
        return words or [(_("Everybody"), _("who ever parked with us or will"))]

    def members(self, definition: dict[str, Any], *, channel: str, after: str, limit: int) -> list[Member]:
        sql, parameters = _people(definition, channel=channel, after=after)
        with connection.cursor() as cursor:
            # nosemgrep: sql-by-formatting - our own text; what staff choose goes as parameters
            cursor.execute(f"{sql} ORDER BY key LIMIT %(limit)s", {**parameters, "limit": limit})
            return [Member(*row) for row in cursor.fetchall()]

    def without_address(self, definition: dict[str, Any], *, channel: str) -> int:
        if channel == EMAIL:
            return 0  # the database wants one of each booking
        sql, parameters = _people(definition, channel=EMAIL, after="", also="bool_and(b.driver_phone = '')")
        with connection.cursor() as cursor:
            # nosemgrep: sql-by-formatting - our own text; what staff choose goes as parameters
            cursor.execute(f"SELECT count(*) FROM ({sql}) AS people", parameters)  # noqa: S608 - our own text
            return int(cursor.fetchone()[0])


def _people(
    definition: dict[str, Any], *, channel: str, after: str, also: str = "true"
) -> tuple[str, dict[str, Any]]:
    parameters: dict[str, Any] = {"stands": list(STANDS), "after": after}
    stay = []
    if airports := definition.get("airports"):
        stay.append("a.iata = ANY(%(airports)s)")
        parameters["airports"] = airports
    # A stay counts by the days it touches on its airport's own calendar.
    if day := definition.get("stay_from"):
        stay.append("(b.end_at AT TIME ZONE a.timezone)::date >= %(stay_from)s")
        parameters["stay_from"] = date.fromisoformat(day)
    if day := definition.get("stay_to"):
        stay.append("(b.start_at AT TIME ZONE a.timezone)::date <= %(stay_to)s")
        parameters["stay_to"] = date.fromisoformat(day)
    having = [also]
    if stay:  # one and the same stay fits all of it
        having.append(f"bool_or({' AND '.join(stay)})")
    if languages := definition.get("languages"):
        having.append("(array_agg(b.language ORDER BY b.created_at DESC, b.id DESC))[1] = ANY(%(languages)s)")
        parameters["languages"] = languages
    if minimum := definition.get("spend_minimum"):
        having.append(
            "coalesce(sum(b.kept_minor) FILTER (WHERE b.currency = %(currency)s), 0) >= %(minimum)s"
        )
        parameters["currency"] = definition["spend_currency"]
        parameters["minimum"] = Money.from_major(minimum, definition["spend_currency"]).amount_minor
    for name, sign in (("last_booking_after", ">="), ("last_booking_before", "<=")):
        if day := definition.get(name):
            having.append(f"(max(b.created_at) AT TIME ZONE %(operator_zone)s)::date {sign} %({name})s")
            parameters[name] = date.fromisoformat(day)
            parameters["operator_zone"] = settings.HOME_TIMEZONE
    return PEOPLE.format(key=KEYS[channel], having=" AND ".join(having)), parameters


def _date(text: Any) -> date | None:
    try:
        return parse_date(str(text))
    except ValueError:
        return None


def _between(definition: dict[str, Any], first: str, last: str) -> str:
    days = [_date(definition.get(name, "")) for name in (first, last)]
    start, end = (date_format(day, "j M Y") if day else "…" for day in days)
    return _("%(start)s and %(end)s") % {"start": start, "end": end}


customers = CustomerAudience()


# --- Alerts -----------------------------------------------------------------------------------------------------

ON_SITE, ARRIVING, LEAVING, ALL = "on_site", "arriving", "leaving", "all"


class CarsOfCarPark:
    """The cars that are, come or leave at one car park. `from` and `to` are moments; on site needs none."""

    def car_parks(self) -> Sequence[tuple[str, str]]:
        rows = CarPark.objects.select_related("airport").order_by("airport__iata", "name")
        return [(str(row.pk), f"{row.airport.iata} · {row.name}") for row in rows]

    def zone_name(self, car_park: str) -> str:
        found = self._car_park(car_park)
        return found.airport.timezone if found else settings.HOME_TIMEZONE

    def check(self, definition: dict[str, Any]) -> dict[str, Any]:
        car_park = self._car_park(definition.get("car_park"))
        if car_park is None:
            raise ValidationError({"car_park": _("Choose a car park of the list.")})
        who = definition.get("who")
        if who not in (ON_SITE, ARRIVING, LEAVING, ALL):
            raise ValidationError({"who": _("Choose who is meant.")})
        tidied: dict[str, Any] = {"car_park": car_park.pk, "who": who}
        if who == ON_SITE:
            return tidied
        problems: dict[str, Any] = {}
        for name in ("from", "to"):
            text = str(definition.get(name) or "")
            try:
                moment = queries.parse_local(text, car_park.airport.zone, field=name)
            except InvalidInput as error:
                problems[name] = str(error.message)
            else:
                tidied[name] = moment.isoformat()
        if not problems and tidied["to"] <= tidied["from"]:
            problems["to"] = _("Enter a moment after the first.")
        if problems:
            raise ValidationError(problems)
        return tidied

    def place(self, definition: dict[str, Any]) -> str:
        car_park = self._car_park(definition["car_park"])
        return f"{car_park.name}, {car_park.airport.iata}" if car_park else "-"

    def describe(self, definition: dict[str, Any]) -> str:
        car_park = self._car_park(definition["car_park"])
        if definition["who"] == ON_SITE or car_park is None:
            return _("Cars on site now")
        zone = car_park.airport.zone
        start, end = (
            date_format(datetime.fromisoformat(definition[name]).astimezone(zone), "D j M H:i")
            for name in ("from", "to")
        )
        words = {
            ARRIVING: _("Cars that arrive between %(start)s and %(end)s"),
            LEAVING: _("Cars that leave between %(start)s and %(end)s"),
            ALL: _("Cars that are there at any time between %(start)s and %(end)s"),
        }[definition["who"]]
        return words % {"start": start, "end": end}

    def owners(self, definition: dict[str, Any], *, now: datetime) -> list[CarOwner]:
        rows = (
            Booking.objects.filter(
                self._moment(definition, now=now), product__car_park=definition["car_park"]
            )
            .select_related("product__car_park__airport")
            .order_by("reference")
        )
        return [self._owner(booking) for booking in rows]

    @staticmethod
    def _moment(definition: dict[str, Any], *, now: datetime) -> Q:
        there = Q(status__in=["confirmed", "arrived"])
        if definition["who"] == ON_SITE:
            # A car that came stays until it is collected, however late that is.
            return Q(status="arrived", start_at__lte=now) | Q(
                status="confirmed", start_at__lte=now, end_at__gt=now
            )
        start, end = (datetime.fromisoformat(definition[name]) for name in ("from", "to"))
        if definition["who"] == ARRIVING:
            return Q(status="confirmed", start_at__gte=start, start_at__lt=end)
        if definition["who"] == LEAVING:
            return there & Q(end_at__gte=start, end_at__lt=end)
        return there & Q(start_at__lt=end, end_at__gt=start)

    @staticmethod
    def _owner(booking: Booking) -> CarOwner:
        car_park, airport = booking.product.car_park, booking.airport
        return CarOwner(
            reference=booking.reference,
            plate=booking.plate,
            name=booking.driver_name,
            email=booking.driver_email.lower(),
            phone=str(booking.driver_phone or ""),
            language=booking.contact_language,
            timezone=airport.timezone,
            variables={
                "airport_name": airport.name,
                "airport_iata": airport.iata,
                "car_park_name": car_park.name,
                "drop_off_local": date_format(booking.local_start, "D j M Y, H:i"),
                "return_local": date_format(booking.local_end, "D j M Y, H:i"),
            },
        )

    @staticmethod
    def _car_park(key: Any) -> CarPark | None:
        text = str(key or "")
        if not re.fullmatch(r"[0-9]{1,18}", text):
            return None
        return CarPark.objects.select_related("airport").filter(pk=int(text)).first()


cars = CarsOfCarPark()


# --- Promo codes ------------------------------------------------------------------------------------------------


class CampaignPromoCodes:
    """The code that a campaign names."""

    def link(self, code: str) -> str:
        found = PromoCode.objects.filter(code=tidy(code), is_active=True).first()
        if found is None:
            raise ValidationError(
                {"promo_code": _("There is no such promo code in use. Make it under Promo codes first.")}
            )
        return found.code

    def create(self, *, code: str, name: str, percent: str, valid_until: datetime | None, by: Any) -> str:
        promo = PromoCode(code=tidy(code), name=name[:100], percent=percent, valid_until=valid_until)
        try:
            promo.full_clean()
        except ValidationError as error:
            problems = error.message_dict
            field = "promo_percent" if "percent" in problems else "promo_code"
            raise ValidationError({field: next(iter(problems.values()))}) from None
        promo.save()
        audit.record(
            actor=by, action="promocode.added", subject=f"promocode:{promo.pk}", data={"code": promo.code}
        )
        return promo.code

    def takings(self, code: str, *, since: datetime) -> tuple[int, list[tuple[str, int]]]:
        rows = self._uses(code, since)
        sums = rows.order_by("booking__currency").values_list("booking__currency")
        return rows.count(), list(sums.annotate(total=Sum("booking__total_minor")))

    def by_hour(self, code: str, *, since: datetime) -> list[tuple[datetime, int]]:
        rows = self._uses(code, since).order_by().annotate(hour=TruncHour("created_at")).values_list("hour")
        return sorted(rows.annotate(Count("pk")))

    @staticmethod
    def _uses(code: str, since: datetime) -> Any:
        return PromoUse.objects.filter(promo__code=code, booking__status__in=STANDS, created_at__gte=since)


promo_codes = CampaignPromoCodes()
