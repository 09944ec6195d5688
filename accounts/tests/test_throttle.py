"""Guessing passwords: stopped where it happens, told alike for known and unknown addresses, and no way to lock somebody out."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from accounts import throttle
from accounts.models import User

pytestmark = pytest.mark.django_db
PASSWORD = "tango-bravo-917"
WRONG = "wrong-wrong-1"


@pytest.fixture(autouse=True)
def limited(settings: Any) -> None:
    settings.RATELIMIT_ENABLE = True
    settings.SIGN_IN_FAILURES = [8, 3, 5]


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada@example.com", PASSWORD, name="Ada")


def on_page(email: str, password: str, *, address: str = "192.0.2.1", **more: Any) -> Any:
    form = {"login": email, "password": password}
    return Client().post("/accounts/login/", form, REMOTE_ADDR=address, **more)


def by_api(email: str, password: str, *, address: str = "192.0.2.1", **more: Any) -> Any:
    body = {"email": email, "password": password}
    return Client().post(
        "/api/auth/token", body, content_type="application/json", REMOTE_ADDR=address, **more
    )


def hashed(monkeypatch: Any) -> list[str]:
    from django.contrib.auth import hashers

    counted: list[str] = []
    hasher = type(hashers.get_hasher())
    original = hasher.encode
    monkeypatch.setattr(
        hasher, "encode", lambda self, *args, **kwargs: counted.append("x") or original(self, *args, **kwargs)
    )
    return counted


def test_known_unknown_and_closed_accounts_answer_alike_and_hash_alike(ada: User, monkeypatch: Any) -> None:
    User.objects.create_user("closed@example.com", PASSWORD, is_active=False)
    counted = hashed(monkeypatch)
    for way in (on_page, by_api):
        seen = []
        for number, email in enumerate(("ada@example.com", "nobody@example.com", "closed@example.com")):
            counted.clear()
            answer = way(email, WRONG, address=f"192.0.2.{number + 10}")
            words = "" if way is on_page else {**answer.json(), "requestId": ""}
            alerts = answer.content.decode().count('role="alert"')
            seen.append((answer.status_code, len(counted), alerts, words))
        assert seen[0] == seen[1] == seen[2], way
        assert seen[0][1] >= 1


def test_a_stopped_guess_hashes_nothing_whoever_it_was_for(ada: User, monkeypatch: Any) -> None:
    counted = hashed(monkeypatch)
    for number, email in enumerate((ada.email, "nobody@example.com")):
        address = f"192.0.2.{number + 10}"
        for _try in range(3):
            assert by_api(email, WRONG, address=address).status_code == 401
        counted.clear()
        assert by_api(email, PASSWORD, address=address).status_code == 429
        assert "Too many" in on_page(email, PASSWORD, address=address).content.decode()
        assert counted == []


def test_page_and_api_count_together(ada: User) -> None:
    on_page(ada.email, WRONG)
    on_page(ada.email, WRONG)
    assert by_api(ada.email, WRONG).status_code == 401
    answer = by_api(ada.email, PASSWORD)
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_requests")
    assert int(answer["Retry-After"]) > 0


def test_whoever_fails_elsewhere_does_not_lock_the_owner_out(ada: User) -> None:
    home = "198.51.100.7"
    assert by_api(ada.email, PASSWORD, address=home).status_code == 200
    for number in range(30):  # many addresses, so that none of them is stopped by itself
        by_api(ada.email, WRONG, address=f"203.0.113.{number}")
    assert by_api(ada.email, PASSWORD, address="192.0.2.50").status_code == 429  # a stranger waits
    assert (
        by_api(ada.email, PASSWORD, address=home).status_code == 200
    )  # an address that she came from before does not


def test_a_new_address_gets_through_between_the_guesses(ada: User) -> None:
    for number in range(14):
        by_api(ada.email, WRONG, address=f"203.0.113.{number}")
    assert by_api(ada.email, PASSWORD, address="192.0.2.50").status_code == 429
    account = throttle.Attempt.of(account=ada.email, address="").account_key
    cache.delete(f"{account}.gate")  # a minute has passed
    assert by_api(ada.email, PASSWORD, address="192.0.2.50").status_code == 200


def test_one_address_cannot_try_one_password_on_many_accounts(ada: User) -> None:
    statuses = [by_api(f"p{number}@example.com", PASSWORD).status_code for number in range(9)]
    assert statuses == [401] * 8 + [429]
    assert by_api(ada.email, PASSWORD).status_code == 429
    assert by_api(ada.email, PASSWORD, address="192.0.2.2").status_code == 200


@pytest.mark.parametrize(
    "header", ["HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_FORWARDED", "HTTP_CF_CONNECTING_IP"]
)
@pytest.mark.parametrize("way", [on_page, by_api])
def test_a_claimed_address_changes_nothing(ada: User, header: str, way: Any) -> None:
    for number in range(3):
        way(ada.email, WRONG, **{header: f"203.0.113.{number}"})
    stopped = way(ada.email, PASSWORD, **{header: "203.0.113.99"})
    assert stopped.status_code == 429 or "Too many" in stopped.content.decode()


def test_the_proxys_own_header_counts(ada: User, settings: Any) -> None:
    settings.CLIENT_ADDRESS_HEADER = "X-Real-IP"
    for number in range(4):
        assert by_api(ada.email, WRONG, HTTP_X_REAL_IP=f"203.0.113.{number}").status_code == 401
    for _try in range(3):
        by_api(ada.email, WRONG, HTTP_X_REAL_IP="203.0.113.200")
    assert by_api(ada.email, WRONG, HTTP_X_REAL_IP="203.0.113.200").status_code == 429


def test_sign_up_hashes_alike_for_known_and_new_addresses(ada: User, monkeypatch: Any) -> None:
    counted = hashed(monkeypatch)
    seen = []
    for email in (ada.email, "new@example.com"):
        counted.clear()
        answer = Client().post("/accounts/signup/", {"email": email, "password1": PASSWORD, "name": "Eve"})
        seen.append((answer.status_code, answer["Location"], len(counted)))
    assert seen[0] == seen[1] == (302, "/accounts/confirm-email/", 1)


def test_a_reset_answers_alike_and_is_limited_by_address_and_account(ada: User, monkeypatch: Any) -> None:
    counted = hashed(monkeypatch)

    def ask(email: str, address: str) -> Any:
        return Client().post("/accounts/password/reset/", {"email": email}, REMOTE_ADDR=address)

    known, unknown = ask(ada.email, "192.0.2.3"), ask("nobody@example.com", "192.0.2.4")
    assert (known.status_code, known["Location"]) == (unknown.status_code, unknown["Location"])
    assert counted == []
    for email in (ada.email, "nobody@example.com"):
        statuses = [ask(email, f"198.51.100.{number}").status_code for number in range(5)]
        assert statuses[-1] == 429, email
    assert [ask(f"p{number}@example.com", "192.0.2.99").status_code for number in range(21)][-1] == 429
    assert ask("other@example.com", "192.0.2.98").status_code == 302


def test_codes_are_limited_like_passwords(ada: User) -> None:
    from accounts.tests.test_second_factor import with_factor

    with_factor(ada)
    for _try in range(3):
        answer = Client().post(
            "/api/auth/token", {"email": ada.email, "password": PASSWORD, "code": "000000"},
            content_type="application/json", REMOTE_ADDR="192.0.2.1",
        )  # fmt: skip
        assert answer.json()["code"] == "wrong_code"
    assert by_api(ada.email, PASSWORD).status_code == 429
    client = Client()
    client.post("/accounts/login/", {"login": ada.email, "password": PASSWORD}, REMOTE_ADDR="198.51.100.1")
    pages = [
        client.post(
            "/accounts/2fa/authenticate/", {"code": "000000"}, REMOTE_ADDR="198.51.100.1"
        ).content.decode()
        for _try in range(6)
    ]
    assert "Too many" in pages[-1]
    assert "Too many" not in pages[0]


def test_a_whole_ipv6_network_counts_as_one(ada: User) -> None:
    statuses = [
        by_api(ada.email, WRONG, address=f"2001:db8:1:2::{number:x}").status_code for number in range(4)
    ]
    assert statuses == [401, 401, 401, 429]
    assert by_api(ada.email, PASSWORD, address="2001:db8:1:3::1").status_code == 200


@pytest.mark.parametrize("address", ["", "unix:", "not an address", "1.2.3.4, 5.6.7.8"])
def test_no_address_breaks_a_log_in(ada: User, address: str, settings: Any) -> None:
    settings.CLIENT_ADDRESS_HEADER = "X-Real-IP"
    answer = Client().post(
        "/accounts/login/", {"login": ada.email, "password": PASSWORD}, headers={"X-Real-IP": address}
    )
    assert answer.status_code == 302
