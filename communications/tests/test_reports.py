"""Attacks on the doors where providers report, and what a message that did not arrive sets off."""

from __future__ import annotations

import itertools
import json
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from communications.catalogue import KINDS
from communications.models import DeliveryEvent, Message
from communications.services import address_news, outbox, wording
from communications.services.outbox import queue_message
from communications.tests.test_webhooks import mail_event, post_mail, post_sms, verification_key  # noqa: F401

pytestmark = pytest.mark.django_db
SOFT = {"type": "blocked", "status": "5.7.1"}


def sent(key: str = "AP-1:booking_amended:7", channel: str = "email", **changes: Any) -> Message:
    given: dict[str, Any] = {
        "kind": "booking_amended",
        "channel": channel,
        "to": "ada@example.com" if channel == "email" else "+442079460999",
        "other_address": "+442079460999" if channel == "email" else "ada@example.com",
        "variables": dict(KINDS["booking_amended"].sample),
        "dedupe_key": f"{key}:{channel}",
        "reference": "AP-1",
    }
    message = queue_message(**{**given, **changes})
    assert message is not None
    Message.objects.filter(pk=message.pk).update(status="sending", attempts=1)
    Message.objects.filter(pk=message.pk).update(status="sent", sent_at=timezone.now())
    message.refresh_from_db()
    return message


