"""The clock's and the queue's door: each task calls one service."""

from __future__ import annotations

from django.utils import timezone
from procrastinate import RetryStrategy
from procrastinate.contrib.django import app

from foundation import jobs
from payments.models import Payment
from payments.services import (
    answers,
    checkout,
    declines,
    documents,
    inbox,
    janitor,
    reconcile,
    refund,
    strays,
)

AGAIN = RetryStrategy(max_attempts=6, exponential_wait=3)


@app.periodic(cron="41 3 * * *")
@app.task(
    name="payments.forget_declines", queueing_lock="payments.forget_declines", lock="payments.forget_declines"
)
def forget_declines(timestamp: int) -> None:
    """Forget declined cards and stops that count no more, once a day."""
    declines.forget_old(now=timezone.now())


@app.task(name="payments.withdraw_payment", retry=AGAIN)
def withdraw_payment(payment_id: str) -> None:
    checkout.withdraw(Payment.objects.select_related("booking").get(pk=payment_id))


@app.task(name="payments.send_refund", retry=AGAIN)
def send_refund(refund_id: str) -> None:
    refund.send_refund(refund_id)


@app.task(name="payments.refund_cancellation", retry=AGAIN)
def refund_cancellation(cancellation_id: int) -> None:
    refund.refund_cancellation(cancellation_id)


@app.task(name="payments.refund_amendment", retry=AGAIN)
def refund_amendment(amendment_id: int) -> None:
    refund.refund_amendment(amendment_id)


@app.task(name="payments.send_answer", retry=AGAIN)
def send_answer(dispute_id: str) -> None:
    answers.send_answer(dispute_id)


@app.task(name="payments.send_acceptance", retry=AGAIN)
def send_acceptance(dispute_id: str) -> None:
    answers.send_acceptance(dispute_id)


@app.periodic(cron="37 * * * *")
@app.task(name="payments.look_for_disputes", queueing_lock="payments.look_for_disputes")
def look_for_disputes(timestamp: int) -> None:
    answers.look_for_new()


@app.task(name="payments.process_event")
def process_event(event_id: int) -> None:
    inbox.process_event(event_id)


@app.periodic(cron="* * * * *")
@app.task(name="payments.janitor", queueing_lock="payments.janitor")
def sweep(timestamp: int) -> None:
    janitor.sweep(now=timezone.now())


@app.periodic(cron="47 2 * * *")
@app.task(name="payments.issue_missing_documents", queueing_lock="payments.issue_missing_documents")
def issue_missing_documents(timestamp: int) -> None:
    documents.issue_missing(now=timezone.now())


@app.task(name="payments.send_stray_refund", retry=AGAIN)
def send_stray_refund(stray_id: str) -> None:
    strays.send_refund(stray_id)


# One lock for all: never two reconciliations at once, whoever asked.
@app.task(name="payments.reconcile", lock="payments.reconcile")
def reconcile_days(provider: str, days: int, requested_by: int | None = None) -> None:
    reconcile.reconcile_days(provider, days=days, requested_by_id=requested_by, now=timezone.now())


@app.periodic(cron="3,18,33,48 * * * *")
@app.task(name="payments.reconcile_lately", queueing_lock="payments.reconcile_lately")
def reconcile_lately(timestamp: int) -> None:
    reconcile.ask_for_all(days=reconcile.LATELY_DAYS)


@app.periodic(cron="23 1 * * *")
@app.task(name="payments.reconcile_month", queueing_lock="payments.reconcile_month")
def reconcile_month(timestamp: int) -> None:
    reconcile.ask_for_all(days=reconcile.MONTH_DAYS)


@app.periodic(cron="* * * * *")
@app.task(
    name="payments.rescue_stalled_jobs", queueing_lock="payments.rescue_stalled_jobs", pass_context=False
)
async def rescue_stalled_jobs(timestamp: int) -> None:
    """Give the jobs of a killed worker back to the queue."""
    await jobs.rescue_stalled()
