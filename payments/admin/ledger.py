"""The ledger, to read."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline
from unfold.decorators import display

from foundation.admin import ReadOnlyAdmin, ReadOnlyInline, money
from payments.models import LedgerEntry, LedgerTransaction


class LedgerEntryInline(ReadOnlyInline, TabularInline):
    model = LedgerEntry
    fields = ["account", "debit_or_credit"]
    readonly_fields = ["debit_or_credit"]

    @display(description=_("amount"))
    def debit_or_credit(self, entry: LedgerEntry) -> SafeString:
        return money(entry.amount_minor, entry.currency)


@admin.register(LedgerTransaction)
class LedgerTransactionAdmin(ReadOnlyAdmin):
    """The books: double entry, append-only. Each transaction's entries add up to nothing."""

    list_display = [
        "occurred_at",
        "kind",
        "booking_reference",
        "amount_text",
        "debited",
        "credited",
        "source_key",
    ]
    list_filter = ["kind", "occurred_at"]
    list_fullwidth = True
    search_fields = ["booking_reference", "source_key", "description"]
    search_help_text = _("Booking reference, source or description")
    date_hierarchy = "occurred_at"
    show_full_result_count = False
    inlines = [LedgerEntryInline]
    fields = [
        "occurred_at",
        "kind",
        "booking_reference",
        "payment",
        "refund",
        "dispute",
        "description",
        "source_key",
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[LedgerTransaction]:
        return super().get_queryset(request).select_related("payment", "refund").prefetch_related("entries")

    @display(description=_("amount"))
    def amount_text(self, row: LedgerTransaction) -> SafeString:
        debits = [entry for entry in row.entries.all() if entry.amount_minor > 0]
        return format_html_join(" ", "{}", ((money(entry.amount_minor, entry.currency),) for entry in debits))

    @display(description=_("debit"))
    def debited(self, row: LedgerTransaction) -> str:
        return ", ".join(entry.get_account_display() for entry in row.entries.all() if entry.amount_minor > 0)

    @display(description=_("credit"))
    def credited(self, row: LedgerTransaction) -> str:
        return ", ".join(entry.get_account_display() for entry in row.entries.all() if entry.amount_minor < 0)
