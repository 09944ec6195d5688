"""Consent by channel with its proof, one-click unsubscribe, STOP and START, dead addresses, quiet hours."""

from __future__ import annotations

import dataclasses
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from twilio.request_validator import RequestValidator

from communications.catalogue import EMERGENCY, KINDS, PROMOTIONAL, TRANSACTIONAL
from communications.models import ConsentEntry, ConsentState, InboundText, Message, Suppression
from communications.services import answering, consent, outbox, quiet, unsubscribe, wording
from communications.services.delivery import record_delivery
from communications.services.outbox import queue_message
from foundation.errors import InvalidInput

pytestmark = pytest.mark.django_db
PHONE = "+447700900123"
NOON = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def words(db: None) -> None:
    wording.install_default_templates()


@pytest.fixture
def offers(monkeypatch: pytest.MonkeyPatch) -> str:
    """A kind of message that is a promotion, on both channels."""
    promotional = dataclasses.replace(KINDS["refund_issued"], purpose=PROMOTIONAL)
    monkeypatch.setitem(KINDS, "refund_issued", promotional)
    return "refund_issued"


def offer(kind: str, *, to: str = "ada@example.com", channel: str = "email", **more: Any) -> Message:
    key = f"offer:{to}:{Message.objects.count()}"
    message = queue_message(
        kind=kind, channel=channel, to=to, variables={"amount": "1"}, dedupe_key=key, **more
    )
    assert message is not None
    Message.objects.filter(pk=message.pk).update(due_at=NOON - timedelta(days=30))
    return message


def say(address: str, is_granted: bool, *, channel: str = "email", source: str = "account") -> None:
    consent.record_consent(
        channel=channel, address=address, is_granted=is_granted, source=source, now=timezone.now(), wording="Offers?"
    )  # fmt: skip


def test_a_promotion_needs_a_yes_and_the_last_word_counts(wire: Any, offers: str) -> None:
    for said, status, reason in (
        (None, "suppressed", "no_consent"),
        (True, "sent", ""),
        (False, "suppressed", "opted_out"),
        (True, "sent", ""),
    ):
        if said is not None:
            say("Ada@Example.com ", said)
        message = outbox.send(offer(offers).pk, now=NOON)
        assert message is not None
        assert (message.status, message.error_code) == (status, reason)
    assert len(wire.received) == 2
    assert ConsentEntry.objects.count() == 3
    say("ada@example.com", True)
    assert ConsentEntry.objects.count() == 3, "the same word again is no new fact"


def test_a_no_to_offers_never_holds_back_what_was_bought(wire: Any) -> None:
    say("ada@example.com", False)
    consent.suppress(channel="email", address="ada@example.com", cause="spam_report", now=NOON)
    message = outbox.send(offer("welcome").pk, now=NOON)
    assert message is not None
    assert message.status == "sent"
    assert consent.may_receive(purpose=TRANSACTIONAL, channel="email", address="ada@example.com").is_allowed
    assert not consent.may_receive(purpose=PROMOTIONAL, channel="email", address="ada@example.com").is_allowed


@pytest.mark.django_db(transaction=True)
def test_the_ledger_cannot_be_rewritten_but_a_person_can_be_forgotten() -> None:
    say("ada@example.com", False)
    for tampering in (
        "UPDATE communications_consententry SET is_granted = true",
        "UPDATE communications_consententry SET address = 'eve@example.com'",
        "UPDATE communications_consententry SET at = now()",
        "DELETE FROM communications_consententry",
        "TRUNCATE communications_consententry",
        "UPDATE communications_consentstate SET is_granted = true",
        "DELETE FROM communications_consentstate",
    ):
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(tampering)
    ConsentEntry.objects.update(address="", user=None, ip_address=None, note="")
    assert (
        consent.may_receive(purpose=PROMOTIONAL, channel="email", address="ada@example.com").reason
        == "opted_out"
    )


def test_thousands_are_asked_about_in_two_queries(django_assert_num_queries: Any) -> None:
    for number in range(30):
        say(f"p{number}@example.com", number % 2 == 0)
    asked = [f"p{number}@example.com" for number in range(40)]
    with django_assert_num_queries(2):
        verdicts = consent.allowed_addresses(purpose=PROMOTIONAL, channel="email", addresses=asked)
    assert sum(verdict.is_allowed for verdict in verdicts.values()) == 15
    assert verdicts["p39@example.com"].reason == "no_consent"


# Unsubscribing


