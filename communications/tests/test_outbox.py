from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from communications.catalogue import KINDS
from communications.models import Message
from communications.senders.base import CalendarEntry
from communications.services import outages, outbox, wording
from communications.services.outbox import queue_message

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def words(db: None) -> None:
    wording.install_default_templates()


def booked(channel: str = "email", **changes: Any) -> Message:
    given: dict[str, Any] = {
        "kind": "booking_confirmation",
        "channel": channel,
        "to": "ada@example.com" if channel == "email" else "+442079460999",
        "variables": dict(KINDS["booking_confirmation"].sample),
        "dedupe_key": f"AP-7F3K2Q:{channel}",
        "reference": "AP-7F3K2Q",
    }
    message = queue_message(**{**given, **changes})
    assert message is not None
    return message


def soon() -> datetime:
    return timezone.now() + timedelta(seconds=1)


def jobs() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'communications.send_message'"
        )
        return int(cursor.fetchone()[0])


def test_the_same_key_is_one_message_and_one_job() -> None:
    assert booked().pk == booked(to="other@example.com").pk
    assert (Message.objects.count(), jobs()) == (1, 1)


def test_a_rollback_leaves_neither_message_nor_job() -> None:
    with pytest.raises(RuntimeError), transaction.atomic():
        booked()
        raise RuntimeError
    assert (Message.objects.count(), jobs()) == (0, 0)


def test_no_address_is_no_message() -> None:
    assert queue_message(kind="welcome", channel="email", to="", variables={}, dedupe_key="x") is None


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "changes",
    [
        {"to": "ada@example.com\r\nBcc: eve@example.com"},
        {"to": "ada"},
        {"to": "a" * 300 + "@example.com"},
        {"channel": "sms", "to": "0207"},
        {"channel": "sms", "to": "+4491234567890123456"},
    ],
)
def test_an_address_that_reaches_nobody_fails_to_send_and_undoes_nothing(changes: dict[str, Any]) -> None:
    message = outbox.send(booked(**changes).pk, now=soon())
    assert message is not None
    assert (message.status, message.error_code) == ("failed", "bad_address")


def test_a_name_is_made_one_line() -> None:
    assert booked(to_name="Ada\r\nBcc: eve@example.com\x00").to_name == "Ada  Bcc: eve@example.com"


def test_mail_leaves_once_with_qr_calendar_and_our_id(wire: Any) -> None:
    entry = CalendarEntry(
        uid="AP-7F3K2Q@x",
        starts_at=datetime(2026, 12, 4, 6, 30, tzinfo=UTC),
        ends_at=datetime(2026, 12, 11, 21, 15, tzinfo=UTC),
        timezone="Europe/London",
        summary="Parking",
    )
    message = booked(qr_text="AP-7F3K2Q", calendar=entry, to_name="Ada, Countess")
    outbox.send(message.pk, now=soon())
    outbox.send(message.pk, now=soon())
    (mail,) = wire.received
    assert mail["custom_args"]["message_id"] == str(message.pk)
    assert mail["personalizations"][0]["to"] == [{"email": "ada@example.com", "name": "Ada, Countess"}]
    parts = {part["type"].split(";")[0]: part for part in mail["attachments"]}
    assert parts["image/png"]["content_id"] == "booking-qr"
    assert base64.b64decode(parts["image/png"]["content"]).startswith(b"\x89PNG")
    assert 'method="PUBLISH"' in parts["text/calendar"]["type"]
    calendar = base64.b64decode(parts["text/calendar"]["content"]).decode()
    assert "DTSTART;TZID=Europe/London:20261204T063000" in calendar
    html = next(part["value"] for part in mail["content"] if part["type"] == "text/html")
    assert "cid:booking-qr" in html and 'style="' in html and "#FFC72C" in html
    message.refresh_from_db()
    assert (message.status, message.attempts, message.template_version.number) == ("sent", 1, 1)


def test_sms_leaves_in_one_segment_with_a_callback(wire: Any) -> None:
    message = booked("sms")
    outbox.send(message.pk, now=soon())
    (sms,) = wire.received
    assert sms["To"] == "+442079460999" and sms["StatusCallback"].endswith(f"?message={message.pk}")
    assert len(sms["Body"]) <= 160
    message.refresh_from_db()
    assert (message.status, message.provider_ref) == ("sent", "SM" + "a" * 32)


