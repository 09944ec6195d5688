"""Business rules and limits: one definition each. The environment gives the default, staff may choose another within its bounds.

A change applies to what is quoted or held from then on: quotes freeze price, policy and stay, holds their end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext_lazy

from foundation import overrides
from foundation.errors import InvalidInput
from foundation.money import amounts_by_currency


@dataclass(frozen=True)
class BusinessRule:
    """A setting that staff may overrule. `kind` is number, hours (a list of numbers) or amounts (USD:200.00,...)."""

    name: str
    title: Any
    unit: Any
    means: Any
    least: int = 0
    most: int = 0
    kind: str = "number"


_MINUTES = ngettext_lazy("%(count)d minute", "%(count)d minutes", "count")
_HOURS = ngettext_lazy("%(count)d hour", "%(count)d hours", "count")
_DAYS = ngettext_lazy("%(count)d day", "%(count)d days", "count")
RULES = {
    one.name: one
    for one in (
        BusinessRule(
            "QUOTE_LIFETIME_MINUTES", gettext_lazy("How long a quote is good"), _MINUTES,
            gettext_lazy("A new quote's price and policy stand for %(value)s minutes. Quotes that were made keep their end."), 1, 1440,
        ),
        BusinessRule(
            "HOLD_LIFETIME_MINUTES", gettext_lazy("How long a space is kept for payment"), _MINUTES,
            gettext_lazy("A new booking or change is kept for %(value)s minutes until it is paid. Holds that stand keep their end."), 2, 240,
        ),
        BusinessRule(
            "STAFF_CHANGE_HOLD_HOURS", gettext_lazy("How long a change made by staff waits for its payment"), _HOURS,
            gettext_lazy("A change that staff make waits %(value)s hours for its payment."), 1, 336,
        ),
        BusinessRule(
            "BOOKABLE_FROM_HOURS_AHEAD", gettext_lazy("Shortest notice"), _HOURS,
            gettext_lazy("New quotes are for drop-offs at least %(value)s hours ahead."), 0, 168,
        ),
        BusinessRule(
            "BOOKABLE_UP_TO_DAYS_AHEAD", gettext_lazy("How far ahead"), _DAYS,
            gettext_lazy("New quotes are for drop-offs at most %(value)s days ahead."), 1, 1095,
        ),
        BusinessRule(
            "LONGEST_STAY_DAYS", gettext_lazy("Longest stay"), _DAYS,
            gettext_lazy("New quotes are for at most %(value)s days. Stays that were quoted or booked stand."), 1, 365,
        ),
        BusinessRule(
            "OPEN_HOLDS_PER_CUSTOMER", gettext_lazy("Open holds per customer"), ngettext_lazy("%(count)d booking", "%(count)d bookings", "count"),
            gettext_lazy("One customer may have %(value)s unpaid bookings at once."), 1, 50,
        ),
        BusinessRule(
            "REMINDER_HOURS", gettext_lazy("Reminders"), gettext_lazy("%(values)s hours before"),
            gettext_lazy("Customers are reminded %(value)s hours before drop-off and before return; nothing for never."), 1, 336, "hours",
        ),
        BusinessRule(
            "REFUND_APPROVAL_ABOVE", gettext_lazy("Refunds above this need a second person"), "%(values)s",
            gettext_lazy("Refunds above %(value)s wait for a second person; nothing for never. Those that wait still do."), kind="amounts",
        ),
    )
}  # fmt: skip


def value(name: str) -> Any:
    """Return a rule's value now: staff's choice, else the environment's default."""
    chosen = overrides.current().get(f"rule:{name}")
    return getattr(settings, name) if chosen is None else chosen


def clean(rule: BusinessRule, text: str) -> Any:
    """Return the value that a person typed. Raises InvalidInput that says what to write."""
    text = text.strip()
    if rule.kind == "amounts":
        try:
            amounts_by_currency(tuple(part.strip() for part in text.split(",") if part.strip()))
        except ValueError as error:
            raise InvalidInput(
                _("%(error)s. Write currencies and amounts such as USD:200.00,JPY:30000.") % {"error": error}
            ) from error
        return [part.strip() for part in text.split(",") if part.strip()]
    parts = [part.strip() for part in text.split(",") if part.strip()] if rule.kind == "hours" else [text]
    if not all(
        part.isascii() and part.isdigit() and len(part) <= 9 and rule.least <= int(part) <= rule.most
        for part in parts
    ):
        raise InvalidInput(
            _("Write whole numbers from %(least)d to %(most)d.") % {"least": rule.least, "most": rule.most}
        )
    return [int(part) for part in parts] if rule.kind == "hours" else int(text)


def shown(value: Any) -> str:
    """Write a value as a person types it."""
    return ",".join(str(one) for one in value) if isinstance(value, (list, tuple)) else str(value)


def in_words(rule: BusinessRule, value: Any) -> str:
    """Say a value to a person: "30 minutes", "24, 2 hours before", "never"."""
    if rule.kind == "number":
        return str(rule.unit % {"count": value})
    values = ", ".join(str(one) for one in value)
    return str(rule.unit) % {"values": values} if values else _("never")


def problems() -> list[tuple[str, str]]:
    """Return (setting, what to write) for every default of the environment that is out of its bounds."""
    found = []
    for rule in RULES.values():
        try:
            if rule.kind == "amounts":
                amounts_by_currency(tuple(getattr(settings, rule.name)))
            else:
                clean(rule, shown(getattr(settings, rule.name)))
        except ValueError as error:
            hint = "Write currencies and amounts such as USD:200.00,JPY:30000, or nothing for never."
            found.append((rule.name, f"{error}. {hint}"))
        except InvalidInput as error:
            found.append((rule.name, str(error.message)))
    return found
