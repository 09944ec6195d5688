"""Staff door to changing a booking's times: with a preview, a reason, and the permission to change bookings."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from bookings.models import Booking
from bookings.pages.change import StayForm
from bookings.services.amend import amend, held_amendment, may_change, preview_amendment
from foundation import audit
from foundation.admin import ReasonForm
from foundation.errors import DomainError

CHANGE_PERMISSION = "bookings.change_booking"


class StaffStayForm(StayForm, ReasonForm):
    """New times, and why."""

    field_order = (
        "drop_off_date", "drop_off_time", "drop_off_offset", "return_date", "return_time", "return_offset", "reason",
    )  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.widget.attrs["class"] = "ops-input"


class AmendingAdmin:
    """The page "Change the times…" of a booking."""

    admin_site: Any

    def get_urls(self) -> list[Any]:
        page = path(
            "<int:booking_id>/amend/",
            self.admin_site.admin_view(self.amend_view),
            name="bookings_booking_amend",
        )
        return [page, *super().get_urls()]  # type: ignore[misc]  # ModelAdmin's

    def amend_view(self, request: HttpRequest, booking_id: int) -> HttpResponse:
        """Ask for the times and the reason, show what they cost or give back, and do exactly that when confirmed."""
        if not request.user.has_perm(CHANGE_PERMISSION):
            audit.record(
                actor=request.user,
                action="booking.change.denied",
                subject=f"booking:{booking_id}",
                data={"needs": CHANGE_PERMISSION},
            )
            raise PermissionDenied
        booking: Booking | None = self.get_object(request, str(booking_id))  # type: ignore[attr-defined]  # ModelAdmin's
        if booking is None:
            raise Http404
        page = HttpResponseRedirect(reverse("admin:bookings_booking_change", args=[booking.pk]))
        now = timezone.now()
        if not may_change(booking, at=now):
            messages.error(request, _("This booking can no longer be changed."))
            return page
        if request.method == "POST" and "preview_token" in request.POST:
            return self._confirm(request, booking, page)
        posted = request.POST if request.method == "POST" else None
        form = StaffStayForm(posted, booking=booking, now=now)
        preview = None
        if posted is not None and "edit" not in posted and form.is_valid():
            try:
                preview = preview_amendment(booking, form.change(), now=now)
            except DomainError as error:
                form.refuse(error)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Change the times of %(reference)s") % {"reference": booking.reference},
            "opts": Booking._meta,
            "booking": booking,
            "zone": booking.zone,
            "form": form,
            "preview": preview,
            "waiting": held_amendment(booking),
            "booking_page": page.url,
        }
        return TemplateResponse(request, "admin/bookings/amend.html", context)

    def _confirm(self, request: HttpRequest, booking: Booking, page: HttpResponse) -> HttpResponse:
        reason = ReasonForm(request.POST)
        again = HttpResponseRedirect(reverse("admin:bookings_booking_amend", args=[booking.pk]))
        if not reason.is_valid():
            messages.error(request, _("Say why the times change, and check the price again."))
            return again
        try:
            amendment = amend(
                booking,
                preview_token=request.POST["preview_token"][:6000],
                now=timezone.now(),
                requested_by=request.user,
                reason=reason.cleaned_data["reason"],
                by_staff=True,
            )
        except DomainError as error:
            messages.error(request, str(error.message))
            return again
        if amendment is not None and amendment.status == amendment.Status.HELD:
            told = _("The new times are kept. %(email)s is asked to pay %(amount)s; then the change is made.")
        else:
            told = _("The booking is changed. %(email)s gets a message.")
        amount = str(amendment.difference) if amendment else ""
        messages.success(request, told % {"email": booking.driver_email, "amount": amount})
        return page