def test_the_mail_has_a_button_of_its_own_and_one_post_ends_offers(wire: Any, offers: str) -> None:
    say("ada@example.com", True)
    outbox.send(offer(offers).pk, now=NOON)
    (sent,) = wire.received
    headers = sent["personalizations"][0].get("headers") or sent["headers"]
    assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    link = headers["List-Unsubscribe"].strip("<>")
    html = next(part["value"] for part in sent["content"] if part["type"] == "text/html")
    assert link in html
    assert "ada" not in link
    page = link.split("//", 1)[1].partition("/")[2]
    client = Client(enforce_csrf_checks=True)
    assert client.get(f"/{page}").status_code == 200
    assert consent.wants_offers(channel="email", address="ada@example.com"), "a scanner's GET ends nothing"
    for _again in range(3):
        assert client.post(f"/{page}", {"List-Unsubscribe": "One-Click"}).status_code == 200
    assert list(ConsentEntry.objects.order_by("pk").values_list("is_granted", "source", "address")) == [
        (True, "account", "ada@example.com"),
        (False, "one_click", "ada@example.com"),
    ]
    assert "unsubscribed" in client.get(f"/{page}").content.decode()
    entry = ConsentEntry.objects.get(source="one_click")
    assert entry.wording == "List-Unsubscribe=One-Click"
    assert entry.language == "en", "that of the mail with the button"
    assert entry.note == f"one-click POST, wording {consent.version_of(entry.wording)}"
    assert entry.ip_address is None, "a no needs no proof against the person"


@pytest.mark.parametrize(("where", "given"), [("unsubscribe", {}), ("preferences", {"offers": "no"})])
def test_a_no_on_a_page_keeps_what_was_shown(where: str, given: dict[str, str]) -> None:
    say("ada@example.com", True)
    page = reverse(f"communications:{where}", args=[unsubscribe.token_for("email", "ada@example.com")])
    shown = Client().get(page).content.decode()
    Client().post(page, given)
    entry = ConsentEntry.objects.get(is_granted=False)
    assert entry.wording
    assert entry.wording in shown
    assert (entry.source, entry.language, entry.ip_address) == ("preferences", "en", None)
    assert entry.note == f"{where} page, wording {consent.version_of(entry.wording)}"


def test_nothing_else_carries_the_headers(wire: Any) -> None:
    outbox.send(offer("welcome").pk, now=NOON)
    assert "List-Unsubscribe" not in str(wire.received[0])


@pytest.mark.parametrize("where", ["unsubscribe", "preferences"])
def test_a_forged_link_opens_nothing(where: str) -> None:
    token = unsubscribe.token_for("email", "ada@example.com")
    say("ada@example.com", True)
    for bad in (token[:-1], token.replace("email", "sms"), "x", f"email.{chr(48) * 64}:x"):
        address = reverse(f"communications:{where}", args=["t"])[:-1]
        answer = Client().post(address + bad.encode("utf-8", "replace").decode(), {"offers": "no"})
        assert answer.status_code == 404, bad
    assert consent.wants_offers(channel="email", address="ada@example.com")


def test_the_preferences_page_says_no_and_yes_again() -> None:
    say("ada@example.com", True)
    page = reverse("communications:preferences", args=[unsubscribe.token_for("email", "ada@example.com")])
    client = Client(enforce_csrf_checks=True)
    shown = client.get(page)
    assert shown["Referrer-Policy"] == "same-origin", (
        "no-referrer makes browsers post with a null origin, which is refused"
    )
    token = client.cookies["csrftoken"].value
    for answer, stands in (("no", False), ("yes", True), ("yes", True)):
        form = {"offers": answer, "csrfmiddlewaretoken": token}
        assert client.post(page, form, headers={"Origin": "http://testserver"}).status_code == 302
        assert consent.wants_offers(channel="email", address="ada@example.com") is stands
    entry = ConsentEntry.objects.first()
    assert entry is not None
    assert (entry.source, bool(entry.wording), entry.ip_address) == ("preferences", True, "127.0.0.1")


# Texting back


def text(body: str, *, sid: str = "", phone: str = PHONE, token: str = "", settings: Any, **more: str) -> Any:
    fields = {
        "AccountSid": settings.TWILIO_ACCOUNT_SID, "MessageSid": sid or f"SM{InboundText.objects.count()}",
        "From": phone, "To": settings.TWILIO_FROM_NUMBER, "Body": body, **more,
    }  # fmt: skip
    path = "/webhooks/twilio/inbound/"
    signature = RequestValidator(token or settings.TWILIO_AUTH_TOKEN).compute_signature(
        settings.SITE_URL + path, fields
    )
    return Client().post(path, fields, headers={"X-Twilio-Signature": signature})


