"""Saved PayPal wallets over PayPal's own wire: agreed to, kept, paid with, asked about, let go; one charge whatever breaks."""

from __future__ import annotations

import json
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.models import User
from bookings.models import Booking
from bookings.tests.world import hold, make_product
from communications.models import Message
from foundation.errors import NotFound
from payments.models import Payment, ProviderCustomer, ProviderEvent, StoredMethod
from payments.services import inbox, janitor, methods
from payments.services.charge import MethodDeclined, PaymentOver, charge_saved_method, pay_with_saved
from payments.services.checkout import AlreadyPaid, PaymentInDoubt, ProviderUnavailable, start
from payments.services.settle import settle
from payments.tests.test_paypal import deliver, held_webhooks, sent
from payments.tests.world import (
    agree,
    approve,
    at_paypal,
    checkout,
    expire_hold,
    held_booking,
    pay,
    saved_card,
    saved_wallet,
)

__all__ = ["held_webhooks"]  # a fixture
pytestmark = pytest.mark.django_db(transaction=True)
LABEL = "PayPal b•••@sandbox.example"


@pytest.fixture(autouse=True)
def books_are_right() -> Any:
    """The oracle after every journey."""
    yield
    call_command("audit_books")


@pytest.fixture
def ada(sandbox: Any) -> User:
    return User.objects.create_user("ada@example.com", "rather-long-Secret-7", name="Ada Lovelace")


@pytest.fixture
def ben(ada: User) -> User:
    return User.objects.create_user("ben@example.com", "rather-long-Secret-7", name="Ben")


def api_of(user: User) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {accounts.issue_tokens(user).access}")
    return client


def captures(sandbox: Any) -> list[Any]:
    return [row for row in sandbox.get("/ledger.json")["charges"] if row["provider"] == "paypal"]


def state(row: Any) -> str:
    row.refresh_from_db()
    return row.status


def pay_with(wallet: StoredMethod, booking: Booking) -> Any:
    return pay_with_saved(booking, method=wallet, now=timezone.now())


def fault(sandbox: Any, operation: str, behaviour: str, **more: Any) -> None:
    sandbox.post("/faults", {"operation": f"paypal.{operation}", "behaviour": behaviour, "times": 1, **more})


def in_a_minute() -> None:
    """Let the janitor's minute pass."""
    past = timezone.now() - timedelta(minutes=5)
    Payment.objects.exclude(taking_since=None).update(taking_since=past)
    Payment.objects.update(created_at=past, submitted_at=past, last_checked_at=past)
    janitor.sweep(now=timezone.now())


def together(count: int, act: Any) -> list[BaseException]:
    barrier, problems = threading.Barrier(count), []

    def one() -> None:
        try:
            barrier.wait()
            act()
        except BaseException as error:
            problems.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=one) for _number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return problems


# Saving


def test_a_wallet_is_saved_over_the_api_and_shown_masked(ada: User) -> None:
    client = api_of(ada)
    begun = client.post("/api/payments/save-method", {"provider": "paypal"}, format="json")
    assert begun.status_code == 201, begun.content
    setup = begun.json()
    assert set(setup) == {"provider", "setupTokenId", "approveUrl"}
    asked = {"provider": "paypal", "setupTokenId": setup["setupTokenId"]}
    early = client.post("/api/payments/save-method", asked, format="json")
    assert (early.status_code, early.json()["code"]) == (409, "setup_unfinished")
    agree(setup["approveUrl"])
    first, second = (client.post("/api/payments/save-method", asked, format="json") for _time in range(2))
    assert first.status_code == second.status_code == 201, first.content
    assert first.json() == second.json()
    (listed,) = client.get("/api/payments/methods").json()["results"]
    assert listed == first.json()
    assert (listed["provider"], listed["label"], listed["last4"], listed["expYear"]) == (
        "paypal",
        LABEL,
        "",
        None,
    )
    assert "buyer@" not in json.dumps(listed)
    assert ProviderCustomer.objects.get().user == ada


@pytest.mark.parametrize(
    "asked",
    [
        {"provider": "stripe", "setupTokenId": "5C991763VB2781612"},
        {"provider": "paypal", "setupIntentId": "seti_1"},
        {"provider": "paypal", "setupTokenId": "../../v2/x"},
        {"provider": "cash"},
    ],
    ids=str,
)
def test_a_mixed_up_saving_is_refused(ada: User, asked: dict[str, str]) -> None:
    assert api_of(ada).post("/api/payments/save-method", asked, format="json").status_code == 400
    assert not StoredMethod.objects.exists()


