"""Breaks: open questions about money."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action, display

from foundation.admin import ReadOnlyAdmin, ReasonForm
from payments.admin.shared import demand, link_to, page_of
from payments.models import Break
from payments.services import desk

RESOLVE_PERMISSION = "payments.change_break"


class OpenBreakFilter(admin.SimpleListFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [("open", _("Open")), ("resolved", _("Resolved"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Break]) -> QuerySet[Break]:
        if self.value() in ("open", "resolved"):
            return queryset.filter(resolved_at__isnull=self.value() == "open")
        return queryset


@admin.register(Break)
class BreakAdmin(ReadOnlyAdmin):
    """Where the books and a provider disagree. A person looks, settles it, and says how."""

    list_display = [
        "kind",
        "state_badge",
        "provider",
        "provider_ref",
        "booking_text",
        "opened_at",
        "resolved_at",
        "resolved_by",
    ]
    list_filter = [OpenBreakFilter, "kind", "provider"]
    list_select_related = ["payment__booking", "resolved_by"]
    list_fullwidth = True
    search_fields = ["provider_ref", "detail", "payment__booking__reference"]
    search_help_text = _("Provider reference, booking reference or words of the detail")
    show_full_result_count = False
    actions_detail = ["resolve_action"]
    readonly_fields = ["state_text", "booking_text"]
    fields = [
        "kind", "state_text", "provider", "provider_ref", "booking_text", "payment", "detail", "opened_at", "resolved_at",
        "resolved_by", "resolution",
    ]  # fmt: skip

    def get_urls(self) -> list[Any]:
        resolve = path(
            "<int:break_id>/resolve/",
            self.admin_site.admin_view(self.resolve_view),
            name="payments_break_resolve",
        )
        return [resolve, *super().get_urls()]

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        offered = super().get_actions_detail(request, object_id)
        if request.user.has_perm(RESOLVE_PERMISSION):
            return offered
        return [one for one in offered if "resolve_action" not in one.action_name]

    @action(description=_("Resolve…"), url_path="resolve-form", icon="rule")
    def resolve_action(self, request: HttpRequest, object_id: str) -> HttpResponse:
        found = self.get_object(request, object_id)
        if found is None:
            raise Http404
        return HttpResponseRedirect(reverse("admin:payments_break_resolve", args=[found.pk]))

    def resolve_view(self, request: HttpRequest, break_id: int) -> HttpResponse:
        """Ask what settles the break, and close it under that person's name."""
        demand(request, RESOLVE_PERMISSION, attempted="break.resolve", subject=f"break:{break_id}")
        found = self.get_object(request, str(break_id))
        if found is None:
            raise Http404
        form = ReasonForm(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            resolved = desk.resolve_break(
                found.pk, by=request.user, reason=form.cleaned_data["reason"], now=timezone.now()
            )
            if resolved:
                self.log_change(request, found, form.cleaned_data["reason"])
                self.message_user(request, _("The break is resolved."), messages.SUCCESS)
            else:
                self.message_user(
                    request, _("Somebody resolved this break before. Nothing was changed."), messages.WARNING
                )
            return HttpResponseRedirect(page_of(found))
        context = {
            **self.admin_site.each_context(request),
            "title": _("Resolve a break"),
            "opts": self.opts,
            "break": found,
            "break_page": page_of(found),
            "form": form,
            "media": self.media,
        }
        return TemplateResponse(
            request, "admin/payments/resolve.html", context, status=400 if form.is_bound else 200
        )

    @display(description=_("state"))
    def state_text(self, found: Break) -> str:
        return self.state_badge(found)[1]

    @display(description=_("state"), label={"open": "danger", "resolved": "success"})
    def state_badge(self, found: Break) -> tuple[str, str]:
        return ("open", gettext("Open")) if found.resolved_at is None else ("resolved", gettext("Resolved"))

    @display(description=_("booking"))
    def booking_text(self, found: Break) -> SafeString | str:
        return link_to(found.payment.booking, found.payment.booking.reference) if found.payment else "-"
