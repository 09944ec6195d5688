"""The words."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import OuterRef, Subquery
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.module_loading import import_string
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import action
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from communications import rendering
from communications.catalogue import EMAIL, EMERGENCY, EVERYWHERE, KINDS, PROMOTIONAL, SMS, Kind
from communications.models import Channel, MessageTemplate, TemplateVersion
from communications.services import trial, wording
from communications.services.wording import Draft, SavedMeanwhile
from communications.words import languages
from foundation.admin import ReasonForm, to_page
from foundation.errors import DomainError
from foundation.languages import language_name

GROUPS = [
    ("booking", _("Bookings, payments and accounts")),
    ("reminder", _("Reminders")),
    (PROMOTIONAL, _("Offers")),
    (EMERGENCY, _("Emergencies")),
]


@dataclass(frozen=True)
class _Cell:
    """A kind's words on one channel in one language: there, missing, or never sent that way."""

    kind: Kind
    channel: str
    language: str
    template: Any

    @property
    def is_sent(self) -> bool:
        return self.channel in self.kind.channels

    @property
    def label(self) -> str:
        return f"{Channel(self.channel).label}, {language_name(self.language)}"


def _group_of(kind: Kind) -> str:
    if kind.purpose in (PROMOTIONAL, EMERGENCY):
        return kind.purpose
    return "reminder" if kind.code.endswith("_reminder") else "booking"


