"""A line is one line, says whose request it belongs to, and holds nobody's secrets."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import time
from typing import Any

import pytest
from django.conf import settings
from django.test import RequestFactory
from structlog.contextvars import bound_contextvars

from foundation import logs, metrics
from foundation.redaction import Redactor, secrets_of_settings

SECRET = "q7Rk2+mVx9/Lw4Tz8Yb3Nc6="
CANARIES = [
    ("mail to ada.lovelace+x@customer.example failed", "ada.lovelace", "failed"),
    ("GET /x?email=ada%40customer.example", "customer.example", "GET /x"),
    ("SMS to +44 7700 900123 failed", "900123", "failed"),
    ("to=%2B447700900123&x=1", "7700900123", "x=1"),
    ("call 07700 900123 now", "900123", "now"),
    ("card 4242 4242 4242 4242, exp 12/30", "4242 4242", "exp 12/30"),
    ("card 378282246310005.", "378282246310005", "card"),
    ("Authorization: Bearer abc.def-123", "abc.def-123", "Authorization"),
    ("{'Authorization': 'Basic YWRhOnNlY3JldA==', 'a': 1}", "YWRhOnNlY3JldA", "'a': 1"),
    ("Cookie: session=abc123; csrftoken=xyz789", "xyz789", "Cookie"),
    ("Stripe-Signature: t=1,v1=5257a869e7ecebeda32aff", "5257a869", "Stripe-Signature"),
    ("password=hunter2hunter2&next=/", "hunter2", "next=/"),
    ('{"password": "hunter2hunter2", "ok": true}', "hunter2", '"ok": true'),
    ("pi_3abc_secret_XyZ123 was asked", "XyZ123", "was asked"),
    ("sk_live_a1B2c3D4e5 refused", "a1B2c3D4e5", "refused"),
    ("whsec_a1B2c3D4e5 refused", "a1B2c3D4e5", "refused"),
    ("key SG.abcdef.ghijkl refused", "ghijkl", "refused"),
    ("token eyJhbGciOiJIUzI1NiJ9.eyJ1c2VyIjoxfQ.c2lnbmF0dXJl end", "eyJ1c2VyIjoxfQ", "end"),
    ("/b/AP-7F3K2Q/mzxw6ytboi2dgnjsgy3tqojqge HTTP", "mzxw6ytboi", "AP-7F3K2Q"),
    ("Server Error: /your-data/WzEyLCJhYm:1xWdqy:Qu-FHC7E asked", "Qu-FHC7E", "asked"),
    ("/accounts/password/reset/key/1-cf3s2a-8d7e/ asked", "cf3s2a", "asked"),
    ("postgres://parking:hunter2@db:5432/parking", "hunter2", "db:5432"),
    ('null value\nDETAIL:  Failing row contains (Ada, AB12CDE).\nmore', "AB12CDE", "more"),
    (f"refused {SECRET} here", SECRET, "here"),
    ("refused q7Rk2%2BmVx9%2FLw4Tz8Yb3Nc6%3D here", "mVx9", "here"),
]  # fmt: skip
HARMLESS = [
    "payment 0b6f7f3e-7d0c-4f57-9a55-3a1d2c4b5e6f is captured",
    "01234567-8901-4a00-8000-000000000000",
    "job 1234567 (payments.send_refund) took 0.1234567 s at 2026-11-26T16:15:25.123456+00:00",
    "pi_3MtwBwLkdIwHu7ix28a3tqPa is gone",
    'File "/srv/parking/releases/20261126-1612/payments/services/settle.py", line 12, in settle',
    "number 4242424242424241 is no card",
    "token_not_valid",
]


@pytest.mark.parametrize(("said", "canary", "kept"), CANARIES)
def test_what_may_not_be_written_is_taken_out_and_the_rest_stays(said: str, canary: str, kept: str) -> None:
    written = Redactor([SECRET]).text(said)
    assert canary in said
    assert canary not in written
    assert kept in written


@pytest.mark.parametrize("said", HARMLESS)
def test_ids_times_and_paths_stay(said: str) -> None:
    assert Redactor([SECRET]).text(said) == said


def test_a_field_named_like_a_secret_is_taken_out_however_deep() -> None:
    event = {"event": "x", "sent": {"client_secret": "abc", "items": [{"Authorization": "abc", "n": 1}]}}
    assert Redactor()(None, "info", event)["sent"] == {
        "client_secret": "[redacted]",
        "items": [{"Authorization": "[redacted]", "n": 1}],
    }


@pytest.mark.parametrize(
    "piece", ["a", "a.", "4", "0 ", "eyJ", "x@", "+1(", "secret", "_secret_", "/b/", "://a:"]
)
def test_a_hostile_line_costs_little(piece: str) -> None:
    redactor, text = Redactor([SECRET]), piece * (1_000_000 // len(piece))
    began = time.process_time()
    written = redactor.text(text)
    assert time.process_time() - began < 0.5
    assert len(written) < 60_000


def test_every_secret_of_the_settings_is_known(settings: Any) -> None:
    settings.REDIS_URL = "redis://:cache-password@127.0.0.1/0"
    settings.POSTMARK_WEBHOOK_SECRET = "hook:webhook-password"
    settings.SOMETHING_NEW_TOKEN = "new-token"
    found = secrets_of_settings()
    for name in (
        "SECRET_KEY", "JWT_SIGNING_KEY", "ADDRESS_KEY", "STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET", "STRIPE_WEBHOOK_UUID",
        "PAYPAL_CLIENT_SECRET", "SENDGRID_API_KEY", "TWILIO_AUTH_TOKEN", "SOMETHING_NEW_TOKEN",
    ):  # fmt: skip
        assert getattr(settings, name) in found
    assert {"cache-password", "webhook-password"} <= found
    assert settings.STRIPE_PUBLISHABLE_KEY not in found


def lines(form: str, *records: Any) -> list[str]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.formatter(form))
    logger = logging.getLogger("library")
    logger.addHandler(handler)
    try:
        for act in records:
            act(logger)
    finally:
        logger.removeHandler(handler)
    return stream.getvalue().splitlines()


def test_a_library_s_line_is_json_with_the_request_and_the_release(settings: Any) -> None:
    def fail(logger: logging.Logger) -> None:
        password = "hunter2hunter2"  # noqa: F841 - a local variable that must not be written
        try:
            raise ValueError("for ada@customer.example")
        except ValueError:
            logger.exception("it %s", "broke")

    with bound_contextvars(request_id="support-17"):
        (line,) = lines("json", fail)
    told = json.loads(line)
    assert list(told)[:4] == ["timestamp", "level", "logger", "event"]
    assert (told["level"], told["logger"], told["event"]) == ("error", "library", "it broke")
    assert (told["request_id"], told["release"]) == ("support-17", settings.RELEASE)
    assert told["timestamp"].endswith("Z")
    assert "ValueError: for [e-mail]" in told["exception"]
    assert "hunter2" not in line


def test_what_python_would_print_is_a_line_too() -> None:
    program = (
        "import os, warnings, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'parking_site.settings'; django.setup();"
        "warnings.warn('an old way of ada@customer.example'); raise ValueError('for ada@customer.example')"
    )
    kept = {name: os.environ[name] for name in ("PATH", "DATABASE_URL", "HOME") if name in os.environ}
    environment = {**kept, "LOG_FORMAT": "json", "READ_DOT_ENV": "false"}
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=settings.BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
    )
    told = [json.loads(line) for line in run.stderr.splitlines()]
    assert [line["logger"] for line in told] == ["py.warnings", "uncaught"]
    assert "ValueError: for [e-mail]" in told[1]["exception"]
    assert "customer.example" not in run.stderr
    assert run.returncode == 1


def test_nobody_begins_a_line_of_his_own() -> None:
    said = "x\n2026-11-26 error forged"
    for form in ("line", "json"):
        assert len(lines(form, lambda logger: logger.warning("refused %s", said))) == 1


def test_a_route_is_a_pattern_and_never_a_path() -> None:
    request = RequestFactory().get("/b/AP-1/some-token")
    assert metrics.route_of(request) == "unmatched"
    assert metrics.route_of(RequestFactory().get("/static/x.css")) == "static"


class Gateway:
    def create_payment(self) -> Any:
        return metrics.operation_of(lambda: None)


def test_a_provider_call_is_named_by_the_function_that_makes_it() -> None:
    assert Gateway().create_payment() == "create_payment"


def test_the_pattern_of_a_secret_route_is_no_secret() -> None:
    assert Redactor().text("/stripe/webhook/<uuid:uuid>/") == "/stripe/webhook/<uuid:uuid>/"
    assert "3f8a" not in Redactor().text("/stripe/webhook/3f8a1b7c-52d4-4e0b-9a6e-0d1c2b3a4f5e/")
