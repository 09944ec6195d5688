"""Money over the provider's own wire: happy, late, lost, doubled, declined, timed out."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from bookings.models import Booking
from bookings.tests.world import make_product
from communications.models import Message
from payments.gateways import gateway_for
from payments.models import Break, LedgerTransaction, Payment, Refund
from payments.services import janitor, refund
from payments.services.checkout import AlreadyPaid, HoldExpired, ProviderUnavailable
from payments.services.settle import record, settle
from payments.tests.world import age, checkout, expire_hold, held_booking, pay

pytestmark = pytest.mark.django_db(transaction=True)
LONG_AGO = timedelta(minutes=5)


@pytest.fixture(autouse=True)
def books_are_right() -> Any:
    """The oracle after every journey."""
    yield
    call_command("audit_books")


def state(booking: Booking) -> str:
    booking.refresh_from_db()
    return booking.status


def send_all() -> None:
    for row in Refund.objects.filter(status="requested"):
        refund.send_refund(row.pk)


def janitor_round() -> None:
    past = timezone.now() - LONG_AGO
    Payment.objects.update(created_at=past, submitted_at=past, last_checked_at=past)
    Refund.objects.filter(submitted_at__isnull=False).update(submitted_at=past)
    Refund.objects.update(created_at=past)
    janitor.sweep(now=timezone.now())


def paid_booking(sandbox: Any, **more: Any) -> tuple[Booking, Payment]:
    booking = held_booking(**more)
    session = checkout(booking)
    assert pay(session) == 200
    return booking, settle(session.payment.pk)


def test_paying_confirms_once_and_tells_once(sandbox: Any) -> None:
    booking, payment = paid_booking(sandbox)
    for _again in range(3):
        settle(payment.pk)
    assert (state(booking), payment.status, payment.captured_minor) == (
        "confirmed",
        "captured",
        booking.total_minor,
    )
    assert LedgerTransaction.objects.filter(kind="capture").count() == 1
    assert Message.objects.filter(kind="payment_confirmation", channel="email").count() == 1
    with pytest.raises(AlreadyPaid):
        checkout(booking)


def test_two_clicks_make_one_payment(sandbox: Any) -> None:
    booking = held_booking()
    assert checkout(booking).provider_ref == checkout(booking).provider_ref
    assert Payment.objects.count() == 1


def test_a_declined_card_can_be_followed_by_a_good_one(sandbox: Any) -> None:
    booking = held_booking()
    session = checkout(booking)
    assert pay(session, card="pm_card_chargeDeclined") == 402
    payment = settle(session.payment.pk)
    assert payment.is_live
    assert payment.failure_code
    assert pay(session) == 200
    assert settle(session.payment.pk).status == "captured"
    assert state(booking) == "confirmed"


def test_a_closed_tab_is_settled_by_the_janitor(sandbox: Any) -> None:
    booking = held_booking()
    pay(checkout(booking))
    janitor_round()
    assert state(booking) == "confirmed"


def test_a_late_payment_gets_the_space_back_while_there_is_one(sandbox: Any) -> None:
    booking = held_booking()
    session = checkout(booking)
    expire_hold(booking)
    pay(session)
    settle(session.payment.pk)
    assert state(booking) == "confirmed"


def test_a_late_payment_for_a_full_car_park_is_given_back_with_an_apology(sandbox: Any) -> None:
    product = make_product(capacity=1)
    booking = held_booking(product)
    session = checkout(booking)
    expire_hold(booking)
    held_booking(product)
    pay(session)
    settle(session.payment.pk)
    row = Refund.objects.get()
    assert (state(booking), row.source, row.amount_minor) == ("expired", "late_payment", booking.total_minor)
    assert Message.objects.filter(kind="late_payment_refunded", channel="email").count() == 1
    send_all()
    assert Payment.objects.get().refunded_minor == booking.total_minor


def test_an_abandoned_payment_is_cancelled_at_the_provider(sandbox: Any) -> None:
    booking = held_booking()
    session = checkout(booking)
    expire_hold(booking)
    janitor_round()
    assert Payment.objects.get().status == "cancelled"
    assert pay(session) == 400
    with pytest.raises(HoldExpired):
        checkout(booking)


def test_a_payment_that_was_made_and_then_timed_out_is_found_again(sandbox: Any, settings: Any) -> None:
    settings.STRIPE_TIMEOUT_SECONDS = 1
    sandbox.post(
        "/faults",
        {
            "operation": "stripe.payment_intents.create",
            "behaviour": "do_then_timeout",
            "times": 1,
            "seconds": 3,
        },
    )
    booking = held_booking()
    with pytest.raises(ProviderUnavailable):
        checkout(booking)
    assert Payment.objects.get().status == "unknown"
    settings.STRIPE_TIMEOUT_SECONDS = 20
    pay(checkout(booking))
    assert settle(Payment.objects.get().pk).status == "captured"
    assert state(booking) == "confirmed"


def test_a_refund_that_was_done_and_then_broke_is_done_once(sandbox: Any) -> None:
    _booking, payment = paid_booking(sandbox)
    row = refund.request_refund(
        payment, amount_minor=500, reason="goodwill", requested_by=None, source="staff"
    )
    sandbox.post("/faults", {"operation": "stripe.refunds.create", "behaviour": "do_then_500", "times": 1})
    assert refund.send_refund(row.pk).status == "unknown"
    age(row, submitted_at=timezone.now() - LONG_AGO)
    assert refund.send_refund(row.pk).status == "succeeded"
    payment.refresh_from_db()
    assert payment.refunded_minor == 500
    assert settle(payment.pk).refunds.count() == 1
    assert Message.objects.filter(kind="refund_issued", channel="email").count() == 1


def test_a_refund_made_at_the_provider_appears_here(sandbox: Any) -> None:
    import stripe
    from django.conf import settings as current

    _booking, payment = paid_booking(sandbox)
    client = stripe.StripeClient(current.STRIPE_SECRET_KEY, base_addresses={"api": current.STRIPE_API_BASE})
    client.v1.refunds.create({"payment_intent": payment.provider_ref or "", "amount": 300})
    for _again in range(2):
        settle(payment.pk)
    row = Refund.objects.get()
    assert (row.source, row.amount_minor, row.status) == ("external", 300, "succeeded")


def test_another_amount_than_asked_for_confirms_nothing_and_opens_a_break(sandbox: Any) -> None:
    booking = held_booking()
    session = checkout(booking)
    truth = gateway_for("stripe").fetch_payment(session.provider_ref)
    wrong = replace(truth, status="captured", captured_minor=truth.amount_minor - 1)
    for _again in range(2):
        payment = record(session.payment.pk, wrong, now=timezone.now())
    assert (state(booking), payment.captured_minor) == ("held", 0)
    assert Break.objects.get().kind == "amount"


def test_settling_in_parallel_confirms_once(sandbox: Any) -> None:
    booking = held_booking()
    session = checkout(booking)
    pay(session)
    together = threading.Barrier(3)
    problems: list[BaseException] = []

    def look() -> None:
        try:
            together.wait()
            settle(session.payment.pk)
        except BaseException as error:
            problems.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=look) for _number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert problems == []
    assert state(booking) == "confirmed"
    assert LedgerTransaction.objects.filter(kind="capture").count() == 1
    assert Message.objects.filter(kind="payment_confirmation", channel="email").count() == 1
