"""Keeps the counts of the message log small, and counts anew when the operator's days change."""

from __future__ import annotations

import logging

from django.conf import settings
from django.db import connection, transaction

logger = logging.getLogger(__name__)

AT_ONCE = 20_000


def fold() -> int:
    """Add what the triggers noted to the counts and return how many notes. Readers see the same sums before and after.

    Counts anew when settings.HOME_TIMEZONE is not the zone whose days were counted.
    """
    if counted_zone() != settings.HOME_TIMEZONE:
        recount()
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SELECT communications_fold_counts(%s)", [AT_ONCE])
        return int(cursor.fetchone()[0])


def counted_zone() -> str:
    """Return the time zone whose days the counts are of."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT communications_home_zone()")
        return str(cursor.fetchone()[0])


def recount() -> int:
    """Count the whole log again by days of settings.HOME_TIMEZONE, while messages come and go; return how many were counted."""
    if counted_zone() != settings.HOME_TIMEZONE:
        logger.warning("The message log is counted anew by days of %s", settings.HOME_TIMEZONE)
        with transaction.atomic(durable=True), connection.cursor() as cursor:
            # Whoever began to write under the old zone ends before the new one counts.
            cursor.execute("LOCK TABLE communications_message IN SHARE ROW EXCLUSIVE MODE")
            cursor.execute(
                "CREATE OR REPLACE FUNCTION communications_home_zone() RETURNS text LANGUAGE sql STABLE"
                f" AS $$ SELECT '{_known(settings.HOME_TIMEZONE)}'::text $$"
            )
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        # The lock comes before the first snapshot, so that no fold's work is half seen.
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("LOCK TABLE communications_messagecount IN SHARE ROW EXCLUSIVE MODE")
        cursor.execute("SELECT communications_recount()")
        return int(cursor.fetchone()[0])


def _known(zone: str) -> str:
    """Return the zone's name if PostgreSQL knows it. Raises ValueError."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_timezone_names WHERE name = %s", [zone])
        if cursor.fetchone() is None:
            raise ValueError(f"PostgreSQL does not know the time zone {zone!r}.")
    return zone
