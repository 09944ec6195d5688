"""Changing a booking: the form with what holds now, the preview of what would hold, and back out of a change that is not paid."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from bookings import queries
from bookings.models import Booking
from bookings.pages.access import booking_from
from bookings.pages.forms import CODE_INPUT, TIMES, describe_fields
from bookings.pages.limits import limit_posts
from bookings.pages.manage import pass_context
from bookings.services.amend import (
    AmendmentPreview,
    Change,
    amend,
    drop_off_is_past,
    may_change,
    preview_amendment,
    withdraw,
)
from foundation import rules
from foundation.errors import DomainError, InvalidInput

FIELD_OF = {
    "dropOff": "drop_off_date", "return": "return_date", "vehicle.plate": "plate", "driver.name": "name",
    "driver.phone": "phone", "flights.outbound": "outbound_flight", "flights.return": "return_flight",
}  # fmt: skip
PARTS = (("drop_off", "start_at", "dropOff"), ("return", "end_at", "return"))
DETAIL_NAMES = {
    "plate": gettext_lazy("Plate"),
    "driver_name": gettext_lazy("Driver"),
    "driver_phone": gettext_lazy("Phone"),
    "outbound_flight": gettext_lazy("Outbound flight"),
    "return_flight": gettext_lazy("Return flight"),
}


class StayForm(forms.Form):
    """Two moments on the airport's clock, beginning with those of the booking. `start_at` and `end_at` are aware UTC after cleaning.

    A time that the clocks show twice asks for one of its readings. The drop-off is not asked for once it is past.
    """

    drop_off_date = forms.DateField(
        label=gettext_lazy("Drop-off"), widget=forms.DateInput(format="%Y-%m-%d", attrs={"type": "date"}),
        error_messages={"required": gettext_lazy("Enter the day you drop the car off."),
                        "invalid": gettext_lazy("Enter a day such as 2026-12-01.")},
    )  # fmt: skip
    drop_off_time = forms.TimeField(
        label=gettext_lazy("Drop-off time"), error_messages={"invalid": gettext_lazy("Enter a time such as 09:30.")}
    )  # fmt: skip
    return_date = forms.DateField(
        label=gettext_lazy("Return"), widget=forms.DateInput(format="%Y-%m-%d", attrs={"type": "date"}),
        error_messages={"required": gettext_lazy("Enter the day you collect the car."),
                        "invalid": gettext_lazy("Enter a day such as 2026-12-08.")},
    )  # fmt: skip
    return_time = forms.TimeField(
        label=gettext_lazy("Return time"), error_messages={"invalid": gettext_lazy("Enter a time such as 09:30.")}
    )  # fmt: skip
    drop_off_offset = forms.CharField(
        label=gettext_lazy("Which of the two?"), required=False, max_length=6, widget=forms.HiddenInput
    )
    return_offset = forms.CharField(
        label=gettext_lazy("Which of the two?"), required=False, max_length=6, widget=forms.HiddenInput
    )

    def __init__(self, data: Any = None, *, booking: Booking, now: datetime, **kwargs: Any) -> None:
        self.booking = booking
        kwargs["initial"] = self.first_values(booking) | kwargs.get("initial", {})
        super().__init__(data, **kwargs)
        self.asks_drop_off = not drop_off_is_past(booking, at=now)
        if not self.asks_drop_off:
            for name in ("drop_off_date", "drop_off_time", "drop_off_offset"):
                del self.fields[name]
        ahead = timedelta(days=rules.value("BOOKABLE_UP_TO_DAYS_AHEAD") + rules.value("LONGEST_STAY_DAYS"))
        today = now.astimezone(booking.zone).date()
        for part, _column, _public in self.asked():
            chosen = str((data or self.initial).get(f"{part}_time") or "")[:5]
            choices = sorted({*TIMES, chosen} - {""})
            self.fields[f"{part}_time"].widget = forms.Select(choices=[(item, item) for item in choices])
            self.fields[f"{part}_date"].widget.attrs |= {
                "min": today.isoformat(),
                "max": (today + ahead).isoformat(),
            }
        describe_fields(self)

    @staticmethod
    def first_values(booking: Booking) -> dict[str, Any]:
        start, end = booking.local_start, booking.local_end
        return {
            "drop_off_date": f"{start:%Y-%m-%d}",
            "drop_off_time": f"{start:%H:%M}",
            "return_date": f"{end:%Y-%m-%d}",
            "return_time": f"{end:%H:%M}",
        }

    def asked(self) -> list[tuple[str, str, str]]:
        return [part for part in PARTS if part[0] == "return" or self.asks_drop_off]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        for part, column, public in self.asked():
            day, clock = data.get(f"{part}_date"), data.get(f"{part}_time")
            if day is None or clock is None:
                continue
            try:
                data[column] = self._instant(part, column, public, day, clock)
            except InvalidInput as error:
                self.add_error(f"{part}_date", str(error.message))
                readings = [str(reading)[-6:] for reading in error.details.get("readings", [])]
                if error.code == "ambiguous_time":
                    self.fields[f"{part}_offset"].widget = forms.Select(
                        choices=[(offset, f"UTC{offset}") for offset in readings]
                    )
        return data

    def _instant(self, part: str, column: str, public: str, day: date, clock: time) -> datetime:
        text, offset = f"{day.isoformat()}T{clock:%H:%M}", self.cleaned_data.get(f"{part}_offset") or ""
        current: datetime = getattr(self.booking, column)
        if not offset and f"{current.astimezone(self.booking.zone):%Y-%m-%dT%H:%M}" == text:
            return current  # as it is, to the second, whatever the clocks do then
        return queries.parse_local(text + offset, self.booking.zone, field=public)

    def change(self) -> Change:
        """Return the change that was asked for. Only after a successful clean."""
        return Change(start_at=self.cleaned_data.get("start_at"), end_at=self.cleaned_data["end_at"])

    def refuse(self, error: DomainError) -> None:
        """Show a service's complaint by its field, or above the form."""
        name = FIELD_OF.get(getattr(error, "field", None) or "")
        self.add_error(name if name in self.fields else None, str(error.message))
        describe_fields(self)


