"""A booking after it was made: list, find, show, cancel, calendar entry and QR code."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import segno
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from bookings import queries
from bookings.models import Booking
from bookings.pages.access import booking_from, guest_references, remember_guest_booking
from bookings.pages.forms import FindForm
from bookings.pages.limits import limit_posts, limit_visits
from bookings.services import access, cancel
from bookings.services.amend import held_amendment, may_change
from bookings.services.messages import calendar_entry
from communications.senders.email import calendar_file
from foundation.errors import DomainError, NotFound

LIST_LENGTH = 100
MAP = "https://www.openstreetmap.org/?mlat={latitude}&mlon={longitude}#map=16/{latitude}/{longitude}"
Status = Booking.Status
LIVE = (Status.HELD, Status.CONFIRMED, Status.ARRIVED)
ENTERABLE = (Status.CONFIRMED, Status.ARRIVED)


@never_cache
@require_safe
def booking_list(request: HttpRequest) -> HttpResponse:
    """List the account's bookings and those this session has opened; strangers are asked for a reference."""
    rows = Booking.objects.select_related("product__car_park__airport")
    if request.user.is_authenticated:
        mine = rows.filter(user=request.user) | rows.filter(reference__in=guest_references(request))
    else:
        mine = rows.filter(reference__in=guest_references(request))
        if not guest_references(request):
            return redirect("bookings:find")
    found = list(mine.order_by("-start_at")[:LIST_LENGTH])
    now = timezone.now()
    upcoming = [row for row in found if row.status in LIVE and row.end_at > now - timedelta(days=1)]
    upcoming.sort(key=lambda row: row.start_at)
    past = [row for row in found if row not in upcoming and row.status != Status.EXPIRED]
    return render(request, "bookings/list.html", {"upcoming": upcoming, "past": past})


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@limit_posts(group="find", rate="10/m")
def find(request: HttpRequest) -> HttpResponse:
    """Let a guest open a booking by reference and e-mail; every wrong pair gets the same answer."""
    form = FindForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            booking = access.guest_booking(form.cleaned_data["reference"], email=form.cleaned_data["email"])
        except NotFound as error:
            form.add_error(None, str(error.message))
        else:
            remember_guest_booking(request, booking.reference)
            return redirect("bookings:detail", reference=booking.reference)
    return render(request, "bookings/find.html", {"form": form}, status=422 if form.errors else 200)


@never_cache
@require_safe
@limit_visits(group="guest_link", rate="30/m")
def guest_link(request: HttpRequest, reference: str, token: str) -> HttpResponse:
    """Exchange the link of a message for this session's access; the token leaves the address bar."""
    try:
        # The token alone opens it: an account's own right to look must not become a guest's right to cancel.
        booking = access.booking_for(access.tidy_reference(reference), user=None, guest_token=token)
    except NotFound:
        raise Http404(
            _("This link does not open a booking. Find it with its reference and your e-mail address.")
        ) from None
    remember_guest_booking(request, booking.reference)
    return redirect("bookings:detail", reference=booking.reference)


@never_cache
@require_safe
def detail(request: HttpRequest, reference: str) -> HttpResponse:
    """Show one booking: the pass, what happens on the day, the money and what can still be done."""
    booking = booking_from(request, reference)
    if booking.reference != reference:
        return redirect("bookings:detail", reference=booking.reference)
    context = pass_context(booking)
    waiting = held_amendment(booking) if context["can_change"] else None
    if waiting is not None and waiting.hold_expires_at > context["now"]:
        context["waiting_change"] = waiting
    return render(request, "bookings/detail.html", context | {"timeline": queries.timeline(booking)})


def pass_context(booking: Booking) -> dict[str, Any]:
    """Return what the boarding pass and the instructions for the day need."""
    car_park = booking.product.car_park
    now = timezone.now()
    return {
        "booking": booking,
        "now": now,
        "car_park": car_park,
        "airport": car_park.airport,
        "zone": booking.zone,
        "map_url": MAP.format(latitude=car_park.latitude, longitude=car_park.longitude),
        "can_enter": booking.status in ENTERABLE,
        "can_pay": booking.status == Status.HELD
        and booking.hold_expires_at is not None
        and booking.hold_expires_at > now,
        "can_change": may_change(booking, at=now),
        "can_cancel": booking.status in (Status.HELD, Status.CONFIRMED) and booking.start_at > now,
    }


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def cancel_booking(request: HttpRequest, reference: str) -> HttpResponse:
    """Show what would be refunded, line by line; a post carries out exactly what was shown."""
    booking = booking_from(request, reference, to_change=True)
    now = timezone.now()
    context = pass_context(booking)
    if request.method == "POST" and booking.status == Status.CANCELLED:
        return redirect("bookings:detail", reference=booking.reference)  # pressed twice
    if not context["can_cancel"]:
        messages.info(request, _("This booking can no longer be cancelled."))
        return redirect("bookings:detail", reference=booking.reference)
    if request.method == "POST":
        try:
            cancel.cancel(
                booking,
                preview_token=request.POST.get("preview_token", "")[:2000],
                now=now,
                requested_by=request.user if request.user.is_authenticated else None,
                reason=request.POST.get("reason", "").replace("\x00", "").strip()[:200],
            )
        except DomainError as error:
            if booking_from(request, reference).status == Status.CANCELLED:  # the other press was faster
                return redirect("bookings:detail", reference=booking.reference)
            context["problem"] = error.message
        else:
            messages.success(request, _("Your booking is cancelled."))
            return redirect("bookings:detail", reference=booking.reference)
    try:
        context["preview"] = cancel.preview_cancellation(booking, now=now)
    except DomainError as error:
        messages.error(request, str(error.message))
        return redirect("bookings:detail", reference=booking.reference)
    return render(request, "bookings/cancel.html", context, status=409 if "problem" in context else 200)


@never_cache
@require_safe
def calendar(request: HttpRequest, reference: str) -> HttpResponse:
    """Return the stay as the calendar entry that its e-mails bring, so that whoever takes both has it once."""
    booking = booking_from(request, reference)
    if booking.status not in ENTERABLE:
        raise Http404(_("Only a confirmed booking goes into a calendar."))
    file = calendar_file(calendar_entry(booking))
    response = HttpResponse(file, content_type="text/calendar; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{booking.reference}.ics"'
    return response


@never_cache
@require_safe
def qr(request: HttpRequest, reference: str) -> HttpResponse:
    """Return the reference as a QR code, which staff at the barrier scan when the cameras miss the plate."""
    booking = booking_from(request, reference)
    if booking.status not in ENTERABLE:
        raise Http404(_("Only a confirmed booking has a pass."))
    out = io.BytesIO()
    segno.make(booking.reference, error="m", micro=False).save(
        out, kind="svg", scale=8, border=2, dark="#1c1c1e", light="#ffffff"
    )
    return HttpResponse(out.getvalue(), content_type="image/svg+xml")
