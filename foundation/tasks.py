"""The clock of the foundation."""

from __future__ import annotations

import logging

from django.utils import timezone
from procrastinate.contrib.django import app

from foundation import retention
from foundation.api import forget_old_calls

logger = logging.getLogger(__name__)


@app.periodic(cron="41 * * * *")
@app.task(
    name="foundation.forget_calls", queueing_lock="foundation.forget_calls", lock="foundation.forget_calls"
)
def forget_calls(timestamp: int) -> None:
    """Forget idempotent API calls that may no longer be repeated, once an hour."""
    forgotten = forget_old_calls(now=timezone.now())
    if forgotten:
        logger.info("forgot %d old API calls", forgotten)


@app.periodic(cron="17 3 * * *")
@app.task(
    name="foundation.retention",
    queueing_lock="foundation.retention",
    lock="foundation.retention",
    priority=-50,
)
def keep_no_longer(timestamp: int) -> None:
    """Forget what is older than its term, every night."""
    done = retention.run(now=timezone.now())
    logger.info("retention: %s", {name: number for name, number in done.items() if number})
