"""What every sender takes, gives and raises. Changing the provider means changing one sender, or only a setting."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from django.db import transaction
from django.utils import timezone

from foundation.text import one_line


@dataclass(frozen=True)
class CalendarEntry:
    """An appointment to attach. `starts_at` and `ends_at` are aware; `timezone` is the place's IANA name."""

    uid: str
    starts_at: datetime
    ends_at: datetime
    timezone: str
    summary: str
    location: str = ""
    description: str = ""
    sequence: int = 0  # one more with each change, so that calendars replace the entry
    is_cancelled: bool = False  # calendars take the entry out
    url: str = ""
    latitude: float | None = None
    longitude: float | None = None

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "starts_at": self.starts_at.isoformat(), "ends_at": self.ends_at.isoformat()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> CalendarEntry:
        return cls(
            **{
                **data,
                "starts_at": datetime.fromisoformat(data["starts_at"]).astimezone(ZoneInfo(data["timezone"])),
                "ends_at": datetime.fromisoformat(data["ends_at"]).astimezone(ZoneInfo(data["timezone"])),
            }
        )


@dataclass(frozen=True)
class Attachment:
    """A file to attach."""

    filename: str
    content: bytes
    content_type: str


@dataclass(frozen=True)
class Envelope:
    """A message ready to leave. `message_id` is our outbox row's id and travels as metadata."""

    message_id: str
    to: str
    to_name: str
    subject: str
    text: str
    html: str = ""
    calendar: CalendarEntry | None = None
    qr_text: str = ""
    attachments: Sequence[Attachment] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Receipt:
    """The provider has taken the message."""

    provider: str
    provider_ref: str


class SendError(Exception):
    """`code` is short and for lists; `text` tells staff what happened. Neither holds a body or a token."""

    def __init__(self, code: str, text: str) -> None:
        self.code = code[:60]
        self.text = one_line(text)[:500]
        super().__init__(f"{code}: {text}")


class Rejected(SendError):
    """The provider will never take this message: trying again is useless."""


class Suppressed(Rejected):
    """The provider keeps a list of those who want nothing, and this address is on it: nothing was sent."""


class Unavailable(SendError):
    """The message did not leave; later it may. `retry_after_seconds`: the provider named a time to wait. `is_providers`: any other
    message would have met the same."""

    def __init__(
        self, code: str, text: str, *, retry_after_seconds: float | None = None, is_providers: bool = True
    ) -> None:
        super().__init__(code, text)
        self.retry_after_seconds = retry_after_seconds
        self.is_providers = is_providers


class OutcomeUnknown(SendError):
    """The request may have been done: the answer was lost."""


class Sender(Protocol):
    provider: str

    def send(self, envelope: Envelope) -> Receipt:
        """Hand the message to the provider. Raises Rejected, Suppressed, Unavailable or OutcomeUnknown."""

    def find(self, envelope: Envelope, *, since: datetime) -> list[Receipt] | None:
        """Ask the provider whether it took this message after `since`: what it has that looks the same, newest first.

        None where a provider cannot be asked. Raises Unavailable when it does not answer.
        """


LONGEST_WAIT_SECONDS = 6 * 3600


def seconds_to_wait(value: str | None) -> float | None:
    """Read a Retry-After header: seconds or an HTTP date; at most six hours. None for nothing that can be read."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - timezone.now()).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return None
    return min(max(seconds, 0.0), LONGEST_WAIT_SECONDS) if math.isfinite(seconds) else None


def refuse_open_transaction() -> None:
    """Raise RuntimeError inside an atomic block: a provider must not be called while locks are held."""
    with transaction.atomic(durable=True):
        pass
