"""Holds and searches per second on gunicorn with production settings, at 0 and at 100,000 stays.

BENCH_SECONDS (5) is the length of one measurement, BENCH_STAYS (100000) the number of stays of the second round.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from bench import load
from foundation.database import PrivateServer, die_with_parent

ROOT = Path(__file__).resolve().parent.parent
SECONDS = float(os.environ.get("BENCH_SECONDS", "5"))
STAYS = int(os.environ.get("BENCH_STAYS", "100000"))
CLIENTS = (1, 8, 32)

SEED = """
UPDATE bookings_pool SET capacity = 100000;
UPDATE bookings_carpark SET is_open = true;
CREATE FUNCTION bench_reference() RETURNS text LANGUAGE plpgsql VOLATILE AS $$
    DECLARE made text;
    BEGIN  -- as the site does: another one where chance hits a reference that is taken
        LOOP
            SELECT 'AP-' || string_agg(substr('23456789ABCDEFGHJKMNPQRSTUVWXYZ', 1 + floor(random() * 31)::int, 1), '')
                INTO made FROM generate_series(1, 6);
            EXIT WHEN NOT EXISTS (SELECT 1 FROM bookings_booking WHERE reference = made);
        END LOOP;
        RETURN made;
    END $$;
CREATE TABLE bench_quote (n integer PRIMARY KEY, id uuid NOT NULL);
WITH products AS (SELECT id, row_number() OVER (ORDER BY id) AS place, count(*) OVER () AS many FROM bookings_product
                  WHERE NOT needs_flight_number),
made AS (
    INSERT INTO bookings_quote (id, product_id, start_at, end_at, total_minor, currency, lines, policy, created_at,
                                expires_at)
    SELECT gen_random_uuid(), products.id,
           date_trunc('day', now()) + make_interval(days => 3 + n % 120, hours => 8),
           date_trunc('day', now()) + make_interval(days => 3 + n % 120 + 2 + n % 9, hours => 18),
           9900, 'GBP', '[{"label": "Days", "rule": "days", "amount_minor": 9900}]',
           '{"name": "Flex", "summary": "Free", "fee_minor": 0, "currency": "",
             "tiers": [{"notice_hours": 0, "refund_percent": 100}]}',
           now(), now() + interval '1 day'
    FROM generate_series(1, 2000) AS n JOIN products ON products.place = 1 + n % products.many
    RETURNING id)
INSERT INTO bench_quote SELECT row_number() OVER (), id FROM made;
"""
# Stays come in through the same tables and triggers as every other; only faster than one by one.
FILL = """
WITH made AS (
    INSERT INTO bookings_booking (reference, status, product_id, pool_id, quote_id, start_at, end_at, driver_name,
        driver_email, driver_phone, plate, outbound_flight, return_flight, language, total_minor, currency, lines,
        policy, hold_expires_at, guest_token_hash, created_at, offers_wording)
    SELECT bench_reference(), 'held', p.id, p.pool_id, q.id, q.start_at, q.end_at, 'Bench Driver',
        'stay-' || %(batch)s || '-' || series.stay || '@example.com', '+442079460123', 'B' || %(batch)s || 'N' || series.stay, '', '', 'en',
        q.total_minor, q.currency, q.lines, q.policy, now() + interval '30 days', repeat('a', 64), now(), ''
    FROM generate_series(1, %(many)s) AS series (stay) JOIN bench_quote b ON b.n = 1 + series.stay %% 2000
    JOIN bookings_quote q ON q.id = b.id JOIN bookings_product p ON p.id = q.product_id
    ON CONFLICT (reference) DO NOTHING
    RETURNING id, pool_id, start_at, end_at)
