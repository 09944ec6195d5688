"""The journal as a spreadsheet: every ledger entry of a period, streamed, so that an accountant can add it up again."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time
from typing import Any

from foundation.money import Money
from foundation.spreadsheet import lines, safe
from payments.models import LedgerEntry

HEADER = [
    "date", "transaction", "booking", "kind", "account", "amount", "currency", "provider", "reference", "document",
]  # fmt: skip
AT_ONCE = 2_000


def journal(first: date, last: date, *, with_mark: bool = False) -> Iterator[str]:
    """Yield the lines of a CSV file: the entries of ledger transactions from the first to the last day (UTC, both included).

    Debits are positive, credits negative, in major units with a point; per currency the amounts add up to zero. Memory stays bounded
    however long the period is. Text cells cannot be read as formulas; numbers stay numbers.
    """
    yield from lines(
        itertools.chain([HEADER], (_cells(entry) for entry in entries(first, last))), with_mark=with_mark
    )


def entries(first: date, last: date) -> Iterable[LedgerEntry]:
    """The ledger entries of a period in order, read in portions."""
    since = datetime(first.year, first.month, first.day, tzinfo=UTC)
    until = datetime.combine(last, time.max, tzinfo=UTC)
    rows = LedgerEntry.objects.filter(
        transaction__occurred_at__gte=since, transaction__occurred_at__lte=until
    )
    related = rows.select_related(
        "transaction__payment", "transaction__refund", "transaction__dispute", "transaction__payout"
    )
    return (
        related.prefetch_related("transaction__payment__documents")
        .order_by("transaction__occurred_at", "transaction_id", "pk")
        .iterator(chunk_size=AT_ONCE)
    )


def _cells(entry: LedgerEntry) -> list[str]:
    row = entry.transaction
    source: Any = row.payout or row.payment
    about: Any = row.payout or row.dispute or row.refund or row.payment
    return [
        row.occurred_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        safe(row.source_key),
        safe(row.booking_reference),
        safe(row.kind),
        safe(entry.account),
        Money(entry.amount_minor, entry.currency).to_major(),
        safe(entry.currency),
        safe(source.provider if source else ""),
        safe(about.provider_ref or "" if about else ""),
        safe(_document(row)),
    ]


DOCUMENT_OF = {"capture": "receipt", "refund": "credit_note", "refund_reversal": "credit_note_cancellation"}


def _document(row: Any) -> str:
    """The number of the paper that was issued for the transaction."""
    kind = DOCUMENT_OF.get(row.kind)
    if kind is None:
        return ""
    papers = row.payment.documents.all()
    return next((one.number for one in papers if (one.kind, one.refund_id) == (kind, row.refund_id)), "")
