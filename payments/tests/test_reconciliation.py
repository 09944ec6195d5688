"""Reconciliation against the real sandbox, in both directions. Whatever was lost, one run finds it and a second one changes nothing."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from bookings.models import Booking, Product
from bookings.tests.world import hold, make_product
from communications.models import Message
from foundation.models import AuditEntry
from payments.gateways import gateway_for, paypal_statement, stripe_statement
from payments.gateways.base import Unavailable
from payments.gateways.statement import MovementKind
from payments.models import (
    Break,
    LedgerEntry,
    LedgerTransaction,
    Payment,
    Payout,
    ReconciliationRun,
    Refund,
    StrayRefund,
)
from payments.services import janitor, reconcile, strays
from payments.services.desk import resolve_break
from payments.services.recheck import look_again
from payments.services.refund import request_refund, send_refund
from payments.services.settle import settle
from payments.tests.world import approve, checkout, expire_hold, held_booking, pay, provider

pytestmark = pytest.mark.django_db(transaction=True)
LATER = timedelta(minutes=5)  # past the grace


@pytest.fixture(autouse=True)
def books_are_right() -> Any:
    yield
    call_command("audit_books")


@pytest.fixture
def sam() -> Any:
    return get_user_model().objects.create_user("sam@staff.example", "a-long-test-password", is_staff=True)


def run(name: str = "stripe", *, days: int = 3, later: timedelta = LATER) -> ReconciliationRun:
    now = timezone.now() + later
    return reconcile.reconcile(name, since=now - timedelta(days=days), until=now, now=now)


def counts(done: ReconciliationRun) -> tuple[int, int, int, int]:
    return done.checked, done.healed, done.opened, done.closed


def booking() -> Booking:
    """A held booking; several of them share the car park."""
    return held_booking(Product.objects.first() or make_product(capacity=20))


def paid_by_card(held: Booking | None = None) -> Payment:
    session = checkout(held or booking())
    assert pay(session) == 200
    return session.payment


def paid_by_paypal() -> Payment:
    session = checkout(booking(), provider="paypal")
    approve(session)
    return settle(session.payment.pk)


def captured(name: str = "stripe") -> Payment:
    return settle(paid_by_card().pk) if name == "stripe" else paid_by_paypal()


def stray_charge(amount: int = 5000, **more: Any) -> Any:
    """Money that somebody takes on the same account behind our back."""
    return provider().v1.payment_intents.create(
        {"amount": amount, "currency": "gbp", "payment_method": "pm_card_visa", "confirm": True,
         "payment_method_types": ["card"], **more}
    )  # fmt: skip


def open_breaks() -> list[tuple[str, str]]:
    rows = Break.objects.filter(resolved_at__isnull=True).order_by("kind", "pk")
    return [(one.kind, one.provider_ref) for one in rows]


def at_paypal(sandbox: Any, status: str = "succeeded") -> list[Any]:
    rows = sandbox.get("/ledger.json")["charges"]
    return [row for row in rows if row["provider"] == "paypal" and row["status"] == status]


def ours(name: str, currency: str = "GBP") -> int:
    """What our books say that the provider holds."""
    rows = LedgerEntry.objects.filter(account="provider_balance", currency=currency)
    rows = rows.filter(transaction__payment__provider=name) | rows.filter(transaction__payout__provider=name)
    return sum(rows.values_list("amount_minor", flat=True))


def theirs(sandbox: Any, name: str, currency: str = "gbp") -> int:
    return int(sandbox.get("/ledger.json")["providers"].get(name, {}).get(currency, {}).get("net", 0))


# All webhooks are lost (fault 27); nothing else told us


def test_a_payment_that_nobody_told_us_of_is_found_and_a_second_run_changes_nothing(sandbox: Any) -> None:
    payment = paid_by_card()
    first = run()
    payment.refresh_from_db()
    payment.booking.refresh_from_db()
    assert counts(first) == (1, 1, 0, 0)
    assert (payment.status, payment.booking.status, first.error) == ("captured", "confirmed", "")
    assert Message.objects.filter(kind="payment_confirmation", channel="email").count() == 1
    assert counts(run()) == (1, 0, 0, 0)
    (line,) = run().balances
    assert (line["provider"], line["ours"], line["unexplained"]) == (
        theirs(sandbox, "stripe"),
        ours("stripe"),
        0,
    )


def test_a_payment_whose_reference_we_never_learnt_is_found_by_our_id_on_it(sandbox: Any) -> None:
    payment = paid_by_card()
    with (
        connection.cursor() as cursor
    ):  # as if the answer to create-intent had been lost: it cannot be unlearnt otherwise
        cursor.execute("ALTER TABLE payments_payment DISABLE TRIGGER payments_payment_fixed")
        cursor.execute("UPDATE payments_payment SET provider_ref = NULL, status = 'unknown'")
        cursor.execute("ALTER TABLE payments_payment ENABLE TRIGGER payments_payment_fixed")
    assert counts(run()) == (1, 1, 0, 0)
    payment.refresh_from_db()
    assert (payment.status, Break.objects.count()) == ("captured", 0)


def statuses_of_deliveries(sandbox: Any) -> set[str]:
    return {row["status"] for row in sandbox.get("/webhooks.json")["deliveries"]}


def test_when_every_webhook_is_dropped_one_run_per_provider_makes_the_books_equal(sandbox: Any) -> None:
    for name, url in (("stripe", "stripe/webhook/"), ("paypal", "webhooks/paypal/")):
        sandbox.post("/webhooks/mode", {"mode": "drop", "provider": name})
        sandbox.post(
            "/webhooks/endpoints",
            {"provider": name, "url": f"http://127.0.0.1:1/{url}", "secret": "whsec_x" * 5},
        )
    card, returned, disputed = paid_by_card(), captured(), captured()
    provider().v1.refunds.create({"payment_intent": returned.provider_ref or "", "amount": 500})
    sandbox.post("/stripe-disputes", {"payment_intent": disputed.provider_ref})
    session = checkout(booking(), provider="paypal")
    approve(session, buyer="review")
    assert settle(session.payment.pk).status == "processing"
    (pending,) = at_paypal(sandbox, "pending")
    sandbox.post(f"/paypal-captures/{pending['id']}", {"status": "COMPLETED"})
    sandbox.post("/payouts.json", {"provider": "stripe", "currency": "gbp", "amount_minor": 1000})
    deadline = time.monotonic() + 10
    while statuses_of_deliveries(sandbox) != {"dropped"} and time.monotonic() < deadline:
        time.sleep(0.1)
    assert statuses_of_deliveries(sandbox) == {"dropped"}
    assert (run().error, run("paypal").error) == ("", "")
    statuses = dict(Payment.objects.values_list("pk", "status"))
    assert (statuses[card.pk], statuses[session.payment.pk]) == ("captured", "captured")
    for name in ("stripe", "paypal"):
        assert ours(name) == theirs(sandbox, name)
        assert counts(run(name))[1:] == (0, 0, 0)
        assert [line["unexplained"] for line in run(name).balances] == [0]
    assert Break.objects.count() == 0


def test_what_is_younger_than_the_grace_is_left_to_its_normal_way(sandbox: Any) -> None:
    payment = paid_by_card()
    stray_charge()
    done = run(later=timedelta())
    payment.refresh_from_db()
    assert (counts(done)[1:], payment.status, open_breaks()) == ((0, 0, 0), "requires_action", [])
    (line,) = done.balances
    assert (line["too_young"], line["unexplained"]) == (theirs(sandbox, "stripe"), 0)


@pytest.mark.parametrize("name", ["stripe", "paypal"])
def test_a_refund_made_at_the_dashboard_is_found_by_reconciliation_only(sandbox: Any, name: str) -> None:
    payment = captured(name)
    if name == "stripe":
        provider().v1.refunds.create({"payment_intent": payment.provider_ref or "", "amount": 700})
    else:
        refund_at_paypal(payment, 700)
    done = run(name)
    refund = Refund.objects.get()
    payment.refresh_from_db()
    assert (counts(done), done.error) == ((2, 1, 0, 0), "")
    assert (refund.source, refund.status, refund.amount_minor) == ("external", "succeeded", 700)
    assert (payment.refunded_minor, ours(name)) == (700, theirs(sandbox, name))
    assert counts(run(name)) == (2, 0, 0, 0)


def refund_at_paypal(payment: Payment, amount: int) -> None:
    """As the seller's own dashboard does it: without our id."""
    gateway: Any = gateway_for("paypal")
    order = gateway.retrieve("checkout-order", payment.provider_ref)
    gateway._client.payments.refund_captured_payment(
        {
            "capture_id": order["purchase_units"][0]["payments"]["captures"][0]["id"],
            "body": {"amount": {"currency_code": payment.currency, "value": f"{amount / 100:.2f}"}},
        }
    )


