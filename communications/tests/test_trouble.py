"""What each answer of a provider means, outages, and the question before the one resend."""

from __future__ import annotations

from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from communications.catalogue import KINDS
from communications.models import Message, Outage
from communications.services import outages, outbox, wording
from communications.services.outbox import queue_message

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def words(db: None) -> None:
    wording.install_default_templates()


def booked(number: int = 0, channel: str = "email", **changes: Any) -> Message:
    given: dict[str, Any] = {
        "kind": "booking_confirmation",
        "channel": channel,
        "to": f"ada{number}@example.com" if channel == "email" else f"+4420794{number:05}",
        "variables": dict(KINDS["booking_confirmation"].sample),
        "dedupe_key": f"AP-{number}:booking_confirmation:{channel}",
    }
    message = queue_message(**{**given, **changes})
    assert message is not None
    return message


def soon(**later: float) -> datetime:
    return timezone.now() + timedelta(seconds=1) + timedelta(**later)


def sent(message: Message, *, at: datetime | None = None) -> Message:
    outbox.send(message.pk, now=at or soon())
    message.refresh_from_db()
    return message


def jobs_of(message: Message) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM procrastinate_jobs WHERE args->>'message_id' = %s AND status = 'todo'",
            [str(message.pk)],
        )
        return int(cursor.fetchone()[0])


@pytest.mark.parametrize(
    ("channel", "answer", "status", "code"),
    [
        ("email", {"status": 400}, "failed", "http_400"),
        ("email", {"status": 401}, "queued", "http_401"),
        ("email", {"status": 403}, "queued", "http_403"),
        ("email", {"status": 404}, "queued", "http_404"),
        ("email", {"status": 413}, "failed", "http_413"),
        ("email", {"status": 429}, "queued", "http_429"),
        ("email", {"status": 500}, "maybe_sent", "http_500"),
        ("email", {"status": 503}, "queued", "http_503"),
        ("sms", {"status": 400, "code": 21211}, "failed", "21211"),
        ("sms", {"status": 400, "code": 21614}, "failed", "21614"),
        ("sms", {"status": 400, "code": 21408}, "failed", "21408"),
        ("sms", {"status": 400, "code": 21610}, "suppressed", "opted_out"),
        ("sms", {"status": 400, "code": 21611}, "queued", "21611"),
        ("sms", {"status": 400, "code": 21606}, "queued", "21606"),
        ("sms", {"status": 401, "code": 20003}, "queued", "20003"),
        ("sms", {"status": 429, "code": 20429}, "queued", "20429"),
        ("sms", {"status": 500, "code": 20500}, "maybe_sent", "20500"),
        ("sms", {"status": 503, "code": 20503}, "queued", "20503"),
    ],
)
def test_each_answer_has_its_end(wire: Any, channel: str, answer: Any, status: str, code: str) -> None:
    wire.answers = [answer]
    message = sent(booked(channel=channel))
    assert (message.status, message.error_code, len(wire.received)) == (status, code, 1)
    assert message.error_text


@pytest.mark.parametrize("channel", ["email", "sms"])
@pytest.mark.parametrize("written_as", ["seconds", "date"])
def test_a_provider_that_names_a_time_is_left_alone_until_then(
    wire: Any, channel: str, written_as: str
) -> None:
    value = "1800" if written_as == "seconds" else format_datetime(soon(seconds=1800), usegmt=True)
    wire.answers = [{"status": 429, "code": 20429, "headers": {"Retry-After": value}}]
    message = sent(booked(channel=channel))
    assert message.due_at is not None
    assert timedelta(minutes=29) < message.due_at - timezone.now() < timedelta(minutes=31)


@pytest.mark.parametrize("value", ["nonsense", "-5", "nan", "1e999", "99999999", ""])
def test_an_odd_wait_delays_for_hours_at_most(wire: Any, value: str) -> None:
    wire.answers = [{"status": 429, "headers": {"Retry-After": value}}]
    message = sent(booked())
    assert message.due_at is not None and message.due_at - timezone.now() < timedelta(hours=7)


def test_sendgrids_reset_time_is_read(wire: Any) -> None:
    wire.answers = [
        {"status": 429, "headers": {"X-RateLimit-Reset": str(int(soon(seconds=600).timestamp()))}}
    ]
    message = sent(booked())
    assert message.due_at is not None
    assert timedelta(minutes=9) < message.due_at - timezone.now() < timedelta(minutes=11)


def test_what_failed_together_does_not_come_back_together(wire: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "OPENS_AFTER", 99)
    wire.answers = [503] * 6
    at = soon()
    due = {sent(booked(number), at=at).due_at for number in range(6)}
    assert len(due) == 6


