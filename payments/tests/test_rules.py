"""What PostgreSQL refuses, whoever asks."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from payments.models import LedgerEntry, LedgerTransaction, Payment, Refund
from payments.services import ledger, refund
from payments.tests.world import held_booking

pytestmark = pytest.mark.django_db


def captured_payment(booking: Any = None) -> Payment:
    booking = booking or held_booking()
    payment = Payment(
        booking=booking, amount_minor=booking.total_minor, currency=booking.currency, provider_ref="pi_1"
    )
    payment.idempotency_key = str(payment.pk)
    payment.save()
    Payment.objects.filter(pk=payment.pk).update(status="submitted")
    Payment.objects.filter(pk=payment.pk).update(
        status="captured", captured_minor=payment.amount_minor, captured_at=timezone.now()
    )
    payment.refresh_from_db()
    ledger.post(
        "capture", payment, amount_minor=payment.captured_minor, currency=payment.currency, at=timezone.now()
    )
    return payment


def new_payment(booking: Any, **fields: Any) -> Payment:
    values = {
        "amount_minor": booking.total_minor,
        "currency": booking.currency,
        "idempotency_key": str(timezone.now()),
    } | fields
    return Payment.objects.create(booking=booking, **values)


@pytest.mark.parametrize(
    "update",
    [
        {"captured_minor": 999_999},
        {"reserved_minor": 999_999},
        {"refunded_minor": 1},
        {"disputed_minor": 999_999},
        {"status": "failed"},
        {"currency": "USD"},
        {"amount_minor": 0},
    ],
)
def test_an_update_that_breaks_a_rule_is_refused(update: dict[str, Any]) -> None:
    payment = captured_payment()
    with pytest.raises(IntegrityError), transaction.atomic():
        Payment.objects.filter(pk=payment.pk).update(**update)


def test_a_payment_in_another_currency_than_the_booking_is_refused() -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        new_payment(held_booking(), currency="USD")


def test_a_booking_has_one_live_payment() -> None:
    booking = held_booking()
    new_payment(booking)
    with pytest.raises(IntegrityError), transaction.atomic():
        new_payment(booking, idempotency_key="another")


def test_a_payment_is_not_born_captured() -> None:
    booking = held_booking()
    with pytest.raises(IntegrityError), transaction.atomic():
        new_payment(
            booking, status="captured", captured_minor=booking.total_minor, captured_at=timezone.now()
        )


def test_a_refund_reserves_and_a_failed_one_gives_back() -> None:
    payment = captured_payment()
    row = Refund.objects.create(payment=payment, amount_minor=100, currency=payment.currency, source="staff")
    payment.refresh_from_db()
    assert (payment.reserved_minor, payment.refunded_minor) == (100, 0)
    for status, expected in [("submitted", (100, 0)), ("succeeded", (100, 100)), ("failed", (0, 0))]:
        Refund.objects.filter(pk=row.pk).update(status=status)
        payment.refresh_from_db()
        assert (payment.reserved_minor, payment.refunded_minor) == expected


def test_a_refund_beyond_the_capture_is_refused_by_the_database() -> None:
    payment = captured_payment()
    Refund.objects.create(
        payment=payment, amount_minor=payment.captured_minor, currency=payment.currency, source="staff"
    )
    with pytest.raises(IntegrityError), transaction.atomic():
        Refund.objects.create(payment=payment, amount_minor=1, currency=payment.currency, source="external")


def test_a_refund_is_never_changed_or_deleted() -> None:
    payment = captured_payment()
    row = Refund.objects.create(payment=payment, amount_minor=100, currency=payment.currency, source="staff")
    with pytest.raises(IntegrityError), transaction.atomic():
        Refund.objects.filter(pk=row.pk).update(amount_minor=1)
    with pytest.raises(IntegrityError), transaction.atomic():
        row.delete()


def test_the_ledger_is_append_only() -> None:
    captured_payment()
    with pytest.raises(IntegrityError), transaction.atomic():
        LedgerEntry.objects.update(amount_minor=1)
    with pytest.raises(IntegrityError), transaction.atomic():
        LedgerTransaction.objects.all()._raw_delete("default")


@pytest.mark.django_db(transaction=True)
def test_an_unbalanced_ledger_transaction_does_not_commit() -> None:
    payment = captured_payment()
    before = LedgerTransaction.objects.count()
    with pytest.raises(IntegrityError), transaction.atomic():
        row = LedgerTransaction.objects.create(
            source_key="x",
            kind="fee",
            booking_reference="AP-222222",
            payment=payment,
            occurred_at=timezone.now(),
        )
        LedgerEntry.objects.create(transaction=row, account="provider_fees", amount_minor=5, currency="GBP")
    assert LedgerTransaction.objects.count() == before


def test_one_fact_is_booked_once() -> None:
    payment = captured_payment()
    ledger.post(
        "capture", payment, amount_minor=payment.captured_minor, currency=payment.currency, at=timezone.now()
    )
    assert LedgerTransaction.objects.filter(payment=payment, kind="capture").count() == 1


@pytest.mark.django_db(transaction=True)
def test_parallel_staff_cannot_refund_more_than_was_captured() -> None:
    payment = captured_payment()
    part = payment.captured_minor // 2
    outcomes: list[str] = []
    together = threading.Barrier(6)

    def ask() -> None:
        try:
            together.wait()
            refund.request_refund(payment, amount_minor=part, reason="r", requested_by=None, source="staff")
            outcomes.append("accepted")
        except refund.RefundExceedsCaptured:
            outcomes.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=ask) for _number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    payment.refresh_from_db()
    assert sorted(outcomes) == ["accepted"] * 2 + ["refused"] * 4
    assert payment.reserved_minor == 2 * part <= payment.captured_minor


def test_audit_books_names_what_was_tampered_with(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("audit_books")
    payment = captured_payment()
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE payments_ledgerentry DISABLE TRIGGER USER")
        cursor.execute(
            "UPDATE payments_ledgerentry SET amount_minor = amount_minor + 1 WHERE account = 'provider_balance'"
        )
    with pytest.raises(SystemExit) as stopped:
        call_command("audit_books")
    assert stopped.value.code == 1
    assert str(payment.pk) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tampering", "rule"),
    [
        ("UPDATE payments_ledgerentry SET account = 'provider_fees' WHERE amount_minor < 0", "does not use"),
        ("UPDATE payments_ledgertransaction SET booking_reference = 'AP-222222'", "names another booking"),
        ("UPDATE bookings_booking SET currency = 'USD'", "different currencies"),
        ("UPDATE bookings_booking SET kept_minor = 1", "we hold of its money"),
        ("UPDATE bookings_booking SET taken_back_minor = 1", "banks gave back"),
        ("UPDATE bookings_booking SET lines = '[]'", "price lines"),
        ("UPDATE bookings_booking SET status = 'cancelled', cancelled_at = now()", "without a record"),
        ("UPDATE bookings_occupancy SET released_at = now()", "has no space"),
        ("UPDATE bookings_capacitygate SET touch = touch + 1 WHERE touch > 0", "day gate"),
    ],
)
def test_audit_books_sees_what_was_done_behind_the_triggers(
    capsys: pytest.CaptureFixture[str], tampering: str, rule: str
) -> None:
    captured_payment()
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(tampering)
        cursor.execute("SET LOCAL session_replication_role = DEFAULT")
    with pytest.raises(SystemExit):
        call_command("audit_books")
    assert rule in capsys.readouterr().err