def test_a_swapped_setup_token_saves_nothing_for_anybody_else(ada: User, ben: User) -> None:
    methods.begin_setup(ben, provider="paypal")  # Ben is a customer there, too
    session = methods.begin_setup(ada, provider="paypal")
    agree(session.approve_url)
    asked = {"provider": "paypal", "setupTokenId": session.setup_ref}
    assert api_of(ben).post("/api/payments/save-method", asked, format="json").status_code == 404
    browser = Client()
    browser.force_login(ben)
    back = f"/account/payment-methods/added?approval_token_id={session.setup_ref}"
    assert browser.get(back).status_code == 404
    assert not StoredMethod.objects.exists()


def test_somebody_elses_wallet_is_not_found(ada: User, ben: User) -> None:
    wallet = saved_wallet(ada)
    bens, address = api_of(ben), f"/api/payments/methods/{wallet.pk}"
    assert bens.delete(address).status_code == 404
    assert bens.post(f"{address}/default").status_code == 404
    answer = bens.post(
        "/api/payments/create-intent",
        {"bookingId": held_booking(user=ben).reference, "provider": "paypal", "methodId": str(wallet.pk)},
        format="json",
    )
    assert answer.status_code == 404
    assert state(wallet) == "active"


def test_parallel_savings_store_one_wallet(ada: User) -> None:
    session = methods.begin_setup(ada, provider="paypal")
    agree(session.approve_url)
    problems = together(3, lambda: methods.save_method(ada, setup_ref=session.setup_ref, provider="paypal"))
    assert problems == []
    assert StoredMethod.objects.get().is_default


def test_two_tabs_that_begin_at_once_save_for_the_same_customer(ada: User) -> None:
    sessions: list[methods.SetupSession] = []
    assert together(3, lambda: sessions.append(methods.begin_setup(ada, provider="paypal"))) == []
    for session in sessions:
        agree(session.approve_url)
        methods.save_method(ada, setup_ref=session.setup_ref, provider="paypal")
    assert StoredMethod.objects.filter(user=ada).count() == 3


@pytest.mark.parametrize("behaviour", ["do_then_500", "do_then_reset", "refuse"])
def test_a_saving_whose_answer_was_lost_is_found_and_not_made_twice(
    sandbox: Any, ada: User, behaviour: str
) -> None:
    session = methods.begin_setup(ada, provider="paypal")
    agree(session.approve_url)
    fault(sandbox, "payment_tokens.create", behaviour, **({"status": 503} if behaviour == "refuse" else {}))
    with pytest.raises(Exception, match="did not answer in time"):
        methods.save_method(ada, setup_ref=session.setup_ref, provider="paypal")
    kept = methods.save_method(ada, setup_ref=session.setup_ref, provider="paypal")
    customer = ProviderCustomer.objects.get().provider_ref
    listed = at_paypal("GET", f"v3/vault/payment-tokens?customer_id={customer}").json()["payment_tokens"]
    assert [one["id"] for one in listed] == [kept.provider_ref]


def test_who_cancels_at_paypal_has_saved_nothing(ada: User) -> None:
    session = methods.begin_setup(ada, provider="paypal")
    assert agree(session.approve_url, decision="cancel").split("?")[0].endswith("/account/payment-methods")
    with pytest.raises(methods.SetupUnfinished):
        methods.save_method(ada, setup_ref=session.setup_ref, provider="paypal")


# Saving while paying


def saving(booking: Booking, user: User) -> Any:
    return start(booking, provider="paypal", user=user, saves_method=True, now=timezone.now())


def test_a_wallet_is_saved_with_the_payment_that_it_makes(sandbox: Any, ada: User) -> None:
    booking = held_booking(user=ada)
    session = saving(booking, ada)
    assert saving(booking, ada).provider_ref == session.provider_ref
    approve(session)
    for _again in range(3):
        settle(session.payment.pk)
    wallet = StoredMethod.objects.get()
    assert (wallet.user, wallet.label, wallet.is_default) == (ada, LABEL, True)
    assert ProviderCustomer.objects.get().user == ada
    second = held_booking(booking.product, user=ada)
    assert pay_with(wallet, second).payment.status == "captured"
    assert len(captures(sandbox)) == 2


