"""PayPal's disputes over its own wire: opened, answered, accepted, escalated, decided, in any order; the books take each movement once."""

from __future__ import annotations

import itertools
import threading
from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pypdf import PdfReader

from accounts.models import User
from bookings.models import BookingEvent, Product
from bookings.tests.world import make_product
from foundation.errors import InvalidInput
from foundation.models import AuditEntry
from payments.gateways import gateway_for
from payments.models import Break, Dispute, LedgerEntry, LedgerTransaction, Payment, ProviderEvent, Refund
from payments.paper import evidence
from payments.services import answers, inbox, janitor, refund, settle
from payments.services.disputes import PaymentDisputed
from payments.tests.test_paypal import deliver, held_webhooks, notify, sent
from payments.tests.world import age, agree, approve, at_paypal, checkout, held_booking
from payments.tests.world import pay as pay_card

__all__ = ["held_webhooks"]  # a fixture
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def books_are_right() -> Any:
    yield
    call_command("audit_books")


@pytest.fixture
def sam() -> User:
    """Sam answers and accepts disputes."""
    user = User.objects.create_user("sam@example.com", "demo-parking", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(content_type__app_label="payments").exclude(codename__startswith="delete")
    )
    return user


def paid(product: Product | None = None) -> Payment:
    session = checkout(held_booking(product), provider="paypal")
    approve(session)
    payment = settle.settle(session.payment.pk)
    assert payment.status == "captured"
    return payment


def capture_of(sandbox: Any, payment: Payment) -> str:
    charges = sandbox.get("/ledger.json")["charges"]
    return next(row["id"] for row in charges if row.get("custom_id") == str(payment.pk))


def opened(sandbox: Any, payment: Payment, **how: Any) -> str:
    made = sandbox.post(f"/paypal-captures/{capture_of(sandbox, payment)}/dispute", how)
    return str(made["dispute_id"])


def disputed(sandbox: Any, **how: Any) -> Dispute:
    payment = paid()
    opened(sandbox, payment, **how)
    settle.settle(payment.pk, is_disputed=True)
    return Dispute.objects.get()


def decide(sandbox: Any, dispute: Dispute, outcome: str) -> Dispute:
    """PayPal decides a second later: its clock has whole seconds."""
    sandbox.post("/clock", {"advance_seconds": 1})
    sandbox.post(f"/paypal-disputes/{dispute.provider_ref}", {"outcome": outcome})
    settle.settle(dispute.payment_id)
    return Dispute.objects.get(pk=dispute.pk)


def answered(dispute: Dispute, text: str, by: User) -> Dispute:
    answers.answer(dispute, text=text, by=by, now=timezone.now())
    return answers.send_answer(dispute.pk)


def evidence_at_paypal(dispute: Dispute) -> list[Any]:
    found = at_paypal("GET", f"v1/customer/disputes/{dispute.provider_ref}").json().get("evidences", [])
    return [one for one in found if one["source"] == "SUBMITTED_BY_SELLER"]


def booked(account: str) -> int:
    return sum(LedgerEntry.objects.filter(account=account).values_list("amount_minor", flat=True))


def net_at(sandbox: Any) -> int:
    return int(sandbox.get("/ledger.json")["providers"]["paypal"]["gbp"]["net"])


def fault(sandbox: Any, operation: str, behaviour: str, **more: Any) -> None:
    sandbox.post("/faults", {"operation": f"paypal.{operation}", "behaviour": behaviour, "times": 1, **more})


# What it is, and what it takes


def test_a_dispute_takes_the_money_once_and_shows_its_deadline(sandbox: Any) -> None:
    dispute = disputed(sandbox)
    for _again in range(3):
        payment = settle.settle(dispute.payment_id)
    assert (dispute.status, dispute.amount_minor, dispute.reason) == (
        "needs_response",
        payment.captured_minor,
        "merchandise_or_service_not_as_described",
    )
    assert dispute.due_by is not None
    assert dispute.due_by > timezone.now() + timedelta(days=9)
    assert payment.disputed_minor == payment.captured_minor == booked("customer_disputes")
    assert booked("provider_balance") == net_at(sandbox)
    with pytest.raises(PaymentDisputed):
        refund.request_refund(payment, amount_minor=1, reason="r", requested_by=None, source="staff")


def test_an_undisputed_payment_does_not_ask_for_disputes(sandbox: Any) -> None:
    payment = paid()
    fault(sandbox, "disputes.list", "refuse", status=403)
    assert settle.settle(payment.pk).status == "captured"
    sandbox.delete("/faults")


