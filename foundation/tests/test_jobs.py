"""A job belongs to the transaction that deferred it, also when a worker defers it."""

from __future__ import annotations

import asyncio

import pytest
from django.db import connection, transaction
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob
from procrastinate.testing import InMemoryConnector

from foundation import jobs


class Undo(Exception):
    pass


@pytest.mark.django_db(transaction=True)
def test_rollback_leaves_no_job() -> None:
    with pytest.raises(Undo), transaction.atomic():
        jobs.defer("any.task", key="1")
        raise Undo
    assert not ProcrastinateJob.objects.filter(task_name="any.task").exists()


@pytest.mark.django_db(transaction=True)
def test_a_job_deferred_inside_a_worker_joins_the_transaction_too() -> None:
    # A worker swaps the connector of procrastinate's own app for its own connection.
    elsewhere = InMemoryConnector()
    with app.replace_connector(elsewhere):
        with pytest.raises(Undo), transaction.atomic():
            jobs.defer("any.task", key="1")
            assert ProcrastinateJob.objects.filter(task_name="any.task").exists()
            raise Undo
        assert not ProcrastinateJob.objects.filter(task_name="any.task").exists()
        jobs.defer("any.task", key="2")
    assert ProcrastinateJob.objects.filter(task_name="any.task").count() == 1
    assert elsewhere.jobs == {}


@pytest.mark.django_db(transaction=True)
def test_a_waiting_job_absorbs_another_under_the_same_lock() -> None:
    with transaction.atomic():
        jobs.defer("any.task", queueing_lock="one", key="1")
        jobs.defer("any.task", queueing_lock="one", key="2")
        jobs.defer("any.other", key="3")
    assert ProcrastinateJob.objects.count() == 2


def left_by_a_dead_worker(task: str, lock: str) -> int:
    jobs.defer(task, queueing_lock=lock)
    job_id = ProcrastinateJob.objects.get(queueing_lock=lock, status="todo").pk
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - interval '5 minutes') RETURNING id"
        )
        worker_id = cursor.fetchone()[0]
        cursor.execute(
            "UPDATE procrastinate_jobs SET status = 'doing', worker_id = %s WHERE id = %s",
            [worker_id, job_id],
        )
    return int(job_id)


@pytest.mark.django_db(transaction=True)
def test_a_dead_workers_job_whose_successor_waits_already_does_not_stop_the_rescue_of_others() -> None:
    replaced = left_by_a_dead_worker("any.sweep", "sweep")
    jobs.defer("any.sweep", queueing_lock="sweep")
    rescued = left_by_a_dead_worker("any.refund", "refund")
    asyncio.run(jobs.rescue_stalled())
    status = dict(ProcrastinateJob.objects.values_list("pk", "status"))
    assert (status[replaced], status[rescued]) == ("failed", "todo")
    assert ProcrastinateJob.objects.filter(queueing_lock="sweep", status="todo").count() == 1
