"""What is ours: settings, database, cache, worker, disk, the name and the certificate of the site."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parseaddr
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from parking_site.checks import business_rules_are_readable, production_is_safe
from parking_site.doctor import FAIL, OK, WARN, Finding, verdict
from parking_site.system import OLDEST_DUE_JOB_SECONDS

OLDEST_POSTGRESQL = 14
EXTENSIONS = ("btree_gist", "pg_trgm")
SKEW_SECONDS = 5
HEARTBEAT_SECONDS = 90
DAYS_BEFORE_RENEWAL, DAYS_IN_TROUBLE = 21, 7
TIMEOUT = 4


def look_at_settings() -> Iterator[Finding]:
    """Every start-up problem by its name."""
    problems = [*production_is_safe(None), *business_rules_are_readable(None)]
    for problem in problems:
        yield Finding(
            "settings", str(problem.msg).split(" ")[0], FAIL, str(problem.msg), str(problem.hint or "")
        )
    if not problems:
        told = "complete" if settings.DEPLOYED else "development: test keys and the sandbox are allowed"
        yield Finding("settings", "values", OK, f"{settings.ENVIRONMENT}, {told}")


def look_at_database() -> Iterator[Finding]:
    """Reachable, young enough, a role without power over the server, room for the pools, migrated, in UTC, in time."""
    known = settings.DATABASES["default"]
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT current_setting('server_version_num')::int / 10000, current_setting('server_version'), "
                "current_setting('is_superuser') = 'on', current_setting('max_connections')::int, current_setting('TimeZone'), "
                "clock_timestamp(), (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')"
            )
            major, version, is_superuser, most, zone, clock, used = cursor.fetchone()
            cursor.execute("SELECT extname FROM pg_extension")
            extensions = {row[0] for row in cursor.fetchall()}
    except DatabaseError as error:
        advice = "Start PostgreSQL, or correct DATABASE_URL (host, port, name, user, password)."
        yield Finding(
            "database", "answer", FAIL, f"{known['HOST']}:{known['PORT']} {type(error).__name__}", advice
        )
        return
    young = major >= OLDEST_POSTGRESQL
    yield Finding(
        "database",
        "version",
        OK if young else FAIL,
        f"PostgreSQL {version}",
        "" if young else f"Upgrade to {OLDEST_POSTGRESQL} or later.",
    )
    yield _role(is_superuser)
    yield _connections(most, used)
    missing = [name for name in EXTENSIONS if name not in extensions]
    yield Finding(
        "database",
        "extensions",
        FAIL if missing else OK,
        f"missing: {', '.join(missing)}" if missing else ", ".join(EXTENSIONS),
        "As the owner: " + " ".join(f"CREATE EXTENSION {name};" for name in missing) if missing else "",
    )
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    waiting = [f"{migration.app_label}.{migration.name}" for migration, _back in plan]  # fmt: skip
    yield Finding(
        "database",
        "migrations",
        FAIL if waiting else OK,
        f"{len(waiting)} not applied, first {waiting[0]}" if waiting else "all applied",
        "Run manage.py migrate." if waiting else "",
    )
    yield verdict(
        "database",
        "time zone",
        zone == "UTC",
        zone,
        "Connections must be in UTC: remove options in DATABASE_URL.",
    )
    yield clock_finding("database", clock)


def _role(is_superuser: bool) -> Finding:
    if not is_superuser:
        return Finding("database", "role", OK, "not a superuser")
    level = FAIL if settings.DEPLOYED else WARN
    return Finding(
        "database",
        "role",
        level,
        "is a superuser",
        "Give the site a role of its own: NOSUPERUSER.",
    )


def _connections(most: int, used: int) -> Finding:
    pool = settings.DATABASES["default"].get("OPTIONS", {}).get("pool") or {}
    each = int(pool.get("max_size", 1)) if isinstance(pool, dict) else 1
    wanted = each * settings.DATABASE_PROCESSES
    found = f"{settings.DATABASE_PROCESSES} processes x {each} = {wanted} of max_connections {most}, {used} in use"
    if wanted > most - 3:
        advice = "Raise max_connections, or lower DATABASE_POOL_MAX; DATABASE_PROCESSES counts web and worker processes of all machines."
        return Finding("database", "connections", FAIL, found, advice)
    return Finding("database", "connections", OK, found)


def clock_finding(part: str, theirs: datetime) -> Finding:
    """Compare a clock with ours; the time that asking took is within what is forgiven."""
    skew = abs((theirs - timezone.now()).total_seconds())
    if skew <= SKEW_SECONDS:
        return Finding(part, "clock", OK, f"{skew:.1f} s from ours")
    return Finding(
        part,
        "clock",
        FAIL,
        f"{skew:.0f} s from ours",
        "Start time synchronisation on both (timedatectl set-ntp true).",
    )


def look_at_redis() -> Iterator[Finding]:
    """Reachable, answering, its version, and whether it may throw counters away."""
    if not settings.REDIS_URL:
        yield verdict(
            "redis",
            "answer",
            not settings.DEPLOYED,
            "not configured: limits are per process",
            "Set REDIS_URL.",
        )
        return
    client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)
    try:
        client.ping()
        server: Any = client.info("server")
        memory: Any = client.info("memory")
        seconds, _micro = client.time()
    except (redis.RedisError, OSError) as error:
        yield Finding(
            "redis",
            "answer",
            FAIL,
            type(error).__name__,
            "Start Redis, or correct REDIS_URL. Until then nobody is limited.",
        )
        return
    yield Finding("redis", "version", OK, f"Redis {server.get('redis_version', '?')}")
    policy, limit = memory.get("maxmemory_policy", "?"), int(memory.get("maxmemory") or 0)
    if limit and policy.startswith("allkeys"):
        yield Finding(
            "redis",
            "eviction",
            WARN,
            policy,
            "Counters of the rate limits may be thrown away: use volatile-ttl.",
        )
    elif limit and policy == "noeviction":
        yield Finding("redis", "eviction", WARN, policy, "When full, nobody is counted: use volatile-ttl.")
    else:
        yield Finding("redis", "eviction", OK, f"{policy}, maxmemory {limit or 'unlimited'}")
    yield clock_finding("redis", datetime.fromtimestamp(int(seconds), tz=UTC))


def look_at_worker() -> Iterator[Finding]:
    """Somebody works, and the queue is not late."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*), extract(epoch FROM now() - max(last_heartbeat)) FROM procrastinate_workers "
                "WHERE last_heartbeat > now() - %s * interval '1 second'",
                [HEARTBEAT_SECONDS],
            )
            alive, beat = cursor.fetchone()
            cursor.execute(OLDEST_DUE_JOB_SECONDS)
            oldest = round(cursor.fetchone()[0])
    except DatabaseError as error:
        yield Finding("worker", "alive", FAIL, type(error).__name__, "See database.")
        return
    advice = "Start one: manage.py procrastinate worker"
    yield (
        Finding("worker", "alive", OK, f"{alive} of them, the last beat {round(beat)} s ago")
        if alive
        else Finding("worker", "alive", FAIL, f"none in {HEARTBEAT_SECONDS} s", advice)
    )
    late = oldest > settings.QUEUE_AGE_LIMIT_SECONDS
    yield verdict(
        "worker",
        "queue",
        not late,
        f"the oldest due job waits {oldest} s",
        "More workers, or see why jobs fail.",
    )


