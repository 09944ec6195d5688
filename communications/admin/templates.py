"""The words."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from communications import rendering
from communications.catalogue import EMAIL, KINDS
from communications.models import Message, MessageTemplate
from communications.services import trial, wording
from communications.services.wording import Draft
from foundation.errors import DomainError


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
            "An empty line starts a new paragraph. The words at the end of this page may be used as placeholders."
        ),
    )
    button_label = forms.CharField(
        label=_("Button"), max_length=60, required=False, widget=UnfoldAdminTextInputWidget
    )
    button_variable = forms.ChoiceField(
        label=_("Button opens"), required=False, widget=UnfoldAdminSelectWidget
    )

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
                self.fields[name].initial = getattr(current, name)

    @property
    def draft(self) -> Draft:
        """The words as typed, with line ends as the database keeps them."""
        return Draft(**{name: str(value).replace("\r\n", "\n") for name, value in self.cleaned_data.items()})

    def clean(self) -> dict[str, Any]:
        super().clean()
        if not self.errors:
            try:
                wording.check_draft(self.draft, kind=KINDS[self.instance.kind], channel=self.instance.channel)
            except ValidationError as error:
                self.add_error(None, error)
        return self.cleaned_data


class PreviewForm(forms.Form):
    reference = forms.CharField(
        label=_("Booking reference"),
        max_length=20,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text=_("Shows the words with this booking's values; empty shows samples."),
    )
    send_to = forms.CharField(
        label=_("Send a test to"), max_length=254, required=False, widget=UnfoldAdminTextInputWidget
    )


@admin.register(MessageTemplate)
class MessageTemplateAdmin(ModelAdmin):
    """The words of each message. Each saving is a new version with who and when."""

    form = WordsForm
    list_display = ["kind", "channel", "language", "version_number", "edited_at", "edited_by"]
    list_filter = ["channel", "language"]
    search_fields = ["kind"]
    readonly_fields = ["preview_link", "placeholders", "history"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        words = ["subject", "heading", "body", "button_label", "button_variable"]
        fields = words if obj is not None and obj.channel == EMAIL else ["body"]
        if not self.has_change_permission(request, obj):
            fields = []
        return [
            (None, {"fields": ["preview_link", *fields]}),
            (_("About"), {"fields": ["placeholders", "history"]}),
        ]

    def save_model(self, request: HttpRequest, obj: MessageTemplate, form: Any, change: bool) -> None:
        wording.save_version(obj, form.draft, by=request.user)

    @admin.display(description=_("version"))
    def version_number(self, template: MessageTemplate) -> Any:
        return template.current.number if template.current else "-"

    @admin.display(description=_("edited"))
    def edited_at(self, template: MessageTemplate) -> Any:
        return template.current.created_at if template.current else None

    @admin.display(description=_("by"))
    def edited_by(self, template: MessageTemplate) -> Any:
        return (template.current and template.current.created_by) or "-"

    @admin.display(description=_("preview"))
    def preview_link(self, template: MessageTemplate) -> str:
        address = reverse("admin:communications_messagetemplate_preview", args=[template.pk])
        return format_html('<a href="{}">{}</a>', address, _("Preview and test"))

    @admin.display(description=_("placeholders"))
    def placeholders(self, template: MessageTemplate) -> str:
        rows = (
            ("{{ " + variable.name + " }}", variable.description, variable.sample)
            for variable in KINDS[template.kind].by_name.values()
        )
        return format_html_join("", "<p><code>{}</code> {} <em>({})</em></p>", rows)

    @admin.display(description=_("versions"))
    def history(self, template: MessageTemplate) -> str:
        rows = (
            (
                version.number,
                version.created_at.strftime("%Y-%m-%d %H:%M UTC"),
                version.created_by or _("the house"),
                version.body,
            )
            for version in template.versions.select_related("created_by")[:50]
        )
        return format_html_join(
            "",
            "<details><summary>v{} · {} · {}</summary><pre style='white-space:pre-wrap'>{}</pre></details>",
            rows,
        )

    def get_urls(self) -> list[Any]:
        return [
            path(
                "<int:pk>/preview/",
                self.admin_site.admin_view(self.preview_view),
                name="communications_messagetemplate_preview",
            ),
            *super().get_urls(),
        ]

    def preview_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        template = self.get_object(request, str(pk))
        if template is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, str(pk))
        if not self.has_view_permission(request, template):
            raise PermissionDenied
        form = PreviewForm(request.POST or request.GET or None)
        reference = form.cleaned_data["reference"].strip().upper() if form.is_valid() else ""
        if request.method == "POST":
            if not self.has_change_permission(request, template):
                raise PermissionDenied
            if form.is_valid():
                try:
                    queued = trial.send_test(template, to=form.cleaned_data["send_to"], by=request.user)
                except DomainError as error:
                    self.message_user(request, error.message, messages.ERROR)
                else:
                    told = _("The test is on its way.") if queued else _("Enter where to send the test.")
                    self.message_user(request, told, messages.SUCCESS if queued else messages.ERROR)
                return HttpResponseRedirect(request.path)
        variables: dict[str, Any] = {}
        if reference:
            earlier = Message.objects.filter(kind=template.kind, reference=reference).first()
            if earlier is None or not request.user.has_perm("communications.view_message"):
                self.message_user(
                    request,
                    _("No message of this kind was written for that booking; samples are shown."),
                    messages.WARNING,
                )
            else:
                known = KINDS[template.kind].by_name
                variables = {
                    name: value
                    for name, value in earlier.variables.items()
                    if name in known and not known[name].acts_for_customer
                }
        rendered = wording.preview(template, variables=variables)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": str(template),
            "template": template,
            "form": form,
            "rendered": rendered,
            "segments": rendering.sms_segments(rendered.text),
            "length": len(rendered.text),
            "can_send": self.has_change_permission(request, template),
        }
        return TemplateResponse(request, "communications/admin/preview.html", context)
