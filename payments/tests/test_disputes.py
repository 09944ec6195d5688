"""Disputes over the provider's own wire: opened, answered, won, lost, reordered, and what they do to refunds and books."""

from __future__ import annotations

from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from djstripe.models import Dispute as MirroredDispute
from procrastinate.contrib.django.models import ProcrastinateJob
from pypdf import PdfReader

from accounts.models import User
from bookings.services.cancel import cancel, preview_cancellation
from communications.models import Message
from payments.gateways import gateway_for
from payments.models import Dispute, LedgerEntry, Payment, ProviderEvent, Refund
from payments.paper import evidence
from payments.services import answers, inbox, janitor, refund, settle
from payments.services.disputes import PaymentDisputed
from payments.tests.world import age, checkout, held_booking, pay

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def books_are_right() -> Any:
    """The oracle after every test."""
    yield
    call_command("audit_books")


@pytest.fixture
def sam() -> User:
    """Sam answers disputes."""
    user = User.objects.create_user("sam@example.com", "demo-parking", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(content_type__app_label="payments").exclude(codename__startswith="delete")
    )
    return user


def paid() -> Payment:
    session = checkout(held_booking())
    assert pay(session) == 200
    return settle.settle(session.payment.pk)


def disputed(sandbox: Any, **how: Any) -> Dispute:
    payment = paid()
    sandbox.post("/stripe-disputes", {"payment_intent": payment.provider_ref, **how})
    settle.settle(payment.pk)
    return Dispute.objects.get()


def booked(account: str) -> int:
    return sum(LedgerEntry.objects.filter(account=account).values_list("amount_minor", flat=True))


def net_at(sandbox: Any) -> int:
    return int(sandbox.get("/ledger.json")["balances"]["gbp"]["net"])


def answered(dispute: Dispute, text: str, by: User) -> Dispute:
    answers.answer(dispute, text=text, by=by, now=timezone.now())
    return answers.send_answer(dispute.pk)


def test_a_dispute_takes_money_and_fee_once_and_shows_its_deadline(sandbox: Any) -> None:
    dispute = disputed(sandbox)
    for _again in range(2):
        payment = settle.settle(dispute.payment_id)
    assert (dispute.status, dispute.amount_minor, dispute.reason) == (
        "needs_response",
        payment.captured_minor,
        "fraudulent",
    )
    assert dispute.due_by is not None
    assert dispute.due_by > timezone.now() + timedelta(days=5)
    assert payment.disputed_minor == payment.captured_minor
    assert (booked("customer_disputes"), booked("dispute_fees")) == (payment.captured_minor, 1500)
    assert booked("provider_balance") == net_at(sandbox)


def test_the_webhook_is_a_reason_to_look_and_the_mirror_follows(sandbox: Any) -> None:
    payment = paid()
    made = sandbox.post("/stripe-disputes", {"payment_intent": payment.provider_ref})
    event = ProviderEvent.objects.create(
        provider="stripe",
        event_ref="evt_1",
        kind="charge.dispute.created",
        object_kind="dispute",
        object_ref=made["id"],
    )
    assert inbox.process_event(event.pk).status == "processed"
    assert Dispute.objects.get().provider_ref == made["id"]
    assert MirroredDispute.objects.get().id == made["id"]


def test_a_disputing_card_is_found_without_its_webhook(sandbox: Any) -> None:
    session = checkout(held_booking())
    pay(session, card="pm_card_createDispute")
    settle.settle(session.payment.pk)
    assert not Dispute.objects.exists()
    sandbox.post("/clock", {"advance_seconds": 6})
    answers.look_for_new()
    assert Dispute.objects.get().status == "needs_response"