def test_another_wish_is_another_order_and_the_first_is_never_taken(
    sandbox: Any, ada: User, ben: User
) -> None:
    booking = held_booking(user=ada)
    plain = checkout(booking, provider="paypal")
    kept = saving(booking, ada)
    assert kept.provider_ref != plain.provider_ref
    approve(plain)
    assert settle(plain.payment.pk).status == "cancelled"
    bens = saving(
        booking, ben
    )  # who may open the booking does not save his wallet under Ada's name, nor hers under his
    assert bens.provider_ref != kept.provider_ref
    approve(kept)
    settle(kept.payment.pk)
    assert captures(sandbox) == []
    approve(bens)
    settle(bens.payment.pk)
    assert StoredMethod.objects.get().user == ben
    assert len(captures(sandbox)) == 1


def saved_later(ada: User) -> Payment:
    """A payment whose wallet PayPal has agreed to keep and has not kept yet."""
    session = saving(held_booking(user=ada), ada)
    approve(session, buyer="saved_later")
    payment = settle(session.payment.pk)
    assert payment.status == "captured"
    assert not StoredMethod.objects.exists()
    return payment


def test_a_wallet_that_is_saved_later_arrives_by_webhook_only(
    held_webhooks: Any, client: Client, ada: User
) -> None:
    saved_later(ada)
    held_webhooks.post("/clock", {"advance_seconds": 61})
    event = sent(held_webhooks, "VAULT.PAYMENT-TOKEN.CREATED")
    assert [deliver(client, event) for _time in range(3)] == [200, 200, 200]
    for _time in range(2):
        assert inbox.process_event(ProviderEvent.objects.get().pk).status == "processed"
    assert StoredMethod.objects.get().user == ada


def test_a_wallet_that_is_saved_later_arrives_without_its_webhook(sandbox: Any, ada: User) -> None:
    payment = saved_later(ada)
    sandbox.post("/clock", {"advance_seconds": 61})
    Payment.objects.update(last_checked_at=timezone.now() - timedelta(minutes=16))
    janitor.sweep(now=timezone.now())
    assert StoredMethod.objects.get().user == ada
    checked = Payment.objects.get().last_checked_at
    Payment.objects.update(last_checked_at=timezone.now() - timedelta(minutes=16))
    janitor.sweep(now=timezone.now())
    payment.refresh_from_db()
    assert payment.last_checked_at != checked
    assert payment.last_checked_at < timezone.now() - timedelta(minutes=15), "nothing is left to look for"


# Paying


def test_a_saved_wallet_pays_in_one_call(sandbox: Any, ada: User) -> None:
    wallet, booking, client = saved_wallet(ada), held_booking(user=ada), api_of(ada)
    sent_body = {"bookingId": booking.reference, "provider": "paypal", "methodId": str(wallet.pk)}
    first = client.post(
        "/api/payments/create-intent", sent_body, format="json", headers={"Idempotency-Key": "p1"}
    )
    assert (first.status_code, first.json()["status"], first.json()["approveUrl"]) == (201, "captured", ""), (
        first.content
    )
    again = client.post(
        "/api/payments/create-intent", sent_body, format="json", headers={"Idempotency-Key": "p1"}
    )
    assert again.content == first.content
    payment = Payment.objects.get()
    assert (payment.stored_method, payment.method_label) == (wallet, LABEL)
    (taken,) = captures(sandbox)
    assert (taken["captured_minor"], taken["custom_id"]) == (booking.total_minor, str(payment.pk))
    assert state(booking) == "confirmed"
    with pytest.raises(AlreadyPaid):
        pay_with(wallet, booking)


def test_a_method_of_another_provider_than_named_is_refused(sandbox: Any, ada: User) -> None:
    card, booking = saved_card(ada), held_booking(user=ada)
    answer = api_of(ada).post(
        "/api/payments/create-intent",
        {"bookingId": booking.reference, "provider": "paypal", "methodId": str(card.pk)},
        format="json",
    )
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "provider"
    assert not Payment.objects.exists()


