"""Webhooks as the provider signs and sends them: kept back by the sandbox, delivered by the test."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from djstripe.models import PaymentIntent

from bookings.services.cancel import cancel, preview_cancellation
from communications.models import Message
from payments.models import LedgerTransaction, Payment, ProviderEvent, Refund
from payments.services import inbox, janitor, refund
from payments.tests.world import checkout, held_booking, pay

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def held_webhooks(sandbox: Any) -> Any:
    """The sandbox signs every event for our endpoint and keeps it."""
    call_command("provision_stripe")
    url = f"http://testserver/stripe/webhook/{settings.STRIPE_WEBHOOK_UUID}/"
    sandbox.post("/webhooks/mode", {"mode": "hold", "provider": "stripe"})
    sandbox.post(
        "/webhooks/endpoints", {"provider": "stripe", "url": url, "secret": settings.STRIPE_WEBHOOK_SECRET}
    )
    return sandbox


def signed_events(sandbox: Any, kind: str) -> list[Any]:
    listed = sandbox.get("/webhooks.json")
    rows = listed["deliveries"] if isinstance(listed, dict) else listed
    return [row for row in rows if row["event_type"] == kind]


def deliver(client: Client, row: Any) -> int:
    headers = {name: value for name, value in row["headers"].items() if name.lower() == "stripe-signature"}
    address = f"/stripe/webhook/{settings.STRIPE_WEBHOOK_UUID}/"
    return client.post(address, row["body"], content_type="application/json", headers=headers).status_code


def test_duplicated_webhooks_have_one_effect_and_fill_the_mirror(held_webhooks: Any, client: Client) -> None:
    booking = held_booking()
    session = checkout(booking)
    pay(session)
    (event,) = signed_events(held_webhooks, "payment_intent.succeeded")
    assert [deliver(client, event) for _time in range(3)] == [200, 200, 200]
    row = ProviderEvent.objects.get()
    for _time in range(2):
        assert inbox.process_event(row.pk).status == "processed", ProviderEvent.objects.get().last_error
    booking.refresh_from_db()
    assert booking.status == "confirmed"
    assert LedgerTransaction.objects.filter(kind="capture").count() == 1
    assert Message.objects.filter(kind="payment_confirmation", channel="email").count() == 1
    assert PaymentIntent.objects.get(id=session.provider_ref).stripe_data["status"] == "succeeded"


def test_a_poison_event_is_given_up_and_stays_visible(held_webhooks: Any) -> None:
    row = ProviderEvent.objects.create(
        provider="stripe",
        event_ref="evt_x",
        kind="charge.succeeded",
        object_kind="charge",
        object_ref="ch_none",
    )
    for _attempt in range(inbox.MOST_ATTEMPTS):
        last = inbox.process_event(row.pk)
    assert last.status == "dead"
    assert last.last_error


def test_a_cancellation_is_refunded_once_and_told_truly(sandbox: Any) -> None:
    booking = held_booking()
    session = checkout(booking)
    pay(session)
    inbox.settle.settle(session.payment.pk)
    booking.refresh_from_db()
    now = timezone.now()
    preview = preview_cancellation(booking, now=now)
    due = cancel(booking, preview_token=preview.token, now=now)
    for _time in range(2):
        (row,) = refund.refund_cancellation(due.pk)
    assert refund.send_refund(row.pk).status == "succeeded"
    assert Refund.objects.get().amount_minor == due.refund_minor
    assert Payment.objects.get().refunded_minor == due.refund_minor
    assert Message.objects.filter(kind="cancellation", channel="email").count() == 1
    call_command("audit_books")


def test_the_janitor_refunds_a_cancellation_whose_job_was_lost(sandbox: Any) -> None:
    booking = held_booking()
    session = checkout(booking)
    pay(session)
    inbox.settle.settle(session.payment.pk)
    booking.refresh_from_db()
    now = timezone.now()
    cancel(booking, preview_token=preview_cancellation(booking, now=now).token, now=now)
    janitor.sweep(now=timezone.now() + timedelta(minutes=2))
    assert Refund.objects.get().status in ("requested", "succeeded")
    janitor.sweep(now=timezone.now() + timedelta(minutes=2))
    assert Payment.objects.get().refunded_minor == booking.total_minor
    janitor.purge(now=timezone.now())


def test_a_refund_that_the_bank_returns_is_reversed_and_never_called_done(sandbox: Any) -> None:
    booking = held_booking()
    session = checkout(booking)
    pay(session)
    payment = inbox.settle.settle(session.payment.pk)
    row = refund.request_refund(payment, amount_minor=400, reason="r", requested_by=None, source="staff")
    sent = refund.send_refund(row.pk)
    returned = refund.ProviderRefund(
        sent.provider_ref or "", 400, sent.currency, "failed", str(row.pk), "lost_or_stolen_card"
    )
    refund.record(row.pk, returned, now=timezone.now())
    payment.refresh_from_db()
    assert (payment.reserved_minor, payment.refunded_minor) == (0, 0)
    assert LedgerTransaction.objects.filter(kind="refund_reversal").count() == 1
    assert Message.objects.filter(kind="refund_failed").count() == 1
    call_command("audit_books")
