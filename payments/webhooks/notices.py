"""What every provider's door and look have in common: an event is noted once, and later gives a reason to look."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from django.db import transaction

from foundation import jobs
from payments.models import EventStatus, ProviderEvent


@dataclass(frozen=True)
class Notice:
    """What a provider's object says about us: our payment's id if it carries one, the provider's payment, whether money moved or
    is disputed, and which saved method (that we may not have heard of) or which saving of one it is about."""

    payment_id: str
    payment_ref: str
    took_money: bool
    data: dict[str, Any]
    method_ref: str = ""
    may_be_new: bool = False
    is_disputed: bool = False
    setup_ref: str = ""


class Correspondent(Protocol):
    """How the inbox reads one provider's events. A module is one."""

    def look(self, kind: str, ref: str) -> Notice | None:
        """Fetch the object that an event names, as it is now; None when such objects are no reason to look."""

    def mirror(self, kind: str, data: dict[str, Any]) -> None:
        """Refresh our copy of the object, where one is kept."""


def note(
    provider: str,
    *,
    event_ref: str,
    kind: str,
    object_kind: str,
    object_ref: str,
    livemode: bool,
    occurred_at: datetime | None = None,
) -> None:
    """Write a verified event down once and queue the look; a duplicate changes nothing. `occurred_at` is the provider's."""
    event_ref = event_ref[:255]
    with transaction.atomic():
        ProviderEvent.objects.bulk_create(
            [
                ProviderEvent(
                    provider=provider,
                    event_ref=event_ref,
                    kind=kind[:100],
                    object_kind=object_kind[:64],
                    object_ref=object_ref[:255],
                    livemode=livemode,
                    occurred_at=occurred_at,
                )
            ],
            ignore_conflicts=True,
        )
        event = ProviderEvent.objects.get(provider=provider, event_ref=event_ref)
        if event.status == EventStatus.RECEIVED:
            jobs.defer("payments.process_event", queueing_lock=f"event:{event.pk}", event_id=event.pk)


def instant(read: Callable[[Any], datetime], told: Any) -> datetime | None:
    """Return when a provider says that something happened; None for what cannot be read: it is only watched, never relied upon."""
    try:
        return read(told).astimezone(UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def payment_id_in(text: Any) -> str:
    """Return the payment's id that a provider's object carries, or "" for anything else."""
    try:
        return str(uuid.UUID(str(text)))
    except ValueError:
        return ""
