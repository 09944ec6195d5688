"""The details page: who drives what. Posting it takes the space and leads to payment."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.views import redirect_to_login
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from bookings.models import Booking, Product, PromoCode
from bookings.pages.access import remember_guest_booking
from bookings.pages.forms import DetailsForm, SearchForm, describe_fields, search_data
from bookings.pages.limits import limit_posts
from bookings.pages.promo import PROMO_CODE, remember_promo_code
from bookings.services import hold, promo, quote
from bookings.services.errors import CarParkClosed
from foundation import features
from foundation.errors import DomainError, InvalidInput
from foundation.languages import language_of
from foundation.middleware import client_address
from foundation.money import Money

# Where a service's complaint about a public field is shown in the form.
FIELD_OF = {
    "driver.name": "name", "driver.email": "email", "driver.phone": "phone", "vehicle.plate": "plate",
    "flights.outbound": "outbound_flight", "flights.return": "return_flight", "promoCode": "promo_code",
}  # fmt: skip
UNAVAILABLE = ("car_park_full", "not_on_sale")


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@limit_posts(group="hold", rate="20/m")
def book(request: HttpRequest, product_id: int) -> HttpResponse:
    """Ask for the driver's details; a valid post places the hold, or shows the price if it changed since."""
    product = (
        Product.objects.select_related("car_park__airport", "car_park__operator", "pool", "tariff", "policy")
        .filter(pk=product_id, is_active=True)
        .first()
        if product_id < 2**63
        else None
    )
    if product is None:
        raise Http404(_("That parking product is not on sale."))
    if not request.user.is_authenticated and not features.is_on("guest_checkout"):
        return redirect_to_login(request.get_full_path())
    params = request.POST if request.method == "POST" else request.GET
    airport = product.car_park.airport
    data, offsets = search_data(params)
    data["airport"] = airport.iata
    search = SearchForm(data, offsets=offsets)
    if not search.is_valid():
        again = {"airport": airport.iata} | {part: params.get(part, "") for part in ("drop_off", "return")}
        return redirect(f"{reverse('bookings:search')}?{urlencode(again)}")
    stay = search.stay_query()
    start_at, end_at = search.cleaned_data["drop_off_at"], search.cleaned_data["return_at"]
    now = timezone.now()
    context: dict[str, Any] = {
        "product": product,
        "car_park": product.car_park,
        "airport": airport,
        "zone": airport.zone,
        "start_at": start_at,
        "end_at": end_at,
        "stay": stay,
        "search_url": f"{reverse('bookings:search')}?{urlencode(stay)}",
        "policy": product.policy,
        "attempt": uuid.uuid4(),
    }
    try:
        if not product.car_park.is_open:
            raise CarParkClosed
        code, promo_code, refused = _promo(request, product, now=now)
        priced = quote.price_stay(product, start_at=start_at, end_at=end_at, now=now, promo=promo_code)
    except DomainError as error:
        return render(request, "bookings/unavailable.html", context | {"reason": error.message}, status=409)
    context |= {"priced": priced, "promo": promo_code, "promo_refused": refused}
    if request.method != "POST" or "apply" in request.POST:
        typed = request.POST.dict() if request.method == "POST" else _known(request)
        context["form"] = DetailsForm(
            initial={**typed, "promo_code": code}, needs_flight_number=product.needs_flight_number
        )
        return render(
            request,
            "bookings/details.html",
            context,
            status=422 if refused and "apply" in request.POST else 200,
        )

    form = DetailsForm(request.POST, needs_flight_number=product.needs_flight_number)
    context["form"] = form
    if form.is_valid() and refused:
        form.add_error("promo_code", refused)
        describe_fields(form)
    if not form.is_valid():
        return render(request, "bookings/details.html", context, status=422)
    user = request.user if request.user.is_authenticated else None
    try:
        with transaction.atomic():
            attempt = _attempt(request)
            held, unused = hold.earlier_attempt(attempt)
            if held is not None and _is_repeat(
                held, product, form, start_at=start_at, end_at=end_at, now=now
            ):
                return _to_payment(request, held)
            offer = quote.quote_stay(
                product,
                start_at=start_at,
                end_at=end_at,
                now=now,
                user=user,
                promo_code=code,
                quote_id=attempt if unused else None,
            )
            shown = _shown_total(request, offer.currency)
            if shown is not None and shown.amount_minor != offer.total_minor:
                context |= {"priced": priced, "was": shown}
                return render(request, "bookings/details.html", context, status=409)
            placed = hold.place_hold(
                offer,
                driver=hold.Driver(
                    name=form.cleaned_data["name"],
                    email=form.cleaned_data["email"],
                    phone=form.cleaned_data["phone"],
                ),
                plate=form.cleaned_data["plate"],
                flights=hold.Flights(
                    outbound=form.cleaned_data["outbound_flight"], return_=form.cleaned_data["return_flight"]
                ),
                user=user,
                language=form.cleaned_data["language"] or language_of(request),
                offers_wording=str(form.fields["offers"].label) if form.cleaned_data["offers"] else "",
                address=client_address(request),
                now=now,
            )
    except InvalidInput as error:
        form.add_error(FIELD_OF.get(error.field or ""), str(error.message))
        describe_fields(form)
        return render(request, "bookings/details.html", context, status=422)
    except DomainError as error:
        if error.code in UNAVAILABLE:
            return render(
                request, "bookings/unavailable.html", context | {"reason": error.message}, status=409
            )
        form.add_error(None, str(error.message))
        return render(request, "bookings/details.html", context, status=409)
    return _to_payment(request, placed.booking)


