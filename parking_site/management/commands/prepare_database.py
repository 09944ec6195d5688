"""Bring the database to the current schema, sparing a new one the 45 seconds of dj-stripe's migrations."""

from __future__ import annotations

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connection, transaction

from parking_site.djstripe_snapshot import SNAPSHOT


class Command(BaseCommand):
    help = (
        "Migrate the database. An empty one gets dj-stripe's tables from the committed snapshot of its own "
        "migrations; any other one is migrated as usual."
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument(
            "--real", action="store_true", help="run dj-stripe's own migrations (about 45 s of CPU)"
        )

    def handle(self, *args: Any, real: bool = False, verbosity: int = 1, **options: Any) -> None:
        if not real and not self._has_tables():
            call_command("migrate", "accounts", verbosity=0)
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(SNAPSHOT.read_text())
        call_command("migrate", interactive=False, verbosity=max(0, verbosity - 1))
        if verbosity:
            self.stdout.write("The database is at the current schema.")

    def _has_tables(self) -> bool:
        with connection.cursor() as cursor:
            return bool(connection.introspection.table_names(cursor))