def test_a_dispute_that_nobody_told_us_of_is_found(sandbox: Any) -> None:
    payment = captured()
    sandbox.post("/stripe-disputes", {"payment_intent": payment.provider_ref})
    done = run()
    payment.refresh_from_db()
    assert (counts(done), payment.disputed_minor) == ((1, 1, 0, 0), payment.captured_minor)
    assert (ours("stripe"), run().balances[0]["unexplained"]) == (theirs(sandbox, "stripe"), 0)


def test_a_refund_that_the_bank_returned_is_found(sandbox: Any, sam: Any) -> None:
    payment = captured()
    refund = send_refund(
        request_refund(payment, amount_minor=600, reason="x", requested_by=sam, source="staff").pk
    )
    sandbox.post(f"/stripe-refunds/{refund.provider_ref}", {"status": "failed"})
    assert counts(run()) == (2, 1, 0, 0)
    refund.refresh_from_db()
    assert refund.status == "failed"
    assert open_breaks() == [("state", refund.provider_ref)]  # the customer waits: no run closes that
    assert counts(run()) == (2, 0, 0, 0)
    assert run().balances[0]["unexplained"] == 0


def test_a_pending_refund_explains_what_is_missing_at_the_provider(sandbox: Any, sam: Any) -> None:
    session = checkout(held_booking())
    assert pay(session, card="pm_card_refundSlow") == 200 or pay(session) == 200
    payment = settle(session.payment.pk)
    refund = send_refund(
        request_refund(payment, amount_minor=600, reason="x", requested_by=sam, source="staff").pk
    )
    (line,) = run().balances
    assert line["unexplained"] == 0
    assert line["refunds_on_their_way"] == (-600 if refund.status == "pending" else 0)