def test_parallel_payments_with_a_saved_wallet_charge_once(sandbox: Any, ada: User) -> None:
    wallet, booking = saved_wallet(ada), held_booking(user=ada)
    problems = together(3, lambda: pay_with(wallet, booking))
    assert [
        one for one in problems if not isinstance(one, (AlreadyPaid, ProviderUnavailable, PaymentInDoubt))
    ] == []
    in_a_minute()
    assert len(captures(sandbox)) == 1
    assert state(booking) == "confirmed"


def test_paypal_may_want_to_ask_the_owner(sandbox: Any, ada: User) -> None:
    wallet, booking = saved_wallet(ada, buyer="asked"), held_booking(user=ada)
    session = pay_with(wallet, booking)
    assert (session.payment.status, session.truth.bank_asks) == ("requires_action", True)
    assert captures(sandbox) == []
    approve(session, buyer="asked")
    assert settle(session.payment.pk).status == "captured"
    assert state(booking) == "confirmed"
    assert len(captures(sandbox)) == 1
    assert not Message.objects.filter(kind="payment_needs_customer").exists()


def test_a_declined_wallet_takes_nothing_and_something_else_pays(sandbox: Any, ada: User) -> None:
    bad, good, booking = saved_wallet(ada, buyer="declined"), saved_wallet(ada), held_booking(user=ada)
    for _again in range(2):
        with pytest.raises(MethodDeclined):
            pay_with(bad, booking)
    payment = Payment.objects.get()
    assert (payment.status, payment.failure_code) == ("requires_action", "INSTRUMENT_DECLINED")
    assert pay_with(good, booking).payment.pk == payment.pk
    assert len(captures(sandbox)) == 1
    assert state(booking) == "confirmed"


def test_a_held_payment_from_a_wallet_confirms_nothing(sandbox: Any, ada: User) -> None:
    wallet, booking = saved_wallet(ada, buyer="review"), held_booking(user=ada)
    assert pay_with(wallet, booking).payment.status == "processing"
    assert state(booking) == "held"
    (taken,) = captures(sandbox)
    sandbox.post(f"/paypal-captures/{taken['id']}", {"status": "COMPLETED"})
    in_a_minute()
    assert state(booking) == "confirmed"


def test_a_charge_that_was_made_and_then_broke_is_found_at_once(sandbox: Any, ada: User) -> None:
    wallet, booking = saved_wallet(ada), held_booking(user=ada)
    fault(sandbox, "orders.capture", "do_then_500")
    assert pay_with(wallet, booking).payment.status == "captured"
    assert len(captures(sandbox)) == 1


def test_a_charge_that_arrives_after_its_timeout_is_waited_for_and_not_repeated(
    sandbox: Any, ada: User, settings: Any
) -> None:
    """PayPal takes its time: the look right after the timeout sees an order that is not paid yet."""
    settings.PAYPAL_TIMEOUT_SECONDS = 1
    wallet, booking = saved_wallet(ada), held_booking(user=ada)
    fault(sandbox, "orders.capture", "slow", seconds=4)
    with pytest.raises(ProviderUnavailable):
        pay_with(wallet, booking)
    settings.PAYPAL_TIMEOUT_SECONDS = 20
    assert settle(Payment.objects.get().pk).status == "unknown"
    with pytest.raises(PaymentInDoubt):
        checkout(booking)
    deadline = time.monotonic() + 20
    while not captures(sandbox) and time.monotonic() < deadline:
        time.sleep(0.1)
    in_a_minute()
    assert state(booking) == "confirmed"
    assert len(captures(sandbox)) == 1


def test_a_charge_that_was_never_made_can_be_made_again_after_the_look(sandbox: Any, ada: User) -> None:
    wallet, booking = saved_wallet(ada), held_booking(user=ada)
    fault(sandbox, "orders.capture", "refuse", status=503)
    with pytest.raises(ProviderUnavailable):
        pay_with(wallet, booking)
    assert Payment.objects.get().status == "unknown"
    in_a_minute()
    assert Payment.objects.get().status == "requires_action"
    assert pay_with(wallet, booking).payment.status == "captured"
    assert len(captures(sandbox)) == 1


