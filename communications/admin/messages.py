"""The outbox with its delivery timelines."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import formats, timezone
from django.utils.html import escape as html_escape
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import action, display

from communications import rendering, stories
from communications.admin import long_list
from communications.campaigns.words import written_again
from communications.catalogue import EMAIL, KINDS
from communications.models import Message, MessageStatus
from communications.services import outages, outbox
from foundation.admin import ReasonForm, SteadyList, to_page
from foundation.errors import DomainError
from foundation.text import is_one_line

LABELS = {
    MessageStatus.QUEUED: "info",
    MessageStatus.SENDING: "info",
    MessageStatus.SENT: "info",
    MessageStatus.DELIVERED: "success",
    MessageStatus.MAYBE_SENT: "warning",
    MessageStatus.BOUNCED: "danger",
    MessageStatus.FAILED: "danger",
    MessageStatus.SUPPRESSED: "warning",
}


MOST_AT_ONCE = 500


class TodoFilter(admin.SimpleListFilter):
    """What waits: for a person, or for a provider that is down."""

    title = _("to do")
    parameter_name = "todo"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [("person", _("Needs a person")), ("provider", _("Waits for the provider"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Message]) -> QuerySet[Message]:
        if self.value() == "person":
            return queryset & outbox.needs_person()
        if self.value() == "provider":
            return queryset.filter(status=MessageStatus.QUEUED, due_at=None, error_code=outages.WAITING)
        return queryset


class TakeUpForm(ReasonForm):
    """Where to send a message again, and why."""

    field_order = ("to", "reason")
    to = forms.CharField(
        label=_("Send it to"),
        max_length=254,
        widget=forms.TextInput(attrs={"class": "ops-input", "autocomplete": "off", "spellcheck": "false"}),
    )

    def __init__(self, *arguments: Any, message: Message, **options: Any) -> None:
        super().__init__(*arguments, **{"initial": {"to": message.to}, **options})
        if message.channel == EMAIL:
            self.fields["to"].help_text = _(
                "Correct the address if it was wrong. The booking keeps its own: change it there as well."
            )
        else:
            self.fields["to"].help_text = _(
                "With country code, such as +442079460123. The booking keeps its own: change it there as well."
            )

    def clean_to(self) -> str:
        to: str = self.cleaned_data["to"]
        if not is_one_line(to):
            raise forms.ValidationError(_("The address holds a character that cannot be sent."))
        return to


@admin.register(Message)
class MessageAdmin(SteadyList, ModelAdmin):
    """Every message, read-only. The one thing to do with it is to send it again."""

    list_display = ["queued_at", "kind", "channel", "to", "reference", "status_label", "error_text"]
    list_filter = [TodoFilter, "status", "channel", "kind", "queued_at"]
    search_fields = ["to"]  # see get_search_results
    search_help_text = _("Address, name, phone, booking, plate, or the provider's whole reference")
    list_per_page = 30  # a row costs some 3 ms to draw
    list_fullwidth = True
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = long_list.CappedPaginator
    list_after_template = "communications/admin/older.html"
    actions = ["send_again", "nothing_more"]
    actions_detail = ["take_up_action"]
    fieldsets = [
        (
            None,
            {
                "fields": [
                    "kind",
                    "channel",
                    "to",
                    "to_name",
                    "reference",
                    "status",
                    "error_code",
                    "error_text",
                ]
            },
        ),
        (
            _("Delivery"),
            {
                "fields": [
                    "timeline",
                    "first_link",
                    "other_link",
                    "provider",
                    "provider_ref",
                    "attempts",
                    "due_at",
                ]
            },
        ),
        (_("What was sent"), {"fields": ["template_version", "subject", "shown_text", "shown_html"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Message]:
        rows: QuerySet[Message] = super().get_queryset(request)
        match = request.resolver_match
        if match and match.url_name == "communications_message_changelist" and request.method == "GET":
            # A page of mails is megabytes of HTML that the list does not show.
            rows = rows.defer("body_text", "body_html", "variables", "calendar", "subject")
        return rows

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Message], search_term: str
    ) -> tuple[QuerySet[Message], bool]:
        return long_list.find(request, queryset, search_term), False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("communications.change_message")

    @display(description=_("status"), label=LABELS, ordering="status")
    def status_label(self, message: Message) -> tuple[str, Any]:
        return message.status, message.get_status_display()

    @admin.display(description=_("timeline"))
    def timeline(self, message: Message) -> str:
        steps = stories.story_of(message).steps
        return render_to_string("communications/admin/_steps.html", {"steps": steps, "is_open": True})

    @admin.display(description=_("takes the place of"))
    def first_link(self, message: Message) -> str:
        return _link(message.fallback_of) if message.fallback_of else "-"

    @admin.display(description=_("sent another way"))
    def other_link(self, message: Message) -> str:
        return _link(message.fallbacks.first())

    @admin.display(description=_("text"))
    def shown_text(self, message: Message) -> str:
        if (
            message.campaign_key and message.sent_at
        ):  # without the link that stops offers: it acts for the person
            return written_again(message).text
        return _without_customers_links(message, message.body_text) or "-"

    @admin.display(description=_("HTML"))
    def shown_html(self, message: Message) -> str:
        if message.campaign_key and message.sent_at and not message.body_html:
            return _framed(written_again(message).html) if message.channel == EMAIL else "-"
        return _framed(_without_customers_links(message, message.body_html)) if message.body_html else "-"

    def get_urls(self) -> list[Any]:
        own = path(
            "<uuid:message_id>/take-up/",
            self.admin_site.admin_view(self.take_up_view),
            name="communications_message_take_up",
        )
        return [own, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        for outage in stories.outages() if request.method == "GET" else []:
            self.message_user(
                request,
                _("Messages by %(channel)s wait since %(since)s UTC, their tries unused: %(text)s")
                % {
                    "channel": outage.get_channel_display(),
                    "since": formats.date_format(outage.since or timezone.now(), "j M H:i"),
                    "text": outage.error_text,
                },
                messages.WARNING,
            )
        response = super().changelist_view(request, extra_context)
        context = getattr(response, "context_data", None)
        if context and "cl" in context:
            context["older"] = long_list.older(request, context["cl"])
        return response

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        message = self.get_object(request, str(object_id))
        if message is None or not self.has_retry_permission(request) or not _can_be_taken_up(message):
            return []
        return super().get_actions_detail(request, object_id)

    @action(description=_("Send again…"), url_path="take-up-form", icon="replay")
    def take_up_action(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return to_page("communications_message_take_up", object_id)

    def take_up_view(self, request: HttpRequest, message_id: Any) -> HttpResponse:
        """Send one message again, to a corrected address where the first was wrong, or say that nothing more is to be done."""
        if not self.has_retry_permission(request):
            raise PermissionDenied
        message = get_object_or_404(Message, pk=message_id)
        is_again = request.POST.get("how") != "close"
        again = TakeUpForm(request.POST if request.method == "POST" and is_again else None, message=message)
        closing = ReasonForm(
            request.POST if request.method == "POST" and not is_again else None, auto_id="closing_%s"
        )
        form = again if is_again else closing
        if request.method == "POST" and form.is_valid():
            reason = form.cleaned_data["reason"]
            try:
                if is_again:
                    outbox.retry(message, by=request.user, reason=reason, to=form.cleaned_data["to"])
                    self.message_user(request, _("It is on its way again."), messages.SUCCESS)
                else:
                    outbox.attend(message, by=request.user, reason=reason)
                    self.message_user(request, _("It is off the list."), messages.SUCCESS)
                return HttpResponseRedirect(reverse("admin:communications_message_change", args=[message.pk]))
            except DomainError as error:
                form.add_error(
                    "to" if is_again and getattr(error, "field", "") == "to" else None, str(error.message)
                )
        context = {
            **self.admin_site.each_context(request),
            "title": _("Send again"),
            "opts": self.opts,
            "original": message,
            "told": stories.story_of(message),
            "again": again,
            "closing": closing,
            "is_open": _can_be_taken_up(message),
            "can_close": outbox.needs_person().filter(pk=message.pk).exists(),
            "page": reverse("admin:communications_message_change", args=[message.pk]),
        }
        return TemplateResponse(request, "communications/admin/take_up.html", context)

    @admin.action(description=_("Send again…"), permissions=["retry"])
    def send_again(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        return self._many(request, queryset, action="send_again", do=outbox.retry)

    @admin.action(description=_("Nothing more to do…"), permissions=["retry"])
    def nothing_more(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        return self._many(request, queryset, action="nothing_more", do=outbox.attend)

    def _many(self, request: HttpRequest, queryset: Any, *, action: str, do: Any) -> HttpResponse | None:
        """Ask for the reason, then do it to each message by itself and say what did not work."""
        count = queryset.count()
        if count > MOST_AT_ONCE:
            text = _("Choose at most %(most)d messages at a time.") % {"most": MOST_AT_ONCE}
            self.message_user(request, text, messages.WARNING)
            return None
        form = ReasonForm(request.POST if "confirmed" in request.POST else None)
        if not form.is_bound or not form.is_valid():
            context = {
                **self.admin_site.each_context(request),
                "title": _("Send again") if action == "send_again" else _("Nothing more to do"),
                "opts": self.opts,
                "chosen": queryset,
                "count": count,
                "form": form,
                "action": action,
                "select_across": request.POST.get("select_across", "0"),
                "checkbox": ACTION_CHECKBOX_NAME,
            }
            return TemplateResponse(request, "communications/admin/take_up_many.html", context)
        done, refused = 0, []
        for message in queryset:
            try:
                do(message, by=request.user, reason=form.cleaned_data["reason"])
                done += 1
            except DomainError as error:
                refused.append(f"{message}: {error.message}")
        for text in refused[:10]:
            self.message_user(request, text, messages.WARNING)
        if len(refused) > 10:
            text = _("And %(count)d more could not.") % {"count": len(refused) - 10}
            self.message_user(request, text, messages.WARNING)
        if done and action == "send_again":
            self.message_user(request, _("%(count)d queued again.") % {"count": done}, messages.SUCCESS)
        elif done:
            self.message_user(request, _("%(count)d are off the list.") % {"count": done}, messages.SUCCESS)
        return None


def _can_be_taken_up(message: Message) -> bool:
    return message.status in outbox.RETRIABLE


def _link(message: Message | None) -> str:
    if message is None:
        return "-"
    page = reverse("admin:communications_message_change", args=[message.pk])
    return format_html(
        '<a href="{}">{} → {} ({})</a>',
        page,
        message.get_channel_display(),
        message.to,
        message.get_status_display(),
    )


def _without_customers_links(message: Message, text: str) -> str:
    """Take out the links that open the booking as its customer: whoever may read messages may not act for others."""
    for variable in KINDS[message.kind].variables:
        link = message.variables.get(variable.name)
        if variable.acts_for_customer and link:
            text = text.replace(html_escape(link), rendering.HIDDEN).replace(link, rendering.HIDDEN)
    return text


def _framed(html: str) -> str:
    return format_html(
        '<iframe sandbox srcdoc="{}" title="{}" style="width:100%;height:640px;border:1px solid #ccc;background:#fff">'
        "</iframe>",
        html,
        _("The e-mail as the customer sees it"),
    )