def test_a_late_payment_found_by_reconciliation_is_given_back(sandbox: Any) -> None:
    product = make_product(capacity=1)
    held = held_booking(product)
    payment = paid_by_card(held)
    expire_hold(held)
    now = timezone.now()
    hold(product, start=now + timedelta(days=2), now=now)
    run()
    payment.refresh_from_db()
    refund = Refund.objects.get()
    assert (payment.status, refund.source, refund.amount_minor) == (
        "captured",
        "late_payment",
        payment.captured_minor,
    )


# Questions for people


def test_money_for_a_payment_that_we_do_not_know_is_asked_about_once(sandbox: Any, sam: Any) -> None:
    intent = stray_charge()
    assert counts(run()) == (1, 0, 1, 0)
    found = Break.objects.get()
    assert (found.kind, found.provider_ref, found.object_ref) == (
        "missing_local",
        intent.id,
        intent.latest_charge,
    )
    assert (found.taken_minor, found.currency, found.unbooked_minor) == (5000, "GBP", 5000 - 95)
    assert counts(run()) == (1, 0, 0, 0)
    assert [line["unexplained"] for line in run().balances] == [0]
    assert resolve_break(found.pk, by=sam, reason="The kiosk's", now=timezone.now())
    assert counts(run()) == (1, 0, 0, 0)  # a person answered it
    assert [line["unexplained"] for line in run().balances] == [0]  # and its money stays explained


def test_a_stray_that_the_provider_gave_back_closes_by_itself(sandbox: Any) -> None:
    intent = stray_charge()
    run()
    provider().v1.refunds.create({"payment_intent": intent.id})
    done = run()
    found = Break.objects.get()
    assert (counts(done), done.error) == ((2, 0, 0, 1), "")
    assert (found.resolved_by, found.resolution) == (None, "The provider has given all of it back.")
    assert found.unbooked_minor == -95  # the fee is gone for good
    assert [line["unexplained"] for line in run().balances] == [0]
    assert counts(run()) == (2, 0, 0, 0)


