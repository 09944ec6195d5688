"""Write the journal of a period as CSV."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from payments.management.commands.reconcile import day
from payments.services.journal import journal


class Command(BaseCommand):
    help = "Write every ledger entry of a period (UTC days, both included) as CSV to standard output or to a file."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--from", required=True, dest="first", metavar="2026-11-01", help="the first day, UTC"
        )
        parser.add_argument(
            "--to", required=True, dest="last", metavar="2026-11-30", help="the last day, UTC"
        )
        parser.add_argument("--output", type=Path, help="a file instead of standard output")
        parser.add_argument(
            "--bom", action="store_true", help="begin with a byte order mark, as Excel wants it"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        first, last = day(options["first"], "--from").date(), day(options["last"], "--to").date()
        if last < first:
            raise CommandError("--to must not be before --from.")
        lines = journal(first, last, with_mark=options["bom"])
        path: Path | None = options["output"]
        if path is None:
            for line in lines:
                self.stdout.write(line, ending="")
            return
        try:
            with path.open("w", encoding="utf-8", newline="") as file:
                file.writelines(lines)
        except OSError as error:
            raise CommandError(f"{path} cannot be written: {error.strerror}.") from error
        self.stderr.write(f"written: {path}")
