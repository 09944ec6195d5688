"""A person's second factor in the hands of administrators: seen, and removed when it is lost."""

from __future__ import annotations

from typing import Any

from allauth.mfa.models import Authenticator
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import formats
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action

from accounts import second_factor
from accounts.models import User
from foundation import audit
from foundation.admin import ReasonForm, row_named, subject_of, to_page
from foundation.errors import DomainError


class PersonsSecondFactor:
    """What UserAdmin offers superusers about somebody else's second factor."""

    admin_site: Any
    opts: Any
    media: Any
    get_object: Any
    message_user: Any

    def get_urls(self) -> list[Any]:
        page = path(
            "<path:pk>/second-factor/",
            self.admin_site.admin_view(self.second_factor_view),
            name="accounts_user_second_factor",
        )
        return [page, *super().get_urls()]  # type: ignore[misc]

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        found = super().get_actions_detail(request, object_id)  # type: ignore[misc]
        if request.user.is_superuser and str(request.user.pk) != str(object_id) and _since(object_id):
            return found
        return [one for one in found if not one.action_name.endswith("second_factor_action")]

    @action(description=_("Second factor: remove…"), url_path="second-factor-page", icon="phonelink_lock")
    def second_factor_action(self, request: HttpRequest, object_id: str) -> HttpResponseRedirect:
        return to_page("accounts_user_second_factor", object_id)

    def second_factor_since(self, user: Any) -> str:
        since = _since(user.pk) if user.pk else None
        return f"{formats.date_format(since, 'j M Y H:i')} UTC" if since else "-"

    second_factor_since.short_description = _("second factor since")  # type: ignore[attr-defined]

    def second_factor_view(self, request: HttpRequest, pk: str) -> HttpResponse:
        """Say what it means, ask why, and do it. For another superuser's eyes only."""
        user = self.get_object(request, pk)
        if user is None:
            raise Http404
        if not request.user.is_superuser or request.user.pk == user.pk:
            audit.record(actor=request.user, action="second_factor.reset.denied", subject=subject_of(user))
            raise PermissionDenied(_("Only another administrator can do this."))
        second_factor.demand_recent_sign_in(request)
        page = reverse("admin:accounts_user_change", args=[user.pk])
        since = _since(user.pk)
        if since is None:
            self.message_user(request, _("This person has no second factor."), messages.INFO)
            return HttpResponseRedirect(page)
        form = ReasonForm(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            try:
                second_factor.reset(user, by=request.user, reason=form.cleaned_data["reason"])
            except DomainError as error:
                self.message_user(request, str(error.message), messages.ERROR)
            else:
                self.message_user(
                    request,
                    _("Removed, and every sign-in of this person has ended. They have an e-mail."),
                    messages.SUCCESS,
                )
            return HttpResponseRedirect(page)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Remove the second factor of %(name)s?") % {"name": user.name or user.email},
            "opts": self.opts,
            "media": self.media,
            "person": user,
            "since": since,
            "form": form,
            "page": page,
        }
        return TemplateResponse(
            request, "accounts/admin/reset_second_factor.html", context, status=400 if form.is_bound else 200
        )


def _since(user_pk: Any) -> Any:
    factors = Authenticator.objects.filter(user__in=row_named(User, user_pk), type__in=second_factor.FACTORS)
    return factors.order_by("created_at").values_list("created_at", flat=True).first()
