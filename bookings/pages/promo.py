"""The promo code that came with a link: kept in the session until the price is asked for."""

from __future__ import annotations

from django.http import HttpRequest

from bookings.services.promo import tidy

PROMO_CODE = "promo_code"


def remember_promo_code(request: HttpRequest) -> None:
    """Keep the address's ?code= for the details page; an empty one forgets it."""
    if "code" in request.GET:
        request.session[PROMO_CODE] = tidy(request.GET["code"])[:24]
