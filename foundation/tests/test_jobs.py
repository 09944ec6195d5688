"""A job belongs to the transaction that deferred it, also when a worker defers it."""

from __future__ import annotations

import pytest
from django.db import transaction
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
