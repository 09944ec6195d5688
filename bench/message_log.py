"""Measures what staff wait for when the message log is long: `python -m bench.message_log --rows 5000000`.

Makes a PostgreSQL of its own, fills the log with a realistic spread over three years, and asks for staff's pages as staff do, through the
whole of Django, in this process. Prints the slowest and the middle of several answers, and the slowest statement in them. Exits 1
when a page took longer than --limit milliseconds in its middle answer.
"""
# ruff: noqa: E501 - SQL and addresses

from __future__ import annotations

import argparse
import os
import re
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from bench.__main__ import prepare, say
from foundation.database import PrivateServer

BATCH = 250_000
ANSWERS = 5
# 1,096 days up to now, more of them lately; four messages in five by e-mail; states as a healthy shop has them.
FILL = """
INSERT INTO communications_message (id, kind, channel, "to", to_name, language, variables, qr_text, attachment, dedupe_key, reference, other_address,
    timezone, condition, campaign_key, status, provider, provider_ref, subject, body_text, body_html, attempts, tries_left, was_resent,
    queued_at, due_at, sent_at, delivered_at, error_code, error_text, segments, price, price_currency, is_price_estimated)
SELECT gen_random_uuid(), kind, channel,
    CASE WHEN channel = 'email' THEN 'driver' || person || '@' || (ARRAY['gmail.com', 'example.com', 'web.de', 'outlook.com'])[1 + person %% 4]
         ELSE '+4477009' || lpad((person %% 100000)::text, 5, '0') END,
    (ARRAY['Ada', 'Ben', 'Cleo', 'Dan', 'Eva', 'Finn'])[1 + person %% 6] || ' ' || (ARRAY['Lovelace', 'Noether', 'Turing', 'Hopper', 'Gauss'])[1 + person %% 5] || person,
    CASE WHEN person %% 5 = 0 THEN 'de' ELSE 'en' END,
    jsonb_build_object('plate', 'AB' || lpad((person %% 100)::text, 2, '0') || ' ' || chr(65 + person %% 26) || chr(65 + person / 26 %% 26) || chr(65 + person / 676 %% 26),
                       'reference', reference, 'customer_name', 'Driver ' || person, 'total', '84.50 GBP'),
    '', '', 'log:' || n, reference, '', '', '', CASE WHEN kind = 'promotion' THEN 'campaign:' || 1 + n / 100000 ELSE '' END,
    status, CASE channel WHEN 'email' THEN 'SendGrid' ELSE 'twilio' END, CASE WHEN status IN ('queued', 'suppressed') THEN '' ELSE md5('ref' || n) END,
    'Your booking ' || reference, repeat('Your space is kept for you. ', 8), '<p>' || repeat('Your space is kept for you. ', 8) || '</p>', 1, 7, false,
    queued_at, queued_at, CASE WHEN status NOT IN ('queued', 'suppressed') THEN queued_at + interval '2 seconds' END,
    CASE WHEN status = 'delivered' THEN queued_at + interval '3 seconds' + make_interval(secs => power(random(), 4) * 600) END,
    CASE status WHEN 'suppressed' THEN (ARRAY['no_consent', 'opted_out', 'suppressed_hard_bounce'])[1 + n %% 3] WHEN 'failed' THEN 'bad_address' WHEN 'bounced' THEN 'bounced' ELSE '' END,
    '', CASE WHEN channel = 'sms' THEN 1 + n %% 2 END, CASE WHEN channel = 'sms' THEN 0.0516 END, CASE WHEN channel = 'sms' THEN 'USD' ELSE '' END, channel = 'sms' AND n %% 50 = 0
FROM (
    SELECT n, (random() * %(people)s)::int AS person,
        'AP-' || translate(upper(substr(md5('booking' || n / 6), 1, 6)), '01', 'XY') AS reference,
        CASE WHEN n %% 5 = 0 THEN 'sms' ELSE 'email' END AS channel,
        CASE WHEN n %% 5 = 0 THEN (ARRAY['booking_confirmation', 'drop_off_reminder', 'return_reminder', 'cancellation'])[1 + (n / 5) %% 4]
             ELSE (ARRAY['booking_confirmation', 'payment_confirmation', 'drop_off_reminder', 'return_reminder', 'cancellation', 'promotion', 'promotion', 'welcome'])[1 + (n / 5) %% 8] END AS kind,
        CASE WHEN n > %(last)s - 40 THEN 'queued' ELSE (ARRAY['delivered', 'delivered', 'sent', 'bounced', 'failed', 'suppressed', 'maybe_sent'])[
            CASE WHEN chance < 0.93 THEN 1 WHEN chance < 0.96 THEN 3 WHEN chance < 0.975 THEN 4 WHEN chance < 0.98 THEN 5 WHEN chance < 0.9995 THEN 6 ELSE 7 END] END AS status,
        now() - make_interval(secs => 94694400 * (1 - sqrt(n::float8 / %(last)s)))  AS queued_at
    FROM (SELECT n, random() AS chance FROM generate_series(%(first)s, %(end)s) AS n) AS numbers
) AS drawn
"""


