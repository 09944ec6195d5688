"""What the staff's pages about money share."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline
from unfold.decorators import display

from accounts.second_factor import demand_recent_sign_in
from foundation import audit
from foundation.admin import ReadOnlyInline, money
from payments.models import Document


def page_of(row: Any) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def link_to(row: Any, text: str) -> SafeString:
    return format_html('<a class="ops-mono underline" href="{}">{}</a>', page_of(row), text)


def demand(request: HttpRequest, permission: str, *, attempted: str, subject: str) -> None:
    """Raise PermissionDenied (403) without the permission, and leave the attempt in the audit log.

    Who has it proves who they are once more when that was long ago (accounts.second_factor).
    """
    if request.user.has_perm(permission):
        demand_recent_sign_in(request)
        return
    audit.record(
        actor=request.user,
        action=f"{attempted}.denied",
        subject=subject,
        reason="",
        data={"needs": permission},
    )
    raise PermissionDenied


def paper_of(document: Document) -> SafeString:
    return format_html(
        '<a class="ops-mono underline" href="{}">{}</a>',
        reverse("admin:payments_document_pdf", args=[document.pk]),
        document.number,
    )


class DocumentInline(ReadOnlyInline, TabularInline):
    model = Document
    fields = ["paper", "kind", "total_text", "vat_text", "issued_at"]
    readonly_fields = fields
    tab = False

    @display(description=_("number"))
    def paper(self, document: Document) -> SafeString:
        return paper_of(document)

    @display(description=_("total"))
    def total_text(self, document: Document) -> SafeString:
        return money(document.total_minor, document.currency)

    @display(description=_("VAT in it"))
    def vat_text(self, document: Document) -> SafeString:
        return money(document.vat_minor, document.currency)
