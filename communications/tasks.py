"""The clock's door."""

from __future__ import annotations

from django.utils import timezone
from procrastinate.contrib.django import app

from communications.services import outbox


@app.task(name="communications.send_message")
def send_message(*, message_id: str) -> None:
    """Send one message of the outbox; a no-op when it is not waiting."""
    outbox.send(message_id, now=timezone.now())


@app.periodic(cron="* * * * *")
@app.task(name="communications.sweep", queueing_lock="communications.sweep")
def sweep(timestamp: int) -> None:
    """Pick up messages whose worker died."""
    outbox.sweep(now=timezone.now())


@app.task(name="communications.release_waiting")
def release_waiting(*, channel: str) -> None:
    """A provider answers again: its messages go on."""
    outbox.release_waiting(channel, now=timezone.now())
