"""Campaigns: whom they reach, that they reach each once, and that they stop when told."""

from __future__ import annotations

import html
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from communications import rendering
from communications.campaigns import dispatch, people, results, steps, words
from communications.campaigns.press import Press
from communications.catalogue import KINDS
from communications.models import (
    Campaign,
    CampaignStatus,
    Message,
    MessageTemplate,
    Outage,
    OwnWords,
    Recipient,
)
from communications.services import outages, outbox, quiet, trial, wording
from communications.services.wording import Draft
from communications.tests.crowd import (
    NOON,
    Clock,
    Crowd,
    Ticking,
    agreed,
    consenting,
    draft,
    run_out,
    scheduled,
    withdrawn,
)
from foundation import overrides
from foundation.errors import InvalidInput

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def house(db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.CAMPAIGN_AUDIENCE = "communications.tests.crowd.crowd"
    for asks in (people, dispatch):
        monkeypatch.setattr(asks, "allowed_addresses", agreed)
    gather(7)


def gather(count: int) -> None:
    Crowd.addresses = [f"p{number:04d}@example.com" for number in range(count)]
    consenting(*Crowd.addresses)


def statuses() -> Counter[str]:
    return Counter(Message.objects.values_list("status", flat=True))


def receivers(wire: Any) -> Counter[str]:
    return Counter(mail["personalizations"][0]["to"][0]["email"] for mail in wire.received)


def slices(campaign: Campaign, clock: Clock, count: int) -> datetime | None:
    """Send a batch so many times, a moment apart, and return when the last one wants to go on."""
    again = None
    for _slice in range(count):
        again = dispatch.send_for(campaign, seconds=0, clock=clock)
        clock.now += timedelta(milliseconds=50)
    return again


def prepared(**given: Any) -> Campaign:
    campaign = scheduled(draft(**given))
    while people.prepare_batch(campaign.pk, now=NOON):
        pass
    campaign.refresh_from_db()
    return campaign


def test_everybody_gets_it_once_with_their_own_words(wire: Any) -> None:
    campaign = scheduled(draft())
    run_out(campaign)
    campaign.refresh_from_db()
    assert campaign.status == CampaignStatus.FINISHED
    assert receivers(wire) == Counter(Crowd.addresses)
    assert statuses() == {"sent": 7}
    mail = next(mail for mail in wire.received if "p0003@" in str(mail["personalizations"]))
    assert "Person p0003" in mail["content"][0]["value"] and "Person p0003" in mail["content"][1]["value"]
    assert (
        "One-Click" in mail["headers"]["List-Unsubscribe-Post"]
        and "/unsubscribe/" in mail["content"][0]["value"]
    )
    message = Message.objects.get(to="p0003@example.com")
    assert (message.campaign_key, message.kind, message.attempts) == (campaign.key, "promotion", 1)
    assert "Person p0003" in message.body_text
    found = results.results_of(campaign)
    assert (found.recipients, found.handed_over, found.lines["sent"][-1]) == (7, 7, 7)


def test_two_workers_share_it_and_nobody_gets_it_twice(wire: Any) -> None:
    gather(120)
    campaign = prepared()
    clock = Ticking()

    def work() -> None:
        try:
            for _slice in range(400):
                if dispatch.send_for(campaign, seconds=0.2, clock=clock) is None:
                    return
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert receivers(wire) == Counter(Crowd.addresses)
    assert statuses() == {"sent": 120}


def test_what_a_killed_worker_took_is_taken_again_and_what_it_began_is_not(wire: Any) -> None:
    campaign = prepared()
    clock = Clock()
    taken = dispatch.take(campaign, now=clock())
    begun = taken.messages[0]
    Message.objects.filter(pk=begun.pk).update(status="sending", attempts=1, sending_since=NOON)
    # Killed here: seven taken, one begun. Nobody touches them before the lease is over.
    assert dispatch.take(campaign, now=NOON + timedelta(seconds=30)).messages == []
    run_out(campaign, now=NOON + dispatch.LEASE + timedelta(seconds=1))
    assert receivers(wire) == Counter(set(Crowd.addresses) - {begun.to})
    outbox.sweep(now=NOON + timedelta(minutes=11))
    begun.refresh_from_db()
    assert (begun.status, begun.due_at) == ("maybe_sent", None)  # in doubt, and not sent again by itself
    assert outbox.send(begun.pk, now=NOON + timedelta(hours=1)) is None
    assert statuses() == {"sent": 6, "maybe_sent": 1}


def test_a_killed_chooser_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "BATCH", 3)
    campaign = scheduled(draft())
    assert people.prepare_batch(campaign.pk, now=NOON)
    with pytest.raises(RuntimeError), transaction.atomic():
        people.prepare_batch(campaign.pk, now=NOON)
        raise RuntimeError  # killed before the commit
    while people.prepare_batch(campaign.pk, now=NOON):
        pass
    assert sorted(campaign.recipients.values_list("address", flat=True)) == Crowd.addresses


