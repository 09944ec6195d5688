"""Opening an account, logging in, a new password and the profile, as people do it in a browser."""

from __future__ import annotations

import re
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.test import Client

from accounts.models import User
from communications.models import ConsentEntry, Message
from communications.services import consent

pytestmark = pytest.mark.django_db

PASSWORD = "tango-bravo-917"


def text(response: Any) -> str:
    return response.content.decode()


def ada(*, verified: bool = True) -> User:
    user = User.objects.create_user("ada@example.com", PASSWORD, name="Ada Lovelace")
    EmailAddress.objects.create(user=user, email=user.email, primary=True, verified=verified)
    return user


def local_path(url: str) -> str:
    return re.sub(r"^https?://[^/]+", "", url)


def sign_up(client: Client, **change: str) -> Any:
    asked = {"email": "ada@example.com", "password1": PASSWORD, "name": "Ada Lovelace"} | change
    return client.post("/accounts/signup/", asked)


def test_signing_up_queues_one_letter_and_following_it_opens_the_account(client: Client) -> None:
    assert sign_up(client)["Location"] == "/accounts/confirm-email/"
    letter = Message.objects.get()
    assert (letter.kind, letter.to, letter.to_name) == ("verify_email", "ada@example.com", "Ada Lovelace")
    path = local_path(letter.variables["verify_url"])
    assert "Yes, open my account" in text(client.get(path))
    client.post(path)
    assert EmailAddress.objects.get().verified
    assert Message.objects.filter(kind="welcome").count() == 1
    client.post(path)
    assert Message.objects.filter(kind="welcome").count() == 1
    response = client.post("/accounts/login/", {"login": "ada@example.com", "password": PASSWORD})
    assert response["Location"] == "/bookings"


def test_signing_up_with_a_known_address_looks_the_same_and_tells_only_its_owner(client: Client) -> None:
    ada()
    assert sign_up(client)["Location"] == "/accounts/confirm-email/"
    assert User.objects.count() == 1
    assert Message.objects.get().kind == "already_registered"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("name", "", "Enter your name"), ("email", "ada", "valid email"), ("password1", "short", "too short")],
)
def test_a_bad_sign_up_is_told_beside_the_field(client: Client, field: str, value: str, message: str) -> None:
    page = text(sign_up(client, **{field: value}))
    assert message in page
    assert 'role="alert"' in page
    assert not User.objects.exists()


def test_a_wrong_password_keeps_the_address_and_opens_nothing(client: Client) -> None:
    ada()
    response = client.post("/accounts/login/", {"login": "ada@example.com", "password": "wrong-wrong-1"})
    assert 'value="ada@example.com"' in text(response)
    assert 'role="alert"' in text(response)
    assert "_auth_user_id" not in client.session


def test_a_forgotten_password_is_replaced_through_the_letter(client: Client) -> None:
    ada()
    client.post("/accounts/password/reset/", {"email": "ada@example.com"})
    letter = Message.objects.get(kind="password_reset")
    form = client.get(local_path(letter.variables["reset_url"]), follow=True)
    address = form.redirect_chain[-1][0]
    client.post(address, {"password1": "new-words-4711", "password2": "new-words-4711"})
    assert User.objects.get().check_password("new-words-4711")


def test_a_reset_for_an_unknown_address_looks_the_same_and_writes_to_nobody(client: Client) -> None:
    response = client.post("/accounts/password/reset/", {"email": "nobody@example.com"})
    assert response["Location"] == "/accounts/password/reset/done/"
    assert not Message.objects.exists()


def test_the_profile_is_for_its_owner_and_saves_what_is_valid(client: Client) -> None:
    assert client.get("/account")["Location"].startswith("/accounts/login/")
    client.force_login(ada())
    bad = client.post("/account", {"name": "", "phone": "12"})
    assert bad.status_code == 422
    assert "Enter your name" in text(bad)
    assert "Enter a phone number with its country code" in text(bad)
    good = client.post(
        "/account", {"name": "Ada King", "phone": "+44 7400 123456", "marketing_consent": "on"}
    )
    assert good["Location"] == "/account"
    user = User.objects.get()
    assert (user.name, str(user.phone), user.marketing_consent) == ("Ada King", "+447400123456", True)


def test_offers_by_sms_are_asked_for_in_the_account(client: Client) -> None:
    user = ada()
    client.force_login(user)
    form = {"name": "Ada King", "phone": "+44 7400 123456", "sms_offers": "on"}
    refused = client.post("/account", form)
    assert refused.status_code == 422 and "Book with this number first" in refused.content.decode()
    user.refresh_from_db()
    assert (user.name, str(user.phone)) != ("Ada King", "+447400123456"), "all or nothing"
    assert not consent.wants_offers(channel="sms", address="+447400123456"), "it may be anybody's"
    Message.objects.create(
        kind="booking_confirmation", channel="sms", to="+447400123456", user=user, dedupe_key="reached"
    )
    for step in ("sending", "sent", "delivered"):
        Message.objects.update(status=step)
    assert client.post("/account", form).status_code == 302
    user.refresh_from_db()
    assert (user.wants_sms_offers, user.marketing_consent) == (True, False)
    assert "answer STOP" in ConsentEntry.objects.get().wording
    assert client.post("/account", {"name": "Ada King", "phone": ""}).status_code == 302
    assert consent.wants_offers(channel="sms", address="+447400123456"), (
        "taking the number away says nothing about it"
    )


@pytest.mark.parametrize(
    ("name", "is_greeted"),
    [
        ("You won! http://evil.example/win", False),
        ("Claim at www.evil.example", False),
        ("See evil.example/now", False),
        ("Write to eve@evil", False),
        ("Ada Lovelace", True),
        ("Dr. Ada B. King", True),
        ("José M. Núñez-O'Neill Jr.", True),
    ],
)
def test_a_strangers_name_brings_no_link_into_our_mail(client: Client, name: str, is_greeted: bool) -> None:
    given = {"email": "victim@example.com", "password": "x9!kkQQ2mdhe", "name": name}
    client.post("/api/auth/register", given, content_type="application/json")
    message = Message.objects.get(kind="verify_email")
    assert message.variables["customer_name"] == (name if is_greeted else "victim@example.com")
