"""What texting has used up, and blocks of numbers that were cut off."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action, display

from communications.models import SmsBreaker, SmsScope, SmsSpend
from communications.services import budget
from foundation.admin import ReadOnlyAdmin, ReasonForm, row_named, to_page

RESET_PERMISSION = "communications.reset_breaker"
SCOPES = list(SmsScope)


@admin.register(SmsSpend)
class SmsSpendAdmin(ReadOnlyAdmin):
    """How much of each day's budgets is used. The limits are settings."""

    list_display = ["on", "share", "scope", "key", "segments", "limit"]
    list_filter = ["scope", "share", "on"]
    search_fields = ["key__startswith"]
    search_help_text = _("How the number begins, with its country code; or the country")
    show_full_result_count = False
    fields = ["on", "share", "scope", "key", "segments", "limit", "last_at"]

    @admin.display(description=_("limit"))
    def limit(self, spending: SmsSpend) -> str:
        limits = settings.SMS_LIMITS.get(spending.share)
        return str(limits[SCOPES.index(SmsScope(spending.scope))]) if limits else "-"


@admin.register(SmsBreaker)
class SmsBreakerAdmin(ReadOnlyAdmin):
    """Blocks of numbers that are not texted any more. Letting one go asks why."""

    list_display = ["tripped_at", "prefix", "why", "state", "reset_by", "reset_reason"]
    list_filter = [("reset_at", admin.EmptyFieldListFilter)]
    list_select_related = ["reset_by"]
    search_fields = ["prefix__startswith"]
    show_full_result_count = False
    actions_detail = ["reset_action"]
    fields = ["tripped_at", "prefix", "why", "state", "reset_at", "reset_by", "reset_reason"]

    @display(description=_("state"), label={"cut": "danger", "free": "success"})
    def state(self, breaker: SmsBreaker) -> tuple[str, Any]:
        return ("cut", _("cut off")) if breaker.reset_at is None else ("free", _("let go"))

    def get_urls(self) -> list[Any]:
        reset = path(
            "<int:pk>/reset/",
            self.admin_site.admin_view(self.reset_view),
            name="communications_smsbreaker_reset",
        )
        return [reset, *super().get_urls()]

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        found = row_named(SmsBreaker, object_id).filter(reset_at=None).exists()
        may = found and request.user.has_perm(RESET_PERMISSION)
        return super().get_actions_detail(request, object_id) if may else []

    @action(description=_("Let it go…"), url_path="reset-form", icon="lock_open")
    def reset_action(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return to_page("communications_smsbreaker_reset", object_id)

    def reset_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Say what letting go means, ask why, and do it once."""
        if not request.user.has_perm(RESET_PERMISSION):
            raise PermissionDenied
        found = self.get_object(request, str(pk))
        if found is None:
            raise Http404
        form = ReasonForm(request.POST if request.method == "POST" else None)
        page = reverse("admin:communications_smsbreaker_change", args=[pk])
        if request.method == "POST" and form.is_valid():
            budget.reset_breaker(pk, by=request.user, reason=form.cleaned_data["reason"], now=timezone.now())
            self.message_user(request, _("These numbers are texted again."), messages.SUCCESS)
            return HttpResponseRedirect(page)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Text these numbers again?"),
            "opts": self.opts,
            "found": found,
            "page": page,
            "form": form,
            "media": self.media,
        }
        return TemplateResponse(
            request, "communications/admin/reset_breaker.html", context, status=400 if form.is_bound else 200
        )