def test_an_order_whose_answer_was_lost_takes_nothing_by_itself(sandbox: Any, ada: User) -> None:
    wallet, booking = saved_wallet(ada), held_booking(user=ada)
    fault(sandbox, "orders.create", "do_then_500")
    with pytest.raises(ProviderUnavailable):
        pay_with(wallet, booking)
    assert captures(sandbox) == []
    assert pay_with(wallet, booking).payment.status == "captured"
    assert len(captures(sandbox)) == 1


def test_a_wallet_is_not_charged_for_a_space_that_is_gone(sandbox: Any, ada: User) -> None:
    product = make_product(capacity=1)
    wallet, booking = saved_wallet(ada), held_booking(product, user=ada)
    payment = start(booking, provider="paypal", user=ada, method=wallet, now=timezone.now()).payment
    expire_hold(booking)
    held_booking(product)
    with pytest.raises(PaymentOver):
        charge_saved_method(payment, method=wallet, now=timezone.now())
    assert captures(sandbox) == []
    in_a_minute()
    assert state(payment) == "cancelled"


def test_while_a_wallet_is_charged_no_other_payment_begins(sandbox: Any, ada: User) -> None:
    wallet, booking = saved_wallet(ada), held_booking(user=ada)
    start(booking, provider="paypal", user=ada, method=wallet, now=timezone.now())
    fault(sandbox, "orders.capture", "slow", seconds=2)
    charging = threading.Thread(target=lambda: (pay_with(wallet, booking), connection.close()))
    charging.start()
    deadline = time.monotonic() + 20
    while Payment.objects.get().status != "processing" and time.monotonic() < deadline:
        time.sleep(0.02)
    settle(Payment.objects.get().pk)
    with pytest.raises(PaymentInDoubt):
        checkout(booking)
    charging.join(60)
    assert state(booking) == "confirmed"
    assert len(captures(sandbox)) == 1


def test_choosing_the_card_after_a_wallet_gives_the_order_up(sandbox: Any, ada: User) -> None:
    wallet, booking = saved_wallet(ada, buyer="declined"), held_booking(user=ada)
    with pytest.raises(MethodDeclined):
        pay_with(wallet, booking)
    card = checkout(booking)
    assert pay(card) == 200
    settle(card.payment.pk)
    assert state(booking) == "confirmed"
    assert Payment.objects.get(provider="paypal").status == "cancelled"


# In the customer's absence


def test_an_off_session_charge_is_captured(sandbox: Any, ada: User) -> None:
    wallet, booking = saved_wallet(ada), held_booking(user=ada)
    payment = start(booking, provider="paypal", user=ada, method=wallet, now=timezone.now()).payment
    assert charge_saved_method(payment, method=wallet, now=timezone.now()).status == "captured"
    assert Payment.objects.get().is_off_session
    assert len(captures(sandbox)) == 1


def test_an_off_session_charge_that_needs_the_customer_writes_once_and_can_be_finished(
    sandbox: Any, ada: User
) -> None:
    wallet, booking = saved_wallet(ada, buyer="asked"), held_booking(user=ada)
    payment = start(booking, provider="paypal", user=ada, method=wallet, now=timezone.now()).payment
    assert charge_saved_method(payment, method=wallet, now=timezone.now()).status == "requires_action"
    settle(payment.pk)
    message = Message.objects.get(kind="payment_needs_customer")
    assert (message.to, message.variables["method_label"]) == (booking.driver_email, LABEL)
    session = pay_with(wallet, booking)
    approve(session, buyer="asked")
    settle(payment.pk)
    assert state(booking) == "confirmed"
    assert len(captures(sandbox)) == 1


# Default and removal


def test_the_default_moves_between_providers(ada: User) -> None:
    card, wallet = saved_card(ada), saved_wallet(ada)
    assert methods.make_default(ada, wallet.pk).is_default
    assert api_of(ada).delete(f"/api/payments/methods/{wallet.pk}").status_code == 204
    card.refresh_from_db()
    assert card.is_default
    assert state(wallet) == "removed"
    assert at_paypal("GET", f"v3/vault/payment-tokens/{wallet.provider_ref}").status_code == 404