@pytest.mark.parametrize(("outcome", "status"), [("won", "won"), ("lost", "lost")])
def test_a_decision_is_booked_once(sandbox: Any, outcome: str, status: str) -> None:
    dispute = decide(sandbox, disputed(sandbox), outcome)
    for _again in range(2):
        payment = settle.settle(dispute.payment_id)
    assert (dispute.status, dispute.closed_at is not None) == (status, True)
    assert (
        payment.disputed_minor
        == booked("customer_disputes")
        == (0 if outcome == "won" else payment.captured_minor)
    )
    assert booked("provider_balance") == net_at(sandbox)
    if outcome == "won":
        row = refund.request_refund(payment, amount_minor=100, reason="r", requested_by=None, source="staff")
        assert refund.send_refund(row.pk).status == "succeeded"


def test_a_part_can_be_disputed_and_lost_and_the_rest_refunded_later(sandbox: Any) -> None:
    dispute = decide(sandbox, disputed(sandbox, amount_minor=500), "lost")
    payment = settle.settle(dispute.payment_id)
    assert (payment.disputed_minor, booked("customer_disputes")) == (500, 500)
    assert payment.refundable.amount_minor == payment.captured_minor - 500
    assert booked("provider_balance") == net_at(sandbox)


def test_a_buyers_bank_costs_a_fee_when_it_wins(sandbox: Any) -> None:
    dispute = disputed(sandbox, channel="EXTERNAL", reason="UNAUTHORISED")
    assert booked("dispute_fees") == 0
    decide(sandbox, dispute, "lost")
    settle.settle(dispute.payment_id)
    assert booked("dispute_fees") == 2000
    assert booked("provider_balance") == net_at(sandbox)


def test_an_unanswered_dispute_is_lost(sandbox: Any) -> None:
    dispute = disputed(sandbox)
    sandbox.post("/clock", {"advance_seconds": 10 * 86_400 + 1})
    age(dispute.payment, last_checked_at=timezone.now() - timedelta(minutes=20))
    janitor.sweep(now=timezone.now())
    dispute.refresh_from_db()
    assert dispute.status == "lost"


# Inquiries


def test_an_inquiry_holds_nothing_may_be_refunded_and_is_no_double_loss(sandbox: Any, sam: User) -> None:
    dispute = disputed(sandbox, stage="INQUIRY")
    payment = dispute.payment
    assert (dispute.status, payment.disputed_minor, booked("customer_disputes")) == (
        "warning_needs_response",
        0,
        0,
    )
    row = refund.request_refund(
        payment, amount_minor=payment.captured_minor, reason="kind", requested_by=sam, source="staff"
    )
    assert refund.send_refund(row.pk).status == "succeeded"
    for _again in range(2):
        payment = settle.settle(payment.pk)
    assert Dispute.objects.get().status == "refunded"
    assert (payment.refunded_minor, payment.disputed_minor) == (payment.captured_minor, 0)
    assert booked("provider_balance") == net_at(sandbox)


def test_an_inquiry_escalates_and_then_takes_the_money(sandbox: Any) -> None:
    dispute = decide(sandbox, disputed(sandbox, stage="INQUIRY"), "escalated")
    assert dispute.status == "needs_response"
    assert dispute.payment.disputed_minor == dispute.amount_minor == booked("customer_disputes")
    assert decide(sandbox, dispute, "won").status == "won"
    assert booked("customer_disputes") == 0


@pytest.mark.parametrize(
    ("outcome", "status", "lost"), [("won", "warning_closed", False), ("lost", "lost", True)]
)
def test_an_inquiry_ends(sandbox: Any, outcome: str, status: str, lost: bool) -> None:
    dispute = decide(sandbox, disputed(sandbox, stage="INQUIRY"), outcome)
    assert dispute.status == status
    assert booked("customer_disputes") == (dispute.amount_minor if lost else 0)
    assert booked("provider_balance") == net_at(sandbox)


def test_a_refund_at_paypal_that_ends_a_dispute_is_booked_as_the_refund_it_is(sandbox: Any) -> None:
    dispute = disputed(sandbox)
    assert (
        at_paypal("POST", f"v2/payments/captures/{capture_of(sandbox, dispute.payment)}/refund").status_code
        == 201
    )
    for _again in range(2):
        payment = settle.settle(dispute.payment_id)
    dispute.refresh_from_db()
    assert (dispute.status, payment.disputed_minor) == ("refunded", 0)
    assert (Refund.objects.get().source, payment.refunded_minor) == ("external", payment.captured_minor)
    assert booked("customer_disputes") == 0
    assert booked("provider_balance") == net_at(sandbox)