@pytest.mark.parametrize("channel", ["email", "sms"])
def test_a_refusal_is_final(wire: Any, channel: str) -> None:
    wire.answers = [400]
    message = outbox.send(booked(channel).pk, now=soon())
    assert message is not None and message.status == "failed" and message.error_code


@pytest.mark.parametrize("channel", ["email", "sms"])
def test_a_busy_provider_is_asked_again_later(wire: Any, channel: str) -> None:
    wire.answers = [429]
    message = booked(channel)
    outbox.send(message.pk, now=soon())
    message.refresh_from_db()
    assert message.status == "queued" and message.due_at > soon()
    assert outbox.send(message.pk, now=soon()) is None
    outbox.send(message.pk, now=message.due_at)
    message.refresh_from_db()
    assert (message.status, len(wire.received)) == ("sent", 2)


def test_tries_end(wire: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "OPENS_AFTER", 99)
    wire.answers = [429] * 20
    message = booked()
    for _attempt in range(12):
        outbox.send(message.pk, now=message.due_at + timedelta(seconds=5))
        message.refresh_from_db()
    assert (message.status, len(wire.received)) == ("failed", outbox.TRIES)


@pytest.mark.parametrize("channel", ["email", "sms"])
@pytest.mark.parametrize("accident", ["too slow", "hang up", 500])
def test_a_lost_answer_is_maybe_sent_and_sent_again_at_most_once(
    wire: Any, channel: str, accident: Any
) -> None:
    wire.answers = [accident] * 5
    message = booked(channel)
    outbox.send(message.pk, now=soon())
    message.refresh_from_db()
    assert message.status == "maybe_sent"
    assert outbox.send(message.pk, now=soon()) is None
    outbox.send(message.pk, now=message.due_at)
    message.refresh_from_db()
    assert (message.status, message.due_at, len(wire.received)) == ("maybe_sent", None, 2)
    outbox.send(message.pk, now=soon() + timedelta(days=2))
    outbox.sweep(now=soon() + timedelta(days=2))
    assert len(wire.received) == 2


def test_no_connection_is_only_a_delay(wire: Any, settings: Any) -> None:
    settings.ANYMAIL = {**settings.ANYMAIL, "SENDGRID_API_URL": "http://127.0.0.1:9/v3/"}
    settings.TWILIO_API_BASE = "http://127.0.0.1:9"
    for channel in ("email", "sms"):
        message = outbox.send(booked(channel).pk, now=soon())
        assert message is not None and (message.status, message.error_code) == ("queued", "not_connected")


def test_a_dead_workers_message_is_maybe_sent() -> None:
    message = booked()
    Message.objects.update(status="sending", sending_since=soon() - timedelta(minutes=11))
    assert outbox.sweep(now=soon()) == 1
    message.refresh_from_db()
    assert (message.status, message.error_code) == ("maybe_sent", "worker_lost")


def test_a_message_without_a_job_gets_one() -> None:
    booked()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_jobs")
    assert outbox.sweep(now=soon() + timedelta(minutes=3)) == 1
    assert jobs() == 1


@pytest.mark.django_db(transaction=True)
def test_no_provider_is_called_inside_a_transaction(wire: Any) -> None:
    message = booked()
    with pytest.raises(RuntimeError), transaction.atomic():
        outbox.send(message.pk, now=soon())
    assert wire.received == []


def test_the_database_refuses_a_step_back() -> None:
    message = booked()
    with pytest.raises(IntegrityError), transaction.atomic():
        Message.objects.filter(pk=message.pk).update(status="delivered")


def test_a_one_time_link_is_forgotten_once_it_left(wire: Any) -> None:
    link = "https://parking.example/reset/very-secret"
    message = booked(
        kind="password_reset", variables={"customer_name": "Ada", "reset_url": link}, dedupe_key="r"
    )
    outbox.send(message.pk, now=soon())
    assert "very-secret" in str(wire.received)
    message.refresh_from_db()
    assert "very-secret" not in f"{message.variables}{message.body_text}{message.body_html}"


def test_a_failed_message_can_be_sent_again_by_staff(wire: Any) -> None:
    wire.answers = [400]
    message = outbox.send(booked().pk, now=soon())
    assert message is not None
    outbox.retry(message, by=None)
    outbox.send(message.pk, now=soon())
    message.refresh_from_db()
    assert (message.status, len(wire.received)) == ("sent", 2)
    with pytest.raises(outbox.CannotRetry):
        outbox.retry(message, by=None)
