"""What the pages ask for: a search, the driver's details, and the pair that finds a guest's booking."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from bookings import queries
from bookings.models import Airport
from bookings.services.stay import check_stay, clean_flight, clean_plate
from foundation import rules
from foundation.errors import InvalidInput
from foundation.phones import clean_phone

TIMES = [f"{hour:02d}:{minute:02d}" for hour in range(24) for minute in (0, 30)]
FIRST_TIME = "10:00"
CODE_INPUT = {"autocomplete": "off", "autocapitalize": "characters", "spellcheck": "false"}
_LOCAL = re.compile(r"^(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2})(?::\d{2})?([+-]\d{2}:\d{2}|Z)?$")


def describe_fields(form: forms.BaseForm) -> None:
    """Mark the fields that failed for screen readers and tie each to its hint and its error."""
    for name, field in form.fields.items():
        bound = form[name]
        ids = []
        if field.help_text:
            ids.append(f"{bound.id_for_label}-hint")
        if form.is_bound and form.errors.get(name):
            field.widget.attrs["aria-invalid"] = "true"
            ids.append(f"{bound.id_for_label}-error")
        if ids:
            field.widget.attrs["aria-describedby"] = " ".join(ids)


class SearchForm(forms.Form):
    """An airport and two moments on its clock. `drop_off_at` and `return_at` are aware UTC after cleaning."""

    airport = forms.ModelChoiceField(
        label=_("Airport"),
        queryset=Airport.objects.none(),
        to_field_name="iata",
        empty_label=_("Choose an airport"),
        error_messages={
            "required": _("Choose an airport."),
            "invalid_choice": _("We do not park at that airport. Choose one from the list."),
        },
    )
    drop_off_date = forms.DateField(
        label=_("Drop-off"),
        widget=forms.DateInput(format="%Y-%m-%d", attrs={"type": "date"}),
        error_messages={
            "required": _("Enter the day you drop the car off."),
            "invalid": _("Enter a day such as 2026-12-01."),
        },
    )
    drop_off_time = forms.TimeField(
        label=_("Drop-off time"),
        error_messages={
            "required": _("Choose a drop-off time."),
            "invalid": _("Enter a time such as 09:30."),
        },
    )
    return_date = forms.DateField(
        label=_("Return"),
        widget=forms.DateInput(format="%Y-%m-%d", attrs={"type": "date"}),
        error_messages={
            "required": _("Enter the day you collect the car."),
            "invalid": _("Enter a day such as 2026-12-08."),
        },
    )
    return_time = forms.TimeField(
        label=_("Return time"),
        error_messages={"required": _("Choose a return time."), "invalid": _("Enter a time such as 09:30.")},
    )

    def __init__(
        self, data: dict[str, str] | None = None, *, offsets: dict[str, str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(data, **kwargs)
        self.offsets = offsets or {}
        self.readings: list[tuple[str, str]] = []
        airport: Any = self.fields["airport"]
        airport.queryset = Airport.objects.filter(is_active=True).order_by("name")
        airport.label_from_instance = lambda row: f"{row.name} ({row.iata})"
        today = timezone.now().date()
        for part in ("drop_off", "return"):
            chosen = (data or self.initial).get(f"{part}_time") or FIRST_TIME
            self.fields[f"{part}_time"].widget = forms.Select(
                choices=[(item, item) for item in sorted({*TIMES, str(chosen)[:5]})]
            )
            self.fields[f"{part}_date"].widget.attrs |= {
                "min": (today - timedelta(days=1)).isoformat(),
                "max": (
                    today
                    + timedelta(
                        days=rules.value("BOOKABLE_UP_TO_DAYS_AHEAD") + rules.value("LONGEST_STAY_DAYS")
                    )
                ).isoformat(),
            }
        describe_fields(self)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        airport = data.get("airport")
        for part, public in (("drop_off", "dropOff"), ("return", "return")):
            day, clock = data.get(f"{part}_date"), data.get(f"{part}_time")
            if airport is None or day is None or clock is None:
                continue
            text = f"{day.isoformat()}T{clock:%H:%M}{self.offsets.get(part, '')}"
            try:
                data[f"{part}_at"] = queries.parse_local(text, airport.zone, field=public)
            except InvalidInput as error:
                self.add_error(f"{part}_date", str(error.message))
                self.readings += [(part, str(reading)) for reading in error.details.get("readings", [])]
        start, end = data.get("drop_off_at"), data.get("return_at")
        if start and end:
            try:
                check_stay(start_at=start, end_at=end, now=timezone.now())
            except InvalidInput as error:
                self.add_error(
                    "return_date" if error.field == "return" else "drop_off_date", str(error.message)
                )
        return data

    def stay_query(self) -> dict[str, str]:
        """Return the address parameters that repeat this search. Only after a successful clean."""
        data = self.cleaned_data
        return {
            "airport": data["airport"].iata,
            "drop_off": self._local("drop_off"),
            "return": self._local("return"),
        }

    def _local(self, part: str) -> str:
        day, clock = self.cleaned_data[f"{part}_date"], self.cleaned_data[f"{part}_time"]
        return f"{day.isoformat()}T{clock:%H:%M}{self.offsets.get(part, '')}"


def search_data(params: Any) -> tuple[dict[str, str], dict[str, str]]:
    """Read a search from an address: `drop_off=2026-12-01T10:00`, or the form's own date and time fields.

    Returns the form's data and the offsets that came with the moments ("+01:00"), by part.
    """
    data = {"airport": (params.get("airport") or "").upper()[:3]}
    offsets: dict[str, str] = {}
    for part in ("drop_off", "return"):
        joined = (
            (params.get(part) or "").replace(" ", "+", 1)
            if "T" in (params.get(part) or "")
            else params.get(part) or ""
        )
        match = _LOCAL.match(joined)
        if match:
            data[f"{part}_date"], data[f"{part}_time"] = match[1], match[2]
            if match[3]:
                offsets[part] = match[3]
        else:
            data[f"{part}_date"] = (params.get(f"{part}_date") or joined)[:10]
            data[f"{part}_time"] = (params.get(f"{part}_time") or "")[:5]
    return data, offsets


def first_search(zone: ZoneInfo) -> dict[str, str]:
    """Return where a new visitor starts: a week's stay, one week from today at the airport."""
    today: date = datetime.now(zone).date()
    return {
        "drop_off_date": (today + timedelta(days=7)).isoformat(),
        "drop_off_time": FIRST_TIME,
        "return_date": (today + timedelta(days=14)).isoformat(),
        "return_time": time(18, 0).strftime("%H:%M"),
    }