class ChangeForm(StayForm):
    """The stay, and the details that change for nothing."""

    name = forms.CharField(
        label=gettext_lazy("Driver's name"), max_length=120, widget=forms.TextInput(attrs={"autocomplete": "name"}),
        error_messages={"required": gettext_lazy("Enter the driver's name.")},
    )  # fmt: skip
    phone = forms.CharField(
        label=gettext_lazy("Mobile phone"), max_length=40,
        widget=forms.TextInput(attrs={"autocomplete": "tel", "type": "tel"}),
        error_messages={"required": gettext_lazy("Enter a phone number so that we can reach you on the day.")},
    )  # fmt: skip
    plate = forms.CharField(
        label=gettext_lazy("Number plate"), max_length=20,
        help_text=gettext_lazy("The cameras open the barrier by it. Spaces and dashes do not matter."),
        widget=forms.TextInput(attrs={**CODE_INPUT, "class": "plate"}),
        error_messages={"required": gettext_lazy("Enter the car's number plate.")},
    )  # fmt: skip
    outbound_flight = forms.CharField(
        label=gettext_lazy("Outbound flight"), max_length=10, required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off", "placeholder": "BA117"}),
    )  # fmt: skip
    return_flight = forms.CharField(
        label=gettext_lazy("Return flight"), max_length=10, required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off", "placeholder": "BA112"}),
    )  # fmt: skip

    @staticmethod
    def first_values(booking: Booking) -> dict[str, Any]:
        return StayForm.first_values(booking) | {
            "name": booking.driver_name,
            "phone": str(booking.driver_phone),
            "plate": booking.plate,
            "outbound_flight": booking.outbound_flight,
            "return_flight": booking.return_flight,
        }

    def change(self) -> Change:
        given = self.cleaned_data
        return Change(
            start_at=given.get("start_at"),
            end_at=given["end_at"],
            plate=given["plate"],
            driver_name=given["name"],
            driver_phone=given["phone"],
            outbound_flight=given["outbound_flight"],
            return_flight=given["return_flight"],
        )


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@limit_posts(group="change", rate="30/m")
def change_booking(request: HttpRequest, reference: str) -> HttpResponse:
    """Ask what should be different, show what that costs or gives back, and do exactly that when it is confirmed."""
    booking = booking_from(request, reference, to_change=True)
    now = timezone.now()
    if not may_change(booking, at=now):
        messages.info(request, _("This booking can no longer be changed."))
        return redirect("bookings:detail", reference=booking.reference)
    context = pass_context(booking)
    if request.method == "POST" and "preview_token" in request.POST:
        try:
            return _done(request, booking)
        except DomainError as error:
            context |= {"problem": error.message, "form": ChangeForm(booking=booking, now=now)}
            return render(request, "bookings/change.html", context, status=409)
    form = ChangeForm(request.POST if request.method == "POST" else None, booking=booking, now=now)
    context["form"] = form
    if request.method != "POST" or "edit" in request.POST:
        return render(request, "bookings/change.html", context)
    if form.is_valid():
        try:
            preview = preview_amendment(booking, form.change(), now=now)
        except DomainError as error:
            form.refuse(error)
        else:
            so_far = {"label": _("Price until now"), "amount_minor": booking.total_minor}
            context |= {
                "preview": preview,
                "changed": changed(preview),
                "all_lines": [so_far, *preview.lines],
            }
            return render(request, "bookings/change_preview.html", context)
    return render(request, "bookings/change.html", context, status=422)


def changed(preview: AmendmentPreview) -> list[tuple[str, str, str]]:
    """Return the details that change, as people read them: name, before, after."""
    return [(str(DETAIL_NAMES[name]), before, after) for name, (before, after) in preview.details.items()]


def _done(request: HttpRequest, booking: Booking) -> HttpResponse:
    amendment = amend(
        booking,
        preview_token=request.POST.get("preview_token", "")[:6000],
        now=timezone.now(),
        requested_by=request.user if request.user.is_authenticated else None,
    )
    if amendment is not None and amendment.status == amendment.Status.HELD:
        return redirect("payments:pay", reference=booking.reference)
    messages.success(request, _("Your booking is changed."))
    return redirect("bookings:detail", reference=booking.reference)


@never_cache
@require_POST
def withdraw_change(request: HttpRequest, reference: str) -> HttpResponse:
    """Take back a change that waits for payment."""
    booking = booking_from(request, reference, to_change=True)
    user = request.user if request.user.is_authenticated else None
    if withdraw(booking, now=timezone.now(), requested_by=user):
        messages.success(request, _("The change is withdrawn. Your booking stands as it was."))
    return redirect("bookings:detail", reference=booking.reference)
