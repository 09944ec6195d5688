"""What the sandbox remembers: one SQLite file, written ahead, safe against kill -9.

Every answer that changes something is one transaction, so a provider object, its ledger line, its events and the
stored idempotent answer exist together or not at all.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import sqlite3
import string
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, created INTEGER NOT NULL,
    body TEXT NOT NULL, private TEXT NOT NULL DEFAULT '{}');
CREATE INDEX IF NOT EXISTS objects_kind ON objects (kind, seq);
CREATE INDEX IF NOT EXISTS objects_created ON objects (kind, created);
CREATE INDEX IF NOT EXISTS objects_customer ON objects (kind, json_extract(body, '$.customer'));
CREATE INDEX IF NOT EXISTS objects_intent ON objects (kind, json_extract(body, '$.payment_intent'));
CREATE INDEX IF NOT EXISTS objects_charge ON objects (kind, json_extract(body, '$.charge'));
CREATE INDEX IF NOT EXISTS objects_capture ON objects (kind, json_extract(body, '$.capture'));
CREATE INDEX IF NOT EXISTS objects_invoice ON objects (kind, json_extract(body, '$.invoice_id'));
CREATE TABLE IF NOT EXISTS idempotency (
    key TEXT PRIMARY KEY, path TEXT NOT NULL, fingerprint TEXT NOT NULL, status INTEGER NOT NULL,
    body TEXT NOT NULL, request_id TEXT NOT NULL, created REAL NOT NULL);
CREATE TABLE IF NOT EXISTS endpoints (
    id TEXT PRIMARY KEY, provider TEXT NOT NULL, url TEXT NOT NULL, secret TEXT NOT NULL,
    enabled_events TEXT NOT NULL, details TEXT NOT NULL, created REAL NOT NULL, UNIQUE (provider, url));
CREATE TABLE IF NOT EXISTS deliveries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, provider TEXT NOT NULL, url TEXT NOT NULL,
    secret TEXT NOT NULL, event_id TEXT NOT NULL, event_type TEXT NOT NULL, status TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, due_at REAL NOT NULL, body TEXT NOT NULL, headers TEXT NOT NULL DEFAULT '{}',
    response_code INTEGER, response_excerpt TEXT NOT NULL DEFAULT '', created_at REAL NOT NULL, attempted_at REAL,
    by_hand TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (status, due_at);
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, due_at REAL NOT NULL, kind TEXT NOT NULL, payload TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS jobs_due ON jobs (due_at);
CREATE TABLE IF NOT EXISTS faults (
    id INTEGER PRIMARY KEY AUTOINCREMENT, operation TEXT NOT NULL, behaviour TEXT NOT NULL, times INTEGER NOT NULL,
    seconds REAL NOT NULL, status INTEGER NOT NULL, used INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS mail (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, created_at REAL NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sms (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, sid TEXT NOT NULL UNIQUE, created_at REAL NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS marks (kind TEXT NOT NULL, key TEXT NOT NULL, note TEXT NOT NULL, PRIMARY KEY (kind, key));
CREATE TABLE IF NOT EXISTS ledger (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, provider TEXT NOT NULL, kind TEXT NOT NULL,
    currency TEXT NOT NULL, amount_minor INTEGER NOT NULL, object_id TEXT NOT NULL, payment_id TEXT NOT NULL,
    metadata TEXT NOT NULL, UNIQUE (kind, object_id));
CREATE TRIGGER IF NOT EXISTS ledger_is_append_only BEFORE UPDATE ON ledger
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
"""
# Columns that files of earlier releases lack.
LATER_COLUMNS = (("deliveries", "by_hand", "TEXT NOT NULL DEFAULT ''"),)
TIDIED = (
    "DELETE FROM mail",
    "DELETE FROM sms",
    "DELETE FROM marks",
    "DELETE FROM faults",
    "DELETE FROM settings",
    "DELETE FROM deliveries WHERE status IN ('delivered', 'dropped')",
)
FORGOTTEN_ON_RESET = (
    "DELETE FROM objects",
    "DELETE FROM idempotency",
    "DELETE FROM deliveries",
    "DELETE FROM jobs",
    "DELETE FROM faults",
    "DELETE FROM settings",
    "DELETE FROM mail",
    "DELETE FROM sms",
    "DELETE FROM marks",
    "DELETE FROM ledger",
)
ALPHABET = string.ascii_letters + string.digits


def identifier(prefix: str, length: int = 24) -> str:
    """A random provider-like identifier: prefix plus letters and digits."""
    return prefix + "".join(secrets.choice(ALPHABET) for _ in range(length))


