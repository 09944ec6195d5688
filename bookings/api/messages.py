"""Sending a booking's messages again, for its customer and for staff."""

from __future__ import annotations

from collections.abc import Callable

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from bookings.api.views import GUEST_TOKEN, OPTIONAL_KEY, booking_of, caller_of
from bookings.services.tell_again import Told, send_confirmation_again, send_reminder
from communications.api.serializers import AboutBookingAnswer, AboutBookingInput
from communications.api.views import queued
from foundation.api import idempotent, limit_rate, valid


def answer(request: Request, tell: Callable[..., Told]) -> Response:
    """Send again what `tell` says about the caller's booking, to its stored contact only."""
    given = valid(AboutBookingInput, request)
    booking = booking_of(request, given["bookingId"], to_change=True)
    limit_rate(request, "messages", account=booking.reference)
    told = tell(booking, by=caller_of(request), now=timezone.now())
    return Response({**queued(told.message), "duplicate": told.is_duplicate}, status=202)


class BookingConfirmationView(APIView):
    permission_classes = [AllowAny]

    @extend_schema(
        request=AboutBookingInput,
        responses={202: AboutBookingAnswer},
        parameters=[OPTIONAL_KEY, GUEST_TOKEN],
        tags=["messages"],
    )
    @idempotent(required=False)
    def post(self, request: Request) -> Response:
        """Send the booking confirmation again. 409 not_due unless the booking stands."""
        return answer(request, send_confirmation_again)


class BookingReminderView(APIView):
    permission_classes = [AllowAny]

    @extend_schema(
        request=AboutBookingInput,
        responses={202: AboutBookingAnswer},
        parameters=[OPTIONAL_KEY, GUEST_TOKEN],
        tags=["messages"],
    )
    @idempotent(required=False)
    def post(self, request: Request) -> Response:
        """Remind of the drop-off or the return, whichever comes next. 409 not_due when the stay is over."""
        return answer(request, send_reminder)
