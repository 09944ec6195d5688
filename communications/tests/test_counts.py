"""The counts equal the log, whatever happens to it."""

from __future__ import annotations

import random
import threading
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection, transaction

from communications.admin.charts import bars_over
from communications.models import Message, MessageCount, MessageCountChange, MessageStatus
from communications.queries import MOST_DAYS, analytics
from communications.services import counting

LONDON = ZoneInfo("Europe/London")
KINDS = ["booking_confirmation", "payment_confirmation", "cancellation"]
# How a message may get where it is, and each way is a series of statements that the triggers see.
WAYS = {
    "queued": [],
    "sent": ["sending", "sent"],
    "maybe_sent": ["sending", "maybe_sent"],
    "delivered": ["sending", "sent", "delivered"],
    "bounced": ["sending", "sent", "bounced"],
    "failed": ["sending", "failed"],
    "suppressed": ["sending", "suppressed"],
}


def write(
    number: int, at: datetime, *, kind: str, channel: str, status: str, chance: random.Random
) -> Message:
    message = Message.objects.create(
        kind=kind, channel=channel, to=f"a{number}@example.com", dedupe_key=f"count:{number}"
    )  # fmt: skip
    Message.objects.filter(pk=message.pk).update(queued_at=at)
    for step in WAYS[status]:
        changes: dict[str, Any] = {"status": step}
        if step == "sent":
            changes["sent_at"] = at + timedelta(seconds=chance.randrange(90))
            if channel == "sms":
                changes |= {
                    "price": Decimal("0.0420"),
                    "price_currency": "USD",
                    "is_price_estimated": True,
                    "segments": 2,
                }
        if step == "delivered":
            changes["delivered_at"] = at + timedelta(seconds=90 + chance.randrange(200), milliseconds=300)
            if channel == "sms" and chance.random() < 0.5:
                changes |= {"price": Decimal("0.0395"), "is_price_estimated": False}
        if step == "suppressed":
            changes["error_code"] = chance.choice(["no_consent", "opted_out", "suppressed_hard_bounce"])
        Message.objects.filter(pk=message.pk).update(**changes)
    message.refresh_from_db()
    return message


def by_hand(rows: list[Message], first: date | None, last: date | None, **fixed: str) -> list[Message]:
    """Count without any of the code under test: go through the rows with Python's own calendar."""
    return [
        row for row in rows
        if (first is None or row.queued_at.astimezone(LONDON).date() >= first)
        and (last is None or row.queued_at.astimezone(LONDON).date() <= last)
        and all(getattr(row, name) == value for name, value in fixed.items())
    ]  # fmt: skip


def step_below(seconds: float) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT communications_delay_step(make_interval(secs => %s))", [seconds])
        return int(cursor.fetchone()[0])


