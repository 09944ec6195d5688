"""The journal as a spreadsheet: it adds up again, numbers are numbers, and no cell is a formula."""

from __future__ import annotations

import csv
import gc
import io
import tracemalloc
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from foundation.models import AuditEntry
from foundation.money import Money, exponent
from payments.models import Document, LedgerEntry, LedgerTransaction, Payment
from payments.services import payouts
from payments.services.journal import HEADER, journal, safe
from payments.services.refund import request_refund, send_refund
from payments.services.settle import settle
from payments.tests.world import checkout, held_booking, pay

pytestmark = pytest.mark.django_db(transaction=True)
TODAY = datetime.now(UTC).date()


@pytest.fixture
def books(sandbox: Any) -> Payment:
    """A payment, a part of it given back, and a payout."""
    from payments.gateways.statement import ListedPayout

    session = checkout(held_booking())
    assert pay(session) == 200
    payment = settle(session.payment.pk)
    send_refund(request_refund(payment, amount_minor=705, reason="x", requested_by=None, source="staff").pk)
    listed = ListedPayout("po_1", "in_transit", 1234, "GBP", timezone.now(), None)
    payouts.record_from_provider("stripe", listed, now=timezone.now())
    return payment


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_it_opens_again_adds_up_and_gives_the_balances(books: Payment) -> None:
    rows = read("".join(journal(TODAY, TODAY)))
    assert list(rows[0]) == HEADER
    assert {row["kind"] for row in rows} == {"capture", "fee", "refund", "payout"}
    sums: dict[tuple[str, str], int] = {}
    for row in rows:
        minor = int(Decimal(row["amount"]).scaleb(exponent(row["currency"])))
        key = row["account"], row["currency"]
        sums[key] = sums.get(key, 0) + minor
    booked: dict[tuple[str, str], int] = {}
    for account, currency, amount in LedgerEntry.objects.values_list("account", "currency", "amount_minor"):
        booked[account, currency] = booked.get((account, currency), 0) + amount
    assert sums == booked
    assert sum(sums.values()) == 0
    assert sums["bank", "GBP"] == 1234


def test_each_line_names_its_provider_reference_and_document(books: Payment) -> None:
    rows = read("".join(journal(TODAY, TODAY)))
    of = {row["kind"]: row for row in rows}
    numbers = {paper.kind: paper.number for paper in Document.objects.all()}
    assert (of["capture"]["reference"], of["capture"]["document"]) == (books.provider_ref, numbers["receipt"])
    assert of["refund"]["document"] == numbers["credit_note"]
    assert of["refund"]["reference"] == books.refunds.get().provider_ref
    assert (of["payout"]["reference"], of["payout"]["booking"], of["payout"]["document"]) == ("po_1", "", "")
    assert {row["provider"] for row in rows} == {"stripe"}
    assert of["capture"]["booking"] == books.booking.reference
    amounts = [row["amount"] for row in rows]
    assert "-7.05" in amounts  # a number, not a text that begins with an apostrophe


def test_only_the_days_that_were_asked_for(books: Payment) -> None:
    assert read("".join(journal(TODAY - timedelta(days=9), TODAY - timedelta(days=1)))) == []
    assert read("".join(journal(TODAY + timedelta(days=1), TODAY + timedelta(days=2)))) == []
    assert len(read("".join(journal(TODAY - timedelta(days=40), TODAY)))) == LedgerEntry.objects.count()


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
def test_no_text_is_a_formula(books: Payment, start: str) -> None:
    evil = f"{start}cmd|' /C calc'!A1"
    assert safe(evil) == f"'{evil}"
    assert safe("AP-7F3K2Q") == "AP-7F3K2Q"
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE payments_ledgertransaction DISABLE TRIGGER USER")
        cursor.execute(
            "UPDATE payments_ledgertransaction SET booking_reference = %s WHERE kind = 'payout'", [evil[:16]]
        )
        cursor.execute("ALTER TABLE payments_ledgertransaction ENABLE TRIGGER USER")
    for row in read("".join(journal(TODAY, TODAY))):
        for name, cell in row.items():
            assert name == "amount" or not cell.startswith(
                ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d")
            ), row


