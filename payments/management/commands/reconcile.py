"""Compare our books with the providers'. Prints a table; exits 1 while breaks are open or a provider failed."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from payments.gateways import configured
from payments.gateways.base import ProviderError
from payments.models import Break, Provider
from payments.services import reconcile
from payments.services.comparison import said


class Command(BaseCommand):
    help = "Compare our books with the providers' from one day to another (UTC), heal what can be healed, and list what a person must settle."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--since", required=True, metavar="2026-11-01", help="the first day, UTC")
        parser.add_argument("--until", metavar="2026-11-30", help="the last day, UTC; today if left out")
        parser.add_argument(
            "--provider", choices=Provider.values, help="only this one; else all that are configured"
        )
        parser.add_argument("--dry-run", action="store_true", help="change nothing, say what would be done")

    def handle(self, *args: Any, **options: Any) -> None:
        now = timezone.now()
        since = day(options["since"], "--since")
        until = day(options["until"], "--until") + timedelta(days=1) if options["until"] else now
        until = min(until, now)
        if since >= now:
            raise CommandError("--since lies in the future. Give an earlier date.")
        if since >= until:
            raise CommandError("--until must not be before --since.")
        providers = [options["provider"]] if options["provider"] else configured()
        failed = False
        for provider in providers:
            if options["dry_run"]:
                failed |= self._rehearse(provider, since, until, now)
            else:
                failed |= self._run(provider, since, until, now)
        if failed:
            raise SystemExit(1)

    def _run(self, provider: str, since: datetime, until: datetime, now: datetime) -> bool:
        try:
            run = reconcile.reconcile(provider, since=since, until=until, now=now)
        except reconcile.AlreadyReconciling as error:
            raise CommandError(str(error.message)) from error
        name = Provider(provider).label
        self._row("", "checked", "healed", "breaks opened", "breaks closed")
        self._row(name, run.checked, run.healed, run.opened, run.closed)
        for line in run.balances:
            held, ours, refunds, told, young, unexplained = (
                said(line[key], line["currency"])
                for key in (
                    "provider",
                    "ours",
                    "refunds_on_their_way",
                    "on_breaks",
                    "too_young",
                    "unexplained",
                )
            )
            self.stdout.write(
                f"{name} holds {held}; our books say {ours}; refunds on their way {refunds}, told by breaks {told},"
                f" too young {young}; unexplained {unexplained}"
            )
        if run.error:
            self.stdout.write(f"{name}: {run.error}")
        return self._list_open_breaks(provider) or bool(run.error)

    def _rehearse(self, provider: str, since: datetime, until: datetime, now: datetime) -> bool:
        name = Provider(provider).label
        try:
            tally = reconcile.rehearse(provider, since=since, until=until, now=now)
        except ProviderError as error:
            self.stdout.write(f"{name}: {error.message}")
            return True
        self.stdout.write(f"{name}: {tally.checked} would be checked")
        for payment in tally.suspects:
            self._row(name, "would look at", payment.pk, payment.provider_ref or "-", payment.status)
        for finding in tally.findings:
            self._row(name, "would ask", finding.kind, finding.provider_ref, finding.detail)
        return self._list_open_breaks(provider) or bool(tally.findings)

    def _list_open_breaks(self, provider: str) -> bool:
        """Print the breaks that nobody has settled, the oldest first; say whether there are any."""
        found = list(Break.objects.filter(provider=provider, resolved_at__isnull=True).order_by("opened_at"))
        for one in found:
            self._row(
                Provider(provider).label,
                one.kind,
                one.provider_ref,
                f"{one.opened_at:%Y-%m-%d %H:%M}",
                one.detail,
            )
        return bool(found)

    def _row(self, *cells: Any) -> None:
        *short, last = (str(cell) for cell in cells)
        self.stdout.write("  ".join([*(cell.ljust(14) for cell in short), last]).rstrip())


def day(text: str, option: str) -> datetime:
    """Read a date as the first instant of that day in UTC. Raises CommandError."""
    try:
        read = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise CommandError(f"{option} must be a date such as 2026-11-01, not {text[:40]!r}.") from error
    if not 2000 <= read.year < 2100:
        raise CommandError(f"{option} must be a day of this century, not {text[:40]!r}.")
    return read
