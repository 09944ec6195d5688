"""The worker forgets API sign-ins that have run out, and only those."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from procrastinate.contrib.django import app

from accounts.models import TokenFamily, User
from accounts.tasks import forget_sign_ins


@pytest.mark.django_db
def test_expired_sign_ins_are_forgotten() -> None:
    ada = User.objects.create_user("ada@example.com", "rather-long-Secret-7", name="Ada")
    now = timezone.now()
    TokenFamily.objects.create(user=ada, current_jti="expired", expires_at=now - timedelta(minutes=1))
    TokenFamily.objects.create(user=ada, current_jti="good", expires_at=now + timedelta(minutes=1))
    forget_sign_ins(timestamp=0)
    assert list(TokenFamily.objects.values_list("current_jti", flat=True)) == ["good"]


def test_the_worker_runs_it_every_day() -> None:
    crons = {entry.task.name: entry.cron for entry in app.periodic_registry.periodic_tasks.values()}
    assert crons["accounts.forget_sign_ins"] == "29 3 * * *"