# Telling us


def events_of(held: Any, payment: Payment) -> list[Any]:
    """Every dispute event and notification, oldest first, as the sandbox signed it."""
    rows = held.get("/webhooks.json")["deliveries"]
    return [row for row in reversed(rows) if row["event_type"].startswith("CUSTOMER.DISPUTE")]


def handle_all() -> None:
    for row in ProviderEvent.objects.filter(status="received").order_by("pk"):
        assert inbox.process_event(row.pk).status == "processed", ProviderEvent.objects.get(
            pk=row.pk
        ).last_error


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_any_order_and_repetition_of_events_ends_in_the_same_state(
    held_webhooks: Any, client: Client, sam: User, order: tuple[int, ...]
) -> None:
    payment = paid()
    opened(held_webhooks, payment)
    settle.settle(payment.pk, is_disputed=True)
    answered(Dispute.objects.get(), "Ada parked here.", sam)
    held_webhooks.post(f"/paypal-disputes/{Dispute.objects.get().provider_ref}", {"outcome": "won"})
    events = events_of(held_webhooks, payment)
    assert [event["event_type"].rpartition(".")[2] for event in events] == ["CREATED", "UPDATED", "RESOLVED"]
    for number in (*order, *order):
        assert deliver(client, events[number]) == 200
        handle_all()
    dispute = Dispute.objects.get()
    payment.refresh_from_db()
    assert (dispute.status, payment.disputed_minor, booked("customer_disputes")) == ("won", 0, 0)
    assert LedgerTransaction.objects.filter(dispute=dispute).count() == 2
    assert booked("provider_balance") == net_at(held_webhooks)
    assert not Break.objects.exists()


def test_a_webhook_alone_opens_a_dispute(held_webhooks: Any, client: Client) -> None:
    opened(held_webhooks, paid())
    assert deliver(client, sent(held_webhooks, "CUSTOMER.DISPUTE.CREATED")) == 200
    handle_all()
    assert Dispute.objects.get().status == "needs_response"


def test_an_older_notification_of_a_reversal_is_a_reason_to_look(held_webhooks: Any, client: Client) -> None:
    opened(held_webhooks, paid())
    assert notify(client, sent(held_webhooks, "IPN Reversed")) == 200
    handle_all()
    assert Dispute.objects.get().status == "needs_response"


def test_a_lost_webhook_is_made_up_for_within_the_hour(sandbox: Any) -> None:
    product = make_product(capacity=5)
    payments = [paid(product), paid(product), paid(product)]
    for payment in payments:
        opened(sandbox, payment)
    sandbox.post("/faults", {"operation": "stripe.disputes.list", "behaviour": "refuse", "times": 1})
    answers.look_for_new()  # one provider that does not answer does not hide the other's
    assert set(Dispute.objects.values_list("payment_id", flat=True)) == {payment.pk for payment in payments}


def test_disputes_are_found_over_several_pages(sandbox: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("payments.gateways.paypal.PAGE", 2)
    product = make_product(capacity=5)
    for _number in range(3):
        opened(sandbox, paid(product))
    answers.look_for_new()
    assert Dispute.objects.count() == 3


def test_a_dispute_of_a_sale_made_elsewhere_is_a_question_for_a_person(
    held_webhooks: Any, client: Client
) -> None:
    """The shop's PayPal account is used for something else, too."""
    amount = {"currency_code": "GBP", "value": "12.00"}
    order = {"intent": "CAPTURE", "purchase_units": [{"amount": amount}], "payment_source": {"paypal": {}}}
    made = at_paypal("POST", "v2/checkout/orders", order).json()
    agree(next(link["href"] for link in made["links"] if link["rel"] == "payer-action"))
    assert at_paypal("POST", f"v2/checkout/orders/{made['id']}/capture").status_code == 201
    (taken,) = held_webhooks.get("/ledger.json")["charges"]
    held_webhooks.post(f"/paypal-captures/{taken['id']}/dispute")
    answers.look_for_new()
    assert deliver(client, sent(held_webhooks, "CUSTOMER.DISPUTE.CREATED")) == 200
    handle_all()
    (question,) = Break.objects.all()
    assert (question.kind, question.provider_ref) == ("missing_local", made["id"])


def test_a_look_that_was_overtaken_changes_nothing(sandbox: Any, sam: User) -> None:
    dispute = disputed(sandbox)
    stale = gateway_for("paypal").fetch_payment(dispute.payment.provider_ref or "", with_disputes=True)
    answered(dispute, "Ada parked here.", sam)
    decide(sandbox, dispute, "lost")
    for _again in range(2):
        settle.record(dispute.payment_id, stale, now=timezone.now())
    dispute.refresh_from_db()
    assert (dispute.status, dispute.answer) == ("lost", "Ada parked here.")
    assert not Break.objects.exists()


def test_parallel_looks_book_once(sandbox: Any) -> None:
    payment = paid()
    opened(sandbox, payment)
    barrier, problems = threading.Barrier(4), []

    def look() -> None:
        try:
            barrier.wait()
            settle.settle(payment.pk, is_disputed=True)
        except BaseException as error:
            problems.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=look) for _number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert problems == []
    assert Dispute.objects.count() == 1
    assert booked("customer_disputes") == payment.captured_minor


