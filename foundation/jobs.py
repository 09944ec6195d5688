"""Deferring work in the caller's transaction, by the task's name, so that a lower floor need not import a higher one.

A job carries the id of the request that deferred it, and whatever it writes, calls or defers says it again.
"""

from __future__ import annotations

import logging
import sys
import time
from datetime import datetime
from typing import Any

from django.db import transaction
from gunicorn.systemd import sd_notify
from procrastinate import App, JobContext
from procrastinate.contrib.django import app
from procrastinate.contrib.django.django_connector import DjangoConnector
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException, UniqueViolation
from procrastinate.jobs import Status
from procrastinate.middleware import AsyncCallNext
from structlog.contextvars import bind_contextvars

from foundation import metrics
from foundation.logs import current_request_id, get_logger

logger = logging.getLogger(__name__)
done = get_logger("jobs")
# Travels among a job's arguments and is taken out before the task is called.
REQUEST_ID = "_request_id"

# Not procrastinate's own Django app: inside a worker that one talks over the worker's connection, so a job deferred by a
# job would run before the transaction that wrote its row is committed, find nothing, and be lost.
_outbox = App(connector=DjangoConnector(alias="default"))


def defer(
    task: str,
    *,
    queueing_lock: str | None = None,
    schedule_at: datetime | None = None,
    queue: str = "default",
    priority: int = 0,
    **arguments: Any,
) -> None:
    """Queue a task ("payments.send_refund") in the current transaction: a rollback leaves no job.

    With a queueing_lock a job that already waits under the same lock absorbs this one. Of the jobs that are due the one with the highest
    priority runs first. Arguments must be JSON.
    """
    if request_id := current_request_id():
        arguments[REQUEST_ID] = request_id
    with transaction.atomic():
        try:
            with transaction.atomic():  # AlreadyEnqueued is a failed statement: only the savepoint may break
                _outbox.configure_task(
                    task,
                    allow_unknown=True,
                    queueing_lock=queueing_lock,
                    schedule_at=schedule_at,
                    queue=queue,
                    priority=priority,
                ).defer(**arguments)
        except AlreadyEnqueued:
            pass


async def rescue_stalled(*, seconds_since_heartbeat: float = 30) -> None:
    """Give the jobs of killed workers back to the queue; every job is safe to run twice.

    One whose successor waits already under the same queueing lock cannot go back and need not: it ends as failed. One that its
    worker, only slow, has finished meanwhile is left alone.
    """
    for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=seconds_since_heartbeat):
        logger.warning("job %s (%s) was left by a dead worker; it runs again", job.id, job.task_name)
        try:
            try:
                await app.job_manager.retry_job(job)
            except UniqueViolation:
                await app.job_manager.finish_job(job, status=Status.FAILED, delete_job=False)
        except ConnectorException as error:
            logger.warning("job %s was not given back: %s", job.id, error.__cause__)


def prepare(app: App) -> None:
    """Have every worker run `observed` around its jobs. Procrastinate calls this once its Django app is ready."""
    app.worker_defaults["worker_middleware"] = [observed]
    if sys.argv[1:3] == ["procrastinate", "worker"]:
        # Everything is loaded: a worker that systemd started (Type=notify) says that it lives. Silent without one.
        sd_notify("READY=1", logger)


async def observed(call_next: AsyncCallNext, context: JobContext, worker: Any) -> Any:
    """Around each job: its request's id (its own, where nobody asked for it) on all that it does, one line, one count."""
    job = context.job
    request_id = str(job.task_kwargs.pop(REQUEST_ID, "") or f"job-{job.id}")
    bind_contextvars(request_id=request_id, job_id=job.id, task=job.task_name)
    began, outcome = time.monotonic(), "ok"
    try:
        return await call_next()
    except BaseException:
        outcome = "failed"
        raise
    finally:
        seconds = time.monotonic() - began
        metrics.JOBS.labels(job.task_name, outcome).observe(seconds)
        log = done.info if outcome == "ok" else done.exception
        log("job", outcome=outcome, ms=round(seconds * 1000), attempt=job.attempts + 1)
