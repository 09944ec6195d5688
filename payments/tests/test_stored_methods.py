"""Saved cards over the provider's own wire: saved once, charged, asked about by the bank, let go; never the card itself."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.models import User
from bookings.models import Booking
from communications.models import Message
from foundation.errors import NotFound
from payments.models import LedgerTransaction, Payment, ProviderEvent, StoredMethod
from payments.services import inbox, janitor, methods
from payments.services.charge import MethodDeclined, charge_saved_method, pay_with_saved
from payments.services.checkout import AlreadyPaid, ProviderUnavailable, start
from payments.services.settle import settle
from payments.tests.test_inbox import deliver, held_webhooks, signed_events
from payments.tests.world import answer_bank, enter_card, held_booking, in_browser, pay, provider, saved_card

__all__ = ["held_webhooks"]  # a fixture
pytestmark = pytest.mark.django_db(transaction=True)
PAN = "4242424242424242"
ASKS_BANK = "pm_card_authenticationRequired"
SAVES_THEN_DECLINES = "pm_card_chargeCustomerFail"


@pytest.fixture(autouse=True)
def books_are_right() -> Any:
    """The oracle after every journey."""
    yield
    call_command("audit_books")


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada@example.com", "rather-long-Secret-7", name="Ada Lovelace")


@pytest.fixture
def ben() -> User:
    return User.objects.create_user("ben@example.com", "rather-long-Secret-7", name="Ben")


def api_of(user: User) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {accounts.issue_tokens(user).access}")
    return client


def save(client: APIClient, setup_ref: str | None = None, **headers: str) -> Any:
    sent = {"setupIntentId": setup_ref} if setup_ref else {}
    return client.post("/api/payments/save-method", sent, format="json", headers=headers)


def charges(sandbox: Any) -> list[Any]:
    return [one for one in sandbox.get("/ledger.json")["charges"] if one["status"] == "succeeded"]


def state(row: Any) -> str:
    row.refresh_from_db()
    return row.status


# Saving


def test_a_card_is_saved_over_the_api_and_shown_masked(sandbox: Any, ada: User) -> None:
    client = api_of(ada)
    begun = save(client)
    assert begun.status_code == 201, begun.content
    setup = begun.json()
    assert set(setup) == {"provider", "setupIntentId", "clientSecret", "publishableKey"}
    unfinished = save(client, setup["setupIntentId"])
    assert (unfinished.status_code, unfinished.json()["code"]) == (409, "setup_unfinished")

    session = methods.SetupSession(
        "stripe", setup["setupIntentId"], setup["clientSecret"], setup["publishableKey"]
    )
    assert enter_card(session) == 200
    first, second = save(client, session.setup_ref), save(client, session.setup_ref)
    assert first.status_code == second.status_code == 201, first.content
    assert first.json() == second.json()
    (listed,) = client.get("/api/payments/methods").json()["results"]
    assert listed == first.json()
    assert (listed["label"], listed["brand"], listed["last4"]) == ("Visa •••• 4242", "visa", "4242")
    assert listed["isDefault"] is True
    assert "pm_" not in json.dumps(listed)
    assert StoredMethod.objects.get().provider_ref.startswith("pm_")


def test_a_repeat_with_the_same_key_gets_the_same_setup(sandbox: Any, ada: User) -> None:
    client = api_of(ada)
    keyed = {"Idempotency-Key": "s1"}
    assert save(client, **keyed).content == save(client, **keyed).content


def test_somebody_elses_setup_is_not_found(sandbox: Any, ada: User, ben: User) -> None:
    session = methods.begin_setup(ada)
    enter_card(session)
    methods.begin_setup(ben)  # Ben is a customer there, too
    assert save(api_of(ben), session.setup_ref).status_code == 404
    assert save(api_of(ben), "seti_doesnotexist").status_code == 404
    assert not StoredMethod.objects.exists()


def test_somebody_elses_method_is_not_found_on_every_verb(sandbox: Any, ada: User, ben: User) -> None:
    card = saved_card(ada)
    bens = api_of(ben)
    address = f"/api/payments/methods/{card.pk}"
    assert bens.delete(address).status_code == 404
    assert bens.post(f"{address}/default").status_code == 404
    assert bens.get("/api/payments/methods").json()["results"] == []
    booking = held_booking(user=ben)
    answer = bens.post(
        "/api/payments/create-intent",
        {"bookingId": booking.reference, "methodId": str(card.pk)},
        format="json",
        headers={"Idempotency-Key": "x"},
    )
    assert answer.status_code == 404
    assert state(card) == "active"
    assert APIClient().delete(address).status_code == 401


def test_two_parallel_saves_store_one(sandbox: Any, ada: User) -> None:
    session = methods.begin_setup(ada)
    enter_card(session)
    together = threading.Barrier(2)
    problems: list[BaseException] = []

    def store() -> None:
        try:
            together.wait()
            methods.save_method(ada, setup_ref=session.setup_ref)
        except BaseException as error:
            problems.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=store) for _number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert problems == []
    assert StoredMethod.objects.filter(user=ada, is_default=True).count() == 1
    assert StoredMethod.objects.count() == 1


def test_a_declined_card_is_not_saved(sandbox: Any, ada: User) -> None:
    session = methods.begin_setup(ada)
    assert enter_card(session, card="pm_card_chargeDeclined") == 402
    with pytest.raises(methods.SetupUnfinished):
        methods.save_method(ada, setup_ref=session.setup_ref)


def test_a_customer_that_was_deleted_at_the_provider_gets_a_new_one(sandbox: Any, ada: User) -> None:
    card = saved_card(ada)
    method = provider().v1.payment_methods.retrieve(card.provider_ref)
    provider().v1.customers.delete(str(method.customer))
    again = saved_card(ada)
    assert again.provider_ref != card.provider_ref


def test_the_database_holds_one_default_and_no_card_number(sandbox: Any, ada: User, ben: User) -> None:
    first, second = saved_card(ada), saved_card(ada)
    assert (first.is_default, second.is_default) == (True, False)
    for change in (
        {"is_default": True},
        {"label": "Visa 4242 4242 4242 4242"},
        {"last4": "4 42"},
        {"exp_month": 13},
        {"user": ben},
        {"provider_ref": "pm_other"},
        {"status": "removed"},
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            StoredMethod.objects.filter(pk=second.pk).update(**change)
    assert state(second) == "active"


# Paying


def test_a_saved_card_pays_once(sandbox: Any, ada: User) -> None:
    card = saved_card(ada)
    booking = held_booking(user=ada)
    client = api_of(ada)
    sent = {"bookingId": booking.reference, "methodId": str(card.pk)}
    first = client.post("/api/payments/create-intent", sent, format="json", headers={"Idempotency-Key": "p1"})
    assert (first.status_code, first.json()["status"]) == (201, "captured"), first.content
    again = client.post("/api/payments/create-intent", sent, format="json", headers={"Idempotency-Key": "p1"})
    assert again.content == first.content
    other = client.post("/api/payments/create-intent", sent, format="json")
    assert (other.status_code, other.json()["code"]) == (409, "already_paid")
    payment = Payment.objects.get()
    assert (payment.status, payment.captured_minor, payment.stored_method) == (
        "captured",
        booking.total_minor,
        card,
    )
    assert payment.method_label == "Visa •••• 4242"
    (charge,) = charges(sandbox)
    assert (charge["amount_minor"], charge["payment_intent"]) == (booking.total_minor, payment.provider_ref)
    assert state(booking) == "confirmed"
    assert LedgerTransaction.objects.filter(kind="capture").count() == 1


def test_the_live_payment_of_an_open_card_form_is_paid_with_the_saved_card(sandbox: Any, ada: User) -> None:
    card = saved_card(ada)
    booking = held_booking()  # a guest's, opened before signing in
    opened = start(booking, now=timezone.now())
    assert opened.payment.user is None
    session = pay_with_saved(booking, method=card, now=timezone.now())
    assert (session.payment.pk, session.payment.status) == (opened.payment.pk, "captured")
    assert len(charges(sandbox)) == 1


def test_parallel_payments_with_a_saved_card_charge_once(sandbox: Any, ada: User) -> None:
    card = saved_card(ada)
    booking = held_booking(user=ada)
    together = threading.Barrier(3)
    problems: list[BaseException] = []

    def go() -> None:
        try:
            together.wait()
            pay_with_saved(booking, method=card, now=timezone.now())
        except (AlreadyPaid, ProviderUnavailable):
            pass
        except BaseException as error:
            problems.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=go) for _number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert problems == []
    assert len(charges(sandbox)) == 1
    settle(Payment.objects.get().pk)
    assert state(booking) == "confirmed"


@pytest.mark.parametrize("passes", [True, False])
def test_the_bank_may_ask_about_a_saved_card(sandbox: Any, ada: User, passes: bool) -> None:
    card = saved_card_with_bank(ada)
    booking = held_booking(user=ada)
    client = api_of(ada)
    answer = client.post(
        "/api/payments/create-intent",
        {"bookingId": booking.reference, "methodId": str(card.pk)},
        format="json",
    )
    assert (answer.status_code, answer.json()["status"]) == (201, "requires_action"), answer.content
    intent = answer.json()["paymentIntentId"]
    assert answer.json()["clientSecret"].startswith(intent)
    assert charges(sandbox) == []
    answer_bank(intent, passes=passes)
    confirmed = client.post("/api/payments/confirm-stripe", {"paymentIntentId": intent}, format="json")
    assert confirmed.json()["status"] == ("captured" if passes else "requires_action")
    assert state(booking) == ("confirmed" if passes else "held")
    assert len(charges(sandbox)) == passes
    assert not Message.objects.filter(kind="payment_needs_customer").exists()


def saved_card_with_bank(user: User) -> StoredMethod:
    """Save a card whose bank asks at the saving and at every payment."""
    session = methods.begin_setup(user)
    assert enter_card(session, card=ASKS_BANK) == 200
    answer_bank(session.setup_ref)
    return methods.save_method(user, setup_ref=session.setup_ref)


def test_a_declined_saved_card_takes_nothing_and_another_one_pays(sandbox: Any, ada: User) -> None:
    bad, good = saved_card(ada, card=SAVES_THEN_DECLINES), saved_card(ada)
    booking = held_booking(user=ada)
    client = api_of(ada)
    for _again in range(2):  # the decline is not remembered: the customer may have called the bank
        answer = client.post(
            "/api/payments/create-intent",
            {"bookingId": booking.reference, "methodId": str(bad.pk)},
            format="json",
            headers={"Idempotency-Key": "d1"},
        )
        assert (answer.status_code, answer.json()["code"]) == (402, "declined"), answer.content
    assert Payment.objects.get().is_live
    assert pay_with_saved(booking, method=good, now=timezone.now()).payment.status == "captured"
    assert len(charges(sandbox)) == 1


def test_a_charge_that_was_made_and_then_broke_is_found_at_once(sandbox: Any, ada: User) -> None:
    card = saved_card(ada)
    booking = held_booking(user=ada)
    sandbox.post(
        "/faults", {"operation": "stripe.payment_intents.confirm", "behaviour": "do_then_500", "times": 1}
    )
    assert pay_with_saved(booking, method=card, now=timezone.now()).payment.status == "captured"
    assert len(charges(sandbox)) == 1


def test_a_charge_whose_outcome_nobody_knows_is_unknown_until_the_janitor_looks(
    sandbox: Any, ada: User
) -> None:
    card = saved_card(ada)
    booking = held_booking(user=ada)
    sandbox.post(
        "/faults", {"operation": "stripe.payment_intents.confirm", "behaviour": "do_then_500", "times": 1}
    )
    sandbox.post(
        "/faults", {"operation": "stripe.payment_intents.retrieve", "behaviour": "refuse", "times": 1}
    )
    with pytest.raises(ProviderUnavailable):
        pay_with_saved(booking, method=card, now=timezone.now())
    payment = Payment.objects.get()
    assert payment.status == "unknown"
    past = timezone.now() - timedelta(minutes=5)
    Payment.objects.update(created_at=past, last_checked_at=past)
    janitor.sweep(now=timezone.now())
    assert state(payment) == "captured"
    assert state(booking) == "confirmed"
    assert len(charges(sandbox)) == 1


def test_a_card_saved_while_paying_is_stored_once_after_the_capture(sandbox: Any, ada: User) -> None:
    booking = held_booking(user=ada)
    client = api_of(ada)
    answer = client.post(
        "/api/payments/create-intent",
        {"bookingId": booking.reference, "saveMethod": True},
        format="json",
        headers={"Idempotency-Key": "k1"},
    )
    assert answer.status_code == 201, answer.content
    session = start(booking, user=ada, now=timezone.now())
    assert session.provider_ref == answer.json()["paymentIntentId"]
    assert session.truth.keeps_method
    assert not StoredMethod.objects.exists()
    assert pay(session) == 200
    for _again in range(3):
        settle(session.payment.pk)
    card = StoredMethod.objects.get()
    assert (card.user, card.label, card.is_default) == (ada, "Visa •••• 4242", True)
    methods.remove(ada, card.pk, now=timezone.now())
    settle(session.payment.pk)
    assert state(card) == "removed"
    assert StoredMethod.objects.count() == 1
    second = held_booking(booking.product, user=ada)
    with pytest.raises(NotFound):
        pay_with_saved(second, method=card, now=timezone.now())


def test_a_card_is_kept_only_if_the_customer_still_wants_it_when_paying(sandbox: Any, ada: User) -> None:
    booking = held_booking(user=ada)
    now = timezone.now()
    plain = start(booking, user=ada, now=now)
    assert not plain.truth.keeps_method
    assert start(booking, user=ada, saves_method=True, now=now).truth.keeps_method
    unticked = start(booking, user=ada, saves_method=False, now=now)
    assert not unticked.truth.keeps_method
    pay(unticked)
    settle(unticked.payment.pk)
    assert state(booking) == "confirmed"
    assert not StoredMethod.objects.exists()


def test_a_guest_can_neither_save_nor_use_a_card(sandbox: Any) -> None:
    from bookings.tests.world import hold, make_product

    now = timezone.now()
    placed = hold(make_product(), start=now + timedelta(days=2), now=now)
    for more in ({"saveMethod": True}, {"methodId": "6f6d0bfb-9a0d-4f0a-8c41-0d5b3a8e7f11"}):
        answer = APIClient().post(
            "/api/payments/create-intent",
            {"bookingId": placed.booking.reference, **more},
            format="json",
            headers={"X-Guest-Token": placed.guest_token},
        )
        assert answer.status_code == 403, answer.content
    assert not Payment.objects.exists()


# In the customer's absence


def test_an_off_session_charge_is_captured(sandbox: Any, ada: User) -> None:
    card = saved_card(ada)
    booking = held_booking(user=ada)
    payment = start(booking, user=ada, now=timezone.now()).payment
    assert charge_saved_method(payment, method=card, now=timezone.now()).status == "captured"
    assert Payment.objects.get().is_off_session
    assert len(charges(sandbox)) == 1


def test_an_off_session_charge_that_needs_the_customer_writes_once_and_can_be_finished(
    sandbox: Any, ada: User
) -> None:
    card = saved_card_with_bank(ada)
    booking = held_booking(user=ada)
    payment = start(booking, user=ada, now=timezone.now()).payment
    assert charge_saved_method(payment, method=card, now=timezone.now()).status == "requires_action"
    settle(payment.pk)
    message = Message.objects.get(kind="payment_needs_customer")
    assert message.to == booking.driver_email
    assert f"next=%2Fpay%2F{booking.reference}" in json.dumps(message.variables)
    assert card.label in message.variables["method_label"]
    assert charges(sandbox) == []
    session = pay_with_saved(booking, method=card, now=timezone.now())
    assert session.truth.bank_asks
    answer_bank(session.provider_ref)
    settle(payment.pk)
    assert state(booking) == "confirmed"
    assert len(charges(sandbox)) == 1


def test_an_off_session_decline_is_told_to_the_caller(sandbox: Any, ada: User) -> None:
    card = saved_card(ada, card=SAVES_THEN_DECLINES)
    payment = start(held_booking(user=ada), user=ada, now=timezone.now()).payment
    with pytest.raises(MethodDeclined):
        charge_saved_method(payment, method=card, now=timezone.now())
    assert not Message.objects.filter(kind="payment_needs_customer").exists()


# Default and removal


def test_the_default_moves(sandbox: Any, ada: User) -> None:
    first, second = saved_card(ada), saved_card(ada, card="pm_card_mastercard")
    client = api_of(ada)
    moved = client.post(f"/api/payments/methods/{second.pk}/default")
    assert (moved.status_code, moved.json()["isDefault"]) == (200, True)
    assert list(StoredMethod.objects.filter(is_default=True)) == [second]
    assert client.delete(f"/api/payments/methods/{second.pk}").status_code == 204
    assert list(StoredMethod.objects.filter(is_default=True)) == [first]
    assert client.post(f"/api/payments/methods/{second.pk}/default").status_code == 404


def test_deleting_twice_lets_go_once(sandbox: Any, ada: User) -> None:
    card = saved_card(ada)
    client = api_of(ada)
    address = f"/api/payments/methods/{card.pk}"
    assert client.delete(address).status_code == 204
    assert client.delete(address).status_code == 404
    assert state(card) == "removed"
    assert card.removed_at is not None
    assert provider().v1.payment_methods.retrieve(card.provider_ref).customer is None
    assert client.get("/api/payments/methods").json()["results"] == []


@pytest.mark.parametrize("behaviour", ["do_then_500", "refuse"])
def test_a_removal_that_the_provider_did_not_confirm_is_repeated_by_the_janitor(
    sandbox: Any, ada: User, behaviour: str
) -> None:
    card = saved_card(ada)
    sandbox.post(
        "/faults", {"operation": "stripe.payment_methods.detach", "behaviour": behaviour, "times": 1}
    )
    assert methods.remove(ada, card.pk, now=timezone.now()).status == "removing"
    assert api_of(ada).get("/api/payments/methods").json()["results"] == []
    with pytest.raises(NotFound):
        pay_with_saved(held_booking(user=ada), method=card, now=timezone.now())
    janitor.sweep(now=timezone.now() + timedelta(minutes=2))
    assert state(card) == "removed"
    assert provider().v1.payment_methods.retrieve(card.provider_ref).customer is None


def test_a_card_detached_at_the_provider_is_gone_by_webhook_alone(
    held_webhooks: Any, client: Client, ada: User
) -> None:
    other, card = saved_card(ada), saved_card(ada, card="pm_card_mastercard")
    methods.make_default(ada, card.pk)
    provider().v1.payment_methods.detach(card.provider_ref)
    (event,) = signed_events(held_webhooks, "payment_method.detached")
    assert [deliver(client, event) for _time in range(2)] == [200, 200]
    row = ProviderEvent.objects.get()
    assert inbox.process_event(row.pk).status == "processed", ProviderEvent.objects.get().last_error
    assert state(card) == "removed"
    other.refresh_from_db()
    assert other.is_default


def test_a_lost_webhook_about_a_detached_card_is_noticed_when_paying(sandbox: Any, ada: User) -> None:
    card = saved_card(ada)
    provider().v1.payment_methods.detach(card.provider_ref)
    booking = held_booking(user=ada)
    with pytest.raises(methods.MethodRemoved):
        pay_with_saved(booking, method=card, now=timezone.now())
    assert state(card) == "removed"
    assert Payment.objects.get().is_live


def test_a_renewed_card_shows_its_new_date_and_a_closed_tab_is_taken_over(
    held_webhooks: Any, client: Client, ada: User
) -> None:
    session = methods.begin_setup(ada)
    enter_card(session)
    (event,) = signed_events(held_webhooks, "setup_intent.succeeded")
    assert deliver(client, event) == 200
    assert inbox.process_event(ProviderEvent.objects.get().pk).status == "processed"
    card = StoredMethod.objects.get()
    assert (card.user, card.is_default) == (ada, True)

    StoredMethod.objects.update(exp_year=2001)  # as it was before the bank sent a new card
    provider().v1.payment_methods.update(card.provider_ref, {"metadata": {"touched": "yes"}})
    (event,) = signed_events(held_webhooks, "payment_method.updated")
    deliver(client, event)
    inbox.process_event(ProviderEvent.objects.get(kind="payment_method.updated").pk)
    card.refresh_from_db()
    assert card.exp_year == timezone.now().year + 3


# What we hold


def test_no_card_number_is_anywhere_in_the_database(held_webhooks: Any, client: Client, ada: User) -> None:
    session = methods.begin_setup(ada)
    typed = {
        "payment_method_data[type]": "card",
        "payment_method_data[card][number]": PAN,
        "payment_method_data[card][exp_month]": "12",
        "payment_method_data[card][exp_year]": "34",
        "payment_method_data[card][cvc]": "123",
    }
    assert in_browser(f"setup_intents/{session.setup_ref}/confirm", session.client_secret, **typed) == 200
    card = methods.save_method(ada, setup_ref=session.setup_ref)
    assert (card.expiry, card.label) == ("12/34", "Visa •••• 4242")
    pay_with_saved(held_booking(user=ada), method=card, now=timezone.now())
    for row in held_webhooks.get("/webhooks.json")["deliveries"]:
        deliver(client, row)
    for event in ProviderEvent.objects.all():
        assert inbox.process_event(event.pk).status == "processed", event.last_error
    assert Booking.objects.get().status == "confirmed"
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' "
            "AND data_type IN ('text', 'character varying', 'character', 'json', 'jsonb', 'bytea', 'ARRAY')"
        )
        columns = cursor.fetchall()
        assert len(columns) > 300
        found = []
        for table, column in columns:
            name = connection.ops.quote_name
            cursor.execute(
                f"SELECT count(*) FROM {name(table)} WHERE "  # noqa: S608 - names from the catalogue
                f"regexp_replace({name(column)}::text, '[ -]', '', 'g') LIKE %s",
                [f"%{PAN}%"],
            )
            if cursor.fetchone()[0]:
                found.append((table, column))
        assert found == []
        cursor.execute("SELECT count(*) FROM payments_storedmethod WHERE last4 = '4242'")
        assert cursor.fetchone()[0] == 1, "the search would have found what is there"
