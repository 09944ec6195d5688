"""The clock of bookings."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from django.utils import timezone
from procrastinate.contrib.django import app

from bookings.services.capacity import extend_gates
from bookings.services.hold import expire_overdue_holds
from bookings.services.lapse import expire_overdue_amendments
from bookings.services.remind import queue_due

logger = logging.getLogger(__name__)


@app.periodic(cron="* * * * *")
@app.task(name="bookings.expire_holds", queueing_lock="bookings.expire_holds", lock="bookings.expire_holds")
def expire_holds(timestamp: int) -> None:
    """Give the spaces of overdue holds and of changes that were not paid back, once a minute."""
    now = timezone.now()
    expired, lapsed = expire_overdue_holds(now=now), expire_overdue_amendments(now=now)
    if expired or lapsed:
        logger.info("expired %d overdue holds and %d overdue changes", expired, lapsed)


@app.periodic(cron="*/5 * * * *")
@app.task(name="bookings.remind", queueing_lock="bookings.remind", lock="bookings.remind")
def remind(timestamp: int) -> None:
    """Queue the reminders that are due, every five minutes."""
    if done := queue_due(now=timezone.now()):
        logger.info("queued reminders of %d stays", done)


@app.periodic(cron="17 2 * * *")
@app.task(name="bookings.extend_gates", queueing_lock="bookings.extend_gates", lock="bookings.extend_gates")
def extend_day_gates(timestamp: int) -> None:
    """Make the day gates of the sales horizon, once a day; a stay beyond them makes its own."""
    made = extend_gates(now=datetime.fromtimestamp(timestamp, tz=UTC))
    logger.info("made %d day gates", made)
