"""The seam to who our customers are: settings.CAMPAIGN_AUDIENCE and settings.ALERT_AUDIENCE name what answers on a higher floor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from django.conf import settings
from django.utils.module_loading import import_string


@dataclass(frozen=True)
class Member:
    """One address to write to. `address` is in the form in which it is compared: lower case, or E.164."""

    address: str
    name: str = ""
    language: str = "en"
    timezone: str = ""


@dataclass(frozen=True)
class Choices:
    """What a form may offer: (value, label) pairs."""

    airports: Sequence[tuple[str, str]]
    currencies: Sequence[tuple[str, str]]


class Audience(Protocol):
    """Customers by what they did. A definition is JSON; `check` is the only way into the database for one."""

    def choices(self) -> Choices: ...

    def check(self, definition: dict[str, Any]) -> dict[str, Any]:
        """Return the definition tidied. Raises ValidationError by field."""

    def describe(self, definition: dict[str, Any]) -> list[tuple[str, str]]:
        """Return it in words: (what, which)."""

    def members(self, definition: dict[str, Any], *, channel: str, after: str, limit: int) -> list[Member]:
        """Return up to `limit` people whose address comes after `after`, by address: each once, whatever they booked."""

    def without_address(self, definition: dict[str, Any], *, channel: str) -> int:
        """Return how many people of the audience have no address on the channel."""


@dataclass(frozen=True)
class CarOwner:
    """Somebody to warn: one car of one booking. Either address may be missing."""

    reference: str
    plate: str
    name: str
    email: str
    phone: str
    language: str
    timezone: str
    variables: dict[str, str] = field(default_factory=dict)


class AlertAudience(Protocol):
    """The cars of a car park at a time."""

    def car_parks(self) -> Sequence[tuple[str, str]]: ...

    def zone_name(self, car_park: str) -> str: ...

    def check(self, definition: dict[str, Any]) -> dict[str, Any]:
        """Return the definition tidied, its moments in UTC. Raises ValidationError by field."""

    def place(self, definition: dict[str, Any]) -> str: ...

    def describe(self, definition: dict[str, Any]) -> str: ...

    def owners(self, definition: dict[str, Any], *, now: datetime) -> list[CarOwner]:
        """Return whose cars these are, by reference; never of a booking that does not stand."""


class PromoCodes(Protocol):
    """What a campaign's promo code is, and what it brought."""

    def link(self, code: str) -> str:
        """Return the tidy code, if there is one that can be used. Raises ValidationError on promo_code."""

    def create(self, *, code: str, name: str, percent: str, valid_until: datetime | None, by: Any) -> str: ...

    def takings(self, code: str, *, since: datetime) -> tuple[int, list[tuple[str, int]]]:
        """Return the bookings that stand made with it since then, and what they come to: (currency, minor units)."""

    def by_hour(self, code: str, *, since: datetime) -> list[tuple[datetime, int]]:
        """Return how many of these bookings were made in each hour (UTC), by time."""


def audience() -> Audience:
    return import_string(settings.CAMPAIGN_AUDIENCE)


def alert_audience() -> AlertAudience:
    return import_string(settings.ALERT_AUDIENCE)


def promo_codes() -> PromoCodes:
    return import_string(settings.CAMPAIGN_PROMO_CODES)