@pytest.mark.parametrize(
    "word",
    [
        "STOP",
        " stop. ",
        "Stop!",
        "UNSUBSCRIBE",
        "Stopp",
        "abmelden",
        "END",
        "S T O P",
        "Please stop!",
        "STOP sending me texts",
        "Bitte stopp",
        "СТОП",
    ],
)
def test_stop_ends_texts_and_start_brings_them_back(settings: Any, wire: Any, offers: str, word: str) -> None:
    say(PHONE, True, channel="sms")
    assert text(word, settings=settings).status_code == 200
    for kind in (offers, "payment_confirmation"):
        message = outbox.send(offer(kind, to=PHONE, channel="sms").pk, now=NOON)
        assert message is not None
        assert (message.status, message.error_code) == ("suppressed", "suppressed_stopped")
    assert not wire.received
    text("Start", settings=settings)
    message = outbox.send(offer(offers, to=PHONE, channel="sms").pk, now=NOON)
    assert message is not None
    assert message.status == "sent"


@pytest.mark.parametrize(
    "said", ["Bus stop?", "Where does the bus stop", "don't stop", "the end of bay 4", "stop 12"]
)
def test_a_question_about_a_stop_is_for_staff(said: str) -> None:
    assert answering.keyword_of(said) == ""


@pytest.mark.parametrize("word", ["START", "yes", "Ja", "ANMELDEN"])
def test_start_is_no_yes_to_offers_from_who_never_agreed(settings: Any, word: str) -> None:
    text(word, settings=settings)
    assert not consent.wants_offers(channel="sms", address=PHONE)
    consent.record_consent(
        channel="sms", address=PHONE, is_granted=True, source="account", now=timezone.now()
    )
    consent.record_consent(
        channel="sms", address=PHONE, is_granted=False, source="preferences", now=timezone.now()
    )
    text("STOP", settings=settings)
    text("START", settings=settings)
    assert not consent.wants_offers(channel="sms", address=PHONE), (
        "the no on the preferences page was not about STOP"
    )


def test_only_the_providers_own_word_ends_what_its_own_word_began(settings: Any) -> None:
    text("STOP", settings=settings)
    assert "START" in text("Anmelden", settings=settings).content.decode()
    assert Suppression.objects.filter(lifted_at=None).exists()
    text("START", settings=settings)
    assert not Suppression.objects.filter(lifted_at=None).exists()
    text("Stopp", settings=settings)
    text("Anmelden", settings=settings)
    assert not Suppression.objects.filter(lifted_at=None).exists()


def test_an_older_yes_does_not_undo_a_newer_no() -> None:
    say("ada@example.com", False)
    consent.record_consent(
        channel="email", address="ada@example.com", is_granted=True, source="import", now=timezone.now() - timedelta(days=9)
    )  # fmt: skip
    assert not consent.wants_offers(channel="email", address="ada@example.com")


def test_a_word_in_a_sentence_is_for_staff_and_counts_once(settings: Any) -> None:
    for _again in range(2):
        assert text("please stop the shuttle at gate 2", sid="SM1", settings=settings).status_code == 200
    (kept,) = InboundText.objects.all()
    assert (kept.keyword, kept.handled_at, kept.reply) == ("", None, "")
    assert not Suppression.objects.exists()


def test_help_is_answered_in_the_persons_language_unless_the_provider_answers(settings: Any) -> None:
    outbox.queue_message(
        kind="payment_confirmation", channel="sms", to=PHONE, language="de", variables={}, dedupe_key="x"
    )
    assert answering.language_of(PHONE) == "de"
    assert settings.SUPPORT_EMAIL in text("Hilfe?", settings=settings).content.decode()
    assert "<Message>" not in text("HELP", sid="SM9", settings=settings).content.decode()


def test_unsigned_and_hostile_texts_do_nothing(settings: Any) -> None:
    assert text("STOP", token="other", settings=settings).status_code == 403
    assert Client().post("/webhooks/twilio/inbound/", {"Body": "STOP"}).status_code == 403
    assert Client().get("/webhooks/twilio/inbound/").status_code == 405
    assert not InboundText.objects.exists()
    assert text("a\x00b" + "x" * 3000, settings=settings).status_code == 200
    assert text("<Message>&", sid="SM5", settings=settings).status_code == 200
    assert len(InboundText.objects.get(sid="SM0").body) == 1600


