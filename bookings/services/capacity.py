"""Keeping the day gates ready ahead of sales, so that the rush need not make them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.db import connection

from bookings.models import CapacityGate, Pool
from foundation import rules


def extend_gates(*, now: datetime) -> int:
    """Make the missing day gates of every pool; return how many.

    From today (UTC) to the end of the last stay on sale. One pool per statement, so that no sale waits for more than its own pool.
    """
    first = now.astimezone(UTC).date()
    last = first + timedelta(
        days=rules.value("BOOKABLE_UP_TO_DAYS_AHEAD") + rules.value("LONGEST_STAY_DAYS") + 1
    )
    before = CapacityGate.objects.count()
    with connection.cursor() as cursor:
        for pool_id in Pool.objects.order_by("pk").values_list("pk", flat=True):
            cursor.execute("SELECT bookings_ensure_gates(%s, %s, %s)", [pool_id, first, last])
    return CapacityGate.objects.count() - before
