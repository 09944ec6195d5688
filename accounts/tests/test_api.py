"""Sign-up, tokens and profile as a program meets them."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.db import connection
from rest_framework.test import APIClient

from accounts import services
from accounts.models import TokenFamily, User
from foundation.models import AuditEntry

PASSWORD = "rather-long-Secret-7"


@pytest.fixture
def client() -> APIClient:
    return APIClient()


@pytest.fixture
def ada(db: None) -> User:
    return User.objects.create_user("ada@example.com", PASSWORD, name="Ada")


def _bearer(access: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {access}")
    return client


def _post(client: APIClient, path: str, **body: Any) -> Any:
    return client.post(path, body, format="json")


def _register(client: APIClient, email: str, **more: Any) -> Any:
    return _post(client, "/api/auth/register", email=email, password=PASSWORD, name="Eve", **more)


def test_a_known_address_gets_the_same_answer_as_a_new_one(client: APIClient, ada: User) -> None:
    known = _register(client, "ADA@example.com")
    new = _register(client, "new@example.com")
    assert known.status_code == new.status_code == 201
    assert known.json() == {"email": "ada@example.com", "status": "verification_sent"}
    assert new.json() == {"email": "new@example.com", "status": "verification_sent"}
    ada.refresh_from_db()
    assert ada.name == "Ada"
    assert User.objects.count() == 2


def test_a_new_account_must_confirm_its_address_before_it_gets_tokens(client: APIClient, db: None) -> None:
    _register(client, "new@example.com")
    early = _post(client, "/api/auth/token", email="new@example.com", password=PASSWORD)
    assert (early.status_code, early.json()["code"]) == (403, "email_not_verified")
    EmailAddress.objects.update(verified=True)
    assert _post(client, "/api/auth/token", email="New@Example.com", password=PASSWORD).status_code == 200


def test_the_rights_of_an_account_cannot_be_registered(client: APIClient, db: None) -> None:
    answer = _register(client, "new@example.com", is_staff=True, is_superuser=True)
    assert answer.status_code == 400
    assert {row["field"] for row in answer.json()["errors"]} == {"is_staff", "is_superuser"}
    assert not User.objects.exists()


@pytest.mark.parametrize("password", ["short", "password1234", "8273645918273", "x" * 129])
def test_a_weak_password_is_named(client: APIClient, db: None, password: str) -> None:
    answer = _post(client, "/api/auth/register", email="new@example.com", password=password, name="New")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "password"


def test_wrong_password_unknown_address_and_closed_account_answer_alike(client: APIClient, ada: User) -> None:
    User.objects.create_user("closed@example.com", PASSWORD, is_active=False)
    answers = [
        _post(client, "/api/auth/token", email="ada@example.com", password="wrong-one-entirely"),
        _post(client, "/api/auth/token", email="nobody@example.com", password=PASSWORD),
        _post(client, "/api/auth/token", email="closed@example.com", password=PASSWORD),
    ]
    bodies = [{**answer.json(), "requestId": ""} for answer in answers]
    assert [answer.status_code for answer in answers] == [401, 401, 401]
    assert bodies[0] == bodies[1] == bodies[2]
    assert bodies[0]["code"] == "wrong_credentials"


def test_every_refused_sign_in_hashes_one_password(client: APIClient, ada: User, monkeypatch: Any) -> None:
    from django.contrib.auth import hashers

    counted: list[str] = []
    hasher = type(hashers.get_hasher())
    original = hasher.encode
    monkeypatch.setattr(
        hasher, "encode", lambda self, *args, **kwargs: counted.append("x") or original(self, *args, **kwargs)
    )
    _post(client, "/api/auth/token", email="ada@example.com", password="wrong-one-entirely")
    of_known = len(counted)
    _post(client, "/api/auth/token", email="nobody@example.com", password="wrong-one-entirely")
    assert of_known == len(counted) - of_known == 1


def test_tokens_open_the_profile_and_the_profile_changes_only_what_it_may(
    client: APIClient, ada: User
) -> None:
    pair = _post(client, "/api/auth/token", email="ada@example.com", password=PASSWORD).json()
    mine = _bearer(pair["access"])
    assert mine.get("/api/auth/me").json() == {
        "email": "ada@example.com", "name": "Ada", "phone": "", "language": "en", "marketingConsent": False,
    }  # fmt: skip
    changed = mine.patch("/api/auth/me", {"name": "Ada L.", "marketingConsent": True}, format="json")
    assert changed.status_code == 200
    assert changed.json()["marketingConsent"] is True
    assert AuditEntry.objects.filter(action="marketing_consent_given", actor=ada).count() == 1
    refused = mine.patch("/api/auth/me", {"email": "x@example.com", "is_staff": True}, format="json")
    assert refused.status_code == 400
    ada.refresh_from_db()
    assert (ada.email, ada.is_staff, ada.name) == ("ada@example.com", False, "Ada L.")


def test_a_refresh_token_works_once_and_its_reuse_ends_the_family(client: APIClient, ada: User) -> None:
    first = services.issue_tokens(ada)
    second = _post(client, "/api/auth/refresh", refresh=first.refresh)
    assert second.status_code == 200
    assert _bearer(second.json()["access"]).get("/api/auth/me").status_code == 200
    again = _post(client, "/api/auth/refresh", refresh=first.refresh)
    assert (again.status_code, again.json()["code"]) == (401, "token_not_valid")
    assert _post(client, "/api/auth/refresh", refresh=second.json()["refresh"]).status_code == 401
    assert _bearer(second.json()["access"]).get("/api/auth/me").status_code == 401
    assert AuditEntry.objects.filter(action="refresh_token_reused").count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_parallel_refreshes_exactly_one_wins() -> None:
    ada = User.objects.create_user("ada@example.com", PASSWORD)
    refresh = services.issue_tokens(ada).refresh
    start = threading.Barrier(6)
    statuses: list[int] = []

    def exchange() -> None:
        try:
            start.wait(10)
            statuses.append(_post(APIClient(), "/api/auth/refresh", refresh=refresh).status_code)
        finally:
            connection.close()

    threads = [threading.Thread(target=exchange) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(statuses) == [200, 401, 401, 401, 401, 401]
    assert TokenFamily.objects.get().revoked_at is not None


def test_the_token_of_a_deleted_user_is_refused(client: APIClient, ada: User) -> None:
    pair = services.issue_tokens(ada)
    ada.delete()
    assert _post(client, "/api/auth/refresh", refresh=pair.refresh).status_code == 401
    assert _bearer(pair.access).get("/api/auth/me").status_code == 401


@pytest.mark.parametrize("change", ["password", "closed"])
def test_a_new_password_or_a_closed_account_ends_every_token(
    client: APIClient, ada: User, change: str
) -> None:
    pair = services.issue_tokens(ada)
    if change == "password":
        ada.set_password("another-long-Secret-8")
    else:
        ada.is_active = False
    ada.save()
    assert _bearer(pair.access).get("/api/auth/me").status_code == 401
    assert _post(client, "/api/auth/refresh", refresh=pair.refresh).status_code == 401


def test_logout_ends_refresh_and_access_at_once(client: APIClient, ada: User) -> None:
    pair = services.issue_tokens(ada)
    assert _post(client, "/api/auth/logout", refresh=pair.refresh).status_code == 205
    assert _bearer(pair.access).get("/api/auth/me").status_code == 401
    assert _post(client, "/api/auth/refresh", refresh=pair.refresh).status_code == 401
    assert _post(client, "/api/auth/logout", refresh=pair.refresh).status_code == 401


@pytest.mark.parametrize("token", ["x", "a.b.c", "é", "", None, 7, ["x"], {"x": 1}, "x" * 2001])
def test_no_text_in_place_of_a_refresh_token_breaks_anything(client: APIClient, db: None, token: Any) -> None:
    assert _post(client, "/api/auth/refresh", refresh=token).status_code in {400, 401}


def test_an_access_token_is_no_refresh_token(client: APIClient, ada: User) -> None:
    assert _post(client, "/api/auth/refresh", refresh=services.issue_tokens(ada).access).status_code == 401
    assert _bearer(services.issue_tokens(ada).refresh).get("/api/auth/me").status_code == 401


def test_sign_in_is_limited_per_account_and_says_when_to_return(
    client: APIClient, ada: User, settings: Any
) -> None:
    settings.RATELIMIT_ENABLE = True
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "token": ["100/h", "2/h"]}
    for _ in range(2):
        assert _post(client, "/api/auth/token", email="ada@example.com", password="bad").status_code == 401
    limited = _post(client, "/api/auth/token", email="ADA@example.com", password=PASSWORD)
    assert (limited.status_code, limited.json()["code"]) == (429, "too_many_requests")
    assert int(limited["Retry-After"]) >= 1
    other = _post(client, "/api/auth/token", email="ben@example.com", password="bad")
    assert other.status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        b'{"email": "a\\u0000@example.com", "password": "x"}',
        b'{"email": "\\ud800@example.com", "password": "x"}',
        b'{"email": NaN, "password": "x"}',
        b'{"email": 1e309, "password": 1e999999999999999999999}',
        b'{"email": "a@example.com", "email": "b@example.com", "password": "x"}',
        b"\xff\xfe", b"", b"[]", b"null", b'"x"', b"{", b"[" * 100_000, b"9" * 5000,
    ],
)  # fmt: skip
def test_malformed_bodies_are_4xx_problems(client: APIClient, db: None, body: bytes) -> None:
    answer = client.post("/api/auth/token", body, content_type="application/json")
    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    assert set(json.loads(answer.content)) >= {
        "type",
        "title",
        "status",
        "code",
        "detail",
        "errors",
        "requestId",
    }


def test_an_oversize_body_is_413(client: APIClient, db: None) -> None:
    answer = client.post("/api/auth/token", b'{"email": "' + b"x" * 300_000, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize("name", ["a\nb", "a\r\nBcc: eve@example.com", "a\x1bb"])
def test_a_name_is_one_line(client: APIClient, ada: User, name: str) -> None:
    signed_in = _bearer(services.issue_tokens(ada).access)
    assert signed_in.patch("/api/auth/me", {"name": name}, format="json").status_code == 400
    assert (
        _post(client, "/api/auth/register", email="b@example.com", password=PASSWORD, name=name).status_code
        == 400
    )
