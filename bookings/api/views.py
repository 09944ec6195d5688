"""Search, quotes, holds and bookings for programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import User
from bookings import queries
from bookings.api import serializers as s
from bookings.models import Airport, Booking, Product, Quote
from bookings.services.access import booking_for
from bookings.services.cancel import cancel, preview_cancellation
from bookings.services.hold import Driver, Flights, place_hold
from bookings.services.lapse import held_amendment
from bookings.services.quote import quote_stay
from foundation.api import CursorPagination, idempotent, limit_rate, query_of, valid
from foundation.errors import InvalidInput, NotFound
from foundation.languages import language_of
from foundation.middleware import client_address
from foundation.shared_cache import shared_for

OFFERS_PER_PAGE = 20
SORT_KEYS: dict[str, Callable[[queries.Offer], Any]] = {
    "transfer": lambda offer: offer.car_park.transfer_minutes,
    "name": lambda offer: (offer.car_park.name, offer.product.name),
}
GUEST_TOKEN = OpenApiParameter(
    "X-Guest-Token",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description=_("Of a booking without an account."),
)
OPTIONAL_KEY = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description=_("Optional. A repeat with the same key gets the same answer and makes nothing new."),
)


def caller_of(request: Request) -> Any:
    """Return the signed-in user, or None."""
    return request.user if request.user.is_authenticated else None


def booking_of(request: Request, reference: str, *, to_change: bool = False) -> Booking:
    """Return the booking if the caller's account or X-Guest-Token opens it. Raises NotFound for everyone else.

    to_change: staff who may only look get NotAllowed.
    """
    return booking_for(
        reference,
        user=caller_of(request),
        guest_token=request.headers.get("X-Guest-Token", ""),
        to_change=to_change,
    )


class PublicView(APIView):
    permission_classes = [AllowAny]


@method_decorator(shared_for(60), name="dispatch")
class AirportsView(PublicView):
    @extend_schema(responses={200: s.AirportAnswer(many=True)}, tags=["search"])
    def get(self, request: Request) -> Response:
        """List the airports that can be booked."""
        airports = Airport.objects.filter(is_active=True).order_by("iata")
        return Response([s.airport_body(airport) for airport in airports])


@method_decorator(shared_for(15), name="dispatch")
class SearchView(PublicView):
    @extend_schema(parameters=[s.SearchQuery], responses={200: s.SearchAnswer}, tags=["search"])
    def get(self, request: Request) -> Response:
        """Offers for a stay, with what each costs in all and how many spaces are left."""
        asked = query_of(s.SearchQuery, request)
        airport = Airport.objects.filter(iata=asked["airport"].upper(), is_active=True).first()
        if airport is None:
            raise NotFound(_("We have no car parks at this airport. /api/airports lists those we have."))
        offers = queries.search(
            airport,
            start_at=queries.parse_local(asked["dropOff"], airport.zone, field="dropOff"),
            end_at=queries.parse_local(asked["return"], airport.zone, field="return"),
            now=timezone.now(),
            filters=queries.SearchFilters(
                covered=asked.get("covered", False),
                ev=asked.get("ev", False),
                kinds=(asked["kind"],) if "kind" in asked else (),
            ),
        )
        if asked["sort"] in SORT_KEYS:  # the query's own order is by price
            offers.sort(key=lambda offer: (offer.sold_out, SORT_KEYS[asked["sort"]](offer)))
        first = (asked["page"] - 1) * OFFERS_PER_PAGE
        more = len(offers) > first + OFFERS_PER_PAGE
        return Response(
            {
                "results": [s.offer_body(offer) for offer in offers[first : first + OFFERS_PER_PAGE]],
                "next": _page_address(request, asked["page"] + 1) if more else None,
                "previous": _page_address(request, asked["page"] - 1) if asked["page"] > 1 else None,
            }
        )


def _page_address(request: Request, page: int) -> str:
    query = urlencode({**dict(request.query_params.items()), "page": page})
    return request.build_absolute_uri(f"{request.path}?{query}")


class QuotesView(PublicView):
    @extend_schema(request=s.QuoteInput, responses={201: s.QuoteAnswer}, tags=["booking"])
    def post(self, request: Request) -> Response:
        """Price a stay. The price and the policy hold until `expiresAt`; no space is kept yet."""
        user = caller_of(request)
        limit_rate(request, "quotes", account=str(user.pk) if user else "")
        asked = valid(s.QuoteInput, request)
        product = (
            Product.objects.select_related("car_park__airport", "pool", "tariff", "policy")
            .filter(pk=asked["productId"], is_active=True)
            .first()
        )
        if product is None:
            raise NotFound(_("There is no such product. Take productId from a search."))
        zone = product.car_park.airport.zone
        quote = quote_stay(
            product,
            start_at=queries.parse_local(asked["dropOff"], zone, field="dropOff"),
            end_at=queries.parse_local(asked["return"], zone, field="return"),
            now=timezone.now(),
            user=user,
            promo_code=asked["promoCode"],
        )
        return Response(s.quote_body(quote), status=201)


class NewestFirst(CursorPagination):
    ordering = ("-created_at", "-pk")  # type: ignore[assignment]  # DRF takes several; the stubs know one


class BookingsView(APIView):
    def get_permissions(self) -> list[Any]:
        return [AllowAny()] if self.request.method == "POST" else [IsAuthenticated()]

    def idempotency_principal(self, request: Request) -> str:
        """A guest has no name yet; the quote's id is known to its owner only."""
        user = caller_of(request)
        data = request.data if isinstance(request.data, dict) else {}
        return f"user:{user.pk}" if user else f"quote:{str(data.get('quoteId'))[:64]}"

    @extend_schema(operation_id="bookings_list", responses={200: s.BookingsAnswer}, tags=["booking"])
    def get(self, request: Request) -> Response:
        """List the caller's own bookings, newest first."""
        assert isinstance(request.user, User)  # get_permissions
        paginator = NewestFirst()
        rows = Booking.objects.filter(user=request.user).select_related("product__car_park__airport", "pool")
        page = paginator.paginate_queryset(rows, request, view=self)
        return paginator.get_paginated_response([s.booking_body(booking) for booking in page or []])

    @extend_schema(
        request=s.BookingInput, responses={201: s.HoldAnswer}, parameters=[OPTIONAL_KEY], tags=["booking"]
    )
    @idempotent(required=False)
    def post(self, request: Request) -> Response:
        """Keep a space for the quoted stay until `holdExpiresAt`; pay before then. 409 `car_park_full` if none is left."""
        user = caller_of(request)
        limit_rate(request, "bookings", account=str(user.pk) if user else "")
        asked = valid(s.BookingInput, request)
        quote = Quote.objects.select_related("product").filter(pk=asked["quoteId"]).order_by().first()
        if quote is None or (quote.user_id is not None and quote.user_id != (user.pk if user else None)):
            raise InvalidInput(_("There is no such quote. Ask for a new one."), field="quoteId")
        flights = asked.get("flights", {})
        driver = asked["driver"]
        placed = place_hold(
            quote,
            driver=Driver(**driver),
            plate=asked["vehicle"]["plate"],
            flights=Flights(outbound=flights.get("outbound", ""), return_=flights.get("return", "")),
            user=user,
            language=asked.get("language") or language_of(request._request),
            address=client_address(request._request),
            now=timezone.now(),
        )
        return Response(s.hold_body(placed.booking, placed.guest_token), status=201)