def assert_equal_to_log(first: date | None = None, last: date | None = None, **fixed: str) -> None:
    rows = by_hand(list(Message.objects.all()), first, last, **fixed)
    told = analytics(first=first, last=last, **fixed)
    assert +told.total.statuses == Counter(row.status for row in rows)
    assert +told.total.reasons == Counter(row.error_code for row in rows if row.status == "suppressed")
    assert told.total.prices.get("USD", 0) == sum(row.price or 0 for row in rows)
    assert told.total.estimated.get("USD", 0) == sum(row.price or 0 for row in rows if row.is_price_estimated)
    assert told.total.segments == sum(row.segments or 0 for row in rows)
    days = [row.queued_at.astimezone(LONDON).date() for row in rows]
    assert told.is_by_month == (bool(days) and (told.ends - told.begins).days >= MOST_DAYS)  # type: ignore[operator]
    assert {day: tally.total for day, tally in told.by_day.items()} == Counter(
        day.replace(day=1) if told.is_by_month else day for day in days
    )
    bars = bars_over(told).bars
    assert [bar.tally.total for bar in bars] == [
        sum(bar.first <= day <= bar.last for day in days) for bar in bars
    ]
    assert sum(bar.tally.total for bar in bars) == len(days)
    assert {kind: +tally.statuses for kind, tally in told.by_kind.items()} == {
        kind: Counter(row.status for row in rows if row.kind == kind) for kind in {row.kind for row in rows}
    }
    assert {channel: tally.total for channel, tally in told.by_channel.items()} == Counter(
        row.channel for row in rows
    )
    waits = sorted(
        (row.delivered_at - row.sent_at).total_seconds()
        for row in rows
        if row.status == "delivered" and row.delivered_at and row.sent_at
    )
    assert told.total.median_delay_seconds == (step_below(waits[(len(waits) - 1) // 2]) if waits else None)


@pytest.mark.django_db
def test_the_numbers_are_those_of_the_log_over_days_with_a_change_of_clocks() -> None:
    chance = random.Random(4)  # noqa: S311
    around = [
        datetime(2026, 3, 28, 22, tzinfo=UTC),
        datetime(2026, 10, 24, 21, tzinfo=UTC),
        datetime(2026, 4, 30, 12, tzinfo=UTC),
        datetime(2026, 9, 1, 0, tzinfo=UTC),
        datetime(2024, 12, 31, 9, tzinfo=UTC),
    ]
    for number in range(200):
        write(
            number,
            chance.choice(around) + timedelta(minutes=chance.randrange(60 * 30)),
            kind=chance.choice(KINDS),
            channel=chance.choice(["email", "sms"]),
            status=chance.choice(list(WAYS)),
            chance=chance,
        )
        if chance.random() < 0.05:
            with connection.cursor() as cursor:
                cursor.execute("SELECT communications_fold_counts(%s)", [chance.randrange(1, 50)])
    assert_equal_to_log()
    for first, last in [
        (date(2026, 3, 29), date(2026, 3, 29)),
        (date(2026, 10, 25), date(2026, 10, 25)),
        (date(2026, 3, 29), None),
        (None, date(2026, 3, 28)),
        (date(2027, 1, 1), date(2027, 1, 31)),
        (date(2026, 3, 29), date(2026, 10, 25)),  # from within a month to within another
        (date(2026, 4, 1), date(2026, 9, 30)),  # whole months
        (date(2026, 5, 1), date(2026, 9, 1)),
        (date(2024, 12, 31), date(2026, 4, 30)),
        (date(2025, 1, 1), None),
    ]:
        assert_equal_to_log(first, last)
        assert_equal_to_log(first, last, channel="sms")
        assert_equal_to_log(first, last, kind="cancellation", channel="email")
    Message.objects.filter(channel="email", status="failed").delete()
    Message.objects.filter(status="queued").update(kind="welcome")
    assert_equal_to_log()
    with connection.cursor() as cursor:
        cursor.execute("SELECT communications_fold_counts(100000)")
    assert not MessageCountChange.objects.exists() and not MessageCount.objects.filter(messages=0).exists()
    assert_equal_to_log()


@pytest.mark.django_db
def test_a_day_begins_and_ends_where_the_operator_is() -> None:
    """29 March 2026 has 23 hours in London: 00:00 UTC to 23:00 UTC."""
    for number, at in enumerate(
        [
            datetime(2026, 3, 28, 23, 59, 59, 999999, tzinfo=UTC),
            datetime(2026, 3, 29, 0, 0, tzinfo=UTC),
            datetime(2026, 3, 29, 22, 59, 59, 999999, tzinfo=UTC),
            datetime(2026, 3, 29, 23, 0, tzinfo=UTC),
        ]
    ):
        write(number, at, kind=KINDS[0], channel="email", status="sent", chance=random.Random(number))  # noqa: S311
    told = analytics(first=date(2026, 3, 29), last=date(2026, 3, 29))
    assert told.total.total == 2
    first, end = told.starts_at(date(2026, 3, 29)), told.starts_at(date(2026, 3, 30))
    assert Message.objects.filter(queued_at__gte=first, queued_at__lt=end).count() == 2
    assert (end - first).total_seconds() == 86400 and end.astimezone(UTC) - first.astimezone(
        UTC
    ) == timedelta(hours=23)


@pytest.mark.django_db(transaction=True)
def test_counts_stay_equal_while_writers_folds_and_recounts_run_at_once(settings: Any) -> None:
    """And nobody deadlocks: a writer only adds rows of its own."""
    troubles: list[BaseException] = []
    is_over = threading.Event()

    def run(work: Any) -> None:
        try:
            work()
        except BaseException as error:
            troubles.append(error)
        finally:
            connection.close()

    def writer(which: int) -> None:
        chance = random.Random(which)  # noqa: S311
        for number in range(40):
            try:
                with transaction.atomic():
                    write(
                        which * 1000 + number,
                        datetime(2026, 6, 1, 22, 30, tzinfo=UTC) + timedelta(minutes=chance.randrange(90)),
                        kind=chance.choice(KINDS),
                        channel=chance.choice(["email", "sms"]),
                        status=chance.choice(list(WAYS)),
                        chance=chance,
                    )  # fmt: skip
                    if chance.random() < 0.2:
                        raise InterruptedError
            except InterruptedError:
                pass

    def folder() -> None:
        while not is_over.is_set():
            counting.fold()

    def recounter() -> None:
        for zone in ("Asia/Kathmandu", "Europe/London", "Europe/London", "America/New_York", "Europe/London"):
            settings.HOME_TIMEZONE = zone
            counting.recount()

    threads = [threading.Thread(target=run, args=(lambda which=which: writer(which),)) for which in range(4)]
    threads += [threading.Thread(target=run, args=(recounter,))]
    background = threading.Thread(target=run, args=(folder,))
    for thread in [*threads, background]:
        thread.start()
    for thread in threads:
        thread.join(120)
    is_over.set()
    background.join(60)
    assert not troubles
    assert Message.objects.count() > 80
    assert_equal_to_log()
    counting.fold()
    assert_equal_to_log()
    # The control: what nobody noted shows.
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE communications_message DISABLE TRIGGER communications_count_insert")
    Message.objects.create(kind=KINDS[0], channel="email", to="x@example.com", dedupe_key="unnoted")
    with pytest.raises(AssertionError):
        assert_equal_to_log()
    assert counting.recount() == Message.objects.count()
    assert_equal_to_log()
    assert MessageStatus.QUEUED in analytics().total.statuses
