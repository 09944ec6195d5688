"""The clock of accounts."""

from __future__ import annotations

import logging

from django.utils import timezone
from procrastinate.contrib.django import app

from accounts import persons
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


@app.task(name="accounts.erase")
def erase(erasure_id: str) -> None:
    """Do what is left of an erasure."""
    persons.carry_on(erasure_id, now=timezone.now())


@app.periodic(cron="*/5 * * * *")
@app.task(name="accounts.take_up_erasures", queueing_lock="accounts.take_up_erasures")
def take_up_erasures(timestamp: int) -> None:
    """Go on with erasures that were left half way, every five minutes."""
    if taken := persons.take_up(now=timezone.now()):
        logger.info("took up %d erasures", taken)
