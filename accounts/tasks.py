"""The clock of accounts."""

from __future__ import annotations

import logging

from django.utils import timezone
from procrastinate.contrib.django import app

from accounts.services import forget_expired_families

logger = logging.getLogger(__name__)


@app.periodic(cron="29 3 * * *")
@app.task(
    name="accounts.forget_sign_ins", queueing_lock="accounts.forget_sign_ins", lock="accounts.forget_sign_ins"
)
def forget_sign_ins(timestamp: int) -> None:
    """Forget API sign-ins whose last token has expired, once a day."""
    forgotten = forget_expired_families(now=timezone.now())
    if forgotten:
        logger.info("forgot %d expired API sign-ins", forgotten)