@pytest.mark.parametrize("behaviour", ["do_then_500", "refuse"])
def test_a_removal_that_paypal_did_not_confirm_is_repeated_by_the_janitor(
    sandbox: Any, ada: User, behaviour: str
) -> None:
    wallet = saved_wallet(ada)
    fault(sandbox, "payment_tokens.delete", behaviour, **({"status": 503} if behaviour == "refuse" else {}))
    assert methods.remove(ada, wallet.pk, now=timezone.now()).status == "removing"
    with pytest.raises(NotFound):
        pay_with(wallet, held_booking(user=ada))
    janitor.sweep(now=timezone.now() + timedelta(minutes=2))
    assert state(wallet) == "removed"
    assert at_paypal("GET", f"v3/vault/payment-tokens/{wallet.provider_ref}").status_code == 404


def test_a_wallet_removed_at_paypal_is_gone_by_webhook_alone_whatever_the_order(
    held_webhooks: Any, client: Client, ada: User
) -> None:
    wallet = saved_wallet(ada)
    at_paypal("DELETE", f"v3/vault/payment-tokens/{wallet.provider_ref}")
    for kind in ("DELETED", "CREATED"):  # the wrong way round
        event = sent(held_webhooks, f"VAULT.PAYMENT-TOKEN.{kind}")
        assert [deliver(client, event) for _time in range(2)] == [200, 200]
    for row in ProviderEvent.objects.order_by("pk"):
        assert inbox.process_event(row.pk).status == "processed", row.last_error
    assert state(wallet) == "removed"
    assert StoredMethod.objects.count() == 1


def test_a_wallet_whose_owner_never_came_back_is_stored_by_webhook(
    held_webhooks: Any, client: Client, ada: User
) -> None:
    """The answer to our call is lost, and the tab is closed."""
    session = methods.begin_setup(ada, provider="paypal")
    agree(session.approve_url)
    fault(held_webhooks, "payment_tokens.create", "do_then_reset")
    with pytest.raises(Exception, match="did not answer in time"):
        methods.save_method(ada, setup_ref=session.setup_ref, provider="paypal")
    assert deliver(client, sent(held_webhooks, "VAULT.PAYMENT-TOKEN.CREATED")) == 200
    assert inbox.process_event(ProviderEvent.objects.get().pk).status == "processed"
    assert StoredMethod.objects.get().user == ada


def test_a_lost_webhook_about_a_removed_wallet_is_noticed_when_paying(sandbox: Any, ada: User) -> None:
    wallet, booking = saved_wallet(ada), held_booking(user=ada)
    at_paypal("DELETE", f"v3/vault/payment-tokens/{wallet.provider_ref}")
    with pytest.raises(methods.MethodRemoved):
        pay_with(wallet, booking)
    assert state(wallet) == "removed"
    assert Payment.objects.get().is_live
    assert captures(sandbox) == []


# Pages

LIST = "/account/payment-methods"


@pytest.fixture
def browser(client: Client, ada: User) -> Client:
    client.force_login(ada)
    return client


def text(response: Any) -> str:
    return response.content.decode()


def in_browser(browser: Client, address: str, **choice: str) -> Any:
    """Go to PayPal's page, agree, and follow PayPal back."""
    back = agree(address, **choice)
    return browser.get(back[back.index("/", 8) :], follow=True)


def test_paypal_is_added_listed_made_default_and_removed(browser: Client, ada: User) -> None:
    card = saved_card(ada)
    assert "Add PayPal" in text(browser.get(LIST))
    away = browser.post(f"{LIST}/add-paypal")["Location"]
    assert f"{LABEL} is saved." in text(in_browser(browser, away))
    wallet = StoredMethod.objects.get(provider="paypal")
    assert f"{LABEL} is your default now." in text(browser.post(f"{LIST}/{wallet.pk}/default", follow=True))
    assert f"Remove {LABEL}?" in text(browser.get(f"{LIST}/{wallet.pk}/remove"))
    assert f"{LABEL} is removed." in text(browser.post(f"{LIST}/{wallet.pk}/remove", follow=True))
    assert (state(wallet), state(card)) == ("removed", "active")
    assert browser.post(f"{LIST}/{wallet.pk}/remove").status_code == 302, "pressed twice"


def test_leaving_paypal_adds_nothing(browser: Client, ada: User) -> None:
    away = browser.post(f"{LIST}/add-paypal")["Location"]
    assert "Nothing saved yet" in text(in_browser(browser, away, decision="cancel"))
    assert Client().post(f"{LIST}/add-paypal")["Location"].startswith("/accounts/login/")
    assert browser.get(f"{LIST}/add-paypal").status_code == 405