class State:
    """All reads and writes. One connection and one lock: the sandbox prefers truth to throughput."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lock = threading.RLock()
        self._depth = 0
        self._connection = sqlite3.connect(
            folder / "sandbox.sqlite3", check_same_thread=False, isolation_level=None, timeout=10
        )
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.executescript(SCHEMA)
        for table, column, kind in LATER_COLUMNS:
            known = {row["name"] for row in self._connection.execute(f"PRAGMA table_info({table})")}
            if column not in known:
                self._connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; nested blocks become savepoints."""
        with self._lock:
            outer = self._depth == 0
            self._connection.execute("BEGIN IMMEDIATE" if outer else "SAVEPOINT nested")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                if outer:
                    self._connection.execute("ROLLBACK")
                else:
                    self._connection.execute("ROLLBACK TO nested")
                    self._connection.execute("RELEASE nested")
                raise
            self._depth -= 1
            self._connection.execute("COMMIT" if outer else "RELEASE nested")

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def row(self, sql: str, *values: Any) -> sqlite3.Row | None:
        with self._lock:
            found: sqlite3.Row | None = self._connection.execute(sql, values).fetchone()
            return found

    def run(self, sql: str, *values: Any) -> int:
        """Execute a statement and return the number of rows it changed."""
        with self._lock:
            return self._connection.execute(sql, values).rowcount

    # Settings

    def setting(self, name: str, default: Any = None) -> Any:
        found = self.row("SELECT value FROM settings WHERE name = ?", name)
        return default if found is None else json.loads(found["value"])

    def set_setting(self, name: str, value: Any) -> None:
        self.run("INSERT OR REPLACE INTO settings (name, value) VALUES (?, ?)", name, json.dumps(value))

    # Provider objects

    def put(self, body: dict[str, Any], private: dict[str, Any] | None = None) -> dict[str, Any]:
        """Insert or replace a provider object; `private` is what the provider knows and never tells."""
        head = (body["id"], body["object"], body.get("created", 0), json.dumps(body))
        if private is None:
            self.run(
                "INSERT INTO objects (id, kind, created, body) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET body = excluded.body",
                *head,
            )
        else:
            self.run(
                "INSERT INTO objects (id, kind, created, body, private) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET body = excluded.body, private = excluded.private",
                *head,
                json.dumps(private),
            )
        return body

    def get(self, kind: str, object_id: str) -> dict[str, Any] | None:
        found = self.row("SELECT body FROM objects WHERE id = ? AND kind = ?", object_id, kind)
        return None if found is None else json.loads(found["body"])

    def private(self, object_id: str) -> dict[str, Any]:
        found = self.row("SELECT private FROM objects WHERE id = ?", object_id)
        return {} if found is None else json.loads(found["private"])

    def sequence(self, object_id: str) -> int | None:
        found = self.row("SELECT seq FROM objects WHERE id = ?", object_id)
        return None if found is None else found["seq"]

    def select(
        self,
        kind: str,
        *,
        equal: dict[str, str] | None = None,
        created: dict[str, int] | None = None,
        before_seq: int | None = None,
        after_seq: int | None = None,
        types: list[str] | None = None,
        limit: int = 100,
    ) -> list[dict[str, Any]]:
        """Newest first. `created` takes gt, gte, lt, lte in seconds; `after_seq` reads towards the newer."""
        clauses, values = ["kind = ?", "json_extract(body, '$.deleted') IS NULL"], [kind]
        for field, value in (equal or {}).items():
            clauses.append(f"json_extract(body, '$.{field}') = ?")
            values.append(value)
        bounds: list[int] = []
        for operator, sign in (("gt", ">"), ("gte", ">="), ("lt", "<"), ("lte", "<=")):
            if created and operator in created:
                clauses.append(f"created {sign} ?")
                bounds.append(created[operator])
        kinds = types or []
        if kinds:
            clauses.append(f"json_extract(body, '$.type') IN ({', '.join('?' * len(kinds))})")
        edges: list[int] = []
        order = "DESC"
        if before_seq is not None:
            clauses.append("seq < ?")
            edges.append(before_seq)
        if after_seq is not None:
            clauses.append("seq > ?")
            edges.append(after_seq)
            order = "ASC"
        # Field names and operators come from this package's own code, values are bound.
        sql = f"SELECT body FROM objects WHERE {' AND '.join(clauses)} ORDER BY seq {order} LIMIT ?"  # noqa: S608
        found = [json.loads(row["body"]) for row in self.rows(sql, *values, *bounds, *kinds, *edges, limit)]
        return found[::-1] if order == "ASC" else found

    # Small facts

    def mark(self, kind: str, key: str, note: str = "") -> None:
        self.run("INSERT OR REPLACE INTO marks (kind, key, note) VALUES (?, ?, ?)", kind, key, note)

    def unmark(self, kind: str, key: str) -> None:
        self.run("DELETE FROM marks WHERE kind = ? AND key = ?", kind, key)

    def marked(self, kind: str, key: str) -> str | None:
        found = self.row("SELECT note FROM marks WHERE kind = ? AND key = ?", kind, key)
        return None if found is None else found["note"]

    # Jobs, run by the courier when the sandbox's clock reaches them

    def later(self, due_at: float, kind: str, payload: dict[str, Any]) -> None:
        self.run(
            "INSERT INTO jobs (due_at, kind, payload) VALUES (?, ?, ?)", due_at, kind, json.dumps(payload)
        )

    # The ledger: ground truth about money

    def enter(
        self,
        *,
        at: float,
        provider: str,
        kind: str,
        currency: str,
        amount_minor: int,
        object_id: str,
        payment_id: str,
        metadata: dict[str, Any],
    ) -> None:
        """Book one movement. amount_minor is signed, in the currency's minor unit; once per (kind, object_id)."""
        self.run(
            "INSERT INTO ledger (at, provider, kind, currency, amount_minor, object_id, payment_id, metadata) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            *(at, provider, kind, currency, amount_minor, object_id, payment_id, json.dumps(metadata)),
        )

    def tidy(self) -> None:
        """Forget messages, what was delivered, faults, modes and the clock; provider objects and the ledger stay."""
        with self.transaction():
            for statement in TIDIED:
                self.run(statement)

    def forget(self, *, endpoints: bool = False) -> None:
        """Start over; the webhook endpoints stay unless asked."""
        with self.transaction():
            for statement in FORGOTTEN_ON_RESET:
                self.run(statement)
            if endpoints:
                self.run("DELETE FROM endpoints")
