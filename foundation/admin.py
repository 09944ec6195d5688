"""What every staff door shares: audited changes, the database's refusals as form errors, read-only records."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import DataError, IntegrityError, models
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import formats
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from procrastinate.contrib.django import admin as procrastinate_admin
from procrastinate.contrib.django.models import ProcrastinateJob
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.mixins import BaseModelAdminMixin

from foundation import audit
from foundation.errors import DomainError
from foundation.models import AuditEntry
from foundation.money import Money
from foundation.text import is_storable

logger = logging.getLogger(__name__)


def local_and_utc(instant: datetime | None, zone: ZoneInfo, *, clock: str = "H:i") -> SafeString:
    """Show an instant in the airport's time first, and in UTC as the small print. `clock` is Django's format of the time."""
    if instant is None:
        return format_html("<span>{}</span>", "-")
    local = instant.astimezone(zone)
    return format_html(
        '<time class="ops-time" datetime="{}"><b>{} <span>{}</span></b><small>{} UTC</small></time>',
        instant.isoformat(),
        formats.date_format(local, f"D j M Y {clock}"),
        local.tzname() or str(zone),
        formats.date_format(instant.astimezone(ZoneInfo("UTC")), f"j M {clock}"),
    )


def local_in_list(instant: datetime | None, zone: ZoneInfo) -> SafeString:
    """Show an instant in the airport's time on two short lines, for lists; UTC is in the tooltip."""
    if instant is None:
        return format_html("<span>{}</span>", "-")
    local = instant.astimezone(zone)
    return format_html(
        '<time class="ops-time" datetime="{}" title="{} UTC"><b>{}</b><small>{} {}</small></time>',
        instant.isoformat(),
        formats.date_format(instant.astimezone(ZoneInfo("UTC")), "j M Y H:i"),
        formats.date_format(local, "D j M Y"),
        formats.date_format(local, "H:i"),
        local.tzname() or str(zone),
    )


def short_reference(reference: str) -> SafeString:
    """Show a provider's long reference by its ends, for lists; the whole is in the tooltip."""
    short = reference if len(reference) <= 18 else f"{reference[:8]}…{reference[-6:]}"
    return format_html('<span class="ops-mono" title="{}">{}</span>', reference, short or "-")


def money(amount_minor: int | None, currency: str) -> SafeString:
    """Show an amount in tabular numerals; nothing for no amount."""
    if amount_minor is None or not currency:
        return format_html("<span>{}</span>", "-")
    return format_html('<span class="ops-money">{}</span>', str(Money(amount_minor, currency)))


def subject_of(row: models.Model) -> str:
    """Name a row in the audit log: its kind and its reference, or its key where it has no reference."""
    return f"{row._meta.model_name}:{getattr(row, 'reference', None) or row.pk}"[:120]


class SteadyList:
    """A list whose address somebody bent (a year 99999999999, an unfinished pattern) starts anew instead of failing."""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        title = capfirst(self.model._meta.verbose_name_plural)  # type: ignore[attr-defined]  # ModelAdmin's
        try:
            response = super().changelist_view(request, {"title": title, **(extra_context or {})})  # type: ignore[misc]
            return response.render() if hasattr(response, "render") else response
        except (DataError, ValueError, OverflowError):
            if request.method != "GET" or not request.GET:
                raise
            logger.warning("A staff list was asked for with %s", list(request.GET), exc_info=True)
            messages.warning(request, _("That filter cannot be used. Here is the whole list."))
            return HttpResponseRedirect(request.path)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Refuse who may not look before looking: Django's own page tells such a person whether the row exists."""
        if not self.has_view_or_change_permission(request):  # type: ignore[attr-defined]  # ModelAdmin's
            raise PermissionDenied
        return super().history_view(request, object_id, extra_context)  # type: ignore[misc]


class AuditedAdmin(SteadyList, ModelAdmin):
    """A staff form whose changes are in the audit log and whose refusals by the database are shown on the form.

    The database has the last word (capacity under what is sold, overlapping names, illegal states). What it refuses comes
    back as an error above the form with everything still typed in, never as a server error.
    """

    compressed_fields = True
    warn_unsaved_form = True
    #: constraint name in the database -> what to tell the person.
    refusals: dict[str, Any] = {}

    def refusal(self, error: Exception) -> str:
        """Say in plain words why the database or a service refused, and what to do."""
        if isinstance(error, DomainError):
            return str(error.message)
        diagnosis = getattr(error.__cause__, "diag", None)
        known = self.refusals.get(getattr(diagnosis, "constraint_name", None) or "")
        if known:
            return str(known)
        reason = getattr(diagnosis, "message_primary", None) or str(error).splitlines()[0]
        return gettext("The database refused this change and kept everything as it was: %(reason)s") % {
            "reason": reason
        }

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except (IntegrityError, DataError, DomainError) as error:
            if request.method != "POST":
                raise
            request.refused_because = self.refusal(error)  # type: ignore[attr-defined]
        # The transaction is rolled back. Show the form again: get_form() below makes it invalid with the reason.
        return super().changeform_view(request, object_id, form_url, extra_context)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        reason = getattr(request, "refused_because", None)
        if reason is None:
            return form
        refusal = ValidationError(reason, code="refused")

        class RefusedForm(form):  # type: ignore[misc, valid-type]
            def clean(self) -> Any:
                cleaned = super().clean()
                self.add_error(None, refusal)
                return cleaned

        return RefusedForm

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> Any:
        try:
            return super().delete_view(request, object_id, extra_context)
        except (IntegrityError, DomainError) as error:
            self.message_user(request, self.refusal(error), level="ERROR")
            return self.response_post_save_change(request, None)

    def get_actions(self, request: HttpRequest) -> Any:
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)  # one at a time, each with its own confirmation and audit entry
        return actions

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any, add: bool = False
    ) -> Any:
        values = _changes(form)
        for formset in formsets or []:
            for row in formset.forms:
                if row.has_changed() and hasattr(row, "cleaned_data"):
                    name = f"{row.instance._meta.model_name}:{row.instance.pk or row.initial.get('id') or ''}"
                    values.update({f"{name}.{field}": change for field, change in _changes(row).items()})
        request.changed_values = values  # type: ignore[attr-defined]
        return super().construct_change_message(request, form, formsets, add)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> LogEntry:
        self._audit(request, obj, "added", message)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> LogEntry:
        self._audit(request, obj, "changed", message)
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        for row in queryset:
            self._audit(request, row, "deleted", str(row))
        return super().log_deletions(request, queryset)

    def _audit(self, request: HttpRequest, obj: Any, verb: str, message: Any) -> None:
        audit.record(
            actor=request.user,
            action=f"{obj._meta.model_name}.{verb}",
            subject=subject_of(obj),
            data={"values": getattr(request, "changed_values", {}), "message": message},
        )


