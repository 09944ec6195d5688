"""What texting has used up, and blocks of numbers that were cut off."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action, display

from communications.models import SmsBreaker, SmsScope, SmsSpend
from communications.services import budget
from foundation.admin import ReadOnlyAdmin, ask_why

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
        found = self.get_object(request, object_id)  # None for what is no id at all
        may = found is not None and found.reset_at is None and request.user.has_perm(RESET_PERMISSION)
        return super().get_actions_detail(request, object_id) if may else []

    @action(permissions=["view"], description=_("Let it go…"), url_path="reset-form", icon="lock_open")
    def reset_action(self, request: HttpRequest, object_id: str) -> HttpResponse:
        found = self.get_object(request, object_id)
        if found is None:
            raise Http404
        return HttpResponseRedirect(reverse("admin:communications_smsbreaker_reset", args=[found.pk]))

    def reset_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Say what letting go means, ask why, and do it once."""
        if not request.user.has_perm(RESET_PERMISSION):
            raise PermissionDenied
        found = self.get_object(request, str(pk))
        if found is None:
            raise Http404
        return ask_why(
            self,
            request,
            found=found,
            title=_("Text these numbers again?"),
            template="communications/admin/reset_breaker.html",
            done=_("These numbers are texted again."),
            act=lambda reason: budget.reset_breaker(pk, by=request.user, reason=reason, now=timezone.now()),
        )
