"""`make demo`: database, schema, data, sandbox, site and worker under one command."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import environ
import psycopg
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.utils import timezone
from psycopg import sql

from foundation.database import DatabaseError, PrivateServer
from parking_site import demo_day
from parking_site.supervisor import AlreadyRunning, ChildFailed, PortTaken, Supervisor, require_free_port

STEPS = 8
LOGINS = ("customer@example.com", "staff@example.com", "viewer@example.com", "admin@example.com")


class Stopped(Exception):
    """Somebody asked us to stop."""


def sandbox_command(data: Path) -> list[str]:
    """The command that runs the sandbox on SANDBOX_PORT, reporting to the site on PORT and keeping its state in `data`."""
    site = f"http://127.0.0.1:{settings.PORT}"
    webhook = f"{site}/stripe/webhook/{settings.STRIPE_WEBHOOK_UUID}/"
    return [
        sys.executable, "-m", "sandbox", "--port", str(settings.SANDBOX_PORT), "--data", str(data),
        "--site", site, "--stripe-webhook", f"{webhook}={settings.STRIPE_WEBHOOK_SECRET}",
        "--paypal-client-id", settings.PAYPAL_CLIENT_ID, "--paypal-client-secret", settings.PAYPAL_CLIENT_SECRET,
        "--paypal-webhook", f"{site}/webhooks/paypal/", "--paypal-webhook-id", settings.PAYPAL_WEBHOOK_ID,
        "--paypal-ipn", f"{site}/webhooks/paypal/ipn/", "--paypal-email", settings.PAYPAL_RECEIVER_EMAIL,
        "--sendgrid-webhook", f"{site}/webhooks/sendgrid/", "--twilio-token", settings.TWILIO_AUTH_TOKEN,
        "--twilio-inbound-webhook", f"{site}/webhooks/twilio/inbound/",
    ]  # fmt: skip


class Command(BaseCommand):
    help = "Run the whole demo under one command; Ctrl-C stops it, a restart continues where it was."
    requires_system_checks = []

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument(
            "--first-step", type=int, default=1, help="number of the first step that is printed"
        )
        parser.add_argument("--began", type=float, help="when the whole start began, seconds since 1970")
        parser.add_argument(
            "--check", action="store_true", help="stop again as soon as everything is healthy"
        )

    def handle(
        self, *args: Any, first_step: int = 1, began: float | None = None, check: bool = False, **options: Any
    ) -> None:
        if settings.DEPLOYED:
            raise CommandError(f"The demo does not run with ENVIRONMENT={settings.ENVIRONMENT}.")
        self.step_number, self.last_step = first_step, first_step + STEPS - 1
        self.began = began or time.time()
        logging.getLogger("calls").setLevel(logging.WARNING)  # a line per mail would bury the steps
        self.supervisor = Supervisor(settings.VAR_DIR / "demo")
        self.server: PrivateServer | None = None
        for asked in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(asked, self._stop_asked)
        try:
            self._start()
            self._say_where_to_click()
            while not check:
                time.sleep(0.5)
                for name in self.supervisor.revive():
                    self.stdout.write(
                        f"The {name} stopped and was started again; {self.supervisor.log(name)} says why."
                    )
        except Stopped:
            self.stdout.write("\nStopping ...")
        except (AlreadyRunning, DatabaseError, PortTaken, ChildFailed) as error:
            raise CommandError(str(error)) from error
        finally:
            for asked in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(asked, signal.SIG_IGN)
            self.supervisor.stop()
            connection.close()
            connection.close_pool()  # type: ignore[attr-defined]  # PostgreSQL's wrapper has it
            if self.server is not None:
                self.server.stop()
        self.stdout.write("Everything is stopped. `make demo` continues where you were.")

    def _stop_asked(self, number: int, frame: Any) -> None:
        raise Stopped

    @contextmanager
    def _step(self, title: str) -> Iterator[None]:
        self.stdout.write(f"[{self.step_number}/{self.last_step}] {title} ... ", ending="")
        self.stdout.flush()
        began = time.monotonic()
        yield
        self.stdout.write(f"{time.monotonic() - began:.1f} s")
        self.step_number += 1

    def _start(self) -> None:
        self.supervisor.take_lock()
        if ended := self.supervisor.end_leftovers():
            self.stdout.write(f"Stopped {ended} processes that a killed demo left behind.")
        if settings.PORT == settings.SANDBOX_PORT:
            raise PortTaken(
                "PORT and SANDBOX_PORT must differ: the site and the sandbox each need their own."
            )
        require_free_port(settings.PORT, "PORT")
        require_free_port(settings.SANDBOX_PORT, "SANDBOX_PORT")
        self.supervisor.tell_ports(PORT=settings.PORT, SANDBOX_PORT=settings.SANDBOX_PORT)
        with self._step("PostgreSQL"):
            self._start_database()
        child = {
            **os.environ,
            "PORT": str(settings.PORT),
            "SANDBOX_PORT": str(settings.SANDBOX_PORT),
            "PYTHONUNBUFFERED": "1",
        }
        with self._step(f"Sandbox of Stripe, PayPal, SendGrid and Twilio on port {settings.SANDBOX_PORT}"):
            self._start_sandbox(child)
        with self._step("Database schema (dj-stripe's from a snapshot)"):
            call_command("prepare_database", verbosity=0)
        with self._step("Demo data"):
            call_command("demo_data", verbosity=0)
        with self._step("Stripe's mirror and webhook endpoint"):
            call_command("provision_stripe", verbosity=0, stdout=io.StringIO())
        with self._step("A day of bookings, paid at the sandbox"):
            demo_day.fill(now=timezone.now())
        manage = str(settings.BASE_DIR / "manage.py")
        with self._step(f"Site on port {settings.PORT}, and the worker"):
            connection.close()
            connection.close_pool()  # type: ignore[attr-defined]  # PostgreSQL's wrapper has it
            child |= {
                "GUNICORN_BIND": f"127.0.0.1:{settings.PORT}",
                "GUNICORN_WORKERS": "1",
                "GUNICORN_THREADS": "8",
                "PROVIDER_CALLS_AT_ONCE": "4",
            }
            self._run(
                "site",
                [sys.executable, "-m", "gunicorn", "-c", "deploy/gunicorn.conf.py", "parking_site.wsgi"],
                child,
            )
            self._run(
                "worker", [sys.executable, manage, "procrastinate", "worker", "--concurrency", "2"], child
            )
            self.supervisor.wait_for(f"http://127.0.0.1:{settings.PORT}/health")
        with self._step("Health of database, queue and providers"):
            self.supervisor.wait_for(f"http://127.0.0.1:{settings.PORT}/api/health")

    def _run(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        self.supervisor.start(name, command, environment, cwd=settings.BASE_DIR)

    def _start_database(self) -> None:
        if os.environ.get("DATABASE_URL"):
            return
        self.server = PrivateServer(
            settings.DEMO_DATABASE,
            source=os.environ.get("POSTGRESQL_FROM", "any"),
            log=settings.VAR_DIR / "demo" / "postgresql.log",
        )
        self.server.start()
        with psycopg.connect(self.server.url("postgres"), autocommit=True) as session:
            if not session.execute("SELECT 1 FROM pg_database WHERE datname = 'parking'").fetchone():
                session.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier("parking")))
        os.environ["DATABASE_URL"] = self.server.url()
        found = environ.Env.db_url_config(self.server.url())
        database = connection.settings_dict
        database.update({name: found.get(name, "") for name in ("NAME", "USER", "PASSWORD", "HOST", "PORT")})
        database["OPTIONS"] = {**database["OPTIONS"], **found["OPTIONS"]}

    def _start_sandbox(self, child: dict[str, str]) -> None:
        data: Path = settings.VAR_DIR / "sandbox"
        data.mkdir(parents=True, exist_ok=True)
        self._run("sandbox", sandbox_command(data), child)
        self.supervisor.wait_for(f"{settings.SANDBOX_URL}/health")
        with urllib.request.urlopen(f"{settings.SANDBOX_URL}/keys.json", timeout=10) as answer:  # noqa: S310
            keys = json.load(answer)
        child["SENDGRID_WEBHOOK_VERIFICATION_KEY"] = keys["sendgrid"]["public_key"]

    def _say_where_to_click(self) -> None:
        site, sandbox = f"http://127.0.0.1:{settings.PORT}", settings.SANDBOX_URL
        self.stdout.write(
            f"""
Ready in {time.time() - self.began:.0f} s.

  Book a space           {site}/
  Staff                  {site}/admin/
  API                    {site}/api/docs
  Mail, phone, webhooks  {sandbox}/

  Logins                 {", ".join(LOGINS[:2])},
                         {", ".join(LOGINS[2:])}
  Password               demo-parking
  Cards                  4242 4242 4242 4242, with 3-D Secure 4000 0027 6000 3184, declined 4000 0000 0000 0002;
                         any later date, any CVC
  PayPal                 its page is the sandbox's: choose there how the buyer's money behaves

  Logs                   {self.supervisor.folder}
  Ctrl-C stops everything.
"""
        )
        self.stdout.flush()