@pytest.fixture
def news(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    heard: list[tuple[str, str]] = []
    monkeypatch.setattr(
        address_news, "learn", lambda *, address, fact, **_rest: heard.append((address, fact))
    )
    return heard


def test_any_order_and_any_repetition_ends_the_same() -> None:
    for kinds, end in (
        (("processed", "deferred", "delivered"), "delivered"),
        (("processed", "delivered", "bounce", "spamreport"), "bounced"),
        (("processed", "deferred", "bounce"), "bounced"),
    ):
        for number, order in enumerate(itertools.permutations(kinds)):
            message = sent(f"{end}:{kinds[-1]}:{number}", other_address="")
            for what in (*order, *order):
                assert post_mail([mail_event(message, what, f"{message.pk}:{what}")]) == 200
            message.refresh_from_db()
            assert (message.status, message.events.count()) == (end, len(kinds)), order


def test_a_batch_of_a_thousand_is_taken_at_once() -> None:
    messages = [sent(f"AP-{number}") for number in range(250)]
    batch = [
        {**mail_event(message, what, f"{message.pk}:{what}"), "padding": "x" * 200}
        for what in ("processed", "delivered", "open", "click")
        for message in messages
    ]
    assert len(json.dumps(batch)) > 400_000
    with CaptureQueriesContext(connection) as queries:
        assert post_mail(batch) == 200
    assert len(queries) < 20
    assert Message.objects.filter(status="delivered").count() == 250
    assert DeliveryEvent.objects.count() == 1000
    assert post_mail(batch) == 200
    assert DeliveryEvent.objects.count() == 1000


def test_a_body_beyond_all_measure_is_refused() -> None:
    message = sent()
    assert post_mail([{**mail_event(message, "delivered", "e"), "padding": "x" * 5_000_000}]) == 413
    assert not DeliveryEvent.objects.exists()


def test_an_event_that_nobody_can_read_does_not_take_the_others_along() -> None:
    message = sent()
    odd = [
        {"no": "event"}, None, 7, ["x"],
        {**mail_event(message, "delivered", "t1"), "timestamp": 10**30},
        {**mail_event(message, "delivered", "t2"), "timestamp": "soon"},
        {**mail_event(message, "bounce", "t3"), "message_id": "not ours"},
        {**mail_event(message, "bounce", "t4"), "message_id": str(uuid.uuid4())},
        {**mail_event(message, "bounce", "t5"), "message_id": {"a": 1}},
    ]  # fmt: skip
    assert post_mail([*odd, mail_event(message, "delivered", "good\x00one")]) == 200
    message.refresh_from_db()
    assert message.status == "delivered"


def test_an_event_about_another_recipient_or_channel_moves_nothing(news: Any) -> None:
    message, text = sent(), sent("other", channel="sms")
    event = mail_event(message, "bounce", "e1") | {"email": "eve@example.com"}
    assert post_mail([event, mail_event(text, "bounce", "e2") | {"email": text.to}]) == 200
    for row in (message, text):
        row.refresh_from_db()
        assert row.status == "sent"
    assert news == []
    assert message.events.get().detail.startswith("(eve@example.com)")
    assert not text.events.exists()


def test_capitals_in_the_address_are_the_same_recipient() -> None:
    message = sent(to="Ada@Example.com")
    post_mail([mail_event(message, "delivered", "e") | {"email": "ada@example.com"}])
    message.refresh_from_db()
    assert message.status == "delivered"


@pytest.mark.parametrize("skew", [timedelta(minutes=-10), timedelta(minutes=10), timedelta(days=900)])
def test_a_clock_that_is_wrong_makes_no_impossible_times(skew: timedelta) -> None:
    message = sent()
    at = int((timezone.now() + skew).timestamp())
    post_mail([mail_event(message, "delivered", "e") | {"timestamp": at}])
    message.refresh_from_db()
    assert message.queued_at <= message.delivered_at <= timezone.now()
    assert message.events.get().occurred_at == datetime.fromtimestamp(at, UTC)


@pytest.mark.parametrize(
    ("event", "status", "code", "fact"),
    [
        ({"event": "bounce", "type": "bounce", "status": "5.1.1"}, "bounced", "hard_bounce", "hard_bounce"),
        ({"event": "bounce", "type": "bounce", "bounce_classification": "Invalid Address"}, "bounced", "hard_bounce", "hard_bounce"),
        ({"event": "bounce", "type": "bounce", "bounce_classification": "Reputation"}, "bounced", "soft_bounce", ""),
        ({"event": "bounce", "type": "bounce", "status": "4.2.2"}, "bounced", "soft_bounce", ""),
        ({"event": "bounce", **SOFT}, "bounced", "blocked", ""),
        ({"event": "deferred", "response": "451 later"}, "sent", "", ""),
        ({"event": "dropped", "reason": "Bounced Address"}, "failed", "dropped_bounced", "hard_bounce"),
        ({"event": "dropped", "reason": "Spam Reporting Address"}, "failed", "dropped_spam_report", "spam_report"),
        ({"event": "dropped", "reason": "Unsubscribed Address"}, "failed", "dropped_unsubscribed", "unsubscribed"),
        ({"event": "dropped", "reason": "Invalid"}, "failed", "dropped_invalid", "hard_bounce"),
        ({"event": "dropped", "reason": "Content too large"}, "failed", "dropped_other", ""),
        ({"event": "spamreport"}, "delivered", "", "spam_report"),
        ({"event": "unsubscribe"}, "sent", "", "unsubscribed"),
        ({"event": "group_unsubscribe", "asm_group_id": 1}, "sent", "", "unsubscribed"),
        ({"event": "group_resubscribe", "asm_group_id": 1}, "sent", "", ""),
    ],
)  # fmt: skip
def test_each_mail_event_says_what_it_means(news: Any, event: Any, status: str, code: str, fact: str) -> None:
    message = sent(other_address="")
    assert post_mail([mail_event(message, "", "e") | event]) == 200
    message.refresh_from_db()
    assert (message.status, message.error_code) == (status, code)
    assert news == ([(message.to, fact)] if fact else [])


def test_what_is_told_of_a_maybe_sent_mail_says_that_it_left() -> None:
    message = queue_message(
        kind="welcome", channel="email", to="ada@example.com", variables={}, dedupe_key="w"
    )
    assert message is not None
    for status in ("sending", "maybe_sent"):
        Message.objects.filter(pk=message.pk).update(status=status, error_code="no_answer")
    post_mail([mail_event(message, "processed", "e")])
    message.refresh_from_db()
    assert (message.status, message.error_code) == ("sent", "")
    assert outbox.send(message.pk, now=timezone.now()) is None


@pytest.mark.parametrize(
    ("number", "fact"),
    [("30003", ""), ("30005", "hard_bounce"), ("30006", "hard_bounce"), ("21610", "opted_out")],
)
def test_an_undelivered_sms_says_why(news: Any, settings: Any, number: str, fact: str) -> None:
    message = sent(channel="sms", other_address="")
    assert post_sms(settings, message, "undelivered", sid="SM9", ErrorCode=number, To=message.to) == 204
    message.refresh_from_db()
    assert (message.status, message.error_code) == ("bounced", number)
    assert len(message.error_text) > 10
    assert news == ([(message.to, fact)] if fact else [])


# --- The other channel


def fallbacks() -> list[Message]:
    return list(Message.objects.exclude(fallback_of=None))


@pytest.mark.parametrize("channel", ["email", "sms"])
def test_what_did_not_arrive_goes_the_other_way_once(settings: Any, channel: str) -> None:
    first = sent(channel=channel)
    for _time in range(2):
        if channel == "email":
            post_mail([mail_event(first, "bounce", f"e{_time}")])
        else:
            post_sms(settings, first, "undelivered", sid="SM9")
    (other,) = fallbacks()
    assert (other.fallback_of, other.channel != channel, other.to) == (first, True, first.other_address)
    assert (other.status, other.reference, other.variables) == ("queued", "AP-1", first.variables)
    Message.objects.filter(pk=other.pk).update(status="sending")
    Message.objects.filter(pk=other.pk).update(status="sent")
    other.refresh_from_db()
    if channel == "email":
        post_sms(settings, other, "undelivered", sid="SM8")
    else:
        post_mail([mail_event(other, "bounce", "again")])
    other.refresh_from_db()
    assert other.status == "bounced"
    assert len(fallbacks()) == 1


def test_a_refused_address_goes_the_other_way(wire: Any) -> None:
    wording.install_default_templates()
    for number, (channel, answer) in enumerate((("email", 400), ("sms", {"status": 400, "code": 21610}))):
        message = queue_message(
            kind="booking_amended",
            channel=channel,
            to="ada@example.com" if channel == "email" else "+442079460999",
            other_address="+442079460999" if channel == "email" else "ada@example.com",
            variables=KINDS["booking_amended"].sample,
            dedupe_key=f"{number}:{channel}",
        )
        assert message is not None
        wire.answers = [answer]
        outbox.send(message.pk, now=timezone.now() + timedelta(seconds=1))
        assert message.fallbacks.get().status == "queued"


@pytest.mark.parametrize(
    "changes",
    [
        {"other_address": ""},
        {"other_address": "nobody's number"},
        {"kind": "welcome", "variables": {}},
        {"variables": {"reference": outbox.rendering.HIDDEN}},
    ],
)
def test_there_is_not_always_another_way(changes: Any) -> None:
    message = sent(**changes)
    post_mail([mail_event(message, "bounce", "e")])
    message.refresh_from_db()
    assert message.status == "bounced"
    assert fallbacks() == []


def test_what_was_sent_both_ways_has_no_fallback() -> None:
    first, _second = sent(), sent(channel="sms")
    post_mail([mail_event(first, "bounce", "e")])
    assert fallbacks() == []


def test_promotion_never_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    first = sent()
    object.__setattr__(KINDS["booking_amended"], "purpose", "promotional")
    try:
        post_mail([mail_event(first, "bounce", "e")])
    finally:
        object.__setattr__(KINDS["booking_amended"], "purpose", "transactional")
    assert fallbacks() == []


def test_the_database_refuses_a_second_fallback_and_a_fallback_of_one() -> None:
    first = sent()
    post_mail([mail_event(first, "bounce", "e")])
    (other,) = fallbacks()
    for channel, of in (("sms", first), ("email", other), ("email", first)):
        with pytest.raises(IntegrityError), transaction.atomic():
            Message.objects.create(
                kind="booking_amended", channel=channel, to="x", dedupe_key=str(uuid.uuid4()), fallback_of=of
            )


@pytest.mark.django_db(transaction=True)
def test_the_same_bounce_in_parallel_falls_back_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message's lock, the key and the constraint each suffice; the slow look makes room for whoever would pass the first."""
    first = sent()
    ready = threading.Barrier(4)
    answers: list[int] = []
    real = outbox.was_queued

    def slow(key: str) -> bool:
        answer = real(key)
        time.sleep(0.2)
        return answer

    monkeypatch.setattr(outbox, "was_queued", slow)

    def report(number: int) -> None:
        try:
            ready.wait(10)
            answers.append(post_mail([mail_event(first, "bounce", f"e{number}")]))
        finally:
            connection.close()

    threads = [threading.Thread(target=report, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers == [200] * 4
    assert len(fallbacks()) == 1
    assert first.events.count() == 4
