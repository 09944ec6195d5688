"""Other people's cards, forged and broken notices, keys that died with their process: what somebody tried, and what must not work."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as current
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.models import User
from bookings.models import Booking
from bookings.tests.world import make_product
from foundation.models import IdempotencyRecord
from payments.models import Payment, ProviderEvent, StoredMethod
from payments.services.charge import pay_with_saved
from payments.services.checkout import PaymentChanged, PaymentInDoubt, ProviderUnavailable, start
from payments.services.settle import settle
from payments.tests.world import approve, checkout, held_booking, pay, saved_card

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def books_are_right() -> Any:
    yield
    call_command("audit_books")


@pytest.fixture
def ada(sandbox: Any) -> User:
    return User.objects.create_user("ada@example.com", "rather-long-Secret-7", name="Ada")


def api_of(user: User) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {accounts.issue_tokens(user).access}")
    return client


def wants_to_keep(user: User, booking: Booking, provider: str = "stripe") -> Any:
    return start(booking, provider=provider, user=user, saves_method=True, now=timezone.now())


# Cards are kept for whoever typed them


@pytest.mark.parametrize("owner", ["nobody", "ada"])
def test_a_card_that_another_person_types_is_never_kept_for_me(ada: User, owner: str) -> None:
    """The payer has the payment page open when Ada, who may see the booking, asks to keep the card."""
    booking = held_booking(user=ada if owner == "ada" else None)
    payers = checkout(booking)
    hers = wants_to_keep(ada, booking)
    assert hers.payment.pk != payers.payment.pk
    assert pay(payers) == 400, "what the payer has open can no longer be paid"
    reloaded = checkout(booking)
    assert reloaded.payment.pk != hers.payment.pk
    assert not reloaded.truth.keeps_method
    assert pay(hers) == 400
    assert pay(reloaded) == 200
    settle(reloaded.payment.pk)
    booking.refresh_from_db()
    assert booking.status == "confirmed"
    assert not StoredMethod.objects.exists()


def test_a_wallet_that_another_person_agrees_with_is_never_kept_for_me(ada: User) -> None:
    booking = held_booking()
    hers = wants_to_keep(ada, booking, "paypal")
    guests = checkout(booking, provider="paypal")
    assert guests.payment.pk != hers.payment.pk
    approve(guests)
    settle(guests.payment.pk)
    booking.refresh_from_db()
    assert booking.status == "confirmed"
    assert not StoredMethod.objects.exists()


def test_the_page_says_that_the_payment_was_made_anew(ada: User) -> None:
    booking = held_booking(user=ada)
    payers = checkout(booking)
    browser = Client()
    browser.force_login(ada)
    address = f"/pay/{booking.reference}"
    assert str(payers.payment.pk) in browser.get(address).content.decode()
    asked = {"keep": "1", "payment": str(payers.payment.pk)}
    assert browser.post(f"{address}/keep", asked).status_code == 205
    assert "for you alone" in browser.get(address).content.decode()


def test_who_is_alone_with_a_payment_changes_the_wish_in_place(ada: User) -> None:
    booking = held_booking(user=ada)
    first = start(booking, user=ada, now=timezone.now())
    assert wants_to_keep(ada, booking).payment.pk == first.payment.pk


def test_the_database_refuses_a_shared_payment_that_saves(ada: User) -> None:
    payment = wants_to_keep(ada, held_booking(user=ada)).payment
    for wrong in ({"is_shared": True}, {"user": None}):
        with pytest.raises(IntegrityError, match="payment_saves_only_for_its_payer"), transaction.atomic():
            Payment.objects.filter(pk=payment.pk).update(**wrong)


def test_two_people_who_begin_at_once_never_share_a_payment_that_saves(ada: User) -> None:
    product = make_product(capacity=5)
    for _round in range(3):
        booking = held_booking(product, user=ada)
        outcomes: list[Any] = []

        def begin(saves: bool, booking: Booking = booking, outcomes: list[Any] = outcomes) -> None:
            try:
                outcomes.append(wants_to_keep(ada, booking) if saves else checkout(booking))
            except (PaymentChanged, PaymentInDoubt, ProviderUnavailable) as refusal:
                outcomes.append(refusal)
            finally:
                connection.close()

        threads = [threading.Thread(target=begin, args=(saves,)) for saves in (True, False, True, False)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(outcomes) == 4
        for payment in Payment.objects.filter(booking=booking, saves_method=True):
            handed = [one for one in outcomes if getattr(one, "payment", None) == payment]
            assert all(one.payment.user == ada and not one.payment.is_shared for one in handed)


# Keys


def test_a_call_that_died_without_a_key_does_not_stop_another_way_to_pay(ada: User) -> None:
    booking = held_booking(user=ada)
    client = api_of(ada)
    dead = IdempotencyRecord.objects.create(
        principal=f"user:{ada.pk}",
        route="POST /api/payments/create-intent",
        key="booking:" + hashlib.sha256(booking.reference.encode()).hexdigest(),
        fingerprint="",
    )
    asked = {"bookingId": booking.reference, "provider": "paypal"}
    assert client.post("/api/payments/create-intent", asked, format="json").status_code == 409
    IdempotencyRecord.objects.filter(pk=dead.pk).update(created_at=timezone.now() - timedelta(minutes=2))
    assert client.post("/api/payments/create-intent", asked, format="json").status_code == 201


def test_nobody_is_told_that_nothing_was_taken_while_nobody_knows(sandbox: Any, ada: User) -> None:
    card, booking = saved_card(ada), held_booking(user=ada)
    start(booking, user=ada, now=timezone.now())
    lies = [("confirm", "do_then_500"), ("retrieve", "ok"), ("retrieve", "refuse")]
    for operation, behaviour in lies:
        sandbox.post(
            "/faults",
            {
                "operation": f"stripe.payment_intents.{operation}",
                "behaviour": behaviour,
                "times": 1,
                "status": 500,
            },
        )
    with pytest.raises(ProviderUnavailable) as told:
        pay_with_saved(booking, method=card, now=timezone.now())
    assert len(charges(sandbox)) == 1
    assert "Nothing was taken" not in str(told.value.message)
    assert settle(Payment.objects.get().pk).status == "captured"


def charges(sandbox: Any) -> list[Any]:
    return [one for one in sandbox.get("/ledger.json")["charges"] if one["status"] == "succeeded"]


# Doors


def stripe_delivery(client: Client, raw: str, *, signature: str = "") -> int:
    call_command("provision_stripe")
    stamp = int(time.time())
    true = hmac.new(
        current.STRIPE_WEBHOOK_SECRET.encode(), f"{stamp}.{raw}".encode(), hashlib.sha256
    ).hexdigest()
    return client.post(
        f"/stripe/webhook/{current.STRIPE_WEBHOOK_UUID}/",
        raw,
        content_type="application/json",
        headers={"Stripe-Signature": f"t={stamp},v1={signature or true}"},
    ).status_code


def test_a_signature_in_other_letters_is_refused(client: Client) -> None:
    assert stripe_delivery(client, "{}", signature="é") == 400


@pytest.mark.parametrize("half", ["id", "type", "object"])
def test_half_characters_in_a_signed_event_are_refused(client: Client, half: str) -> None:
    told = {"id": "evt_1", "type": "charge.succeeded", "livemode": False}
    subject = {"id": "ch_1", "object": "charge"}
    (subject if half == "object" else told)[half] = "\ud800"
    raw = json.dumps(told | {"object": "event", "api_version": "x", "data": {"object": subject}})
    assert stripe_delivery(client, raw) == 400
    assert not ProviderEvent.objects.exists()


def test_an_amount_too_large_to_calculate_with_is_ignored(client: Client, ada: User) -> None:
    session = checkout(held_booking(), provider="paypal")
    answer = client.post(
        "/webhooks/paypal/ipn/",
        f"custom={session.payment.pk}&txn_id=1&mc_currency=GBP&mc_gross=-1e999999999"
        f"&receiver_email={current.PAYPAL_RECEIVER_EMAIL}",
        content_type="application/x-www-form-urlencoded",
    )
    assert answer.status_code == 200
    assert not ProviderEvent.objects.exists()


def test_a_flood_of_forgeries_holds_two_threads_and_no_more(sandbox: Any) -> None:
    sandbox.post(
        "/faults", {"operation": "paypal.webhooks.verify", "behaviour": "slow", "seconds": 1, "times": 9}
    )
    answers: Counter[int] = Counter()
    headers = {
        "PayPal-Auth-Algo": "SHA256withRSA",
        "PayPal-Cert-Url": "https://api.paypal.com/v1/notifications/certs/CERT-1",
        "PayPal-Transmission-Id": "1",
        "PayPal-Transmission-Sig": "x",
        "PayPal-Transmission-Time": "2026-11-26T00:00:00Z",
    }
    body = json.dumps({"id": "WH-1", "resource_type": "capture", "resource": {"id": "1"}})

    def forge() -> None:
        try:
            answer = Client().post(
                "/webhooks/paypal/", body, content_type="application/json", headers=headers
            )
            answers[answer.status_code] += 1
        finally:
            connection.close()

    threads = [threading.Thread(target=forge) for _one in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(answers) <= {400, 503}
    assert answers[503] >= 6, "most are sent away at once"
    assert not ProviderEvent.objects.exists()


def test_who_may_only_look_captures_nothing(sandbox: Any, ada: User) -> None:
    viewer = User.objects.create_user("vic@example.com", "rather-long-Secret-7", is_staff=True)
    from django.contrib.auth.models import Permission

    viewer.user_permissions.add(Permission.objects.get(codename="view_booking"))
    session = checkout(held_booking(), provider="paypal")
    approve(session)
    answer = api_of(viewer).post(
        "/api/payments/confirm-paypal", {"orderId": session.provider_ref}, format="json"
    )
    assert answer.status_code in (403, 404)
    assert Payment.objects.get().captured_minor == 0
