"""Is everything connected as it must be? Each account and dependency is really asked, in parallel, with short timeouts.

Nothing is written anywhere, nothing is sent to anybody, and no finding holds a secret.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TookTooLong
from dataclasses import dataclass

from django.conf import settings
from django.db import connection

OK, WARN, FAIL = "ok", "warn", "FAIL"
PATIENCE_SECONDS = 20
SECRETS = (
    "SECRET_KEY", "JWT_SIGNING_KEY", "ADDRESS_KEY", "STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET", "PAYPAL_CLIENT_SECRET",
    "SENDGRID_API_KEY", "POSTMARK_SERVER_TOKEN", "POSTMARK_WEBHOOK_SECRET", "TWILIO_AUTH_TOKEN", "REDIS_URL",
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it is, what was found, and what to do ("" where nothing is)."""

    part: str
    what: str
    level: str
    found: str
    advice: str = ""


def verdict(
    part: str, what: str, is_good: bool, found: str, advice: str, *, otherwise: str = FAIL
) -> Finding:
    """Return the finding of a yes or no: the advice belongs to the no."""
    return Finding(part, what, OK if is_good else otherwise, found, "" if is_good else advice)


Check = Callable[[], Iterable[Finding]]


def parts() -> dict[str, Check]:
    """Return what can be looked at, by the name that `--only` takes."""
    from parking_site.doctor import here, providers

    return {
        "settings": here.look_at_settings,
        "database": here.look_at_database,
        "redis": here.look_at_redis,
        "worker": here.look_at_worker,
        "disk": here.look_at_disk,
        "dns": here.look_at_dns,
        "certificate": here.look_at_certificate,
        "stripe": providers.look_at_stripe,
        "paypal": providers.look_at_paypal,
        "mail": providers.look_at_mail,
        "twilio": providers.look_at_twilio,
    }


def examine(only: Iterable[str] = ()) -> list[Finding]:
    """Look at the named parts, or at all, at once, and return what was found in a fixed order. A check that breaks is itself a finding."""
    chosen = {name: check for name, check in parts().items() if not only or name in set(only)}
    findings: list[Finding] = []
    pool = ThreadPoolExecutor(max_workers=len(chosen) or 1)
    try:
        running = {name: pool.submit(_look, name, check) for name, check in chosen.items()}
        deadline = time.monotonic() + PATIENCE_SECONDS
        for name, future in running.items():
            try:
                findings += future.result(timeout=max(0.1, deadline - time.monotonic()))
            except TookTooLong:
                findings.append(
                    Finding(name, "answer", FAIL, f"nothing in {PATIENCE_SECONDS} s", "Look at the network and the firewall.")
                )  # fmt: skip
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return [without_secrets(finding) for finding in findings]


def _look(name: str, check: Check) -> list[Finding]:
    try:
        return list(check())
    except Exception as error:  # the doctor goes on with the next patient
        return [Finding(name, "check", FAIL, f"{type(error).__name__}: {str(error)[:200]}", "See the log.")]
    finally:
        connection.close()


def without_secrets(finding: Finding) -> Finding:
    """Blank whatever secret of ours stands in a finding's texts: providers and libraries like to quote keys."""
    texts = {"found": finding.found, "advice": finding.advice}
    hidden = [str(getattr(settings, name, "") or "") for name in SECRETS]
    hidden.append(str(settings.DATABASES["default"].get("PASSWORD") or ""))
    for secret in hidden:
        if len(secret) >= 4:
            texts = {name: text.replace(secret, "…") for name, text in texts.items()}
    return Finding(finding.part, finding.what, finding.level, texts["found"], texts["advice"])
