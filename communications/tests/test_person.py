"""A person's messages, handed over and forgotten: nothing of theirs is left, their no stands, the counts stay."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from psycopg import sql

from communications.catalogue import PROMOTIONAL
from communications.models import ConsentEntry, InboundText, Message
from communications.services import answering, consent, outbox, person, wording
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