# Answering


def test_an_answer_goes_with_its_papers_and_long_words_in_pieces(sandbox: Any, sam: User) -> None:
    dispute = disputed(sandbox)
    text = ("Ada parked here from Monday to Friday. " * 80).strip()
    dispute = answered(dispute, text, sam)
    assert dispute.status == "under_review"
    found = evidence_at_paypal(dispute)
    assert "".join(one["notes"] for one in found[:2]) == text
    assert dispute.payment.booking.policy["summary"] in found[2]["notes"]
    assert [paper["name"] for paper in found[0]["documents"]] == ["evidence.pdf", "receipt.pdf"]
    assert all(paper["size_in_bytes"] > 5000 for paper in found[0]["documents"])


def test_the_pack_says_that_the_car_came_and_what_the_customer_agreed_to_and_was_told(sandbox: Any) -> None:
    dispute = disputed(sandbox)
    booking = dispute.payment.booking
    for kind in ("arrived", "completed"):
        BookingEvent.objects.create(booking=booking, kind=kind, at=booking.start_at)
    pages = PdfReader(BytesIO(evidence.render(dispute))).pages
    text = " ".join(" ".join(page.extract_text() for page in pages).split())
    for expected in (
        booking.reference, booking.plate, dispute.provider_ref, "merchandise or service not as described", "Car arrived",
        "Car collected", "What the customer was told", "Payment received", booking.policy["summary"],
    ):  # fmt: skip
        assert expected in text, expected


@pytest.mark.parametrize("behaviour", ["do_then_500", "do_then_reset"])
def test_an_answer_that_was_taken_and_then_broke_is_not_sent_twice(
    sandbox: Any, sam: User, behaviour: str
) -> None:
    dispute = disputed(sandbox)
    answers.answer(dispute, text="Ada parked here.", by=sam, now=timezone.now())
    fault(sandbox, "disputes.provide_evidence", behaviour)
    with pytest.raises(Exception, match="did not answer in time"):
        answers.send_answer(dispute.pk)
    age(dispute, answered_at=timezone.now() - timedelta(minutes=5))
    for _again in range(2):
        janitor.sweep(now=timezone.now())
    assert Dispute.objects.get().status == "under_review"
    assert len(evidence_at_paypal(dispute)) == 2  # our words, and the facts


def test_an_answer_that_did_not_arrive_is_sent_by_the_janitor(sandbox: Any, sam: User) -> None:
    dispute = disputed(sandbox)
    answers.answer(dispute, text="Ada parked here.", by=sam, now=timezone.now())
    fault(sandbox, "disputes.provide_evidence", "refuse", status=503)
    with pytest.raises(Exception, match="did not answer in time"):
        answers.send_answer(dispute.pk)
    age(dispute, answered_at=timezone.now() - timedelta(minutes=5))
    janitor.sweep(now=timezone.now())
    assert Dispute.objects.get().status == "under_review"


def test_paypal_may_want_to_know_more_and_gets_another_answer(sandbox: Any, sam: User) -> None:
    dispute = decide(sandbox, answered(disputed(sandbox), "Ada parked here.", sam), "asked")
    assert (dispute.status, dispute.is_answerable) == ("needs_response", True)
    age(dispute.payment, last_checked_at=timezone.now() - timedelta(minutes=20))
    janitor.sweep(now=timezone.now())
    assert len(evidence_at_paypal(dispute)) == 2, "the old answer is not sent by itself"
    again = answered(dispute, "The gate saw her car.", sam)
    assert again.status == "under_review"
    assert [one["notes"] for one in evidence_at_paypal(dispute)][2] == "The gate saw her car."
    assert AuditEntry.objects.filter(action="dispute.answered").count() == 2


