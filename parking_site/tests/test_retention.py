"""What is older than its term goes, in batches; the ledger, documents and whatever stands stays."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from djstripe.models import WebhookEventTrigger

from accounts.models import TokenFamily, User
from accounts.services import issue_tokens
from bookings.models import Booking, Quote
from bookings.services.hold import expire
from bookings.services.quote import quote_stay
from bookings.tests.world import DAY, NOW, hold, make_product
from communications.models import ConsentEntry, Message
from communications.services.consent import record_consent
from communications.services.outbox import queue_message
from foundation import audit, retention
from foundation.models import AuditEntry, IdempotencyRecord
from parking_site.checks import business_rules_are_readable
from payments.models import Document, LedgerEntry, ProviderEvent
from payments.services.settle import settle
from payments.tests.world import checkout, held_booking, pay

pytestmark = pytest.mark.django_db


def test_quotes_go_and_what_was_booked_keeps_its_own() -> None:
    product = make_product()
    booked = hold(product).booking
    loose = quote_stay(product, start_at=NOW + DAY, end_at=NOW + 2 * DAY, now=NOW)
    assert retention.run(now=loose.expires_at + 90 * DAY)["quotes"] == 0
    assert retention.run(now=loose.expires_at + 90 * DAY + timedelta(seconds=1))["quotes"] == 1
    assert list(Quote.objects.all()) == [booked.quote]


def test_the_driver_of_a_hold_that_lapsed_goes_and_a_booking_that_stands_keeps_its_own() -> None:
    product = make_product()
    lapsed, held = hold(product).booking, hold(product).booking
    expire(lapsed.pk, now=lapsed.hold_expires_at + timedelta(seconds=1))
    lapsed.refresh_from_db()
    assert lapsed.expired_at is not None
    assert retention.run(now=lapsed.expired_at + 30 * DAY)["lapsed holds"] == 0
    for expected in (1, 0):
        assert retention.run(now=lapsed.expired_at + 31 * DAY)["lapsed holds"] == expected
    lapsed.refresh_from_db()
    assert (lapsed.driver_name, lapsed.plate, str(lapsed.driver_phone), lapsed.status) == (
        "Erased",
        "ERASED",
        "",
        "expired",
    )
    assert Booking.objects.get(pk=held.pk).driver_name == held.driver_name


def test_what_messages_said_goes_and_that_they_were_sent_and_consent_stay() -> None:
    now = timezone.now()
    for key, status in (("old", "delivered"), ("new", "delivered"), ("waiting", "queued")):
        message = queue_message(kind="welcome", channel="email", to="a@example.com", variables={"customer_name": "Ada"}, dedupe_key=key)  # fmt: skip
        assert message is not None
        row = Message.objects.filter(pk=message.pk)
        for step in ("sending", "sent", "delivered") if status == "delivered" else ():
            row.update(status=step)
        row.update(body_text="Dear Ada", queued_at=now - (0 if key == "new" else 731) * DAY)
    record_consent(
        channel="email", address="a@example.com", is_granted=False, source="account", now=now - 2000 * DAY
    )
    for expected in (1, 0):
        assert retention.run(now=now)["message texts"] == expected
    texts = dict(Message.objects.values_list("dedupe_key", "body_text"))
    assert texts == {"old": "", "new": "Dear Ada", "waiting": "Dear Ada"}
    assert Message.objects.get(dedupe_key="old").to == "a@example.com"
    assert ConsentEntry.objects.count() == 1


def test_ended_sessions_sign_ins_and_calls_go() -> None:
    now = timezone.now()
    user = User.objects.create_user("a@example.com", "rather-long-Secret-7")
    issue_tokens(user), issue_tokens(user)
    TokenFamily.objects.filter(pk=TokenFamily.objects.first().pk).update(expires_at=now - DAY)  # type: ignore[union-attr]
    for key, ends in (("a", now - DAY), ("b", now + DAY)):
        Session.objects.create(session_key=key, session_data="x", expire_date=ends)
    for key, age in (("a", 3), ("b", 1)):
        IdempotencyRecord.objects.create(principal="p", route="r", key=key, fingerprint="f")
        IdempotencyRecord.objects.filter(key=key).update(created_at=now - age * DAY)
    done = retention.run(now=now)
    assert (done["sessions"], done["API sign-ins"], done["idempotency keys"]) == (1, 1, 1)
    assert Session.objects.get().pk == "b" and IdempotencyRecord.objects.get().key == "b"


def test_the_audit_log_goes_after_its_term_and_never_within_a_year(settings: Any) -> None:
    audit.record(actor=None, action="x", subject="y", reason="z")
    now = timezone.now()
    assert retention.run(now=now + 2555 * DAY - timedelta(hours=1))["audit log"] == 0
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        AuditEntry.objects.all().delete()
    retention.run(now=now + 3000 * DAY)  # a clock that is wrong deletes nothing that is younger than a year
    assert AuditEntry.objects.count() == 1
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO foundation_auditentry (at, action, subject, reason, data, request_id) "
            "VALUES (now() - interval '2600 days', 'old', 'y', '', '{}', '')"
        )
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        AuditEntry.objects.update(reason="rewritten")
    assert retention.run(now=now)["audit log"] == 1
    assert AuditEntry.objects.get().action == "x"


def test_finished_jobs_go_and_waiting_ones_stay() -> None:
    with connection.cursor() as cursor:
        for status, age in (("succeeded", 20), ("failed", 20), ("todo", 20), ("succeeded", 1)):
            cursor.execute(
                "INSERT INTO procrastinate_jobs (queue_name, task_name, status) VALUES ('q', 't', %s) RETURNING id",
                [status],
            )
            job = cursor.fetchone()[0]
            cursor.execute("DELETE FROM procrastinate_events WHERE job_id = %s", [job])
            cursor.execute(
                "INSERT INTO procrastinate_events (job_id, type, at) VALUES (%s, 'deferred', now() - %s * interval '1 day')",
                [job, age],
            )
        assert retention.run(now=timezone.now())["jobs"] == 2
        cursor.execute("SELECT status::text FROM procrastinate_jobs WHERE task_name = 't' ORDER BY id")
        assert [row[0] for row in cursor.fetchall()] == ["todo", "succeeded"]


def test_what_providers_told_goes_and_what_waits_stays() -> None:
    now = timezone.now()
    for ref, status, age in (("old", "processed", 91), ("unread", "received", 91), ("new", "processed", 1)):
        ProviderEvent.objects.create(provider="stripe", event_ref=ref, kind="x", status=status)
        ProviderEvent.objects.filter(event_ref=ref).update(received_at=now - age * DAY)
    for body, valid, age in (("old", True, 8 * 24), ("forged", False, 2), ("new", True, 1)):
        made = WebhookEventTrigger.objects.create(remote_ip="127.0.0.1", headers={}, body=body, valid=valid)
        WebhookEventTrigger.objects.filter(pk=made.pk).update(created=now - timedelta(hours=age))
    done = retention.run(now=now)
    assert (done["provider events"], done["webhook deliveries"], done["invalid deliveries"]) == (1, 1, 1)
    assert set(ProviderEvent.objects.values_list("event_ref", flat=True)) == {"unread", "new"}
    assert WebhookEventTrigger.objects.get().body == "new"


@pytest.mark.django_db(transaction=True)
def test_the_books_are_as_true_after_twenty_years(sandbox: Any) -> None:
    booking = held_booking()
    session = checkout(booking)
    assert pay(session) == 200
    settle(session.payment.pk)
    before = (LedgerEntry.objects.count(), list(Document.objects.values_list("number", "content")))
    assert before[0] and before[1]
    retention.run(now=timezone.now() + 7300 * DAY)
    assert before == (LedgerEntry.objects.count(), list(Document.objects.values_list("number", "content")))
    assert Booking.objects.get().driver_name == booking.driver_name
    call_command("audit_books")


def test_each_night_does_so_many_batches_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    now = timezone.now()
    for number in range(7):
        Session.objects.create(session_key=str(number), session_data="x", expire_date=now - DAY)
    monkeypatch.setattr(retention, "BATCH", 2)
    monkeypatch.setattr(retention, "MOST_BATCHES", 2)
    assert [retention.run(now=now)["sessions"] for _night in range(3)] == [4, 3, 0]


def test_a_rule_that_fails_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(before: Any, most: int) -> int:
        raise RuntimeError

    rule = retention.Rule("broken", "x", 0, broken)
    monkeypatch.setattr(retention, "rules", lambda: [rule, *retention.RULES])
    assert set(retention.run(now=timezone.now())) == {"broken", *(one.name for one in retention.RULES)}


def test_terms_out_of_range_are_named(settings: Any) -> None:
    settings.RETENTION_DAYS = {**settings.RETENTION_DAYS, "quotes": 1, "audit_log": 30}
    assert sorted(str(one.msg).split()[0] for one in business_rules_are_readable(None)) == [
        "KEEP_AUDIT_LOG_DAYS",
        "KEEP_QUOTES_DAYS",
    ]
