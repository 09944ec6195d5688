"""What the booking doors take, and how they write what they give."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from bookings.models import Airport, Amendment, Booking, CarPark, Quote
from bookings.services.amend import AmendmentPreview
from foundation.api import StrictSerializer, instant
from foundation.money import Money

LOCAL_TIME = _(
    "ISO 8601. Without an offset it is the airport's local time; a time that a clock change makes ambiguous or "
    "impossible is answered 422 with its readings."
)
LARGEST_ID = 2**63 - 1


class SearchQuery(StrictSerializer):
    airport = serializers.RegexField(r"^[A-Za-z]{3}$", help_text=_("IATA code, such as LHR."))
    dropOff = serializers.CharField(max_length=40, help_text=LOCAL_TIME)
    vars()["return"] = serializers.CharField(max_length=40, help_text=LOCAL_TIME)  # a keyword of Python
    covered = serializers.BooleanField(required=False)
    ev = serializers.BooleanField(required=False)
    kind = serializers.ChoiceField(choices=CarPark.Kind.choices, required=False)
    sort = serializers.ChoiceField(choices=["price", "transfer", "name"], default="price")
    page = serializers.IntegerField(min_value=1, max_value=1000, default=1)


class QuoteInput(StrictSerializer):
    productId = serializers.IntegerField(min_value=1, max_value=LARGEST_ID)
    dropOff = serializers.CharField(max_length=40, help_text=LOCAL_TIME)
    vars()["return"] = serializers.CharField(max_length=40, help_text=LOCAL_TIME)
    promoCode = serializers.CharField(
        max_length=40,
        required=False,
        allow_blank=True,
        default="",
        help_text=_(
            "What it takes off is a price line with the rule `promo`. A use is counted when the space is held."
        ),
    )


class DriverInput(StrictSerializer):
    name = serializers.CharField(max_length=120)
    email = serializers.EmailField(max_length=254)
    phone = serializers.CharField(max_length=40)


class VehicleInput(StrictSerializer):
    plate = serializers.CharField(max_length=20)


class FlightsInput(StrictSerializer):
    outbound = serializers.CharField(max_length=8, required=False, allow_blank=True, default="")
    vars()["return"] = serializers.CharField(max_length=8, required=False, allow_blank=True, default="")


class BookingInput(StrictSerializer):
    quoteId = serializers.UUIDField()
    driver = DriverInput()
    vehicle = VehicleInput()
    flights = FlightsInput(required=False)
    language = serializers.ChoiceField(
        choices=[code for code, _name in settings.MESSAGE_LANGUAGES],
        required=False,
        help_text=_("Of messages; without it Accept-Language decides."),
    )


class CancelInput(StrictSerializer):
    previewToken = serializers.CharField(max_length=2000, help_text=_("From the cancellation preview."))


class ChangedDriverInput(StrictSerializer):
    name = serializers.CharField(max_length=120, required=False)
    phone = serializers.CharField(max_length=40, required=False)


class ChangedFlightsInput(StrictSerializer):
    outbound = serializers.CharField(max_length=8, required=False, allow_blank=True)
    vars()["return"] = serializers.CharField(max_length=8, required=False, allow_blank=True)


class AmendInput(StrictSerializer):
    preview = serializers.BooleanField(
        default=False, help_text=_("true: say what it would cost; nothing changes.")
    )
    dropOff = serializers.CharField(max_length=40, required=False, help_text=LOCAL_TIME)
    vars()["return"] = serializers.CharField(max_length=40, required=False, help_text=LOCAL_TIME)
    plate = serializers.CharField(max_length=20, required=False)
    driver = ChangedDriverInput(required=False)
    flights = ChangedFlightsInput(required=False)
    previewToken = serializers.CharField(
        max_length=6000,
        required=False,
        help_text=_("From the preview: exactly what it showed is done, and the other fields are not needed."),
    )


class PriceLine(serializers.Serializer):
    label = serializers.CharField()  # type: ignore[assignment]  # DRF takes declared fields off the class
    rule = serializers.CharField()
    amount = serializers.CharField()


class AirportAnswer(serializers.Serializer):
    iata = serializers.CharField()
    name = serializers.CharField()
    timezone = serializers.CharField()
    latitude = serializers.FloatField()
    longitude = serializers.FloatField()
    currency = serializers.CharField()


class CarParkAnswer(serializers.Serializer):
    id = serializers.IntegerField()
    name = serializers.CharField()
    kind = serializers.CharField()
    latitude = serializers.FloatField()
    longitude = serializers.FloatField()
    transferMinutes = serializers.IntegerField()


class PolicyTierAnswer(serializers.Serializer):
    noticeHours = serializers.IntegerField(help_text=_("Hours before drop-off."))
    refundPercent = serializers.IntegerField()


class PolicyAnswer(serializers.Serializer):
    name = serializers.CharField()
    summary = serializers.CharField()
    fee = serializers.CharField()
    tiers = PolicyTierAnswer(many=True)


class OfferAnswer(serializers.Serializer):
    productId = serializers.IntegerField()
    carPark = CarParkAnswer()
    product = serializers.CharField()
    policy = PolicyAnswer()
    total = serializers.CharField()
    currency = serializers.CharField()
    perDay = serializers.CharField()
    spacesLeft = serializers.IntegerField(help_text=_("Ten means ten or more."))
    soldOut = serializers.BooleanField()


class SearchAnswer(serializers.Serializer):
    results = OfferAnswer(many=True)
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)


class QuoteAnswer(serializers.Serializer):
    quoteId = serializers.UUIDField()
    total = serializers.CharField()
    currency = serializers.CharField()
    expiresAt = serializers.DateTimeField()
    lines = PriceLine(many=True)
    policy = PolicyAnswer()


class HoldAnswer(serializers.Serializer):
    bookingId = serializers.CharField()
    status = serializers.CharField()
    holdExpiresAt = serializers.DateTimeField()
    amountDue = serializers.CharField()
    currency = serializers.CharField()
    guestToken = serializers.CharField(help_text=_("Send it as X-Guest-Token to see and pay this booking."))


class PendingChangeAnswer(serializers.Serializer):
    dropOff = serializers.DateTimeField()
    vars()["return"] = serializers.DateTimeField()
    amountDue = serializers.CharField()
    currency = serializers.CharField()
    holdExpiresAt = serializers.DateTimeField()


class BookingAnswer(serializers.Serializer):
    bookingId = serializers.CharField()
    status = serializers.CharField()
    airport = serializers.CharField()
    carPark = CarParkAnswer()
    product = serializers.CharField()
    dropOff = serializers.DateTimeField(help_text=_("With the airport's offset."))
    vars()["return"] = serializers.DateTimeField(help_text=_("With the airport's offset."))
    timezone = serializers.CharField()
    driver = DriverInput()
    vehicle = VehicleInput()
    flights = FlightsInput()
    total = serializers.CharField()
    currency = serializers.CharField()
    lines = PriceLine(many=True)
    policy = PolicyAnswer()
    createdAt = serializers.DateTimeField()
    holdExpiresAt = serializers.DateTimeField(allow_null=True)
    confirmedAt = serializers.DateTimeField(allow_null=True)
    cancelledAt = serializers.DateTimeField(allow_null=True)
    pendingChange = PendingChangeAnswer(
        allow_null=True, help_text=_("A change that waits for payment; only when one booking is asked for.")
    )


class BookingsAnswer(serializers.Serializer):
    results = BookingAnswer(many=True)
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)


class CancellationPreviewAnswer(serializers.Serializer):
    refund = serializers.CharField()
    currency = serializers.CharField()
    lines = PriceLine(many=True)
    previewToken = serializers.CharField()
    expiresAt = serializers.DateTimeField()


class AmendAnswer(serializers.Serializer):
    status = serializers.ChoiceField(
        choices=["preview", "held", "applied"],
        help_text=_("held: pay `amountDue` with create-intent before `holdExpiresAt`, and it is made."),
    )
    bookingId = serializers.CharField()
    dropOff = serializers.DateTimeField(help_text=_("The new one, with the airport's offset."))
    vars()["return"] = serializers.DateTimeField(help_text=_("The new one, with the airport's offset."))
    difference = serializers.CharField(help_text=_("What the new stay costs more; negative: less."))
    refund = serializers.CharField(help_text=_("What of a reduction goes back under the booking's policy."))
    amountDue = serializers.CharField()
    total = serializers.CharField(help_text=_("The price of the booking after the change."))
    currency = serializers.CharField()
    lines = PriceLine(many=True)
    previewToken = serializers.CharField(required=False)
    expiresAt = serializers.DateTimeField(required=False, help_text=_("Until when the preview is promised."))
    holdExpiresAt = serializers.DateTimeField(required=False, allow_null=True)


class RefundDue(serializers.Serializer):
    amount = serializers.CharField()
    currency = serializers.CharField()
    status = serializers.CharField(help_text=_("“requested” when money goes back, “none” when none is due."))


class CancelAnswer(serializers.Serializer):
    status = serializers.CharField()
    refund = RefundDue()


# The answers are plain dicts: these run on the busiest paths, where a serializer per row would cost more than the query.


def airport_body(airport: Airport) -> dict[str, Any]:
    return {
        "iata": airport.iata,
        "name": airport.name,
        "timezone": airport.timezone,
        "latitude": float(airport.latitude),
        "longitude": float(airport.longitude),
        "currency": airport.currency,
    }


def car_park_body(car_park: CarPark) -> dict[str, Any]:
    return {
        "id": car_park.pk,
        "name": car_park.name,
        "kind": car_park.kind,
        "latitude": float(car_park.latitude),
        "longitude": float(car_park.longitude),
        "transferMinutes": car_park.transfer_minutes,
    }


def lines_body(lines: list[dict[str, Any]], currency: str) -> list[dict[str, str]]:
    return [
        {
            "label": str(line["label"]),
            "rule": str(line.get("rule", "")),
            "amount": Money(line["amount_minor"], currency).to_major(),
        }
        for line in lines
    ]


def policy_body(policy: dict[str, Any], currency: str) -> dict[str, Any]:
    """Write a frozen policy: amounts as everywhere, tiers with hours of notice and percent given back."""
    return {
        "name": policy.get("name", ""),
        "summary": policy.get("summary", ""),
        "fee": Money(policy.get("fee_minor") or 0, policy.get("currency") or currency).to_major(),
        "tiers": [
            {"noticeHours": tier["notice_hours"], "refundPercent": tier["refund_percent"]}
            for tier in policy.get("tiers", [])
        ],
    }


def offer_body(offer: Any) -> dict[str, Any]:
    return {
        "productId": offer.product.pk,
        "carPark": car_park_body(offer.car_park),
        "product": offer.product.name,
        "policy": policy_body(offer.policy, offer.total.currency),
        "total": offer.total.to_major(),
        "currency": offer.total.currency,
        "perDay": offer.per_day.to_major(),
        "spacesLeft": offer.spaces_left,
        "soldOut": offer.sold_out,
    }


def quote_body(quote: Quote) -> dict[str, Any]:
    return {
        "quoteId": str(quote.pk),
        "total": quote.total.to_major(),
        "currency": quote.currency,
        "expiresAt": instant(quote.expires_at),
        "lines": lines_body(quote.lines, quote.currency),
        "policy": policy_body(quote.policy, quote.currency),
    }


def hold_body(booking: Booking, guest_token: str) -> dict[str, Any]:
    return {
        "bookingId": booking.reference,
        "status": booking.status,
        "holdExpiresAt": instant(booking.hold_expires_at),
        "amountDue": booking.total.to_major(),
        "currency": booking.currency,
        "guestToken": guest_token,
    }


def booking_body(booking: Booking, pending: Amendment | None = None) -> dict[str, Any]:
    return {
        "bookingId": booking.reference,
        "status": booking.status,
        "airport": booking.airport.iata,
        "carPark": car_park_body(booking.product.car_park),
        "product": booking.product.name,
        "dropOff": booking.local_start.isoformat(),
        "return": booking.local_end.isoformat(),
        "timezone": booking.airport.timezone,
        "driver": {
            "name": booking.driver_name,
            "email": booking.driver_email,
            "phone": str(booking.driver_phone),
        },
        "vehicle": {"plate": booking.plate},
        "flights": {"outbound": booking.outbound_flight, "return": booking.return_flight},
        "total": booking.total.to_major(),
        "currency": booking.currency,
        "lines": lines_body(booking.lines, booking.currency),
        "policy": policy_body(booking.policy, booking.currency),
        "createdAt": instant(booking.created_at),
        "holdExpiresAt": instant(booking.hold_expires_at) if booking.status == Booking.Status.HELD else None,
        "confirmedAt": instant(booking.confirmed_at) if booking.confirmed_at else None,
        "cancelledAt": instant(booking.cancelled_at) if booking.cancelled_at else None,
        "pendingChange": pending_change_body(booking, pending) if pending else None,
    }


def pending_change_body(booking: Booking, pending: Amendment) -> dict[str, Any]:
    return {
        "dropOff": pending.new_start_at.astimezone(booking.zone).isoformat(),
        "return": pending.new_end_at.astimezone(booking.zone).isoformat(),
        "amountDue": pending.difference.to_major(),
        "currency": pending.currency,
        "holdExpiresAt": instant(pending.hold_expires_at) if pending.hold_expires_at else None,
    }


def amend_body(
    booking: Booking, preview: AmendmentPreview, amendment: Amendment | None, *, is_done: bool
) -> dict[str, Any]:
    """Write a change: as a preview with its token, or as it was made or is held."""
    answer = {
        "status": "preview" if not is_done else amendment.status if amendment else "applied",
        "bookingId": booking.reference,
        "dropOff": preview.start_at.astimezone(booking.zone).isoformat(),
        "return": preview.end_at.astimezone(booking.zone).isoformat(),
        "difference": preview.difference.to_major(),
        "refund": preview.refund.to_major(),
        "amountDue": preview.amount_due.to_major(),
        "total": preview.new_total.to_major(),
        "currency": booking.currency,
        "lines": lines_body(preview.lines, booking.currency),
    }
    if not is_done:
        return answer | {"previewToken": preview.token, "expiresAt": instant(preview.expires_at)}
    until = amendment.hold_expires_at if amendment and amendment.status == amendment.Status.HELD else None
    return answer | {"holdExpiresAt": instant(until) if until else None}
