"""Consent and its proof, addresses to which nothing is sent, and what people text back."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action, display

from communications.models import ConsentEntry, InboundText, Keyword, Suppression
from communications.services import answering, consent
from communications.stories import written_about
from foundation.admin import ReadOnlyAdmin, ask_why

LIFT_PERMISSION = "communications.lift_suppression"


class ByAddress(ReadOnlyAdmin):
    """Searching for an address finds it also after its person was erased: by its hash."""

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> Any:
        found, may_repeat = super().get_search_results(request, queryset, search_term)
        if search_term.strip():
            keys = [consent.key_of(channel, search_term) for channel in ("email", "sms")]
            found |= queryset.filter(address_key__in=keys)
        return found, may_repeat


@admin.register(ConsentEntry)
class ConsentEntryAdmin(ByAddress):
    """Every yes and no, with what was shown. Nobody changes it."""

    list_display = ["at", "channel", "shown_address", "answer", "source", "wording", "user"]
    list_filter = ["channel", "is_granted", "source", "at"]
    list_select_related = ["user"]
    search_fields = ["address"]
    search_help_text = _("E-mail address or phone number")
    show_full_result_count = False
    fields = ["at", "channel", "shown_address", "answer", "source", "wording", "language", "note", "ip_address", "user"]  # fmt: skip

    @display(description=_("address"))
    def shown_address(self, entry: ConsentEntry) -> str:
        return entry.address or f"#{entry.address_key[:12]}"

    @display(description=_("answer"), label={"yes": "success", "no": "warning"}, ordering="is_granted")
    def answer(self, entry: ConsentEntry) -> tuple[str, Any]:
        return ("yes", _("wants offers")) if entry.is_granted else ("no", _("no offers"))


@admin.register(Suppression)
class SuppressionAdmin(ByAddress):
    """Addresses to which nothing is sent. Lifting one asks why."""

    list_display = ["at", "channel", "shown_address", "cause", "detail", "state"]
    list_filter = ["channel", "cause", ("lifted_at", admin.EmptyFieldListFilter)]
    search_fields = ["address"]
    search_help_text = _("E-mail address or phone number")
    show_full_result_count = False
    actions_detail = ["lift_action"]
    fields = ["at", "channel", "shown_address", "cause", "detail", "message", "lifted_at", "lifted_by", "lift_reason"]  # fmt: skip

    @display(description=_("address"))
    def shown_address(self, found: Suppression) -> str:
        return found.address or f"#{found.address_key[:12]}"

    @display(description=_("state"), label={"held": "danger", "lifted": "success"})
    def state(self, found: Suppression) -> tuple[str, Any]:
        return ("held", _("nothing is sent")) if found.lifted_at is None else ("lifted", _("lifted"))

    def get_urls(self) -> list[Any]:
        lift = path(
            "<int:pk>/lift/",
            self.admin_site.admin_view(self.lift_view),
            name="communications_suppression_lift",
        )
        return [lift, *super().get_urls()]

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        found = self.get_object(request, object_id)  # None for what is no id at all
        may = found is not None and found.lifted_at is None and request.user.has_perm(LIFT_PERMISSION)
        return super().get_actions_detail(request, object_id) if may else []

    @action(permissions=["view"], description=_("Lift it…"), url_path="lift-form", icon="lock_open")
    def lift_action(self, request: HttpRequest, object_id: str) -> HttpResponse:
        found = self.get_object(request, object_id)
        if found is None:
            raise Http404
        return HttpResponseRedirect(reverse("admin:communications_suppression_lift", args=[found.pk]))

    def lift_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Say what lifting means, ask why, and do it once."""
        if not request.user.has_perm(LIFT_PERMISSION):
            raise PermissionDenied
        found = self.get_object(request, str(pk))
        if found is None:
            raise Http404
        return ask_why(
            self,
            request,
            found=found,
            title=_("Send to this address again?"),
            template="communications/admin/lift.html",
            done=_("Messages go to this address again."),
            act=lambda reason: consent.lift(pk, by=request.user, reason=reason, now=timezone.now()),
            address=self.shown_address(found),
        )


class ToReadFilter(admin.SimpleListFilter):
    title = _("to do")
    parameter_name = "todo"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [("read", _("Nobody has read it yet"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[InboundText]) -> QuerySet[InboundText]:
        return queryset.filter(handled_at=None) if self.value() == "read" else queryset


@admin.register(InboundText)
class InboundTextAdmin(ReadOnlyAdmin):
    """What people text back. STOP, START and HELP are answered by themselves; the rest waits for somebody to read it."""

    list_display = ["received_at", "phone", "about", "body", "understood", "answer", "handled_by"]
    fields = [
        "received_at",
        "phone",
        "about",
        "to",
        "body",
        "keyword",
        "answer",
        "handled_at",
        "handled_by",
    ]
    list_filter = [ToReadFilter, "keyword", "received_at"]
    list_select_related = ["handled_by"]
    search_fields = ["phone", "body"]
    search_help_text = _("Phone number or words of the text")
    show_full_result_count = False
    actions = ["mark_read"]

    def has_handle_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("communications.change_inboundtext")

    @display(
        description=_("understood as"), label={"stop": "danger", "start": "success", "help": "info", "": ""}
    )
    def understood(self, text: InboundText) -> tuple[str, Any]:
        return text.keyword, text.get_keyword_display() if text.keyword else Keyword.OTHER.label

    @admin.display(description=_("our answer"))
    def answer(self, text: InboundText) -> Any:
        return text.reply or (_("the provider's own") if text.keyword else "-")

    @admin.display(description=_("about"))
    def about(self, text: InboundText) -> str:
        """The bookings about which we texted this number, each leading to its messages."""
        page = reverse("admin:communications_message_changelist")
        rows = (
            (f"{page}?{urlencode({'q': reference})}", reference) for reference in written_about(text.phone)
        )
        return format_html_join(mark_safe("<br>"), '<a href="{}">{}</a>', rows) or "-"

    @admin.action(description=_("Mark as read"), permissions=["handle"])
    def mark_read(self, request: HttpRequest, queryset: QuerySet[InboundText]) -> None:
        done = answering.mark_handled(
            queryset.values_list("pk", flat=True), by=request.user, now=timezone.now()
        )
        self.message_user(request, _("%(count)d marked as read.") % {"count": done}, messages.SUCCESS)
