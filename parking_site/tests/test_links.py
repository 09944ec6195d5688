"""Links that we give away: on our own origin whatever Host was claimed, to nowhere else, and unguessable; and an audit log that stays."""

from __future__ import annotations

import re
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.db import DatabaseError, connection, transaction
from django.test import Client

from accounts.models import User
from bookings.models import Booking
from bookings.services.access import guest_token_for
from communications.models import Message
from foundation import audit
from foundation.models import AuditEntry
from payments.tests.world import held_booking

pytestmark = pytest.mark.django_db
PASSWORD = "tango-bravo-917"
ELSEWHERE = ("https://evil.example/", "//evil.example/", "https:evil.example", "/\\evil.example", "javascript:alert(1)",
             "http://testserver.evil.example/", "https://testserver@evil.example/", "\thttps://evil.example")  # fmt: skip


@pytest.fixture
def ada() -> User:
    user = User.objects.create_user("ada@example.com", PASSWORD, name="Ada")
    EmailAddress.objects.create(user=user, email=user.email, primary=True, verified=True)
    return user


def test_links_in_letters_never_follow_the_host_header(client: Client, ada: User, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    settings.SITE_URL = "https://parking.acme.net"
    evil = {"headers": {"Host": "evil.example", "X-Forwarded-Host": "evil.example"}}
    client.post("/accounts/password/reset/", {"email": ada.email}, **evil)
    client.post(
        "/accounts/signup/", {"email": "new@example.com", "password1": PASSWORD, "name": "New"}, **evil
    )
    client.post("/accounts/signup/", {"email": ada.email, "password1": PASSWORD, "name": "Ada"}, **evil)
    client.post(
        "/api/auth/register", {"email": "third@example.com", "password": PASSWORD, "name": "C"},
        content_type="application/json", **evil,
    )  # fmt: skip
    letters = list(Message.objects.all())
    assert sorted(letter.kind for letter in letters) == [
        "already_registered", "password_reset", "verify_email", "verify_email",
    ]  # fmt: skip
    for letter in letters:
        links = [value for name, value in letter.variables.items() if name.endswith("_url")]
        assert links
        assert all(link.startswith("https://parking.acme.net/") for link in links), letter.kind


def test_a_foreign_host_is_refused(client: Client, ada: User) -> None:
    asked = client.post("/accounts/password/reset/", {"email": ada.email}, headers={"Host": "evil.example"})
    assert asked.status_code == 400
    assert not Message.objects.exists()


@pytest.mark.parametrize("wanted", ELSEWHERE)
def test_next_leads_nowhere_else(client: Client, ada: User, wanted: str) -> None:
    page = client.get("/accounts/login/", {"next": wanted})
    assert "evil.example" not in re.sub(r'value="[^"]*"', "", page.content.decode())
    for path, form in (
        ("/accounts/login/", {"login": ada.email, "password": PASSWORD}),
        ("/accounts/reauthenticate/", {"password": PASSWORD}),
        ("/accounts/logout/", {}),
    ):
        answer = client.post(path, {**form, "next": wanted})
        assert answer.status_code in (200, 302), path
        assert answer.headers.get("Location", "/").startswith("/"), path
        assert "evil" not in answer.headers.get("Location", ""), path
        assert not answer.headers.get("Location", "/").startswith("//"), path


def test_next_leads_where_it_should(client: Client, ada: User) -> None:
    form = {"login": ada.email, "password": PASSWORD, "next": "/account/sign-ins"}
    assert client.post("/accounts/login/", form)["Location"] == "/account/sign-ins"


def test_a_guest_link_is_128_bits_and_leaves_the_address_bar(client: Client) -> None:
    booking = held_booking()
    token = guest_token_for(booking.reference, booking.quote_id)
    assert len(token) * 5 >= 128
    assert token not in str(Booking.objects.values().get())
    answer = client.get(f"/b/{booking.reference}/{token}")
    assert answer["Location"] == f"/bookings/{booking.reference}"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "no-store" in answer.headers["Cache-Control"]
    page = client.get(answer["Location"])
    assert page.status_code == 200
    assert token not in page.content.decode()


def test_guest_links_cannot_be_tried_out(client: Client, settings: Any) -> None:
    settings.RATELIMIT_ENABLE = True
    booking = held_booking()
    statuses = [
        client.get(f"/b/{booking.reference}/{'a' * 25}{number:x}").status_code for number in range(32)
    ]
    assert statuses[:30] == [404] * 30
    assert statuses[30:] == [429, 429]
    assert client.head(f"/b/{booking.reference}/{'b' * 26}").status_code == 429
    token = guest_token_for(booking.reference, booking.quote_id)
    claimed = {"X-Forwarded-For": "203.0.113.9", "X-Real-IP": "203.0.113.9"}
    assert client.get(f"/b/{booking.reference}/{token}", headers=claimed).status_code == 429
    assert client.get(f"/b/{booking.reference}/{token}", REMOTE_ADDR="203.0.113.9").status_code == 302


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE foundation_auditentry SET reason = 'nothing happened'",
        "DELETE FROM foundation_auditentry",
        "TRUNCATE foundation_auditentry",
        "TRUNCATE accounts_user CASCADE",
    ],
)
def test_the_audit_log_is_append_only_for_every_client(statement: str) -> None:
    audit.record(actor=None, action="test", subject="x:1", reason="it did happen")
    with connection.cursor() as cursor:
        cursor.execute(
            "SET CONSTRAINTS ALL IMMEDIATE"
        )  # PostgreSQL truncates nothing that waits for a commit
    with (
        pytest.raises(DatabaseError, match="append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
    assert AuditEntry.objects.get().reason == "it did happen"


def test_staff_search_the_audit_log_and_change_nothing(client: Client) -> None:
    boss = User.objects.create_superuser("boss@staff.example", PASSWORD)
    entry = audit.record(actor=boss, action="refund.denied", subject="payment:7f3k2q", reason="no permission")
    client.force_login(boss)
    page = client.get("/admin/foundation/auditentry/", {"q": "7f3k2q"}).content.decode()
    assert "payment:7f3k2q" in page
    nothing = client.get("/admin/foundation/auditentry/", {"q": "zz"}).content.decode()
    assert "payment:7f3k2q" not in nothing
    assert client.get("/admin/foundation/auditentry/add/").status_code == 403
    for path in ("change", "delete"):
        assert (
            client.post(f"/admin/foundation/auditentry/{entry.pk}/{path}/", {"reason": "x"}).status_code
            == 403
        )
    assert AuditEntry.objects.get(pk=entry.pk).reason == "no permission"
