"""What the sandbox's Training page promises that staff will see is what the shop does."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import Any

import pytest
import requests
from django.core.management import call_command
from django.utils import timezone

from bookings.models import Booking
from communications.models import Message
from communications.services.outbox import send
from communications.services.wording import install_default_templates
from payments.gateways.base import Unavailable
from payments.models import Break, Dispute, Document, Payment, Refund
from payments.services import janitor, refund
from payments.services.checkout import ProviderUnavailable, withdraw
from payments.services.settle import settle
from payments.tests.world import answer_bank, approve, checkout, held_booking, pay

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def books_are_right() -> Any:
    """The oracle after every test."""
    yield
    call_command("audit_books")


def paid() -> Payment:
    session = checkout(held_booking())
    assert pay(session) == 200
    return settle(session.payment.pk)


def janitor_round() -> None:
    past = timezone.now() - timedelta(minutes=5)
    Payment.objects.update(created_at=past, submitted_at=past, last_checked_at=past)
    Refund.objects.update(created_at=past, submitted_at=past)
    janitor.sweep(now=timezone.now())


def give_back(payment: Payment, amount_minor: int) -> Refund:
    return refund.request_refund(
        payment, amount_minor=amount_minor, reason="goodwill", requested_by=None, source="staff"
    )


def told(kind: str) -> int:
    return Message.objects.filter(kind=kind, channel="email").count()


def test_webhook_lost(sandbox: Any) -> None:
    sandbox.post(
        "/webhooks/endpoints", {"provider": "stripe", "url": "http://127.0.0.1:9/", "secret": "whsec_x"}
    )
    sandbox.post("/training/webhook-lost")
    booking = held_booking()
    session = checkout(booking)
    assert pay(session, card="pm_card_authenticationRequired") == 200
    assert Payment.objects.get().status == "requires_action"
    answer_bank(str(session.provider_ref))
    assert {row["status"] for row in sandbox.get("/webhooks.json")["deliveries"]} == {"dropped"}
    janitor_round()
    assert (Payment.objects.get().status, Booking.objects.get().status) == ("captured", "confirmed")


def test_stripe_late(sandbox: Any, settings: Any) -> None:
    settings.STRIPE_TIMEOUT_SECONDS = 1
    payment = paid()
    sandbox.post("/training/stripe-late")
    row = give_back(payment, 500)
    assert refund.send_refund(row.pk).status == "unknown"
    settings.STRIPE_TIMEOUT_SECONDS = 20
    janitor_round()
    row.refresh_from_db()
    assert row.status == "succeeded"
    assert len(sandbox.get("/ledger.json")["refunds"]) == 1


def test_provider_down(sandbox: Any) -> None:
    payment = paid()
    sandbox.post("/training/provider-down")
    with pytest.raises(ProviderUnavailable):
        checkout(held_booking(payment.booking.product))
    booking = Booking.objects.exclude(pk=payment.booking_id).get()
    assert approve(checkout(booking, provider="paypal"))
    row = give_back(payment, 500)
    with contextlib.suppress(Unavailable):
        refund.send_refund(row.pk)
    row.refresh_from_db()
    assert row.status in {"requested", "submitted", "unknown"}
    sandbox.delete("/training/provider-down")
    janitor_round()
    row.refresh_from_db()
    assert row.status == "succeeded"


def test_paypal_holds(sandbox: Any) -> None:
    sandbox.post("/training/paypal-holds")
    booking = held_booking()
    session = checkout(booking, provider="paypal")
    assert 'value="review" checked' in requests.get(str(session.approve_url), timeout=20).text
    approve(session, buyer="review")
    assert settle(session.payment.pk).status == "processing"
    assert Booking.objects.get().status == "held"
    sandbox.post("/clock", {"advance_seconds": 86_400})
    assert settle(session.payment.pk).status == "captured"
    assert Booking.objects.get().status == "confirmed"
    sandbox.delete("/training/paypal-holds")
    other = checkout(held_booking(booking.product), provider="paypal")
    assert 'value="at_once" checked' in requests.get(str(other.approve_url), timeout=20).text


def test_paid_twice(sandbox: Any) -> None:
    booking = held_booking()
    card = checkout(booking)
    sandbox.post("/training/paid-twice")
    wallet = checkout(booking, provider="paypal")
    assert pay(card) == 200
    approve(wallet)
    settle(wallet.payment.pk)
    sandbox.delete("/training/paid-twice")
    withdraw(Payment.objects.get(pk=card.payment.pk))  # the job that asks Stripe again
    row = Refund.objects.get()
    assert (row.source, row.payment_id) == ("late_payment", card.payment.pk)
    assert refund.send_refund(row.pk).status == "succeeded"
    assert (Booking.objects.get().status, told("second_payment_refunded")) == ("confirmed", 1)


def test_dispute(sandbox: Any) -> None:
    payment = paid()
    did = sandbox.post("/training/dispute")
    assert did["path"] == f"/stripe-payments/{payment.provider_ref}"
    settle(payment.pk)
    assert Dispute.objects.get().status == "needs_response"
    payment.refresh_from_db()
    assert payment.refundable.amount_minor == 0


def test_refund_returned(sandbox: Any) -> None:
    payment = paid()
    row = give_back(payment, 500)
    refund.send_refund(row.pk)
    sandbox.post("/training/refund-returned")
    settle(payment.pk)
    row.refresh_from_db()
    payment.refresh_from_db()
    assert (row.status, payment.refunded_minor) == ("failed", 0)
    assert Break.objects.filter(resolved_at__isnull=True, payment=payment).count() == 1
    assert Document.objects.filter(kind="credit_note_cancellation").count() == 1


def test_dashboard_refund(sandbox: Any) -> None:
    payment = paid()
    sandbox.post("/training/dashboard-refund")
    settle(payment.pk)
    row = Refund.objects.get()
    assert (row.source, row.status, row.amount_minor) == (
        "external",
        "succeeded",
        payment.captured_minor // 2,
    )
    assert told("refund_issued") == 1


def test_mail_down(sandbox: Any, settings: Any) -> None:
    settings.EMAIL_BACKEND = "anymail.backends.sendgrid.EmailBackend"  # test runners put a list in its place
    sandbox.post("/training/mail-down")
    install_default_templates()
    payment = paid()
    assert Booking.objects.get(pk=payment.booking_id).status == "confirmed"
    mails = Message.objects.filter(channel="email")
    for hours in range(8):
        for row in mails.filter(status="queued"):
            send(row.pk, now=timezone.now() + timedelta(hours=hours))
    assert not mails.exclude(status="sent").exists()
    subjects = [mail["subject"] for mail in sandbox.get("/mail.json")["mail"]]
    assert len(subjects) == len(set(subjects)) == Message.objects.filter(channel="email").count() > 0
