"""The test bench: real PostgreSQL, a database per worker cloned from a template, sandbox, closed sockets.

With DATABASE_URL the server is yours (its role must be allowed to create databases); without it a private one
is started.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import environ
import pytest
import stripe
from django.conf import settings
from django.core.cache import cache
from django.core.management import call_command
from django.db import connection, connections
from django.test import TransactionTestCase
from psycopg import sql

from foundation.database import DatabaseError, PrivateServer, die_with_parent

ROOT = Path(__file__).resolve().parent
server_key = pytest.StashKey[PrivateServer]()


# --- The server -----------------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    """Before any test: have a server, and point every address of a provider at this worker's own sandbox."""
    if not os.environ.get("DATABASE_URL"):
        server = PrivateServer(
            settings.VAR_DIR / "test-postgresql",
            source=os.environ.get("POSTGRESQL_FROM", "any"),
            durable=False,
        )
        try:
            server.start()
        except DatabaseError as error:
            raise pytest.UsageError(str(error)) from error
        config.stash[server_key] = server
        os.environ["DATABASE_URL"] = server.url()
    database = settings.DATABASES["default"]
    found = environ.Env.db_url_config(os.environ["DATABASE_URL"])
    for name in ("NAME", "USER", "PASSWORD", "HOST", "PORT"):
        database[name] = found.get(name, "")
    database["OPTIONS"] = {**database.get("OPTIONS", {}), **found.get("OPTIONS", {})}
    _point_at_sandbox(_free_port())


def pytest_unconfigure(config: pytest.Config) -> None:
    server = config.stash.get(server_key, None)
    if server is not None:
        connections.close_all()
        server.stop()
        os.environ.pop("DATABASE_URL", None)


