"""What ends every sign-in at once, in browsers and over the API; and the list of them."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from allauth.usersessions.models import UserSession
from django.db import connection
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import services, sign_ins
from accounts.models import TokenFamily, User
from accounts.tests.test_pages import local_path
from communications.models import Message
from foundation.models import AuditEntry

pytestmark = pytest.mark.django_db
PASSWORD = "tango-bravo-917"
NEW = "kilo-lima-2046-x"


def _browser(user: User, agent: str = "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0") -> Client:
    client = Client(headers={"User-Agent": agent})
    client.post("/accounts/login/", {"login": user.email, "password": PASSWORD})
    assert client.get("/account").status_code == 200
    return client


def _change_password(user: User) -> None:
    _browser(user).post(
        "/accounts/password/change/", {"oldpassword": PASSWORD, "password1": NEW, "password2": NEW}
    )


def _reset_by_letter(user: User) -> None:
    client = Client()
    client.post("/accounts/password/reset/", {"email": user.email})
    path = local_path(Message.objects.get(kind="password_reset").variables["reset_url"])
    form = client.get(path, follow=True)
    client.post(form.request["PATH_INFO"], {"password1": NEW, "password2": NEW})


def _by_admin(**form: str) -> Callable[[User], None]:
    def change(user: User) -> None:
        boss = User.objects.create_superuser("boss@staff.example", PASSWORD)
        client = Client()
        client.force_login(boss)
        posted = {
            "email": user.email, "name": "Sam", "language": "en", "is_active": "on", "is_staff": "on",
            "emailaddress_set-TOTAL_FORMS": "0", "emailaddress_set-INITIAL_FORMS": "0",
        } | form  # fmt: skip
        posted = {name: value for name, value in posted.items() if value}
        answer = client.post(f"/admin/accounts/user/{user.pk}/change/", posted)
        assert answer.status_code == 302, answer.content.decode()

    return change


def _password_by_admin(user: User) -> None:
    boss = User.objects.create_superuser("boss@staff.example", PASSWORD)
    client = Client()
    client.force_login(boss)
    answer = client.post(
        f"/admin/accounts/user/{user.pk}/password/",
        {"password1": NEW, "password2": NEW, "usable_password": "true"},
    )
    assert answer.status_code == 302, answer.content.decode()


def _by_sql(user: User) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE accounts_user SET is_staff = false WHERE id = %s", [user.pk])


def _everywhere(user: User) -> None:
    _browser(user).post("/account/sign-ins", {"end": "everywhere"})


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_change_password, id="password changed"),
        pytest.param(_reset_by_letter, id="password reset by letter"),
        pytest.param(_password_by_admin, id="password set by staff"),
        pytest.param(_by_admin(is_active=""), id="account closed"),
        pytest.param(_by_admin(is_staff=""), id="no longer staff"),
        pytest.param(_by_admin(is_superuser="on"), id="made superuser"),
        pytest.param(_by_sql, id="no longer staff, by SQL"),
        pytest.param(_everywhere, id="signed out everywhere"),
    ],
)
def test_every_session_and_every_token_ends_at_once(change: Callable[[User], None]) -> None:
    sam = User.objects.create_user("sam@staff.example", PASSWORD, is_staff=True)
    browser, tokens = _browser(sam), services.issue_tokens(sam)
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {tokens.access}")
    assert api.get("/api/auth/me").status_code == 200
    change(sam)
    assert browser.get("/account").status_code == 302
    assert browser.get("/admin/").status_code == 302
    assert api.get("/api/auth/me").status_code == 401
    assert (
        APIClient().post("/api/auth/refresh", {"refresh": tokens.refresh}, format="json").status_code == 401
    )


def test_a_new_password_is_told_and_written_down() -> None:
    sam = User.objects.create_user("sam@staff.example", PASSWORD)
    _change_password(sam)
    assert Message.objects.filter(kind="password_changed", to=sam.email).count() == 1
    assert AuditEntry.objects.filter(action="password.changed", actor=sam).count() == 1


def test_a_password_set_by_staff_is_told() -> None:
    sam = User.objects.create_user("sam@staff.example", PASSWORD, is_staff=True)
    _password_by_admin(sam)
    assert Message.objects.filter(kind="password_changed", to=sam.email).count() == 1


def test_the_list_shows_what_is_signed_in_and_ends_one_of_them() -> None:
    ada, ben = (User.objects.create_user(f"{name}@example.com", PASSWORD) for name in ("ada", "ben"))
    here = _browser(ada)
    phone = _browser(ada, "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0) Version/18.0 Safari/604.1")
    tokens = services.issue_tokens(ada, client="fleet-tool/2.1")
    foreign = _browser(ben)
    page = here.get("/account/sign-ins").content.decode()
    for words in ("Firefox on Linux", "Safari on iPhone", "fleet-tool/2.1", "127.0.0.1"):
        assert words in page
    keys = re.findall(r'name="end" value="([^"]+)"', page)
    assert len(keys) == 3  # the phone, the program, everywhere; not this one
    for key in keys[:2]:
        assert here.post("/account/sign-ins", {"end": key}).status_code == 302
    assert phone.get("/account").status_code == 302
    assert TokenFamily.objects.get().revoked_at is not None
    assert (
        APIClient().post("/api/auth/refresh", {"refresh": tokens.refresh}, format="json").status_code == 401
    )
    assert here.get("/account").status_code == 200
    theirs = UserSession.objects.get(user=ben)
    for key in (
        f"session-{theirs.pk}",
        "session-x",
        "family-x",
        "family-" + "-" * 36,
        "",
        "x",
        "session-" + "9" * 30,
    ):
        assert here.post("/account/sign-ins", {"end": key}).status_code == 302
    assert foreign.get("/account").status_code == 200


def test_where_ended_sessions_came_from_is_forgotten() -> None:
    ada = User.objects.create_user("ada@example.com", PASSWORD)
    client = _browser(ada)
    assert sign_ins.forget_ended_sessions(now=timezone.now()) == 0
    client.post("/accounts/logout/")
    assert sign_ins.forget_ended_sessions(now=timezone.now()) == 1
    _browser(ada)
    assert sign_ins.forget_ended_sessions(now=timezone.now() + timedelta(days=15)) == 1


def _race(exchange: Callable[[], str]) -> list[str]:
    start, results = threading.Barrier(6), []

    def run() -> None:
        try:
            start.wait(10)
            results.append(exchange())
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return sorted(results)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("guarded", [True, False])
def test_one_refresh_token_in_many_hands_at_once(guarded: bool, monkeypatch: Any) -> None:
    """One winner, and the family ends. Without the condition that decides it, several win: the control that shows the race."""
    ada = User.objects.create_user("ada@example.com", PASSWORD)
    refresh = services.issue_tokens(ada).refresh
    everybody_has_read = threading.Barrier(6)
    read = services._read

    def read_together(text: str) -> Any:
        token = read(text)
        everybody_has_read.wait(10)
        return token

    monkeypatch.setattr(services, "_read", read_together)
    if not guarded:
        by_condition = TokenFamily.objects.filter

        def without_condition(*args: Any, **wanted: Any) -> Any:
            wanted.pop("current_jti", None)
            return by_condition(*args, **wanted)

        monkeypatch.setattr(TokenFamily.objects, "filter", without_condition)

    def exchange() -> str:
        try:
            services.rotate(refresh, now=timezone.now())
        except services.TokenNotValid:
            return "refused"
        return "won"

    results = _race(exchange)
    assert results.count("won") == (1 if guarded else 6)
    assert (TokenFamily.objects.get().revoked_at is not None) is guarded
