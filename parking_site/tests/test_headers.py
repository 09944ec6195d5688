"""Headers of every page as a stranger gets it, and templates that need no loosened policy."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from accounts.models import User
from bookings.tests.world import make_product
from parking_site.tests.test_idempotency import routes

pytestmark = pytest.mark.django_db
SAMPLES = {
    "int": "1", "uuid": "3f8a1b7c-52d4-4e0b-9a6e-0d1c2b3a4f5e", "str": "AP-2222", "slug": "AP-2222", "path": "1",
}  # fmt: skip
# Served by whom we cannot tell: a provider's door with a signature, and patterns that only libraries use.
TEMPLATES = Path(settings.BASE_DIR) / "templates"


def addresses() -> list[str]:
    found = set()
    for path, _view, _name in routes():
        if "^" in path or "(?P" in path:
            path = (
                re.sub(r"\(\?P<\w+>[^()]*(\([^()]*\))?[^()]*\)", "x", path)
                .replace("^", "")
                .replace("$", "")
                .replace("\\", "")
            )
        path = re.sub(r"<(?:(\w+):)?\w+>", lambda kind: SAMPLES.get(kind[1] or "str", "x"), path)
        if not re.search(r"[()?*|\[\]]", path):
            found.add("/" + path)
    return sorted(found)


def test_every_address_carries_the_headers(client: Client) -> None:
    make_product()
    seen, wrong = 0, []
    for address in addresses():
        answer = client.get(address)
        seen += 1
        headers = answer.headers
        wanted = {
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer"
            if address.startswith("/b/")
            else "strict-origin-when-cross-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "X-Frame-Options": "DENY",
        }
        wrong += [f"{address}: {name}" for name, value in wanted.items() if headers.get(name) != value]
        if "camera=()" not in headers.get("Permissions-Policy", ""):
            wrong.append(f"{address}: Permissions-Policy")
        policy = headers.get("Content-Security-Policy", "")
        script = re.search(r"script-src ([^;]*)", policy)
        if (
            not script
            or "unsafe-inline" in script[1]
            or "*" in script[1].replace("https://*.js.stripe.com", "")
        ):
            wrong.append(f"{address}: script-src {script and script[1]}")
        if (
            "object-src 'none'" not in policy
            or "base-uri 'none'" not in policy
            or "frame-ancestors" not in policy
        ):
            wrong.append(f"{address}: policy {policy}")
        kept = headers.get("Cache-Control", "")
        if not ("private" in kept and "no-store" in kept) and not is_public(address):
            wrong.append(f"{address}: Cache-Control {kept!r}")
        if answer.status_code >= 500 and address != "/api/health":  # no worker runs here
            wrong.append(f"{address}: {answer.status_code}")
    assert not wrong, "\n".join(wrong)
    assert seen > 200


def is_public(address: str) -> bool:
    return address in ("/", "/search", "/health") or address.startswith("/api/")


def test_what_is_public_is_private_for_whoever_shows_who_they_are(client: Client) -> None:
    assert "no-store" not in client.get("/").headers.get("Cache-Control", "")
    client.force_login(User.objects.create_user("ada@example.com", "tango-bravo-917"))
    for address in ("/", "/account", "/account/sign-ins", "/accounts/2fa/", "/bookings"):
        assert {"private", "no-store"} <= set(re.split(r", *", client.get(address).headers["Cache-Control"]))
    answer = Client().get("/api/auth/me", headers={"Authorization": "Bearer x"})
    assert answer.headers["Cache-Control"] == "private, no-store"


def test_an_error_page_carries_them_too(client: Client) -> None:
    for address in ("/nothing-here", "/api/nothing-here", "/b/AP-2222/x"):
        answer = client.get(address)
        assert answer.status_code == 404
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "script-src" in answer.headers["Content-Security-Policy"]
        assert "camera=()" in answer.headers["Permissions-Policy"]


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        ("a script in the page", r"<script(?![^>]*(?:\ssrc=|application/json))"),
        ("a handler in an attribute", r"<[^>]+\son[a-z]+="),
        ("a script as an address", r"javascript:"),
        ("a style in an attribute", r"<[^>]+\sstyle="),
        ("a style sheet in the page", r"<style(?![^>]*nonce)"),
    ],
)
def test_no_template_needs_a_looser_policy(what: str, pattern: str) -> None:
    pages = [
        page for page in TEMPLATES.rglob("*.html")
        if "email" not in page.parts and page.name not in ("500.html", "503.html") and "preview" not in page.name
    ]  # fmt: skip
    assert len(pages) > 60
    assert [
        str(page.relative_to(TEMPLATES)) for page in pages if re.search(pattern, page.read_text())
    ] == [], what


def test_every_cookie_of_production_is_bound_to_the_host() -> None:
    ask = (
        "from django.conf import settings as s; print(s.SESSION_COOKIE_NAME, s.CSRF_COOKIE_NAME, s.SESSION_COOKIE_SECURE, "
        "s.CSRF_COOKIE_SECURE, s.SESSION_COOKIE_DOMAIN, s.SESSION_COOKIE_PATH, s.CSRF_COOKIE_DOMAIN, s.CSRF_COOKIE_PATH, "
        "s.STAFF_MFA_REQUIRED, s.RECENT_SIGN_IN_MINUTES, s.MESSAGE_STORAGE.split('.')[-1])"
    )
    said = subprocess.run(
        [sys.executable, "-c", ask], cwd=settings.BASE_DIR, capture_output=True, text=True, check=True,
        env={"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "parking_site.settings", "ENVIRONMENT": "production",
             "READ_DOT_ENV": "false", "DATABASE_URL": "postgres://x@127.0.0.1/x"},
    ).stdout  # fmt: skip
    assert said.split() == [
        "__Host-session",
        "__Host-csrf",
        "True",
        "True",
        "None",
        "/",
        "None",
        "/",
        "True",
        "30",
        "SessionStorage",
    ]


def test_no_page_sets_another_cookie(client: Client) -> None:
    names: set[Any] = set()
    for address in (
        "/",
        "/accounts/login/",
        "/accounts/signup/",
        "/bookings/find",
        "/admin/login/",
        "/search",
    ):
        names |= set(client.get(address).cookies)
    User.objects.create_user("ada@example.com", "tango-bravo-917")
    answer = client.post("/accounts/login/", {"login": "ada@example.com", "password": "tango-bravo-917"})
    names |= set(answer.cookies)
    assert names == {settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME}
