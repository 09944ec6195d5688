"""Which stays and which driver's details can be accepted; every refusal says what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from foundation import rules
from foundation.errors import InvalidInput
from foundation.phones import clean_phone
from foundation.text import is_one_line

LONGEST_NAME = 120
LONGEST_EMAIL = 254
# Marks that turn the direction of what follows: a name with one could make a staff list or a message read as something else.
UNSEEN = frozenset("\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")


@dataclass(frozen=True)
class Driver:
    """Who brings the car, and where to reach them."""

    name: str
    email: str
    phone: str


@dataclass(frozen=True)
class Flights:
    """Flight numbers, "" when unknown."""

    outbound: str = ""
    return_: str = ""


def check_stay(*, start_at: datetime, end_at: datetime, now: datetime, was_quoted: bool = False) -> None:
    """Raise InvalidInput unless a stay from start_at to end_at (aware) can be sold at `now`.

    was_quoted: it was offered already, so limits that became narrower since then do not count; that it lies ahead does.
    """
    if end_at <= start_at:
        raise InvalidInput(_("The return must be after the drop-off. Choose a later return."), field="return")
    if start_at <= now:
        raise InvalidInput(_("The drop-off is in the past. Choose a later time."), field="dropOff")
    if was_quoted:
        return
    hours = rules.value("BOOKABLE_FROM_HOURS_AHEAD")
    if start_at < now + timedelta(hours=hours):
        raise InvalidInput(
            ngettext(
                "Drop-off must be at least %(hours)d hour from now. Choose a later time.",
                "Drop-off must be at least %(hours)d hours from now. Choose a later time.",
                hours,
            )
            % {"hours": hours},
            field="dropOff",
        )
    ahead = rules.value("BOOKABLE_UP_TO_DAYS_AHEAD")
    if start_at > now + timedelta(days=ahead):
        raise InvalidInput(
            _("Drop-off can be at most %(days)d days ahead. Choose an earlier day.") % {"days": ahead},
            field="dropOff",
        )
    longest = rules.value("LONGEST_STAY_DAYS")
    if end_at - start_at > timedelta(days=longest):
        raise InvalidInput(
            _("The longest stay is %(days)d days. Choose an earlier return.") % {"days": longest},
            field="return",
        )


def clean_driver(driver: Driver) -> Driver:
    """Return the driver with tidy fields and the phone in E.164. Raises InvalidInput naming the field."""
    name = " ".join(driver.name.split(" ")).strip()
    if not any(character.isalnum() for character in name):
        raise InvalidInput(_("Enter the driver's name."), field="driver.name")
    if len(name) > LONGEST_NAME or not is_one_line(name) or UNSEEN & set(name):
        raise InvalidInput(
            _("Enter a name of at most %(length)d ordinary characters.") % {"length": LONGEST_NAME},
            field="driver.name",
        )
    return Driver(
        name=name, email=_clean_email(driver.email), phone=clean_phone(driver.phone, field="driver.phone")
    )


def _clean_email(text: str) -> str:
    email = text.strip()
    try:
        if len(email) > LONGEST_EMAIL or not is_one_line(email):
            raise ValidationError("")
        validate_email(email)
    except ValidationError:
        raise InvalidInput(
            _("Enter an e-mail address such as name@example.com."), field="driver.email"
        ) from None
    return email


def clean_plate(text: str) -> str:
    """Return the plate as cameras compare it: capitals and digits only. Raises InvalidInput."""
    plate = re.sub(r"[\s\-.·]", "", text[:60]).upper()
    if not re.fullmatch(r"[A-Z0-9]{2,12}", plate) or len(text) > 60:
        raise InvalidInput(
            _("Enter the number plate as it is on the car: 2 to 12 letters and digits, such as AB12 CDE."),
            field="vehicle.plate",
        )
    return plate


def clean_flight(text: str, *, field: str) -> str:
    """Return the flight number without spaces, in capitals; "" stays "". Raises InvalidInput."""
    flight = re.sub(r"[\s\-]", "", text[:20]).upper()
    if (flight or text.strip()) and (
        len(text) > 20 or not re.fullmatch(r"(?=.{0,2}[A-Z])[A-Z0-9]{2}[A-Z]?[0-9]{1,4}[A-Z]?", flight)
    ):
        raise InvalidInput(_("Enter a flight number such as BA117, or leave it empty."), field=field)
    return flight