def _changes(form: Any) -> dict[str, list[Any]]:
    """Return {field: [before, after]} for what was changed, without passwords."""
    return {
        name: [_plain(form.initial.get(name)), _plain(form.cleaned_data.get(name))]
        for name in form.changed_data
        if "password" not in name
    }


def _plain(value: Any) -> Any:
    """Turn a form's value into something JSON can hold."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (list, tuple, set)):
        return [_plain(item) for item in value]
    return str(value)


class ReadOnlyAdmin(SteadyList, ModelAdmin):
    """A record that staff read and nobody edits; what may happen to it happens through a service."""

    compressed_fields = True
    actions: Any = None
    #: What an empty list says: how something gets here.
    empty_text: Any = ""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyInline(BaseModelAdminMixin):
    """Rows that belong to a record, shown and never edited."""

    extra = 0
    can_delete = False
    show_change_link = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReasonForm(forms.Form):
    """Why somebody does what cannot be undone."""

    reason = forms.CharField(
        label=_("Reason"),
        max_length=500,
        strip=True,
        widget=forms.Textarea(attrs={"rows": 3, "class": "ops-input"}),
        help_text=_("Kept in the audit log with your name."),
    )

    def clean_reason(self) -> str:
        reason = self.cleaned_data["reason"]
        if not is_storable(reason):
            raise ValidationError(_("The text holds a character that cannot be stored."), code="unstorable")
        return reason


def ask_why(
    model_admin: Any,
    request: HttpRequest,
    *,
    found: models.Model,
    title: Any,
    template: str,
    done: Any,
    act: Callable[[str], Any],
    **more: Any,
) -> HttpResponse:
    """The page that says what a deed means, asks why, and does it once: `act(reason)`, then back to the row with the words `done`."""
    form = ReasonForm(request.POST if request.method == "POST" else None)
    opts = model_admin.opts
    page = reverse(f"admin:{opts.app_label}_{opts.model_name}_change", args=[found.pk])
    if request.method == "POST" and form.is_valid():
        act(form.cleaned_data["reason"])
        model_admin.message_user(request, done, messages.SUCCESS)
        return HttpResponseRedirect(page)
    context = {
        **model_admin.admin_site.each_context(request),
        "title": title,
        "opts": opts,
        "media": model_admin.media,
        "found": found,
        "page": page,
        "form": form,
        **more,
    }
    return TemplateResponse(request, template, context, status=400 if form.is_bound else 200)


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    list_display = ["at", "actor", "action", "subject", "short_reason"]
    list_filter = ["action", "at"]
    list_select_related = ["actor"]
    list_fullwidth = True
    search_fields = ["subject", "action", "actor__email", "reason", "request_id"]
    search_help_text = _("Subject such as booking:AP-7F3K2Q, action, e-mail, reason or request id")
    date_hierarchy = "at"
    list_filter_submit = False
    fields = ["at", "actor", "action", "subject", "reason", "data", "request_id"]
    show_full_result_count = False

    @display(description=_("reason"))
    def short_reason(self, entry: AuditEntry) -> str:
        return entry.reason if len(entry.reason) <= 80 else entry.reason[:79] + "…"


# The library's page lets whoever may view jobs also cancel and retry them. It registers itself on import: import, then replace.
admin.site.unregister(procrastinate_admin.models.ProcrastinateJob)


@admin.register(ProcrastinateJob)
class JobAdmin(ReadOnlyAdmin):
    list_display = ["id", "task_name", "status", "queue_name", "scheduled_at", "attempts"]
    list_filter = ["status", "queue_name"]
    search_fields = ["task_name"]
    list_fullwidth = True
    show_full_result_count = False
    fields = ["task_name", "status", "queue_name", "args", "queueing_lock", "scheduled_at", "attempts"]


from foundation import admin_choices  # noqa: E402, F401 - registers itself; it needs the classes above