@pytest.mark.django_db(transaction=True)
def test_stop_ten_times_at_once_is_one_entry(settings: Any) -> None:
    wording.install_default_templates()
    say(PHONE, True, channel="sms")
    barrier = threading.Barrier(6)

    def press(number: int) -> None:
        barrier.wait(10)
        text("STOP", sid=f"SM{number % 3}", settings=settings)
        connection.close()

    threads = [threading.Thread(target=press, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert InboundText.objects.count() == 3
    assert ConsentEntry.objects.filter(is_granted=False).count() == 1
    assert Suppression.objects.count() == 1
    assert ConsentState.objects.get().is_granted is False


# Dead addresses


def test_a_hard_bounce_ends_all_mail_and_staff_lift_it_with_a_reason(wire: Any, admin_user: Any) -> None:
    first = outbox.send(offer("welcome").pk, now=NOON)
    assert first is not None
    record_delivery(
        channel="email",
        event_id="soft",
        kind="bounced",
        code="blocked",
        to_status="bounced",
        message_id=str(first.pk),
    )
    assert not Suppression.objects.exists(), "blocked this time; the address exists"
    second = outbox.send(offer("welcome").pk, now=NOON)
    assert second is not None
    record_delivery(
        channel="email",
        event_id="hard",
        kind="bounced",
        fact="hard_bounce",
        to_status="bounced",
        message_id=str(second.pk),
    )
    for purpose in (TRANSACTIONAL, PROMOTIONAL, EMERGENCY):
        verdict = consent.may_receive(purpose=purpose, channel="email", address="ADA@example.com")
        assert verdict.reason == "suppressed_hard_bounce"
        assert verdict.words
    held = outbox.send(offer("welcome").pk, now=NOON)
    assert held is not None
    assert held.status == "suppressed"
    found = Suppression.objects.get()
    with pytest.raises(InvalidInput):
        consent.lift(found.pk, by=admin_user, reason=" ", now=NOON)
    consent.lift(found.pk, by=admin_user, reason="They fixed their mailbox", now=NOON)
    outbox.retry(held, by=admin_user)
    again = outbox.send(held.pk, now=timezone.now() + timedelta(seconds=5))
    assert again is not None
    assert again.status == "sent"


def test_a_spam_report_is_a_no_to_offers(wire: Any) -> None:
    say("ada@example.com", True)
    sent = outbox.send(offer("welcome").pk, now=NOON)
    assert sent is not None
    record_delivery(
        channel="email",
        event_id="spam",
        kind="complained",
        fact="spam_report",
        to_status=None,
        message_id=str(sent.pk),
    )
    assert not consent.wants_offers(channel="email", address="ada@example.com")


# Quiet hours


@pytest.mark.parametrize(
    ("zone", "at", "allowed"),
    [
        ("Europe/London", "2026-11-26T12:00", "2026-11-26T12:00"),
        ("Europe/London", "2026-11-26T20:59", "2026-11-26T20:59"),
        ("Europe/London", "2026-11-26T21:00", "2026-11-27T08:00"),
        ("Europe/London", "2026-11-26T07:59", "2026-11-26T08:00"),
        ("America/New_York", "2026-11-26T12:00", "2026-11-26T13:00"),
        ("Asia/Tokyo", "2026-11-26T12:00", "2026-11-26T23:00"),
        ("Europe/Berlin", "2026-03-28T23:00", "2026-03-29T06:00"),  # the night in which an hour is missing
        ("Europe/Berlin", "2026-10-24T23:00", "2026-10-25T07:00"),  # and the one that has it twice
        ("", "2026-11-26T22:00", "2026-11-27T08:00"),
        ("Mars/Olympus", "2026-11-26T22:00", "2026-11-27T08:00"),
    ],
)
def test_quiet_hours_are_the_recipients(zone: str, at: str, allowed: str) -> None:
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC)
    assert quiet.next_allowed(moment, timezone=zone) == datetime.fromisoformat(allowed).replace(tzinfo=UTC)


def test_a_promotion_waits_for_the_morning_and_a_receipt_does_not(wire: Any, offers: str) -> None:
    say("ada@example.com", True)
    night = NOON + timedelta(hours=10)
    waits = outbox.send(offer(offers, timezone="Europe/London").pk, now=night)
    assert waits is not None
    assert (waits.status, waits.due_at, waits.tries_left) == (
        "queued",
        NOON + timedelta(hours=20),
        outbox.TRIES,
    )
    other = outbox.send(offer("welcome").pk, now=night)
    assert other is not None
    assert other.status == "sent"
    assert waits.due_at is not None
    done = outbox.send(waits.pk, now=waits.due_at)
    assert done is not None
    assert done.status == "sent"


def test_asked_again_when_it_leaves(wire: Any, offers: str) -> None:
    say("ada@example.com", True)
    message = offer(offers)
    say("ada@example.com", False)
    held = outbox.send(message.pk, now=NOON)
    assert held is not None
    assert held.error_code == "opted_out"
    assert not wire.received
