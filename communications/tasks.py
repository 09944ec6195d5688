"""The clock's door."""

from __future__ import annotations

from django.utils import timezone
from procrastinate.contrib.django import app

from communications.campaigns import dispatch, people, steps
from communications.services import costs, counting, outbox


@app.task(name="communications.send_message")
def send_message(*, message_id: str) -> None:
    """Send one message of the outbox; a no-op when it is not waiting."""
    outbox.send(message_id, now=timezone.now())


@app.periodic(cron="* * * * *")
@app.task(name="communications.sweep", queueing_lock="communications.sweep")
def sweep(timestamp: int) -> None:
    """Pick up messages whose worker died."""
    outbox.sweep(now=timezone.now())


@app.task(name="communications.release_waiting")
def release_waiting(*, channel: str) -> None:
    """A provider answers again: its messages go on."""
    outbox.release_waiting(channel, now=timezone.now())


@app.task(name="communications.prepare_campaign")
def prepare_campaign(*, campaign_id: int) -> None:
    """Choose a campaign's recipients for a moment, then go on behind whatever is more urgent."""
    people.prepare(campaign_id, now=timezone.now())


@app.task(name="communications.dispatch")
def dispatch_batches(*, sender: str, lane: int) -> None:
    """Send a campaign or an alert for a moment, then go on behind whatever is more urgent."""
    dispatch.run(sender, lane)


@app.periodic(cron="* * * * *")
@app.task(name="communications.campaign_clock", queueing_lock="communications.campaign_clock")
def campaign_clock(timestamp: int) -> None:
    """Begin campaigns that are due, and take up those that a killed worker left."""
    steps.look_at_the_clock(now=timezone.now())


@app.periodic(cron="*/5 * * * *")
@app.task(name="communications.fetch_prices", queueing_lock="communications.fetch_prices")
def fetch_prices(timestamp: int) -> None:
    """Ask the SMS provider for the prices that it names later."""
    costs.fetch_prices(now=timezone.now())


@app.periodic(cron="* * * * *")
@app.task(name="communications.fold_counts", queueing_lock="communications.fold_counts")
def fold_counts(timestamp: int) -> None:
    """Keep what analytics reads small."""
    while counting.fold() == counting.AT_ONCE:
        pass
