"""Who may see a booking: its owner, staff with the permission, and whoever holds the guest link."""

from __future__ import annotations

import base64
import hashlib
import uuid
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.utils.crypto import constant_time_compare, salted_hmac
from django.utils.translation import gettext as _

from bookings.models import Booking
from foundation.errors import NotAllowed, NotFound

DOCUMENTED_REFERENCE = "test-booking"


def with_places() -> QuerySet[Booking]:
    """Bookings joined to what every door shows: product, car park, airport, operator, pool."""
    return Booking.objects.select_related(
        "product__car_park__airport", "product__car_park__operator", "pool", "user"
    )


def guest_token_for(reference: str, quote_id: uuid.UUID) -> str:
    """Return the secret of the guest link: 128 bits in 26 small letters and digits, short enough for one SMS.

    Derived, so that a later message can carry the same link. Only its sha256 is stored; without
    the site's secret key the database does not give the link away.
    """
    digest = salted_hmac("bookings.guest", f"{reference}:{quote_id}", algorithm="sha256").digest()
    return base64.b32encode(digest[:16]).decode().rstrip("=").lower()


def tidy_reference(text: str) -> str:
    """Return a reference as it is stored: in capitals, but for the one that the documentation names."""
    reference = text.strip()
    return reference if reference == DOCUMENTED_REFERENCE else reference.upper()


def hashed(token: str) -> str:
    """Return what is stored of a guest token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def guest_token_matches(booking: Booking, token: str) -> bool:
    """Say whether the token opens the booking, in constant time."""
    return bool(token) and constant_time_compare(hashed(token), booking.guest_token_hash)


def booking_for(reference: str, *, user: Any, guest_token: str, to_change: bool = False) -> Booking:
    """Return the booking if this person may see it. Raises NotFound otherwise, whether or not it exists.

    to_change: for paying or cancelling it; staff who may only look get NotAllowed.
    """
    booking = with_places().filter(reference=reference).first() if _well_formed(reference) else None
    if booking is not None:
        if guest_token_matches(booking, guest_token or ""):
            return booking
        if getattr(user, "is_authenticated", False) and user.is_active:
            if booking.user_id == user.pk:
                return booking
            if user.is_staff and user.has_perm("bookings.view_booking"):
                if to_change and not user.has_perm("bookings.change_booking"):
                    raise NotAllowed(
                        _("Your account may look at this booking but not change it. Ask an administrator.")
                    )
                return booking
    raise NotFound(_("There is no such booking here."))


def guest_booking(reference: str, *, email: str) -> Booking:
    """Return the booking that this reference and driver's e-mail address name together. Raises NotFound."""
    reference = tidy_reference(reference)
    booking = with_places().filter(reference=reference).first() if _well_formed(reference) else None
    if booking is None or not constant_time_compare(
        hashed(booking.driver_email.lower()), hashed(email.strip().lower())
    ):
        raise NotFound(
            _("No booking has this reference and e-mail address. Check both on your confirmation.")
        )
    return booking


def manage_url(booking: Booking) -> str:
    """Return the address that a message gives the customer: the owner's page, or the guest link."""
    if booking.user_id is None:
        token = guest_token_for(booking.reference, booking.quote_id)
        if guest_token_matches(booking, token):  # no longer after the secret key changed
            return f"{settings.SITE_URL}/b/{booking.reference}/{token}"
    return f"{settings.SITE_URL}/bookings/{booking.reference}"


def _well_formed(reference: str) -> bool:
    return len(reference) <= 12 and reference.isascii() and reference.isprintable()
