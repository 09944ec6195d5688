"""Staff and their second factor: led to it, nothing without it, lost and given back."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, hotp_value
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import second_factor
from accounts.models import Erasure, TokenFamily, User
from communications.models import Message
from foundation.errors import NotAllowed
from foundation.models import AuditEntry

pytestmark = pytest.mark.django_db
PASSWORD = "tango-bravo-917"
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


@pytest.fixture(autouse=True)
def required(settings: Any) -> None:
    settings.STAFF_MFA_REQUIRED = True
    settings.RECENT_SIGN_IN_MINUTES = 30


def staff(email: str = "sam@staff.example", **more: Any) -> User:
    return User.objects.create_user(email, PASSWORD, name="Sam", is_staff=True, **more)


def with_factor(user: User) -> User:
    from allauth.mfa.adapter import get_adapter

    Authenticator.objects.create(
        user=user, type=Authenticator.Type.TOTP, data={"secret": get_adapter().encrypt(SECRET)}
    )
    RecoveryCodes.activate(user)
    return user


def code(secret: str = SECRET) -> str:
    # One that does not end while it is on its way.
    if (left := 30 - time.time() % 30) < 8:
        time.sleep(left + 0.1)
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30))


def log_in(client: Client, user: User, to: str = "") -> Any:
    return client.post("/accounts/login/", {"login": user.email, "password": PASSWORD, "next": to})


def log_in_with_code(client: Client, user: User) -> Any:
    log_in(client, user)
    return client.post("/accounts/2fa/authenticate/", {"code": code()})


def token(user: User, **more: str) -> Any:
    return APIClient().post(
        "/api/auth/token", {"email": user.email, "password": PASSWORD, **more}, format="json"
    )


def bearer(answer: Any) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {answer.json()['access']}")
    return client


# --- On the pages ---------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_staff_without_a_factor_set_one_up_before_they_see_the_admin(client: Client) -> None:
    sam = staff(is_superuser=True)
    assert client.get("/admin/bookings/booking/").status_code == 302
    assert log_in(client, sam, "/admin/")["Location"] == "/admin/"
    assert (
        client.get("/admin/system/")["Location"] == "/accounts/2fa/totp/activate/?next=%2Fadmin%2Fsystem%2F"
    )
    led = client.get("/admin/")
    assert led["Location"] == "/accounts/2fa/totp/activate/?next=%2Fadmin%2F"
    page = client.get(led["Location"]).content.decode()
    secret = re.search(r'class="mono any-break">([A-Z2-7]+)<', page)
    assert secret
    assert client.post("/accounts/2fa/totp/activate/", {"code": "000000"}).status_code == 200
    done = client.post("/accounts/2fa/totp/activate/", {"code": code(secret[1])}, follow=True)
    assert done.redirect_chain[-1][0] == "/accounts/2fa/recovery-codes/"
    assert len(re.findall(r"<li>\d{8}</li>", done.content.decode())) == 10
    assert client.get("/admin/").status_code == 200
    assert Message.objects.get(kind="second_factor_added").to == sam.email
    assert AuditEntry.objects.get(action="second_factor.added").actor == sam
    assert "****" not in Authenticator.objects.get(type="totp").data["secret"]
    assert secret[1] not in str(Authenticator.objects.get(type="totp").data)


def test_the_code_is_asked_after_the_password_and_opens_the_admin(client: Client) -> None:
    sam = with_factor(staff(is_superuser=True))
    assert log_in(client, sam, "/admin/")["Location"].startswith("/accounts/2fa/authenticate/")
    assert client.get("/admin/")["Location"].startswith("/admin/login/")
    assert "Incorrect code" in client.post("/accounts/2fa/authenticate/", {"code": "000000"}).content.decode()
    assert client.post("/accounts/2fa/authenticate/", {"code": code()})["Location"] == "/admin/"
    assert client.get("/admin/").status_code == 200


def test_a_code_works_once(client: Client) -> None:
    sam = with_factor(staff())
    used = code()
    log_in(client, sam)
    assert client.post("/accounts/2fa/authenticate/", {"code": used}).status_code == 302
    other = Client()
    log_in(other, sam)
    assert other.post("/accounts/2fa/authenticate/", {"code": used}).status_code == 200
    assert token(sam, code=used).json()["code"] == "wrong_code"


def test_a_recovery_code_works_once(client: Client) -> None:
    sam = with_factor(staff())
    spare = RecoveryCodes.activate(sam).get_unused_codes()[0]
    log_in(client, sam)
    assert client.post("/accounts/2fa/authenticate/", {"code": spare}).status_code == 302
    assert token(sam, code=spare).status_code == 401


def test_a_session_that_has_not_shown_the_factor_does_nothing_as_staff(client: Client) -> None:
    sam = staff(is_superuser=True)
    client.force_login(sam)  # a session from before the factor was required
    with_factor(sam)
    refused = client.post("/admin/accounts/user/add/", {"email": "eve@example.com"})
    assert refused.status_code == 403
    assert "second factor" in refused.content.decode()
    assert client.get("/admin/").headers["Location"].startswith("/accounts/2fa/reauthenticate/?next=")
    # Nor on the customers' pages, where staff may open other people's bookings.
    request = client.get("/").wsgi_request
    assert request.user.is_staff
    assert not request.user.has_perm("bookings.view_booking")
    shown = client.post("/accounts/2fa/reauthenticate/", {"code": code(), "next": "/admin/"})
    assert shown["Location"] == "/admin/"
    assert client.get("/admin/").status_code == 200
    assert client.get("/").wsgi_request.user.has_perm("bookings.view_booking")


def test_a_session_that_has_not_shown_the_factor_does_not_take_it_away(client: Client) -> None:
    sam = staff()
    log_in(client, sam)  # before it was set up, elsewhere
    with_factor(sam)
    for name in ("totp/deactivate", "recovery-codes/generate", "recovery-codes", "recovery-codes/download"):
        for ask in (client.get, client.post):
            answer = ask(f"/accounts/2fa/{name}/")
            assert answer.status_code == 302, name
            assert answer["Location"].startswith("/accounts/2fa/reauthenticate/?next="), name
    assert Authenticator.objects.filter(user=sam).count() == 2
    client.post("/accounts/2fa/reauthenticate/", {"code": code()})
    assert client.post("/accounts/2fa/totp/deactivate/")["Location"] == "/accounts/2fa/"
    assert not Authenticator.objects.filter(user=sam).exists()


def test_customers_are_not_asked_for_what_staff_need(client: Client) -> None:
    ada = User.objects.create_user("ada@example.com", PASSWORD)
    log_in(client, ada)
    assert client.get("/account").status_code == 200
    assert bearer(token(ada)).get("/api/auth/me").status_code == 200
    assert client.get("/admin/", follow=True).status_code == 403


def test_what_is_grave_asks_again_who_it_is(client: Client, settings: Any, monkeypatch: Any) -> None:
    boss = with_factor(staff(is_superuser=True))
    ben = User.objects.create_user("ben@example.com", PASSWORD)
    log_in_with_code(client, boss)
    page = f"/admin/accounts/user/{ben.pk}/change/"
    form = {"email": ben.email, "name": "Ben", "language": "en", "is_active": "on", "is_staff": "on",
            "emailaddress_set-TOTAL_FORMS": "0", "emailaddress_set-INITIAL_FORMS": "0"}  # fmt: skip
    now = time.time()
    monkeypatch.setattr("accounts.second_factor.time.time", lambda: now + 31 * 60)
    stale = client.post(page, form)
    assert stale["Location"].startswith("/accounts/2fa/reauthenticate/?next=%2Fadmin%2Faccounts%2Fuser%2F")
    assert not User.objects.get(pk=ben.pk).is_staff
    assert client.get(page).status_code == 200  # reading is no grave act
    wish = Erasure.objects.create(emails=["guest@example.com"], asked_at=timezone.now())
    for erase in (
        client.get(f"/admin/accounts/user/{ben.pk}/messages/"),
        client.post(f"/admin/accounts/user/{ben.pk}/personal/export/"),
        client.post(f"/admin/accounts/user/{ben.pk}/personal/erase/", {"reason": "x", "email": ben.email}),
        client.post(
            f"/admin/accounts/erasure/{wish.pk}/carry-out/", {"reason": "x", "email": "guest@example.com"}
        ),
    ):
        assert erase["Location"].startswith("/accounts/2fa/reauthenticate/")
    assert User.objects.get(pk=ben.pk).is_active
    assert set(Erasure.objects.values_list("status", flat=True)) == {"asked"}
    monkeypatch.setattr("accounts.second_factor.time.time", lambda: now)
    assert client.post(page, form)["Location"] == "/admin/accounts/user/"
    assert User.objects.get(pk=ben.pk).is_staff


# --- Over the API ---------------------------------------------------------------------------------


def test_a_token_of_staff_without_a_code_opens_only_their_own_profile() -> None:
    sam = with_factor(staff(is_superuser=True))
    weak = bearer(token(sam))
    assert weak.get("/api/auth/me").status_code == 200
    for method, path in (("post", "/api/payments/refund"), ("get", "/api/payments/transactions"),
                         ("post", "/api/communication/send-sms")):  # fmt: skip
        refused = getattr(weak, method)(path, {}, format="json")
        assert (refused.status_code, refused.json()["code"]) == (403, "second_factor_required"), path
    strong = token(sam, code=code())
    assert bearer(strong).get("/api/payments/transactions").status_code == 200
    renewed = APIClient().post("/api/auth/refresh", {"refresh": strong.json()["refresh"]}, format="json")
    assert bearer(renewed).get("/api/payments/transactions").status_code == 200
    assert TokenFamily.objects.filter(second_factor_at__isnull=False).count() == 1


def test_guessing_codes_over_the_api_is_stopped_from_wherever_and_whatever_else_succeeds(
    settings: Any,
) -> None:
    settings.RATELIMIT_ENABLE = True
    sam = with_factor(staff())
    seen = []
    for number in range(8):
        there = {"REMOTE_ADDR": f"198.51.100.{number}"}
        body = {"email": sam.email, "password": PASSWORD}
        answer = APIClient().post("/api/auth/token", {**body, "code": "000000"}, format="json", **there)
        seen.append(answer.status_code)
        # The right password without a code succeeds, and takes no wrong code back.
        assert APIClient().post("/api/auth/token", body, format="json", **there).status_code == 200
    assert seen == [401] * 5 + [429] * 3
    assert token(sam, code=code()).status_code == 429


def test_a_right_code_takes_the_wrong_ones_back(settings: Any) -> None:
    settings.RATELIMIT_ENABLE = True
    sam = with_factor(staff())
    spare = RecoveryCodes(Authenticator.objects.get(user=sam, type="recovery_codes")).get_unused_codes()
    for number in range(3):
        assert [token(sam, code="000000").status_code for _try in range(2)] == [401, 401]
        assert token(sam, code=spare[number]).status_code == 200


def test_staff_who_have_no_factor_yet_get_no_further_over_the_api() -> None:
    refused = bearer(token(staff())).get("/api/payments/transactions")
    assert (refused.status_code, refused.json()["code"]) == (403, "second_factor_required")
    assert token(User.objects.get(), code="123456").json()["code"] == "wrong_code"


def test_a_customer_who_has_a_factor_needs_it_over_the_api_as_well() -> None:
    ada = with_factor(User.objects.create_user("ada@example.com", PASSWORD))
    assert bearer(token(ada)).get("/api/payments/methods").json()["code"] == "second_factor_required"
    assert bearer(token(ada, code=code())).get("/api/payments/methods").status_code == 200


def test_nothing_is_asked_where_it_is_not_required(client: Client, settings: Any) -> None:
    settings.STAFF_MFA_REQUIRED = False
    sam = staff(is_superuser=True)
    log_in(client, sam)
    assert client.get("/admin/").status_code == 200
    assert bearer(token(sam)).get("/api/payments/transactions").status_code == 200


# --- Lost and removed -----------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_another_administrator_removes_a_lost_factor_and_says_why(client: Client) -> None:
    sam, boss = with_factor(staff()), with_factor(staff("boss@staff.example", is_superuser=True))
    theirs = Client()
    log_in_with_code(theirs, sam)
    api = bearer(token(sam))
    log_in_with_code(client, boss)
    page = f"/admin/accounts/user/{sam.pk}/second-factor/"
    assert "call a number that you know" in client.get(page).content.decode()
    assert client.post(page, {"reason": " "}).status_code == 400
    assert client.post(page, {"reason": "Phone stolen, called back"}).status_code == 302
    assert not Authenticator.objects.filter(user=sam).exists()
    entry = AuditEntry.objects.get(action="second_factor.reset")
    assert (entry.actor, entry.reason, entry.subject) == (boss, "Phone stolen, called back", f"user:{sam.pk}")
    assert Message.objects.filter(kind="second_factor_removed", to=sam.email).count() == 1
    assert not theirs.get("/").wsgi_request.user.is_authenticated
    assert api.get("/api/auth/me").status_code == 401


def test_nobody_removes_their_own_and_no_other_role_removes_any(client: Client) -> None:
    sam, boss = with_factor(staff()), with_factor(staff("boss@staff.example", is_superuser=True))
    log_in_with_code(client, boss)
    assert client.post(f"/admin/accounts/user/{boss.pk}/second-factor/", {"reason": "x"}).status_code == 403
    for by in (boss, sam):
        with pytest.raises(NotAllowed):
            second_factor.reset(boss, by=by, reason="x")
    assert AuditEntry.objects.filter(action="second_factor.reset.denied").count() == 1
    assert Authenticator.objects.filter(user=boss, type="totp").exists()


def test_the_command_line_removes_one_too() -> None:
    sam = with_factor(staff())
    call_command("reset_second_factor", "SAM@staff.example", reason="Lost phone")
    assert not Authenticator.objects.exists()
    assert AuditEntry.objects.get(action="second_factor.reset").actor is None
    with pytest.raises(CommandError, match="Nobody here"):
        call_command("reset_second_factor", "eve@example.com", reason="x")
    with pytest.raises(CommandError, match="Say why"):
        call_command("reset_second_factor", sam.email, reason=" ")


@pytest.mark.django_db(transaction=True)
def test_nothing_is_taken_from_who_has_none(client: Client) -> None:
    ada = User.objects.create_user("ada@example.com", PASSWORD)
    log_in(client, ada)
    with pytest.raises(CommandError, match="has no second factor"):
        call_command("reset_second_factor", ada.email, "--reason", "The wrong one")
    assert client.get("/account").status_code == 200, "still signed in"
    assert not Message.objects.filter(kind="second_factor_removed").exists()
    assert not AuditEntry.objects.filter(action="second_factor.reset").exists()


def test_turning_it_off_is_told_and_written_down(client: Client) -> None:
    ada = with_factor(User.objects.create_user("ada@example.com", PASSWORD))
    log_in_with_code(client, ada)
    client.post("/accounts/2fa/totp/deactivate/")
    assert not Authenticator.objects.exists()
    assert Message.objects.filter(kind="second_factor_removed").count() == 1
    assert AuditEntry.objects.filter(action="second_factor.removed", actor=ada).count() == 1


@pytest.mark.django_db(transaction=True)
def test_new_recovery_codes_replace_the_old_ones_and_are_told(client: Client) -> None:
    ada = with_factor(User.objects.create_user("ada@example.com", PASSWORD))
    old = RecoveryCodes.activate(ada).get_unused_codes()
    log_in_with_code(client, ada)
    client.post("/accounts/2fa/recovery-codes/generate/")
    page = client.get("/accounts/2fa/recovery-codes/").content.decode()
    assert not set(old) & set(re.findall(r"<li>(\d{8})</li>", page))
    assert not re.findall(r"<li>\d{8}</li>", client.get("/accounts/2fa/recovery-codes/").content.decode())
    assert Message.objects.filter(kind="recovery_codes_made").count() == 1


# --- The way in -----------------------------------------------------------------------------------


def test_the_admin_has_no_log_in_of_its_own(client: Client) -> None:
    for wanted, kept in (
        ("/admin/payments/payment/", "%2Fadmin%2Fpayments%2Fpayment%2F"),
        ("https://evil.example/", "%2Fadmin%2F"),
        ("//evil.example/", "%2Fadmin%2F"),
        ("https:evil.example", "%2Fadmin%2F"),
        ("javascript:alert(1)", "%2Fadmin%2F"),
        ("", "%2Fadmin%2F"),
    ):
        answer = client.get("/admin/login/", {"next": wanted})
        assert answer["Location"] == f"/accounts/login/?next={kept}"
    sam = staff()
    assert client.post("/admin/login/", {"username": sam.email, "password": PASSWORD}).status_code == 302
    assert "_auth_user_id" not in client.session


def test_staff_made_by_staff_need_no_letter_to_log_in(client: Client, settings: Any) -> None:
    settings.STAFF_MFA_REQUIRED = False
    sam = staff()
    assert log_in(client, sam, "/admin/")["Location"] == "/admin/"
    assert EmailAddress.objects.get(user=sam).verified


def test_the_key_of_an_app_is_not_readable_in_the_database() -> None:
    sam = with_factor(staff())
    assert SECRET not in str(Authenticator.objects.get(type="totp").data)
    assert TOTP(Authenticator.objects.get(user=sam, type="totp")).validate_code(code())