def test_a_second_charge_for_one_payment_is_a_duplicate(sandbox: Any) -> None:
    payment = captured()
    twin = stray_charge(payment.amount_minor, metadata={"payment_id": str(payment.pk)})
    assert counts(run()) == (2, 0, 1, 0)
    found = Break.objects.get()
    assert (found.kind, found.provider_ref, found.payment) == ("duplicate", twin.id, payment)
    assert strays.can_refund(found)


def test_an_object_that_names_a_payment_we_lost_is_asked_about(sandbox: Any) -> None:
    lost = "6f1f64e5-6f0e-4f26-9a3e-2f8a2d9f0a11"
    stray_charge(metadata={"payment_id": lost})
    run()
    assert lost in Break.objects.get().detail


def test_another_amount_than_asked_for_opens_one_break_and_closes_with_its_cause(sandbox: Any) -> None:
    session = checkout(held_booking())
    provider().v1.payment_intents.update(session.provider_ref, {"amount": session.payment.amount_minor - 100})
    assert pay(session) == 200
    done = run()
    assert (done.healed, open_breaks()) == (0, [("amount", session.provider_ref)])
    session.payment.refresh_from_db()
    assert (session.payment.captured_minor, session.payment.booking.status) == (0, "held")
    assert [line["unexplained"] for line in run().balances] == [0]
    assert len(open_breaks()) == 1


def test_a_fee_that_differs_is_asked_about(sandbox: Any) -> None:
    payment = captured()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE payments_ledgerentry DISABLE TRIGGER USER")
        cursor.execute(
            "UPDATE payments_ledgerentry e SET amount_minor = amount_minor + sign(amount_minor)"
            " FROM payments_ledgertransaction t WHERE t.id = e.transaction_id AND t.kind = 'fee'"
        )
        cursor.execute("ALTER TABLE payments_ledgerentry ENABLE TRIGGER USER")
    run()
    found = Break.objects.get()
    assert (found.kind, found.provider_ref) == ("amount", payment.provider_ref)
    assert "fee" in found.detail
    again = run()
    assert ("balance", "GBP") in open_breaks()  # the same difference twice
    assert again.balances[0]["unexplained"] == 1


def test_a_payment_that_the_provider_does_not_know_is_asked_about(sandbox: Any) -> None:
    payment = captured()
    sandbox.post("/reset")
    run(later=timedelta(minutes=20))
    assert open_breaks() == [("missing_remote", payment.provider_ref)]
    assert counts(run(later=timedelta(minutes=20)))[1] == 0
    run(later=timedelta(minutes=20))
    assert ("balance", "GBP") in open_breaks()


@pytest.mark.parametrize("name", ["stripe", "paypal"])
def test_the_wrong_balance_is_asked_about_only_when_it_stays(sandbox: Any, name: str) -> None:
    """Money that the listing has never shown us: two runs say the same, then it is a question; it closes when it is gone."""
    captured(name)
    assert [line["unexplained"] for line in run(name).balances] == [0]
    ReconciliationRun.objects.update(started_at=timezone.now() - timedelta(days=2))
    with connection.cursor() as cursor:
        cursor.execute("UPDATE payments_break SET movements = '{}', unbooked_minor = 0")
    Break.objects.create(
        kind="state", provider=name, provider_ref="x", currency="GBP", movements={"gone": 77}, unbooked_minor=77,
        resolved_at=timezone.now(), resolution="test",
    )  # fmt: skip
    assert run(name).opened == 0
    assert run(name).opened == 1
    assert open_breaks() == [("balance", "GBP")]
    assert "-0.77 GBP" in Break.objects.get(kind="balance").detail
    Break.objects.filter(provider_ref="x").update(movements={}, unbooked_minor=0)
    assert run(name).closed == 1
    assert Break.objects.get(kind="balance").resolution == "The balances agree now."


# Payouts