class BookingView(PublicView):
    @extend_schema(responses={200: s.BookingAnswer}, parameters=[GUEST_TOKEN], tags=["booking"])
    def get(self, request: Request, reference: str) -> Response:
        """One booking, for its owner, the holder of its guest token, and staff."""
        booking = booking_of(request, reference)
        return Response(s.booking_body(booking, held_amendment(booking)))


class CancellationView(PublicView):
    @extend_schema(responses={200: s.CancellationPreviewAnswer}, parameters=[GUEST_TOKEN], tags=["booking"])
    def get(self, request: Request, reference: str) -> Response:
        """What cancelling now would give back. The token makes POST .../cancel execute exactly this."""
        preview = preview_cancellation(booking_of(request, reference), now=timezone.now())
        return Response(
            {
                "refund": preview.refund.to_major(),
                "currency": preview.refund.currency,
                "lines": s.lines_body(preview.lines, preview.refund.currency),
                "previewToken": preview.token,
                "expiresAt": s.instant(preview.expires_at),
            }
        )


class CancelView(PublicView):
    @extend_schema(
        request=s.CancelInput,
        responses={200: s.CancelAnswer},
        parameters=[OPTIONAL_KEY, GUEST_TOKEN],
        tags=["booking"],
    )
    @idempotent(required=False)
    def post(self, request: Request, reference: str) -> Response:
        """Cancel and give back exactly what the preview said. 409 when the preview is out of date."""
        booking = booking_of(request, reference, to_change=True)
        asked = valid(s.CancelInput, request)
        due = cancel(
            booking, preview_token=asked["previewToken"], now=timezone.now(), requested_by=caller_of(request)
        )
        return Response(
            {
                "status": "cancelled",
                "refund": {
                    "amount": s.Money(due.refund_minor, due.currency).to_major(),
                    "currency": due.currency,
                    "status": "requested" if due.refund_minor else "none",
                },
            }
        )
