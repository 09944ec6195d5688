"""Trying out stolen cards: counted by customer, address and card, stopped, seen by staff and let go."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from bookings.services.access import guest_token_for
from bookings.tests.world import make_product
from foundation.models import AuditEntry
from payments.models import CardBreaker, Decline, Payment
from payments.services import checkout, declines
from payments.services.charge import MethodDeclined, pay_with_saved
from payments.services.methods import begin_setup
from payments.services.settle import settle
from payments.tests.world import held_booking, pay, saved_card

pytestmark = pytest.mark.django_db(transaction=True)
HOME, SHOP = "192.0.2.1", "192.0.2.2"
DECLINED = "pm_card_chargeDeclined"


@pytest.fixture(autouse=True)
def few(settings: Any) -> None:
    settings.CARD_DECLINES = [5, 3, 4]


def begin(booking: Any, *, address: str = HOME, user: Any = None, **more: Any) -> checkout.CheckoutSession:
    return checkout.start(booking, user=user, address=address, now=timezone.now(), **more)


def decline(session: checkout.CheckoutSession, card: str = DECLINED) -> Payment:
    assert pay(session, card=card) == 402
    return settle(session.payment.pk)


def test_each_decline_is_counted_once_and_says_nobodys_name(sandbox: Any) -> None:
    session = begin(held_booking())
    decline(session)
    settle(session.payment.pk)
    settle(session.payment.pk)
    row = Decline.objects.get()
    assert row.code == "generic_decline"
    assert all(len(key) == 64 for key in (row.address_key, row.account_key, row.card_key))
    assert HOME not in str(vars(row))
    decline(session)
    assert Decline.objects.count() == 2
    assert Decline.objects.values("card_key").distinct().count() == 1


def test_too_many_declines_of_one_customer_stop_them_and_withdraw_the_payment(sandbox: Any) -> None:
    product = make_product(capacity=9)
    booking = held_booking(product, email="eve@example.com")
    session = begin(booking)
    cards = ("pm_card_chargeDeclined", "pm_card_chargeDeclinedLostCard", "pm_card_chargeDeclinedStolenCard")
    for card in cards:
        payment = decline(session, card)
    assert CardBreaker.objects.get().scope == "account"
    from payments.tasks import withdraw_payment

    withdraw_payment(str(payment.pk))
    payment.refresh_from_db()
    assert payment.status == "cancelled"
    assert pay(session) >= 400  # the secret that the browser holds opens nothing any more
    for again in (booking, held_booking(product, email="EVE@example.com")):
        with pytest.raises(declines.TooManyDeclines):
            begin(again, address=SHOP)
    begin(held_booking(product), address=HOME)  # others from there are served
    assert AuditEntry.objects.filter(action="card_breaker.tripped").count() == 1


def test_the_payment_is_withdrawn_by_a_job_of_the_same_commit(sandbox: Any) -> None:
    from procrastinate.contrib.django.models import ProcrastinateJob

    session = begin(held_booking())
    for _try in range(3):
        decline(session)
    jobs = ProcrastinateJob.objects.filter(task_name="payments.withdraw_payment")
    assert [job.args for job in jobs] == [{"payment_id": str(session.payment.pk)}]


def test_one_card_tried_under_many_names_and_from_many_places(sandbox: Any) -> None:
    product = make_product(capacity=9)
    for number in range(4):
        booking = held_booking(product)
        decline(begin(booking, address=f"203.0.113.{number}"))
    assert CardBreaker.objects.get().scope == "card"
    with pytest.raises(declines.TooManyDeclines):
        begin(booking, address=SHOP)
    begin(held_booking(product), address=SHOP)


def test_many_names_from_one_address(sandbox: Any, settings: Any) -> None:
    settings.CARD_DECLINES = [3, 50, 50]
    product = make_product(capacity=9)
    for _number in range(3):
        decline(begin(held_booking(product)))
    assert CardBreaker.objects.get().scope == "address"
    other = held_booking(product)
    with pytest.raises(declines.TooManyDeclines):
        begin(other)
    begin(other, address=SHOP)


def test_saved_cards_count_and_are_stopped_too(sandbox: Any) -> None:
    ada = User.objects.create_user("ada@example.com", "tango-bravo-917")
    method = saved_card(ada, card="pm_card_chargeCustomerFail")
    booking = held_booking(user=ada, email=ada.email)
    for _try in range(3):
        with pytest.raises(MethodDeclined):
            pay_with_saved(booking, method=method, address=HOME, now=timezone.now())
    with pytest.raises(declines.TooManyDeclines):
        pay_with_saved(booking, method=method, address=HOME, now=timezone.now())
    with pytest.raises(declines.TooManyDeclines):
        begin_setup(ada, address=HOME)


def test_page_and_api_say_so_plainly(client: Client, sandbox: Any) -> None:
    booking = held_booking()
    token = guest_token_for(booking.reference, booking.quote_id)
    client.get(f"/b/{booking.reference}/{token}")
    for _try in range(3):
        client.get(f"/pay/{booking.reference}")
        session = begin(booking)
        decline(session)
    page = client.get(f"/pay/{booking.reference}")
    assert page.status_code == 429
    assert "Several cards were declined here" in page.content.decode()
    assert "PayPal" in page.content.decode()
    answer = APIClient().post(
        "/api/payments/create-intent", {"bookingId": booking.reference}, format="json", headers={"X-Guest-Token": token}
    )  # fmt: skip
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_declines")
    paypal = APIClient().post(
        "/api/payments/create-intent", {"bookingId": booking.reference, "provider": "paypal"}, format="json",
        headers={"X-Guest-Token": token},
    )  # fmt: skip
    assert paypal.status_code == 201


def test_it_is_over_after_an_hour(sandbox: Any) -> None:
    booking = held_booking()
    session = begin(booking)
    for _try in range(3):
        decline(session)
    later = timezone.now() + timedelta(minutes=61)
    declines.refuse_stopped(booking, user=None, address=HOME, now=later)
    with pytest.raises(declines.TooManyDeclines):
        declines.refuse_stopped(booking, user=None, address=SHOP, now=timezone.now())
    assert declines.forget_old(now=timezone.now() + timedelta(days=29)) == 0
    assert declines.forget_old(now=timezone.now() + timedelta(days=32)) == 4


def test_staff_let_it_go_with_a_reason(client: Client, sandbox: Any) -> None:
    booking = held_booking()
    session = begin(booking)
    for _try in range(3):
        decline(session)
    breaker = CardBreaker.objects.get()
    page = f"/admin/payments/cardbreaker/{breaker.pk}/reset/"
    sam = User.objects.create_user("sam@staff.example", "tango-bravo-917", is_staff=True)
    client.force_login(sam)
    assert client.post(page, {"reason": "x"}).status_code == 403
    assert AuditEntry.objects.filter(action="card_breaker.reset.denied", actor=sam).count() == 1
    sam.user_permissions.set(
        Permission.objects.filter(codename__in=["reset_cardbreaker", "view_cardbreaker"])
    )
    assert booking.reference in client.get("/admin/payments/cardbreaker/").content.decode()
    assert "stolen cards" in client.get(page).content.decode()
    assert client.post(page, {"reason": " "}).status_code == 400
    assert client.post(page, {"reason": "Called her bank"}).status_code == 302
    assert client.post(page, {"reason": "Twice"}).status_code == 302
    entry = AuditEntry.objects.get(action="card_breaker.reset")
    assert (entry.actor, entry.reason) == (sam, "Called her bank")
    decline(begin(booking), "pm_card_chargeDeclinedLostCard")  # counts anew; the other card is not forgiven
    assert begin(booking).payment.is_live
