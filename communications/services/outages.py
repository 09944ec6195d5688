"""What to do while a provider takes nothing: its messages wait without using up their tries, and one is tried from time to time."""

from __future__ import annotations

import logging
import random
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import QuerySet

from communications.models import Message, MessageStatus, Outage
from communications.senders.base import SendError, Unavailable
from foundation.jobs import defer

logger = logging.getLogger(__name__)

OPENS_AFTER = 5  # failures in a row, of any messages of the channel
FIRST_WAIT_SECONDS = 30
LONGEST_WAIT_SECONDS = 300
RELEASE_TASK = "communications.release_waiting"
WAITING = "provider_down"  # the error_code of a message that waits; its due_at is empty


def may_try(channel: str, *, now: datetime) -> bool:
    """Say whether a message may go to the provider now; during an outage one may, each time that a try is due. In a transaction."""
    outage = Outage.objects.select_for_update().filter(channel=channel, since__isnull=False).first()
    if outage is None:
        return True
    if outage.next_try_at is None or outage.next_try_at > now:
        return False
    outage.next_try_at = _next_try(outage.failures, now=now)
    outage.save(update_fields=["next_try_at"])
    return True


def shut(*, now: datetime) -> dict[str, datetime]:
    """Return the channels whose providers are left alone now, each with the time of its next try."""
    return {
        channel: next_try_at or now + timedelta(seconds=LONGEST_WAIT_SECONDS)
        for channel, next_try_at in Outage.objects.filter(since__isnull=False).values_list(
            "channel", "next_try_at"
        )
        if next_try_at is None or next_try_at > now
    }


def failing() -> dict[str, bool]:
    """Return the channels whose last call was the provider's failure: True where that is an outage, so that one may try at a time."""
    return {
        channel: since is not None
        for channel, since in Outage.objects.filter(failures__gt=0).values_list("channel", "since")
    }


def note_failure(channel: str, error: SendError, *, now: datetime) -> bool:
    """Count a failure that is the provider's, and say whether the channel's messages wait from here on. In a transaction."""
    Outage.objects.bulk_create([Outage(channel=channel)], ignore_conflicts=True)
    outage = Outage.objects.select_for_update().get(channel=channel)
    outage.failures += 1
    outage.error_code, outage.error_text = error.code, error.text
    if outage.failures >= OPENS_AFTER:
        if outage.since is None:
            outage.since = now
            logger.error("Messages by %s wait: %s", channel, error.code)
        asked = error.retry_after_seconds if isinstance(error, Unavailable) else None
        outage.next_try_at = _next_try(outage.failures, now=now, at_least=asked or 0)
    outage.save()
    return outage.since is not None


def note_answer(channel: str) -> None:
    """The provider answers: failures are forgotten, and what waited goes on."""
    with transaction.atomic():
        outage = Outage.objects.select_for_update().filter(channel=channel, failures__gt=0).first()
        if outage is None:
            return
        if outage.since is not None:
            logger.warning("Messages by %s go on", channel)
            defer(RELEASE_TASK, queueing_lock=f"{RELEASE_TASK}:{channel}", channel=channel)
        outage.failures, outage.since, outage.next_try_at = 0, None, None
        outage.save()


def waiting(channel: str) -> QuerySet[Message]:
    """Return the messages that wait for the channel's provider, what is not one of many first."""
    return Message.objects.filter(
        channel=channel, status=MessageStatus.QUEUED, due_at=None, error_code=WAITING
    ).order_by("campaign_key", "queued_at")


def _next_try(failures: int, *, now: datetime, at_least: float = 0) -> datetime:
    doubled = FIRST_WAIT_SECONDS * 2 ** min(max(failures - OPENS_AFTER, 0), 10)
    seconds = max(min(doubled, LONGEST_WAIT_SECONDS), at_least)
    return now + timedelta(seconds=seconds * random.uniform(1.0, 1.2))  # noqa: S311 - only to spread the load