def test_paypal_is_saved_while_paying_and_pays_the_next_booking_with_one_press(
    sandbox: Any, browser: Client, ada: User
) -> None:
    first = held_booking(user=ada)
    assert "Save PayPal for next time" in text(browser.get(f"/pay/{first.reference}"))
    away = browser.post(f"/pay/{first.reference}/paypal", {"keep": "1"})["Location"]
    assert "You are booked." in text(in_browser(browser, away))
    wallet, second = StoredMethod.objects.get(), held_booking(first.product, user=ada)
    page = text(browser.get(f"/pay/{second.reference}"))
    assert f'value="{wallet.pk}" checked' in page
    assert LABEL in page
    answer = browser.post(f"/pay/{second.reference}/charge", {"stored": str(wallet.pk)}, follow=True)
    assert "You are booked." in text(answer)
    assert len(captures(sandbox)) == 2


def test_without_the_tick_nothing_is_saved(browser: Client, ada: User) -> None:
    booking = held_booking(user=ada)
    ticked = browser.post(f"/pay/{booking.reference}/paypal", {"keep": "1"})["Location"]
    unticked = browser.post(f"/pay/{booking.reference}/paypal")["Location"]
    assert unticked != ticked
    assert "You are booked." in text(in_browser(browser, unticked))
    assert not StoredMethod.objects.exists()


def test_a_guest_can_save_nothing_at_paypal(client: Client, sandbox: Any) -> None:
    now = timezone.now()
    placed = hold(make_product(), start=now + timedelta(days=2), now=now)
    client.get(f"/b/{placed.booking.reference}/{placed.guest_token}")
    assert "Save PayPal" not in text(client.get(f"/pay/{placed.booking.reference}"))
    client.post(f"/pay/{placed.booking.reference}/paypal", {"keep": "1"})
    assert not Payment.objects.filter(saves_method=True).exists()


def test_a_saved_wallet_that_paypal_asks_about_leads_there_and_back(
    sandbox: Any, browser: Client, ada: User
) -> None:
    wallet, booking = saved_wallet(ada, buyer="asked"), held_booking(user=ada)
    away = browser.post(f"/pay/{booking.reference}/charge", {"stored": str(wallet.pk)})["Location"]
    assert away.startswith(f"{sandbox.url}/paypal/checkoutnow?token=")
    assert "You are booked." in text(in_browser(browser, away, buyer="asked"))
    assert len(captures(sandbox)) == 1


def test_a_declined_wallet_leads_back_with_the_reason(browser: Client, ada: User) -> None:
    wallet, booking = saved_wallet(ada, buyer="declined"), held_booking(user=ada)
    answer = browser.post(f"/pay/{booking.reference}/charge", {"stored": str(wallet.pk)})
    assert answer["Location"] == f"/pay/{booking.reference}?declined=1"
    assert "PayPal could not take the money" in text(browser.get(answer["Location"]))


def test_a_wallet_that_is_gone_says_so(browser: Client, ada: User) -> None:
    wallet, booking = saved_wallet(ada), held_booking(user=ada)
    at_paypal("DELETE", f"v3/vault/payment-tokens/{wallet.provider_ref}")
    answer = browser.post(f"/pay/{booking.reference}/charge", {"stored": str(wallet.pk)}, follow=True)
    assert "can no longer be used" in text(answer)
    assert LABEL not in text(answer)


def test_without_a_client_id_a_saved_wallet_is_offered_nowhere(
    browser: Client, ada: User, settings: Any
) -> None:
    wallet, booking = saved_wallet(ada), held_booking(user=ada)
    settings.PAYPAL_CLIENT_ID = ""
    assert "Add PayPal" not in text(browser.get(LIST))
    assert browser.post(f"{LIST}/add-paypal").status_code == 404
    assert LABEL not in text(browser.get(f"/pay/{booking.reference}"))
    answer = browser.post(f"/pay/{booking.reference}/charge", {"stored": str(wallet.pk)}, follow=True)
    assert "can no longer be used" in text(answer)
    refused = api_of(ada).post("/api/payments/save-method", {"provider": "paypal"}, format="json")
    assert refused.status_code == 400
