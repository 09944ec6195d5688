"""Start-up checks: production refuses to start on sandbox addresses, test keys, weak or missing secrets, and names each."""

from __future__ import annotations

import ipaddress
import re
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured

from communications.services import quiet

REQUIRED = (
    "SECRET_KEY", "JWT_SIGNING_KEY", "ADDRESS_KEY", "SITE_URL", "ALLOWED_HOSTS", "REDIS_URL", "STRIPE_SECRET_KEY", "STRIPE_PUBLISHABLE_KEY",
    "STRIPE_WEBHOOK_SECRET", "STRIPE_WEBHOOK_UUID",
    "DEFAULT_FROM_EMAIL", "SUPPORT_EMAIL", "POSTAL_ADDRESS", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_FROM_NUMBER",
)  # fmt: skip
REQUIRED_FOR_MAIL = {
    "sendgrid": ("SENDGRID_API_KEY", "SENDGRID_WEBHOOK_VERIFICATION_KEY"),
    "postmark": ("POSTMARK_SERVER_TOKEN", "POSTMARK_WEBHOOK_SECRET"),
}
# PayPal is optional, but not by halves.
REQUIRED_WITH_PAYPAL = ("PAYPAL_CLIENT_SECRET", "PAYPAL_WEBHOOK_ID", "PAYPAL_RECEIVER_EMAIL")
PROVIDER_ADDRESSES = (
    "STRIPE_API_BASE", "STRIPE_JS_URL", "PAYPAL_API_BASE", "PAYPAL_IPN_URL", "SENDGRID_API_URL", "TWILIO_API_BASE",
)  # fmt: skip
SHORTEST_SECRET = 50
FEWEST_DIFFERENT_CHARACTERS = 12
DAY = 86400
# What a secret looks like that somebody copied from an example or a laptop instead of making one.
PLACEHOLDERS = (
    "development-only",
    "django-insecure",
    "change-me",
    "changeme",
    "replace",
    "your_",
    "your-",
    "sandbox",
    "example",
)


