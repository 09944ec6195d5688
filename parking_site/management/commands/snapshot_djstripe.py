"""Write, or check, the snapshot of dj-stripe's schema made by its real migrations in a scratch database."""

from __future__ import annotations

import difflib
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.backends.postgresql.psycopg_any import sql

from parking_site.djstripe_snapshot import SNAPSHOT, describe

SCRATCH = "djstripe_snapshot_scratch"


class Command(BaseCommand):
    help = "Write dj-stripe's schema as its real migrations make it in a scratch database; --check compares."
    requires_system_checks = []

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--check", action="store_true", help="fail when the committed snapshot differs")

    def handle(self, *args: Any, check: bool = False, **options: Any) -> None:
        found = self._migrated_schema()
        if not check:
            SNAPSHOT.parent.mkdir(parents=True, exist_ok=True)
            for old in SNAPSHOT.parent.glob("djstripe-*.sql"):
                old.unlink()
            SNAPSHOT.write_text(found)
            self.stdout.write(f"Wrote {SNAPSHOT.name}: {found.count('CREATE TABLE')} tables.")
            return
        if not SNAPSHOT.exists():
            raise CommandError(f"{SNAPSHOT.name} is missing. Write it with: manage.py snapshot_djstripe")
        committed = SNAPSHOT.read_text()
        if committed != found:
            difference = difflib.unified_diff(
                committed.splitlines(), found.splitlines(), "committed", "migrated", lineterm="", n=0
            )
            raise CommandError(
                "The snapshot is not what dj-stripe's migrations make. "
                "Write it anew with: manage.py snapshot_djstripe\n" + "\n".join(list(difference)[:40])
            )
        self.stdout.write("The snapshot equals what dj-stripe's own migrations make.")

    def _migrated_schema(self) -> str:
        own_name = connection.settings_dict["NAME"]
        with connection._nodb_cursor() as cursor:
            name = sql.Identifier(SCRATCH)
            cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
            cursor.execute(sql.SQL("CREATE DATABASE {}").format(name))
        self._use(SCRATCH)
        try:
            call_command("migrate", "accounts", verbosity=0)
            call_command("migrate", "djstripe", verbosity=0)
            with connection.cursor() as cursor:
                return describe(cursor)
        finally:
            self._use(own_name)
            with connection._nodb_cursor() as cursor:
                cursor.execute(
                    sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(SCRATCH))
                )

    def _use(self, name: str) -> None:
        connection.close()
        if hasattr(connection, "close_pool"):
            connection.close_pool()
        connection.settings_dict["NAME"] = name
