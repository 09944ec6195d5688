"""Large refunds wait for a second person; refunds that failed are taken up; what was asked for before a dispute waits for the bank."""

from __future__ import annotations

import threading
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.models import User
from bookings.models import Booking
from bookings.services.access import manage_url
from bookings.services.cancel import cancel, preview_cancellation
from communications.models import Message
from foundation.models import AuditEntry, IdempotencyRecord
from payments.models import Break, Dispute, Document, LedgerEntry, Payment, Refund
from payments.services import approval, janitor, refund, retry, settle
from payments.services.approval import NotWaiting, OwnRequest
from payments.tests.world import age, checkout, held_booking, pay

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def books_are_right() -> Any:
    """The oracle after every test."""
    yield
    call_command("audit_books")


@pytest.fixture(autouse=True)
def limit(settings: Any) -> None:
    settings.REFUND_APPROVAL_ABOVE = ["GBP:10.00"]


def person(name: str, *may: str) -> User:
    user = User.objects.create_user(f"{name}@staff.example", "rather-long-Secret-7", is_staff=True)
    rows = Permission.objects.filter(content_type__app_label="payments")
    user.user_permissions.set(rows.filter(codename__startswith="view_") | rows.filter(codename__in=may))
    return user


@pytest.fixture
def sam(db: None) -> User:
    """Sam refunds, and may approve what others ask for."""
    return person("sam", "refund_payment", "approve_refund")


@pytest.fixture
def eve(db: None) -> User:
    """Eve approves."""
    return person("eve", "approve_refund")


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def api(user: User) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {accounts.issue_tokens(user).access}")
    return client


def paid(*, card: str = "pm_card_visa") -> Payment:
    session = checkout(held_booking())
    assert pay(session, card=card) == 200
    return settle.settle(session.payment.pk)


def ask(payment: Payment, amount_minor: int, by: User) -> Refund:
    return refund.request_refund(
        payment, amount_minor=amount_minor, reason="kind", requested_by=by, source="staff"
    )


def api_refund(client: APIClient, payment: Payment, key: str | None = "k", **body: Any) -> Any:
    return client.post(
        "/api/payments/refund",
        {"paymentId": str(payment.pk), **body},
        format="json",
        headers={"Idempotency-Key": key} if key else {},
    )


# --- Who must approve -------------------------------------------------------------------------------------------


def test_above_the_limit_nothing_is_sent_before_another_person_approves(
    sandbox: Any, sam: User, eve: User
) -> None:
    payment = paid()
    row = ask(payment, 1001, sam)
    assert refund.send_refund(row.pk).status == "requested"
    age(row, created_at=timezone.now() - timedelta(hours=30))
    janitor.sweep(now=timezone.now())
    assert Refund.objects.get().status == "requested"
    with pytest.raises(OwnRequest):
        approval.approve(row.pk, by=sam, now=timezone.now())
    approval.approve(row.pk, by=eve, now=timezone.now())
    assert refund.send_refund(row.pk).status == "succeeded"
    trail = AuditEntry.objects.get(action="refund.approved")
    assert (trail.actor, trail.data["refund"]) == (eve, str(row.pk))


def test_small_parts_add_up_whoever_asks_and_a_day_later_count_anew(sandbox: Any, sam: User) -> None:
    payment, other = paid(), person("oz", "refund_payment")
    first = ask(payment, 600, sam)
    assert not first.needs_approval
    second = ask(payment, 400, other)
    assert not second.needs_approval
    assert ask(payment, 1, other).needs_approval
    for row in (first, second):
        refund.send_refund(row.pk)
        age(row, created_at=timezone.now() - timedelta(hours=25))
    assert not ask(payment, 1000, sam).needs_approval


