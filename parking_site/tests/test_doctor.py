"""The doctor asks everything for real, tells green from red, and says what to do without a secret in it."""

from __future__ import annotations

import io
import json
import shutil
import socket
import ssl
import threading
from collections import namedtuple
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import connection

from parking_site import doctor
from parking_site.doctor import FAIL, OK, WARN, Finding, here, providers

pytestmark = pytest.mark.django_db
SITE = "https://parking.acme.net"


def levels(findings: Any) -> dict[str, str]:
    return {one.what: one.level for one in findings}


def only(findings: Any, what: str) -> Finding:
    return next(one for one in findings if one.what == what)


def all_good(findings: Any) -> bool:
    return all(one.level == OK and not one.advice for one in findings)


# --- Ours -----------------------------------------------------------------------------------------------------------


def test_settings_are_named_one_by_one(settings: Any) -> None:
    assert all_good(here.look_at_settings())
    settings.QUIET_HOURS, settings.SMS_BREAKER = "whenever", "x"
    assert levels(here.look_at_settings()) == {"QUIET_HOURS": FAIL, "SMS_BREAKER": FAIL}


def test_the_database_in_green_and_in_red(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = list(here.look_at_database())
    assert levels(found) == {
        "version": OK, "role": WARN, "connections": OK, "extensions": OK, "migrations": OK, "time zone": OK, "clock": OK
    }  # fmt: skip
    settings.DATABASE_PROCESSES = 1000
    settings.PRODUCTION = settings.DEPLOYED = True
    monkeypatch.setattr(here, "EXTENSIONS", ("btree_gist", "postgis"))
    monkeypatch.setattr(here, "OLDEST_POSTGRESQL", 99)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'bookings' AND name = '0015_held_from'")
        cursor.execute("SET LOCAL timezone = 'Europe/Berlin'")
    red = list(here.look_at_database())
    assert {one.level for one in red} == {FAIL}
    assert "CREATE EXTENSION postgis" in only(red, "extensions").advice
    assert "bookings.0015_held_from" in only(red, "migrations").found
    assert here._role(False).level == OK


def test_a_clock_that_is_wrong_is_told() -> None:
    now = datetime.now(tz=UTC)
    assert here.clock_finding("x", now).level == OK
    assert here.clock_finding("x", now - timedelta(minutes=10)).level == FAIL


def test_no_database_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import OperationalError

    def down(*args: Any) -> Any:
        raise OperationalError("password=geheim")

    monkeypatch.setattr(connection, "cursor", down)
    for look in (here.look_at_database, here.look_at_worker):
        (finding,) = look()
        assert finding.level == FAIL and "geheim" not in finding.found


class FakeRedis:
    """A server as far as the doctor asks it; a real one is in the deployment's own rehearsal."""

    def __init__(self, policy: str, limit: int) -> None:
        self.policy, self.limit = policy, limit

    def ping(self) -> bool:
        return True

    def info(self, section: str) -> dict[str, Any]:
        return {"redis_version": "7.0", "maxmemory_policy": self.policy, "maxmemory": self.limit}

    def time(self) -> tuple[int, int]:
        return int(datetime.now(tz=UTC).timestamp()), 0


def test_redis_in_green_and_in_red(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert all_good(here.look_at_redis())
    settings.PRODUCTION = settings.DEPLOYED = True
    assert levels(here.look_at_redis()) == {"answer": FAIL}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        settings.REDIS_URL = f"redis://:hidden-word@127.0.0.1:{probe.getsockname()[1]}/0"
        (finding,) = doctor.examine(["redis"])
    assert finding.level == FAIL and "hidden-word" not in str(finding)
    for policy, limit, level in (
        ("volatile-ttl", 1, OK),
        ("allkeys-lru", 1, WARN),
        ("noeviction", 1, WARN),
        ("noeviction", 0, OK),
    ):
        monkeypatch.setattr(here.redis.Redis, "from_url", lambda *a, p=policy, m=limit, **k: FakeRedis(p, m))
        assert levels(here.look_at_redis()) == {"version": OK, "eviction": level, "clock": OK}


def test_the_worker_in_green_and_in_red(settings: Any) -> None:
    assert levels(here.look_at_worker()) == {"alive": FAIL, "queue": OK}
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now())")
    assert all_good(here.look_at_worker())
    settings.QUEUE_AGE_LIMIT_SECONDS = -1
    assert only(here.look_at_worker(), "queue").level == FAIL


def test_the_disk_in_green_and_in_red(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    for free, level in ((50, OK), (10, WARN), (2, FAIL)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _folder, free=free: usage(100, 100 - free, free))
        assert levels(here.look_at_disk()) == {"space": level}


def test_names_in_green_and_in_red(settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert all_good(here.look_at_dns())
    settings.SITE_URL = ""
    assert only(here.look_at_dns(), "site").level == FAIL

    def unknown(*args: Any) -> Any:
        raise socket.gaierror

    settings.SITE_URL = SITE
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert only(here.look_at_dns(), "site").level == FAIL
    settings.DEFAULT_FROM_EMAIL = "Shop <hello@acme.net>"
    monkeypatch.setattr(shutil, "which", lambda name: None)
    untold = list(here.look_at_dns())
    assert (
        only(untold, "SPF").level == WARN and "dig +short TXT _dmarc.acme.net" in only(untold, "DMARC").advice
    )
    dig = tmp_path / "dig"
    dig.write_text(
        '#!/bin/sh\ncase "$*" in *_dmarc*) ;; *) echo \'"v=spf1 include:sendgrid.net ~all"\';; esac\n'
    )
    dig.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(dig))
    asked = list(here.look_at_dns())
    assert (only(asked, "SPF").level, only(asked, "DMARC").level) == (OK, WARN)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Any]:
    """An https server of our own: served(days) -> (port, the file that vouches for it)."""
    listeners: list[socket.socket] = []

    def serve(days: int) -> tuple[int, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = datetime.now(tz=UTC)
        certificate = (
            x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=days, hours=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )  # fmt: skip
        file = tmp_path / f"{days}.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def answer() -> None:
            while True:
                try:
                    plain, _from = listener.accept()
                except OSError:
                    return
                try:
                    context.wrap_socket(plain, server_side=True).close()
                except OSError:
                    plain.close()

        threading.Thread(target=answer, daemon=True).start()
        return listener.getsockname()[1], file

    yield serve
    for listener in listeners:
        listener.close()


def test_the_certificate_in_green_and_in_red(
    settings: Any, served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all_good(here.look_at_certificate())
    settings.PRODUCTION = settings.DEPLOYED = True
    assert levels(here.look_at_certificate()) == {"served": FAIL}
    default = ssl.create_default_context
    for days, level in ((80, OK), (15, WARN), (3, FAIL)):
        port, file = served(days)
        settings.SITE_URL = f"https://localhost:{port}"
        with monkeypatch.context() as patch:
            patch.setattr(here.ssl, "create_default_context", lambda file=file: default(cafile=str(file)))
            (finding,) = here.look_at_certificate()
        assert (finding.level, f"{days} days" in finding.found) == (level, True)
    (finding,) = here.look_at_certificate()  # nobody vouches for it
    assert finding.level == FAIL and "certbot" in finding.advice
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        settings.SITE_URL = f"https://localhost:{probe.getsockname()[1]}"
        assert levels(here.look_at_certificate()) == {"served": FAIL}


# --- Providers: the sandbox answers as they do ----------------------------------------------------------------------


@pytest.fixture
def reporting(sandbox: Any) -> Any:
    """Every provider reports to this site."""
    site = django_settings.SITE_URL
    endpoints = {
        "stripe": f"{site}/stripe/webhook/{django_settings.STRIPE_WEBHOOK_UUID}/",
        "paypal": f"{site}/webhooks/paypal/",
        "sendgrid": f"{site}/webhooks/sendgrid/",
        "twilio": f"{site}/webhooks/twilio/inbound/",
    }
    for provider, url in endpoints.items():
        given = {"secret": django_settings.PAYPAL_WEBHOOK_ID} if provider == "paypal" else {}
        sandbox.post("/webhooks/endpoints", {"provider": provider, "url": url, **given})
    return sandbox


def test_every_account_in_green(reporting: Any, settings: Any) -> None:
    settings.SENDGRID_WEBHOOK_VERIFICATION_KEY = reporting.get("/keys.json")["sendgrid"]["public_key"]
    for look in (
        providers.look_at_stripe,
        providers.look_at_paypal,
        providers.look_at_mail,
        providers.look_at_twilio,
    ):
        found = list(look())
        assert all_good(found), found
        assert {"clock"} < {one.what for one in found}


def test_stripe_in_red(sandbox: Any, settings: Any) -> None:
    assert only(providers.look_at_stripe(), "endpoint").level == FAIL
    url = f"{settings.SITE_URL}/stripe/webhook/{settings.STRIPE_WEBHOOK_UUID}/"
    sandbox.post(
        "/webhooks/endpoints", {"provider": "stripe", "url": url, "enabled_events": ["charge.refunded"]}
    )
    settings.STRIPE_PUBLISHABLE_KEY, settings.STRIPE_WEBHOOK_SECRET = "pk_live_" + "a" * 24, "whatever"
    red = list(providers.look_at_stripe())
    assert {one.what for one in red if one.level == FAIL} == {"publishable key", "signing secret", "events"}
    assert "payment_intent.succeeded" in only(red, "events").found
    settings.PRODUCTION = settings.DEPLOYED = True
    assert only(providers.look_at_stripe(), "mode").level == FAIL
    sandbox.post("/faults", {"operation": "stripe.account.retrieve", "behaviour": "refuse", "status": 401})
    (finding,) = providers.look_at_stripe()
    assert finding.what == "key" and "STRIPE_SECRET_KEY" in finding.advice
    settings.STRIPE_SECRET_KEY = ""
    assert levels(providers.look_at_stripe()) == {"key": FAIL}


def test_paypal_in_red(reporting: Any, settings: Any) -> None:
    settings.PAYPAL_WEBHOOK_ID = "ANOTHER"
    assert only(providers.look_at_paypal(), "webhook").level == FAIL
    settings.PAYPAL_CLIENT_SECRET = "wrong-word-of-mine"
    (finding,) = doctor.examine(["paypal"])
    assert finding.what == "key" and finding.level == FAIL and "wrong-word" not in str(finding)
    settings.PAYPAL_CLIENT_ID = ""
    assert levels(providers.look_at_paypal()) == {"use": OK}


def test_the_mail_provider_in_red(sandbox: Any, settings: Any) -> None:
    settings.DEFAULT_FROM_EMAIL = "hello@elsewhere.net"
    red = levels(providers.look_at_mail())
    assert (red["sender"], red["webhook"]) == (FAIL, FAIL)
    sandbox.post(
        "/webhooks/endpoints", {"provider": "sendgrid", "url": f"{settings.SITE_URL}/webhooks/sendgrid/"}
    )
    settings.SENDGRID_WEBHOOK_VERIFICATION_KEY = "another"
    assert only(providers.look_at_mail(), "webhook key").level == FAIL
    settings.SENDGRID_API_KEY = "no"
    assert levels(providers.look_at_mail()) == {"key": FAIL}
    settings.EMAIL_PROVIDER = "postmark"
    settings.POSTMARK_API_URL = f"{settings.SANDBOX_URL}/nowhere"
    assert set(levels(providers.look_at_mail()).values()) == {FAIL}


def test_twilio_in_red(sandbox: Any, settings: Any) -> None:
    assert only(providers.look_at_twilio(), "answers").level == FAIL
    settings.PRODUCTION = settings.DEPLOYED = True
    assert only(providers.look_at_twilio(), "plan").level == FAIL
    settings.TWILIO_FROM_NUMBER = "+15005550007"
    assert only(providers.look_at_twilio(), "number").level == FAIL
    settings.TWILIO_AUTH_TOKEN = "wrong-word-of-mine"
    (finding,) = doctor.examine(["twilio"])
    assert finding.level == FAIL and "wrong-word" not in str(finding)


def test_a_provider_that_is_not_there_is_said_within_seconds(settings: Any) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{probe.getsockname()[1]}"
        settings.STRIPE_API_BASE = settings.PAYPAL_API_BASE = settings.SENDGRID_API_URL = (
            settings.TWILIO_API_BASE
        ) = nobody
        found = doctor.examine(["stripe", "paypal", "mail", "twilio"])
    assert [one.level for one in found] == [FAIL] * 4
    assert all(one.what == "answer" and "network" in one.advice for one in found)


# --- The command ------------------------------------------------------------------------------------------------------


def test_the_command_says_one_line_each_and_its_exit_code(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    call_command("doctor", only="settings,disk", stdout=out)
    assert [line.split()[0] for line in out.getvalue().splitlines()[:-1]] == ["ok", "ok"]
    settings.QUIET_HOURS = "whenever"
    out = io.StringIO()
    with pytest.raises(SystemExit) as stopped:
        call_command("doctor", only="settings", json=True, stdout=out)
    assert stopped.value.code == 1
    assert json.loads(out.getvalue())[0]["level"] == "FAIL"
    with pytest.raises(CommandError, match="no part strype"):
        call_command("doctor", only="strype")


def test_a_check_that_breaks_or_hangs_is_a_finding_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hanging = threading.Event()

    def breaks() -> Any:
        raise RuntimeError(f"key {django_settings.SECRET_KEY}")

    def hangs() -> Any:
        hanging.wait(5)
        return []

    monkeypatch.setattr(doctor, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(doctor, "parts", lambda: {"disk": here.look_at_disk, "a": breaks, "b": hangs})
    found = doctor.examine()
    hanging.set()
    assert [(one.part, one.level) for one in found[1:]] == [("a", FAIL), ("b", FAIL)]
    assert django_settings.SECRET_KEY not in str(found)