def outage_of_mail(wire: Any, messages: int = 9) -> list[Message]:
    wire.answers = [503] * 6
    return [sent(booked(number)) for number in range(messages)]


def test_an_outage_uses_up_no_tries_and_asks_the_provider_no_more(wire: Any) -> None:
    messages = outage_of_mail(wire)
    assert len(wire.received) == outages.OPENS_AFTER
    waiting = messages[outages.OPENS_AFTER :]
    assert {(m.status, m.tries_left, m.attempts, m.due_at, m.error_code) for m in waiting} == {
        ("queued", outbox.TRIES, 0, None, "provider_down")
    }
    assert messages[outages.OPENS_AFTER - 1].tries_left == outbox.TRIES
    outage = Outage.objects.get(channel="email")
    assert outage.since is not None and outage.error_code == "http_503"
    wire.answers = []
    sms = sent(booked(channel="sms"))
    assert sms.status == "sent"


def test_during_an_outage_one_message_at_a_time_tries(wire: Any) -> None:
    messages = outage_of_mail(wire)
    at = soon(minutes=2)
    outbox.sweep(now=at)
    tried = [message for message in messages if Message.objects.get(pk=message.pk).due_at == at]
    assert len(tried) == 1
    before = len(wire.received)
    assert sent(tried[0], at=at).error_code == "provider_down"
    assert tried[0].tries_left == outbox.TRIES
    assert len(wire.received) == before + 1
    sent(booked(77), at=at)
    assert len(wire.received) == before + 1


def test_after_an_outage_everything_that_waited_goes_on(wire: Any) -> None:
    messages = outage_of_mail(wire)
    wire.answers = []
    assert sent(booked(77), at=soon(minutes=2)).status == "sent"
    outage = Outage.objects.get(channel="email")
    assert (outage.since, outage.failures) == (None, 0)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_jobs WHERE task_name = %s", [outbox.SEND_TASK])
    released = outbox.release_waiting("email", now=timezone.now())
    assert released == len(messages) - outages.OPENS_AFTER + 1
    assert all(jobs_of(message) == 1 for message in messages[outages.OPENS_AFTER :])
    assert all(sent(message).status == "sent" for message in messages[outages.OPENS_AFTER :])


def test_a_refusal_is_an_answer_and_ends_the_count(wire: Any) -> None:
    wire.answers = [503, 503, 503, 503, 400, 503]
    for number in range(6):
        sent(booked(number))
    outage = Outage.objects.get(channel="email")
    assert (outage.failures, outage.since) == (1, None)


def listed(body: str, sid: str = "SM" + "b" * 32, **changes: Any) -> dict[str, Any]:
    return {
        "sid": sid, "body": body, "status": "sent", "direction": "outbound-api", "to": "+442079400000", "from": "+15005550006",
        "date_created": format_datetime(timezone.now()), "date_sent": None, "date_updated": None, **changes,
    }  # fmt: skip


def lost(wire: Any) -> tuple[Message, str]:
    wire.answers = ["hang up"]
    message = sent(booked(channel="sms"))
    assert message.status == "maybe_sent" and message.due_at is not None
    return message, wire.received[0]["Body"]


def test_an_sms_that_the_provider_has_is_not_sent_again(wire: Any) -> None:
    message, body = lost(wire)
    wire.listed = [listed(body)]
    sent(message, at=message.due_at)
    assert (message.status, message.provider_ref, len(wire.received)) == ("sent", "SM" + "b" * 32, 1)
    assert message.events.get().kind == "found"


def test_an_sms_that_the_provider_does_not_have_is_sent_again(wire: Any) -> None:
    message, body = lost(wire)
    another = sent(booked(1, channel="sms"))
    wire.listed = [
        listed("other words"),
        listed(body, sid=another.provider_ref),
        listed(body, date_created=format_datetime(timezone.now() - timedelta(days=1))),
    ]
    sent(message, at=message.due_at)
    assert (message.status, len(wire.received)) == ("sent", 3)
    assert not message.events.exists()


def test_nothing_is_sent_again_while_the_provider_does_not_say(wire: Any) -> None:
    message, _body = lost(wire)
    wire.listed = 500
    sent(message, at=message.due_at)
    assert (message.status, len(wire.received), wire.looks) == ("maybe_sent", 1, 1)
    assert message.due_at is not None
    Message.objects.filter(pk=message.pk).update(tries_left=1)
    sent(message, at=message.due_at)
    assert (message.status, message.due_at, len(wire.received)) == ("maybe_sent", None, 1)


def test_connections_are_kept(wire: Any) -> None:
    for number in range(4):
        sent(booked(number))
        sent(booked(number, channel="sms"))
    assert len(wire.received) == 8
    assert len(wire.connections) <= 3  # one each; the first may have met a server that was gone
