"""Staff without the second factor that they need: led to it, and until then without any staff permission."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.auth import get_user
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext as _

from accounts import second_factor

# Pages of the admin that help somebody who is not let in: out again, and the words of its scripts.
ALWAYS_OPEN = {"logout", "jsi18n"}
# Pages below /admin/ that stand beside Django's own.
BESIDE = {"system"}
# What weakens a second factor, for everybody who has one: a session that never showed it may be whom it was set up against.
WEAKENING = {
    "mfa_deactivate_totp",
    "mfa_generate_recovery_codes",
    "mfa_view_recovery_codes",
    "mfa_download_recovery_codes",
}


class SecondFactorMiddleware:
    """Stands after allauth's middleware. The user is looked up only by who asks for it, as before."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.user = SimpleLazyObject(lambda: second_factor.mark(request, get_user(request)))  # type: ignore[assignment]
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
        """Lead staff who lack the factor from any page of the admin to where they show it or set it up."""
        match = request.resolver_match
        if match is None or match.url_name in ALWAYS_OPEN:
            return None
        if match.url_name in WEAKENING and second_factor.has_one(request.user):
            if second_factor.was_shown(request, request.user):
                return None
            messages.info(request, _("Enter a code of your second factor to go on."))
            return HttpResponseRedirect(second_factor.way_to_show(request, request.user))
        if "admin" not in match.app_names and match.view_name not in BESIDE:
            return None
        if not getattr(request.user, "lacks_second_factor", False):
            return None
        if request.method not in ("GET", "HEAD"):
            raise PermissionDenied(
                _(
                    "This needs a sign-in with your second factor. Open the page again to show it; nothing was changed."
                )
            )
        messages.info(
            request,
            _("Staff work with a second factor. Enter its code to go on.")
            if second_factor.has_one(request.user)
            else _("Staff work with a second factor. Set yours up now; it takes a minute."),
        )
        return HttpResponseRedirect(second_factor.way_to_show(request, request.user))

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Ask who it is once more. What was typed is not kept: the page is opened again and shown anew."""
        if not isinstance(exception, second_factor.RecentSignInNeeded):
            return None
        messages.info(
            request, _("Please show once more that it is you, then go on. Nothing was changed yet.")
        )
        return HttpResponseRedirect(second_factor.way_to_sign_in_again(request))