class DetailsForm(forms.Form):
    """The driver, the car and, when it helps, the flights."""

    name = forms.CharField(
        label=_("Driver's name"), max_length=120, widget=forms.TextInput(attrs={"autocomplete": "name"}),
        error_messages={"required": _("Enter the driver's name.")},
    )  # fmt: skip
    email = forms.EmailField(
        label=_("E-mail"), max_length=254, help_text=_("Your parking pass goes here."),
        widget=forms.EmailInput(attrs={"autocomplete": "email", "inputmode": "email"}),
        error_messages={"required": _("Enter an e-mail address."),
                        "invalid": _("Enter an e-mail address such as ada@example.com.")},
    )  # fmt: skip
    phone = forms.CharField(
        max_length=40,
        label=_("Mobile phone"), help_text=_("With the country code from abroad, such as +44 7700 900123."),
        widget=forms.TextInput(attrs={"autocomplete": "tel", "type": "tel"}),
        error_messages={"required": _("Enter a phone number so that we can reach you on the day.")},
    )  # fmt: skip
    plate = forms.CharField(
        label=_("Number plate"), max_length=20,
        help_text=_("The cameras open the barrier by it. Spaces and dashes do not matter."),
        widget=forms.TextInput(attrs={**CODE_INPUT, "class": "plate"}),
        error_messages={"required": _("Enter the car's number plate.")},
    )  # fmt: skip
    outbound_flight = forms.CharField(
        label=_("Outbound flight"), max_length=10, required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off", "placeholder": "BA117"}),
    )  # fmt: skip
    return_flight = forms.CharField(
        label=_("Return flight"), max_length=10, required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off", "placeholder": "BA112"}),
    )  # fmt: skip
    # Beside the price, outside the form element: the button that applies it must not be the one that Enter presses.
    promo_code = forms.CharField(
        label=_("Promo code"), max_length=40, required=False,
        widget=forms.TextInput(attrs={**CODE_INPUT, "class": "mono", "form": "details-form"}),
    )  # fmt: skip

    language = forms.ChoiceField(label=_("Messages in"), choices=settings.MESSAGE_LANGUAGES, required=False)
    offers = forms.BooleanField(
        label=_("Send me offers by e-mail. I can stop them at any time."), required=False
    )

    def __init__(self, *args: Any, needs_flight_number: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["return_flight"].required = needs_flight_number
        self.fields["return_flight"].error_messages["required"] = _(
            "Enter the return flight: we bring the car when it lands."
        )
        describe_fields(self)

    def clean_phone(self) -> str:
        return _accepted(partial(clean_phone, field="driver.phone"), self.cleaned_data["phone"])

    def clean_plate(self) -> str:
        return _accepted(clean_plate, self.cleaned_data["plate"])

    def clean_outbound_flight(self) -> str:
        return _accepted(_clean_flight, self.cleaned_data["outbound_flight"])

    def clean_return_flight(self) -> str:
        return _accepted(_clean_flight, self.cleaned_data["return_flight"])


_clean_flight = partial(clean_flight, field="")


def _accepted(tidy: Callable[[str], str], text: str) -> str:
    """Return what the service would store, or its complaint as the form's."""
    try:
        return tidy(text)
    except InvalidInput as error:
        raise forms.ValidationError(str(error.message)) from None


class FindForm(forms.Form):
    """A reference and the e-mail address it was booked with: together they open a guest's booking."""

    reference = forms.CharField(
        label=_("Booking reference"), max_length=16,
        help_text=_("It looks like AP-7F3K2Q and stands in your confirmation."),
        widget=forms.TextInput(attrs={**CODE_INPUT, "class": "mono"}),
        error_messages={"required": _("Enter the booking reference.")},
    )  # fmt: skip
    email = forms.EmailField(
        label=_("E-mail"), max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "email"}),
        error_messages={"required": _("Enter the e-mail address you booked with."),
                        "invalid": _("Enter an e-mail address such as ada@example.com.")},
    )  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        describe_fields(self)

    def clean_reference(self) -> str:
        text = re.sub(r"[\s\-]+", "", self.cleaned_data["reference"]).upper().removeprefix("AP")
        return f"AP-{text}"
