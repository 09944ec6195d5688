"""Sending a payment's confirmation again."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from bookings.api.messages import answer
from communications.api.serializers import AboutBookingAnswer, AboutBookingInput
from foundation.api import idempotent
from payments.api.views import GUEST_TOKEN, OPTIONAL_KEY
from payments.services.tell_again import send_payment_confirmation_again


class PaymentConfirmationView(APIView):
    permission_classes = [AllowAny]

    @extend_schema(
        request=AboutBookingInput,
        responses={202: AboutBookingAnswer},
        parameters=[OPTIONAL_KEY, GUEST_TOKEN],
        tags=["messages"],
    )
    @idempotent(required=False)
    def post(self, request: Request) -> Response:
        """Send the confirmation of the booking's latest payment again, with its receipt. 409 not_due when nothing was paid."""
        return answer(request, send_payment_confirmation_again)