@pytest.mark.parametrize(
    ("text", "status", "disputed_minor"), [("winning_evidence", "won", 0), ("losing_evidence", "lost", None)]
)
def test_an_answer_with_evidence_is_decided_and_booked(
    sandbox: Any, sam: User, text: str, status: str, disputed_minor: int | None
) -> None:
    dispute = answered(disputed(sandbox), text, sam)
    assert dispute.status == "under_review"
    at_provider = gateway_for("stripe").retrieve("dispute", dispute.provider_ref)
    assert at_provider["evidence"]["uncategorized_text"] == text
    assert at_provider["evidence"]["uncategorized_file"].startswith("file_")
    assert at_provider["evidence"]["receipt"].startswith("file_")
    sandbox.post("/clock", {"advance_seconds": 61})
    age(dispute.payment, last_checked_at=timezone.now() - timedelta(minutes=20))
    janitor.sweep(now=timezone.now())
    dispute.refresh_from_db()
    assert (dispute.status, dispute.closed_at is not None) == (status, True)
    payment = dispute.payment
    payment.refresh_from_db()
    assert payment.disputed_minor == (payment.captured_minor if disputed_minor is None else disputed_minor)
    assert booked("customer_disputes") == payment.disputed_minor
    assert booked("provider_balance") == net_at(sandbox)
    if status == "won":
        row = refund.request_refund(
            payment, amount_minor=500, reason="kind", requested_by=sam, source="staff"
        )
        assert refund.send_refund(row.pk).status == "succeeded"
    else:
        with pytest.raises(refund.RefundExceedsCaptured):
            refund.preview_refund(payment, 1)


def test_events_in_any_order_end_in_the_state_that_a_fetch_shows(sandbox: Any, sam: User) -> None:
    dispute = answered(disputed(sandbox), "winning_evidence", sam)
    sandbox.post("/clock", {"advance_seconds": 61})
    kinds = ["closed", "created", "funds_reinstated", "closed", "updated", "created", "funds_withdrawn"]
    for number, kind in enumerate(kinds):
        event = ProviderEvent.objects.create(
            provider="stripe", event_ref=f"evt_{number}", kind=f"charge.dispute.{kind}", object_kind="dispute",
            object_ref=dispute.provider_ref,
        )  # fmt: skip
        assert inbox.process_event(event.pk).status == "processed"
    dispute.refresh_from_db()
    assert dispute.status == "won"
    assert booked("customer_disputes") == 0