def look_at_disk() -> Iterator[Finding]:
    """Room where we write."""
    folder = Path(settings.VAR_DIR)
    while not folder.exists():
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    free = usage.free / usage.total
    found = f"{usage.free / 2**30:.1f} GB ({free:.0%}) free at {folder}"
    level = FAIL if free < 0.05 else WARN if free < 0.15 else OK
    yield Finding(
        "disk",
        "space",
        level,
        found,
        "" if level == OK else "Delete old releases, backups and logs, or enlarge the disk.",
    )


def look_at_dns() -> Iterator[Finding]:
    """The site's name resolves; the sender's domain says who may send for it."""
    host = urlsplit(settings.SITE_URL).hostname or ""
    if not host:
        yield Finding(
            "dns", "site", FAIL, "SITE_URL names no host", "Set SITE_URL, such as https://parking.example.com"
        )
    else:
        try:
            found = sorted({str(row[4][0]) for row in socket.getaddrinfo(host, None)})
            yield Finding("dns", "site", OK, f"{host} is {', '.join(found)}")
        except OSError:
            yield Finding(
                "dns",
                "site",
                FAIL,
                f"{host} does not resolve",
                "Add an A (and AAAA) record that points at this server.",
            )
    yield from _sender_records()


def _sender_records() -> Iterator[Finding]:
    domain = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2]
    if not domain or domain.endswith((".example", ".invalid", ".test", ".localhost")):
        found = f"{domain or 'no domain'}: not a public domain"
        yield verdict("dns", "sender", not settings.DEPLOYED, found, "Set DEFAULT_FROM_EMAIL.")
        return
    dig = shutil.which("dig")
    for what, name, mark in (("SPF", domain, "v=spf1"), ("DMARC", f"_dmarc.{domain}", "v=DMARC1")):
        if dig is None:
            yield Finding(
                "dns",
                what,
                WARN,
                "not asked: dig is not installed",
                f"Look for {mark}: dig +short TXT {name}",
            )
            continue
        try:
            answer = subprocess.run(  # noqa: S603 - a fixed program, and a domain from our own settings
                [dig, "+short", "+time=2", "+tries=1", "TXT", name],
                capture_output=True, text=True, timeout=TIMEOUT, check=False,
            ).stdout  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            answer = ""
        has = mark.lower() in answer.lower()
        yield Finding(
            "dns",
            what,
            OK if has else WARN,
            f"{name} {'has' if has else 'has no'} {mark}",
            "" if has else f"Add a TXT record {mark} … at {name}; the mail provider says which.",
        )


def look_at_certificate() -> Iterator[Finding]:
    """The served certificate is valid for our host, and for how long."""
    site = urlsplit(settings.SITE_URL)
    if site.scheme != "https":
        yield verdict(
            "certificate",
            "served",
            not settings.DEPLOYED,
            "the site is not https",
            "Set an https SITE_URL.",
        )
        return
    host = site.hostname or ""
    try:
        with (
            socket.create_connection((host, site.port or 443), timeout=TIMEOUT) as plain,
            ssl.create_default_context().wrap_socket(plain, server_hostname=host) as secured,
        ):
            served: Any = secured.getpeercert()
    except ssl.SSLCertVerificationError as error:
        yield Finding(
            "certificate",
            "served",
            FAIL,
            f"{host}: {error.verify_message}",
            "Issue one: deploy/deploy.sh install, or certbot renew --force-renewal.",
        )
        return
    except OSError as error:
        yield Finding(
            "certificate",
            "served",
            FAIL,
            f"{host}:{site.port or 443} {type(error).__name__}",
            "Start nginx and open the port.",
        )
        return
    until = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(served["notAfter"])), tz=UTC)
    days = (until - timezone.now()).days
    level = FAIL if days < DAYS_IN_TROUBLE else WARN if days < DAYS_BEFORE_RENEWAL else OK
    yield Finding(
        "certificate",
        "served",
        level,
        f"valid for {host}, {days} days left",
        "" if level == OK else "Renewal does not run: systemctl status certbot.timer",
    )
