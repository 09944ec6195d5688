"""Production says no to an unsafe configuration, and the example lists every variable."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured

from parking_site.checks import business_rules_are_readable, production_is_safe, refuse_unsafe_start

READS = re.compile(r'\benv\.\w+\(\s*"([A-Z][A-Z0-9_]*)"')
LISTS = re.compile(r"^(?:# )?([A-Z][A-Z0-9_]*)=", re.MULTILINE)
SAFE: dict[str, Any] = {
    "ENVIRONMENT": "production",
    "PRODUCTION": True,
    "DEPLOYED": True,
    "DEBUG": False,
    "SANDBOX_URL": "",
    "SITE_URL": "https://parking.acme.net",
    "ALLOWED_HOSTS": ["parking.acme.net"],
    "SECRET_KEY": "q7Rk2mVx9Lw4Tz8Yb3Nc6Hd1Jf5Gs0PaEuOiKyQvXlWtMrBnDhFj7",
    "ADDRESS_KEY": "Qa7Ws8Ed9Rf0Tg1Yh2Uj3Ik4Ol5Pz6Xc7Vb8Nm9LkJhGfDsApOiUy",
    "JWT_SIGNING_KEY": "Zx8Cv3Bn7Mk2Lp9Qw4Er6Ty1Ui5Op0AsDfGhJqRtYzXcVbNmKl4Hg",
    "REDIS_URL": "redis://127.0.0.1:6379/0",
    "STRIPE_API_BASE": "https://api.stripe.com",
    "STRIPE_JS_URL": "https://js.stripe.com/v3/",
    "STRIPE_SECRET_KEY": "sk_live_" + "a1B2" * 8,
    "STRIPE_PUBLISHABLE_KEY": "pk_live_" + "a1B2" * 8,
    "STRIPE_WEBHOOK_SECRET": "whsec_" + "a1B2" * 8,
    "STRIPE_WEBHOOK_UUID": "5d0d4f0e-6f9b-4f3a-9a8e-0c5b7a1d2e3f",
    "PAYPAL_CLIENT_ID": "AeA1QIZXiflr1",
    "PAYPAL_CLIENT_SECRET": "ECYYrrSHdKfk",
    "PAYPAL_WEBHOOK_ID": "8PT597110X687430LKGECATA",
    "PAYPAL_RECEIVER_EMAIL": "seller@acme.net",
    "PAYPAL_API_BASE": "https://api-m.paypal.com",
    "PAYPAL_IPN_URL": "https://ipnpb.paypal.com/cgi-bin/webscr",
    "SENDGRID_API_KEY": "SG.a1b2c3",
    "SENDGRID_API_URL": "https://api.sendgrid.com/v3/",
    "SENDGRID_WEBHOOK_VERIFICATION_KEY": "MFkwEwYHKoZIzj0",
    "DEFAULT_FROM_EMAIL": "hello@acme.net",
    "SUPPORT_EMAIL": "help@acme.net",
    "POSTAL_ADDRESS": "Acme Parking, 1 Runway Road, Hounslow TW6 2GA",
    "TWILIO_API_BASE": "",
    "TWILIO_ACCOUNT_SID": "AC" + "1f" * 16,
    "TWILIO_AUTH_TOKEN": "0a1b2c3d4e5f",
    "TWILIO_FROM_NUMBER": "+442079460123",
    "RATE_LIMITS_ENABLED": True,
    "STAFF_MFA_REQUIRED": True,
}


def _problems(settings: Any, **changes: Any) -> set[str]:
    for name, value in {**SAFE, **changes}.items():
        setattr(settings, name, value)
    return {f"{problem.id} {problem.msg}".split(" ", 2)[1] for problem in production_is_safe(None)}


def test_the_example_lists_exactly_the_variables_that_settings_reads() -> None:
    read = set(READS.findall((django_settings.BASE_DIR / "parking_site/settings.py").read_text())) | {
        "DATABASE_URL"
    }
    listed = LISTS.findall((django_settings.BASE_DIR / ".env.production.example").read_text())
    assert sorted(listed) == sorted(set(listed)), "a variable is listed twice"
    assert set(listed) == read


def test_the_comparison_sees_a_variable_that_is_missing_and_one_that_is_too_much() -> None:
    read = (django_settings.BASE_DIR / "parking_site/settings.py").read_text()
    listed = (django_settings.BASE_DIR / ".env.production.example").read_text()
    known, told = set(READS.findall(read)) | {"DATABASE_URL"}, set(LISTS.findall(listed))
    assert set(READS.findall(read + 'X = env.int(\n    "BRAND_NEW", default=1)\n')) - told == {"BRAND_NEW"}
    assert set(LISTS.findall(listed + "# NOBODY_READS=1\n")) - known == {"NOBODY_READS"}


@pytest.mark.parametrize("seconds", [0, -1, 3601])
def test_a_lifetime_out_of_range_is_named(settings: Any, seconds: int) -> None:
    settings.SIMPLE_JWT = {**settings.SIMPLE_JWT, "ACCESS_TOKEN_LIFETIME": timedelta(seconds=seconds)}
    settings.SESSION_COOKIE_AGE = min(seconds, 0)
    named = [str(one.msg).split()[0] for one in business_rules_are_readable(None)]
    assert named == ["JWT_ACCESS_LIFETIME_SECONDS", "SESSION_LIFETIME_SECONDS"]


def test_production_silences_one_check_only() -> None:
    elsewhere = ("django_ratelimit", "djstripe.W002")  # development without Redis, with the sandbox
    silenced = [str(one) for one in django_settings.SILENCED_SYSTEM_CHECKS]
    assert [one for one in silenced if not one.startswith(elsewhere)] == ["anymail.W003"]


def test_only_settings_reads_the_environment() -> None:
    offenders = [
        str(path.relative_to(django_settings.BASE_DIR))
        for app in ("accounts", "bookings", "communications", "foundation", "payments", "parking_site")
        for path in (django_settings.BASE_DIR / app).rglob("*.py")
        if "tests" not in path.parts
        and path.name not in {"settings.py", "wsgi.py", "database.py"}
        and "management" not in path.parts
        and re.search(r"os\.environ|os\.getenv", path.read_text())
    ]
    assert offenders == []


def test_the_example_holds_no_secret() -> None:
    text = (django_settings.BASE_DIR / ".env.production.example").read_text()
    for name in (
        "SECRET_KEY",
        "JWT_SIGNING_KEY",
        "ADDRESS_KEY",
        "STRIPE_SECRET_KEY",
        "SENDGRID_API_KEY",
        "TWILIO_AUTH_TOKEN",
    ):
        assert re.search(rf"^{name}=$", text, re.MULTILINE)


def test_a_complete_production_configuration_passes(settings: Any) -> None:
    assert _problems(settings) == set()


def test_staging_takes_test_keys_and_a_sandbox_and_is_as_strict_otherwise(settings: Any) -> None:
    rehearsal = {
        "ENVIRONMENT": "staging",
        "PRODUCTION": False,
        "STRIPE_SECRET_KEY": "sk_test_" + "a1B2" * 8,
        "SANDBOX_URL": "https://sandbox.acme.net",
        "STRIPE_API_BASE": "http://127.0.0.1:8001/stripe",
        "SENDGRID_API_KEY": "SG.sandbox.sandbox",
    }
    assert _problems(settings, **rehearsal) == set()
    assert _problems(settings, **rehearsal, SECRET_KEY="short", DEBUG=True, SITE_URL="http://acme.net") == {
        "SECRET_KEY",
        "DEBUG",
        "SITE_URL",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SITE_URL", "http://parking.acme.net"),
        ("SITE_URL", "https://localhost"),
        ("SITE_URL", "https://10.0.0.4"),
        ("SANDBOX_URL", "http://127.0.0.1:8001"),
        ("STRIPE_API_BASE", "http://127.0.0.1:8001/stripe"),
        ("PAYPAL_API_BASE", "http://127.0.0.1:8001/paypal"),
        ("PAYPAL_API_BASE", "https://api-m.sandbox.paypal.com"),
        ("PAYPAL_IPN_URL", "https://ipnpb.sandbox.paypal.com/cgi-bin/webscr"),
        ("PAYPAL_CLIENT_SECRET", ""),
        ("PAYPAL_CLIENT_SECRET", "sandbox-paypal-client-secret"),
        ("PAYPAL_WEBHOOK_ID", ""),
        ("PAYPAL_RECEIVER_EMAIL", ""),
        ("SENDGRID_API_URL", "http://mail.acme.net/"),
        ("TWILIO_API_BASE", "https://127.0.0.1/twilio"),
        ("STRIPE_SECRET_KEY", "sk_test_" + "a1B2" * 8),
        ("STRIPE_PUBLISHABLE_KEY", "pk_test_" + "a1B2" * 8),
        ("STRIPE_WEBHOOK_SECRET", "whsec_sandboxsandboxsandboxsandbox"),
        ("STRIPE_WEBHOOK_SECRET", ""),
        ("SECRET_KEY", "short"),
        ("SECRET_KEY", ""),
        ("SECRET_KEY", "a" * 60),
        ("POSTAL_ADDRESS", ""),
        ("ADDRESS_KEY", ""),
        ("ADDRESS_KEY", "development-only-address-key-not-for-production"),
        ("JWT_SIGNING_KEY", SAFE["SECRET_KEY"]),
        ("JWT_SIGNING_KEY", "development-only-jwt-signing-secret-not-for-production"),
        ("REDIS_URL", ""),
        ("DEBUG", True),
        ("RATE_LIMITS_ENABLED", False),
        ("STAFF_MFA_REQUIRED", False),
        ("ALLOWED_HOSTS", ["*"]),
        ("ALLOWED_HOSTS", []),
    ],
)
def test_each_unsafe_setting_is_named(settings: Any, name: str, value: Any) -> None:
    assert _problems(settings, **{name: value}) == {name}


def test_a_misspelt_environment_is_not_taken_for_development(settings: Any) -> None:
    settings.ENVIRONMENT = "prod"
    with pytest.raises(ImproperlyConfigured, match="ENVIRONMENT"):
        refuse_unsafe_start()


@pytest.mark.parametrize(
    "entry",
    [["-c", "import parking_site.wsgi"], ["manage.py", "procrastinate", "worker"]],
    ids=["web", "worker"],
)
def test_no_entry_starts_and_each_names_all_that_is_missing(entry: list[str]) -> None:
    kept = {name: os.environ[name] for name in ("PATH", "DATABASE_URL", "HOME") if name in os.environ}
    run = subprocess.run(
        [sys.executable, *entry],
        cwd=django_settings.BASE_DIR,
        env={
            **kept,
            "ENVIRONMENT": "production",
            "READ_DOT_ENV": "false",
            "STRIPE_SECRET_KEY": "sk_test_" + "x" * 24,
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode != 0
    for name in (
        "SECRET_KEY",
        "JWT_SIGNING_KEY",
        "SITE_URL",
        "REDIS_URL",
        "STRIPE_SECRET_KEY",
        "TWILIO_AUTH_TOKEN",
    ):
        assert f"{name} is" in run.stderr


def test_production_without_paypal_needs_nothing_of_it(settings: Any) -> None:
    off = dict.fromkeys(
        ("PAYPAL_CLIENT_ID", "PAYPAL_CLIENT_SECRET", "PAYPAL_WEBHOOK_ID", "PAYPAL_RECEIVER_EMAIL"), ""
    )
    assert _problems(settings, **off) == set()
