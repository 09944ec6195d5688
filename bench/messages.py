"""A campaign to many people, against the sandbox: messages a second with one and two workers, where the time goes, memory, and kill -9.

    python -m bench.messages --recipients 100000 --workers 1 2 --kill

Everything is a real process: PostgreSQL, sandbox, `manage.py procrastinate worker`. Bookings are made for as many people as the campaign
writes to, and all of them agree to offers. With --kill the workers are killed in the middle and started again; then what the sandbox
got is held against whom the campaign chose. No worker runs beside it that takes delivery reports.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import psycopg

from bench.__main__ import FILL, ROOT, SEED, say
from foundation.database import PrivateServer, die_with_parent

CONFIRM = """
UPDATE bookings_booking SET status = 'confirmed', confirmed_at = now() WHERE status = 'held' AND driver_name = 'Bench Driver'
"""


class House:
    """The processes of one run below one folder."""

    def __init__(self, folder: Path, recipients: int, lanes: int) -> None:
        self.folder, self.recipients = folder, recipients
        self.server = PrivateServer(folder / "server", source=os.environ.get("POSTGRESQL_FROM", "any"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.environment = {
            **os.environ, "DJANGO_SETTINGS_MODULE": "parking_site.settings", "READ_DOT_ENV": "false", "LOG_LEVEL": "ERROR",
            "ENVIRONMENT": "development", "DEBUG": "false", "SANDBOX_URL": f"http://127.0.0.1:{self.port}", "SANDBOX_PORT": str(self.port),
            "VAR_DIR": str(folder), "QUIET_HOURS": "00:00-00:00", "CAMPAIGN_LANES": str(lanes), "DATABASE_POOL_MAX": "4",
        }  # fmt: skip
        self.workers: list[subprocess.Popen[bytes]] = []
        self.sandbox: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.server.start()
        with psycopg.connect(self.server.url("postgres"), autocommit=True) as session:
            session.execute("CREATE DATABASE parking")
        self.url = self.server.url()
        self.environment["DATABASE_URL"] = self.url
        os.environ.update(self.environment)
        for command in ("prepare_database", "demo_data"):
            self._run(command)

    def _run(self, *command: str) -> None:
        subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "manage.py", *command], cwd=ROOT, env=self.environment, check=True, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def start_sandbox(self) -> None:
        """An empty one, without anybody to report to."""
        self.stop_sandbox()
        self.data = self.folder / f"sandbox-{secrets.token_hex(4)}"
        with (self.folder / "sandbox.log").open("ab") as log:
            self.sandbox = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", "sandbox", "--port", str(self.port), "--data", str(self.data)],
                cwd=ROOT, env=self.environment, stdout=log, stderr=log, preexec_fn=die_with_parent(),
            )  # fmt: skip
        for _try in range(400):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5).close()
                return
            except OSError:
                time.sleep(0.05)
        raise SystemExit("The sandbox did not start.")

    def stop_sandbox(self) -> None:
        if self.sandbox is not None:
            self.sandbox.terminate()
            self.sandbox.wait(20)

    def start_workers(self, count: int) -> None:
        for _number in range(count):
            with (self.folder / "workers.log").open("ab") as log:
                self.workers.append(
                    subprocess.Popen(
                        [sys.executable, "manage.py", "procrastinate", "worker", "--concurrency", "1"],
                        cwd=ROOT,
                        env=self.environment,
                        stdout=log,
                        stderr=log,
                        preexec_fn=die_with_parent(),
                    )
                )

    def end_workers(self, how: signal.Signals) -> None:
        for worker in self.workers:
            worker.send_signal(how)
        for worker in self.workers:
            worker.wait(30)
        self.workers.clear()

    def peak_megabytes(self) -> list[float]:
        """The most memory that each worker ever had."""
        found = []
        for worker in self.workers:
            status = Path(f"/proc/{worker.pid}/status")
            peak = re.search(r"VmHWM:\s+(\d+)", status.read_text()) if status.exists() else None
            if peak:
                found.append(int(peak.group(1)) / 1024)
        return found

    def inbox(self) -> tuple[int, int]:
        """How many mails the sandbox got of the campaign, and to how many addresses."""
        with sqlite3.connect(f"file:{next(self.data.glob('*.sqlite*'))}?mode=ro", uri=True) as file:
            row = file.execute(
                "SELECT count(*), count(DISTINCT json_extract(body, '$.to[0].email')) FROM mail "
                "WHERE json_extract(body, '$.to[0].email') LIKE 'stay-%'"
            ).fetchone()
        return int(row[0]), int(row[1])


def people(house: House) -> None:
    """One stay each for so many people, and their yes to offers."""
    began = time.monotonic()
    with psycopg.connect(house.url, autocommit=True) as session:
        session.execute(SEED)
        for batch in range(0, house.recipients, 5000):
            many = min(5000, house.recipients - batch)
            session.execute(FILL, {"batch": batch, "many": many})
        session.execute(CONFIRM)
        session.execute("VACUUM ANALYZE")
    from django.utils import timezone

    from bookings.models import Booking
    from communications.models import ConsentEntry, ConsentSource
    from communications.services.consent import key_of

    emails = Booking.objects.order_by().values_list("driver_email", flat=True).distinct()
    now, batch_of = timezone.now(), 2000
    entries: list[ConsentEntry] = []

    def write() -> None:
        ConsentEntry.objects.bulk_create(entries)
        entries.clear()

    for email in emails.iterator(batch_of):
        entries.append(
            ConsentEntry(
                channel="email",
                address_key=key_of("email", email),
                address=email.lower(),
                is_granted=True,
                at=now,
                source=ConsentSource.IMPORT,
                wording="Bench",
            )
        )
        if len(entries) >= batch_of:
            write()
    write()
    say(f"{house.recipients:,} bookings and consents made in {time.monotonic() - began:.0f} s")


def campaign(name: str) -> Any:
    """A campaign to everybody, at the fastest pace, begun at once by the job that the clock would queue."""
    from django.utils import timezone

    from communications.campaigns import steps, words
    from communications.models import Campaign

    made = Campaign.objects.create(name=name, per_minute=60_000)
    begun = words.beginning("promotion", "email", "en")
    body = begun.body.replace("{{ promo_code }}", "SPRING")
    words.save_words(
        made, channel="email", language="en", draft=words.Draft(**{**vars(begun), "body": body}), by=None
    )
    now = timezone.now()
    return steps.schedule(made, start_at=now, by=None, now=now)


def run(house: House, workers: int, *, kill: bool) -> None:
    from django.db import connection

    from communications.models import Message, Recipient

    house.start_sandbox()
    made = campaign(f"{workers} workers{', killed' if kill else ''}")
    house.start_workers(workers)
    began = time.monotonic()
    first_sent_at = prepared_at = 0.0
    killed = False
    peaks: list[float] = []
    while True:
        time.sleep(0.25)
        made.refresh_from_db()
        sent = Message.objects.filter(campaign_key=made.key, sent_at__isnull=False).count()
        peaks = [
            max(pair) for pair in zip(peaks or [0.0] * workers, house.peak_megabytes(), strict=False)
        ] or peaks
        if made.prepared_at and not prepared_at:
            prepared_at = time.monotonic()
        if sent and not first_sent_at:
            first_sent_at = time.monotonic()
        if kill and not killed and sent >= house.recipients * 0.4:
            house.end_workers(signal.SIGKILL)
            say(f"  kill -9 of {workers} worker(s) after {sent:,} mails; started again")
            killed = True
            house.start_workers(workers)
        if made.status == "finished":
            break
        if time.monotonic() - began > max(600, house.recipients):
            raise SystemExit(f"The campaign is still {made.status} with {sent} sent.")
    ended = time.monotonic()
    house.end_workers(signal.SIGTERM)
    mails, addresses = house.inbox()
    doubt = Message.objects.filter(campaign_key=made.key, status__in=["sending", "maybe_sent"]).count()
    chosen = Recipient.objects.filter(campaign=made).exclude(state="skipped").count()
    connection.close()
    rate = chosen / (ended - first_sent_at)
    say(
        f"  {workers} worker(s): {chosen:,} recipients chosen in {prepared_at - began:.1f} s (start of the worker included), sent in "
        f"{ended - first_sent_at:.1f} s = {rate:.0f}/s; peak memory {', '.join(f'{each:.0f} MB' for each in peaks)}"
    )
    verdict = "nobody twice" if mails == addresses else f"{mails - addresses} TWICE"
    lost = chosen - addresses
    say(
        f"    sandbox: {mails:,} mails to {addresses:,} addresses, {verdict}; {lost} not sent, {doubt} marked as in doubt"
    )
    if mails != addresses or lost > doubt:
        raise SystemExit("The sandbox's inbox and the campaign do not agree.")


def where_the_time_goes(house: House, count: int) -> None:
    """One worker's code in this process, its parts timed: writing, HTTP, database."""
    from django.utils import timezone

    from communications.campaigns import dispatch, steps
    from communications.campaigns import people as choosing
    from communications.campaigns.press import Press
    from communications.senders.email import EmailSender

    spent: dict[str, float] = {}

    def timed(name: str, function: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                spent[name] = spent.get(name, 0.0) + time.perf_counter() - began

        return call

    for owner, method, name in (
        (Press, "print", "writing (the press)"),
        (EmailSender, "send", "building the mail and HTTP"),
        (dispatch._Desk, "_claim", "claiming and recording, one statement"),
    ):
        setattr(owner, method, timed(name, getattr(owner, method)))
    dispatch.take = timed("taking batches: consent, messages", dispatch.take)
    house.start_sandbox()
    made = campaign("timed")
    while choosing.prepare_batch(made.pk, now=timezone.now()):
        pass
    began, done = time.perf_counter(), 0
    from communications.models import Message

    while done < count:
        dispatch.send_for(made, seconds=1)
        done = Message.objects.filter(campaign_key=made.key, sent_at__isnull=False).count()
        if made.recipients.filter(state__in=["waiting", "taken"]).count() == 0:
            break
    whole = time.perf_counter() - began
    steps.stop(made, reason="Timed", by=None, now=timezone.now())
    say(f"  in one process, {done:,} mails, {1000 * whole / max(done, 1):.2f} ms each:")
    for name, seconds in sorted(spent.items(), key=lambda part: -part[1]):
        say(f"    {1000 * seconds / max(done, 1):6.2f} ms  {name}")
    say(f"    {1000 * (whole - sum(spent.values())) / max(done, 1):6.2f} ms  the rest")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.messages", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--recipients", type=int, default=2000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument(
        "--kill", action="store_true", help="kill the workers once in the middle of the last round"
    )
    given = parser.parse_args()
    say(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}; sandbox and database on this machine too")
    with tempfile.TemporaryDirectory(prefix="parking-messages-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        house = House(Path(folder), given.recipients, max(given.workers))
        house.start()
        try:
            import django

            django.setup()
            people(house)
            where_the_time_goes(house, min(1000, given.recipients))
            for place, workers in enumerate(given.workers):
                run(house, workers, kill=given.kill and place == len(given.workers) - 1)
        finally:
            for worker in house.workers:
                worker.kill()
            house.stop_sandbox()
            from django.db import connections

            connections.close_all()
            house.server.stop()


if __name__ == "__main__":
    main()