def test_paid_another_way_needs_and_counts_like_any_refund(sandbox: Any, sam: User, eve: User) -> None:
    """Otherwise one person could say again and again that the customer had the money in cash."""
    payment = paid()
    sandbox.post("/faults", {"operation": "stripe.refunds.create", "behaviour": "refuse", "times": 2})
    both = [refund.send_refund(ask(payment, 900, sam).pk) for _round in range(2)]
    assert [row.status for row in both] == ["failed", "failed"]
    made = [retry.settle_elsewhere(row.pk, reason="cash", by=sam, now=timezone.now()) for row in both]
    assert ask(payment, 200, sam).needs_approval, "cash counts for what is asked for next"
    assert [row.needs_approval for row in made] == [False, True]
    assert (made[1].status, LedgerEntry.objects.filter(account="paid_elsewhere").count()) == ("requested", 1)
    janitor.sweep(now=timezone.now() + timedelta(minutes=5))
    with pytest.raises(OwnRequest):
        approval.approve(made[1].pk, by=sam, now=timezone.now())
    done = approval.approve(made[1].pk, by=eve, now=timezone.now())
    done.refresh_from_db()
    assert (done.status, LedgerEntry.objects.filter(account="paid_elsewhere").count()) == ("succeeded", 2)
    assert not [one for one in sandbox.get("/ledger.json")["refunds"] if one["status"] == "succeeded"]


def test_what_failed_or_was_rejected_does_not_count(sandbox: Any, sam: User, eve: User) -> None:
    payment = paid()
    big = ask(payment, 1500, sam)
    approval.reject(big.pk, by=eve, reason="too much", now=timezone.now())
    assert not ask(payment, 1000, sam).needs_approval


def test_what_the_policy_gives_needs_nobody(sandbox: Any) -> None:
    payment = paid()
    booking, now = Booking.objects.get(), timezone.now()
    cancelled = cancel(booking, preview_token=preview_cancellation(booking, now=now).token, now=now)
    (row,) = refund.refund_cancellation(cancelled.pk)
    assert (row.needs_approval, row.amount_minor) == (False, payment.captured_minor)
    assert refund.send_refund(row.pk).status == "succeeded"


def test_a_currency_without_a_limit_never_waits(sandbox: Any, sam: User, settings: Any) -> None:
    for entries in ([], ["USD:0", "JPY:300"]):
        settings.REFUND_APPROVAL_ABOVE = entries
        assert not ask(paid_once(), 1500 if not entries else 100, sam).needs_approval


def paid_once() -> Payment:
    return Payment.objects.first() or paid()


@pytest.mark.parametrize("entry", ["USD", "USD:x", "GPB:10", "USD:-1", "USD:1.001", "JPY:1.5", "NaN:NaN", ""])
def test_a_limit_that_cannot_be_read_is_named_at_the_start(settings: Any, entry: str) -> None:
    settings.REFUND_APPROVAL_ABOVE = ["EUR:5.00", entry]
    problems = [problem for problem in run_checks(tags=["business"]) if problem.id == "parking.E008"]
    assert len(problems) == 1
    assert repr(entry) in str(problems[0].hint)


def test_the_same_currency_twice_is_refused(settings: Any) -> None:
    settings.REFUND_APPROVAL_ABOVE = ["EUR:5.00", "EUR:6.00"]
    assert [problem.id for problem in run_checks(tags=["business"])] == ["parking.E008"]


