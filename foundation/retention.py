"""How long things are kept. Each app's module `retention` (named in settings.RETENTION, the highest floor first) lists its RULES.

The nightly task walks them in batches, each a commit of its own, so that no lock is held for long; what is left over waits for the next night.
The ledger, numbered documents, confirmed bookings and consent are in no rule: they stay.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.db import connection, transaction
from django.utils.translation import gettext_lazy as _

from foundation.models import AuditEntry, IdempotencyRecord

logger = logging.getLogger(__name__)

BATCH = 1000
MOST_BATCHES = 200


@dataclass(frozen=True)
class Rule:
    """`forget(before, most)` deletes or blanks at most so many rows that are older than an instant, and returns how many.

    `days` is the fixed term, or the key of settings.RETENTION_DAYS whose value must be within `least` and `most`.
    """

    name: str
    what: Any
    days: int | str
    forget: Callable[[datetime, int], int]
    least: int = 0
    most: int = 0

    @property
    def term(self) -> timedelta:
        return timedelta(days=self.days if isinstance(self.days, int) else settings.RETENTION_DAYS[self.days])


def rules() -> list[Rule]:
    """Return every rule, the highest floor's first."""
    return [rule for name in settings.RETENTION for rule in import_module(name).RULES]


def run(*, now: datetime, only: str = "") -> dict[str, int]:
    """Apply every rule, or those of one module; return how many rows each forgot. A rule that fails does not stop the others."""
    done: dict[str, int] = {}
    for rule in rules() if not only else import_module(only).RULES:
        before, total = now - rule.term, 0
        try:
            for _batch in range(MOST_BATCHES):
                with transaction.atomic():
                    number = rule.forget(before, BATCH)
                total += number
                if number < BATCH:
                    break
        except Exception:
            logger.exception("retention: %s is left for the next night", rule.name)
        done[rule.name] = total
    return done


def out_of_range() -> list[tuple[str, int, int]]:
    """Return the settings whose days are not within their bounds, each with them."""
    return [
        (rule.days, rule.least, rule.most)
        for rule in rules()
        if isinstance(rule.days, str) and not rule.least <= settings.RETENTION_DAYS[rule.days] <= rule.most
    ]


def delete_oldest(rows: Any, most: int) -> int:
    """Delete at most so many rows of a query by their keys, and return how many rows of its model went."""
    keys = list(rows.order_by("pk").values_list("pk", flat=True)[:most])
    rows.model._default_manager.filter(pk__in=keys).delete()
    return len(keys)


def _jobs(before: datetime, most: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH old AS (
                SELECT job.id FROM procrastinate_jobs job
                WHERE job.status IN ('succeeded', 'failed', 'cancelled', 'aborted')
                  AND NOT EXISTS (SELECT 1 FROM procrastinate_events event WHERE event.job_id = job.id AND event.at >= %s)
                ORDER BY job.id LIMIT %s
            ), defers AS (DELETE FROM procrastinate_periodic_defers WHERE job_id IN (SELECT id FROM old))
            SELECT array_agg(id) FROM old
            """,
            [before, most],
        )
        keys = cursor.fetchone()[0] or []
        cursor.execute("DELETE FROM procrastinate_jobs WHERE id = ANY(%s)", [keys])
    return len(keys)


RULES = [
    Rule(
        "sessions",
        _("signed-in browsers after their end"),
        0,
        lambda before, most: delete_oldest(Session.objects.filter(expire_date__lt=before), most),
    ),
    Rule(
        "idempotency keys",
        _("answers to API calls that may be repeated"),
        2,
        lambda before, most: delete_oldest(IdempotencyRecord.objects.filter(created_at__lt=before), most),
    ),
    Rule("jobs", _("finished jobs of the queue"), "jobs", _jobs, least=1, most=365),
    Rule(
        "audit log",
        _("who did what, and why"),
        "audit_log",
        # PostgreSQL refuses to delete what is younger than a year, whatever is set.
        lambda before, most: delete_oldest(AuditEntry.objects.filter(at__lt=before), most),
        least=366,
        most=36500,
    ),
    Rule(
        "changes in the admin",
        _("the admin's own history of changes"),
        "audit_log",
        lambda before, most: delete_oldest(LogEntry.objects.filter(action_time__lt=before), most),
        least=366,
        most=36500,
    ),
]