@pytest.mark.parametrize(
    ("currency", "amount", "shown"), [("JPY", 5000, "5000"), ("KWD", 1230, "1.230"), ("EUR", 5, "0.05")]
)
def test_each_currency_has_its_own_decimals(books: Payment, currency: str, amount: int, shown: str) -> None:
    assert Money(amount, currency).to_major() == shown
    from payments.gateways.statement import ListedPayout

    payouts.record_from_provider(
        "stripe",
        ListedPayout(f"po_{currency}", "paid", amount, currency, timezone.now(), None),
        now=timezone.now(),
    )
    rows = [row for row in read("".join(journal(TODAY, TODAY))) if row["currency"] == currency]
    assert sorted(row["amount"] for row in rows) == sorted([shown, f"-{shown}"])


def test_a_long_journal_needs_little_memory(books: Payment) -> None:
    count = 20_000
    payment = books
    with transaction.atomic():
        made = LedgerTransaction.objects.bulk_create(
            LedgerTransaction(
                source_key=f"fee:many:{number}", kind="fee", booking_reference=payment.booking.reference, payment=payment,
                occurred_at=timezone.now(),
            )
            for number in range(count)
        )  # fmt: skip
        LedgerEntry.objects.bulk_create(
            LedgerEntry(transaction=row, account=account, amount_minor=amount, currency="GBP")
            for row in made
            for account, amount in (("provider_fees", 1), ("provider_balance", -1))
        )
    del made
    gc.collect()  # what earlier tests left is not the journal's
    tracemalloc.start()
    lines = sum(1 for _line in journal(TODAY, TODAY))
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert lines == LedgerEntry.objects.count() + 1
    assert peak < 60_000_000  # all 40,000 entries at once take about twice that


def test_the_command_writes_it_and_says_what_is_wrong(books: Payment, tmp_path: Path) -> None:
    out, day = StringIO(), TODAY.isoformat()
    call_command("export_journal", "--from", day, "--to", day, stdout=out)
    assert len(read(out.getvalue())) == LedgerEntry.objects.count()
    file = tmp_path / "journal.csv"
    call_command(
        "export_journal", "--from", day, "--to", day, "--output", str(file), "--bom", stderr=StringIO()
    )
    assert file.read_bytes().startswith(b"\xef\xbb\xbfdate,")
    assert file.read_bytes().count(b"\r\n") == LedgerEntry.objects.count() + 1
    assert read(file.read_text(encoding="utf-8-sig"))[0]["kind"] == "capture"
    for arguments, words in (
        (["--from", "2026-13-01", "--to", day], "must be a date"),
        (["--from", "2026-02-02", "--to", "2026-02-01"], "before"),
        (["--from", day, "--to", day, "--output", str(tmp_path / "no" / "where.csv")], "cannot be written"),
    ):
        with pytest.raises(CommandError, match=words):
            call_command("export_journal", *arguments)


def test_the_admin_streams_it_to_those_who_may_read_the_ledger(books: Payment) -> None:
    page = reverse("admin:payments_ledgertransaction_export")
    root = Client()
    root.force_login(
        get_user_model().objects.create_superuser("root@staff.example", "a-long-test-password"),
        backend="django.contrib.auth.backends.ModelBackend",
    )
    assert root.get(page).status_code == 200
    assert root.post(page, {"first": "2026-02-02", "last": "2026-02-01"}).status_code == 400
    sent = root.post(page, {"first": TODAY.isoformat(), "last": TODAY.isoformat(), "for_excel": "on"})
    assert (sent.status_code, sent.streaming) == (200, True)
    assert f"journal-{TODAY}-{TODAY}.csv" in sent["Content-Disposition"]
    body = b"".join(sent.streaming_content).decode()  # type: ignore[arg-type]
    assert len(read(body.removeprefix("\ufeff"))) == LedgerEntry.objects.count()
    assert AuditEntry.objects.get(action="ledger.exported").data == {"from": str(TODAY), "to": str(TODAY)}
    stranger = Client()
    user = get_user_model().objects.create_user("new@staff.example", "a-long-test-password", is_staff=True)
    stranger.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    assert stranger.get(page).status_code == 403
    assert AuditEntry.objects.filter(action="ledger.export.denied").exists()
