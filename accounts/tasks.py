"""The clock of accounts."""

from __future__ import annotations

import logging

from django.utils import timezone
from procrastinate.contrib.django import app

from accounts.services import forget_expired_families
from accounts.sign_ins import forget_ended_sessions

logger = logging.getLogger(__name__)


@app.periodic(cron="29 3 * * *")
@app.task(
    name="accounts.forget_sign_ins", queueing_lock="accounts.forget_sign_ins", lock="accounts.forget_sign_ins"
)
def forget_sign_ins(timestamp: int) -> None:
    """Forget API sign-ins whose last token has expired, and where sessions that are over came from, once a day."""
    now = timezone.now()
    forgotten, sessions = forget_expired_families(now=now), forget_ended_sessions(now=now)
    if forgotten or sessions:
        logger.info("forgot %d expired API sign-ins and %d ended sessions", forgotten, sessions)
