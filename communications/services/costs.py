"""What SMS cost: our estimate until the provider has priced them, then its price."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation

from django.db.models import Q

from communications.catalogue import SMS
from communications.models import Message
from communications.senders.base import SendError
from communications.senders.prices import price_of

logger = logging.getLogger(__name__)

ASK_AFTER = timedelta(minutes=2)
ASK_AGAIN_AFTER = timedelta(minutes=30)
GIVE_UP_AFTER = timedelta(days=3)


def record_price(provider_ref: str, price: str | None, unit: str | None) -> bool:
    """Write down the provider's price ("-0.00790": what it took from the account). False for none, or one that cannot be read."""
    try:
        amount = abs(Decimal(price or ""))
    except InvalidOperation:
        return False
    unit = (unit or "").upper()
    if not provider_ref or not amount.is_finite() or amount >= 10_000 or len(unit) != 3 or not unit.isascii():
        return False
    return bool(
        Message.objects.filter(provider_ref=provider_ref, channel=SMS).update(
            price=amount, price_currency=unit, is_price_estimated=False
        )
    )


def fetch_prices(*, now: datetime, limit: int = 200) -> int:
    """Ask the provider for prices that it did not tell yet; return how many it told. It names them minutes after delivery."""
    priced = 0
    waiting = (
        Message.objects.filter(
            Q(price_asked_at=None) | Q(price_asked_at__lt=now - ASK_AGAIN_AFTER),
            is_price_estimated=True,
            sent_at__lt=now - ASK_AFTER,
            sent_at__gt=now - GIVE_UP_AFTER,
        )
        .exclude(provider_ref="")
        .order_by("sent_at")
        .values_list("pk", "provider_ref")[:limit]
    )
    for pk, reference in list(waiting):
        Message.objects.filter(pk=pk).update(price_asked_at=now)
        try:
            told = price_of(reference)
        except SendError as error:
            logger.warning("The SMS provider names no prices now: %s", error)
            return priced
        priced += record_price(reference, *told)
    return priced