@pytest.mark.parametrize("provider", ["paypal", "stripe"])
def test_after_the_deadline_an_answer_is_refused_in_clear_words(
    sandbox: Any, sam: User, provider: str
) -> None:
    if provider == "paypal":
        dispute = disputed(sandbox)
    else:
        session = checkout(held_booking())
        pay_card(session)
        payment = settle.settle(session.payment.pk)
        sandbox.post("/stripe-disputes", {"payment_intent": payment.provider_ref})
        settle.settle(payment.pk)
        dispute = Dispute.objects.get()
    assert dispute.due_by is not None
    with pytest.raises(answers.DeadlinePassed, match="time to answer this dispute is over"):
        answers.answer(dispute, text="Late.", by=sam, now=dispute.due_by + timedelta(seconds=1))
    age(dispute, due_by=timezone.now() - timedelta(minutes=1))
    client = Client()
    client.force_login(sam)
    page = reverse("admin:payments_dispute_answer", args=[dispute.pk])
    assert "The time to answer is over" in client.get(page).content.decode()
    assert (
        "time to answer this dispute is over"
        in client.post(page, {"answer": "Late."}, follow=True).content.decode()
    )
    dispute.refresh_from_db()
    assert dispute.answer == ""


def test_evidence_that_paypal_does_not_take_is_given_back_to_staff(sandbox: Any, sam: User) -> None:
    dispute = disputed(sandbox)
    answers.answer(dispute, text="Ada parked here.", by=sam, now=timezone.now())
    fault(sandbox, "disputes.provide_evidence", "refuse", status=422)
    given_back = answers.send_answer(dispute.pk)
    assert (given_back.answered_at, given_back.failure) == (None, "SANDBOX_REFUSED")
    assert answered(given_back, "Once more.", sam).status == "under_review"


# Giving in


def stripe_dispute(sandbox: Any) -> Dispute:
    session = checkout(held_booking())
    pay_card(session)
    payment = settle.settle(session.payment.pk)
    sandbox.post("/stripe-disputes", {"payment_intent": payment.provider_ref})
    settle.settle(payment.pk)
    return Dispute.objects.get()


@pytest.mark.parametrize("make", [disputed, stripe_dispute], ids=["paypal", "stripe"])
def test_a_dispute_is_accepted_once_with_reason_and_costs_once(sandbox: Any, sam: User, make: Any) -> None:
    dispute = make(sandbox)
    with pytest.raises(InvalidInput):
        answers.accept(dispute, reason=" ", by=sam, now=timezone.now())
    answers.accept(dispute, reason="Our mistake.", by=sam, now=timezone.now())
    for refused in (
        lambda: answers.accept(dispute, reason="Twice.", by=sam, now=timezone.now()),
        lambda: answers.answer(dispute, text="No!", by=sam, now=timezone.now()),
    ):
        with pytest.raises((answers.NotAcceptable, answers.NotAnswerable)):
            refused()
    for _again in range(2):
        assert answers.send_acceptance(dispute.pk).status == "lost"
    payment = settle.settle(dispute.payment_id)
    assert (payment.disputed_minor, payment.refunded_minor) == (payment.captured_minor, 0)
    assert booked("customer_disputes") == payment.captured_minor
    balances = sandbox.get("/ledger.json")["balances"]["gbp"]
    assert booked("provider_balance") == balances["net"]
    entry = AuditEntry.objects.get(action="dispute.accepted")
    assert (entry.actor, entry.reason) == (sam, "Our mistake.")
    assert not Refund.objects.exists()


