"""How long bookings keep what came to nothing. Confirmed bookings stay: the books stand on them."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Exists, OuterRef
from django.utils.translation import gettext_lazy as _

from bookings.models import Booking, Quote
from bookings.personal import put_nobody_in
from foundation.personal import GONE, GONE_DOMAIN
from foundation.retention import Rule, delete_oldest


def _quotes(before: datetime, most: int) -> int:
    used = Exists(Booking.objects.filter(quote=OuterRef("pk")))
    return delete_oldest(Quote.objects.filter(~used, expires_at__lt=before), most)


def _holds(before: datetime, most: int) -> int:
    lapsed = Booking.objects.filter(
        status=Booking.Status.EXPIRED,
        expired_at__lt=before,
        confirmed_at=None,
        kept_minor=0,
        taken_back_minor=0,
    ).exclude(driver_name=GONE, driver_email__endswith="@" + GONE_DOMAIN)
    keys = list(lapsed.order_by("pk").values_list("pk", flat=True)[:most])
    put_nobody_in(keys)
    return len(keys)


RULES = [
    Rule("quotes", _("prices that nobody booked"), "quotes", _quotes, least=7, most=3650),
    Rule(
        "lapsed holds",
        _("the driver of a booking that was never paid"),
        "lapsed_holds",
        _holds,
        least=1,
        most=3650,
    ),
]
