"""Who may open a booking's pages: its owner, staff, and the guest whose session holds the reference."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest
from django.utils.translation import gettext as _

from accounts.sign_ins import renew_session
from bookings.models import Booking
from bookings.services import access
from foundation.errors import NotAllowed, NotFound

SESSION_KEY = "guest_bookings"
LONGEST_LIST = 30


def remember_guest_booking(request: HttpRequest, reference: str) -> None:
    """Let this session open the booking from now on; the oldest of too many references is forgotten.

    The session gets a new key: whoever planted the old one in this browser is not let in with the guest.
    """
    renew_session(request)
    known = [item for item in request.session.get(SESSION_KEY, []) if item != reference]
    request.session[SESSION_KEY] = [reference, *known][:LONGEST_LIST]


def guest_references(request: HttpRequest) -> list[str]:
    """Return the references that this session may open without an account, newest first."""
    return list(request.session.get(SESSION_KEY, []))


def booking_from(request: HttpRequest, reference: str, *, to_change: bool = False) -> Booking:
    """Return the booking if this visitor may see it. Raises Http404 for what is not theirs.

    to_change: for paying or cancelling it; staff who may only look get PermissionDenied (403).
    """
    reference = access.tidy_reference(reference)
    if reference in guest_references(request):
        found = access.with_places().filter(reference=reference).first()
        if found is not None:
            return found
    try:
        return access.booking_for(reference, user=request.user, guest_token="", to_change=to_change)
    except NotAllowed as error:
        raise PermissionDenied(str(error.message)) from None
    except NotFound:
        raise Http404(_("There is no such booking here.")) from None
