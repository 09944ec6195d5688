"""Reminders: once per moment, told in the airport's time, never of what is cancelled, moved or over."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from bookings.models import Booking, Product, Reminder
from bookings.services import remind
from bookings.services.cancel import cancel, preview_cancellation
from bookings.services.remind import queue_due, still_due
from bookings.tests.test_amend import change, confirmed
from bookings.tests.world import DAY, NOW, make_product
from communications.models import Message
from communications.services import outbox, wording
from communications.tests.conftest import wire as provider_wire

pytestmark = pytest.mark.django_db
wire = provider_wire
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def words(db: None) -> None:
    wording.install_default_templates()


def told(kind: str = "drop_off_reminder") -> list[str]:
    return sorted(Message.objects.filter(kind=kind).values_list("channel", flat=True))


def far(product: Product | None = None, *, days: float = 3) -> Booking:
    return confirmed(product, start=NOW + 10 * DAY, days=days)


@pytest.mark.parametrize(("hours", "late"), [(24, 5.9), (2, 0.49)])
def test_each_reminder_comes_once_and_not_too_late(hours: int, late: float, settings: Any) -> None:
    settings.REMINDER_HOURS = [24, 2]
    booking = far()
    due = booking.start_at - hours * HOUR
    for at, count in ((due - HOUR / 60, 0), (due, 2), (due + HOUR / 60, 2), (due + late * HOUR, 2)):
        queue_due(now=at)
        assert len(told()) == count, at
    assert told() == ["email", "sms"]
    Reminder.objects.all().delete()
    Message.objects.all().delete()
    queue_due(now=due + late * HOUR + HOUR / 5)
    assert told() == [], "the worker was down too long: the next one speaks"


def test_both_moments_and_both_notices_are_told() -> None:
    booking = far()
    for at in (booking.start_at, booking.end_at):
        for hours in (24, 2):
            queue_due(now=at - hours * HOUR)
    assert (len(told()), len(told("return_reminder"))) == (4, 4)
    keys = Message.objects.values_list("dedupe_key", flat=True)
    assert len(set(keys)) == len(keys)


def test_who_books_late_is_reminded_of_what_is_left() -> None:
    booking = confirmed(start=NOW + 3 * HOUR, days=1)
    queue_due(now=NOW)
    assert told() == []
    queue_due(now=booking.start_at - 2 * HOUR)
    assert told() == ["email", "sms"]


def test_a_moved_stay_is_reminded_anew_and_the_old_reminder_does_not_leave(wire: Any) -> None:
    booking = far()
    queue_due(now=booking.start_at - 24 * HOUR)
    queued = Message.objects.filter(kind="drop_off_reminder", channel="email").get()
    was = booking.start_at
    change(
        booking,
        now=booking.start_at - 20 * HOUR,
        start_at=booking.start_at + 2 * DAY,
        end_at=booking.end_at + 2 * DAY,
    )
    booking.refresh_from_db()
    assert booking.start_at == was + 2 * DAY
    held = outbox.send(queued.pk, now=queued.queued_at + HOUR)
    assert held is not None
    assert (held.status, held.error_code, wire.received) == ("suppressed", "no_longer_true", [])
    queue_due(now=booking.start_at - 24 * HOUR)
    assert len(told()) == 4


def test_a_cancelled_booking_is_never_reminded_of(wire: Any) -> None:
    booking = far()
    at = booking.start_at - 24 * HOUR
    queue_due(now=at)
    queued = Message.objects.filter(kind="drop_off_reminder", channel="sms").get()
    cancel(booking, preview_token=preview_cancellation(booking, now=at).token, now=at)
    held = outbox.send(queued.pk, now=queued.queued_at + HOUR)
    assert held is not None
    assert held.status == "suppressed"
    queue_due(now=booking.start_at - 2 * HOUR)
    assert len(told()) == 2


@pytest.mark.parametrize("status", ["held", "completed", "no_show"])
def test_only_what_stands_is_reminded_of(status: str) -> None:
    booking = far()
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
    Booking.objects.filter(pk=booking.pk).update(status=status)
    for hours in (24, 2):
        queue_due(now=booking.start_at - hours * HOUR)
        queue_due(now=booking.end_at - hours * HOUR)
    assert not Reminder.objects.exists()


def test_times_are_the_airports_over_the_change_of_clocks() -> None:
    product = make_product(iata="FRA", timezone="Europe/Berlin", currency="EUR")
    start = datetime(2026, 10, 25, 7, 30, tzinfo=UTC)  # 08:30, the clocks went back in the night
    booking = confirmed(product, start=start, days=2)
    queue_due(now=start - 24 * HOUR)
    message = Message.objects.filter(kind="drop_off_reminder", channel="email").get()
    assert message.variables["drop_off_time"] == "08:30"
    assert message.timezone == "Europe/Berlin"
    assert booking.start_at == start


def test_what_is_over_is_not_still_due() -> None:
    booking = far()
    drop_off = f"drop_off|{booking.start_at.isoformat()}|"
    assert still_due(drop_off + booking.reference, now=booking.start_at - HOUR)
    assert not still_due(drop_off + booking.reference, now=booking.start_at)
    assert not still_due(drop_off + "AP-ZZZZZZ", now=NOW)
    moved = f"drop_off|{(booking.start_at + HOUR).isoformat()}|{booking.reference}"
    assert not still_due(moved, now=NOW)
    back = f"return|{booking.end_at.isoformat()}|{booking.reference}"
    assert still_due(back, now=booking.start_at + HOUR)


@pytest.mark.django_db(transaction=True)
def test_two_workers_remind_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wording.install_default_templates()
    product = make_product(capacity=20)
    bookings = [far(product) for _each in range(6)]
    monkeypatch.setattr(remind, "BATCH", 2)
    start = threading.Barrier(2)

    def work() -> None:
        start.wait(10)
        queue_due(now=bookings[0].start_at - 24 * HOUR)
        connection.close()

    threads = [threading.Thread(target=work) for _each in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert Reminder.objects.count() == 6
    assert len(told()) == 12
