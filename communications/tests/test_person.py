"""A person's messages, handed over and forgotten: nothing of theirs is left, their no stands, the counts stay."""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from psycopg import sql

from communications.campaigns import dispatch
from communications.catalogue import KINDS, PROMOTIONAL
from communications.models import ConsentEntry, InboundText, Message
from communications.services import answering, consent, handover, outbox, person, wording
from communications.services.delivery import record_delivery
from communications.services.outbox import queue_message
from foundation.errors import InvalidInput
from foundation.models import AuditEntry

pytestmark = pytest.mark.django_db
EMAIL, PHONE = "canary.person@example.com", "+447700900777"


@pytest.fixture
def ada(wire: Any) -> None:
    """Sent and waiting messages by both channels, consent, a dead address, an answer by SMS; and somebody else's message."""
    wording.install_default_templates()
    now = timezone.now()
    for channel, to, name in (
        ("email", EMAIL, "Canary Person"),
        ("sms", PHONE, "Canary Person"),
        ("email", "other@example.com", "Somebody"),
    ):
        message = queue_message(
            kind="payment_confirmation",
            channel=channel,
            to=to,
            to_name=name,
            variables={"customer_name": name, "amount": "=1+1", "reference": "AP-222222"},
            dedupe_key=f"a:{to}",
            reference="AP-222222",
            other_address=PHONE if channel == "email" else EMAIL,
        )
        assert message is not None
        outbox.send(message.pk, now=now + timedelta(seconds=5))
    queue_message(
        kind="welcome",
        channel="email",
        to=EMAIL,
        variables={"customer_name": "Canary Person"},
        dedupe_key="b",
    )
    consent.record_consent(
        channel="email", address=EMAIL, is_granted=True, source="account", now=now, wording="Offers?", ip_address="192.0.2.77"
    )  # fmt: skip
    consent.record_consent(channel="email", address=EMAIL, is_granted=False, source="one_click", now=now)
    answering.take_text(sid="SM1", phone=PHONE, to="+15005550006", body="canary words of mine", now=now)
    sent = Message.objects.get(dedupe_key=f"a:{EMAIL}")
    record_delivery(
        channel="email",
        event_id="e1",
        kind="bounced",
        fact="hard_bounce",
        to_status="bounced",
        message_id=str(sent.pk),
        detail=f"no such mailbox {EMAIL}",
    )


def everything_kept() -> str:
    """All text in the post office's tables, but for the keys by which a fact is told once."""
    found = []
    with connection.cursor() as cursor:
        for model in apps.get_app_config("communications").get_models():
            cursor.execute(
                sql.SQL("SELECT row_to_json(t)::jsonb - 'dedupe_key' FROM {} t").format(
                    sql.Identifier(model._meta.db_table)
                )
            )
            found += [str(row[0]) for row in cursor.fetchall()]
    return "\n".join(found)


def test_all_of_it_is_handed_over(ada: None) -> None:
    rows = list(person.export(email=EMAIL.upper(), phone=PHONE))
    assert {row["record"] for row in rows} == {"message", "consent", "suppression", "received"}
    assert {row["address"] for row in rows} <= {EMAIL, PHONE}
    out = io.StringIO()
    call_command("person_messages", email=EMAIL, stdout=out)
    assert all(json.loads(line) for line in out.getvalue().splitlines())
    Message.objects.filter(dedupe_key=f"a:{EMAIL}").update(subject="=cmd|'/c calc'!A1")
    out = io.StringIO()
    call_command("person_messages", email=EMAIL, format="csv", stdout=out)
    assert "'=cmd" in out.getvalue()


