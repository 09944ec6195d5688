"""A booking's own values for staff who write the words of messages."""

from __future__ import annotations

from typing import Any

from django.utils import translation

from bookings.services.access import booking_for, tidy_reference
from bookings.services.messages import pass_and_place
from foundation.errors import DomainError
from payments.models import Payment, Refund
from payments.services.messages import paid_variables


def variables_of_booking(kind: str, reference: str, *, user: Any, language: str) -> dict[str, Any] | None:
    """Return what this booking's messages would say, in the language; None for a booking that the user may not see.

    Of money only what happened: a booking without a refund has none to tell of.
    """
    try:
        booking = booking_for(tidy_reference(reference), user=user, guest_token="")
    except DomainError:
        return None
    booking.language = language  # only here, in memory
    payment = Payment.objects.filter(booking=booking, captured_minor__gt=0).order_by("-captured_at").first()
    refund = Refund.objects.filter(payment__booking=booking).order_by("-created_at").first()
    with translation.override(language):
        values: dict[str, Any] = pass_and_place(booking)
        if payment is not None:
            payment.booking = booking
            values |= paid_variables(payment)
        if refund is not None and kind != "payment_confirmation":
            amount = refund.amount.format(language)
            values |= {"amount": amount, "refund_amount": amount}
    return values
