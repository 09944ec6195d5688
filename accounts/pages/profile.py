"""The customer's own details."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.forms import ProfileForm
from accounts.models import User
from accounts.services import change_profile
from communications.services.consent import wants_offers
from foundation.errors import InvalidInput
from foundation.middleware import client_address


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def profile(request: HttpRequest) -> HttpResponse:
    """Show and change name, phone and consent."""
    assert isinstance(request.user, User)  # login_required
    user = User.objects.get(pk=request.user.pk)
    subscribed = wants_offers(channel="email", address=user.email)
    form = ProfileForm(
        request.POST or None,
        instance=User.objects.get(pk=user.pk),
        initial={"marketing_consent": subscribed, "sms_offers": user.wants_sms_offers},
    )
    if request.method == "POST" and form.is_valid():
        try:
            change_profile(
                user,
                wording=str(form.fields["marketing_consent"].label),
                sms_wording=str(form.fields["sms_offers"].label),
                ip_address=client_address(request),
                **form.cleaned_data,
            )
        except InvalidInput as error:
            form.add_error(error.field or None, str(error.message))
        else:
            messages.success(request, _("Your details are saved."))
            return redirect("accounts:profile")
    return render(request, "accounts/profile.html", {"form": form}, status=422 if form.errors else 200)
