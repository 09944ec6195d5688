"""Stopping offers, and choosing them again, without signing in."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from communications.catalogue import EMAIL
from communications.models import ConsentEntry, ConsentSource, ConsentState
from communications.services import consent
from communications.services import unsubscribe as links
from foundation.middleware import client_address


# nosemgrep: csrf-exempt-outside-webhooks - a mail program posts without any page of ours (RFC 8058); the link is signed
@csrf_exempt
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    """Stop offers with one POST, from a mail program's own button (RFC 8058) or ours. GET only asks: scanners open every link.

    No sign-in and no form token: whoever holds the link may do what it is for, and again.
    """
    channel, key = _read(token)
    wording = (
        _("You will get no more offers by e-mail.")
        if channel == EMAIL
        else _("You will get no more offers by SMS.")
    )
    if request.method == "POST":
        if (
            request.POST.get("List-Unsubscribe") == "One-Click"
        ):  # the mail program's button: no page was shown
            _withdraw(
                channel, key, ConsentSource.ONE_CLICK, "List-Unsubscribe=One-Click", how="one-click POST"
            )
        else:
            _withdraw(
                channel, key, ConsentSource.PREFERENCES, wording, how="unsubscribe page", was_shown=True
            )
    context = {
        "channel": channel,
        "token": token,
        "wording": wording,
        "is_subscribed": _is_subscribed(channel, key),
    }
    return _private(render(request, "communications/unsubscribe.html", context))


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def choose(request: HttpRequest, token: str) -> HttpResponse:
    """Show whether offers come on this channel, and change it."""
    channel, key = _read(token)
    wording = _("Send me offers. I can stop them at any time.")
    if request.method == "POST":
        wanted = request.POST.get("offers") == "yes"
        if wanted:
            known = ConsentEntry.objects.filter(channel=channel, address_key=key).exclude(address="").first()
            if known is not None:
                consent.record_consent(
                    channel=channel,
                    address=known.address,
                    is_granted=True,
                    source=ConsentSource.PREFERENCES,
                    now=timezone.now(),
                    wording=wording,
                    language=get_language() or "",
                    ip_address=client_address(request),
                )
        else:
            _withdraw(
                channel, key, ConsentSource.PREFERENCES, wording, how="preferences page", was_shown=True
            )
        return redirect(f"{request.path}?saved=1")
    context = {
        "channel": channel,
        "token": token,
        "wording": wording,
        "is_subscribed": _is_subscribed(channel, key),
        "is_saved": "saved" in request.GET,
        "is_unknown": "unknown" in request.GET,
    }
    return _private(render(request, "communications/preferences.html", context))


def _withdraw(
    channel: str, key: str, source: str, wording: str, *, how: str, was_shown: bool = False
) -> None:
    consent.withdraw(
        channel=channel,
        address_key=key,
        source=source,
        now=timezone.now(),
        wording=wording,
        language=(get_language() or "") if was_shown else "",
        note=f"{how}, wording {consent.version_of(wording)}",
    )


def _read(token: str) -> tuple[str, str]:
    try:
        return links.read(token)
    except links.BadLink:
        raise Http404 from None


def _is_subscribed(channel: str, key: str) -> bool:
    return ConsentState.objects.filter(channel=channel, address_key=key, is_granted=True).exists()


def _private(response: HttpResponse) -> HttpResponse:
    # The address is the key. Not "no-referrer": browsers then post with the origin "null", which is refused.
    response["Referrer-Policy"] = "same-origin"
    response["X-Robots-Tag"] = "noindex"
    return response
