"""What bookings asks the post office to send. Times are the airport's, in the customer's language."""

from __future__ import annotations

from datetime import datetime, tzinfo

from babel.dates import format_date, format_time, get_timezone_location
from django.conf import settings
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import override

from bookings.models import Amendment, Booking, BookingEvent
from bookings.services.access import manage_url
from communications.catalogue import KINDS
from communications.models import Message
from communications.senders.base import CalendarEntry
from communications.services.outbox import queue_message
from communications.words import date_pattern

Variables = dict[str, str | list]


def local_date(at: datetime, language: str) -> str:
    """Write a local date in words, such as "Fri, 4 Sep 2026"."""
    return format_date(at.date(), date_pattern(language), locale=_locale(language))


def local_time(at: datetime, language: str) -> str:
    """Write a local time as the language does, such as "10:30"."""
    return format_time(at.time(), "HH:mm", locale=_locale(language))


def zone_name(zone: tzinfo, language: str) -> str:
    """Write a time zone as people say it, such as "London time", true in summer and winter."""
    with override(language):
        city = get_timezone_location(zone, locale=_locale(language), return_city=True)
        return _("%(city)s time") % {"city": city.rpartition("/")[2]}


def place_and_times(booking: Booking) -> Variables:
    """Return the variables that every message about a booking shares."""
    language = booking.contact_language
    car_park, airport = booking.product.car_park, booking.airport
    start, end = booking.local_start, booking.local_end
    return {
        "customer_name": booking.driver_name,
        "reference": booking.reference,
        "airport_name": airport.name,
        "airport_iata": airport.iata,
        "car_park_name": car_park.name,
        "drop_off_local": f"{local_date(start, language)} {local_time(start, language)}",
        "return_local": f"{local_date(end, language)} {local_time(end, language)}",
        "drop_off_time": local_time(start, language),
        "drop_off_date": local_date(start, language),
        "return_time": local_time(end, language),
        "return_date": local_date(end, language),
        "timezone_name": zone_name(booking.zone, language),
        "plate": booking.plate,
        "manage_url": manage_url(booking),
    }


def queue_booking_confirmation(booking: Booking, *, once: str = "") -> list[Message]:
    """Queue the confirmation by e-mail and SMS, in the caller's transaction. A repeat with the same `once` sends nothing."""
    variables = pass_and_place(booking)
    calendar = calendar_entry(booking)
    queued = [
        queue_message(
            kind="booking_confirmation",
            channel=channel,
            to=to,
            to_name=booking.driver_name,
            language=booking.contact_language,
            variables=variables,
            dedupe_key=":".join(filter(None, (booking.reference, "booking_confirmation", once, channel))),
            reference=booking.reference,
            calendar=calendar,
            qr_text=booking.reference,
            user=booking.user,
            other_address=_other_address(booking, channel),
        )
        for channel, to in _addresses(booking)
    ]
    return [message for message in queued if message is not None]


def queue_reminder(booking: Booking, *, about: str, once: str, condition: str = "") -> list[Message]:
    """Queue a reminder of drop-off or return on both channels, in the caller's transaction; `once` is what a repeat is measured by."""
    variables = pass_and_place(booking)
    queued = [
        queue_message(
            kind=f"{about}_reminder",
            channel=channel,
            to=to,
            to_name=booking.driver_name,
            language=booking.contact_language,
            variables=variables,
            dedupe_key=f"{booking.reference}:{about}_reminder:{once}:{channel}",
            reference=booking.reference,
            qr_text=booking.reference if about == "drop_off" else "",
            user=booking.user,
            timezone=booking.airport.timezone,
            condition=condition,
        )
        for channel, to in _addresses(booking)
    ]
    return [message for message in queued if message is not None]


def queue_booking_amended(booking: Booking, event: BookingEvent, *, amendment: Amendment | None) -> None:
    """Queue the word that the booking is changed, with the new pass and calendar entry; by text as well when its times changed.

    In the caller's transaction, once per event of the timeline.
    """
    language = booking.contact_language
    with override(language):
        if amendment is None or not amendment.difference_minor:
            money_text = _("The price stays the same.")
        elif amendment.difference_minor > 0:
            money_text = _("You paid %(amount)s more.") % {"amount": amendment.difference.format(language)}
        elif amendment.refund_minor:
            money_text = _("%(amount)s goes back to you.") % {"amount": amendment.refund.format(language)}
        else:
            money_text = _("At this notice nothing goes back.")
    variables = pass_and_place(booking) | {"money_text": money_text}
    channels = _addresses(booking) if amendment is not None else _addresses(booking)[:1]
    for channel, to in channels:
        queue_message(
            kind="booking_amended",
            channel=channel,
            to=to,
            to_name=booking.driver_name,
            language=language,
            variables=variables,
            dedupe_key=f"{booking.reference}:booking_amended:{event.pk}:{channel}",
            reference=booking.reference,
            calendar=calendar_entry(booking),
            qr_text=booking.reference,
            user=booking.user,
            other_address=_other_address(booking, channel),
        )