INSERT INTO bookings_occupancy (booking_id, pool_id, period) SELECT id, pool_id, tstzrange(start_at, end_at) FROM made
"""


def say(text: str = "") -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def environment(url: str) -> dict[str, str]:
    """Production settings, complete enough to pass its start-up checks."""
    return {
        **os.environ, "DATABASE_URL": url, "ENVIRONMENT": "production",
        "DJANGO_SETTINGS_MODULE": "parking_site.settings", "READ_DOT_ENV": "false",
        "SECRET_KEY": secrets.token_hex(40), "JWT_SIGNING_KEY": secrets.token_hex(40),
        "ADDRESS_KEY": secrets.token_hex(40), "LOG_LEVEL": "ERROR",
        "SITE_URL": "https://bench.example", "ALLOWED_HOSTS": "bench.example",
        "REDIS_URL": os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"),
        "STRIPE_SECRET_KEY": "sk_live_" + "b" * 24, "STRIPE_PUBLISHABLE_KEY": "pk_live_" + "b" * 24,
        "STRIPE_WEBHOOK_SECRET": "whsec_" + "b" * 24, "STRIPE_WEBHOOK_UUID": "0b6f7f3e-7d0c-4f57-9a55-3a1d2c4b5e6f",
        "SENDGRID_API_KEY": "SG.bench.bench", "SENDGRID_WEBHOOK_VERIFICATION_KEY": "bench",
        "DEFAULT_FROM_EMAIL": "hello@bench.example", "SUPPORT_EMAIL": "help@bench.example",
        "SUPPORT_PHONE": "+442079460123", "POSTAL_ADDRESS": "1 Runway Road, Hounslow",
        "TWILIO_ACCOUNT_SID": "AC" + "b" * 32, "TWILIO_AUTH_TOKEN": "bench",
        "TWILIO_FROM_NUMBER": "+15005550006", "GUNICORN_WORKERS": os.environ.get("GUNICORN_WORKERS", "2"),
    }  # fmt: skip


def prepare(url: str) -> None:
    for command in ("prepare_database", "demo_data"):
        subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "manage.py", command], cwd=ROOT, env={**os.environ, "DATABASE_URL": url}, check=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    with psycopg.connect(url, autocommit=True) as session:
        session.execute(SEED)


class Gunicorn:
    """gunicorn with an application on a free port, while the `with` block lasts."""

    def __init__(self, application: str, settings: dict[str, str]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.settings = settings | {"GUNICORN_BIND": f"127.0.0.1:{self.port}"}
        self.application = application

    def __enter__(self) -> Gunicorn:
        began = time.monotonic()
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "gunicorn", "-c", "deploy/gunicorn.conf.py", self.application],
            cwd=ROOT, env=self.settings, stdout=self.log, stderr=self.log, preexec_fn=die_with_parent(),
        )  # fmt: skip
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() - began > 60:
                self.log.seek(0)
                raise SystemExit(
                    f"gunicorn did not start:\n{self.log.read().decode(errors='replace')[-3000:]}"
                )
            time.sleep(0.02)
        self.start_seconds = time.monotonic() - began
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(request("GET", "/health"))
                return connection.recv(100).startswith(b"HTTP/1.1")
        except OSError:
            return False

    def worker_megabytes(self) -> list[float]:
        """Resident memory of each worker; empty where the system has no /proc."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        if not children.exists():
            return []
        found = []
        for pid in children.read_text().split():
            resident = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
            if resident:
                found.append(int(resident.group(1)) / 1024)
        return found


def request(method: str, path: str, body: object = None) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: bench.example\r\nX-Forwarded-Proto: https\r\n"
    if content:
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    return head.encode() + b"\r\n" + content


def measure(server: Gunicorn, title: str, make: object, expect: int) -> None:
    load.run(server.port, make, clients=2, seconds=1, expect=expect)  # type: ignore[arg-type]  # warm-up
    for clients in CLIENTS:
        found = load.run(server.port, make, clients=clients, seconds=SECONDS, expect=expect)  # type: ignore[arg-type]
        line = f"  {title:<34}{clients:>3} clients {found.per_second:9.1f}/s   p50 {found.p50:7.1f} ms   p99 {found.p99:7.1f} ms"
        say(line + (f"   {found.wrong} refused, such as: {found.example}" if found.wrong else ""))


