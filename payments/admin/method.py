"""Saved methods as customers see them."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from foundation.admin import ReadOnlyAdmin
from payments.admin.shared import link_to
from payments.models import StoredMethod

METHOD_COLOURS = {"active": "success", "removing": "warning", "removed": ""}


@admin.register(StoredMethod)
class StoredMethodAdmin(ReadOnlyAdmin):
    """Customers' saved cards as customers see them. Nobody here can pay with one or look at more of it."""

    list_display = [
        "label",
        "customer",
        "expiry_text",
        "status_badge",
        "is_default",
        "provider",
        "created_at",
        "removed_at",
    ]
    list_filter = ["status", "provider", "brand", "created_at"]
    list_select_related = ["user"]
    list_fullwidth = True
    search_fields = ["user__email", "user__name", "last4", "provider_ref"]
    search_help_text = _("Customer, last four digits or provider reference")
    show_full_result_count = False
    readonly_fields = ["customer", "expiry_text", "status"]
    fields = [
        "label", "customer", "expiry_text", "status", "is_default", "provider", "provider_ref", "created_at", "removed_at",
    ]  # fmt: skip

    @display(description=_("customer"), ordering="user__email")
    def customer(self, method: StoredMethod) -> SafeString:
        return link_to(method.user, method.user.email)

    @display(description=_("good through"))
    def expiry_text(self, method: StoredMethod) -> str:
        return method.expiry or "-"

    @display(description=_("status"), ordering="status", label=METHOD_COLOURS)
    def status_badge(self, method: StoredMethod) -> tuple[str, str]:
        return method.status, method.get_status_display()