@register("production")
def production_is_safe(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Name every setting that production may not run with; a staging server may have test keys and a sandbox, nothing else."""
    if settings.ENVIRONMENT not in {"development", "test", "staging", "production"}:
        return [_error("E001", "ENVIRONMENT", "is unknown", "Set it to production, staging or development.")]
    if not settings.DEPLOYED:
        return []
    everywhere = [*_missing(), *_weak_secrets(), *_addresses(), *_switches()]
    return (
        [*everywhere, *_placeholders(), *_test_keys(), *_providers()] if settings.PRODUCTION else everywhere
    )


@register("business")
def business_rules_are_readable(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Name every business rule that cannot be read, in any environment."""
    # These need the applications, which this check has.
    from foundation import features, rules
    from foundation.retention import out_of_range

    problems = []
    if settings.LOG_FORMAT not in {"json", "line"}:
        problems.append(_error("E008", "LOG_FORMAT", "is unknown", "Set it to json or line, or remove it."))
    for name, hint in rules.problems():
        problems.append(_error("E008", name, "cannot be used", hint))
    for hint in features.problems():
        problems.append(_error("E008", "FEATURES", "cannot be used", f"{hint}."))
    if settings.EMAIL_PROVIDER not in REQUIRED_FOR_MAIL:
        hint = f"Set it to one of {', '.join(REQUIRED_FOR_MAIL)}."
        problems.append(_error("E008", "EMAIL_PROVIDER", "is unknown", hint))
    try:
        quiet.hours()
    except ValueError:
        problems.append(
            _error("E008", "QUIET_HOURS", "cannot be read", "Write two times such as 21:00-08:00.")
        )
    for share, limits in settings.SMS_LIMITS.items():
        if len(limits) != 4 or any(limit < 0 for limit in limits):
            hint = "Write four numbers: to one number, one prefix, one country, and in all, such as 5,500,5000,20000."
            problems.append(_error("E008", f"SMS_LIMITS_{share.upper()}", "cannot be read", hint))
    for name, form, example in (
        ("SMS_BREAKER", r"\d{1,6}/[1-9]\d{0,4}", "25/10"),
        ("SMS_PRICE_ESTIMATE", r"[A-Z]{3}:\d{1,4}(\.\d{1,5})?", "USD:0.05"),
    ):
        if not re.fullmatch(form, getattr(settings, name)):
            problems.append(_error("E008", name, "cannot be read", f"Write it like {example}."))
    for name, count, example in (("CARD_DECLINES", 3, "15,8,6"), ("OPEN_HOLDS_PER_ADDRESS", 2, "30,12")):
        if len(getattr(settings, name)) != count or any(limit < 1 for limit in getattr(settings, name)):
            problems.append(
                _error(
                    "E008", name, "cannot be read", f"Write {count} whole numbers from 1, such as {example}."
                )
            )
    if len(settings.SIGN_IN_FAILURES) != 3 or any(limit < 1 for limit in settings.SIGN_IN_FAILURES):
        hint = "Write three whole numbers from 1: per address, per account and address, per account, such as 60,5,20."
        problems.append(_error("E008", "SIGN_IN_FAILURES", "cannot be read", hint))
    for key, rates in settings.RATE_LIMITS.items():
        if len(rates) != 2 or any(
            not re.fullmatch(r"[1-9]\d{0,6}/[1-9]?\d{0,3}[smhd]", rate) for rate in rates
        ):
            hint = "Write two limits, per address and per account, such as 60/m,10/m (s, m, h or d)."
            problems.append(_error("E008", f"RATE_LIMIT_{key.upper()}", "cannot be read", hint))
    for name, least in (("CARD_DECLINE_MINUTES", 1), ("RECENT_SIGN_IN_MINUTES", 0)):
        if not least <= getattr(settings, name) <= 10080:
            hint = f"Write whole minutes from {least} to 10080."
            problems.append(_error("E008", name, "is out of range", hint))
    if any(not re.fullmatch("[A-Z]{2}", country) for country in settings.SMS_COUNTRIES):
        problems.append(
            _error("E008", "SMS_COUNTRIES", "cannot be read", "Write countries such as GB,DE,US.")
        )
    try:
        ZoneInfo(settings.HOME_TIMEZONE)
    except (ZoneInfoNotFoundError, ValueError):
        problems.append(
            _error("E008", "HOME_TIMEZONE", "is unknown", "Write a zone's IANA name such as Europe/London.")
        )
    for name, seconds, least, most in (
        (
            "JWT_ACCESS_LIFETIME_SECONDS",
            settings.SIMPLE_JWT["ACCESS_TOKEN_LIFETIME"].total_seconds(),
            1,
            3600,
        ),
        (
            "JWT_REFRESH_LIFETIME_SECONDS",
            settings.SIMPLE_JWT["REFRESH_TOKEN_LIFETIME"].total_seconds(),
            60,
            90 * DAY,
        ),
        ("SESSION_LIFETIME_SECONDS", settings.SESSION_COOKIE_AGE, 60, 90 * DAY),
        ("MAIL_TIMEOUT_SECONDS", settings.MAIL_TIMEOUT_SECONDS, 1, 120),
        ("STRIPE_TIMEOUT_SECONDS", settings.STRIPE_TIMEOUT_SECONDS, 1, 120),
        ("PAYPAL_TIMEOUT_SECONDS", settings.PAYPAL_TIMEOUT_SECONDS, 1, 120),
        ("TWILIO_TIMEOUT_SECONDS", settings.TWILIO_TIMEOUT_SECONDS, 1, 120),
    ):
        if not least <= seconds <= most:
            problems.append(
                _error("E008", name, "is out of range", f"Write whole seconds from {least} to {most}.")
            )
    problems += [
        _error(
            "E008", f"KEEP_{key.upper()}_DAYS", "is out of range", f"Write whole days from {least} to {most}."
        )
        for key, least, most in dict.fromkeys(out_of_range())
    ]
    return problems


def refuse_unsafe_start() -> None:
    """Raise ImproperlyConfigured with every problem. For processes that serve without running Django's checks (WSGI)."""
    _refuse(production_is_safe(None))


def refuse_without_secret_key() -> None:
    """Nothing can be loaded without it, not even the checks: so name every problem now, and not this one alone."""
    if not _value("SECRET_KEY"):
        refuse_unsafe_start()


def refuse_unreadable_rules() -> None:
    """Raise ImproperlyConfigured with every business rule that cannot be read. Once the applications are loaded."""
    _refuse(business_rules_are_readable(None))


def _refuse(problems: list[CheckMessage]) -> None:
    if problems:
        lines = "\n".join(f"  {problem.id}: {problem.msg} {problem.hint}" for problem in problems)
        raise ImproperlyConfigured(f"This configuration may not serve customers:\n{lines}")


def _value(name: str) -> Any:
    try:
        return getattr(settings, name)
    except ImproperlyConfigured:  # how Django says that SECRET_KEY is empty
        return ""


def _error(number: str, name: str, what: str, hint: str) -> CheckMessage:
    return Error(f"{name} {what}.", hint=hint, id=f"parking.{number}")


def _missing() -> list[CheckMessage]:
    return [
        _error(
            "E002",
            name,
            "is missing",
            f"Set {name} in the environment; .env.production.example says what it is.",
        )
        for name in (
            *REQUIRED,
            *REQUIRED_FOR_MAIL.get(settings.EMAIL_PROVIDER, ()),
            *(REQUIRED_WITH_PAYPAL if settings.PAYPAL_CLIENT_ID else ()),
        )
        if not _value(name)
    ]


def _weak_secrets() -> list[CheckMessage]:
    problems = []
    for name in ("SECRET_KEY", "JWT_SIGNING_KEY", "ADDRESS_KEY"):
        secret = _value(name)
        if not secret:
            continue
        short = len(secret) < SHORTEST_SECRET or len(set(secret)) < FEWEST_DIFFERENT_CHARACTERS
        if short or _is_placeholder(secret):
            problems.append(
                _error(
                    "E003",
                    name,
                    "is weak",
                    f"Use {SHORTEST_SECRET} or more random characters: openssl rand -base64 48",
                )
            )
    if _value("SECRET_KEY") and _value("SECRET_KEY") == _value("JWT_SIGNING_KEY"):
        problems.append(
            _error("E003", "JWT_SIGNING_KEY", "equals SECRET_KEY", "Give tokens and sessions a secret each.")
        )
    return problems


def _placeholders() -> list[CheckMessage]:
    problems = []
    for name in (
        "STRIPE_WEBHOOK_SECRET", "PAYPAL_CLIENT_ID", "PAYPAL_CLIENT_SECRET", "PAYPAL_WEBHOOK_ID", "SENDGRID_API_KEY",
        "POSTMARK_SERVER_TOKEN", "TWILIO_AUTH_TOKEN",
    ):  # fmt: skip
        if _is_placeholder(_value(name)):
            problems.append(_error("E003", name, "is a placeholder", "Set the provider's own value."))
    return problems


def _is_placeholder(text: str) -> bool:
    return any(mark in text.lower() for mark in PLACEHOLDERS)


def _test_keys() -> list[CheckMessage]:
    problems = []
    for name, live in (
        ("STRIPE_SECRET_KEY", ("sk_live_", "rk_live_")),
        ("STRIPE_PUBLISHABLE_KEY", ("pk_live_",)),
    ):
        key = _value(name)
        if key and not key.startswith(live):
            problems.append(
                _error("E004", name, "is not a live key", f"Production takes {' or '.join(live)} keys only.")
            )
    return problems


def _providers() -> list[CheckMessage]:
    problems = []
    if settings.SANDBOX_URL:
        problems.append(_error("E005", "SANDBOX_URL", "is set", "Production has no sandbox: remove it."))
    for name in PROVIDER_ADDRESSES:
        address = urlsplit(_value(name) or "")
        host = address.hostname or ""
        if address.netloc and (address.scheme != "https" or _is_local(host) or ".sandbox." in host):
            problems.append(
                _error("E005", name, "is not a provider's address", "Remove it: the default is right.")
            )
    return problems


def _addresses() -> list[CheckMessage]:
    problems = []
    site = urlsplit(_value("SITE_URL") or "")
    if _value("SITE_URL") and (site.scheme != "https" or not site.hostname or _is_local(site.hostname)):
        problems.append(
            _error("E006", "SITE_URL", "is not a public https address", "Such as https://parking.example.com")
        )
    if "*" in settings.ALLOWED_HOSTS:
        problems.append(
            _error("E006", "ALLOWED_HOSTS", "allows every host", "Name the hosts that you serve.")
        )
    if getattr(settings, "CORS_ALLOW_ALL_ORIGINS", False):
        problems.append(
            _error("E006", "CORS_ALLOW_ALL_ORIGINS", "is on", "List partners in CORS_ALLOWED_ORIGINS.")
        )
    return problems


def _is_local(host: str) -> bool:
    if host == "localhost" or host.endswith((".localhost", ".local")):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_private or address.is_unspecified


def _switches() -> list[CheckMessage]:
    problems = []
    if settings.DEBUG:
        problems.append(
            _error("E007", "DEBUG", "is on", "It shows customers our source and secrets: remove it.")
        )
    if not settings.RATE_LIMITS_ENABLED:
        problems.append(_error("E007", "RATE_LIMITS_ENABLED", "is off", "Remove it: the default is on."))
    if not settings.STAFF_MFA_REQUIRED:
        hint = "A stolen password would move money. Remove it: the default is on."
        problems.append(_error("E007", "STAFF_MFA_REQUIRED", "is off", hint))
    return problems
