"""Refunds, to read."""

from __future__ import annotations

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from foundation.admin import ReadOnlyAdmin, money
from payments.admin.shared import DocumentInline, link_to
from payments.models import Refund

REFUND_COLOURS = {
    "requested": "info", "submitted": "info", "pending": "warning", "unknown": "danger", "succeeded": "success", "failed": "danger",
    "cancelled": "",
}  # fmt: skip


@admin.register(Refund)
class RefundAdmin(ReadOnlyAdmin):
    list_display = [
        "id_text",
        "booking_link",
        "status_badge",
        "amount_text",
        "source",
        "requested_by",
        "created_at",
        "finished_at",
    ]
    list_filter = ["status", "source", "currency", "created_at"]
    list_select_related = ["payment__booking", "requested_by"]
    list_fullwidth = True
    search_fields = [
        "payment__booking__reference",
        "provider_ref",
        "payment__provider_ref",
        "payment__booking__driver_email",
    ]
    search_help_text = _("Booking reference, provider reference or e-mail")
    date_hierarchy = "created_at"
    show_full_result_count = False
    inlines = [DocumentInline]
    readonly_fields = ["booking_link", "payment_link", "status", "amount_text"]
    fields = [
        "booking_link", "payment_link", "status", "amount_text", "source", "reason", "requested_by", "provider_ref",
        "failure_code", "created_at", "submitted_at", "finished_at",
    ]  # fmt: skip

    @display(description=_("refund"))
    def id_text(self, refund: Refund) -> SafeString:
        return format_html('<span class="ops-mono">{}</span>', str(refund.pk)[:8])

    @display(description=_("booking"))
    def booking_link(self, refund: Refund) -> SafeString:
        return link_to(refund.payment.booking, refund.payment.booking.reference)

    @display(description=_("payment"))
    def payment_link(self, refund: Refund) -> SafeString:
        return link_to(refund.payment, refund.payment.provider_ref or str(refund.payment_id))

    @display(description=_("status"), ordering="status", label=REFUND_COLOURS)
    def status_badge(self, refund: Refund) -> tuple[str, str]:
        return refund.status, refund.get_status_display()

    @display(description=_("amount"), ordering="amount_minor")
    def amount_text(self, refund: Refund) -> SafeString:
        return money(refund.amount_minor, refund.currency)