@pytest.mark.parametrize("name", ["stripe", "paypal"])
def test_a_payout_is_booked_once_followed_and_returned(sandbox: Any, name: str) -> None:
    captured(name)
    made = sandbox.post("/payouts.json", {"provider": name, "currency": "gbp", "amount_minor": 1500})
    done = run(name)
    payout = Payout.objects.get()
    assert (done.healed, payout.provider_ref, payout.status, payout.amount_minor) == (
        1,
        made["id"],
        "in_transit",
        1500,
    )
    assert (ours(name), done.balances[0]["payouts_in_transit"]) == (theirs(sandbox, name), 1500)
    assert done.balances[0]["unexplained"] == 0
    assert run(name).healed == 0
    sandbox.post(f"/payouts.json/{made['id']}", {"status": "paid"})
    assert run(name).healed == 1
    call_command("audit_books")
    sandbox.post(f"/payouts.json/{made['id']}", {"status": "failed"})
    assert run(name).balances[0]["unexplained"] == 0
    payout.refresh_from_db()
    assert (payout.status, ours(name)) == ("failed", theirs(sandbox, name))
    assert sorted(LedgerTransaction.objects.filter(payout=payout).values_list("kind", flat=True)) == [
        "payout",
        "payout_reversal",
    ]
    assert (run(name).healed, Break.objects.count()) == (0, 0)


def test_the_database_refuses_a_payout_that_changes_and_a_ledger_row_without_its_subject(
    sandbox: Any,
) -> None:
    captured()
    sandbox.post("/payouts.json", {"provider": "stripe", "currency": "gbp", "amount_minor": 1500})
    run()
    for wrong in (
        "UPDATE payments_payout SET amount_minor = 1",
        "DELETE FROM payments_payout",
        "UPDATE payments_payout SET status = 'failed'; UPDATE payments_payout SET status = 'paid'",
        "INSERT INTO payments_ledgertransaction (source_key, kind, booking_reference, occurred_at, description)"
        " VALUES ('payout:x', 'payout', '', now(), '')",
    ):
        with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(wrong)


# The provider in trouble


def test_a_provider_that_does_not_answer_ends_the_run_and_the_next_one_goes_on(sandbox: Any) -> None:
    payment = paid_by_card()
    sandbox.post("/faults", {"operation": "stripe.balance_transactions.list", "behaviour": "429", "times": 1})
    done = run()
    assert "did not answer" in done.error
    assert (done.finished_at is not None, counts(done)) == (True, (0, 0, 0, 0))
    assert counts(run()) == (1, 1, 0, 0)
    payment.refresh_from_db()
    assert payment.status == "captured"