def test_nothing_of_theirs_is_left_and_their_no_still_stands(ada: None) -> None:
    before = Message.objects.count()
    with pytest.raises(InvalidInput):
        person.erase(email=EMAIL, by=None, reason=" ", now=timezone.now())
    assert person.erase(email=EMAIL, phone=PHONE, by=None, reason="They asked", now=timezone.now()) >= 3
    kept = everything_kept().lower()
    for trace in (EMAIL, PHONE, "canary", "192.0.2.77"):
        assert trace.lower() not in kept, trace
    assert "other@example.com" in kept
    assert Message.objects.count() == before
    assert (
        consent.may_receive(purpose=PROMOTIONAL, channel="email", address=EMAIL).reason
        == "suppressed_hard_bounce"
    )
    assert not consent.wants_offers(channel="email", address=EMAIL)
    assert ConsentEntry.objects.count() == 2
    assert InboundText.objects.get().body == ""
    assert AuditEntry.objects.filter(action="messages_erased", reason="They asked").count() == 1
    assert list(person.export(phone=PHONE)) == []


def test_what_waits_does_not_leave_any_more(ada: None, wire: Any) -> None:
    received = len(wire.received)
    person.erase(email=EMAIL, phone=PHONE, by=None, reason="They asked", now=timezone.now())
    waiting = Message.objects.get(dedupe_key="b")
    assert waiting.status == "suppressed"
    outbox.send(waiting.pk, now=timezone.now() + timedelta(days=1))
    outbox.sweep(now=timezone.now() + timedelta(days=1))
    assert len(wire.received) == received


def test_a_command_without_an_address_says_so() -> None:
    with pytest.raises(CommandError, match="Name an e-mail address"):
        call_command("person_messages")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_campaign", [False, True])
def test_what_is_being_sent_while_its_person_is_erased_stays_erased(
    wire: Any, monkeypatch: pytest.MonkeyPatch, is_campaign: bool
) -> None:
    """The worker has the words in its hands, and writes down the result after the erasure."""
    wording.install_default_templates()
    message = queue_message(
        kind="booking_confirmation",
        channel="email",
        to="ada@example.com",
        variables={**KINDS["booking_confirmation"].sample, "customer_name": "Ada Secret"},
        dedupe_key="in-flight",
    )
    assert message is not None
    original = handover.envelope_of

    def erased_meanwhile(sent: Message, rendered: Any) -> Any:
        envelope = original(sent, rendered)
        with ThreadPoolExecutor(1) as pool:  # a connection of its own, as staff have
            pool.submit(erased).result()
        return envelope

    def erased() -> None:
        try:
            person.erase(email="ada@example.com", by=None, reason="asked", now=timezone.now())
        finally:
            connection.close()

    monkeypatch.setattr(handover, "envelope_of", erased_meanwhile)
    if is_campaign:
        Message.objects.filter(pk=message.pk).update(status="sending", attempts=1)
        message.refresh_from_db()
        erased()
        values = {"id": message.pk, "provider": "x", "ref": "r", "now": timezone.now()}
        with connection.cursor() as cursor:
            cursor.execute(dispatch.SENT, {**values, "subject": "Ada Secret", "text": "Ada Secret"})
    else:
        outbox.send(message.pk, now=timezone.now() + timedelta(seconds=1))
        assert len(wire.received) == 1, "it had left"
    message.refresh_from_db()
    assert message.status == "sent"
    kept = [message.to, message.subject, message.body_text, message.body_html, str(message.variables)]
    assert "Secret" not in "".join(kept) and message.to == ""


def test_an_accounts_bookings_for_other_numbers_are_its_owners_too(db: None) -> None:
    user = get_user_model().objects.create_user("ada@example.com", "x" * 12)
    for to, owner in (("+447700900140", user), ("+447700900141", None)):
        Message.objects.create(
            kind="booking_confirmation", channel="sms", to=to, user=owner, body_text="AB12", dedupe_key=to
        )
    assert person.count(email="ada@example.com", user=user) == 1
    assert [row["address"] for row in person.export(email="ada@example.com", user=user)] == ["+447700900140"]
    person.erase(email="ada@example.com", user=user, by=None, reason="asked", now=timezone.now())
    assert list(Message.objects.order_by("to").values_list("to", "body_text")) == [
        ("", ""),
        ("+447700900141", "AB12"),
    ]
