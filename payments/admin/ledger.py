"""The ledger, to read and to take along as a spreadsheet."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline
from unfold.decorators import action, display

from foundation import audit
from foundation.admin import ReadOnlyAdmin, ReadOnlyInline, money
from payments.admin.shared import demand
from payments.models import LedgerEntry, LedgerTransaction
from payments.services.journal import journal

EXPORT_PERMISSION = "payments.view_ledgertransaction"
DATE = {"type": "date", "class": "ops-input"}


class ExportForm(forms.Form):
    """Which days of the journal."""

    first = forms.DateField(label=_("First day"), widget=forms.DateInput(attrs=DATE, format="%Y-%m-%d"))
    last = forms.DateField(label=_("Last day"), widget=forms.DateInput(attrs=DATE, format="%Y-%m-%d"))
    for_excel = forms.BooleanField(
        label=_("For Excel"),
        required=False,
        help_text=_("Begins with a mark by which Excel reads names with accents rightly."),
    )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("first") and cleaned.get("last") and cleaned["last"] < cleaned["first"]:
            self.add_error("last", ValidationError(_("The last day is before the first."), code="order"))
        return cleaned


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
    actions_list = ["export_action"]
    fields = [
        "occurred_at",
        "kind",
        "booking_reference",
        "payment",
        "refund",
        "dispute",
        "payout",
        "description",
        "source_key",
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[LedgerTransaction]:
        return super().get_queryset(request).select_related("payment", "refund").prefetch_related("entries")

    def get_urls(self) -> list[Any]:
        export = path(
            "export/", self.admin_site.admin_view(self.export_view), name="payments_ledgertransaction_export"
        )
        return [export, *super().get_urls()]

    @action(permissions=["view"], description=_("Export as CSV…"), url_path="export-form", icon="download")
    def export_action(self, request: HttpRequest) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:payments_ledgertransaction_export"))

    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        """Ask for the days and send the journal of them, line by line as it is read."""
        demand(request, EXPORT_PERMISSION, attempted="ledger.export", subject="ledger")
        today = timezone.now().date()
        month_ago = (today.replace(day=1) - timedelta(days=1)).replace(day=1)
        form = ExportForm(
            request.POST if request.method == "POST" else None, initial={"first": month_ago, "last": today}
        )
        if request.method == "POST" and form.is_valid():
            first, last = form.cleaned_data["first"], form.cleaned_data["last"]
            audit.record(
                actor=request.user,
                action="ledger.exported",
                subject="ledger",
                data={"from": str(first), "to": str(last)},
            )
            lines = journal(first, last, with_mark=form.cleaned_data["for_excel"])
            return StreamingHttpResponse(
                lines,
                content_type="text/csv; charset=utf-8",
                headers={
                    "Content-Disposition": f'attachment; filename="journal-{first}-{last}.csv"',
                    "Cache-Control": "private, no-store",
                },
            )
        context = {
            **self.admin_site.each_context(request),
            "title": _("Export the journal"),
            "opts": self.opts,
            "form": form,
            "back": reverse("admin:payments_ledgertransaction_changelist"),
            "media": self.media,
        }
        status = 400 if form.is_bound else 200
        return TemplateResponse(request, "admin/payments/export.html", context, status=status)

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
