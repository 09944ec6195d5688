"""What every sender takes, gives and raises. Changing the provider means changing one sender, or only a setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from django.db import transaction


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
        self.text = text[:500]
        super().__init__(f"{code}: {text}")


class Rejected(SendError):
    """The provider will never take this message: trying again is useless."""


class Unavailable(SendError):
    """The message did not leave; later it may."""


class OutcomeUnknown(SendError):
    """The request may have been done: the answer was lost."""


class Sender(Protocol):
    provider: str

    def send(self, envelope: Envelope) -> Receipt:
        """Hand the message to the provider. Raises Rejected, Unavailable or OutcomeUnknown."""

    def kept_open(self) -> AbstractContextManager[Sender]:
        """Return a sender that keeps its connection for many messages, while the `with` block lasts; for one thread."""


def refuse_open_transaction() -> None:
    """Raise RuntimeError inside an atomic block: a provider must not be called while locks are held."""
    with transaction.atomic(durable=True):
        pass