@pytest.mark.parametrize("make", [disputed, stripe_dispute], ids=["paypal", "stripe"])
@pytest.mark.parametrize("behaviour", ["do_then_500", "refuse"])
def test_an_acceptance_whose_answer_was_lost_is_finished_by_the_janitor(
    sandbox: Any, sam: User, make: Any, behaviour: str
) -> None:
    dispute = make(sandbox)
    answers.accept(dispute, reason="Our mistake.", by=sam, now=timezone.now())
    operation = "stripe.disputes.close" if dispute.provider == "stripe" else "paypal.disputes.accept_claim"
    sandbox.post("/faults", {"operation": operation, "behaviour": behaviour, "status": 503, "times": 1})
    with pytest.raises(Exception, match="did not answer in time"):
        answers.send_acceptance(dispute.pk)
    age(dispute, accepted_at=timezone.now() - timedelta(minutes=5))
    for _again in range(2):
        janitor.sweep(now=timezone.now())
    assert Dispute.objects.get().status == "lost"
    assert booked("customer_disputes") == dispute.amount_minor


def test_giving_in_above_the_limit_waits_for_a_second_person(sandbox: Any, sam: User, settings: Any) -> None:
    settings.REFUND_APPROVAL_ABOVE = ["GBP:1.00", "EUR:1.00", "USD:1.00"]
    ava = User.objects.create_user("ava@staff.example", "a-long-test-password", is_staff=True)
    ava.user_permissions.set(Permission.objects.filter(codename__in=["view_dispute", "approve_refund"]))
    dispute = disputed(sandbox)
    page = reverse("admin:payments_dispute_accept", args=[dispute.pk])
    clients = {}
    for person in (sam, ava):
        clients[person] = Client()
        clients[person].force_login(person)
    assert "needs a second person" in clients[sam].get(page).content.decode()
    for reason, decide_by in (("Our mistake.", ava), ("Once more.", sam)):
        clients[sam].post(page, {"reason": reason})
        age(dispute, accepted_at=timezone.now() - timedelta(minutes=5))
        janitor.sweep(now=timezone.now())
        assert answers.send_acceptance(dispute.pk).status == "needs_response"
        clients[sam].post(page, {"decision": "approve"})
        dispute.refresh_from_db()
        assert dispute.waits_for_approval
        assert clients[decide_by].post(page, {"decision": "reject", "reason": "No."}).status_code == 302
        dispute.refresh_from_db()
        assert (dispute.acceptance, dispute.is_acceptable) == ("", True)
    clients[sam].post(page, {"reason": "It was ours."})
    with pytest.raises(answers.OwnRequest):
        answers.approve_acceptance(dispute.pk, by=sam, now=timezone.now())
    assert "It was ours." in clients[ava].get(page).content.decode()
    clients[ava].post(page, {"decision": "approve"})
    assert answers.send_acceptance(dispute.pk).status == "lost"
    actions = AuditEntry.objects.filter(action__startswith="dispute.acceptance_")
    assert sorted(actions.values_list("action", flat=True)) == [
        "dispute.acceptance_approved",
        "dispute.acceptance_rejected",
        "dispute.acceptance_withdrawn",
    ]


def test_an_inquiry_or_an_answered_dispute_is_not_accepted(sandbox: Any, sam: User) -> None:
    for dispute in (disputed(sandbox, stage="INQUIRY"),):
        with pytest.raises(answers.NotAcceptable, match="refund the payment instead"):
            answers.accept(dispute, reason="r", by=sam, now=timezone.now())
        escalated = decide(sandbox, dispute, "escalated")
        answers.answer(escalated, text="No.", by=sam, now=timezone.now())
        with pytest.raises(answers.NotAcceptable):
            answers.accept(escalated, reason="r", by=sam, now=timezone.now())


def test_staff_accept_in_the_admin_with_their_own_permission(sandbox: Any, sam: User) -> None:
    dispute = disputed(sandbox)
    page = reverse("admin:payments_dispute_accept", args=[dispute.pk])
    client = Client()
    client.force_login(sam)
    shown = client.get(page).content.decode()
    assert str(dispute.amount) in shown
    assert "This cannot be taken back" in " ".join(shown.split())
    assert client.post(page, {"reason": " "}).status_code == 400
    assert client.post(page, {"reason": "Our mistake."}).status_code == 302
    dispute.refresh_from_db()
    assert (dispute.acceptance, dispute.accepted_by) == ("Our mistake.", sam)
    assert "cannot be accepted now" in client.get(page).content.decode()
    assert (
        "Our mistake."
        in client.get(reverse("admin:payments_dispute_change", args=[dispute.pk])).content.decode()
    )
    sam.user_permissions.remove(Permission.objects.get(codename="accept_dispute"))
    client.force_login(User.objects.get(pk=sam.pk))
    assert client.post(page, {"reason": "x"}).status_code == 403
    assert AuditEntry.objects.filter(action="dispute.accept.denied").exists()
