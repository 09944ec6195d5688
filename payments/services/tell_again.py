"""Sending a payment's confirmation again."""

from __future__ import annotations

from datetime import datetime

from django.utils.translation import gettext_lazy as _

from bookings.models import Booking
from bookings.services.tell_again import NotDue, Told, once
from payments.models import Payment
from payments.services.messages import tell_paid


def send_payment_confirmation_again(booking: Booking, *, now: datetime) -> Told:
    """Send the confirmation of the booking's latest payment, with its receipt, once more. Locks the booking. Raises NotDue."""
    payment = (
        Payment.objects.filter(booking=booking, captured_minor__gt=0)
        .select_related("booking__product__car_park__airport")
        .order_by("-captured_at")
        .first()
    )
    if payment is None:
        raise NotDue(_("Nothing was paid for this booking."))
    return once(booking, kind="payment_confirmation", send=lambda key: tell_paid(payment, once=key), now=now)
