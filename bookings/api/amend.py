"""Changing a booking, for programs."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from bookings import queries
from bookings.api import serializers as s
from bookings.api.views import GUEST_TOKEN, OPTIONAL_KEY, PublicView, booking_of, caller_of
from bookings.models import Booking
from bookings.services.amend import Change, amend, preview_amendment, shown_by
from foundation.api import idempotent, limit_rate, valid
from foundation.errors import InvalidInput


class AmendView(PublicView):
    @extend_schema(
        request=s.AmendInput,
        responses={200: s.AmendAnswer},
        parameters=[OPTIONAL_KEY, GUEST_TOKEN],
        tags=["booking"],
    )
    @idempotent(required=False)
    def post(self, request: Request, reference: str) -> Response:
        """Change the times, the plate, the driver or the flights of a booking. Ask with `preview: true` first.

        Only the difference of the stay is priced, at today's prices. With the preview's `previewToken` exactly what it showed is done;
        without one the change is made at the prices of this moment. What costs more is "held", with the new times kept, and made when
        `amountDue` is paid (create-intent charges just that); if it is not, the booking stands as it was. What costs less is made at once,
        and `refund` goes back. 409 `car_park_full` when there is no space at the new times, `preview_outdated` when the booking or the
        preview is no longer the same, `not_amendable` when nothing can be changed any more.
        """
        user = caller_of(request)
        limit_rate(request, "bookings", account=str(user.pk) if user else "")
        booking = booking_of(request, reference, to_change=True)
        asked = valid(s.AmendInput, request)
        now = timezone.now()
        if "previewToken" in asked:
            preview = shown_by(asked["previewToken"], booking=booking, now=now)
        else:
            preview = preview_amendment(booking, _change(asked, booking), now=now)
        if asked["preview"]:
            return Response(s.amend_body(booking, preview, None, is_done=False))
        amendment = amend(booking, preview_token=preview.token, now=now, requested_by=user)
        return Response(s.amend_body(booking, preview, amendment, is_done=True))


def _change(asked: dict[str, Any], booking: Booking) -> Change:
    driver, flights = asked.get("driver", {}), asked.get("flights", {})
    if not {"dropOff", "return", "plate"} & asked.keys() and not driver and not flights:
        raise InvalidInput(_("Send what should be different: dropOff, return, plate, driver or flights."))
    times = {
        name: queries.parse_local(asked[name], booking.zone, field=name) if name in asked else None
        for name in ("dropOff", "return")
    }
    return Change(
        start_at=times["dropOff"],
        end_at=times["return"],
        plate=asked.get("plate"),
        driver_name=driver.get("name"),
        driver_phone=driver.get("phone"),
        outbound_flight=flights.get("outbound"),
        return_flight=flights.get("return"),
    )
