"""The real processes: PostgreSQL, Redis, sandbox, gunicorn, workers. Started, broken and ended by their own ids."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psycopg

from foundation.database import PrivateServer
from parking_site.supervisor import Supervisor

ROOT = Path(__file__).resolve().parent.parent.parent
TEMPLATE, DATABASE = "chaos_template", "chaos"
WEB_PROCESSES, WEB_THREADS = 2, 4
# Nobody's budget ends in a run: customers have addresses of their own, and the limiter still counts every call.
PLENTY = "1000000/m,1000000/m"
CURRENCIES = ("GBP", "USD", "JPY", "KWD")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Stack:
    """All processes of one run below one folder. `environment` is that of every child, and of this process's Django."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.control = folder / "control"
        (self.control / "fired").mkdir(parents=True, exist_ok=True)
        self.supervisor = Supervisor(folder / "logs")
        self.server = PrivateServer(
            folder / "postgresql",
            source=os.environ.get("POSTGRESQL_FROM", "any"),
            log=folder / "logs" / "postgresql.log",
        )
        self.port, self.sandbox_port = free_port(), free_port()
        self.redis_port = free_port() if shutil.which("redis-server") else 0
        self.site, self.sandbox = (
            f"http://127.0.0.1:{self.port}",
            f"http://127.0.0.1:{self.sandbox_port}",
        )
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DJANGO_")},
            "DJANGO_SETTINGS_MODULE": "parking_site.settings", "READ_DOT_ENV": "false", "ENVIRONMENT": "development",
            "DATABASE_URL": self.server.url(DATABASE), "VAR_DIR": str(folder), "LOG_LEVEL": "WARNING",
            "PORT": str(self.port), "SANDBOX_PORT": str(self.sandbox_port), "SITE_URL": self.site, "SANDBOX_URL": self.sandbox,
            "REDIS_URL": f"redis://127.0.0.1:{self.redis_port}/0" if self.redis_port else "",
            "CURRENCIES": ",".join(CURRENCIES), "CLIENT_ADDRESS_HEADER": "X-Real-IP", "OPEN_HOLDS_PER_CUSTOMER": "50",
            "OPEN_HOLDS_PER_ADDRESS": "100000,100000", "CARD_DECLINES": "100000,100000,100000",
            "STRIPE_TIMEOUT_SECONDS": "1", "PAYPAL_TIMEOUT_SECONDS": "1", "MAIL_TIMEOUT_SECONDS": "2",
            "TWILIO_TIMEOUT_SECONDS": "2", "DATABASE_POOL_TIMEOUT_SECONDS": "3",
            "GUNICORN_BIND": f"127.0.0.1:{self.port}", "GUNICORN_WORKERS": str(WEB_PROCESSES),
            "GUNICORN_THREADS": str(WEB_THREADS), "CHAOS_CONTROL": str(self.control), "CHAOS_MUTANT": "",
            "PYTHONUNBUFFERED": "1",
            **{f"RATE_LIMIT_{group}": PLENTY for group in ("TOKEN", "REGISTER", "QUOTES", "BOOKINGS", "METHODS")},
        }  # fmt: skip
        self.environment.pop("TEST_DATABASE", None)

    # Life and death

    def start_database(self) -> None:
        self.server.start()
        os.environ.update(self.environment)

    def prepare_template(self) -> None:
        """The schema, dj-stripe's rows and the people, once. Django is set up in this process."""
        from django.core.management import call_command
        from django.db import connection

        from bench.chaos import world

        with psycopg.connect(self.server.url("postgres"), autocommit=True) as session:
            session.execute(f"DROP DATABASE IF EXISTS {TEMPLATE} WITH (FORCE)")
            session.execute(f"CREATE DATABASE {TEMPLATE}")
        connection.settings_dict["NAME"] = TEMPLATE
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - a device
            call_command("prepare_database", verbosity=0, stdout=nowhere)
            call_command("provision_stripe", verbosity=0, stdout=nowhere)
        world.people()
        forget_connections()
        connection.settings_dict["NAME"] = DATABASE

    def begin(self, *, mutant: str = "", sql: str = "") -> None:
        """A fresh database, an empty sandbox, and all processes up and healthy."""
        from parking_site.management.commands.quickstart import sandbox_command

        forget_connections()
        with psycopg.connect(self.server.url("postgres"), autocommit=True) as session:
            session.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
            session.execute(f"CREATE DATABASE {DATABASE} TEMPLATE {TEMPLATE}")
        if sql:
            with psycopg.connect(self.server.url(DATABASE), autocommit=True) as session:
                session.execute(sql)
        self.disarm()
        self.start_redis()
        shutil.rmtree(self.folder / "sandbox", ignore_errors=True)
        self._child("sandbox", sandbox_command(self.folder / "sandbox"))
        self.supervisor.wait_for(f"{self.sandbox}/health")
        self.environment["SENDGRID_WEBHOOK_VERIFICATION_KEY"] = self.ask("/keys.json")["sendgrid"][
            "public_key"
        ]
        self.environment["CHAOS_MUTANT"] = mutant
        self._child("workers", [sys.executable, "-m", "bench.chaos.nursery"])
        self._child(
            "web",
            # Preloaded, so that a killed process is back at once. Nothing connects before the fork.
            [
                sys.executable,
                "-m",
                "gunicorn",
                "-c",
                "deploy/gunicorn.conf.py",
                "--preload",
                "bench.chaos.web",
            ],
        )
        self.supervisor.wait_for(f"{self.site}/health")
        self.supervisor.wait_for(f"{self.site}/api/health")

    def _child(self, name: str, command: list[str]) -> None:
        self.supervisor.start(name, command, self.environment, cwd=ROOT)

    def end(self) -> None:
        """Stop everything but PostgreSQL."""
        self.supervisor.stop()

    def stop(self) -> None:
        self.end()
        forget_connections()
        self.server.stop()

    # Breaking

    def restart_postgres(self, *, crash: bool) -> None:
        """Restart it as an administrator does, or as a machine that lost power: without a checkpoint."""
        if crash and self.server.process is not None:
            self.server.process.send_signal(signal.SIGQUIT)
            self.server.process.wait(20)
        self.server.stop()
        self.server.start()

    def kill_one_of(self, name: str) -> int:
        """SIGKILL a child of the web master or of the nursery, and return its id; 0 when there is none just now."""
        parent = self.supervisor.children[name].pid
        children = Path(f"/proc/{parent}/task/{parent}/children")
        pids = [int(pid) for pid in children.read_text().split()] if children.exists() else []
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            return pid
        return 0

    def arm(self, point: str, times: int = 1) -> None:
        for number in range(times):
            (self.control / f"{point}.{number}").touch()

    def disarm(self) -> None:
        for armed in self.control.glob("*.*"):
            armed.unlink(missing_ok=True)

    def take_fired(self) -> list[str]:
        """The points at which a process has died since the last call."""
        points = []
        for fired in (self.control / "fired").iterdir():
            points.append(fired.name.split(".")[0])
            fired.unlink()
        return points

    # Redis

    def start_redis(self) -> None:
        if not self.redis_port:
            return
        self._child(
            "redis",
            ["redis-server", "--port", str(self.redis_port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
             "--dir", str(self.folder)],
        )  # fmt: skip
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.redis_port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)

    def kill_redis(self) -> None:
        process = self.supervisor.children.pop("redis")
        process.kill()
        process.wait()

    def flush_redis(self) -> None:
        with socket.create_connection(("127.0.0.1", self.redis_port), timeout=2) as connection:
            connection.sendall(b"FLUSHALL\r\n")
            connection.recv(10)

    # The sandbox's controls

    def ask(self, path: str, body: Any = None, *, method: str = "") -> Any:
        """One control call of the sandbox. Raises urllib.error.HTTPError."""
        request = urllib.request.Request(  # noqa: S310 - loopback
            self.sandbox + path,
            method=method or ("GET" if body is None else "POST"),
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - loopback
            text = answer.read()
        return json.loads(text) if text else None


def forget_connections() -> None:
    """Close what this process's Django has open: the server behind it may be gone."""
    from django.db import connection

    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]  # PostgreSQL's wrapper has it
