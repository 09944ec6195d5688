"""A whole person in the hands of staff: everything handed over, or everything forgotten."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseRedirect, JsonResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action

from accounts import persons
from accounts.admin_messages import ERASE, EXPORT, EraseForm
from accounts.models import Erasure
from foundation.admin import ReadOnlyAdmin, row_named, to_page
from foundation.errors import DomainError
from foundation.personal import Person


class WholePerson:
    """What UserAdmin offers about all that is kept of a person, to whoever has the permission for it."""

    admin_site: Any
    opts: Any
    media: Any
    get_object: Any
    message_user: Any

    def get_urls(self) -> list[Any]:
        pages = [
            path(
                f"<path:pk>/personal/{name}",
                self.admin_site.admin_view(view),
                name=f"accounts_user_personal{suffix}",
            )
            for name, suffix, view in (
                ("", "", self.personal_view),
                ("export/", "_export", self.personal_export_view),
                ("erase/", "_erase", self.personal_erase_view),
            )
        ]
        return [*pages, *super().get_urls()]  # type: ignore[misc]

    @action(description=_("Personal data: hand over or erase…"), url_path="personal-page", icon="badge")
    def personal_action(self, request: HttpRequest, object_id: str) -> HttpResponseRedirect:
        return to_page("accounts_user_personal", object_id)

    def personal_view(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        """Offer both."""
        user = self._someone(request, pk)
        if not request.user.has_perm(EXPORT) and not request.user.has_perm(ERASE):
            raise PermissionDenied
        return self._personal_page(request, user)

    def personal_export_view(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        """Download everything that is kept about the person. In the audit log."""
        user = self._someone(request, pk)
        if not request.user.has_perm(EXPORT):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseRedirect(reverse("admin:accounts_user_personal", args=[user.pk]))
        return export_answer(persons.person_of(user), by=request.user, name=f"person-{user.pk}")

    def personal_erase_view(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        """Close the account and begin the erasure, once the reason and the address are given."""
        user = self._someone(request, pk)
        if not request.user.has_perm(ERASE):
            raise PermissionDenied
        page = reverse("admin:accounts_user_personal", args=[user.pk])
        if request.method != "POST":
            return HttpResponseRedirect(page)
        form = EraseForm(request.POST, address=user.email)
        if not form.is_valid():
            return self._personal_page(request, user, erase_form=form, status=400)
        try:
            persons.begin(
                persons.person_of(user),
                by=request.user,
                reason=form.cleaned_data["reason"],
                now=timezone.now(),
            )
        except DomainError as error:
            self.message_user(request, str(error.message), messages.ERROR)
        else:
            self.message_user(request, BEGUN, messages.SUCCESS)
        return HttpResponseRedirect(page)

    def _someone(self, request: HttpRequest, pk: str) -> Any:
        user = self.get_object(request, pk)
        if user is None:
            raise Http404
        return user

    def _personal_page(
        self, request: HttpRequest, user: Any, *, erase_form: EraseForm | None = None, status: int = 200
    ) -> TemplateResponse:
        person = persons.person_of(user)
        erasure = Erasure.objects.filter(user=user).exclude(status=Erasure.Status.WITHDRAWN).first()
        may_erase = request.user.has_perm(ERASE)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Personal data of %(name)s") % {"name": user.name or user.email},
            "opts": self.opts,
            "media": self.media,
            "person": user,
            "known": person,
            "erasure": erasure,
            "matters": persons.open_matters(person, now=timezone.now()),
            "may_export": request.user.has_perm(EXPORT),
            "may_erase": may_erase,
            "form": erase_form or (EraseForm(address=user.email) if may_erase else None),
            "page": reverse("admin:accounts_user_change", args=[user.pk]),
        }
        return TemplateResponse(request, "accounts/admin/personal.html", context, status=status)


BEGUN = _(
    "The account is closed, and everything of the person's is being erased. It takes a minute; this page shows when it is done."
)


def export_answer(person: Person, *, by: Any, name: str) -> JsonResponse:
    """Answer with everything that is kept about a person, as a file, and note who took it."""
    now = timezone.now()
    found = persons.export(person, now=now)
    persons.note_export(person, by=by, now=now)
    return JsonResponse(
        found,
        json_dumps_params={"ensure_ascii": False, "indent": 2},
        headers={
            "Content-Disposition": f'attachment; filename="{name}.json"',
            "Cache-Control": "private, no-store",
        },
    )


@admin.register(Erasure)
class ErasureAdmin(ReadOnlyAdmin):
    """Who asked to be forgotten, and what became of it."""

    list_display = ["asked_at", "whom", "status", "asked_by_person", "carried_out_by", "finished_at"]
    list_filter = ["status"]
    list_select_related = ["user", "carried_out_by"]
    list_fullwidth = True
    fields = ["user", "emails", "status", "asked_at", "asked_by_person", "reason", "carried_out_by", "began_at", "finished_at", "steps"]  # fmt: skip
    empty_text = _("Nobody has asked to be forgotten.")
    actions_detail = ["carry_out_action"]

    @admin.display(description=_("whom"))
    def whom(self, row: Erasure) -> str:
        return row.user.email if row.user else ", ".join(row.emails) or str(_("a guest"))

    def get_urls(self) -> list[Any]:
        page = path(
            "<uuid:pk>/carry-out/",
            self.admin_site.admin_view(self.carry_out_view),
            name="accounts_erasure_carry_out",
        )
        return [page, *super().get_urls()]

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        is_open = row_named(Erasure, object_id).filter(status=Erasure.Status.ASKED).exists()
        return (
            super().get_actions_detail(request, object_id) if is_open and request.user.has_perm(ERASE) else []
        )

    @action(description=_("Carry out…"), url_path="carry-out-page", icon="delete_forever")
    def carry_out_action(self, request: HttpRequest, object_id: str) -> HttpResponseRedirect:
        return to_page("accounts_erasure_carry_out", object_id)

    def carry_out_view(self, request: HttpRequest, pk: Any) -> HttpResponseBase:
        """Show what stands in the way; a post with the reason and the address begins."""
        row = Erasure.objects.select_related("user").filter(pk=pk).first()
        if row is None or not self.has_view_permission(request, row):
            raise Http404
        if not request.user.has_perm(ERASE):
            raise PermissionDenied
        back = reverse("admin:accounts_erasure_change", args=[row.pk])
        if row.status != Erasure.Status.ASKED or not row.emails:
            return HttpResponseRedirect(back)
        address = row.user.email if row.user else row.emails[0]
        person = persons.person_of(row.user) if row.user else persons.guest(address)
        form = EraseForm(request.POST or None, address=address)
        status = 200
        if request.method == "POST":
            if form.is_valid():
                try:
                    persons.begin(
                        person, by=request.user, reason=form.cleaned_data["reason"], now=timezone.now()
                    )
                except DomainError as error:
                    self.message_user(request, str(error.message), messages.ERROR)
                else:
                    self.message_user(request, BEGUN, messages.SUCCESS)
                return HttpResponseRedirect(back)
            status = 400
        context = {
            **self.admin_site.each_context(request),
            "title": _("Erase %(address)s") % {"address": address},
            "opts": self.opts,
            "media": self.media,
            "known": person,
            "erasure": row,
            "matters": persons.open_matters(person, now=timezone.now()),
            "may_erase": True,
            "form": form,
            "page": back,
        }
        return TemplateResponse(request, "accounts/admin/personal.html", context, status=status)
