"""What providers reported, and the retry of what was given up."""

from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from foundation.admin import ReadOnlyAdmin
from payments.models import EventStatus, ProviderEvent
from payments.services import desk

RETRY_PERMISSION = "payments.change_providerevent"

EVENT_COLOURS = {EventStatus.RECEIVED: "info", EventStatus.PROCESSED: "success", EventStatus.DEAD: "danger"}


@admin.register(ProviderEvent)
class ProviderEventAdmin(ReadOnlyAdmin):
    """The inbox. An event that was given up can be looked at again; doing so twice changes nothing."""

    list_display = ["received_at", "provider", "kind", "object_ref", "status_badge", "attempts", "last_error"]
    list_filter = ["status", "provider", "livemode", "received_at"]
    list_fullwidth = True
    search_fields = ["event_ref", "object_ref", "kind"]
    search_help_text = _("Event, object or kind")
    date_hierarchy = "received_at"
    show_full_result_count = False
    actions = ["retry"]
    readonly_fields = ["status"]
    fields = [
        "received_at", "occurred_at", "provider", "kind", "event_ref", "object_kind", "object_ref", "livemode", "status", "attempts",
        "last_error", "processed_at",
    ]  # fmt: skip

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(RETRY_PERMISSION)

    @admin.action(description=_("Try given-up events again"), permissions=["retry"])
    def retry(self, request: HttpRequest, queryset: QuerySet[ProviderEvent]) -> None:
        again = sum(desk.retry_event(event.pk, by=request.user) for event in queryset)
        if again:
            self.message_user(
                request, _("%(count)d events are tried again.") % {"count": again}, messages.SUCCESS
            )
        else:
            self.message_user(
                request, _("None of these was given up, so nothing was tried again."), messages.WARNING
            )

    @display(description=_("status"), ordering="status", label=EVENT_COLOURS)
    def status_badge(self, event: ProviderEvent) -> tuple[str, str]:
        return event.status, event.get_status_display()
