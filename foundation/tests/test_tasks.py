"""The worker forgets idempotent calls, and only the old ones."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from procrastinate.contrib.django import app

from foundation.models import IdempotencyRecord
from foundation.tasks import forget_calls


@pytest.mark.django_db
def test_calls_older_than_two_days_are_forgotten() -> None:
    for key, hours in (("old", 49), ("young", 47)):
        record = IdempotencyRecord.objects.create(
            principal="user:1", route="POST /api/x", key=key, fingerprint="f"
        )
        IdempotencyRecord.objects.filter(pk=record.pk).update(
            created_at=timezone.now() - timedelta(hours=hours)
        )
    forget_calls(timestamp=0)
    assert list(IdempotencyRecord.objects.values_list("key", flat=True)) == ["young"]


def test_the_worker_runs_it_every_hour() -> None:
    crons = {entry.task.name: entry.cron for entry in app.periodic_registry.periodic_tasks.values()}
    assert crons["foundation.forget_calls"] == "41 * * * *"
