"""A person's messages in the hands of staff: handed over, or forgotten."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseRedirect, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.decorators import action

from accounts.second_factor import demand_recent_sign_in
from communications.services import person
from foundation import audit
from foundation.admin import ReasonForm, subject_of, to_page

EXPORT, ERASE = "communications.export_person", "communications.erase_person"
FILES = {
    "json": ("application/x-ndjson", person.as_json),
    "csv": ("text/csv; charset=utf-8", person.as_csv),
}


class ExportForm(forms.Form):
    format = forms.ChoiceField(
        label=_("File"),
        choices=[("json", _("JSON, an object a line")), ("csv", _("CSV"))],
        widget=forms.Select(attrs={"class": "ops-input"}),
    )


class EraseForm(ReasonForm):
    """Why, and once more whose: what is erased cannot be brought back."""

    email = forms.CharField(
        label=_("The person's e-mail address, to confirm"),
        max_length=254,
        widget=forms.TextInput(attrs={"class": "ops-input", "autocomplete": "off"}),
    )

    def __init__(self, *args: Any, address: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.address = address

    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"].strip().lower()
        if email != self.address.lower():
            raise forms.ValidationError(_("This is not the address of the person on this page."))
        return email


class PersonsMessages:
    """What UserAdmin offers about a person's messages, to whoever has the permission for it."""

    admin_site: Any
    opts: Any
    media: Any
    get_object: Any
    message_user: Any

    def get_urls(self) -> list[Any]:
        pages = [
            path(
                f"<path:pk>/messages/{name}",
                self.admin_site.admin_view(view),
                name=f"accounts_user_messages{suffix}",
            )
            for name, suffix, view in (
                ("", "", self.messages_view),
                ("export/", "_export", self.export_view),
                ("erase/", "_erase", self.erase_view),
            )
        ]
        return [*pages, *super().get_urls()]  # type: ignore[misc]

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        may = request.user.has_perm(EXPORT) or request.user.has_perm(ERASE)
        return super().get_actions_detail(request, object_id) if may else []  # type: ignore[misc]

    @action(description=_("Messages: hand over or erase…"), url_path="messages-page", icon="folder_shared")
    def messages_action(self, request: HttpRequest, object_id: str) -> HttpResponseRedirect:
        return to_page("accounts_user_messages", object_id)

    def messages_view(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        """Offer both."""
        user = self._person(request, pk)
        self._demand(request, user, EXPORT, ERASE)
        return self._page(request, user)

    def export_view(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        """Download everything that is kept of messages to and from the person. In the audit log."""
        user = self._person(request, pk)
        self._demand(request, user, EXPORT)
        form = ExportForm(request.POST or None)
        if request.method != "POST" or not form.is_valid():
            return HttpResponseRedirect(reverse("admin:accounts_user_messages", args=[user.pk]))
        chosen = form.cleaned_data["format"]
        content_type, write = FILES[chosen]
        rows = person.export(email=user.email, phone=str(user.phone or ""), user=user)
        audit.record(
            actor=request.user,
            action="messages_exported",
            subject=subject_of(user),
            data={"format": chosen},
        )
        return StreamingHttpResponse(
            write(rows),
            content_type=content_type,
            headers={
                "Content-Disposition": f'attachment; filename="messages-{user.pk}.{chosen}"',
                "Cache-Control": "private, no-store",
            },
        )

    def erase_view(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        """Erase, once the reason and the address are given."""
        user = self._person(request, pk)
        self._demand(request, user, ERASE)
        page = reverse("admin:accounts_user_messages", args=[user.pk])
        if request.method != "POST":
            return HttpResponseRedirect(page)
        form = EraseForm(request.POST, address=user.email)
        if not form.is_valid():
            return self._page(request, user, erase_form=form, status=400)
        count = person.erase(
            email=user.email,
            phone=str(user.phone or ""),
            user=user,
            by=request.user,
            reason=form.cleaned_data["reason"],
            now=timezone.now(),
        )
        told = ngettext(
            "%(count)d message says nothing of this person any more.",
            "%(count)d messages say nothing of this person any more.",
            count,
        )
        self.message_user(request, told % {"count": count}, messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:accounts_user_change", args=[user.pk]))

    def _demand(self, request: HttpRequest, user: Any, *permissions: str) -> None:
        """Raise PermissionDenied without any of them, and note the attempt; then ask who it is if that was long ago."""
        if not any(request.user.has_perm(permission) for permission in permissions):
            audit.record(
                actor=request.user,
                action="messages.denied",
                subject=subject_of(user),
                data={"needs": list(permissions)},
            )
            raise PermissionDenied
        demand_recent_sign_in(request)

    def _person(self, request: HttpRequest, pk: str) -> Any:
        user = self.get_object(request, pk)
        if user is None:
            raise Http404
        return user

    def _page(
        self, request: HttpRequest, user: Any, *, erase_form: EraseForm | None = None, status: int = 200
    ) -> TemplateResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": _("Messages to and from %(name)s") % {"name": user.name or user.email},
            "opts": self.opts,
            "media": self.media,
            "person": user,
            "counted": person.count(email=user.email, phone=str(user.phone or ""), user=user),
            "export_form": ExportForm() if request.user.has_perm(EXPORT) else None,
            "form": erase_form or (EraseForm(address=user.email) if request.user.has_perm(ERASE) else None),
            "page": reverse("admin:accounts_user_change", args=[user.pk]),
        }
        return TemplateResponse(request, "accounts/admin/messages.html", context, status=status)
