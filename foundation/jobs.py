"""Deferring work in the caller's transaction, by the task's name, so that a lower floor need not import a higher one."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction
from procrastinate import App
from procrastinate.contrib.django.django_connector import DjangoConnector
from procrastinate.exceptions import AlreadyEnqueued

# Not procrastinate's own Django app: inside a worker that one talks over the worker's connection, so a job deferred by a
# job would run before the transaction that wrote its row is committed, find nothing, and be lost.
_outbox = App(connector=DjangoConnector(alias="default"))


def defer(
    task: str,
    *,
    queueing_lock: str | None = None,
    schedule_at: datetime | None = None,
    queue: str = "default",
    **arguments: Any,
) -> None:
    """Queue a task ("payments.send_refund") in the current transaction: a rollback leaves no job.

    With a queueing_lock a job that already waits under the same lock absorbs this one. Arguments must be JSON.
    """
    with transaction.atomic():
        try:
            with transaction.atomic():  # AlreadyEnqueued is a failed statement: only the savepoint may break
                _outbox.configure_task(
                    task,
                    allow_unknown=True,
                    queueing_lock=queueing_lock,
                    schedule_at=schedule_at,
                    queue=queue,
                ).defer(**arguments)
        except AlreadyEnqueued:
            pass
