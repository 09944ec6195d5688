"""Emergency alerts: written, looked at, confirmed twice, then watched."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from communications.admin.campaigns import STATE_WORDS
from communications.campaigns import alerts, results, words
from communications.campaigns import audience as seam
from communications.campaigns.people import masked, reason_text
from communications.catalogue import EMAIL, SMS
from communications.models import EmergencyAlert, OwnWords
from communications.models.channel import Channel
from communications.services.wording import Draft
from foundation import audit
from foundation.admin import ReadOnlyAdmin, ReasonForm, local_and_utc
from foundation.errors import DomainError

SHOWN_CARS = 200
WHO = [
    ("on_site", _("Cars on site now")),
    ("arriving", _("Cars that arrive in the period")),
    ("leaving", _("Cars that leave in the period")),
    ("all", _("Cars there at any time of the period")),
]


class AlertForm(forms.Form):
    """Whom, why, and what it says in each language; the first language must be written."""

    car_park = forms.ChoiceField(label=_("Car park"))
    who = forms.ChoiceField(label=_("Who"), choices=WHO, initial="on_site", widget=forms.RadioSelect)
    from_local = forms.CharField(
        label=_("From, at the car park"),
        required=False,
        max_length=25,
        widget=forms.TextInput(attrs={"type": "datetime-local"}),
    )
    to_local = forms.CharField(
        label=_("To, at the car park"),
        required=False,
        max_length=25,
        widget=forms.TextInput(attrs={"type": "datetime-local"}),
    )
    reason = forms.CharField(
        label=_("Reason"),
        max_length=500,
        help_text=_("For the audit log, not for customers."),
        widget=forms.Textarea(attrs={"rows": 2}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["car_park"].choices = [("", _("Choose")), *seam.alert_audience().car_parks()]  # type: ignore[attr-defined]
        for place, (language, _name) in enumerate(settings.MESSAGE_LANGUAGES):
            sms, mail = (words.beginning("emergency_alert", channel, language) for channel in (SMS, EMAIL))
            first = place == 0
            self._text(
                f"sms_{language}_body", _("SMS"), 800, sms.body if first else "", required=first, rows=3
            )
            self._text(
                f"email_{language}_subject",
                _("E-mail, subject"),
                200,
                mail.subject if first else "",
                required=first,
            )
            self._text(f"email_{language}_heading", _("E-mail, heading"), 200, mail.heading if first else "")
            self._text(
                f"email_{language}_body",
                _("E-mail, text"),
                8000,
                mail.body if first else "",
                required=first,
                rows=8,
            )
        for name, field in self.fields.items():
            if not isinstance(field.widget, forms.RadioSelect):
                field.widget.attrs["class"] = "ops-input"
            if self.is_bound and self.errors.get(name):
                field.widget.attrs |= {"aria-invalid": "true", "aria-describedby": f"id_{name}_error"}

    def _text(
        self, name: str, label: Any, longest: int, begin: str, *, required: bool = False, rows: int = 0
    ) -> None:
        widget: Any = forms.Textarea(attrs={"rows": rows}) if rows else forms.TextInput()
        self.fields[name] = forms.CharField(
            label=label, max_length=longest, required=required, initial=begin, widget=widget
        )

    def languages(self) -> list[tuple[str, list[Any]]]:
        """The text fields by language."""
        return [
            (
                str(name),
                [
                    self[field]
                    for field in self.fields
                    if field.split("_")[1:2] == [language] and field.startswith(("sms_", "email_"))
                ],
            )
            for language, name in settings.MESSAGE_LANGUAGES
        ]

    def texts(self) -> alerts.Texts:
        given, found = self.cleaned_data, {}
        for language, _name in settings.MESSAGE_LANGUAGES:
            tidy = {
                name: str(given.get(f"email_{language}_{name}") or "").replace("\r\n", "\n")
                for name in ("subject", "heading", "body")
            }
            if tidy["body"].strip() or tidy["subject"].strip():
                found[EMAIL, language] = Draft(**tidy)
            if body := str(given.get(f"sms_{language}_body") or "").replace("\r\n", "\n"):
                found[SMS, language] = Draft(body=body)
        return found

    def definition(self) -> dict[str, Any]:
        given = self.cleaned_data
        return {
            "car_park": given["car_park"],
            "who": given["who"],
            "from": given["from_local"],
            "to": given["to_local"],
        }


@admin.register(EmergencyAlert)
class EmergencyAlertAdmin(ReadOnlyAdmin):
    list_display = ["title", "status_badge", "audience_text", "reached", "created_by", "confirmed_at"]
    list_display_links: Any = None
    list_filter = ["status", "created_at"]
    search_fields = ["place", "reason"]
    list_fullwidth = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(alerts.PERMISSION)

    def get_urls(self) -> list[Any]:
        own = [
            path(
                "<int:pk>/page/",
                self.admin_site.admin_view(self.page_view),
                name="communications_emergencyalert_page",
            ),
            path(
                "<int:pk>/resend/",
                self.admin_site.admin_view(self.resend_view),
                name="communications_emergencyalert_resend",
            ),
        ]
        return [*own, *super().get_urls()]

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Write, look, confirm, confirm again: one address, and what was shown travels in a signed token."""
        self._demand(request, "send")
        match request.POST.get("step") if request.method == "POST" else None:
            case "look":
                return self._look(request)
            case "again" | "send" as step:
                return self._confirm(request, step)
        return self._compose(request, AlertForm())

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        alert = self.get_object(request, object_id)
        if alert is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        return HttpResponseRedirect(page_of(alert))

    def _demand(self, request: HttpRequest, attempted: str) -> None:
        if not request.user.has_perm(alerts.PERMISSION):
            audit.record(
                actor=request.user,
                action=f"emergencyalert.{attempted}.denied",
                subject="emergencyalert",
                data={"needs": alerts.PERMISSION},
            )
            raise PermissionDenied

    def _compose(self, request: HttpRequest, form: AlertForm) -> HttpResponse:
        return self._render(
            request,
            "admin/communications/alert_compose.html",
            title=_("Emergency alert"),
            status=422 if form.is_bound else 200,
            form=form,
            placeholders=alerts.KIND.by_name.values(),
        )

    def _look(self, request: HttpRequest) -> HttpResponse:
        form = AlertForm(request.POST)
        if not form.is_valid():
            return self._compose(request, form)
        try:
            preview = alerts.preview(
                form.definition(),
                texts=form.texts(),
                reason=form.cleaned_data["reason"],
                by=request.user,
                now=timezone.now(),
            )
        except ValidationError as error:
            fields = {"from": "from_local", "to": "to_local"}
            for name, texts in error.message_dict.items():
                field = fields.get(name, name)
                form.add_error(field if field in form.fields else None, texts)
            return self._compose(request, form)
        return self._confirmation(request, preview)

    def _confirm(self, request: HttpRequest, step: str) -> HttpResponse:
        token = request.POST.get("token", "")
        now = timezone.now()
        try:
            if step == "send":
                try:
                    alert = alerts.confirm(
                        token, typed=request.POST.get("typed", ""), by=request.user, now=now
                    )
                except alerts.NotConfirmed as error:
                    preview = alerts.shown_by(token, by=request.user, now=now)
                    return self._confirmation(request, preview, final=True, error=str(error.message))
                self.message_user(request, _("The alert is on its way."), messages.SUCCESS)
                return HttpResponseRedirect(page_of(alert))
            preview = alerts.shown_by(token, by=request.user, now=now)
        except DomainError as error:
            self.message_user(request, str(error.message), messages.ERROR)
            return HttpResponseRedirect(request.path)
        return self._confirmation(request, preview, final=True)

    def _confirmation(
        self, request: HttpRequest, preview: alerts.AlertPreview, *, final: bool = False, error: str = ""
    ) -> HttpResponse:
        came, went = alerts.changed_since(preview.token, preview.owners, by=request.user, now=timezone.now())
        owners = [
            {
                "plate": owner.plate,
                "reference": owner.reference,
                "name": owner.name,
                "phone": masked(owner.phone, SMS) if owner.phone else "-",
                "email": masked(owner.email, EMAIL) if owner.email else "-",
            }
            for owner in preview.owners[:SHOWN_CARS]
        ]
        return self._render(
            request,
            "admin/communications/alert_confirm.html",
            title=_("Emergency alert"),
            status=422 if error else 200,
            preview=preview,
            final=final,
            error=error,
            came=came,
            went=went,
            shown_count=preview.count - came + went,
            owners=owners,
            sms=preview.sample(SMS),
            mail=preview.sample(EMAIL),
            compose=request.path,
        )

    def page_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """How far the alert is; htmx asks for the figures alone."""
        alert = self._found(request, pk)
        progress = alerts.progress(alert)
        states = [
            state
            for state in results.STATES
            if any(counts[state] for _channel, counts, _total in progress.channels)
            or state in ("queued", "sent", "delivered")
        ]
        recipients = [
            {
                "plate": row.variables.get("plate", ""),
                "reference": row.reference,
                "name": row.name,
                "address": masked(row.address, row.channel) if row.address else "-",
                "state": STATE_WORDS[
                    alerts.status_of(row.state, row.message.status if row.message else None)
                ],
                "why": (row.message.error_text if row.message else "")
                or (reason_text(row.reason) if row.reason else ""),
            }
            for row in alert.recipients.select_related("message").order_by("reference", "channel")[
                : 2 * SHOWN_CARS
            ]
        ]
        template = "_alert_progress.html" if request.headers.get("HX-Request") else "alert.html"
        answer = self._render(
            request,
            f"admin/communications/{template}",
            title=alert.place,
            alert=alert,
            progress=progress,
            unreached=len(alerts.not_reached(alert)),
            columns=[Channel(channel).label for channel, _counts, _total in progress.channels],
            rows=[
                (STATE_WORDS[state], [counts[state] for _channel, counts, _total in progress.channels])
                for state in states
            ],
            recipients=recipients,
            texts=OwnWords.objects.filter(owner=alert.key).order_by("-channel", "language"),
            confirmed=local_and_utc(alert.created_at, ZoneInfo(settings.HOME_TIMEZONE)),
            can_send=request.user.has_perm(alerts.PERMISSION),
            page=page_of(alert),
        )
        if request.GET.get("was", alert.status) != alert.status:  # it is over: no more asking
            answer["HX-Refresh"] = "true"
        return answer

    def resend_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask for the reason, then try those who were not reached once more."""
        alert = self._found(request, pk)
        self._demand(request, "resend")
        form = ReasonForm(request.POST if request.method == "POST" else None)
        if form.is_bound and form.is_valid():
            count = alerts.resend(
                alert, reason=form.cleaned_data["reason"], by=request.user, now=timezone.now()
            )
            told = (
                _("They are tried again.")
                if count
                else _("There is nobody left to try, or it is on its way already.")
            )
            self.message_user(request, told, messages.SUCCESS if count else messages.INFO)
            return HttpResponseRedirect(page_of(alert))
        return self._render(
            request,
            "admin/communications/alert_resend.html",
            title=alert.place,
            status=422 if form.is_bound else 200,
            alert=alert,
            form=form,
            unreached=len(alerts.not_reached(alert)),
            page=page_of(alert),
        )

    def _found(self, request: HttpRequest, pk: int) -> EmergencyAlert:
        if not self.has_view_permission(request):
            raise PermissionDenied
        alert = (
            EmergencyAlert.objects.select_related("created_by").filter(pk=pk).first() if pk < 2**63 else None
        )
        if alert is None:
            raise Http404
        return alert

    def _render(self, request: HttpRequest, template: str, *, status: int = 200, **more: Any) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "list": reverse("admin:communications_emergencyalert_changelist"),
            **more,
        }
        return TemplateResponse(request, template, context, status=status)

    @display(description=_("car park"), ordering="place")
    def title(self, alert: EmergencyAlert) -> SafeString:
        return format_html('<a class="underline font-semibold" href="{}">{}</a>', page_of(alert), alert.place)

    @display(description=_("status"), ordering="status", label={"sending": "warning", "finished": "success"})
    def status_badge(self, alert: EmergencyAlert) -> tuple[str, Any]:
        return alert.status, alert.get_status_display()

    @display(description=_("confirmed"), ordering="created_at")
    def confirmed_at(self, alert: EmergencyAlert) -> SafeString:
        return local_and_utc(alert.created_at, ZoneInfo(settings.HOME_TIMEZONE))


def page_of(alert: EmergencyAlert) -> str:
    return reverse("admin:communications_emergencyalert_page", args=[alert.pk])