@pytest.mark.parametrize("name", ["stripe", "paypal"])
def test_a_provider_that_fails_on_the_second_page_heals_nothing_by_halves(
    sandbox: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(stripe_statement, "PAGE", 2)
    monkeypatch.setattr(paypal_statement, "PAGE", 2)
    for _each in range(3):
        captured(name)
    operation = "stripe.refunds.list" if name == "stripe" else "paypal.transactions.list"
    if name == "stripe":
        for payment in Payment.objects.all():
            provider().v1.refunds.create({"payment_intent": payment.provider_ref or "", "amount": 100})
    # The first page is answered slowly, the second one not at all.
    sandbox.post("/faults", {"operation": operation, "behaviour": "slow", "seconds": 0.01, "times": 1})
    sandbox.post("/faults", {"operation": operation, "behaviour": "refuse", "status": 503, "times": 1})
    done = run(name)
    assert ("did not answer" in done.error, done.healed, done.opened) == (True, 0, 0)
    used = {fault["behaviour"]: fault["left"] for fault in sandbox.get("/faults")["faults"]}
    assert used == {"slow": 0, "refuse": 0}
    after = run(name)
    assert (after.error, after.healed) == ("", 3 if name == "stripe" else 0)
    assert ours(name) == theirs(sandbox, name)


def test_a_provider_that_fails_between_two_payments_loses_nothing(sandbox: Any) -> None:
    for _each in range(3):
        paid_by_card()
    sandbox.post(
        "/faults",
        {"operation": "stripe.payment_intents.retrieve", "behaviour": "slow", "seconds": 0.01, "times": 2},
    )
    sandbox.post(
        "/faults",
        {"operation": "stripe.payment_intents.retrieve", "behaviour": "refuse", "status": 500, "times": 1},
    )
    first = run()
    assert ("did not answer" in first.error, first.healed) == (True, 1)
    second = run()
    assert (second.error, second.healed) == ("", 2)
    assert Payment.objects.filter(status="captured").count() == 3


def test_two_hundred_and_fifty_objects_are_all_read(sandbox: Any) -> None:
    for _each in range(250):
        stray_charge(1000)
    now = timezone.now()
    statement = gateway_for("stripe").statement(
        since=now - timedelta(days=1), until=now + timedelta(minutes=5)
    )
    assert (len(statement.payments), len(statement.movements)) == (250, 250)
    assert {one.kind for one in statement.movements} == {MovementKind.CHARGE}
    assert statement.balances[0].amount_minor == sum(one.net_minor for one in statement.movements)
    assert all(one.fee_minor == 35 for one in statement.payments)


def test_paypals_report_is_read_page_by_page_and_month_by_month(
    sandbox: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paypal_statement, "PAGE", 2)
    payments = [paid_by_paypal() for _each in range(5)]
    now = timezone.now()
    statement = gateway_for("paypal").statement(
        since=now - timedelta(days=80), until=now + timedelta(minutes=5)
    )
    assert sorted(one.ref for one in statement.payments) == sorted(str(one.provider_ref) for one in payments)
    assert sorted(one.our_id for one in statement.payments) == sorted(str(one.pk) for one in payments)
    assert statement.balances[0].amount_minor == sum(one.net_minor for one in statement.movements)


@pytest.mark.parametrize("minutes", [10, -10])
def test_clocks_that_differ_by_ten_minutes_are_noticed_and_healed(sandbox: Any, minutes: int) -> None:
    sandbox.post("/clock", {"advance_seconds": minutes * 60})
    payment = paid_by_card()
    done = run(later=timedelta(minutes=1) if minutes > 0 else LATER)
    assert abs(abs(done.clock_skew_seconds) - 600) < 90
    assert (done.clock_skew_seconds > 0) == (minutes > 0)
    run(later=timedelta(minutes=20))
    payment.refresh_from_db()
    assert (payment.status, open_breaks()) == ("captured", [])


# Two at once


def test_a_run_and_the_webhook_heal_one_payment_once(sandbox: Any) -> None:
    for _round in range(3):
        payment = paid_by_card()
        start = threading.Barrier(3)
        failures: list[BaseException] = []

        def act(
            what: Any, start: threading.Barrier = start, failures: list[BaseException] = failures
        ) -> None:
            try:
                start.wait(10)
                what()
            except BaseException as error:
                failures.append(error)
            finally:
                connection.close()

        threads = [
            threading.Thread(target=act, args=[what])
            for what in (run, lambda pk=payment.pk: settle(pk), lambda pk=payment.pk: settle(pk))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert failures == []
        payment.refresh_from_db()
        assert payment.status == "captured"
        assert LedgerTransaction.objects.filter(payment=payment, kind="capture").count() == 1
        assert Break.objects.count() == 0
    assert Message.objects.filter(kind="payment_confirmation", channel="email").count() == 3


def test_two_runs_of_one_provider_never_work_at_once(sandbox: Any) -> None:
    now = timezone.now()
    ReconciliationRun.objects.create(
        provider="stripe", since=now - timedelta(days=1), until=now, started_at=now, alive_at=now
    )
    with pytest.raises(reconcile.AlreadyReconciling):
        run()
    assert run("paypal").error == ""
    ReconciliationRun.objects.filter(finished_at__isnull=True).update(alive_at=now - timedelta(minutes=11))
    assert run().error == ""
    killed = ReconciliationRun.objects.filter(provider="stripe").order_by("pk").first()
    assert killed is not None
    assert "killed" in killed.error


def test_the_clock_asks_for_each_provider_and_a_waiting_job_absorbs_the_next(
    sandbox: Any, settings: Any
) -> None:
    def waiting() -> list[tuple[str, int]]:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT args->>'provider', (args->>'days')::int FROM procrastinate_jobs"
                " WHERE task_name = 'payments.reconcile' ORDER BY 2, 1"
            )
            return list(cursor.fetchall())

    reconcile.ask_for_all(days=3)
    reconcile.ask_for_all(days=3)
    assert waiting() == [("paypal", 3), ("stripe", 3)]
    settings.PAYPAL_CLIENT_ID = ""
    reconcile.ask_for_all(days=30)
    assert waiting()[-1] == ("stripe", 30)
    assert len(waiting()) == 3


# What staff do


def test_a_stray_is_sent_back_once_whatever_the_network_does(sandbox: Any, sam: Any, settings: Any) -> None:
    intent = stray_charge()
    run()
    found = Break.objects.get()
    shown = strays.preview_refund(found)
    assert (shown.amount.amount_minor, shown.amount.currency) == (5000, "GBP")
    stray = strays.request_refund(found.pk, amount=shown.amount, reason="Taken by mistake", by=sam)
    with pytest.raises(strays.NotRefundable):
        strays.request_refund(found.pk, amount=shown.amount, reason="Again", by=sam)
    settings.STRIPE_TIMEOUT_SECONDS = 1
    sandbox.post(
        "/faults",
        {"operation": "stripe.refunds.create", "behaviour": "do_then_timeout", "times": 1, "seconds": 3},
    )
    assert strays.send_refund(stray.pk).status == "unknown"
    settings.STRIPE_TIMEOUT_SECONDS = 20
    StrayRefund.objects.update(created_at=timezone.now() - timedelta(minutes=5))
    janitor.sweep(now=timezone.now())
    stray.refresh_from_db()
    found.refresh_from_db()
    assert (stray.status, found.resolved_by, found.resolution) == (
        "succeeded",
        sam,
        "Refunded at the provider: Taken by mistake",
    )
    (refund,) = sandbox.get("/ledger.json")["refunds"]
    assert (refund["amount_minor"], refund["payment_intent"]) == (5000, intent.id)
    actions = AuditEntry.objects.filter(subject=f"break:{found.pk}").values_list("action", flat=True)
    assert set(actions) == {"break.refund_requested", "break.refund_succeeded"}
    assert run().opened == 0
    assert [line["unexplained"] for line in run().balances] == [0]


def test_a_stray_at_paypal_is_sent_back(sandbox: Any, sam: Any) -> None:
    gateway: Any = gateway_for("paypal")
    payment = paid_by_paypal()
    with connection.cursor() as cursor:  # as if the database had been restored from before it
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(
            "DELETE FROM payments_document; DELETE FROM payments_ledgerentry; DELETE FROM payments_ledgertransaction;"
            "DELETE FROM payments_payment; DELETE FROM payments_documentcounter"
        )
        cursor.execute("SET session_replication_role = DEFAULT")
    Booking.objects.filter(pk=payment.booking_id).update(total_minor=0, lines=[], kept_minor=0)
    run("paypal")
    found = Break.objects.get()
    assert (found.kind, found.provider_ref, str(payment.pk) in found.detail) == (
        "missing_local",
        payment.provider_ref,
        True,
    )
    stray = strays.request_refund(found.pk, amount=strays.preview_refund(found).amount, reason="Lost", by=sam)
    assert strays.send_refund(stray.pk).status == "succeeded"
    given = sum(row["amount_minor"] for row in sandbox.get("/ledger.json")["refunds"])
    assert given == payment.amount_minor
    assert gateway.find_stray_refund(found.object_ref, key=str(stray.pk)).status == "succeeded"
    assert run("paypal").error == ""
    assert [line["unexplained"] for line in run("paypal").balances] == [0]


@pytest.mark.parametrize("was_made", [True, False])
def test_a_refund_past_its_key_window_is_confirmed_by_hand_once(
    sandbox: Any, sam: Any, was_made: bool
) -> None:
    payment = captured()
    refund = request_refund(payment, amount_minor=900, reason="x", requested_by=sam, source="staff")
    long_ago = timezone.now() - timedelta(hours=30)
    Refund.objects.filter(pk=refund.pk).update(status="submitted", submitted_at=long_ago, created_at=long_ago)
    send_refund(refund.pk)
    found = Break.objects.get()
    assert (found.kind, found.provider_ref) == ("missing_remote", str(refund.pk))
    done = strays.confirm_refund(
        found.pk, was_made=was_made, reason="Seen at Stripe", by=sam, now=timezone.now()
    )
    assert done.status == ("succeeded" if was_made else "failed")
    with pytest.raises(strays.BreakClosed):
        strays.confirm_refund(found.pk, was_made=was_made, reason="Again", by=sam, now=timezone.now())
    found.refresh_from_db()
    payment.refresh_from_db()
    assert (found.resolved_by, found.resolution) == (sam, "Seen at Stripe")
    assert (payment.refunded_minor, payment.reserved_minor) == ((900, 900) if was_made else (0, 0))
    assert LedgerTransaction.objects.filter(kind="refund").count() == int(was_made)


def test_looking_again_closes_what_is_gone_and_leaves_what_is_not(sandbox: Any) -> None:
    first, second = stray_charge(), stray_charge()
    run()
    provider().v1.refunds.create({"payment_intent": first.id})
    by_ref = {one.provider_ref: one.pk for one in Break.objects.all()}
    assert look_again(by_ref[first.id], now=timezone.now())
    assert not look_again(by_ref[second.id], now=timezone.now())
    assert open_breaks() == [("missing_local", second.id)]


# The command


def command(*arguments: str) -> tuple[int, str]:
    out = StringIO()
    try:
        call_command("reconcile", *arguments, stdout=out, stderr=out)
    except SystemExit as end:
        return int(end.code or 0), out.getvalue()
    return 0, out.getvalue()


def test_the_command_prints_a_table_rehearses_and_exits_one_while_breaks_are_open(sandbox: Any) -> None:
    sandbox.post("/clock", {"advance_seconds": -300})  # nothing here is young
    since = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    payment = paid_by_card()
    stray_charge()
    code, text = command("--since", since, "--dry-run")
    payment.refresh_from_db()
    assert (code, payment.status, Break.objects.count(), ReconciliationRun.objects.count()) == (
        1,
        "requires_action",
        0,
        0,
    )
    assert str(payment.pk) in text
    assert "missing_local" in text
    code, text = command("--since", since, "--provider", "stripe")
    payment.refresh_from_db()
    assert (code, payment.status) == (1, "captured")
    assert "missing_local" in text
    opened = Break.objects.get()
    today = (datetime.now(UTC) + timedelta(hours=-1)).date().isoformat()
    code, text = command("--since", today, "--provider", "stripe", "--dry-run")
    assert (code, "would settle" in text) == (1, False)
    assert f"{opened.opened_at:%Y-%m-%d %H:%M}" in text, "a break that is open is listed, as in a real run"
    Break.objects.update(resolved_at=timezone.now(), resolution="test", resolved_by=None)
    provider().v1.refunds.create({"payment_intent": Break.objects.get().provider_ref})
    code, text = command("--since", since)
    assert (code, "PayPal" in text) == (0, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--since", "yesterday"], ["--since", "2099-01-01"], ["--since", "2026-01-02", "--until", "2026-01-01"],
        ["--since", "2026-01-01", "--provider", "bank"],
    ],
)  # fmt: skip
def test_the_command_says_what_is_wrong_with_its_arguments(arguments: list[str]) -> None:
    with pytest.raises(Exception, match=r"date|after|before|invalid choice|future"):
        call_command("reconcile", *arguments)


def test_a_provider_that_fails_makes_the_command_fail(sandbox: Any) -> None:
    sandbox.post(
        "/faults", {"operation": "stripe.payouts.list", "behaviour": "refuse", "status": 503, "times": 2}
    )
    code, text = command("--since", datetime.now(UTC).date().isoformat(), "--provider", "stripe")
    assert (code, "did not answer" in text) == (1, True)
    with pytest.raises(Unavailable):
        gateway_for("stripe").statement(since=timezone.now() - timedelta(hours=1), until=timezone.now())
