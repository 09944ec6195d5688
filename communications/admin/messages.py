"""The outbox with its delivery timelines."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import escape as html_escape
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import display

from communications import rendering
from communications.admin import long_list
from communications.campaigns.words import written_again
from communications.catalogue import EMAIL, KINDS
from communications.models import Message, MessageStatus
from communications.services import outbox
from foundation.errors import DomainError

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


@admin.register(Message)
class MessageAdmin(ModelAdmin):
    """Every message, read-only. The one thing to do with it is to send it again."""

    list_display = ["queued_at", "kind", "channel", "to", "reference", "status_label", "error_text"]
    list_filter = ["status", "channel", "kind", "queued_at"]
    search_fields = ["to"]  # see get_search_results
    search_help_text = _("Address, name, phone, booking, plate, or the provider's whole reference")
    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = long_list.CappedPaginator
    list_after_template = "communications/admin/older.html"
    actions = ["send_again"]
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
                    "status_label",
                    "error_code",
                    "error_text",
                ]
            },
        ),
        (_("Delivery"), {"fields": ["timeline", "provider", "provider_ref", "attempts", "due_at"]}),
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

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        response = super().changelist_view(request, extra_context)
        context = getattr(response, "context_data", None)
        if context and "cl" in context:
            context["older"] = long_list.older(request, context["cl"])
        return response

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
        steps: list[tuple[Any, str, str]] = [(message.queued_at, str(_("queued")), "")]
        if message.sent_at:
            steps.append((message.sent_at, str(_("taken by the provider")), message.provider))
        steps += [
            (event.occurred_at or event.received_at, event.kind, event.detail)
            for event in message.events.all()
        ]
        return format_html(
            "<ol>{}</ol>",
            format_html_join(
                "",
                "<li><time>{}</time> <strong>{}</strong> {}</li>",
                (
                    (at.strftime("%Y-%m-%d %H:%M:%S UTC"), what, detail)
                    for at, what, detail in sorted(steps, key=_moment)
                ),
            ),
        )

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

    @admin.action(description=_("Send again"), permissions=["retry"])
    def send_again(self, request: HttpRequest, queryset: Any) -> None:
        done = 0
        for message in queryset:
            try:
                outbox.retry(message, by=request.user)
                done += 1
            except DomainError as error:
                self.message_user(request, f"{message}: {error.message}", messages.WARNING)
        if done:
            self.message_user(request, _("%(count)d queued again.") % {"count": done}, messages.SUCCESS)


def _moment(step: tuple[Any, str, str]) -> Any:
    return step[0]


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