def test_ten_approve_and_reject_at_once_and_one_wins(sandbox: Any, sam: User) -> None:
    payment = paid()
    row = ask(payment, 1500, sam)
    people = [person(f"p{number}", "approve_refund") for number in range(6)]
    start, outcomes = threading.Barrier(6), []

    def decide(number: int) -> None:
        start.wait()
        try:
            if number % 2:
                approval.reject(row.pk, by=people[number], reason="no", now=timezone.now())
            else:
                approval.approve(row.pk, by=people[number], now=timezone.now())
            outcomes.append("done")
        except NotWaiting:
            outcomes.append("late")
        finally:
            connection.close()

    threads = [threading.Thread(target=decide, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["done"] + ["late"] * 5
    assert AuditEntry.objects.filter(action__in=["refund.approved", "refund.rejected"]).count() == 1
    payment.refresh_from_db()
    row.refresh_from_db()
    assert payment.reserved_minor == (0 if row.status == "cancelled" else 1500)


def test_two_who_ask_at_once_do_not_get_round_the_limit(sandbox: Any, sam: User) -> None:
    payment, start, waits = paid(), threading.Barrier(4), []

    def one() -> None:
        start.wait()
        try:
            waits.append(ask(payment, 600, sam).needs_approval)
        finally:
            connection.close()

    threads = [threading.Thread(target=one) for _number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(waits) == [False, True, True, True]


SENT = "UPDATE payments_refund SET status = 'submitted', submitted_at = now()"


@pytest.mark.parametrize(
    "statement",
    [
        SENT,
        SENT + ", approved_by_id = requested_by_id, approved_at = now()",
        SENT + ", needs_approval = false",
        "UPDATE payments_refund SET needs_approval = false",
        "UPDATE payments_refund SET requested_by_id = NULL",
        "UPDATE payments_refund SET requested_by_id = (SELECT id FROM accounts_user WHERE email = 'eve@staff.example')",
        "UPDATE payments_refund SET approved_by_id = requested_by_id, approved_at = now()",
        "UPDATE payments_refund SET approved_at = now()",
        "UPDATE payments_refund SET retries_id = id",
        "UPDATE payments_refund SET source = 'customer_cancellation'",
    ],
)
def test_the_database_lets_nobody_round_the_second_person(
    sandbox: Any, sam: User, eve: User, statement: str
) -> None:
    ask(paid(), 1500, sam)
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert Refund.objects.get().status == "requested"


def test_the_database_keeps_who_approved(sandbox: Any, sam: User, eve: User) -> None:
    row = ask(paid(), 1500, sam)
    approval.approve(row.pk, by=eve, now=timezone.now())
    refund.send_refund(row.pk)
    for statement in (
        "UPDATE payments_refund SET approved_by_id = NULL, approved_at = NULL",
        "UPDATE payments_refund SET approved_at = now() + interval '1 day'",
    ):
        with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)


# --- The staff's pages ------------------------------------------------------------------------------------------


def decide_page(row: Refund) -> str:
    return reverse("admin:payments_refund_decide", args=[row.pk])


def page_of(row: Refund) -> str:
    return reverse("admin:payments_refund_change", args=[row.pk])


def test_the_pages_from_asking_to_approving(sandbox: Any, sam: User, eve: User) -> None:
    payment = paid()
    page = reverse("admin:payments_payment_refund", args=[payment.pk])
    client = signed_in(sam)
    shown = client.post(page, {"amount": "15.00", "reason": "Barrier broken"})
    assert "Ask for approval of £15.00" in shown.content.decode()
    token = shown.context["preview"].token
    for _click in range(2):
        client.post(page, {"token": token})
    row = Refund.objects.get()
    assert row.waits_for_approval
    own = client.get(decide_page(row)).content.decode()
    assert "You cannot approve what you asked for" in own
    assert "Approve £15.00" not in own
    client.post(decide_page(row), {"decision": "approve"})
    assert Refund.objects.get().waits_for_approval
    assert "Refunds that wait for you" not in client.get(reverse("admin:index")).content.decode()
    eves = signed_in(eve)
    landing = eves.get(reverse("admin:index")).content.decode()
    assert "Refunds that wait for you" in landing
    assert "Approve or reject…" in eves.get(page_of(row)).content.decode()
    listed = eves.get(reverse("admin:payments_refund_changelist"), {"todo": "mine"}).content.decode()
    assert str(row.pk)[:8] in listed
    checked = eves.get(decide_page(row)).content.decode()
    for fact in ("£15.00", "sam@staff.example", "Barrier broken", "Visa"):
        assert fact in checked
    for _click in range(2):
        assert eves.post(decide_page(row), {"decision": "approve"}).status_code == 302
    assert AuditEntry.objects.filter(action="refund.approved").count() == 1
    assert refund.send_refund(row.pk).status == "succeeded"
    assert "Nothing is left to decide" in eves.get(decide_page(row)).content.decode()
    assert "Approve or reject…" not in eves.get(page_of(row)).content.decode()


def test_rejecting_needs_a_reason_and_frees_the_amount(sandbox: Any, sam: User, eve: User) -> None:
    payment = paid()
    row = ask(payment, 1500, sam)
    eves = signed_in(eve)
    assert eves.post(decide_page(row), {"decision": "reject", "reason": " "}).status_code == 400
    assert eves.post(decide_page(row), {"decision": "reject", "reason": "No receipt"}).status_code == 302
    row.refresh_from_db()
    payment.refresh_from_db()
    assert (row.status, row.note, payment.reserved_minor) == ("cancelled", "No receipt", 0)
    assert AuditEntry.objects.get(action="refund.rejected").reason == "No receipt"
    assert not Message.objects.filter(kind__startswith="refund").exists()


def test_who_asked_may_take_it_back(sandbox: Any) -> None:
    oz = person("oz", "refund_payment")
    row = ask(paid(), 1500, oz)
    signed_in(oz).post(decide_page(row), {"decision": "reject", "reason": "Wrong booking"})
    assert Refund.objects.get().status == "cancelled"
    assert AuditEntry.objects.get(action="refund.withdrawn").actor == oz


def test_a_viewer_sees_no_button_and_gets_403_in_the_audit_log(sandbox: Any, sam: User) -> None:
    row = ask(paid(), 1500, sam)
    vic = signed_in(person("vic"))
    assert "Approve or reject…" not in vic.get(page_of(row)).content.decode()
    assert vic.get(decide_page(row)).status_code == 403
    assert vic.post(decide_page(row), {"decision": "approve"}).status_code == 403
    assert vic.post(decide_page(row), {"decision": "reject", "reason": "x"}).status_code == 403
    assert AuditEntry.objects.filter(action="refund.approve.denied").count() == 3
    assert Refund.objects.get().waits_for_approval


def test_a_long_wait_is_a_reminder_and_no_violation(sandbox: Any, sam: User) -> None:
    row = ask(paid(), 1500, sam)
    age(row, created_at=timezone.now() - timedelta(hours=25))
    said = StringIO()
    call_command("audit_books", stdout=said)
    assert "waited for a second person" in said.getvalue()


def test_a_rejected_refund_does_not_take_what_a_later_cancellation_owes(
    sandbox: Any, sam: User, eve: User
) -> None:
    payment = paid()
    row = ask(payment, payment.captured_minor, sam)
    booking, now = Booking.objects.get(), timezone.now()
    preview = preview_cancellation(booking, now=now)
    assert preview.refund.amount_minor == 0
    cancel(booking, preview_token=preview.token, now=now)
    approval.reject(row.pk, by=eve, reason="the policy does it", now=timezone.now())
    made = Refund.objects.get(retries=row)
    assert refund.send_refund(made.pk).status == "succeeded"
    payment.refresh_from_db()
    assert payment.refunded_minor == payment.captured_minor


# --- Over the API -----------------------------------------------------------------------------------------------


def test_the_api_previews_then_does_exactly_that_once(sandbox: Any, sam: User) -> None:
    payment, client = paid(), api(sam)
    shown = api_refund(client, payment, key=None, amount="15.00", reason="Rain", preview=True)
    assert shown.status_code == 200, shown.content
    body = shown.json()
    left = payment.refundable.amount_minor - 1500
    assert (body["amount"], body["currency"], body["needsApproval"]) == ("15.00", "GBP", True)
    assert body["leftAfter"] == f"{left / 100:.2f}"
    assert not Refund.objects.exists()
    token = body["previewToken"]
    for wrong in ({"amount": "14.00"}, {"reason": "Sun"}):
        refused = api_refund(client, payment, key="w", previewToken=token, **wrong)
        assert (refused.status_code, refused.json()["code"]) == (409, "preview_outdated")
    done = api_refund(client, payment, key="a", previewToken=token)
    assert (done.status_code, done.json()["needsApproval"]) == (202, True)
    assert (Refund.objects.get().amount_minor, Refund.objects.get().reason) == (1500, "Rain")
    assert api_refund(client, payment, key="a", previewToken=token).content == done.content
    again = api_refund(client, payment, key="b", previewToken=token)
    assert (again.status_code, again.json()["code"]) == (409, "preview_used")
    assert Refund.objects.count() == 1


@pytest.mark.parametrize("preview", ["true", 1, "yes", "false", 0, "", None, [], "x"])
def test_a_preview_that_is_oddly_asked_for_moves_no_money(sandbox: Any, sam: User, preview: Any) -> None:
    answer = api_refund(api(sam), paid(), amount="5.00", reason="Rain", preview=preview)
    assert answer.status_code in {200, 400}, answer.content
    assert ("previewToken" in answer.json()) == (answer.status_code == 200)
    assert not Refund.objects.exists()


def test_a_token_lapses_and_is_nobody_elses_nor_of_another_payment(
    sandbox: Any, sam: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment, other = paid(), person("oz", "refund_payment")
    token = api_refund(api(sam), payment, key=None, amount="5", reason="Rain", preview=True).json()[
        "previewToken"
    ]
    assert api_refund(api(other), payment, previewToken=token).json()["code"] == "preview_outdated"
    for forged in (token[:-2] + "xx", "x", token + "é"):
        assert api_refund(api(sam), payment, key="f", previewToken=forged).status_code == 409
    later = timezone.now() + timedelta(minutes=15)
    monkeypatch.setattr("payments.api.views.timezone.now", lambda: later)
    lapsed = api_refund(api(sam), payment, key="l", previewToken=token)
    assert (lapsed.status_code, lapsed.json()["code"]) == (409, "preview_outdated")
    assert not Refund.objects.exists()


def test_a_preview_is_outdated_once_other_refunds_change_who_must_approve(sandbox: Any, sam: User) -> None:
    payment, client = paid(), api(sam)
    token = api_refund(client, payment, key=None, amount="9", reason="Rain", preview=True).json()[
        "previewToken"
    ]
    assert api_refund(client, payment, key="x", amount="5", reason="Snow").json()["needsApproval"] is False
    assert api_refund(client, payment, key="y", previewToken=token).json()["code"] == "preview_outdated"
    assert Refund.objects.count() == 1
    assert not IdempotencyRecord.objects.filter(route="refund preview").exists()


@pytest.mark.parametrize(
    "body",
    [
        {"preview": True, "previewToken": "x", "reason": "r"}, {"preview": "perhaps", "reason": "r"}, {}, {"preview": True},
        {"previewToken": ""}, {"previewToken": 7.5, "amount": "NaN"}, {"reason": "r", "amount": "1e309"},
        {"reason": "r", "amount": 2**63, "preview": True}, {"reason": "r", "amount": "0.001", "preview": True},
        {"reason": "r", "amount": "-1", "preview": True}, {"reason": "r", "amount": 0},
    ],
)  # fmt: skip
def test_a_refund_that_says_nothing_clear_is_400_and_no_row(
    sandbox: Any, sam: User, body: dict[str, Any]
) -> None:
    answer = api_refund(api(sam), paid(), **body)
    assert answer.status_code in {400, 409}, answer.content
    assert not Refund.objects.exists()
    assert not IdempotencyRecord.objects.exists()


def test_the_owner_previews_what_the_policy_gives_and_others_see_nothing(sandbox: Any) -> None:
    ada = User.objects.create_user("ada@example.com", "rather-long-Secret-7")
    ben = User.objects.create_user("ben@example.com", "rather-long-Secret-7")
    booking = held_booking(user=ada)
    session = checkout(booking)
    pay(session)
    payment = settle.settle(session.payment.pk)
    assert api_refund(api(ben), payment, key=None, reason="r", preview=True).status_code == 404
    early = api_refund(api(ada), payment, key=None, reason="r", preview=True)
    assert (early.status_code, early.json()["code"]) == (403, "not_allowed")
    booking.refresh_from_db()
    now = timezone.now()
    due = cancel(booking, preview_token=preview_cancellation(booking, now=now).token, now=now)
    too_much = api_refund(api(ada), payment, key=None, reason="r", amount="999", preview=True)
    assert too_much.status_code == 403
    assert f"{due.refund_minor / 100:.2f}" in too_much.json()["detail"]
    shown = api_refund(api(ada), payment, key=None, reason="r", preview=True).json()
    assert (shown["amount"], shown["needsApproval"]) == (f"{due.refund_minor / 100:.2f}", False)
    assert api_refund(api(ben), payment, key="b", previewToken=shown["previewToken"]).status_code == 404
    done = api_refund(api(ada), payment, key="o", previewToken=shown["previewToken"])
    assert done.status_code == 202, done.content
    assert Refund.objects.get().amount_minor == due.refund_minor
    again = api_refund(api(ada), payment, key=None, reason="r", preview=True)
    assert (again.status_code, again.json()["code"]) == (409, "refund_started")


# --- What failed ------------------------------------------------------------------------------------------------


def failed(sandbox: Any, by: User, amount_minor: int = 900) -> Refund:
    """A refund that the bank took and returned later."""
    payment = paid()
    row = refund.send_refund(ask(payment, amount_minor, by).pk)
    assert row.status == "succeeded"
    sandbox.post(f"/stripe-refunds/{row.provider_ref}", {"status": "failed"})
    settle.settle(payment.pk)
    row.refresh_from_db()
    assert row.status == "failed"
    return row


def take_up_page(row: Refund) -> str:
    return reverse("admin:payments_refund_take_up", args=[row.pk])


def test_staff_send_a_returned_refund_again_once(sandbox: Any, sam: User) -> None:
    row = failed(sandbox, sam)
    client = signed_in(sam)
    assert "Refunds that failed" in client.get(reverse("admin:index")).content.decode()
    assert Break.objects.filter(resolved_at=None).count() == 1
    shown = client.get(take_up_page(row)).content.decode()
    assert "Send £9.00 again" in shown
    body = {"how": "again", "reason": "The card works again", "shown_approval": "no"}
    assert client.post(take_up_page(row), {**body, "reason": ""}).status_code == 400
    for _click in range(2):
        assert client.post(take_up_page(row), body).status_code == 302
    again = Refund.objects.get(retries=row)
    assert (again.amount_minor, again.source) == (900, "retry")
    assert "Refunds that failed" not in client.get(reverse("admin:index")).content.decode()
    assert not Break.objects.filter(resolved_at=None).exists()
    assert refund.send_refund(again.pk).status == "succeeded"
    payment = Payment.objects.get()
    assert (payment.refunded_minor, payment.reserved_minor) == (900, 900)
    kinds = Message.objects.filter(channel="email").order_by("queued_at").values_list("kind", flat=True)
    assert [kind for kind in kinds if kind.startswith("refund")] == [
        "refund_issued",
        "refund_failed",
        "refund_issued",
    ]
    assert AuditEntry.objects.get(action="refund.retried").data["failed"] == str(row.pk)
    assert "needs nothing more" in client.get(take_up_page(row)).content.decode()


def test_a_refund_refused_at_once_can_be_tried_again_under_a_new_key(sandbox: Any, sam: User) -> None:
    payment = paid()
    sandbox.post("/faults", {"operation": "stripe.refunds.create", "behaviour": "refuse", "times": 1})
    row = refund.send_refund(ask(payment, 900, sam).pk)
    assert row.status == "failed"
    again = retry.retry_refund(row.pk, reason="now", by=sam, shown_approval=False, now=timezone.now())
    assert refund.send_refund(again.pk).status == "succeeded"
    assert again.pk != row.pk


def test_a_failed_refund_that_was_paid_another_way_counts_and_is_told_truly(sandbox: Any, sam: User) -> None:
    row = failed(sandbox, sam)
    client = signed_in(sam)
    body = {"how": "elsewhere", "reason": "Bank transfer of 24 November"}
    for _click in range(2):
        client.post(take_up_page(row), body)
    made = Refund.objects.get(retries=row)
    assert (made.status, made.source, made.reason) == ("succeeded", "elsewhere", body["reason"])
    payment = Payment.objects.get()
    assert (payment.refunded_minor, payment.reserved_minor) == (900, 900)
    entry = LedgerEntry.objects.get(account="paid_elsewhere")
    assert (entry.amount_minor, entry.transaction.refund_id) == (-900, made.pk)
    assert Document.objects.filter(refund=made, kind="credit_note").count() == 1
    told = Message.objects.filter(kind="refund_issued", channel="email").order_by("-queued_at")[0]
    assert "another way" in told.variables["refund_status_text"]
    assert not retry.unresolved().exists()
    settle.settle(payment.pk)
    booking = Booking.objects.get()
    page = Client().get(manage_url(booking), follow=True).content.decode()
    assert page.count("£9.00") >= 1
    assert "another way" in page


def test_a_retry_asks_for_a_second_person_only_where_the_first_try_would(
    sandbox: Any, sam: User, eve: User, settings: Any
) -> None:
    row = failed(sandbox, sam)
    settings.REFUND_APPROVAL_ABOVE = ["GBP:5.00"]
    assert retry.retry_needs_approval(row, now=timezone.now())
    with pytest.raises(retry.PlanChanged):
        retry.retry_refund(row.pk, reason="x", by=sam, shown_approval=False, now=timezone.now())
    again = retry.retry_refund(row.pk, reason="x", by=sam, shown_approval=True, now=timezone.now())
    assert refund.send_refund(again.pk).status == "requested"
    with pytest.raises(retry.NotRetryable):
        retry.retry_refund(row.pk, reason="x", by=sam, shown_approval=True, now=timezone.now())
    approval.reject(again.pk, by=eve, reason="wait", now=timezone.now())
    assert retry.unresolved().get() == row  # rejected: it is open again
    third = retry.retry_refund(row.pk, reason="x", by=sam, shown_approval=True, now=timezone.now())
    approval.approve(third.pk, by=eve, now=timezone.now())
    assert refund.send_refund(third.pk).status == "succeeded"
    sandbox.post(f"/stripe-refunds/{Refund.objects.get(pk=third.pk).provider_ref}", {"status": "failed"})
    settle.settle(third.payment_id)
    third.refresh_from_db()
    assert not retry.retry_needs_approval(third, now=timezone.now())  # approved once already


def test_a_failed_refund_that_is_owed_no_more_is_closed_with_a_reason(sandbox: Any, sam: User) -> None:
    row = failed(sandbox, sam)
    opened = dispute(sandbox, row.payment)
    sandbox.post(f"/stripe-disputes/{opened.provider_ref}", {"status": "lost"})
    settle.settle(row.payment_id)
    client = signed_in(sam)
    page = client.get(take_up_page(row)).content.decode()
    assert "Less than this is left" in page
    assert "Send £9.00 again" not in page
    with pytest.raises(refund.RefundExceedsCaptured):
        retry.retry_refund(row.pk, reason="x", by=sam, shown_approval=False, now=timezone.now())
    assert client.post(take_up_page(row), {"how": "close", "reason": ""}).status_code == 400
    for _click in range(2):
        assert client.post(take_up_page(row), {"how": "close", "reason": "The bank paid"}).status_code == 302
    assert not retry.unresolved().exists()
    assert AuditEntry.objects.get(action="refund.closed").reason == "The bank paid"
    assert "no longer due" in api(sam).get(f"/api/payments/transactions/{row.pk}").json()["detail"]
    assert not Break.objects.filter(resolved_at=None, kind="state").exists()


def test_two_retries_at_once_make_one(sandbox: Any, sam: User) -> None:
    row, start, outcomes = failed(sandbox, sam), threading.Barrier(4), []

    def again(number: int) -> None:
        start.wait()
        try:
            if number % 2:
                retry.settle_elsewhere(row.pk, reason="cash", by=sam, now=timezone.now())
            else:
                retry.retry_refund(row.pk, reason="x", by=sam, shown_approval=False, now=timezone.now())
            outcomes.append("done")
        except retry.NotRetryable:
            outcomes.append("late")
        finally:
            connection.close()

    threads = [threading.Thread(target=again, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["done", "late", "late", "late"]
    with pytest.raises(IntegrityError), transaction.atomic():
        Refund.objects.create(
            payment=row.payment, amount_minor=1, currency="GBP", source="retry", retries=row, requested_by=sam
        )


def test_only_a_failed_refund_of_the_same_payment_is_taken_up(sandbox: Any, sam: User) -> None:
    payment = paid()
    good = refund.send_refund(ask(payment, 100, sam).pk)
    with pytest.raises(retry.NotRetryable):
        retry.retry_refund(good.pk, reason="x", by=sam, shown_approval=False, now=timezone.now())
    with pytest.raises(IntegrityError), transaction.atomic():
        Refund.objects.create(payment=payment, amount_minor=1, currency="GBP", source="retry", retries=good)
    vic = signed_in(person("vic"))
    assert vic.post(take_up_page(good), {"how": "again", "reason": "x"}).status_code == 403
    assert AuditEntry.objects.filter(action="refund.retry.denied").count() == 1


def test_the_customer_reads_that_a_refund_failed_and_why(sandbox: Any, sam: User) -> None:
    payment = paid(card="pm_card_refundFail")
    row = refund.send_refund(ask(payment, 900, sam).pk)
    assert row.status == "pending"
    booking = Booking.objects.get()
    page = Client().get(manage_url(booking), follow=True).content.decode()
    assert "on its way" in page
    sandbox.post(f"/stripe-refunds/{row.provider_ref}", {"status": "failed"})
    settle.settle(payment.pk)
    page = Client().get(manage_url(booking), follow=True).content.decode()
    assert "did not arrive" in page
    assert "on its way" not in page
    listed = api(sam).get(f"/api/payments/transactions/{row.pk}").json()
    assert listed["status"] == "failed"
    assert listed["detail"].startswith("It did not arrive.")
    told = Message.objects.get(kind="refund_failed", channel="email")
    assert told.variables["cause"]


def test_a_cancellation_whose_refund_is_refused_at_once_is_told_so(sandbox: Any) -> None:
    paid()
    booking, now = Booking.objects.get(), timezone.now()
    cancelled = cancel(booking, preview_token=preview_cancellation(booking, now=now).token, now=now)
    (row,) = refund.refund_cancellation(cancelled.pk)
    sandbox.post("/faults", {"operation": "stripe.refunds.create", "behaviour": "refuse", "times": 1})
    assert refund.send_refund(row.pk).status == "failed"
    told = Message.objects.get(kind="cancellation", channel="email")
    assert told.variables["refund_status_text"].startswith("It did not arrive.")
    assert not Message.objects.filter(kind="refund_failed").exists()


# --- Disputes ---------------------------------------------------------------------------------------------------


def dispute(sandbox: Any, payment: Payment) -> Dispute:
    sandbox.post("/stripe-disputes", {"payment_intent": payment.provider_ref})
    settle.settle(payment.pk)
    return Dispute.objects.get()


def test_a_refund_asked_for_before_a_dispute_waits_and_goes_out_when_won(sandbox: Any, sam: User) -> None:
    payment = paid()
    row = ask(payment, 900, sam)
    opened = dispute(sandbox, payment)
    age(row, created_at=timezone.now() - timedelta(hours=3))
    assert refund.send_refund(row.pk).status == "requested"
    janitor.sweep(now=timezone.now())
    call_command("audit_books")
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(SENT)
    page = Client().get(manage_url(Booking.objects.get()), follow=True).content.decode()
    assert "This payment is disputed." in page
    assert "waits for your bank" in page
    assert "disputed" in api(sam).get(f"/api/payments/transactions/{payment.pk}").json()["detail"].lower()
    sandbox.post(f"/stripe-disputes/{opened.provider_ref}", {"status": "won"})
    settle.settle(payment.pk)
    janitor.sweep(now=timezone.now())
    row.refresh_from_db()
    assert row.status == "succeeded"


def test_a_refund_asked_for_before_a_lost_dispute_is_cancelled_with_the_reason(
    sandbox: Any, sam: User
) -> None:
    payment = paid()
    row = ask(payment, 900, sam)
    opened = dispute(sandbox, payment)
    sandbox.post(f"/stripe-disputes/{opened.provider_ref}", {"status": "lost"})
    settle.settle(payment.pk)
    row.refresh_from_db()
    payment.refresh_from_db()
    assert (row.status, payment.reserved_minor) == ("cancelled", 0)
    assert "dispute" in row.note
    assert refund.send_refund(row.pk).status == "cancelled"
    assert AuditEntry.objects.filter(action="refund.cancelled").count() == 1


def test_a_cancellations_refund_before_a_lost_dispute_is_given_up_and_the_customer_told(sandbox: Any) -> None:
    payment = paid()
    booking, now = Booking.objects.get(), timezone.now()
    cancelled = cancel(booking, preview_token=preview_cancellation(booking, now=now).token, now=now)
    (_row,) = refund.refund_cancellation(cancelled.pk)
    opened = dispute(sandbox, payment)
    sandbox.post(f"/stripe-disputes/{opened.provider_ref}", {"status": "lost"})
    settle.settle(payment.pk)
    janitor.sweep(now=timezone.now())
    assert Refund.objects.get().status == "cancelled"
    assert Message.objects.filter(kind="cancellation", channel="email").count() == 1


def test_an_approval_during_a_dispute_is_kept_until_the_bank_decides(
    sandbox: Any, sam: User, eve: User
) -> None:
    payment = paid()
    row = ask(payment, 1500, sam)
    opened = dispute(sandbox, payment)
    assert "still waits for its decision" in signed_in(eve).get(decide_page(row)).content.decode()
    approval.approve(row.pk, by=eve, now=timezone.now())
    assert refund.send_refund(row.pk).status == "requested"
    sandbox.post(f"/stripe-disputes/{opened.provider_ref}", {"status": "won"})
    settle.settle(payment.pk)
    assert refund.send_refund(row.pk).status == "succeeded"
