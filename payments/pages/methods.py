"""A customer's saved cards and wallets: list, add, choose the default, remove."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from bookings.pages.limits import limit_posts, limit_visits
from foundation.errors import DomainError, NotFound
from foundation.middleware import client_address
from payments import queries
from payments.gateways import savable
from payments.models import Provider, StoredMethod
from payments.services import methods


def shown(stored: StoredMethod) -> dict[str, Any]:
    """What a page says of a saved method."""
    return {
        "id": stored.pk,
        "provider": stored.provider,
        "label": stored.label,
        "expiry": stored.expiry,
        "is_default": stored.is_default,
        "has_expired": stored.has_expired(timezone.now().date()),
    }


@never_cache
@login_required
@require_safe
def method_list(request: HttpRequest) -> HttpResponse:
    """List the customer's saved cards and wallets."""
    rows = [shown(stored) for stored in queries.stored_methods(request.user)]
    return render(request, "payments/methods.html", {"methods": rows, "providers": savable()})


@never_cache
@login_required
@limit_visits(group="methods", rate="20/m")
@require_safe
def add(request: HttpRequest) -> HttpResponse:
    """Show the provider's form to save a card without paying."""
    try:
        setup = methods.begin_setup(request.user, address=client_address(request))
    except DomainError as error:
        messages.error(request, str(error.message))
        return redirect("payments:methods")
    return render(
        request,
        "payments/add_method.html",
        {
            "setup": setup,
            "stripe_js_url": settings.STRIPE_JS_URL,
            "return_url": request.build_absolute_uri(
                f"{reverse('payments:method_added')}?{urlencode({'setup': setup.setup_ref})}"
            ),
            "locale": get_language() or "en",
        },
    )


@login_required
@limit_posts(group="methods", rate="20/m")
@require_POST
def add_paypal(request: HttpRequest) -> HttpResponse:
    """Lead the customer to PayPal's own page, where they agree that we keep the wallet; they come back to `added`."""
    if Provider.PAYPAL not in savable():
        raise Http404
    try:
        setup = methods.begin_setup(request.user, provider=Provider.PAYPAL)
    except DomainError as error:
        messages.error(request, str(error.message))
        return redirect("payments:methods")
    return redirect(setup.approve_url)


@never_cache
@login_required
@require_safe
def added(request: HttpRequest) -> HttpResponse:
    """Come back from the provider's form or from PayPal's page: store what the provider says was saved."""
    agreed = request.GET.get("approval_token_id", "")[:255]
    provider = Provider.PAYPAL if agreed else Provider.STRIPE
    if provider not in savable():
        raise Http404
    try:
        stored = methods.save_method(
            request.user, setup_ref=agreed or request.GET.get("setup", "")[:255], provider=provider
        )
    except NotFound:
        raise Http404 from None
    except DomainError as error:
        messages.error(request, str(error.message))
        unfinished_card = isinstance(error, methods.SetupUnfinished) and not agreed
        return redirect("payments:add_method" if unfinished_card else "payments:methods")
    messages.success(request, _("%(card)s is saved.") % {"card": stored.label})
    return redirect("payments:methods")


@login_required
@require_POST
def make_default(request: HttpRequest, method_id: uuid.UUID) -> HttpResponse:
    """Offer this card first from now on."""
    try:
        stored = methods.make_default(request.user, method_id)
    except NotFound:
        raise Http404 from None
    messages.success(request, _("%(card)s is your default now.") % {"card": stored.label})
    return redirect("payments:methods")


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def remove(request: HttpRequest, method_id: uuid.UUID) -> HttpResponse:
    """Ask whether the card should go, and let it go."""
    try:
        stored = methods.own_method(request.user, method_id)
        if request.method == "POST":
            methods.remove(request.user, method_id, now=timezone.now())
    except NotFound:
        if request.method == "POST" and queries.was_removed(request.user, method_id):
            return redirect("payments:methods")  # pressed twice
        raise Http404 from None
    if request.method == "POST":
        messages.success(request, _("%(card)s is removed.") % {"card": stored.label})
        return redirect("payments:methods")
    return render(request, "payments/remove_method.html", {"method": shown(stored)})