def test_pausing_takes_effect_before_the_next_message(wire: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = prepared()
    original = dispatch.hand_over

    def pause_after_two(message: Message, *given: Any, **more: Any) -> Any:
        handed = original(message, *given, **more)
        if len(wire.received) == 2:
            steps.pause(campaign, reason="A mistake in the text", by=None)
        return handed

    monkeypatch.setattr(dispatch, "hand_over", pause_after_two)
    assert dispatch.send_for(campaign, seconds=5, clock=Clock()) is None
    assert len(wire.received) == 2
    steps.pause(campaign, reason="again", by=None)  # a second press
    assert dispatch.send_for(campaign, seconds=1, clock=Clock()) is None
    steps.resume(campaign, by=None)
    steps.resume(campaign, by=None)
    run_out(campaign)
    assert receivers(wire) == Counter(Crowd.addresses)


def test_stopping_leaves_the_rest_out_for_good(wire: Any) -> None:
    campaign = prepared(per_minute=60)
    assert dispatch.send_for(campaign, seconds=0, clock=Clock()) is not None
    dispatch.take(campaign, now=NOON + timedelta(seconds=5))
    steps.stop(campaign, reason="Wrong price", by=None, now=NOON)
    steps.stop(campaign, reason="Wrong price", by=None, now=NOON)
    run_out(campaign, now=NOON + timedelta(hours=1))
    assert len(wire.received) == 1
    found = results.results_of(Campaign.objects.get())
    assert (found.total("skipped"), found.handed_over) == (6, 1)
    with pytest.raises(steps.CampaignIsOver):
        steps.resume(campaign, by=None)
    assert not Message.objects.filter(status="queued").exists()


def test_the_pace_holds_over_all_workers(wire: Any) -> None:
    campaign = prepared(per_minute=120)  # two at a time, a second apart
    clock = Clock()
    assert dispatch.send_for(campaign, seconds=0, clock=clock) is not None
    assert len(wire.received) == 2
    assert dispatch.send_for(campaign, seconds=5, clock=clock) == NOON + timedelta(
        seconds=1
    )  # another worker
    clock.now += timedelta(seconds=1)
    dispatch.send_for(campaign, seconds=0, clock=clock)
    assert len(wire.received) == 4


def test_a_worker_that_comes_late_makes_up_for_it_but_not_for_hours(wire: Any) -> None:
    gather(60)
    campaign, clock = prepared(per_minute=120), Clock()
    dispatch.send_for(campaign, seconds=0, clock=clock)
    clock.now += timedelta(seconds=5)
    dispatch.send_for(campaign, seconds=9, clock=clock)
    assert len(wire.received) == 2 + 10, "two a second, whenever somebody looks"
    clock.now += timedelta(hours=1)
    dispatch.send_for(campaign, seconds=9, clock=clock)
    assert len(wire.received) <= 12 + 22


def test_who_withdraws_after_the_choosing_is_not_written_to(wire: Any) -> None:
    campaign = prepared()
    withdrawn("p0002@example.com")
    run_out(campaign)
    assert receivers(wire) == Counter(set(Crowd.addresses) - {"p0002@example.com"})
    left = Recipient.objects.get(state="skipped")
    assert left.address == "p0002@example.com" and left.reason
    assert results.results_of(campaign).left_out[0][1] == 1


def test_who_never_agreed_is_counted_and_left_out(wire: Any) -> None:
    Crowd.addresses = [*Crowd.addresses, "stranger@example.com"]
    campaign = draft()
    count = people.count_audience(campaign)[0]
    assert (count.reached, dict(count.left_out)) == (7, {"no_consent": 1})
    run_out(scheduled(campaign))
    assert "stranger@example.com" not in receivers(wire)


def test_who_says_no_after_the_batch_was_taken_gets_nothing(
    wire: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = prepared()
    original = dispatch.hand_over

    def third_says_no(message: Message, *given: Any, **more: Any) -> Any:
        withdrawn("p0002@example.com")  # while the first is being sent
        return original(message, *given, **more)

    monkeypatch.setattr(dispatch, "hand_over", third_says_no)
    run_out(campaign)
    assert receivers(wire) == Counter(set(Crowd.addresses) - {"p0002@example.com"})
    left = Recipient.objects.select_related("message").get(state="skipped")
    assert (left.address, left.reason, left.message and left.message.status) == (
        "p0002@example.com",
        "no_consent",
        "suppressed",
    )


def test_quiet_hours_hold_a_recipient_until_the_morning(wire: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = prepared()
    night = datetime(2026, 6, 1, 22, 30, tzinfo=UTC)  # 23:30 in London
    again = dispatch.send_for(campaign, seconds=0, clock=Clock(night))
    morning = quiet.next_allowed(night, timezone="Europe/London")
    assert morning > night
    assert again is not None and not wire.received
    assert dispatch.send_for(campaign, seconds=1, clock=Clock(night + timedelta(minutes=1))) == morning
    assert results.results_of(campaign).held == 7
    run_out(campaign, now=morning)
    assert receivers(wire) == Counter(Crowd.addresses)


def test_a_provider_that_is_down_costs_no_try_and_the_campaign_waits(wire: Any) -> None:
    campaign = prepared()
    wire.answers = [503] * 20
    clock = Clock()
    again = slices(campaign, clock, 20)
    assert len(wire.received) == outages.OPENS_AFTER  # and then nobody asks it any more
    outage = Outage.objects.get(channel="email")
    assert outage.since and again == outage.next_try_at
    assert statuses() == {"queued": 7}
    assert Message.objects.filter(tries_left=outbox.TRIES).count() == 7
    # When the next try is due, one goes, and its failure is the only one.
    assert again is not None
    clock.now = again
    slices(campaign, clock, 5)
    assert len(wire.received) == outages.OPENS_AFTER + 1
    wire.answers, wire.received = [], []
    run_out(campaign, now=clock.now + timedelta(minutes=2))
    assert statuses() == {"sent": 7}
    assert receivers(wire) == Counter(Crowd.addresses)
    assert Outage.objects.get(channel="email").since is None


def test_what_a_campaign_learns_of_a_provider_holds_for_every_message(wire: Any) -> None:
    wording.install_default_templates()
    campaign, clock = prepared(), Clock()
    wire.answers = [503] * outages.OPENS_AFTER
    slices(campaign, clock, 10)
    news = outbox.queue_message(
        kind="welcome",
        channel="email",
        to="ada@example.com",
        variables=dict(KINDS["welcome"].sample),
        dedupe_key="welcome:ada",
    )
    assert news is not None
    Message.objects.filter(pk=news.pk).update(due_at=NOON)
    outbox.send(news.pk, now=NOON + timedelta(seconds=1))
    news.refresh_from_db()
    assert (news.status, news.error_code, len(wire.received)) == ("queued", outages.WAITING, 5)
    # It asks when the next try is due, is answered, and the campaign goes on at once.
    due = Outage.objects.get(channel="email").next_try_at
    assert due is not None
    outbox.sweep(now=due)
    outbox.send(news.pk, now=due)
    run_out(campaign, now=due)
    assert statuses() == {"sent": 8}


def test_one_channels_outage_does_not_hold_the_other(wire: Any) -> None:
    Outage.objects.create(channel="sms", failures=9, since=NOON, next_try_at=NOON + timedelta(seconds=200))
    campaign, clock = prepared(by_sms=True), Clock()
    Recipient.objects.filter(channel="sms").delete()
    Recipient.objects.create(
        campaign=campaign, channel="sms", address="+447700900123", language="en", timezone="Europe/London"
    )
    consenting(*Crowd.addresses, "+447700900123")
    again = slices(campaign, clock, 5)
    assert again == NOON + timedelta(seconds=200)
    assert receivers(wire) == Counter(Crowd.addresses)
    campaign.refresh_from_db()
    assert campaign.status == CampaignStatus.SENDING  # somebody still waits
    run_out(campaign, now=again)
    assert [message["To"] for message in wire.received[7:]] == ["+447700900123"]


def test_no_sms_is_sent_while_sms_is_switched_off(wire: Any) -> None:
    campaign = prepared(by_sms=True)
    Recipient.objects.filter(channel="sms").delete()
    Recipient.objects.create(
        campaign=campaign, channel="sms", address="+447700900123", language="en", timezone="Europe/London"
    )
    consenting(*Crowd.addresses, "+447700900123")
    overrides.choose("feature:sms", False, default=True, by=None, reason="a test")
    run_out(campaign)
    assert receivers(wire) == Counter(Crowd.addresses)
    left = Recipient.objects.get(channel="sms")
    assert (left.state, people.reason_text(left.reason)) == ("skipped", "Sending SMS is switched off.")


def test_a_template_is_not_tried_by_sms_while_sms_is_switched_off(wire: Any) -> None:
    overrides.choose("feature:sms", False, default=True, by=None, reason="a test")
    template = MessageTemplate.objects.filter(channel="sms").first()
    with pytest.raises(InvalidInput, match="switched off"):
        trial.send_test(template, to="+447700900123", by=None, now=NOON)


def test_a_wait_that_a_provider_names_is_kept(wire: Any) -> None:
    campaign, clock = prepared(), Clock()
    wire.answers = [202, {"status": 429, "headers": {"Retry-After": "600"}}]
    dispatch.send_for(campaign, seconds=0, clock=clock)
    for minute in range(1, 10):
        clock.now = NOON + timedelta(minutes=minute)
        dispatch.send_for(campaign, seconds=0, clock=clock)
    assert len(wire.received) == 2
    run_out(campaign, now=NOON + timedelta(minutes=10))
    assert statuses() == {"sent": 7} and len(wire.received) == 8


def test_offers_over_the_budget_wait_for_the_next_days(wire: Any, settings: Any) -> None:
    settings.SMS_LIMITS = {**settings.SMS_LIMITS, "offers": (9, 9, 9, 2)}
    Crowd.addresses = [f"+44770090012{number}" for number in range(5)]
    consenting(*Crowd.addresses)
    campaign = prepared(by_email=False, by_sms=True)
    run_for = Clock()
    days = []
    for _day in range(3):
        before = len(wire.received)
        again = slices(campaign, run_for, 20)
        days.append(len(wire.received) - before)
        if again is None:
            break
        waiting = Recipient.objects.filter(state="waiting")
        assert set(waiting.values_list("reason", flat=True)) == {"sms_budget_day"}
        run_for.now = again.replace(hour=12)  # by midnight UTC it is quiet in London
    assert days == [2, 2, 1]
    assert Counter(message["To"] for message in wire.received) == Counter(Crowd.addresses)


def test_a_refused_address_fails_alone_and_a_lost_answer_is_not_repeated(wire: Any) -> None:
    campaign = prepared()
    wire.answers = [202, 400, "hang up"]
    run_out(campaign)
    assert statuses() == {"sent": 5, "failed": 1, "maybe_sent": 1}
    assert len(wire.received) == 7
    outbox.sweep(now=NOON + timedelta(hours=2))
    run_out(campaign, now=NOON + timedelta(hours=2))
    assert len(wire.received) == 7


def test_what_is_scheduled_is_fixed_in_the_database() -> None:
    campaign = scheduled(draft(), now=NOON)
    for change in (
        lambda: Campaign.objects.update(audience={"airports": ["LHR"]}),
        lambda: Campaign.objects.update(by_sms=True),
        lambda: words.save_words(
            campaign, channel="email", language="en", draft=Draft(body="x", subject="y"), by=None
        ),
        lambda: OwnWords.objects.update(body="x"),
        lambda: Campaign.objects.update(status="finished"),
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            change()


def test_nothing_is_scheduled_without_words_or_a_code_that_they_name() -> None:
    bare = Campaign.objects.create(name="Bare")
    with pytest.raises(steps.CampaignNotReady, match="Write the words"):
        steps.schedule(bare, start_at=NOON, by=None, now=NOON)
    words.save_words(
        bare, channel="email", language="en", draft=Draft(body="{{ promo_code }}", subject="x"), by=None
    )
    with pytest.raises(steps.CampaignNotReady, match="promo code"):
        steps.schedule(bare, start_at=NOON, by=None, now=NOON)
    with pytest.raises(steps.CampaignNotReady, match="past"):
        steps.schedule(draft(), start_at=NOON - timedelta(hours=1), by=None, now=NOON)


def test_the_clock_begins_what_is_due_and_once() -> None:
    campaign = steps.schedule(draft(), start_at=NOON + timedelta(hours=1), by=None, now=NOON)
    assert steps.look_at_the_clock(now=NOON) == 0
    assert steps.look_at_the_clock(now=NOON + timedelta(hours=1)) == 1
    steps.look_at_the_clock(now=NOON + timedelta(hours=1))
    campaign.refresh_from_db()
    assert campaign.status == CampaignStatus.PREPARING
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'communications.prepare_campaign'"
        )
        assert cursor.fetchone()[0] == 1


def test_the_press_prints_what_rendering_renders() -> None:
    kind = KINDS["promotion"]
    words_ = wording.version_for("promotion", "email", "en")
    values = {
        **kind.sample,
        "customer_name": 'Ada <b>"&amp;\r\nBcc: eve@example.com',
        "offer_url": "https://x.example/?a=1&b=2",
    }
    links = {"unsubscribe_url": "https://x.example/u/a&b", "preferences_url": "https://x.example/p"}
    printed = Press(words_, kind=kind, channel="email", language="en").print(values, links)
    plain = rendering.render(
        words_, kind=kind, channel="email", language="en",
        variables={name: rendering.one_line(value) for name, value in values.items()}, links=links,
    )  # fmt: skip
    assert (printed.subject, printed.text) == (plain.subject, plain.text)
    assert html.unescape(printed.html) == html.unescape(plain.html)
    assert "<b>" not in printed.html and "\n" not in printed.subject
