"""The staff's pages about breaks: each previews, asks why, is audited, and works once however often it is pressed."""

from __future__ import annotations

import threading
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from foundation.models import AuditEntry
from payments.models import Break, ReconciliationRun, Refund, StrayRefund
from payments.services import janitor, strays
from payments.services.refund import send_refund
from payments.tests.test_reconciliation import booking, captured, provider, run, stray_charge

pytestmark = pytest.mark.django_db(transaction=True)
ACTS = ["look", "refund", "approve", "reject", "not_ours", "confirm", "resolve"]


def staff(name: str, *codenames: str) -> Client:
    user = get_user_model().objects.create_user(
        f"{name}@staff.example", "a-long-test-password", is_staff=True
    )
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    user.user_permissions.add(*Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def sam() -> Client:
    return staff("sam", "refund_payment", "change_break", "start_reconciliation")


@pytest.fixture
def vic() -> Client:
    return staff("vic")


def page(act: str, found: Break) -> str:
    return reverse(f"admin:payments_break_{act}", args=[found.pk])


def stray(**more: Any) -> Break:
    intent = stray_charge(**more)
    run()
    return Break.objects.get(provider_ref=intent.id)


def offered(client: Client, found: Break) -> set[str]:
    text = client.get(reverse("admin:payments_break_change", args=[found.pk])).content.decode()
    words = {
        "Look again…": "look", "Refund at the provider…": "refund", "It is not ours…": "not_ours", "Confirm by hand…": "confirm",
        "Resolve…": "resolve",
    }  # fmt: skip
    return {name for word, name in words.items() if word in text}


def test_only_what_fits_and_what_one_may_is_offered(sandbox: Any, sam: Client, vic: Client) -> None:
    found = stray()
    assert offered(sam, found) == {"look", "refund", "not_ours", "resolve"}
    assert offered(vic, found) == set()
    assert offered(staff("kim", "change_break"), found) == {"look", "not_ours", "resolve"}
    for act in ACTS:
        assert vic.get(page(act, found)).status_code == 403
        assert vic.post(page(act, found), {"reason": "x"}).status_code == 403
    assert AuditEntry.objects.filter(action__endswith=".denied").count() == 2 * len(ACTS)
    found.refresh_from_db()
    assert found.resolved_at is None


def test_the_queue_has_the_oldest_open_break_on_top(sandbox: Any, sam: Client) -> None:
    for number, (days, closed) in enumerate([(1, False), (9, False), (20, True)]):
        row = Break.objects.create(kind="state", provider="stripe", provider_ref=f"x{number}")
        at = timezone.now() - timedelta(days=days)
        Break.objects.filter(pk=row.pk).update(opened_at=at, resolved_at=timezone.now() if closed else None)
    rows = sam.get(reverse("admin:payments_break_changelist")).context["cl"].result_list
    assert [row.provider_ref for row in rows] == ["x1", "x0", "x2"]


def test_a_stray_is_previewed_refunded_once_and_closes_its_break(sandbox: Any, sam: Client) -> None:
    found = stray()
    shown = sam.get(page("refund", found))
    assert "£50.00" in shown.content.decode()
    form = {"shown": shown.context["preview"].amount.amount_minor}
    assert sam.post(page("refund", found), {**form, "reason": " "}).status_code == 400
    start = threading.Barrier(2)

    def press() -> None:
        start.wait(10)
        sam_again = Client()
        sam_again.cookies = sam.cookies
        sam_again.post(page("refund", found), {**form, "reason": "Taken by mistake"})
        connection.close()

    threads = [threading.Thread(target=press) for _each in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    strays.send_refund(StrayRefund.objects.get().pk)
    found.refresh_from_db()
    assert found.resolved_by is not None
    assert [one["amount_minor"] for one in sandbox.get("/ledger.json")["refunds"]] == [5000]
    assert AuditEntry.objects.get(action="break.refund_requested").reason == "Taken by mistake"


def test_a_large_stray_waits_for_a_second_person_and_parts_add_up(
    sandbox: Any, sam: Client, vic: Client, settings: Any
) -> None:
    settings.REFUND_APPROVAL_ABOVE = ["GBP:60.00"]
    ava = staff("ava", "approve_refund")
    first, second = stray(), stray()
    for found in (first, second):
        form = {"shown": sam.get(page("refund", found)).context["preview"].amount.amount_minor}
        sam.post(page("refund", found), {**form, "reason": "Taken by mistake"})
    alone, waits = StrayRefund.objects.order_by("created_at")
    assert (alone.needs_approval, waits.waits_for_approval) == (False, True)
    StrayRefund.objects.update(created_at=timezone.now() - timedelta(minutes=5))
    janitor.sweep(now=timezone.now())
    strays.send_refund(waits.pk)
    assert [one["amount_minor"] for one in sandbox.get("/ledger.json")["refunds"]] == [5000]
    assert "Waits for a second person" in sam.get(reverse("admin:payments_break_changelist")).content.decode()
    assert sam.post(page("approve", second)).status_code == 403
    assert vic.post(page("approve", second)).status_code == 403
    sam_too = get_user_model().objects.get(email="sam@staff.example")
    with pytest.raises(strays.OwnRequest):
        strays.approve(second.pk, by=sam_too, now=timezone.now())
    assert "Taken by mistake" in ava.get(page("approve", second)).content.decode()
    for _again in range(2):
        ava.post(page("approve", second))
    strays.send_refund(waits.pk)
    assert [one["amount_minor"] for one in sandbox.get("/ledger.json")["refunds"]] == [5000, 5000]
    second.refresh_from_db()
    assert second.resolved_at is not None
    assert AuditEntry.objects.filter(action="break.refund_approved").count() == 1


def test_a_rejected_or_failed_stray_can_be_tried_anew(sandbox: Any, sam: Client, settings: Any) -> None:
    settings.REFUND_APPROVAL_ABOVE = ["GBP:10.00"]
    ava, found = staff("ava", "approve_refund"), stray()
    form = {"shown": 5000, "reason": "Taken by mistake"}
    sam.post(page("refund", found), form)
    assert ava.post(page("reject", found), {"reason": " "}).status_code == 400
    ava.post(page("reject", found), {"reason": "It is the one of Monday"})
    assert StrayRefund.objects.get().status == "cancelled"
    settings.REFUND_APPROVAL_ABOVE = []
    sam.post(page("refund", found), form)
    sandbox.post(
        "/faults", {"operation": "stripe.refunds.create", "behaviour": "refuse", "status": 400, "times": 1}
    )
    tried = StrayRefund.objects.get(status="requested")
    assert strays.send_refund(tried.pk).status == "failed"
    assert "refund" in offered(sam, found)
    sam.post(page("refund", found), form)
    again = StrayRefund.objects.get(status="requested")
    assert strays.send_refund(again.pk).status == "succeeded"
    assert [one["amount_minor"] for one in sandbox.get("/ledger.json")["refunds"]] == [5000]


def test_a_refund_made_meanwhile_changes_what_is_shown_and_nothing_is_sent(sandbox: Any, sam: Client) -> None:
    found = stray()
    form = {"shown": sam.get(page("refund", found)).context["preview"].amount.amount_minor, "reason": "x"}
    provider().v1.refunds.create({"payment_intent": found.provider_ref, "amount": 1000})
    answer = sam.post(page("refund", found), form, follow=True)
    assert "has changed meanwhile" in answer.content.decode()
    assert StrayRefund.objects.count() == 0
    assert sam.get(page("refund", found)).context["preview"].amount.amount_minor == 4000


def test_a_provider_that_is_down_is_said_so(sandbox: Any, sam: Client) -> None:
    found = stray()
    sandbox.post(
        "/faults",
        {"operation": "stripe.payment_intents.retrieve", "behaviour": "refuse", "status": 503, "times": 9},
    )
    for act, form in (("refund", {"shown": 5000, "reason": "x"}), ("look", {})):
        answer = sam.post(page(act, found), form, follow=True)
        assert (answer.status_code, "does not answer" in answer.content.decode()) == (200, True)
    found.refresh_from_db()
    assert (found.resolved_at, StrayRefund.objects.count()) == (None, 0)


def test_what_is_not_ours_is_not_asked_again(sandbox: Any, sam: Client) -> None:
    found = stray()
    assert sam.post(page("not_ours", found), {"reason": "The kiosk's"}).status_code == 302
    sam.post(page("not_ours", found), {"reason": "Twice"})
    found.refresh_from_db()
    assert found.resolution == "The kiosk's"
    assert AuditEntry.objects.get(action="break.not_ours").reason == "The kiosk's"
    done = run()
    assert (done.opened, [line["unexplained"] for line in done.balances]) == (0, [0])


def test_looking_again_closes_what_is_gone(sandbox: Any, sam: Client) -> None:
    found = stray()
    assert "still there" in sam.post(page("look", found), follow=True).content.decode()
    provider().v1.refunds.create({"payment_intent": found.provider_ref})
    assert "Its cause is gone" in sam.post(page("look", found), follow=True).content.decode()
    assert AuditEntry.objects.filter(action="break.looked_again").count() == 2
    again = sam.get(page("look", found), follow=True).content.decode()
    found.refresh_from_db()
    assert f"by the comparison itself: {found.resolution.rstrip('.')}. Nothing was changed." in unescape(
        again
    )


def test_a_refund_is_confirmed_by_hand_from_its_break(sandbox: Any, sam: Client) -> None:
    payment = captured()
    refund = Refund.objects.create(
        payment=payment, amount_minor=900, currency=payment.currency, source="staff"
    )
    long_ago = timezone.now() - timedelta(hours=30)
    Refund.objects.filter(pk=refund.pk).update(status="submitted", submitted_at=long_ago)
    send_refund(refund.pk)
    found = Break.objects.get()
    assert offered(sam, found) == {"look", "confirm", "resolve"}
    assert str(refund.pk) in sam.get(page("confirm", found)).content.decode()
    shown = sam.get(reverse("admin:payments_break_change", args=[found.pk])).content.decode()
    assert reverse("admin:payments_refund_change", args=[refund.pk]) in shown
    assert f"/stripe-payments/{payment.provider_ref}" in shown, "the provider's page of its payment"
    wrong = sam.post(page("confirm", found), {"reason": "Seen"})
    assert wrong.status_code == 400
    assert 'role="alert" tabindex="-1" autofocus' in wrong.content.decode()
    sam.post(page("confirm", found), {"reason": "Seen", "outcome": "made"})
    sam.post(page("confirm", found), {"reason": "Seen", "outcome": "not_made"})
    refund.refresh_from_db()
    assert refund.status == "succeeded"
    assert AuditEntry.objects.get(action="break.refund_confirmed_made").reason == "Seen"


def test_an_empty_list_of_payouts_says_how_they_come(vic: Client) -> None:
    address = reverse("admin:payments_payout_changelist")
    assert "as soon as a provider sends money to our bank" in vic.get(address).content.decode()
    assert "Nothing matches" in vic.get(address, {"q": "po_of_nobody"}).content.decode()


def test_a_run_is_started_by_those_who_may_and_read_by_all(sandbox: Any, sam: Client, vic: Client) -> None:
    start, runs = (reverse(f"admin:payments_reconciliationrun_{name}") for name in ("start", "changelist"))
    assert (vic.get(start).status_code, vic.get(runs).status_code) == (403, 200)
    assert "Reconcile now…" not in vic.get(runs).content.decode()
    assert "Reconcile now…" in sam.get(runs).content.decode()
    assert sam.post(start, {"days": 99}).status_code == 400
    for _each in range(2):
        assert sam.post(start, {"days": 3}).status_code == 302
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'payments.reconcile'")
        assert cursor.fetchone() == (2,)  # one per provider; a second press is absorbed
    captured()
    done = run()
    shown = vic.get(reverse("admin:payments_reconciliationrun_change", args=[done.pk])).content.decode()
    assert "Our books say" in shown


def test_the_landing_page_says_how_the_last_comparison_went(sandbox: Any) -> None:
    root = Client()
    root.force_login(
        get_user_model().objects.create_superuser("root@staff.example", "a-long-test-password"),
        backend="django.contrib.auth.backends.ModelBackend",
    )

    def figure() -> Any:
        found = root.get(reverse("admin:index")).context["money_figures"]
        return next(one for one in found if one.label == "Compared with the providers")

    assert (figure().value, figure().mood) == ("Never", "wait")
    assert booking().pk
    run(later=timedelta())
    assert (figure().mood, figure().note) == ("good", "")
    ReconciliationRun.objects.update(clock_skew_seconds=600)
    assert (figure().mood, "600" in figure().note) == ("bad", True)
    ReconciliationRun.objects.update(clock_skew_seconds=0, error="The provider did not answer.")
    assert figure().mood == "bad"
    ReconciliationRun.objects.update(error="", finished_at=timezone.now() - timedelta(hours=2))
    assert figure().mood == "bad"
