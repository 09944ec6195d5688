"""What the floors keep about people, and who answers for it: the shared part of export and erasure.

Each app has a module `personal` (named in settings.PERSONAL_DATA, the highest floor first) with

- `FIELDS`: {"app.Model.field": rule}. Every field that may hold something about a customer stands in it, with one of the rules below;
  a test walks the models and fails for a field that nobody answers for;
- `export(person)`: everything that its floor keeps, as plain values;
- `open_matters(person, now=)`: sentences that say why the person cannot be forgotten yet;
- `forget_elsewhere(person, now=)`: make providers forget; no transaction is open; False while one has not confirmed;
- `forget(person, by=, reason=, now=)`: replace what it keeps, in the caller's transaction; a repeat changes nothing more.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from typing import Any, Protocol, cast

from django.conf import settings

# The rules. What stays says why.
ERASED = "erased"
KEPT_BY_LAW = "kept: accounting and tax law ask for it"
KEPT_AS_PROOF = "kept: proof of who did what, or of what was agreed"
SHORT_LIVED = "deleted by a retention job within days"
NOT_A_CUSTOMER = "not about a customer"
RULES = {ERASED, KEPT_BY_LAW, KEPT_AS_PROOF, SHORT_LIVED, NOT_A_CUSTOMER}

GONE = "Erased"
GONE_DOMAIN = "erased.invalid"


@dataclass(frozen=True)
class Person:
    """Whom it is about: an account with every address that proved to be its own, or only an address (a guest, `user` is None).

    emails are in lower case; phones are E.164, and only those that no other customer uses.
    """

    user: Any
    emails: tuple[str, ...]
    phones: tuple[str, ...] = ()


class Keeper(Protocol):
    FIELDS: dict[str, str]

    def export(self, person: Person) -> dict[str, Any]: ...
    def open_matters(self, person: Person, *, now: datetime) -> list[str]: ...
    def forget_elsewhere(self, person: Person, *, now: datetime) -> bool: ...
    def forget(self, person: Person, *, by: Any, reason: str, now: datetime) -> dict[str, int]: ...


def keepers() -> dict[str, Keeper]:
    """Return who keeps something about people, by name, the highest floor first."""
    return {name: cast(Keeper, import_module(name)) for name in settings.PERSONAL_DATA}


def rules() -> dict[str, str]:
    """Return the rule of every field that some floor answers for."""
    return {field: rule for keeper in keepers().values() for field, rule in keeper.FIELDS.items()}


def gone_address(key: Any) -> str:
    """Return the address that stands where an erased one stood. Nothing can be delivered to it (RFC 2606)."""
    return f"erased-{key}@{GONE_DOMAIN}"


def is_gone(address: str) -> bool:
    """Say whether an address stands for an erased person."""
    return address.endswith("@" + GONE_DOMAIN)


def instant(value: datetime | None) -> str | None:
    """Write an instant as exports do: ISO 8601 in UTC."""
    return value.isoformat() if value else None