# --- The databases --------------------------------------------------------------------------------


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the sizes that tests recorded, such as how many doors were tried by how many people."""
    for report in (*terminalreporter.stats.get("passed", ()), *terminalreporter.stats.get("failed", ())):
        for name, value in report.user_properties if report.when == "call" else ():
            if name == "size":
                terminalreporter.write_line(value)


def _schema_fingerprint() -> str:
    """Names the template: another migration, another package or another snapshot makes another template."""
    digest = hashlib.sha256()
    for pattern in (
        "*/migrations/*.py",
        "payments/schema/*.sql",
        "parking_site/management/commands/prepare_database.py",
    ):
        for path in sorted(ROOT.glob(pattern)):
            digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    for package in (
        "django",
        "dj-stripe",
        "django-paypal",
        "django-allauth",
        "procrastinate",
        "djangorestframework-simplejwt",
    ):
        digest.update(version(package).encode())
    # Content types and permissions are rows of the template too, and follow the models.
    # So are the words of messages.
    for pattern in ("*/models.py", "*/models/*.py", "communications/words/*.py"):
        for path in sorted(ROOT.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _use_database(name: str) -> None:
    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]  # PostgreSQL's wrapper has it
    connection.settings_dict["NAME"] = name


def _execute_outside(*statements: sql.Composed) -> None:
    with connection._nodb_cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def _clone(template: str, name: str) -> None:
    own, from_ = sql.Identifier(name), sql.Identifier(template)
    _execute_outside(
        sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(own),
        sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(own, from_),
    )


def _ensure_template() -> str:
    """Build the template once per schema; workers wait for the first one on an advisory lock."""
    name = f"parking_template_{_schema_fingerprint()}"
    with connection._nodb_cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(73190426)")
        try:
            cursor.execute("SELECT datname FROM pg_database WHERE datname LIKE 'parking\\_template\\_%%'", [])
            known = [row[0] for row in cursor.fetchall()]
            if name in known:
                return name
            for old in known:
                cursor.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(old)))
            building = "parking_building"
            cursor.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(building))
            )
            cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(building)))
            _use_database(building)
            call_command("prepare_database", verbosity=0)
            connection.close()
            connection.close_pool()  # type: ignore[attr-defined]  # PostgreSQL's wrapper has it
            cursor.execute(
                sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                    sql.Identifier(building), sql.Identifier(name)
                )
            )
            return name
        finally:
            cursor.execute("SELECT pg_advisory_unlock(73190426)")


@pytest.fixture(scope="session")
def django_db_setup(request: pytest.FixtureRequest, django_db_blocker: Any) -> Iterator[None]:
    """This worker's own database, cloned from the template."""
    worker = getattr(request.config, "workerinput", {}).get("workerid", "main")
    own_name = settings.DATABASES["default"]["NAME"]
    name = f"test_parking_{worker}_{os.getpid()}"
    with django_db_blocker.unblock():
        template = _ensure_template()
        _clone(template, name)
        _use_database(name)
    os.environ["TEST_DATABASE"] = name

    def clone_again(self: TransactionTestCase) -> None:
        """After a test with real commits: a fresh clone, faster than emptying 130 tables; seed rows stay."""
        connections.close_all()
        connection.close_pool()  # type: ignore[attr-defined]  # PostgreSQL's wrapper has it
        _clone(template, name)

    original = TransactionTestCase._fixture_teardown  # type: ignore[attr-defined]  # private: not in the stubs
    TransactionTestCase._fixture_teardown = clone_again  # type: ignore[attr-defined]  # as above
    yield
    TransactionTestCase._fixture_teardown = original  # type: ignore[attr-defined]  # as above
    with django_db_blocker.unblock():
        _use_database(own_name)
        _execute_outside(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        connections.close_all()


# --- The sandbox ----------------------------------------------------------------------------------


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _point_at_sandbox(port: int) -> None:
    """Send every provider call to this worker's sandbox, before anything caches a client."""
    url = f"http://127.0.0.1:{port}"
    settings.SANDBOX_URL = url
    settings.STRIPE_API_BASE = settings.STRIPE_API_HOST = stripe.api_base = f"{url}/stripe"
    settings.STRIPE_JS_URL = f"{url}/stripe-js/v3/"
    settings.PAYPAL_API_BASE = f"{url}/paypal"
    settings.PAYPAL_IPN_URL = f"{url}/paypal/cgi-bin/webscr"
    settings.SENDGRID_API_URL = f"{url}/sendgrid/v3/"
    settings.ANYMAIL = {**settings.ANYMAIL, "SENDGRID_API_URL": settings.SENDGRID_API_URL}
    settings.TWILIO_API_BASE = f"{url}/twilio"


class Sandbox:
    """The running sandbox: `url`, and its control calls as Python."""

    def __init__(self, url: str) -> None:
        self.url = url

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One control call; answers the decoded JSON. Raises urllib.error.HTTPError."""
        request = urllib.request.Request(  # noqa: S310 - loopback
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - loopback
            text = answer.read()
        return json.loads(text) if text else None

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def post(self, path: str, body: Any = None) -> Any:
        return self.call("POST", path, {} if body is None else body)

    def delete(self, path: str) -> Any:
        return self.call("DELETE", path)

    def reset(self) -> None:
        """Forget everything: objects, mails, deliveries, faults, clock, and where events are sent."""
        self.post("/reset", {"endpoints": True})


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """The sandbox as its own process, one per worker; forgotten again before each test that asks for it."""
    url = settings.SANDBOX_URL
    folder = tmp_path_factory.mktemp("sandbox")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [
                sys.executable, "-m", "sandbox", "--port", url.rpartition(":")[2],
                "--data", str(folder / "data"),
                "--site", "http://127.0.0.1:1", "--twilio-token", settings.TWILIO_AUTH_TOKEN,
            ],
            cwd=ROOT, stdout=log, stderr=log, preexec_fn=die_with_parent(),
        )  # fmt: skip
    running = Sandbox(url)
    deadline = time.monotonic() + 30
    while True:
        try:
            running.get("/health")
            break
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                pytest.fail(f"The sandbox did not start:\n{(folder / 'log').read_text()}")
            time.sleep(0.05)
    yield running
    process.terminate()
    process.wait(20)


@pytest.fixture(autouse=True)
def _fresh_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's rate limit is used up by another test, and no window of the limiter ends in the middle of one.

    A window ends at a fixed minute and second of the hour, which follows from the caller's address or account.
    """
    cache.clear()
    # Nobody has chosen anything, and nobody asks again for it within a test: the writer itself makes it known.
    from foundation import overrides

    monkeypatch.setattr(overrides, "SECONDS", 1e9)
    monkeypatch.setattr(overrides, "_remembered", (time.monotonic(), {}))
    monkeypatch.setattr("django_ratelimit.core.time", SimpleNamespace(time=lambda: 1_800_000_000))


@pytest.fixture(autouse=True)
def _fresh_sandbox(request: pytest.FixtureRequest) -> None:
    if "sandbox" in request.fixturenames:
        request.getfixturevalue("sandbox").reset()


# --- The network ----------------------------------------------------------------------------------

_real_connect = socket.socket.connect


def _connect_to_loopback_only(self: socket.socket, address: Any) -> None:
    if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
        raise RuntimeError(f"A test tried to reach {address[0]}; only loopback is open.")
    return _real_connect(self, address)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


socket.socket.connect = _connect_to_loopback_only  # type: ignore[assignment, method-assign]  # patched on purpose
