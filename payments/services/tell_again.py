"""Sending a payment's confirmation again."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils.translation import gettext_lazy as _

from bookings.models import Booking
from bookings.services.tell_again import NotDue, Told, once
from communications.models import Message
from payments.models import Payment
from payments.services.messages import tell_paid


def send_payment_confirmation_again(booking: Booking, *, by: Any = None, now: datetime) -> Told:
    """Send the confirmation of the booking's latest payment, with its receipt, once more. Locks the booking. Raises NotDue."""
    return once(booking, kind_of=_kind, send=_send, by=by, now=now)


def _latest(booking: Booking) -> Payment | None:
    return Payment.objects.filter(booking=booking, captured_minor__gt=0).order_by("-captured_at").first()


def _kind(booking: Booking) -> str:
    if _latest(booking) is None:
        raise NotDue(_("Nothing was paid for this booking."))
    return "payment_confirmation"


def _send(booking: Booking, key: str) -> list[Message]:
    payment = _latest(booking)
    assert payment is not None  # _kind
    payment.booking = booking
    return tell_paid(payment, once=key)
