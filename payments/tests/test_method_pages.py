"""Saved cards on pages: chosen when paying, kept on request, listed and removed in the account."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from bookings.models import Booking
from payments.models import Payment, StoredMethod
from payments.services import methods
from payments.services.checkout import start
from payments.tests.world import answer_bank, enter_card, held_booking, pay, provider, saved_card

pytestmark = pytest.mark.django_db(transaction=True)
LIST = "/account/payment-methods"


def text(response: Any) -> str:
    return response.content.decode()


@pytest.fixture
def ada(sandbox: Any) -> User:
    return User.objects.create_user("ada@example.com", "rather-long-Secret-7", name="Ada Lovelace")


@pytest.fixture
def browser(client: Client, ada: User) -> Client:
    client.force_login(ada)
    return client


@pytest.fixture
def ben(ada: User) -> Client:
    client = Client()
    client.force_login(User.objects.create_user("ben@example.com", "rather-long-Secret-7", name="Ben"))
    return client


def charged_with(browser: Client, booking: Booking, card: StoredMethod) -> Any:
    return browser.post(f"/pay/{booking.reference}/charge", {"stored": str(card.pk)})


def test_saved_cards_are_offered_masked_with_the_default_chosen(browser: Client, ada: User) -> None:
    first, second = saved_card(ada), saved_card(ada, card="pm_card_mastercard")
    methods.make_default(ada, second.pk)
    old = saved_card(ada, card="pm_card_amex")
    StoredMethod.objects.filter(pk=old.pk).update(exp_year=2020)
    page = text(browser.get(f"/pay/{held_booking(user=ada).reference}"))
    assert f'value="{second.pk}" checked' in page
    assert f'value="{first.pk}">' in page
    assert "Visa •••• 4242" in page
    assert second.expiry in page
    assert "American Express" not in page, "an expired card is not offered"
    assert "Save this card for next time" in page
    assert 'name="keep" value="1" aria-describedby="keep-hint">' in page, "nobody agreed yet"
    assert "pm_" not in page


def test_a_guest_sees_no_saved_cards_and_no_box_to_save_one(client: Client, sandbox: Any) -> None:
    from bookings.tests.world import hold, make_product

    now = timezone.now()
    placed = hold(make_product(), start=now + timedelta(days=2), now=now)
    client.get(f"/b/{placed.booking.reference}/{placed.guest_token}")
    page = text(client.get(f"/pay/{placed.booking.reference}"))
    assert "Save this card" not in page
    assert 'name="stored"' not in page
    assert client.post(f"/pay/{placed.booking.reference}/keep", {"keep": "1"}).status_code == 403


def test_a_saved_card_pays_without_script(browser: Client, ada: User) -> None:
    card, booking = saved_card(ada), held_booking(user=ada)
    answer = browser.post(f"/pay/{booking.reference}/charge", {"stored": str(card.pk)}, follow=True)
    assert "You are booked." in text(answer)
    assert "Visa •••• 4242" in text(answer)
    assert Payment.objects.get().stored_method == card
    assert charged_with(browser, booking, card)["Location"] == f"/pay/{booking.reference}/return"
    assert Payment.objects.count() == 1


def test_the_banks_question_has_a_page_that_can_be_left_for_another_card(browser: Client, ada: User) -> None:
    setup = methods.begin_setup(ada)
    enter_card(setup, card="pm_card_authenticationRequired")
    answer_bank(setup.setup_ref)
    card = methods.save_method(ada, setup_ref=setup.setup_ref)
    booking = held_booking(user=ada)
    address = f"/pay/{booking.reference}"
    assert charged_with(browser, booking, card)["Location"] == f"{address}?bank=1"
    assert "Your bank asks you to confirm" in text(browser.get(address))
    assert 'value="another"' in text(browser.get(f"{address}?another=1"))
    answer_bank(Payment.objects.get().provider_ref or "", passes=False)
    assert browser.get(f"{address}/return")["Location"] == f"{address}?declined=1"
    assert "could not check that it was you" in text(browser.get(f"{address}?declined=1"))
    charged_with(browser, booking, card)
    answer_bank(Payment.objects.get().provider_ref or "")
    assert browser.get(f"{address}/return")["Location"] == f"/bookings/{booking.reference}/confirmed"


def test_a_declined_saved_card_leads_back_with_the_reason(browser: Client, ada: User) -> None:
    card, booking = saved_card(ada, card="pm_card_chargeCustomerFail"), held_booking(user=ada)
    answer = charged_with(browser, booking, card)
    assert answer["Location"] == f"/pay/{booking.reference}?declined=1"
    assert "Your bank declined the payment" in text(browser.get(answer["Location"]))
    booking.refresh_from_db()
    assert booking.status == "held"


def test_a_card_that_is_gone_or_somebody_elses_is_refused(browser: Client, ada: User, ben: Client) -> None:
    card, booking = saved_card(ada), held_booking(user=ada)
    assert charged_with(ben, booking, card).status_code == 404
    provider().v1.payment_methods.detach(card.provider_ref)
    answer = browser.post(f"/pay/{booking.reference}/charge", {"stored": str(card.pk)}, follow=True)
    assert "can no longer be used" in text(answer)
    assert 'name="stored"' not in text(answer)
    answer = browser.post(f"/pay/{booking.reference}/charge", {"stored": "4242424242424242"}, follow=True)
    assert "can no longer be used" in text(answer)
    bens = held_booking(booking.product, user=User.objects.get(email="ben@example.com"))
    other = saved_card(ada)
    assert "can no longer be used" in text(
        ben.post(f"/pay/{bens.reference}/charge", {"stored": str(other.pk)}, follow=True)
    )
    assert not Payment.objects.exclude(captured_minor=0).exists()


def test_the_ticked_box_keeps_the_card(browser: Client, ada: User) -> None:
    booking = held_booking(user=ada)
    address = f"/pay/{booking.reference}"
    browser.get(address)
    assert browser.post(f"{address}/keep", {"keep": "1"}).status_code == 204
    assert 'aria-describedby="keep-hint" checked' in text(browser.get(address))
    assert browser.post(f"{address}/keep", {"keep": ""}).status_code == 204
    assert browser.post(f"{address}/keep", {"keep": "1"}).status_code == 204
    pay(start(booking, user=ada, now=timezone.now()))
    browser.get(f"{address}/return")
    assert StoredMethod.objects.get().user == ada
    assert "Visa •••• 4242" in text(browser.get(LIST))


def test_a_box_that_could_not_be_noted_says_so(browser: Client, ada: User, sandbox: Any) -> None:
    booking = held_booking(user=ada)
    browser.get(f"/pay/{booking.reference}")
    sandbox.post("/faults", {"operation": "stripe.payment_intents.update", "behaviour": "429", "times": 1})
    assert browser.post(f"/pay/{booking.reference}/keep", {"keep": "1"}).status_code == 409


def test_a_card_is_added_listed_made_default_and_removed(browser: Client, ada: User) -> None:
    assert "Nothing saved yet" in text(browser.get(LIST))
    form = browser.get(f"{LIST}/add")
    setup = form.context["setup"]
    unfinished = browser.get(f"{LIST}/added?setup={setup.setup_ref}", follow=True)
    assert "not saved yet" in text(unfinished)
    enter_card(setup)
    for _again in range(2):
        back = browser.get(f"{LIST}/added?setup={setup.setup_ref}", follow=True)
        assert "Visa •••• 4242 is saved." in text(back)
    first, second = StoredMethod.objects.get(), saved_card(ada, card="pm_card_mastercard")
    assert "Mastercard •••• 4444 is your default now." in text(
        browser.post(f"{LIST}/{second.pk}/default", follow=True)
    )
    question = browser.get(f"{LIST}/{second.pk}/remove")
    assert "Remove Mastercard •••• 4444?" in text(question)
    second.refresh_from_db()
    assert second.status == "active", "a look removes nothing"
    gone = browser.post(f"{LIST}/{second.pk}/remove", follow=True)
    assert "Mastercard •••• 4444 is removed." in text(gone)
    assert browser.post(f"{LIST}/{second.pk}/remove").status_code == 302, "pressed twice"
    first.refresh_from_db()
    assert first.is_default


def test_nobody_reaches_somebody_elses_cards(browser: Client, ada: User, ben: Client) -> None:
    card = saved_card(ada)
    setup = methods.begin_setup(ada)
    enter_card(setup)
    assert "4242" not in text(ben.get(LIST))
    for path in (f"{LIST}/{card.pk}/remove", f"{LIST}/added?setup={setup.setup_ref}"):
        assert ben.get(path).status_code == 404
    for path in (f"{LIST}/{card.pk}/remove", f"{LIST}/{card.pk}/default"):
        assert ben.post(path).status_code == 404
    for path in (LIST, f"{LIST}/add", f"{LIST}/{card.pk}/remove"):
        assert Client().get(path)["Location"].startswith("/accounts/login/")
    card.refresh_from_db()
    assert card.status == "active"


def test_opening_the_card_form_over_and_over_is_limited(browser: Client, sandbox: Any) -> None:
    answers = [browser.get(f"{LIST}/add").status_code for _time in range(22)]
    assert answers[0] == 200
    assert answers[-1] == 429


def test_staff_see_a_saved_card_masked_and_change_nothing(ada: User, client: Client) -> None:
    card = saved_card(ada)
    client.force_login(User.objects.create_superuser("root@example.com", "rather-long-Secret-7"))
    address = "/admin/payments/storedmethod/"
    assert "Visa •••• 4242" in text(client.get(f"{address}?q=ada@example.com"))
    page = client.get(f"{address}{card.pk}/change/")
    assert page.status_code == 200
    assert "ada@example.com" in text(page)
    assert client.post(f"{address}{card.pk}/change/", {"label": "x"}).status_code == 403
    assert client.post(f"{address}{card.pk}/delete/", {"post": "yes"}).status_code == 403