def fill(url: str, rows: int) -> None:
    """Write the log without its triggers and indexes, then build these and count it all as an upgrade would."""
    with psycopg.connect(url, autocommit=True) as session:
        built = session.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'communications_message' AND indexname NOT IN"
            " (SELECT conname FROM pg_constraint WHERE conrelid = 'communications_message'::regclass)"
        ).fetchall()
        for name, _definition in built:
            session.execute(f'DROP INDEX "{name}"')
        session.execute("ALTER TABLE communications_message DISABLE TRIGGER USER")
        began = time.monotonic()
        for first in range(1, rows + 1, BATCH):
            session.execute(
                FILL,
                {
                    "first": first,
                    "end": min(first + BATCH - 1, rows),
                    "last": rows,
                    "people": max(rows // 8, 100),
                },
            )
        say(f"  written in {time.monotonic() - began:.0f} s")
        session.execute("SET maintenance_work_mem = '512MB'")
        for name, definition in sorted(built):
            began = time.monotonic()
            session.execute(definition)
            if time.monotonic() - began > 2:
                say(f"  index {name} built in {time.monotonic() - began:.0f} s")
        session.execute("ALTER TABLE communications_message ENABLE TRIGGER USER")


def size_of(url: str) -> str:
    with psycopg.connect(url) as session:
        row = session.execute(
            "SELECT pg_size_pretty(pg_table_size('communications_message')), pg_size_pretty(pg_indexes_size('communications_message')),"
            " (SELECT count(*) FROM communications_messagecount), pg_size_pretty(pg_total_relation_size('communications_messagecount'))"
        ).fetchone()
    assert row is not None
    return f"table {row[0]}, indexes {row[1]}; counts: {row[2]:,} rows, {row[3]}"


class Staff:
    """Asks for pages as a member of staff does and notes how long each took."""

    def __init__(self, limit_ms: float) -> None:
        from django.test import Client

        from accounts.models import User

        self.client = Client()
        self.client.force_login(User.objects.filter(is_superuser=True).get())
        self.limit_ms = limit_ms
        self.slow: list[str] = []

    def asks(self, what: str, address: str, *, headers: dict[str, str] | None = None) -> Any:
        from django.db import connection
        from django.test.utils import CaptureQueriesContext

        times, statement, answer = [], "", None
        for _answer in range(ANSWERS):
            with CaptureQueriesContext(connection) as queries:
                began = time.perf_counter()
                answer = self.client.get(address, headers=headers or {})
                times.append((time.perf_counter() - began) * 1000)
            assert answer.status_code == 200, (address, answer.status_code, answer.get("Location"))
        worst = max(queries.captured_queries, key=lambda query: float(query["time"]), default=None)
        if worst:
            statement = f"{float(worst['time']) * 1000:.0f} ms of it: {re.sub(r'SELECT .*? FROM', 'SELECT ... FROM', worst['sql'])[:150]}"
        middle = statistics.median(times)
        mark = " " if middle <= self.limit_ms else "!"
        say(f"{mark} {what:<46} {middle:7.0f} ms, at most {max(times):6.0f}   {statement}")
        if middle > self.limit_ms:
            self.slow.append(what)
        return answer
        return answer


def measure(limit_ms: float) -> list[str]:
    from django.db import connection
    from django.urls import reverse

    from communications.models import Message

    staff = Staff(limit_ms)
    middle = Message.objects.order_by("-queued_at")[1000]
    messages = reverse("admin:communications_message_changelist")
    counts = reverse("admin:communications_messagecount_changelist")
    today = datetime.now(UTC)
    staff.asks("landing page", reverse("admin:index"))
    first = staff.asks("messages, first page", messages)
    for name, query in [
        ("messages, failed", "status__exact=failed"),
        ("messages, delivered", "status__exact=delivered"),
        ("messages, maybe sent", "status__exact=maybe_sent"),
        ("messages, SMS that bounced", "status__exact=bounced&channel__exact=sms"),
        ("messages, welcome", "kind__exact=welcome"),
        ("messages, one day two years ago", f"queued_at__gte={(today - timedelta(days=730)).date()}+00:00:00%2B00:00&queued_at__lt={(today - timedelta(days=729)).date()}+00:00:00%2B00:00"),
        ("messages, by whole address", f"q={middle.to.replace('+', '%2B')}"),
        ("messages, by part of an address", f"q={middle.to[2:12]}"),
        ("messages, by reference", f"q={middle.reference}"),
        ("messages, by plate", f"q={middle.variables['plate'].replace(' ', '+')}"),
        ("messages, by a common word", "q=gmail"),
        ("messages, by what nobody has", "q=zzzzqqqq"),
        ("messages, by name, failed", "q=Noether&status__exact=failed"),
    ]:  # fmt: skip
        staff.asks(name, f"{messages}?{query}")
    pages = first.context_data["cl"].paginator.num_pages
    last = staff.asks(f"messages, the last page that is offered ({pages})", f"{messages}?p={pages}")
    if last.context_data.get("older"):
        staff.asks("messages, the older ones after it", f"{messages}?{last.context_data['older']}")
    for name, query in [
        ("analytics, today", "period=1"), ("analytics, 30 days", "period=30"), ("analytics, all", "period=all"),
        ("analytics, SMS of all time", "period=all&channel=sms"),
    ]:  # fmt: skip
        staff.asks(name, f"{counts}?{query}")
    from accounts.models import User
    from accounts.services import issue_tokens

    token = issue_tokens(User.objects.filter(is_superuser=True).get()).access
    staff.asks(
        "API, analytics of all time",
        "/api/communication/analytics",
        headers={"Authorization": f"Bearer {token}"},
    )
    began = time.perf_counter()
    rows = list(
        Message.objects.filter(reference=middle.reference).prefetch_related("events").order_by("queued_at")
    )
    say(f"  a booking's timeline: {len(rows)} messages in {(time.perf_counter() - began) * 1000:.0f} ms")
    with connection.cursor() as cursor:
        began = time.perf_counter()
        for n in range(500):
            cursor.execute("UPDATE communications_message SET error_text = %s WHERE id = %s", [str(n), middle.pk])  # fmt: skip
        say(
            f"  a message's row changed, with its triggers and indexes: {(time.perf_counter() - began) * 2:.2f} ms each"
        )
    return staff.slow


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--limit", type=float, default=300, help="milliseconds that a page may take")
    asked = parser.parse_args()
    say(f"{asked.rows:,} messages; {os.cpu_count()} cores, Python {sys.version.split()[0]}")
    with tempfile.TemporaryDirectory(prefix="parking-bench-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        server = PrivateServer(Path(folder) / "server", source=os.environ.get("POSTGRESQL_FROM", "any"))
        server.start()
        try:
            with psycopg.connect(server.url("postgres"), autocommit=True) as session:
                session.execute("CREATE DATABASE parking")
            url = server.url()
            prepare(url)
            fill(url, asked.rows)
            os.environ |= {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "parking_site.settings", "LOG_LEVEL": "ERROR", "ALLOWED_HOSTS": "testserver"}  # fmt: skip
            import django

            django.setup()
            from communications.services import counting

            began = time.monotonic()
            counted = counting.recount()
            say(f"  {counted:,} counted in {time.monotonic() - began:.0f} s")
            with psycopg.connect(url, autocommit=True) as session:
                session.execute("VACUUM ANALYZE")
            say(f"  {size_of(url)}\n")
            slow = measure(asked.limit)
            from django.db import connection

            connection.close()
            connection.close_pool()  # type: ignore[attr-defined]  # PostgreSQL's wrapper has it
        finally:
            server.stop()
    if slow:
        raise SystemExit(f"Over {asked.limit:.0f} ms: {', '.join(slow)}")


if __name__ == "__main__":
    main()
