"""Receipts and credit notes."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import path
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from foundation.admin import ReadOnlyAdmin, money
from payments.admin.shared import link_to, paper_of
from payments.models import Document
from payments.pages.documents import pdf


@admin.register(Document)
class DocumentAdmin(ReadOnlyAdmin):
    """Receipts and credit notes. Nobody writes them; they come with the money."""

    list_display = [
        "paper",
        "kind",
        "booking_link",
        "customer",
        "total_text",
        "vat_text",
        "operator",
        "issued_at",
    ]
    list_display_links = ["kind"]
    list_filter = ["kind", "operator", "currency", "issued_at"]
    list_select_related = ["payment__booking", "operator"]
    list_fullwidth = True
    search_fields = ["number", "payment__booking__reference", "payment__booking__driver_email"]
    search_help_text = _("Number, booking reference or e-mail")
    date_hierarchy = "issued_at"
    show_full_result_count = False
    readonly_fields = ["paper", "booking_link", "customer", "total_text", "vat_text"]
    fields = [
        "paper",
        "kind",
        "operator",
        "booking_link",
        "customer",
        "payment",
        "refund",
        "total_text",
        "vat_text",
        "issued_at",
    ]

    def get_urls(self) -> list[Any]:
        paper = path(
            "<uuid:document_id>/pdf/", self.admin_site.admin_view(self.pdf_view), name="payments_document_pdf"
        )
        return [paper, *super().get_urls()]

    def pdf_view(self, request: HttpRequest, document_id: Any) -> HttpResponse:
        """Return the paper itself."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        document = self.get_object(request, str(document_id))
        if document is None:
            raise Http404
        return pdf(document)

    @display(description=_("number"), ordering="number")
    def paper(self, document: Document) -> SafeString:
        return paper_of(document)

    @display(description=_("booking"), ordering="payment__booking__reference")
    def booking_link(self, document: Document) -> SafeString:
        return link_to(document.payment.booking, document.payment.booking.reference)

    @display(description=_("customer"))
    def customer(self, document: Document) -> str:
        return str(document.content["customer"]["name"])

    @display(description=_("total"), ordering="total_minor")
    def total_text(self, document: Document) -> SafeString:
        return money(document.total_minor, document.currency)

    @display(description=_("VAT in it"), ordering="vat_minor")
    def vat_text(self, document: Document) -> SafeString:
        return money(document.vat_minor, document.currency)