def pgbench(server: PrivateServer, url: str) -> None:
    program = server.programs / "pgbench"
    if not program.exists():
        say(
            f"  pgbench is not part of the PostgreSQL in {server.programs}: the database's limit is not measured."
        )
        return
    for clients in CLIENTS:
        done = subprocess.run(  # noqa: S603 - PostgreSQL's own program
            [
                str(program), "-n", "-M", "prepared", "-f", str(ROOT / "bench" / "hold.sql"), "-c", str(clients),
                "-j", str(min(clients, 2)), "-T", str(max(1, round(SECONDS))), "-l", "--log-prefix=log", url,
            ],
            capture_output=True, text=True, check=False, cwd=(folder := tempfile.mkdtemp(prefix="pgbench-")),
        )  # fmt: skip
        rate = re.search(r"tps = ([\d.]+)", done.stdout)
        if done.returncode or not rate:
            raise SystemExit(f"pgbench failed:\n{done.stdout}{done.stderr}")
        times = sorted(
            int(line.split()[2]) / 1000
            for log in Path(folder).glob("log*")
            for line in log.read_text().splitlines()
        )
        for log in Path(folder).glob("log*"):
            log.unlink()
        Path(folder).rmdir()
        say(
            f"  {'pgbench, the same SQL (the limit)':<34}{clients:>3} clients {float(rate.group(1)):9.1f}/s"
            f"   p50 {times[len(times) // 2]:7.1f} ms   p99 {times[int(len(times) * 0.99)]:7.1f} ms"
        )


def round_of(server: PrivateServer, url: str) -> None:
    with psycopg.connect(url, autocommit=True) as session:
        session.execute("VACUUM ANALYZE")
        quotes = [str(row[0]) for row in session.execute("SELECT id FROM bench_quote ORDER BY n").fetchall()]
        stays = session.execute("SELECT count(*) FROM bookings_occupancy").fetchone()
    assert stays is not None
    say(f"\nWith {stays[0]:,} stays in the database:")
    run_id = secrets.token_hex(4)

    def hold(n: int) -> bytes:
        return request(
            "POST",
            "/api/bookings",
            {
                "quoteId": quotes[n % len(quotes)],
                "driver": {
                    "name": "Bench Driver",
                    "email": f"b{run_id}{secrets.token_hex(6)}@example.com",
                    "phone": "+442079460123",
                },
                "vehicle": {"plate": f"B{secrets.token_hex(5).upper()}"},
            },
        )

    def search(n: int) -> bytes:
        day = datetime.now(UTC).date() + timedelta(days=5 + n % 100)
        back = day + timedelta(days=2 + n % 9)
        return request("GET", f"/api/search?airport=LHR&dropOff={day}T08:00&return={back}T18:00")

    settings = environment(url)
    with Gunicorn("bench.site", settings) as site:
        measure(site, "POST /api/bookings", hold, 201)
        measure(site, "GET /api/search", search, 200)
        memory = site.worker_megabytes()
        started = site.start_seconds
    with Gunicorn("bench.bare_site", settings) as bare:
        measure(bare, "bare DRF view, the same SQL", hold, 201)
    pgbench(server, url)
    shown = ", ".join(f"{each:.0f} MB" for each in memory) or "not known here"
    say(f"  gunicorn: first answer after {started:.1f} s; memory of its workers {shown}")


def main() -> None:
    say(
        f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, {SECONDS:.0f} s per line, load from this machine too"
    )
    with tempfile.TemporaryDirectory(prefix="parking-bench-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        server = PrivateServer(Path(folder) / "server", source=os.environ.get("POSTGRESQL_FROM", "any"))
        server.start()
        try:
            with psycopg.connect(server.url("postgres"), autocommit=True) as session:
                session.execute("CREATE DATABASE parking")
            url = server.url()
            prepare(url)
            round_of(server, url)
            with psycopg.connect(url, autocommit=True) as session:
                for batch in range(0, STAYS, 5000):
                    session.execute(FILL, {"batch": batch, "many": min(5000, STAYS - batch)})
            round_of(server, url)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
