"""The least that Django REST framework can do for a hold: one view, the same SQL, no service and no serializer."""

from __future__ import annotations

from typing import Any

from django.db import connection, transaction
from django.urls import path
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

BOOKING = """
INSERT INTO bookings_booking (reference, status, product_id, pool_id, quote_id, start_at, end_at, driver_name,
    driver_email, driver_phone, plate, outbound_flight, return_flight, language, total_minor, currency, lines, policy,
    hold_expires_at, guest_token_hash, created_at)
SELECT bench_reference(), 'held', p.id, p.pool_id, q.id, q.start_at, q.end_at, 'Bench Driver', %s, '+442079460123',
    upper(substr(md5(random()::text), 1, 12)), '', '', 'en', q.total_minor, q.currency, q.lines, q.policy, now() + interval '15 minutes',
    repeat('a', 64), now()
FROM bookings_quote q JOIN bookings_product p ON p.id = q.product_id WHERE q.id = %s
RETURNING id, reference
"""
EVENT = "INSERT INTO bookings_bookingevent (booking_id, kind, at, data) VALUES (%s, 'held', now(), '{}')"
SPACE = """
INSERT INTO bookings_occupancy (booking_id, pool_id, period)
SELECT id, pool_id, tstzrange(start_at, end_at) FROM bookings_booking WHERE id = %s
"""


class HoldView(APIView):
    """POST {quoteId, driver: {email}}."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    def post(self, request: Request) -> Response:
        data: Any = request.data
        email = data["driver"]["email"]
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT bookings_open_holds(NULL, %s, now(), 5)", [email])
            cursor.execute(BOOKING, [email, data["quoteId"]])
            booking, reference = cursor.fetchone()
            cursor.execute(EVENT, [booking])
            cursor.execute(SPACE, [booking])
        return Response({"bookingId": reference}, status=201)


urlpatterns = [path("api/bookings", HoldView.as_view())]
