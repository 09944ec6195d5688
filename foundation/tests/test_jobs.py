"""A job belongs to the transaction that deferred it, also when a worker defers it."""

from __future__ import annotations

import asyncio

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections, transaction
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob
from procrastinate.jobs import Job
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


async def rescue() -> None:
    try:
        await jobs.rescue_stalled()
    finally:  # asyncio's thread lives on, and its connection would outlive this test's database
        await sync_to_async(connections.close_all)()


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
    asyncio.run(rescue())
    status = dict(ProcrastinateJob.objects.values_list("pk", "status"))
    assert (status[replaced], status[rescued]) == ("failed", "todo")
    assert ProcrastinateJob.objects.filter(queueing_lock="sweep", status="todo").count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_job_that_ended_meanwhile_does_not_stop_the_rescue_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between the look and the rescue a worker that was only slow finishes its job."""
    slow, dead = left_by_a_dead_worker("any.slow", "slow"), left_by_a_dead_worker("any.dead", "dead")
    look = app.job_manager.get_stalled_jobs

    async def look_and_wait(**asked: float) -> list[Job]:
        found = list(await look(**asked))
        await sync_to_async(ProcrastinateJob.objects.filter(pk=slow).update)(status="succeeded")
        return found

    monkeypatch.setattr(app.job_manager, "get_stalled_jobs", look_and_wait)
    asyncio.run(rescue())
    status = dict(ProcrastinateJob.objects.values_list("pk", "status"))
    assert (status[slow], status[dead]) == ("succeeded", "todo")