def test_no_refund_while_a_bank_holds_the_money(sandbox: Any, sam: User) -> None:
    dispute = disputed(sandbox)
    with pytest.raises(PaymentDisputed):
        refund.request_refund(
            dispute.payment, amount_minor=100, reason="kind", requested_by=sam, source="staff"
        )
    with (
        pytest.raises(IntegrityError, match="holds this payment's money"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(
            "INSERT INTO payments_refund (id, payment_id, amount_minor, currency, status, reason, source, failure_code, created_at) "
            "VALUES (gen_random_uuid(), %s, 100, 'GBP', 'requested', '', 'staff', '', now())",
            [dispute.payment_id],
        )
    assert not Refund.objects.exists()


def test_a_cancellations_refund_waits_for_the_decision(sandbox: Any) -> None:
    dispute = disputed(sandbox)
    booking, now = dispute.payment.booking, timezone.now()
    cancelled = cancel(booking, preview_token=preview_cancellation(booking, now=now).token, now=now)
    assert refund.refund_cancellation(cancelled.pk) == []
    janitor.sweep(now=timezone.now())
    assert not Refund.objects.exists()
    sandbox.post(f"/stripe-disputes/{dispute.provider_ref}", {"status": "won"})
    settle.settle(dispute.payment_id)
    janitor.sweep(now=timezone.now())
    assert Refund.objects.get().amount_minor == cancelled.refund_minor


def test_a_cancellation_after_a_lost_dispute_promises_nothing_and_is_told_once(sandbox: Any) -> None:
    dispute = disputed(sandbox)
    sandbox.post(f"/stripe-disputes/{dispute.provider_ref}", {"status": "lost"})
    settle.settle(dispute.payment_id)
    booking, now = dispute.payment.booking, timezone.now()
    booking.refresh_from_db()
    preview = preview_cancellation(booking, now=now)
    assert (preview.refund.amount_minor, preview.lines[-1]["rule"]) == (0, "bank")
    cancel(booking, preview_token=preview.token, now=now)
    janitor.sweep(now=timezone.now())
    assert Message.objects.filter(kind="cancellation", channel="email").count() == 1
    assert not Refund.objects.exists()


def test_a_dispute_that_is_lost_after_the_cancellation_ends_the_wait_for_its_refund(sandbox: Any) -> None:
    dispute = disputed(sandbox)
    booking, now = dispute.payment.booking, timezone.now() - timedelta(minutes=20)
    cancelled = cancel(booking, preview_token=preview_cancellation(booking, now=now).token, now=now)
    for _again in range(2):
        assert refund.refund_cancellation(cancelled.pk) == []
    told = Message.objects.get(kind="cancellation", channel="email")
    assert "decides about it" in told.variables["refund_status_text"]
    sandbox.post(f"/stripe-disputes/{dispute.provider_ref}", {"status": "lost"})
    settle.settle(dispute.payment_id)
    for job in ProcrastinateJob.objects.filter(task_name="payments.refund_cancellation"):
        refund.refund_cancellation(job.args["cancellation_id"])
    assert Message.objects.filter(kind="cancellation", channel="email").count() == 1
    assert not Refund.objects.exists()
    # the oracle, 20 minutes after the cancellation: no refund of it is missing


def test_an_inquiry_holds_no_money_and_may_be_refunded(sandbox: Any, sam: User) -> None:
    dispute = disputed(sandbox, inquiry=True)
    assert (dispute.status, dispute.payment.disputed_minor) == ("warning_needs_response", 0)
    row = refund.request_refund(
        dispute.payment, amount_minor=500, reason="kind", requested_by=sam, source="staff"
    )
    assert refund.send_refund(row.pk).status == "succeeded"
    sandbox.post(f"/stripe-disputes/{dispute.provider_ref}", {"status": "warning_closed"})
    settle.settle(dispute.payment_id)
    assert Dispute.objects.get().status == "warning_closed"


def test_an_answer_that_was_taken_and_then_broke_is_not_lost(sandbox: Any, sam: User) -> None:
    dispute = disputed(sandbox)
    answers.answer(dispute, text="Ada parked here.", by=sam, now=timezone.now())
    with pytest.raises(answers.NotAnswerable):
        answers.answer(dispute, text="Twice.", by=sam, now=timezone.now())
    sandbox.post("/faults", {"operation": "stripe.disputes.update", "behaviour": "do_then_500", "times": 1})
    with pytest.raises(Exception, match="did not answer in time"):
        answers.send_answer(dispute.pk)
    age(dispute, answered_at=timezone.now() - timedelta(minutes=5))
    janitor.sweep(now=timezone.now())
    assert Dispute.objects.get().status == "under_review"
    truth = gateway_for("stripe").retrieve("dispute", dispute.provider_ref)
    assert truth["evidence_details"]["submission_count"] == 1


def test_the_pack_tells_the_story(sandbox: Any) -> None:
    dispute = disputed(sandbox)
    file = evidence.render(dispute)
    assert evidence.render(dispute) == file
    text = "\n".join(page.extract_text() for page in PdfReader(BytesIO(file)).pages)
    booking = dispute.payment.booking
    for expected in (
        booking.reference, booking.driver_email, dispute.provider_ref, str(booking.total), booking.policy["summary"], "Booking confirmed",
        "What the customer was told", "R-",
    ):  # fmt: skip
        assert expected in text, expected


def test_staff_answer_in_the_admin_with_their_own_permission(sandbox: Any, sam: User) -> None:
    dispute = disputed(sandbox)
    page = reverse("admin:payments_dispute_answer", args=[dispute.pk])
    client = Client()
    client.force_login(sam)
    assert reverse("admin:payments_dispute_pack", args=[dispute.pk]) in client.get(page).content.decode()
    assert (
        client.get(reverse("admin:payments_dispute_pack", args=[dispute.pk]))["Content-Type"]
        == "application/pdf"
    )
    assert client.post(page, {"answer": " "}).status_code == 400
    assert "Open disputes" in client.get(reverse("admin:index")).content.decode()
    assert client.post(page, {"answer": "Ada parked here."}).status_code == 302
    dispute.refresh_from_db()
    assert (dispute.answer, dispute.answered_by) == ("Ada parked here.", sam)
    assert "No answer can be given now" in client.get(page).content.decode()
    sam.user_permissions.set(
        Permission.objects.filter(content_type__app_label="payments", codename__startswith="view_")
    )
    client.force_login(User.objects.get(pk=sam.pk))
    assert client.post(page, {"answer": "x"}).status_code == 403
    assert client.get(reverse("admin:payments_dispute_changelist")).status_code == 200


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE payments_dispute SET status = 'warning_closed', closed_at = now()",
        "UPDATE payments_dispute SET currency = 'USD'",
        "DELETE FROM payments_dispute",
    ],
)
def test_the_database_refuses_what_a_dispute_cannot_become(sandbox: Any, statement: str) -> None:
    disputed(sandbox)
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
