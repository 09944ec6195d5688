"""Home and results: where, from when to when, and what it costs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe
from django.views.decorators.vary import vary_on_headers
from django_htmx.middleware import HtmxDetails

from bookings import queries
from bookings.models import Airport, CarPark
from bookings.pages.forms import SearchForm, first_search, search_data
from bookings.pages.promo import remember_promo_code
from foundation.errors import DomainError
from foundation.shared_cache import shared_for

# Prices and spaces may be so old on a page; the hold looks at what is true.
SHARED_SECONDS = 15
SORTS = {
    "price": _("Price, lowest first"),
    "transfer": _("Transfer, quickest first"),
    "flexible": _("Most flexible first"),
}
ALTERNATIVE_DAYS = (-1, 1, 2)
PARTS = ("airport", "drop_off", "return")


class HtmxRequest(HttpRequest):
    """What a view gets behind HtmxMiddleware."""

    htmx: HtmxDetails


@shared_for(SHARED_SECONDS)
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Show the search form, filled with a week's stay; the script fills in this browser's last search."""
    remember_promo_code(request)
    airports = list(Airport.objects.filter(is_active=True).order_by("name"))
    wanted = (request.GET.get("airport") or "").upper()[:3]
    chosen = next((item for item in airports if item.iata == wanted), None)
    initial = first_search(chosen.zone if chosen else timezone.get_current_timezone())
    initial["airport"] = chosen.iata if chosen else ""
    context = {"form": SearchForm(initial=initial), "airports": airports, "remembers": True}
    return render(request, "bookings/home.html", context)


@shared_for(SHARED_SECONDS)
@require_safe
@vary_on_headers("HX-Request")
def results(request: HtmxRequest) -> HttpResponse:
    """List what the airport offers for the stay; an htmx request gets the list alone."""
    remember_promo_code(request)
    data, offsets = search_data(request.GET)
    form = SearchForm(data, offsets=offsets)
    if not form.is_valid():
        context: dict[str, Any] = {
            "form": form,
            "readings": _reading_links(request, form),
            "airports": Airport.objects.filter(is_active=True).order_by("name"),
        }
        return render(request, "bookings/home.html", context, status=422 if any(data.values()) else 200)
    stay = form.stay_query()
    airport: Airport = form.cleaned_data["airport"]
    start_at, end_at = form.cleaned_data["drop_off_at"], form.cleaned_data["return_at"]
    chosen = _filters(request)
    context = {
        "form": form,
        "airport": airport,
        "start_at": start_at,
        "end_at": end_at,
        "stay": stay,
        "stay_query": urlencode(stay),
        "sort": chosen["sort"],
        "sorts": SORTS.items(),
        "chosen": chosen,
        "kinds": CarPark.Kind.choices,
        "is_filtered": bool(chosen["covered"] or chosen["ev"] or chosen["accessible"] or chosen["kind"]),
    }
    try:
        offers = find_offers(airport, start_at=start_at, end_at=end_at, chosen=chosen)
    except DomainError as error:
        form.add_error(None, str(error.message))
        return render(
            request,
            "bookings/home.html",
            {"form": form, "airports": Airport.objects.filter(is_active=True).order_by("name")},
            status=422,
        )
    context["offers"] = [offer for offer in offers if not offer.sold_out]
    context["sold_out"] = [offer for offer in offers if offer.sold_out]
    if not context["offers"] and context["sold_out"]:
        context["alternatives"] = _alternatives(airport, stay, start_at, end_at, chosen)
    template = (
        "bookings/_results.html" if request.htmx and not request.htmx.boosted else "bookings/results.html"
    )
    return render(request, template, context)


def _filters(request: HttpRequest) -> dict[str, Any]:
    sort = request.GET.get("sort", "")
    kinds = {value for value, _label in CarPark.Kind.choices}
    return {
        "sort": sort if sort in SORTS else "price",
        "covered": request.GET.get("covered") == "1",
        "ev": request.GET.get("ev") == "1",
        "accessible": request.GET.get("accessible") == "1",
        "kind": [value for value in request.GET.getlist("kind") if value in kinds],
    }


def find_offers(
    airport: Airport, *, start_at: Any, end_at: Any, chosen: dict[str, Any]
) -> list[queries.Offer]:
    """Return the offers that pass the visitor's filters, in the order they asked for."""
    filters = queries.SearchFilters(
        covered=chosen["covered"],
        ev=chosen["ev"],
        accessible=chosen["accessible"],
        kinds=tuple(chosen["kind"]),
    )
    offers = queries.search(airport, start_at=start_at, end_at=end_at, now=timezone.now(), filters=filters)
    keys: dict[str, Any] = {
        "price": lambda offer: (offer.total.amount_minor, offer.car_park.transfer_minutes),
        "transfer": lambda offer: (offer.car_park.transfer_minutes, offer.total.amount_minor),
        "flexible": lambda offer: (_notice_hours(offer.policy), offer.total.amount_minor),
    }
    return sorted(offers, key=keys[chosen["sort"]])


def _notice_hours(policy: dict[str, Any]) -> tuple[int, int]:
    """Order policies: the shortest notice first, then the largest refund; no refund at all last."""
    tiers = [tier for tier in policy.get("tiers", []) if tier["refund_percent"]]
    if not tiers:
        return (10_000, 0)
    easiest = min(tiers, key=lambda tier: tier["notice_hours"])
    return (easiest["notice_hours"], -easiest["refund_percent"])


def _alternatives(
    airport: Airport, stay: dict[str, str], start_at: Any, end_at: Any, chosen: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return nearby days on which something is free, each with its cheapest price and address."""
    found = []
    now = timezone.now()
    for days in ALTERNATIVE_DAYS:
        shift = timedelta(days=days)
        start = (start_at.astimezone(airport.zone).replace(tzinfo=None) + shift).replace(tzinfo=airport.zone)
        end = (end_at.astimezone(airport.zone).replace(tzinfo=None) + shift).replace(tzinfo=airport.zone)
        if start <= now + timedelta(hours=1):
            continue
        try:
            offers = find_offers(airport, start_at=start, end_at=end, chosen=chosen)
        except DomainError:
            continue
        free = [offer for offer in offers if not offer.sold_out]
        if free:
            query = {
                "airport": airport.iata,
                "drop_off": f"{start:%Y-%m-%dT%H:%M}",
                "return": f"{end:%Y-%m-%dT%H:%M}",
            }
            cheapest = min(free, key=lambda offer: offer.total.amount_minor)
            found.append(
                {
                    "start_at": start,
                    "end_at": end,
                    "total": cheapest.total,
                    "url": f"{reverse('bookings:search')}?{urlencode(query)}",
                }
            )
    return found


def _reading_links(request: HttpRequest, form: SearchForm) -> list[dict[str, str]]:
    """Return one address for each way to read a local time that the clock change makes ambiguous."""
    links = []
    for part, reading in form.readings:
        query = {name: request.GET.get(name, "") for name in PARTS}
        for other in ("drop_off", "return"):
            if not query[other]:
                query[other] = f"{form.data.get(f'{other}_date', '')}T{form.data.get(f'{other}_time', '')}"
        query[part] = reading
        links.append(
            {
                "text": f"{reading[:10]} {reading[11:16]} (UTC{reading[-6:]})",
                "url": f"{reverse('bookings:search')}?{urlencode(query)}",
            }
        )
    return links