def _to_payment(request: HttpRequest, booking: Booking) -> HttpResponse:
    if not request.user.is_authenticated:
        remember_guest_booking(request, booking.reference)
    return redirect("payments:pay", reference=booking.reference)


def _promo(request: HttpRequest, product: Product, *, now: datetime) -> tuple[str, PromoCode | None, str]:
    """Return the code that was entered, or came with the visitor's link, the promo code it is, and why it does not hold."""
    if request.method == "POST":
        code = request.POST.get("promo_code", "")
    else:
        remember_promo_code(request)
        code = request.session.get(PROMO_CODE, "")
    user = request.user if request.user.is_authenticated else None
    try:
        return code, promo.promo_for(code, product=product, now=now, user=user), ""
    except InvalidInput as error:
        return code, None, str(error.message)


def _attempt(request: HttpRequest) -> uuid.UUID:
    """Return the id that the details page gave this form, so that pressing its button twice holds one space."""
    try:
        return uuid.UUID(request.POST.get("attempt", ""))
    except ValueError:
        return uuid.uuid4()


def _is_repeat(
    held: Booking,
    product: Product,
    form: DetailsForm,
    *,
    start_at: datetime,
    end_at: datetime,
    now: datetime,
) -> bool:
    """Say whether this is the form that made the hold, sent again unchanged while the hold can be paid."""
    given = form.cleaned_data
    return (
        held.hold_expires_at is not None
        and held.hold_expires_at > now
        and (held.product_id, held.start_at, held.end_at) == (product.pk, start_at, end_at)
        and (held.driver_name, held.driver_email) == (given["name"], given["email"])
        and (str(held.driver_phone), held.plate) == (given["phone"], given["plate"])
        and (held.outbound_flight, held.return_flight) == (given["outbound_flight"], given["return_flight"])
    )


def _shown_total(request: HttpRequest, currency: str) -> Money | None:
    """Return the price the visitor saw before pressing the button, if the form still says it."""
    text = request.POST.get("shown_total_minor", "")
    return Money(int(text), currency) if text.isascii() and text.isdigit() and len(text) <= 9 else None


def _known(request: HttpRequest) -> dict[str, str]:
    if not request.user.is_authenticated:
        return {"language": language_of(request)}
    return {
        "language": language_of(request),
        "name": request.user.name,
        "email": request.user.email,
        "phone": str(request.user.phone or ""),
    }
