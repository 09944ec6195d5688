"""The buttons that send a booking's messages again, on the customer's page and on staff's."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from bookings.pages.access import booking_from
from bookings.pages.limits import limit_posts
from bookings.services.tell_again import send_confirmation_again, send_reminder
from foundation.errors import DomainError
from payments.services.tell_again import send_payment_confirmation_again

WAYS = {
    "confirmation": send_confirmation_again,
    "reminder": send_reminder,
    "payment": send_payment_confirmation_again,
}


@never_cache
@require_POST
@limit_posts(group="send_again", rate="30/h")
def send_again(request: HttpRequest, reference: str) -> HttpResponse:
    """Send one of the booking's messages again to its own contact, and go back to where the button was."""
    booking = booking_from(request, reference, to_change=True)
    way = WAYS.get(request.POST.get("what", ""))
    if way is None:
        messages.error(request, _("Choose what is to be sent."))
    else:
        try:
            told = way(booking, by=request.user, now=timezone.now())
        except DomainError as error:
            messages.error(request, str(error.message))
        else:
            if told.is_duplicate:
                messages.info(
                    request, _("It was sent a few minutes ago. Please look there before you ask again.")
                )
            else:
                messages.success(
                    request, _("It is on its way to %(address)s.") % {"address": booking.driver_email}
                )
    if "admin" in request.POST and request.user.is_staff:
        return redirect("admin:bookings_booking_change", booking.pk)
    return redirect("bookings:detail", booking.reference)