class WordsForm(forms.ModelForm):
    """The newest version's words. Saving writes the next version."""

    subject = forms.CharField(
        label=_("Subject"), max_length=200, required=False, widget=UnfoldAdminTextInputWidget
    )
    heading = forms.CharField(
        label=_("Heading"), max_length=200, required=False, widget=UnfoldAdminTextInputWidget
    )
    body = forms.CharField(
        label=_("Text"),
        max_length=8000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 14}),
        help_text=_(
            "An empty line starts a new paragraph. The placeholders below are filled in for each person."
        ),
    )
    button_label = forms.CharField(
        label=_("Button"), max_length=60, required=False, widget=UnfoldAdminTextInputWidget
    )
    button_variable = forms.ChoiceField(
        label=_("Button opens"), required=False, widget=UnfoldAdminSelectWidget
    )

    based_on = forms.IntegerField(widget=forms.HiddenInput, required=False)

    class Meta:
        model = MessageTemplate
        fields: tuple[str, ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        template = self.instance
        kind = KINDS[template.kind]
        choices = [
            (variable.name, variable.description) for variable in kind.by_name.values() if variable.is_url
        ]
        self.fields["button_variable"].choices = [("", "-"), *choices]  # type: ignore[attr-defined]
        if template.channel != EMAIL:
            for name in ("subject", "heading", "button_label", "button_variable"):
                del self.fields[name]
        current = template.current
        if current is not None:
            for name in self.fields:
                self.fields[name].initial = current.number if name == "based_on" else getattr(current, name)

    @property
    def draft(self) -> Draft:
        """The words as typed, with line ends as the database keeps them."""
        words = {name: value for name, value in self.cleaned_data.items() if name != "based_on"}
        return Draft(**{name: str(value).replace("\r\n", "\n") for name, value in words.items()})

    def clean(self) -> dict[str, Any]:
        super().clean()
        if not self.errors:
            try:
                wording.check_draft(self.draft, kind=KINDS[self.instance.kind], channel=self.instance.channel)
            except ValidationError as error:
                self.add_error(None, error)
        newest, based_on = self.instance.current, self.cleaned_data.get("based_on")
        is_same = not self.errors and newest is not None and self.draft == Draft.of(newest)
        if newest is not None and based_on is not None and newest.number != based_on and not is_same:
            self.add_error(None, str(SavedMeanwhile(newest).message))
            given: Any = self.data
            self.data = given.copy()
            self.data[self.add_prefix("based_on")] = str(newest.number)  # type: ignore[index]  # the next saving is one that knows
        return self.cleaned_data


class PreviewForm(forms.Form):
    reference = forms.CharField(
        label=_("Show it with the booking"),
        max_length=20,
        required=False,
        widget=forms.TextInput(
            attrs={"class": "ops-input", "placeholder": "AP-7F3K2Q", "autocomplete": "off"}
        ),
        help_text=_("Its own values; empty shows samples."),
    )


class TestForm(forms.Form):
    """Whom to send a test to. The token makes two presses of the button one message."""

    send_to = forms.CharField(
        label=_("Send a test to"), max_length=254, widget=forms.TextInput(attrs={"class": "ops-input"})
    )
    token = forms.UUIDField(widget=forms.HiddenInput, required=False)


@admin.register(MessageTemplate)
class MessageTemplateAdmin(ModelAdmin):
    """The words of each message. Each saving is a new version with who and when; what they will look like stands beside."""

    form = WordsForm
    readonly_fields = ["placeholders"]
    change_form_outer_after_template = "communications/admin/beside_words.html"
    actions_detail = ["versions_action"]

    def get_queryset(self, request: HttpRequest) -> Any:
        newest = TemplateVersion.objects.filter(template=OuterRef("pk")).order_by("-number")
        return (
            super()
            .get_queryset(request)
            .annotate(
                newest_number=Subquery(newest.values("number")[:1]),
                newest_at=Subquery(newest.values("created_at")[:1]),
                newest_by=Subquery(newest.values("created_by__email")[:1]),
            )
        )

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show every message at a glance: a row for each kind, a column for each channel and language."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        known = {*languages(), *MessageTemplate.objects.values_list("language", flat=True)}
        codes = sorted(
            known, key=lambda code: (code != "en", code)
        )  # the words that stand in for all others first
        columns = [(channel, code) for channel in (EMAIL, SMS) for code in codes]
        there = {(one.kind, one.channel, one.language): one for one in self.get_queryset(request)}
        groups = [
            (
                title,
                [
                    (kind, [_Cell(kind, *column, there.get((kind.code, *column))) for column in columns])
                    for kind in KINDS.values()
                    if _group_of(kind) == group
                ],
            )
            for group, title in GROUPS
        ]
        context = {
            **self.admin_site.each_context(request),
            "title": _("Message templates"),
            "opts": self.opts,
            "media": self.media,
            "channels": [(Channel(channel).label, len(codes)) for channel in (EMAIL, SMS)],
            "columns": columns,
            "groups": [(title, rows) for title, rows in groups if rows],
        }
        return TemplateResponse(request, "communications/admin/templates.html", context)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        words = ["subject", "heading", "body", "button_label", "button_variable"]
        fields = words if obj is not None and obj.channel == EMAIL else ["body"]
        fields = [*fields, "based_on"] if self.has_change_permission(request, obj) else []
        return [(None, {"fields": [*fields, "placeholders"]})]

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, *args: Any, **more: Any
    ) -> Any:
        """Let those who save the same words at once pass one after the other, so that the second is told of the first."""
        if request.method != "POST" or not str(object_id).isdecimal():
            return super().changeform_view(request, object_id, *args, **more)
        with transaction.atomic():
            MessageTemplate.objects.select_for_update().filter(pk=int(object_id or 0)).first()
            return super().changeform_view(request, object_id, *args, **more)

    def save_model(self, request: HttpRequest, obj: MessageTemplate, form: Any, change: bool) -> None:
        wording.save_version(obj, form.draft, by=request.user, based_on=form.cleaned_data.get("based_on"))

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        template = kwargs.get("obj")
        if template is not None:
            context |= {
                "beside": self._shown(request, template, wording.preview(template)),
                "preview_form": PreviewForm(),
                "test_form": _test_form(request.user, template),
            }
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description=_("placeholders"))
    def placeholders(self, template: MessageTemplate) -> str:
        rows = (
            ("{{ " + variable.name + " }}", variable.description, variable.sample)
            for variable in KINDS[template.kind].by_name.values()
        )
        listed = format_html_join("", "<p><code>{}</code> {} <em>({})</em></p>", rows)
        return format_html(
            '<details class="ops-more"><summary>{}</summary>{}</details>', _("What may be filled in"), listed
        )

    @action(description=_("Versions"), url_path="versions-list", icon="history")
    def versions_action(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return to_page("communications_messagetemplate_versions", object_id)

    def get_urls(self) -> list[Any]:
        pages = [
            path(
                f"<int:pk>/{name}/",
                self.admin_site.admin_view(view),
                name=f"communications_messagetemplate_{name}",
            )
            for name, view in (
                ("preview", self.preview_view),
                ("test", self.test_view),
                ("versions", self.versions_view),
            )
        ]
        back = path(
            "<int:pk>/versions/<int:number>/back/",
            self.admin_site.admin_view(self.roll_back_view),
            name="communications_messagetemplate_back",
        )
        return [*pages, back, *super().get_urls()]

    def _found(self, request: HttpRequest, pk: int, *, to_change: bool = False) -> MessageTemplate:
        template: MessageTemplate | None = self.get_object(request, str(pk))
        if template is None:
            raise Http404
        may = self.has_change_permission if to_change else self.has_view_permission
        if not may(request, template):
            raise PermissionDenied
        return template

    def preview_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show words that are being written, with samples or with a booking's own values. Saves nothing.

        The answer is the part of the page that stands beside the words; without a script it is a page of its own.
        """
        template = self._found(request, pk)
        given = request.POST if request.method == "POST" else request.GET
        draft, problem = self._draft(given, template) if request.method == "POST" else (None, "")
        variables, told = self._values(request, template, str(given.get("reference", "")))
        rendered = wording.preview(template, variables=variables, draft=draft)
        context = self._shown(request, template, rendered) | {"problem": problem, "told": told}
        if request.headers.get("HX-Request"):
            return TemplateResponse(request, "communications/admin/_shown.html", {"beside": context})
        page = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": str(template),
            "template": template,
            "beside": context,
            "preview_form": PreviewForm(request.GET or None),
            "test_form": _test_form(request.user, template),
            "reference": given.get("reference", ""),
            "back": page_of(template),
        }
        return TemplateResponse(request, "communications/admin/preview.html", page)

    def _draft(self, given: Any, template: MessageTemplate) -> tuple[Draft | None, str]:
        """Return the words that are being written, and what is wrong with them; nothing where none were sent."""
        if "body" not in given:
            return None, ""
        form = WordsForm(given, instance=template)
        form.fields["based_on"].disabled = True
        if form.is_valid():
            return form.draft, ""
        errors = form.errors.get_json_data().values()
        return None, " ".join(str(each[0]["message"]) for each in errors)

    def _values(
        self, request: HttpRequest, template: MessageTemplate, reference: str
    ) -> tuple[dict[str, Any], str]:
        """Return a booking's own values and what is to be said about them; samples where staff may not see it, or it is not there."""
        reference = reference.strip().upper()
        if not reference:
            return {}, ""
        source = import_string(settings.MESSAGE_PREVIEW_VARIABLES)
        found = source(template.kind, reference, user=request.user, language=template.language)
        if found is None:
            return {}, gettext("There is no such booking that you may see; samples are shown.")
        known = KINDS[template.kind].by_name
        values = {
            name: value
            for name, value in found.items()
            if name in known and not known[name].acts_for_customer
        }
        sampled = sorted(set(known) - set(values) - {variable.name for variable in EVERYWHERE})
        if sampled:
            return values, gettext("Samples stand for what this booking does not have: %(names)s.") % {
                "names": ", ".join(str(known[name].description) for name in sampled)
            }
        return values, ""

    def _shown(self, request: HttpRequest, template: MessageTemplate, rendered: Any) -> dict[str, Any]:
        return {
            "template": template,
            "rendered": rendered,
            "sms": rendering.sms_facts(rendered.text) if template.channel != EMAIL else None,
            "can_send": self.has_change_permission(request, template),
        }

    def test_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Send what is shown, the words as they are being written and a booking's values, to an address of staff's choice.

        With a script the answer is what became of it, to stand below the button; without one the words are those saved.
        """
        template = self._found(request, pk, to_change=True)
        if request.method != "POST":
            return HttpResponseRedirect(page_of(template))
        form = TestForm(request.POST)
        draft, problem = self._draft(request.POST, template)
        message, is_new = None, False
        if not problem and not form.is_valid():
            problem = gettext("Enter where to send the test.")
        if not problem:
            reference = str(request.POST.get("reference", "")).strip().upper()
            variables, told = self._values(request, template, reference)
            problem = told if reference and not variables else ""
        if not problem:
            try:
                message, is_new = trial.send_test(
                    template,
                    to=form.cleaned_data["send_to"],
                    by=request.user,
                    now=timezone.now(),
                    token=form.cleaned_data["token"],
                    draft=draft,
                    variables=variables,
                    reference=reference if variables else "",
                )
            except DomainError as error:
                problem = str(error.message)
        if request.headers.get("HX-Request"):
            context = {"problem": problem, "message": message, "is_new": is_new, "token": uuid.uuid4()}
            return TemplateResponse(request, "communications/admin/_test_result.html", context)
        if problem:
            self.message_user(request, problem, messages.ERROR)
        elif is_new:
            self.message_user(request, _("The test is on its way."), messages.SUCCESS)
        else:
            self.message_user(request, _("This test was sent already."), messages.WARNING)
        return HttpResponseRedirect(page_of(template))

    def versions_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Every version with who and when, and what differs between any two."""
        template = self._found(request, pk)
        versions = list(template.versions.select_related("created_by"))
        by_number = {version.number: version for version in versions}
        newest = versions[0].number if versions else 0
        after = by_number.get(_number(request.GET.get("to"), newest))
        before = by_number.get(_number(request.GET.get("from"), (after.number if after else newest) - 1))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Versions of %(template)s") % {"template": template},
            "template": template,
            "versions": versions,
            "newest": newest,
            "before": before,
            "after": after,
            "changes": wording.compare(before, after) if before and after else [],
            "can_change": self.has_change_permission(request, template),
            "back": page_of(template),
        }
        return TemplateResponse(request, "communications/admin/versions.html", context)

    def roll_back_view(self, request: HttpRequest, pk: int, number: int) -> HttpResponse:
        """Show what going back to a version changes and how it looks; do it, as a new version, with a reason."""
        template = self._found(request, pk, to_change=True)
        old = template.versions.filter(number=number).first()
        newest = template.current
        if old is None or newest is None:
            raise Http404
        form = ReasonForm(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            try:
                made = wording.roll_back(
                    template,
                    old,
                    by=request.user,
                    reason=form.cleaned_data["reason"],
                    seen=request.POST.get("seen", ""),
                )
            except DomainError as error:
                self.message_user(request, error.message, messages.ERROR)
            except ValidationError as error:
                self.message_user(request, " ".join(error.messages), messages.ERROR)
            else:
                told = _("The words of version %(old)d are in use again, as version %(new)d.")
                self.message_user(request, told % {"old": number, "new": made.number}, messages.SUCCESS)
            return HttpResponseRedirect(reverse("admin:communications_messagetemplate_versions", args=[pk]))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Go back to version %(number)d?") % {"number": number},
            "template": template,
            "old": old,
            "newest": newest,
            "changes": wording.compare(newest, old),
            "beside": self._shown(request, template, wording.render_version(old)),
            "form": form,
            "media": self.media,
        }
        return TemplateResponse(
            request, "communications/admin/roll_back.html", context, status=400 if form.is_bound else 200
        )


def _test_form(user: Any, template: MessageTemplate) -> TestForm:
    return TestForm(initial={"send_to": _own_address(user, template.channel), "token": uuid.uuid4()})


def page_of(template: MessageTemplate) -> str:
    return reverse("admin:communications_messagetemplate_change", args=[template.pk])


def _own_address(user: Any, channel: str) -> str:
    return user.email if channel == EMAIL else str(getattr(user, "phone", "") or "")


def _number(text: str | None, otherwise: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 7 else otherwise
