"""The staff's way in: the site's one log-in."""

from __future__ import annotations

from urllib.parse import urlencode

from allauth.account.adapter import get_adapter
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache


@never_cache
def admin_login(request: HttpRequest) -> HttpResponse:
    """Send strangers to the log-in and staff where they wanted to go; tell customers that this is not for them (403)."""
    wanted = request.GET.get("next", "")
    if not get_adapter(request).is_safe_url(wanted):
        wanted = reverse("admin:index")
    if not request.user.is_authenticated:
        return HttpResponseRedirect(f"{reverse('account_login')}?{urlencode({'next': wanted})}")
    if not request.user.is_staff:
        raise PermissionDenied(
            _("You are logged in as a customer. Log out, then log in with your staff account.")
        )
    return HttpResponseRedirect(wanted)
