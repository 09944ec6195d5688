"""Whoever reads the log finds a request's whole way, and nobody's secrets or addresses; whoever watches learns what is wrong."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from allauth.account.models import EmailAddress
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.contrib.auth.models import Permission
from django.core.management.base import CommandError
from django.db import OperationalError, connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob
from prometheus_client import REGISTRY, generate_latest

from accounts.models import User
from bookings.models import Booking
from bookings.services.hold import Driver, place_hold
from bookings.services.quote import quote_stay
from bookings.tests.world import make_product
from communications.models import Message, Outage
from communications.services import outbox
from foundation import jobs, logs
from foundation.redaction import Redactor, secrets_of_settings
from parking_site import system
from parking_site.checks import business_rules_are_readable
from parking_site.exposition import registry
from parking_site.management.commands.serve_metrics import address_of
from payments.models import Payment, ProviderEvent
from payments.services.checkout import ProviderUnavailable
from payments.services.settle import settle
from payments.tests.world import checkout, pay

pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(__file__).resolve().parent.parent.parent
NAME, PLATE = "Quintilla Canaryfeather", "CNRY777"
EMAIL, PHONE, PASSWORD = "quintilla@canary.example", "+447700900987", "canary-password-31"
CARD, WRONG = "4000 0566 5566 5556", "wrong-canary-password"
OURS = ("accounts", "bookings", "communications", "foundation", "payments", "parking_site")


class Heard:
    """Everything that is logged: as it is written, and as it would be without redaction."""

    def __init__(self) -> None:
        self.written, self.raw = io.StringIO(), io.StringIO()
        self.handlers = []
        for stream, redaction in ((self.written, Redactor(secrets_of_settings())), (self.raw, None)):
            handler = logging.StreamHandler(stream)
            handler.setFormatter(logs.formatter("json", redaction))
            self.handlers.append(handler)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.written.getvalue().splitlines()]

    def of(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]


@pytest.fixture
def heard() -> Iterator[Heard]:
    heard, levels = Heard(), {name: logging.getLogger(name).level for name in OURS}
    for handler in heard.handlers:
        logging.getLogger().addHandler(handler)
    for name in OURS:
        logging.getLogger(name).setLevel(logging.DEBUG)
    yield heard
    for handler in heard.handlers:
        logging.getLogger().removeHandler(handler)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def browser(client: Client) -> Client:
    client.raise_request_exception = False
    return client


def quintilla() -> User:
    user = User.objects.create_user(EMAIL, PASSWORD, name=NAME)
    EmailAddress.objects.create(user=user, email=EMAIL, primary=True, verified=True)
    return user


def booked(**more: Any) -> Any:
    now = timezone.now()
    start = now + timedelta(days=2)
    quote = quote_stay(make_product(), start_at=start, end_at=start + timedelta(days=3), now=now)
    return place_hold(quote, driver=Driver(name=NAME, email=EMAIL, phone=PHONE), plate=PLATE, now=now, **more)


def break_with(words: str) -> Any:
    def view(*_: Any, **__: Any) -> None:
        name, plate, password = NAME, PLATE, PASSWORD  # noqa: F841 - local variables, which no line may show
        raise ValueError(words)

    return view


def work() -> None:
    """Do the jobs that wait, as a worker does."""
    with app.replace_connector(app.connector.get_worker_connector()):  # type: ignore[attr-defined]
        app.run_worker(wait=False, install_signal_handlers=False, listen_notify=False)


# --- Logs -------------------------------------------------------------------------------------------------------


def test_a_whole_journey_leaves_no_secret_and_nobody_in_the_log(
    browser: Client, sandbox: Any, settings: Any, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.EMAIL_BACKEND = "anymail.backends.sendgrid.EmailBackend"
    user = quintilla()
    placed = booked()
    link = f"/b/{placed.booking.reference}/{placed.guest_token}"
    assert browser.get(link).status_code == 302
    assert browser.get(f"/b/{placed.booking.reference}/{'a' * 26}").status_code == 404
    sandbox.post(
        "/faults", {"operation": "stripe.payment_intents.create", "behaviour": "do_then_500", "times": 1}
    )
    with pytest.raises(ProviderUnavailable):
        checkout(placed.booking)
    session = checkout(placed.booking)
    assert pay(session, card="pm_card_chargeDeclined") == 402
    assert pay(session) == 200
    settle(session.payment.pk)
    for message in Message.objects.all():
        outbox.send(message.pk, now=timezone.now())
    assert set(Message.objects.values_list("channel", "status")) >= {("email", "sent"), ("sms", "sent")}

    browser.post("/accounts/login/", {"login": EMAIL, "password": WRONG})
    asked = {"email": EMAIL, "password": WRONG}
    assert browser.post("/api/auth/token", asked, content_type="application/json").status_code == 401
    told = browser.post(
        "/api/auth/token", asked | {"password": PASSWORD}, content_type="application/json"
    ).json()
    held = {"Authorization": f"Bearer {told['access']}"}
    assert browser.get("/api/bookings", headers=held).status_code == 200
    assert (
        browser.get("/api/bookings", headers={"Authorization": held["Authorization"] + "x"}).status_code
        == 401
    )
    browser.post("/accounts/password/reset/", {"email": EMAIL})
    reset = Message.objects.filter(to=EMAIL, kind__contains="reset").latest("queued_at")
    (url,) = (value for name, value in reset.variables.items() if name.endswith("url"))
    browser.get(re.sub(r"^https?://[^/]+", "", url))

    every = secrets_of_settings()
    words = f"{EMAIL} {PHONE} {CARD} {link} {told['access']} {told['refresh']} password={PASSWORD} {' '.join(every)}"
    monkeypatch.setattr("parking_site.dashboards.system_figures", break_with(words))
    monkeypatch.setattr("bookings.api.views.BookingsView.get", break_with(words), raising=True)
    assert browser.get("/api/bookings", headers=held).status_code == 500
    user.is_staff = user.is_superuser = True
    user.save()  # which ends the sign-ins that it had
    browser.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    assert browser.get(reverse("admin:index")).status_code == 500

    canaries = {
        "e-mail": EMAIL, "phone": PHONE, "digits": PHONE[3:], "card": CARD, "password": PASSWORD, "wrong password": WRONG, "name": NAME,
        "plate": PLATE, "guest link": placed.guest_token, "access": told["access"], "refresh": told["refresh"],
        "session": browser.cookies["session"].value, "client secret": session.client_secret,
        "reset link": url.rstrip("/").rpartition("/")[2], **{f"secret {number}": one for number, one in enumerate(sorted(every))},
    }  # fmt: skip
    written, raw = heard.written.getvalue(), heard.raw.getvalue()
    assert [name for name, canary in canaries.items() if canary in written] == []
    # The control: without redaction they would be there, so the search finds what is to be found.
    seen = {name for name, canary in canaries.items() if canary in raw}
    assert {"e-mail", "phone", "card", "password", "guest link", "access", "refresh"} <= seen
    assert sum(name.startswith("secret ") for name in seen) == len(every) > 7
    outcomes = {(line["provider"], line["operation"], line["outcome"]) for line in heard.of("provider call")}
    assert {("stripe", "create_payment", "outcome_unknown"), ("sendgrid", "send", "ok"), ("twilio", "send", "ok")} <= outcomes  # fmt: skip
    assert "ValueError" in written
    asked_by = {line.get("user_id") for line in heard.of("request") if line["route"] == "/api/bookings"}
    assert user.pk in asked_by  # a bearer's too
    routes = {line["route"] for line in heard.of("request")}
    assert {"/b/<str:reference>/<str:token>", "/api/bookings"} <= routes


def test_one_id_leads_from_the_error_page_through_the_log_to_the_job(
    browser: Client, sandbox: Any, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = browser.get("/api/bookings", headers={"X-Request-ID": "support-case-17"})
    assert answer["X-Request-ID"] == answer.json()["requestId"] == "support-case-17"
    (line,) = heard.of("request")
    assert (line["request_id"], line["route"], line["status"]) == ("support-case-17", "/api/bookings", 401)
    for unfit in ("x\nforged", "4242424242424242", "short"):
        forged = browser.get("/nowhere", headers={"X-Request-ID": unfit})
        assert re.fullmatch("[0-9a-f]{16}", forged["X-Request-ID"])
    assert f'quote <span class="mono">{forged["X-Request-ID"]}</span>' in forged.content.decode()

    quintilla()
    browser.post("/accounts/password/reset/", {"email": EMAIL}, headers={"X-Request-ID": "support-case-18"})
    job = ProcrastinateJob.objects.get(task_name="communications.send_message")
    assert job.args[jobs.REQUEST_ID] == "support-case-18"
    jobs.defer("communications.sweep", timestamp=0)
    work()
    done = {line["task"]: line for line in heard.of("job")}
    assert done["communications.send_message"]["request_id"] == "support-case-18"
    assert done["communications.send_message"]["outcome"] == "ok"
    own = done["communications.sweep"]
    assert own["request_id"] == f"job-{own['job_id']}"
    assert Message.objects.get().status == "sent"
    monkeypatch.setattr("communications.services.outbox.sweep", break_with("no"))
    jobs.defer("communications.sweep", timestamp=0)
    work()
    assert (
        "ValueError: no" in next(line for line in heard.of("job") if line["outcome"] == "failed")["exception"]
    )


def test_who_asked_is_a_number_and_health_is_not_written_down(browser: Client, heard: Heard) -> None:
    user = quintilla()
    assert browser.get("/health").status_code == 200
    assert heard.of("request") == []
    browser.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    browser.get("/bookings")
    (line,) = heard.of("request")
    assert (line["user_id"], line["method"], line["status"]) == (user.pk, "GET", 200)


def test_a_format_that_nobody_knows_is_named(settings: Any) -> None:
    settings.LOG_FORMAT = "xml"
    assert [problem.msg for problem in business_rules_are_readable(None)] == ["LOG_FORMAT is unknown."]


# --- What is watched --------------------------------------------------------------------------------------------


def reading(name: str) -> system.Reading:
    return next(one for one in system.look(now=timezone.now()) if one.condition.name == name)


def test_an_empty_shop_with_a_worker_is_well() -> None:
    states = {one.condition.name: one.state for one in system.look(now=timezone.now())}
    assert {name for name, state in states.items() if state not in (system.GREEN, system.OFF)} == {
        "worker_heartbeat_seconds"  # nobody works in a test
    }


def test_what_waits_or_is_broken_turns_amber_and_red(settings: Any) -> None:
    now = timezone.now()
    event = ProviderEvent.objects.create(
        provider="stripe", event_ref="evt_1", kind="x", occurred_at=now - timedelta(seconds=90)
    )
    assert reading("inbox_oldest_seconds").state == system.GREEN
    assert reading("webhook_lag_median_seconds").state == system.AMBER
    ProviderEvent.objects.filter(pk=event.pk).update(received_at=now - timedelta(minutes=5))
    assert reading("inbox_oldest_seconds").state == system.AMBER
    ProviderEvent.objects.filter(pk=event.pk).update(received_at=now - timedelta(hours=2), status="dead")
    assert reading("events_dead").state == system.RED
    assert reading("webhook_lag_median_seconds").state == system.OFF
    booking = booked().booking
    Booking.objects.filter(pk=booking.pk).update(hold_expires_at=now - timedelta(minutes=20))
    assert reading("hold_expiry_lag_seconds").state == system.RED
    Outage.objects.create(channel="sms", since=now, next_try_at=now)
    assert reading("providers_down").values == {"email": 0, "sms": 1}
    jobs.defer("any.task")
    assert reading("jobs_due_oldest_seconds").state == system.GREEN
    payment = Payment.objects.create(
        booking=booking, amount_minor=100, currency=booking.currency, idempotency_key="k"
    )
    Payment.objects.filter(pk=payment.pk).update(status="submitted", submitted_at=now)
    Payment.objects.filter(pk=payment.pk).update(status="unknown", submitted_at=now - timedelta(hours=1))
    assert reading("payments_unknown_oldest_seconds").state == system.RED


def test_backups_are_watched_where_there_must_be_some(settings: Any, tmp_path: Path) -> None:
    settings.STATE_DIR = tmp_path
    assert reading("backup_age_seconds").state == system.OFF
    settings.ENVIRONMENT = "production"
    assert reading("backup_age_seconds").worst == system.NEVER
    noted = tmp_path / "backup.json"

    def note(hours: int, *, ok: bool = True) -> None:
        finished_at = (datetime.now(UTC) - timedelta(hours=hours)).isoformat().replace("+00:00", "Z")
        noted.write_text(json.dumps({"finished_at": finished_at, "ok": ok, "seconds": 3, "bytes": 4}))

    for hours, ok, state in ((1, True, system.GREEN), (30, True, system.AMBER), (60, True, system.RED), (1, False, system.RED)):  # fmt: skip
        note(hours, ok=ok)
        assert reading("backup_age_seconds").state == state
    noted.write_text("{")
    assert reading("backup_age_seconds").state == system.UNREADABLE


def test_the_certificate_s_last_day_is_seen_coming(settings: Any, tmp_path: Path) -> None:
    assert reading("certificate_days_left").state == system.OFF
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "parking.example")])
    settings.CERTIFICATE_FILE = str(tmp_path / "site.pem")
    for days, state in ((40, system.GREEN), (20, system.AMBER), (5, system.RED)):
        made = (
            x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
            .not_valid_before(now - timedelta(days=50)).not_valid_after(now + timedelta(days=days, minutes=5)).sign(key, hashes.SHA256())
        )  # fmt: skip
        Path(settings.CERTIFICATE_FILE).write_bytes(made.public_bytes(serialization.Encoding.PEM))
        found = reading("certificate_days_left")
        assert (found.state, int(found.worst or 0)) == (state, days)


def scraped() -> str:
    return generate_latest(registry()).decode()


def test_one_question_that_fails_loses_only_its_own_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\nparking_scrape_errors 0.0" in scraped()
    monkeypatch.setattr(system, "WEBHOOK_LAG", "SELECT 1/0, pg_sleep(0)")
    monkeypatch.setattr(system, "FAILED_JOBS", "SELECT pg_sleep(10)")
    monkeypatch.setattr(system, "LONGEST_QUERY_MS", 100)
    text = scraped()
    assert "\nparking_scrape_errors 3.0" in text
    assert "\nparking_jobs_failed" not in text
    for condition in system.CONDITIONS:
        if condition.name not in {"webhook_lag_median_seconds", "webhook_lag_max_seconds", "jobs_failed"}:
            assert f'parking_condition{{name="{condition.name}"}}' in text or condition.name in {
                "cache_down", "certificate_days_left", "backup_age_seconds", "restore_test_age_seconds", "dispute_seconds_left",
            }  # fmt: skip


def test_without_a_database_what_is_not_in_it_is_still_watched(
    monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path
) -> None:
    def refuse(*_: Any) -> None:
        raise OperationalError("no server")

    settings.STATE_DIR = tmp_path
    finished_at = datetime.now(UTC).isoformat()
    (tmp_path / "backup.json").write_text(json.dumps({"finished_at": finished_at, "ok": True}))
    with monkeypatch.context() as broken:
        broken.setattr("django.db.backends.base.base.BaseDatabaseWrapper.ensure_connection", refuse)
        text = scraped()
    assert 'parking_condition{name="backup_age_seconds"} 0.0' in text
    asked = sum(one.asks_database for one in system.CONDITIONS)
    assert f"\nparking_scrape_errors {asked:.1f}" in text


def test_requests_are_counted_by_route_and_never_by_path(client: Client) -> None:
    def count(route: str) -> float:
        labels = {"route": route, "method": "GET", "status": "4xx"}
        return REGISTRY.get_sample_value("parking_request_seconds_count", labels) or 0

    before = count("/b/<str:reference>/<str:token>")
    client.get("/b/AP-123456/some-secret-token")
    assert count("/b/<str:reference>/<str:token>") == before + 1
    client.generic("BREW", "/nowhere/at/all")
    text = generate_latest(REGISTRY).decode()
    assert "some-secret" not in text
    assert "at/all" not in text
    assert "BREW" not in text


@pytest.mark.parametrize(
    "bind", ["0.0.0.0:9464", "[::]:9464", "192.168.1.5:9464", "localhost", "127.0.0.1:0", "x:1"]
)
def test_metrics_are_for_this_machine(bind: str) -> None:
    with pytest.raises(CommandError, match="METRICS_BIND"):
        address_of(bind)


def test_the_command_serves_them_from_a_process_of_its_own(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    name = connection.settings_dict["NAME"]
    address = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()
    environment = {
        **os.environ,
        "DATABASE_URL": address,
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "counts"),
    }
    count = "import django; django.setup(); from foundation.metrics import JOBS; JOBS.labels('any.task', 'ok').observe(1)"
    subprocess.run(
        [sys.executable, "-c", count],
        cwd=ROOT, env={**environment, "DJANGO_SETTINGS_MODULE": "parking_site.settings"}, check=True,
    )  # fmt: skip
    command = [sys.executable, "manage.py", "serve_metrics", "--bind", f"127.0.0.1:{port}"]
    serving = subprocess.Popen(command, cwd=ROOT, env=environment)
    told = ""
    try:
        for _try in range(200):
            try:
                told = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20).read().decode()
                break
            except OSError:
                time.sleep(0.1)
        assert "\nparking_scrape_errors 0.0" in told
        assert 'parking_job_seconds_count{outcome="ok",task="any.task"} 1.0' in told
    finally:
        serving.terminate()
        assert serving.wait(20) == 0


def test_an_address_for_other_machines_needs_a_word() -> None:
    assert address_of("127.0.0.1:9464") == ("127.0.0.1", 9464)
    assert address_of("[::1]:9464") == ("::1", 9464)
    assert address_of("10.0.0.5:9464", allow_remote=True) == ("10.0.0.5", 9464)


def test_the_public_site_serves_no_metrics(client: Client) -> None:
    assert client.get("/metrics").status_code == 404


# --- The page ---------------------------------------------------------------------------------------------------


def staff(*codenames: str) -> Client:
    user = User.objects.create_user(f"{len(codenames)}@staff.example", PASSWORD, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    browser = Client()
    browser.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return browser


def test_the_system_page_is_for_those_who_may(client: Client) -> None:
    path = reverse("system")
    assert client.get(path).status_code == 302
    assert staff().get(path).status_code == 403
    assert path not in staff("view_booking", "view_payment").get(reverse("admin:index")).content.decode()
    may = staff("view_system")
    assert may.get(path).status_code == 200
    assert may.post(path).status_code in (403, 405)
    assert path in may.get(reverse("admin:index")).content.decode()


def test_it_says_in_words_what_is_red_and_links_only_where_one_may_go() -> None:
    ProviderEvent.objects.create(provider="stripe", event_ref="evt_1", kind="x", status="dead")
    page = staff("view_system", "view_providerevent").get(reverse("system")).content.decode()
    assert 'http-equiv="refresh"' in page
    assert "Act now" in page
    assert "let staff try the event again" in page
    listed = reverse("admin:payments_providerevent_changelist") + "?status__exact=dead"
    assert listed in page
    still = staff("view_system").get(reverse("system"), {"refresh": "off"}).content.decode()
    assert 'http-equiv="refresh"' not in still
    assert listed not in still
    assert "Provider events given up" in still


def test_every_list_that_is_linked_opens(client: Client) -> None:
    root = User.objects.create_superuser("root@staff.example", PASSWORD)
    client.force_login(root, backend="django.contrib.auth.backends.ModelBackend")
    page = client.get(reverse("system")).content.decode()
    links = set(re.findall(r'<a href="(/admin/[^"]*)"[^>]*>Open the list', page))
    assert len(links) > 10
    for link in links:
        assert client.get(link.replace("&amp;", "&")).status_code == 200, link


# --- Alerts and runbook -----------------------------------------------------------------------------------------


def rules() -> dict[str, dict[str, Any]]:
    told = yaml.safe_load((ROOT / "deploy/monitoring/alerts.yml").read_text())
    return {rule["alert"]: rule for group in told["groups"] for rule in group["rules"]}


def test_alerts_have_the_thresholds_of_the_system() -> None:
    wanted = set()
    for one in system.CONDITIONS:
        for limit, severity in ((one.red, "page"), (one.amber, "ticket")):
            if limit is not None:
                wanted.add((f"parking_{one.name} {'<' if one.is_low_bad else '>'} {limit:.10g}", severity))
    all_alerts = {(rule["expr"], rule["labels"]["severity"]) for rule in rules().values()}
    alerts = {one for one in all_alerts if re.fullmatch(r"parking_\w+ [<>] [\d.]+", one[0])}
    assert alerts - {("parking_scrape_errors > 0", "page")} == wanted


def test_every_alert_says_what_it_is_and_where_it_stands_in_the_runbook() -> None:
    headings = set(re.findall(r"^### (\S+)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE))
    assert {one.name for one in system.CONDITIONS} <= headings
    for rule in rules().values():
        assert rule["annotations"]["summary"]
        page, _hash, heading = rule["annotations"]["runbook"].partition("#")
        assert (page, heading in headings) == ("docs/runbook.md", True), rule["alert"]


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool comes with the package prometheus")
def test_prometheus_takes_the_rules_and_our_metrics() -> None:
    subprocess.run(
        ["promtool", "check", "config", ROOT / "deploy/monitoring/prometheus.yml"],
        check=True,
        capture_output=True,
    )
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=scraped(), text=True, capture_output=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
