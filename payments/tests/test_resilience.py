"""What a hostile day did to money once, and must not do again. Over the sandbox's wire; the books are right after each."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from typing import Any

import pytest
import stripe
from django.conf import settings
from django.core.management import call_command
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from accounts.models import User
from bookings.models import Booking
from bookings.services.cancel import cancel, preview_cancellation
from bookings.tests.world import hold, make_product
from communications.models import Message
from payments.gateways import base
from payments.models import Break, Payment, ProviderEvent, Refund
from payments.services import inbox, janitor, refund
from payments.services.checkout import PaymentInDoubt, ProviderUnavailable, start
from payments.services.settle import settle
from payments.tests.world import checkout, expire_hold, held_booking, pay

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def books_are_right() -> Any:
    yield
    call_command("audit_books")


def paid_booking(**more: Any) -> tuple[Booking, Payment]:
    booking = held_booking(**more)
    session = checkout(booking)
    assert pay(session) == 200
    return booking, settle(session.payment.pk)


def customers_booking(email: str = "ada@example.com") -> tuple[Booking, User]:
    user = User.objects.create_user(email, "rather-long-Secret-7", name="Ada")
    now = timezone.now()
    product = make_product(capacity=5)
    return hold(product, start=now + timedelta(days=2), now=now, user=user).booking, user


def test_an_address_that_nobody_can_be_reached_at_does_not_undo_the_capture(sandbox: Any) -> None:
    booking = held_booking()
    Booking.objects.filter(pk=booking.pk).update(driver_phone="+12", driver_email="nobody@nowhere")
    session = checkout(booking)
    assert pay(session) == 200
    assert settle(session.payment.pk).status == "captured"
    booking.refresh_from_db()
    assert booking.status == "confirmed"
    assert Message.objects.filter(reference=booking.reference).count() == 4


def test_a_cancellation_gives_back_only_what_staff_have_not(sandbox: Any) -> None:
    booking, payment = paid_booking()
    given = booking.total_minor - 500
    refund.request_refund(
        payment, amount_minor=given, reason="The shuttle was late", requested_by=None, source="staff"
    )
    booking.refresh_from_db()
    now = timezone.now()
    preview = preview_cancellation(booking, now=now)
    assert preview.refund.amount_minor == 500
    assert sum(line["amount_minor"] for line in preview.lines) == 500
    assert preview.lines[-1]["rule"] == "refunded"
    cancellation = cancel(booking, preview_token=preview.token, now=now)
    (made,) = refund.refund_cancellation(cancellation.pk)
    assert made.amount_minor == 500
    payment.refresh_from_db()
    assert payment.reserved_minor == payment.captured_minor


def test_a_cancellation_after_a_full_refund_promises_nothing_and_is_told(sandbox: Any) -> None:
    booking, payment = paid_booking()
    refund.request_refund(
        payment, amount_minor=payment.captured_minor, reason="x", requested_by=None, source="staff"
    )
    booking.refresh_from_db()
    preview = preview_cancellation(booking, now=timezone.now())
    assert not preview.refund
    cancel(booking, preview_token=preview.token, now=timezone.now())
    assert Message.objects.filter(kind="cancellation", channel="email").count() == 1


def test_a_lost_answer_about_the_customer_does_not_lock_them_out(sandbox: Any) -> None:
    booking, user = customers_booking()
    sandbox.post("/faults", {"operation": "stripe.customers.create", "behaviour": "do_then_500"})
    with pytest.raises(ProviderUnavailable):
        start(booking, user=user, now=timezone.now())
    session = start(booking, user=user, now=timezone.now())
    assert pay(session) == 200
    assert settle(session.payment.pk).status == "captured"
    assert len(sandbox.get("/ledger.json")["charges"]) == 1


def test_a_customer_who_was_deleted_at_the_provider_can_still_pay(sandbox: Any) -> None:
    booking, user = customers_booking()
    start(booking, user=user, now=timezone.now())
    client = stripe.StripeClient(
        settings.STRIPE_SECRET_KEY, base_addresses={"api": settings.STRIPE_API_BASE}, max_network_retries=0
    )
    for customer in client.v1.customers.list().data:
        client.v1.customers.delete(customer.id)
    now = timezone.now()
    again = hold(booking.product, start=now + timedelta(days=4), now=now, user=user).booking
    assert pay(start(again, user=user, now=timezone.now())) == 200


def test_an_answer_that_was_lost_before_anything_was_made_is_asked_for_anew(sandbox: Any) -> None:
    booking = held_booking()
    sandbox.post(
        "/faults", {"operation": "stripe.payment_intents.create", "behaviour": "refuse", "status": 500}
    )
    with pytest.raises(ProviderUnavailable):
        checkout(booking)
    session = checkout(booking)
    assert pay(session) == 200
    assert Payment.objects.count() == 1


def test_a_revoked_key_fails_neither_payments_nor_refunds(sandbox: Any) -> None:
    _booking, payment = paid_booking()
    asked = refund.request_refund(payment, amount_minor=100, reason="x", requested_by=None, source="staff")
    sandbox.post("/faults", {"operation": "stripe.*", "behaviour": "refuse", "status": 401, "times": 2})
    assert refund.send_refund(asked.pk).status == "submitted"
    with pytest.raises(ProviderUnavailable):
        checkout(held_booking(payment.booking.product, email="ben@example.com"))
    assert refund.send_refund(asked.pk).status == "succeeded"
    assert not Message.objects.filter(kind="refund_failed").exists()


def test_a_refund_past_the_key_window_is_a_question_for_a_person_and_no_violation(sandbox: Any) -> None:
    _booking, payment = paid_booking()
    asked = refund.request_refund(payment, amount_minor=100, reason="x", requested_by=None, source="staff")
    sandbox.post("/faults", {"operation": "stripe.refunds.create", "behaviour": "refuse", "status": 500})
    refund.send_refund(asked.pk)
    Refund.objects.update(submitted_at=timezone.now() - timedelta(hours=26))
    assert refund.send_refund(asked.pk).status == "unknown"
    assert (Break.objects.get().kind, Break.objects.get().provider_ref) == ("missing_remote", str(asked.pk))
    call_command("audit_books")
    Break.objects.update(resolved_at=timezone.now(), resolution="looked at, and nothing done")
    with pytest.raises(SystemExit):
        call_command("audit_books")
    Break.objects.update(resolved_at=None)


def test_a_second_paid_intent_of_the_same_payment_opens_a_break(sandbox: Any) -> None:
    _booking, payment = paid_booking()
    client = stripe.StripeClient(settings.STRIPE_SECRET_KEY, base_addresses={"api": settings.STRIPE_API_BASE})
    twin = client.v1.payment_intents.create(
        {
            "amount": payment.amount_minor, "currency": payment.currency.lower(), "confirm": True,
            "payment_method": "pm_card_visa", "payment_method_types": ["card"],
            "metadata": {"payment_id": str(payment.pk)},
        }
    )  # fmt: skip
    event = ProviderEvent.objects.create(
        provider="stripe", event_ref="evt_twin", kind="payment_intent.succeeded",
        object_kind="payment_intent", object_ref=twin.id, livemode=False,
    )  # fmt: skip
    inbox.process_event(event.pk)
    assert (Break.objects.get().kind, Break.objects.get().provider_ref) == ("duplicate", twin.id)


def test_a_capture_of_another_amount_is_not_offered_for_payment_again(sandbox: Any) -> None:
    booking = held_booking()
    session = checkout(booking)
    client = stripe.StripeClient(settings.STRIPE_SECRET_KEY, base_addresses={"api": settings.STRIPE_API_BASE})
    client.v1.payment_intents.update(session.provider_ref, {"amount": booking.total_minor - 100})
    assert pay(session) == 200
    settle(session.payment.pk)
    with pytest.raises(PaymentInDoubt):
        checkout(booking)
    expire_hold(booking)
    Break.objects.all().delete()
    Payment.objects.update(status="cancelled")  # what staff resolve by hand; the oracle would name it


def test_a_payment_that_cannot_be_settled_takes_its_turn(
    sandbox: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    product = make_product(capacity=5)
    first, second = (checkout(held_booking(product, email=f"{name}@example.com")) for name in ("ada", "ben"))
    past = timezone.now() - timedelta(minutes=5)
    Payment.objects.update(created_at=past, last_checked_at=past)
    real = settle
    monkeypatch.setattr(
        "payments.services.settle.settle",
        lambda pk: (_ for _ in ()).throw(ValueError("poison")) if pk == first.payment.pk else real(pk),
    )
    monkeypatch.setattr(janitor, "BATCH", 1)
    now = timezone.now()
    janitor.sweep(now=now)
    janitor.sweep(now=now)
    checked = dict(Payment.objects.values_list("pk", "last_checked_at"))
    assert checked[first.payment.pk] == now
    assert checked[second.payment.pk] > past


def test_a_slow_provider_leaves_room_for_everybody_else(sandbox: Any) -> None:
    """More payers than places: each is answered, and none of them holds a database connection while it waits."""
    product = make_product(capacity=5)
    sessions = [checkout(held_booking(product, email=f"payer{number}@example.com")) for number in range(4)]
    sandbox.post(
        "/faults",
        {"operation": "stripe.payment_intents.retrieve", "behaviour": "slow", "seconds": 3, "times": 9},
    )
    outcomes: list[str] = []

    def ask(session: Any) -> None:
        try:
            settle(session.payment.pk)
            outcomes.append("asked")
        except base.Unavailable:
            outcomes.append("told to wait")

    threads = [threading.Thread(target=ask, args=(session,)) for session in sessions]
    for thread in threads:
        thread.start()
    pages = [Client().get("/").status_code for _visit in range(6)]
    for thread in threads:
        thread.join(30)
    assert pages == [200] * 6
    assert sorted(outcomes) == ["asked"] * 2 + ["told to wait"] * 2


def test_a_database_that_does_not_answer_is_503_with_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_arguments: Any, **_more: Any) -> Any:
        raise OperationalError("couldn't get a connection")

    monkeypatch.setattr("bookings.pages.search.render", lost)
    answer = Client(raise_request_exception=False).get("/")
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert "cannot answer right now" in answer.content.decode()


@pytest.mark.parametrize(
    "body", [b"null", b"5", b"[" * 100_000, b"\xff", b'{"id": "evt_1"}', b'{"data": {"object": "x"}}']
)
def test_unsigned_webhook_bodies_are_refused_and_stored_nowhere(body: bytes) -> None:
    call_command("provision_stripe")
    from djstripe.models import WebhookEventTrigger

    answer = Client().post(
        f"/stripe/webhook/{settings.STRIPE_WEBHOOK_UUID}/", body, content_type="application/json",
        headers={"Stripe-Signature": "t=1,v1=00"},
    )  # fmt: skip
    assert answer.status_code == 400
    assert not WebhookEventTrigger.objects.exists()


@pytest.mark.parametrize(
    "told",
    [
        {"id": "evt_1", "livemode": False, "data": {"object": "a text"}},
        {"id": "evt_\x00", "livemode": False, "data": {"object": {"object": "charge", "id": "ch_1"}}},
        {"livemode": False, "data": {"object": {}}},
        {"id": "evt_1", "livemode": True, "data": {"object": {"object": "charge", "id": "ch_1"}}},
    ],
)
def test_signed_nonsense_is_refused_and_changes_nothing(told: dict[str, Any]) -> None:
    call_command("provision_stripe")
    body = json.dumps({"object": "event", "type": "charge.updated", "api_version": None, **told})
    at = int(timezone.now().timestamp())
    signed = stripe.WebhookSignature._compute_signature(f"{at}.{body}", settings.STRIPE_WEBHOOK_SECRET)
    answer = Client().post(
        f"/stripe/webhook/{settings.STRIPE_WEBHOOK_UUID}/", body, content_type="application/json",
        headers={"Stripe-Signature": f"t={at},v1={signed}"},
    )  # fmt: skip
    assert answer.status_code == 400
    assert not ProviderEvent.objects.exists()


def test_a_refund_reaches_its_end_although_the_driver_has_no_phone_left(sandbox: Any) -> None:
    booking, payment = paid_booking()
    Booking.objects.filter(pk=booking.pk).update(driver_phone="+1")
    asked = refund.request_refund(payment, amount_minor=100, reason="x", requested_by=None, source="staff")
    assert refund.send_refund(asked.pk).status == "succeeded"
    assert Refund.objects.get().finished_at
