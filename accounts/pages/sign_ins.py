"""Where somebody is signed in, in browsers and over the API, and how to end it."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts import sign_ins
from accounts.models import User


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in_list(request: HttpRequest) -> HttpResponse:
    """List them; a post ends one, or all. What is not this person's is not found, and ending twice is ending."""
    assert isinstance(request.user, User)  # login_required
    here = request.session.session_key or ""
    if request.method == "POST":
        end = request.POST.get("end", "")
        if end == "everywhere":
            sign_ins.end_all(request.user)
            request.session.flush()
            messages.success(request, _("You are signed out everywhere. Log in again here."))
            return redirect("account_login")
        sign_ins.end_one(request.user, key=end)
        messages.success(request, _("Signed out there."))
        return redirect("accounts:sign_ins")
    found = sign_ins.of(request.user, here=here)
    return render(request, "accounts/sign_ins.html", {"sign_ins": found})
