"""Campaigns: written, counted, scheduled; then watched, paused, stopped, and read."""

from __future__ import annotations

import csv
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from communications import rendering
from communications.admin.chart import draw
from communications.campaigns import audience as seam
from communications.campaigns import people, results, steps, words
from communications.campaigns.alerts import status_of
from communications.catalogue import EMAIL, KINDS
from communications.models import Campaign, CampaignStatus, Recipient
from communications.models.channel import Channel
from communications.services.wording import Draft, SavedMeanwhile
from foundation import audit
from foundation.admin import AuditedAdmin, ReadOnlyAdmin, ReasonForm, local_and_utc
from foundation.errors import DomainError
from foundation.text import is_storable, one_line

RUN = "communications.run_campaign"
COLOURS = {
    "draft": "", "scheduled": "info", "preparing": "info", "sending": "info", "paused": "warning", "stopped": "danger",
    "finished": "success",
}  # fmt: skip
PARTS = (
    "airports", "stay_from", "stay_to", "languages", "spend_currency", "spend_minimum", "last_booking_after", "last_booking_before",
)  # fmt: skip
STATE_WORDS = {
    "queued": _("waiting"), "sending": _("being sent"), "sent": _("taken by the provider"), "delivered": _("delivered"),
    "maybe_sent": _("may have been sent"), "bounced": _("bounced"), "failed": _("failed"),
    "suppressed": _("not sent on purpose"), "skipped": _("left out"),
}  # fmt: skip


def _day(label: Any) -> forms.CharField:
    return forms.CharField(
        label=label, required=False, max_length=10, widget=UnfoldAdminTextInputWidget(attrs={"type": "date"})
    )