def queue_amendment_to_pay(booking: Booking, amendment: Amendment) -> None:
    """Ask the customer to pay for a change that staff hold for them. In the caller's transaction, once per change."""
    language = booking.contact_language
    zone = booking.zone
    start, end = amendment.new_start_at.astimezone(zone), amendment.new_end_at.astimezone(zone)
    until = (amendment.hold_expires_at or amendment.created_at).astimezone(zone)
    variables = place_and_times(booking) | {
        "drop_off_local": f"{local_date(start, language)} {local_time(start, language)}",
        "return_local": f"{local_date(end, language)} {local_time(end, language)}",
        "amount": amendment.difference.format(language),
        "pay_before_local": f"{local_date(until, language)} {local_time(until, language)}",
    }
    for channel, to in _addresses(booking):
        queue_message(
            kind="amendment_to_pay",
            channel=channel,
            to=to,
            to_name=booking.driver_name,
            language=language,
            variables={
                name: value for name, value in variables.items() if name in KINDS["amendment_to_pay"].by_name
            },
            dedupe_key=f"{booking.reference}:amendment_to_pay:{amendment.pk}:{channel}",
            reference=booking.reference,
            user=booking.user,
            other_address=_other_address(booking, channel),
        )


def calendar_entry(booking: Booking) -> CalendarEntry:
    """Return the stay as a calendar entry: always under the same name, and newer with each change."""
    language = booking.contact_language
    car_park, airport = booking.product.car_park, booking.airport
    with override(language):
        summary = _("Parking at %(airport)s: %(car_park)s") % {
            "airport": airport.name,
            "car_park": car_park.name,
        }
        description = _("Booking %(reference)s, car %(plate)s.") % {
            "reference": booking.reference,
            "plate": booking.plate,
        }
    page = settings.SITE_URL + reverse("bookings:detail", args=[booking.reference])
    return CalendarEntry(
        uid=f"{booking.reference}@{settings.SITE_URL.split('//')[-1].split(':')[0]}",
        starts_at=booking.local_start,
        ends_at=booking.local_end,
        timezone=airport.timezone,
        summary=summary,
        location=car_park.address,
        description="\n".join(filter(None, (description, car_park.directions, page))),
        url=page,  # without a guest's key: calendars are shared
        latitude=float(car_park.latitude),
        longitude=float(car_park.longitude),
        sequence=times_changed(booking) + (1 if booking.status == Booking.Status.CANCELLED else 0),
        is_cancelled=booking.status == Booking.Status.CANCELLED,
    )


def times_changed(booking: Booking) -> int:
    """Return how often the booking was changed: the sequence number of its calendar entries."""
    kinds = [BookingEvent.Kind.AMENDED, BookingEvent.Kind.DETAILS_CHANGED]
    return BookingEvent.objects.filter(booking=booking, kind__in=kinds).count()


def pass_and_place(booking: Booking) -> Variables:
    """Return the variables of messages that carry the boarding pass and the way to the car park."""
    language = booking.contact_language
    car_park = booking.product.car_park
    return place_and_times(booking) | {
        "address": car_park.address,
        "directions": car_park.directions,
        "product_name": booking.product.name,
        "total": booking.total.format(language),
    }


def queue_cancellation_without_refund(booking: Booking) -> None:
    """Queue the word that the booking is cancelled and nothing goes back. With a refund, payments says it."""
    language = booking.contact_language
    with override(language):
        status_text = _("No refund is due.")
    variables = place_and_times(booking) | {
        "refund_amount": type(booking.total)(0, booking.currency).format(language),
        "refund_status_text": status_text,
    }
    for channel, to in _addresses(booking):
        queue_message(
            kind="cancellation",
            channel=channel,
            to=to,
            to_name=booking.driver_name,
            language=language,
            variables=variables,
            dedupe_key=f"{booking.reference}:cancellation:{channel}",
            reference=booking.reference,
            calendar=calendar_entry(booking),
            user=booking.user,
            other_address=_other_address(booking, channel),
        )


def _addresses(booking: Booking) -> list[tuple[str, str]]:
    return [("email", booking.driver_email), ("sms", str(booking.driver_phone))]


def _other_address(booking: Booking, channel: str) -> str:
    """Return where the driver is reached when this channel does not deliver."""
    return next(to for other, to in _addresses(booking) if other != channel)


def _locale(language: str) -> str:
    return language.replace("-", "_")