class CampaignForm(forms.ModelForm):
    """A draft: its channels, audience, code and pace."""

    airports = forms.MultipleChoiceField(
        label=_("Parked, or will park, at"),
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text=_("None: any airport."),
    )
    stay_from = _day(_("With a stay from"))
    stay_to = _day(_("to"))
    languages = forms.MultipleChoiceField(
        label=_("Language"),
        required=False,
        choices=settings.MESSAGE_LANGUAGES,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text=_("Of their newest booking. None: any."),
    )
    spend_currency = forms.ChoiceField(label=_("Currency"), required=False, widget=UnfoldAdminSelectWidget)
    spend_minimum = forms.CharField(
        label=_("Spent at least"),
        required=False,
        max_length=20,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal"}),
        help_text=_("What we hold of their money in this currency, such as 100.00."),
    )
    last_booking_after = _day(_("Booked last on or after"))
    last_booking_before = _day(_("and on or before"))
    promo_percent = forms.CharField(
        label=_("Make this code new, percent off"),
        required=False,
        max_length=6,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal"}),
        help_text=_(
            "Empty: the code exists already. A new one works once per customer; more under Promo codes."
        ),
    )

    class Meta:
        model = Campaign
        fields = ["name", "by_email", "by_sms", "promo_code", "per_minute"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = seam.audience().choices()
        self.fields["airports"].choices = choices.airports  # type: ignore[attr-defined]
        self.fields["spend_currency"].choices = [("", "-"), *choices.currencies]  # type: ignore[attr-defined]
        for name in PARTS:
            self.fields[name].initial = (self.instance.audience or {}).get(name)
            self.initial[name] = self.fields[name].initial

    def clean(self) -> Any:
        cleaned: dict[str, Any] = super().clean() or {}
        if not cleaned.get("by_email") and not cleaned.get("by_sms"):
            self.add_error("by_email", _("Choose at least one channel."))
        pace = cleaned.get("per_minute")
        if pace is not None and not 1 <= pace <= 60_000:
            self.add_error("per_minute", _("Enter a number from 1 to 60,000."))
        definition = {name: cleaned[name] for name in PARTS if cleaned.get(name)}
        try:
            self.instance.audience = seam.audience().check(definition)
        except ValidationError as error:
            self.add_error(None, error)
        code, percent = (str(cleaned.get(name) or "").strip() for name in ("promo_code", "promo_percent"))
        if percent and not code:
            self.add_error("promo_code", _("Enter the new code."))
        elif code and not percent:
            try:
                cleaned["promo_code"] = seam.promo_codes().link(code)
            except ValidationError as error:
                self.add_error(None, error)
        return cleaned


class WordsForm(forms.Form):
    subject = forms.CharField(label=_("Subject"), max_length=200, required=False)
    heading = forms.CharField(label=_("Heading"), max_length=200, required=False)
    body = forms.CharField(label=_("Text"), max_length=8000, widget=forms.Textarea(attrs={"rows": 12}))
    button_label = forms.CharField(label=_("Button"), max_length=60, required=False)
    button_variable = forms.ChoiceField(label=_("Button opens"), required=False)

    def __init__(self, *args: Any, channel: str, kind: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        urls = [
            (variable.name, variable.description)
            for variable in KINDS[kind].by_name.values()
            if variable.is_url
        ]
        self.fields["button_variable"].choices = [("", "-"), *urls]  # type: ignore[attr-defined]
        if channel != EMAIL:
            for name in ("subject", "heading", "button_label", "button_variable"):
                del self.fields[name]
        _dress(self)

    @property
    def draft(self) -> Draft:
        return Draft(**{name: str(value).replace("\r\n", "\n") for name, value in self.cleaned_data.items()})


class ScheduleForm(forms.Form):
    when = forms.ChoiceField(
        label=_("When"),
        choices=[("now", _("Now")), ("later", _("At"))],
        initial="later",
        widget=forms.RadioSelect,
    )
    start_local = forms.CharField(
        label=_("Day and time"),
        required=False,
        max_length=25,
        widget=forms.TextInput(attrs={"type": "datetime-local"}),
    )
    reading = forms.ChoiceField(
        label=_("The clock shows this time twice"),
        required=False,
        choices=[("0", _("the first")), ("1", _("the second"))],
    )

    def __init__(self, *args: Any, zone: ZoneInfo, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.zone, self.is_twice = zone, False
        _dress(self)

    def clean(self) -> Any:
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("when") == "now":
            cleaned["start_at"] = timezone.now()
            return cleaned
        try:
            naive = datetime.fromisoformat(cleaned.get("start_local") or "")
            if naive.tzinfo is not None or naive.year < 2000:
                raise ValueError
        except ValueError:
            self.add_error("start_local", _("Enter a day and a time."))
            return cleaned
        first, second = (naive.replace(tzinfo=self.zone, fold=fold) for fold in (0, 1))
        if first.astimezone(UTC).astimezone(self.zone).replace(tzinfo=None) != naive:
            self.add_error("start_local", _("The clock skips this time that night. Choose another one."))
        elif first.utcoffset() != second.utcoffset() and not self.data.get("reading"):
            self.is_twice = True
            self.add_error(
                "start_local", _("The clock shows this time twice that night. Say which one is meant.")
            )
        cleaned["start_at"] = (second if cleaned.get("reading") == "1" else first).astimezone(UTC)
        return cleaned


def _dress(form: forms.Form) -> None:
    for name, field in form.fields.items():
        if not isinstance(field.widget, forms.RadioSelect):
            field.widget.attrs["class"] = "ops-input"
        if form.is_bound and form.errors.get(name):
            field.widget.attrs |= {"aria-invalid": "true", "aria-describedby": f"id_{name}_error"}


@admin.register(Campaign)
class CampaignAdmin(AuditedAdmin):
    form = CampaignForm
    list_display = ["title", "status_badge", "channels_text", "starts", "people_text", "promo_text"]
    list_display_links: Any = None
    list_filter = ["status", "created_at"]
    search_fields = ["name", "promo_code"]
    list_fullwidth = True
    fieldsets = [
        (None, {"fields": ["name", ("by_email", "by_sms"), "per_minute"]}),
        (
            _("Who gets it"),
            {
                "fields": [
                    "airports",
                    ("stay_from", "stay_to"),
                    "languages",
                    ("spend_minimum", "spend_currency"),
                    ("last_booking_after", "last_booking_before"),
                ],
                "description": _(
                    "All conditions hold together; what is empty does not count. Whoever did not agree to offers is left out in any case."
                ),
            },
        ),
        (_("Promo code"), {"fields": [("promo_code", "promo_percent")]}),
    ]

    # --- Who may do what -----------------------------------------------------------------------------------------

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        may = super().has_change_permission(request, obj)
        return may and (obj is None or obj.status == CampaignStatus.DRAFT)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return (
            super().has_delete_permission(request, obj)
            and obj is not None
            and obj.status == CampaignStatus.DRAFT
        )

    def get_urls(self) -> list[Any]:
        def own(route: str, view: Any, name: str) -> Any:
            return path(route, self.admin_site.admin_view(view), name=f"communications_campaign_{name}")

        return [
            own("<int:pk>/page/", self.page_view, "page"),
            own("<int:pk>/words/<slug:channel>/<slug:language>/", self.words_view, "words"),
            own("<int:pk>/schedule/", self.schedule_view, "schedule"),
            own("<int:pk>/<slug:step>/confirm/", self.step_view, "step"),
            own("<int:pk>/results.csv", self.export_view, "export"),
            *super().get_urls(),
        ]

    def _found(self, request: HttpRequest, pk: int) -> Campaign:
        if not self.has_view_permission(request):
            raise PermissionDenied
        campaign = Campaign.objects.filter(pk=pk).first() if pk < 2**63 else None
        if campaign is None:
            raise Http404
        return campaign

    def _demand_run(self, request: HttpRequest, campaign: Campaign, attempted: str) -> None:
        if not request.user.has_perm(RUN):
            audit.record(
                actor=request.user,
                action=f"campaign.{attempted}.denied",
                subject=f"campaign:{campaign.pk}",
                data={"needs": RUN},
            )
            raise PermissionDenied

    # --- The draft -----------------------------------------------------------------------------------------------

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        campaign = self.get_object(request, object_id)
        if campaign is not None and campaign.status != CampaignStatus.DRAFT:
            return HttpResponseRedirect(page_of(campaign))
        return super().change_view(request, object_id, form_url, extra_context)

    def save_model(self, request: HttpRequest, obj: Campaign, form: Any, change: bool) -> None:
        percent = (form.cleaned_data.get("promo_percent") or "").strip()
        if percent:
            try:
                obj.promo_code = seam.promo_codes().create(
                    code=form.cleaned_data["promo_code"],
                    name=obj.name,
                    percent=percent,
                    valid_until=None,
                    by=request.user,
                )
            except ValidationError as error:
                raise DomainError("; ".join(error.messages)) from None
        if not change:
            obj.created_by_id, obj.timezone = request.user.pk, settings.HOME_TIMEZONE
        super().save_model(request, obj, form, change)

    def response_add(
        self, request: HttpRequest, obj: Campaign, post_url_continue: Any = None
    ) -> HttpResponse:
        return HttpResponseRedirect(page_of(obj))

    def response_change(self, request: HttpRequest, obj: Campaign) -> HttpResponse:
        return HttpResponseRedirect(page_of(obj))

    # --- Pages ---------------------------------------------------------------------------------------------------

    def page_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """One campaign: what is left to do, or what became of it."""
        campaign = self._found(request, pk)
        found = results.results_of(campaign) if campaign.started_at else None
        labels = {
            "sent": _("taken by the provider"), "delivered": _("delivered"), "trouble": _("bounced or failed"),
            "opted_out": _("opted out"), "bookings": _("bookings with the code"),
        }  # fmt: skip
        names = [name for name in results.LINES if name != "bookings" or campaign.promo_code]
        chart = (
            draw(
                found.moments, [(name, labels[name], found.lines[name]) for name in names], zone=campaign.zone
            )
            if found
            else None
        )
        written = words.newest(campaign.key)
        languages = [
            {
                "channel": channel,
                "label": Channel(channel).label,
                "language": language,
                "name": name,
                "words": written.get((channel, language)),
                "url": reverse("admin:communications_campaign_words", args=[campaign.pk, channel, language]),
            }
            for channel in campaign.channels
            for language, name in settings.MESSAGE_LANGUAGES
        ]
        is_running = campaign.status in (CampaignStatus.PREPARING, CampaignStatus.SENDING)
        context = {
            "badge": self.status_badge(campaign),
            "audience": seam.audience().describe(campaign.audience),
            "languages": languages,
            "missing": words.missing(campaign),
            "results": found,
            "rows": [(STATE_WORDS[state], counts) for state, counts in found.rows] if found else [],
            "columns": [Channel(channel).label for channel in found.states] if found else [],
            "chart": chart,
            "starts": local_and_utc(campaign.start_at, campaign.zone),
            "ended": local_and_utc(campaign.finished_at, campaign.zone),
            "can_run": request.user.has_perm(RUN),
            "recipients_url": f"{reverse('admin:communications_recipient_changelist')}?campaign__id__exact={campaign.pk}"
            if request.user.has_perm("communications.view_recipient")
            else "",
            "can_edit": self.has_change_permission(request, campaign),
            "is_running": is_running,
            "steps": _steps(campaign) if request.user.has_perm(RUN) else [],
        }
        template = "admin/communications/campaign.html"
        if request.headers.get("HX-Request"):
            template = "admin/communications/_campaign_results.html"
        answer = self._render(request, template, campaign, **context)
        if request.GET.get("was", campaign.status) != campaign.status:  # the buttons are others now
            answer["HX-Refresh"] = "true"
        return answer

    def words_view(self, request: HttpRequest, pk: int, channel: str, language: str) -> HttpResponse:
        """Write the words of one channel in one language, with a preview and a test."""
        campaign = self._found(request, pk)
        if channel not in campaign.channels or language not in dict(settings.MESSAGE_LANGUAGES):
            raise Http404
        can_edit = self.has_change_permission(request, campaign)
        current = words.newest(campaign.key).get((channel, language))
        begun = current or words.beginning(campaign.kind, channel, language)
        fields = ("subject", "heading", "body", "button_label", "button_variable")
        form = WordsForm(
            request.POST if request.method == "POST" and "test" not in request.POST else None,
            initial={name: getattr(begun, name) for name in fields},
            channel=channel,
            kind=campaign.kind,
        )
        draft: Any = begun
        if request.method == "POST":
            if not can_edit and super().has_change_permission(request):
                told = _(
                    "It was scheduled meanwhile, so its words are fixed. Take it off the schedule to change them."
                )
                self.message_user(request, told, messages.ERROR)
                return HttpResponseRedirect(page_of(campaign))
            if not can_edit:
                raise PermissionDenied
            if "test" in request.POST:
                return self._test(request, campaign, channel, language, current)
            if form.is_valid():
                try:
                    based_on = request.POST.get("based_on", "")
                    words.save_words(
                        campaign,
                        channel=channel,
                        language=language,
                        draft=form.draft,
                        by=request.user,
                        based_on=int(based_on) if based_on.isdecimal() and len(based_on) < 9 else None,
                    )
                except SavedMeanwhile as error:
                    form.add_error(None, str(error.message))
                    current = words.newest(campaign.key).get((channel, language))
                except ValidationError as error:
                    for name, texts in error.message_dict.items():
                        form.add_error(name if name in form.fields else None, texts)
                    _dress(form)
                else:
                    self.message_user(request, _("Saved."), messages.SUCCESS)
                    return HttpResponseRedirect(request.path)
        shown = words.shown(
            draft, kind=campaign.kind, channel=channel, language=language, values=_code(campaign)
        )
        return self._render(
            request,
            "admin/communications/campaign_words.html",
            campaign,
            status=422 if form.is_bound else 200,
            form=form,
            channel=channel,
            channel_name=Channel(channel).label,
            language_name=dict(settings.MESSAGE_LANGUAGES)[language],
            current=current,
            token=uuid.uuid4(),
            can_edit=can_edit,
            shown=shown,
            segments=rendering.sms_segments(shown.text),
            length=len(shown.text),
            placeholders=KINDS[campaign.kind].by_name.values(),
        )

    def _test(
        self, request: HttpRequest, campaign: Campaign, channel: str, language: str, current: Any
    ) -> HttpResponse:
        to = request.POST.get("send_to", "").strip()
        if current is None:
            self.message_user(request, _("Save the words first."), messages.ERROR)
        elif not is_storable(to):
            self.message_user(request, _("Enter where to send the test."), messages.ERROR)
        else:
            try:
                is_new = words.send_test(
                    campaign,
                    channel=channel,
                    language=language,
                    to=to,
                    by=request.user,
                    now=timezone.now(),
                    token=one_line(request.POST.get("token", "")),
                )
            except DomainError as error:
                self.message_user(request, str(error.message), messages.ERROR)
            else:
                told = _("The test is on its way.") if is_new else _("This test was sent already.")
                self.message_user(request, told, messages.SUCCESS if is_new else messages.WARNING)
        return HttpResponseRedirect(request.path)

    def schedule_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Count who would get it and who not, show some of them, and fix the time."""
        campaign = self._found(request, pk)
        self._demand_run(request, campaign, "schedule")
        if campaign.status != CampaignStatus.DRAFT:
            return HttpResponseRedirect(page_of(campaign))
        form = ScheduleForm(request.POST if request.method == "POST" else None, zone=campaign.zone)
        counts = people.count_audience(campaign)
        for count in counts:
            count.label = Channel(count.channel).label  # type: ignore[attr-defined]
            count.people = [  # type: ignore[attr-defined]
                (member.name, people.masked(member.address, count.channel), member.language)
                for member in count.sample
            ]
        total = sum(count.reached for count in counts)
        if form.is_bound and form.is_valid() and not total:
            form.add_error(
                None, _("It would reach nobody. Widen the audience, or wait until people agree to offers.")
            )
        elif form.is_bound and form.is_valid():
            try:
                steps.schedule(
                    campaign, start_at=form.cleaned_data["start_at"], by=request.user, now=timezone.now()
                )
            except DomainError as error:
                form.add_error(None, str(error.message))
            except ValidationError as error:
                form.add_error(None, error.messages)
            else:
                self.message_user(
                    request, _("Scheduled. From now on words and audience are fixed."), messages.SUCCESS
                )
                return HttpResponseRedirect(page_of(campaign))
        slowest = max((count.reached for count in counts), default=0)
        return self._render(
            request,
            "admin/communications/campaign_schedule.html",
            campaign,
            status=422 if form.is_bound else 200,
            form=form,
            counts=counts,
            audience=seam.audience().describe(campaign.audience),
            missing=words.missing(campaign),
            total=total,
            minutes=-(-total // campaign.per_minute) if slowest else 0,
        )

    def step_view(self, request: HttpRequest, pk: int, step: str) -> HttpResponse:
        """Ask for the reason, then pause, resume, stop or take it off the schedule. A second press finds it done."""
        campaign = self._found(request, pk)
        if step not in STEPS:
            raise Http404
        self._demand_run(request, campaign, step)
        form = ReasonForm(request.POST if request.method == "POST" else None)
        form.fields["reason"].widget.attrs["class"] = "ops-input"
        if form.is_bound and form.is_valid():
            reason = form.cleaned_data["reason"]
            try:
                match step:
                    case "pause":
                        steps.pause(campaign, reason=reason, by=request.user)
                    case "resume":
                        steps.resume(campaign, reason=reason, by=request.user)
                    case "stop":
                        steps.stop(campaign, reason=reason, by=request.user, now=timezone.now())
                    case _:
                        steps.unschedule(campaign, by=request.user)
            except DomainError as error:
                self.message_user(request, str(error.message), messages.ERROR)
            else:
                self.message_user(request, STEPS[step][2], messages.SUCCESS)
            return HttpResponseRedirect(page_of(campaign))
        return self._render(
            request,
            "admin/communications/campaign_step.html",
            campaign,
            status=422 if form.is_bound else 200,
            form=form,
            step=step,
            label=STEPS[step][0],
            promise=STEPS[step][1],
        )

    def export_view(self, request: HttpRequest, pk: int) -> HttpResponse | StreamingHttpResponse:
        """Every recipient as CSV; who downloads addresses is in the audit log."""
        campaign = self._found(request, pk)
        self._demand_run(request, campaign, "export")
        audit.record(actor=request.user, action="campaign.exported", subject=f"campaign:{campaign.pk}")
        answer = StreamingHttpResponse(
            _csv(results.table_of(campaign)), content_type="text/csv; charset=utf-8"
        )
        answer["Content-Disposition"] = f'attachment; filename="campaign-{campaign.pk}.csv"'
        return answer

    def _render(
        self, request: HttpRequest, template: str, campaign: Campaign, *, status: int = 200, **more: Any
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": campaign.name,
            "campaign": campaign,
            "page": page_of(campaign),
            "media": self.media,
            **more,
        }
        return TemplateResponse(request, template, context, status=status)

    # --- The list ------------------------------------------------------------------------------------------------

    @display(description=_("name"), ordering="name")
    def title(self, campaign: Campaign) -> SafeString:
        return format_html(
            '<a class="underline font-semibold" href="{}">{}</a>', page_of(campaign), campaign.name
        )

    @display(description=_("status"), ordering="status", label=COLOURS)
    def status_badge(self, campaign: Campaign) -> tuple[str, Any]:
        return campaign.status, campaign.get_status_display()

    @display(description=_("channels"))
    def channels_text(self, campaign: Campaign) -> str:
        return ", ".join(str(Channel(channel).label) for channel in campaign.channels)

    @display(description=_("starts"), ordering="start_at")
    def starts(self, campaign: Campaign) -> SafeString:
        return local_and_utc(campaign.start_at, campaign.zone)

    @display(description=_("recipients"))
    def people_text(self, campaign: Campaign) -> str:
        return f"{campaign.recipients.exclude(state='skipped').count():,}" if campaign.started_at else "-"

    @display(description=_("promo code"))
    def promo_text(self, campaign: Campaign) -> SafeString | str:
        return (
            format_html('<span class="ops-mono">{}</span>', campaign.promo_code)
            if campaign.promo_code
            else "-"
        )


@admin.register(Recipient)
class RecipientAdmin(ReadOnlyAdmin):
    """Each person of a campaign or alert, and where they stand. Reached from its results."""

    list_display = ["address", "channel", "name", "language", "state_badge", "why", "due_at"]
    list_filter = ["state", "channel", "campaign", "alert"]
    list_select_related = ["message", "campaign", "alert"]
    search_fields = ["address", "name", "reference"]
    list_fullwidth = True
    show_full_result_count = False
    fields = [
        "campaign",
        "alert",
        "channel",
        "address",
        "name",
        "language",
        "timezone",
        "reference",
        "state",
        "why",
        "due_at",
        "message",
    ]
    readonly_fields = ["why"]

    @display(
        description=_("state"),
        ordering="state",
        label={
            "queued": "info", "sending": "info", "sent": "info", "delivered": "success", "maybe_sent": "warning", "bounced": "danger",
            "failed": "danger", "suppressed": "warning", "skipped": "",
        },
    )  # fmt: skip
    def state_badge(self, recipient: Recipient) -> tuple[str, Any]:
        state = status_of(recipient.state, recipient.message.status if recipient.message else None)
        return state, STATE_WORDS[state]

    @display(description=_("why"))
    def why(self, recipient: Recipient) -> str:
        told = recipient.message.error_text if recipient.message else ""
        return told or (people.reason_text(recipient.reason) if recipient.reason else "-")


STEPS: dict[str, tuple[Any, Any, Any]] = {
    "pause": (_("Pause"), _("Nothing more leaves after the message that is being sent. You can resume it."), _("Paused.")),
    "resume": (_("Resume"), _("It goes on where it was paused. Nobody gets it twice."), _("It goes on.")),
    "stop": (_("Stop for good"), _("Whoever was not written to is left out. A stopped campaign cannot go on."), _("Stopped.")),
    "unschedule": (_("Back to draft"), _("It is not sent, and words and audience can be changed again."), _("It is a draft again.")),
}  # fmt: skip


def _steps(campaign: Campaign) -> list[tuple[str, Any]]:
    allowed = {
        CampaignStatus.SCHEDULED: ["unschedule", "stop"],
        CampaignStatus.PREPARING: ["pause", "stop"],
        CampaignStatus.SENDING: ["pause", "stop"],
        CampaignStatus.PAUSED: ["resume", "stop"],
    }.get(CampaignStatus(campaign.status), [])
    return [
        (reverse("admin:communications_campaign_step", args=[campaign.pk, step]), STEPS[step][0])
        for step in allowed
    ]


def page_of(campaign: Campaign) -> str:
    return reverse("admin:communications_campaign_page", args=[campaign.pk])


def _code(campaign: Campaign) -> dict[str, str]:
    if not campaign.promo_code:
        return {}
    return {
        "promo_code": campaign.promo_code,
        "offer_url": f"{settings.SITE_URL}/?code={campaign.promo_code}",
    }


class _Echo:
    """What csv writes is handed on at once."""

    def write(self, text: str) -> str:
        return text


def _csv(rows: Iterator[list[str]]) -> Iterator[str]:
    """Write rows as CSV. What a spreadsheet would read as a formula gets an apostrophe before it."""
    writer = csv.writer(_Echo())
    for row in rows:
        yield writer.writerow(
            [f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell for cell in row]
        )
