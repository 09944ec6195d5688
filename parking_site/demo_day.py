"""The day that the demo opens on: cars that come, cars that leave, a fleet, and the cases that staff must handle.

Each booking goes the way of a customer's: quote, hold, payment at the sandbox, confirmation, messages. Only the clock is told.
"""

from __future__ import annotations

import urllib.parse
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from django.conf import settings

from accounts.models import User
from bookings.models import Booking, Product
from bookings.services.cancel import cancel, preview_cancellation
from bookings.services.hold import Driver, Flights, place_hold
from bookings.services.quote import quote_stay
from bookings.services.stay import clean_plate
from parking_site import demo_campaigns
from payments.gateways import gateway_for
from payments.models import Payment, RefundSource
from payments.services import checkout, settle
from payments.services.refund import request_refund

CARD = "pm_card_visa"
CARD_WHOSE_REFUND_FAILS = "pm_card_refundFail"
CARD_WHOSE_OWNER_DISPUTES = "pm_card_createDisputeProductNotReceived"


@dataclass(frozen=True)
class Stay:
    """One car. `arrives` counts local days from today; `booked` says how many hours before now or, if that is later, drop-off."""

    car_park: str
    driver: str
    email: str
    phone: str
    plate: str
    arrives: int
    at: time
    nights: int
    leaves_at: time
    booked: int = 7 * 24
    card: str = CARD
    code: str = ""


def _stay(
    car_park: str, driver: str, plate: str, arrives: int, at: str, nights: int, leaves_at: str, **more: object
) -> Stay:
    email = str(more.pop("email", f"{driver.split()[0].lower()}@example.com"))
    phone = str(more.pop("phone", "+447700900140"))
    return Stay(
        car_park, driver, email, phone, plate, arrives, time.fromisoformat(at), nights, time.fromisoformat(leaves_at), **more,  # type: ignore[arg-type]
    )  # fmt: skip


STAYS = [
    # They come today.
    _stay("lhr-economy", "Katherine Johnson", "LB66 KJN", 0, "05:30", 7, "20:15"),
    _stay("lhr-economy", "Dorothy Vaughan", "VA19 DOT", 0, "09:00", 4, "18:30"),
    _stay("lhr-walk", "Annie Easley", "EA55 ANN", 0, "13:45", 2, "22:00"),
    _stay("lhr-greet", "Mary Jackson", "MJ70 NSA", 0, "18:15", 10, "07:30"),
    _stay("man-economy", "Radia Perlman", "RP85 STP", 0, "06:15", 14, "23:00"),
    _stay("ams-covered", "Edsger Dijkstra", "12 XKD 3", 0, "11:30", 3, "19:00", phone="+447700900141"),
    _stay("fra-walk", "Emmy Noether", "F EN 1882", 0, "07:45", 5, "21:30", phone="+4915228817386"),
    _stay("jfk-covered", "Barbara Liskov", "LSP 1987", 0, "08:30", 6, "17:00", phone="+12025550143"),
    _stay("syd-economy", "Fiona Wood", "FW58 SYD", 0, "10:00", 9, "16:00", phone="+61491570156"),
    # They leave today.
    _stay("lhr-economy", "Evelyn Boyd", "EB24 GRN", -6, "08:00", 6, "11:20"),
    _stay("lhr-covered", "Hedy Lamarr", "HL14 WIF", -3, "15:00", 3, "16:40"),
    _stay("lgw-economy", "Joan Clarke", "JC96 BLE", -8, "04:45", 8, "21:10"),
    _stay("dub-walk", "Kathleen Booth", "151 D 1947", -2, "12:00", 2, "19:45", phone="+447700900142"),
    _stay("jfk-economy", "Margaret Hamilton", "APL 0011", -4, "09:30", 4, "18:00", phone="+12025550144"),
    # They stand there now.
    _stay("lhr-valet", "Shafi Goldwasser", "ZK83 IPS", -2, "10:00", 6, "12:00"),
    _stay("edi-economy", "Mary Somerville", "SO17 MRV", -5, "07:00", 9, "22:30"),
    _stay("lax-walk", "Frances Allen", "IBM 1957", -1, "06:00", 5, "20:00", phone="+12025550145"),
    _stay("yyz-economy", "Ursula Franklin", "UF21 TOR", -3, "05:15", 12, "23:15", phone="+14165550123"),
    # Booked today, for later.
    _stay("phx-covered", "Sally Ride", "STS 0007", 12, "07:30", 4, "19:00", booked=2, phone="+12025550146"),
    _stay("lhr-walk", "Ada Lovelace", "ADA 1843", 9, "06:40", 5, "21:00", booked=3, email="customer@example.com"),
    # They came with the code of a campaign.
    _stay("lhr-economy", "Grace Hopper", "GH19 COB", 21, "08:00", 7, "17:30", booked=30, code="AUTUMN15"),
    _stay("man-covered", "Adele Goldberg", "AG80 STK", 33, "05:45", 3, "22:15", booked=9, code="AUTUMN15"),
    # The address does not exist: the e-mail bounces.
    _stay("lgw-economy", "Grete Hermann", "GH26 ALG", 6, "14:00", 3, "14:00", booked=4, email="grete@bounce.example"),
    # Cancelled by the customer; refunded in part by staff, but the bank sends the money back: a break to answer.
    _stay("man-walk", "Karen Sparck", "IDF 1972", 15, "09:00", 3, "18:00", booked=5, email="karen@example.com"),
    _stay("lhr-economy", "Anita Borg", "AB94 GHC", -9, "09:00", 4, "18:00", email="anita@example.com",
          card=CARD_WHOSE_REFUND_FAILS),
    # The bank takes the money back and waits for an answer.
    _stay("lgw-economy", "Lise Meitner", "LM39 FIS", -12, "10:00", 5, "17:30", card=CARD_WHOSE_OWNER_DISPUTES),
] + [
    # Ten cars of one company, on one morning.
    _stay("lhr-covered", f"Northwind driver {number}", f"NW26 F{number:02d}", 3, "07:00", 3, "19:30", booked=6,
          email="fleet@northwind.example")
    for number in range(1, 11)
]  # fmt: skip


def fill(*, now: datetime) -> int:
    """Make those of the day's bookings that are not there yet; return how many. Needs the sandbox: each one is paid there.

    Raises ProviderUnavailable or OSError when the sandbox does not answer.
    """
    demo_campaigns.make_code()
    there = set(Booking.objects.values_list("plate", flat=True))
    missing = [stay for stay in STAYS if clean_plate(stay.plate) not in there]
    for stay in missing:
        booking = _book(stay, now=now)
        payment = _pay(booking, stay.card)
        if stay.email == "karen@example.com":
            cancel(
                booking,
                preview_token=preview_cancellation(booking, now=now).token,
                now=now,
                reason="The flight was cancelled",
            )
        if stay.card == CARD_WHOSE_REFUND_FAILS:
            request_refund(
                payment,
                amount_minor=1000,
                reason="The shuttle was late",
                requested_by=User.objects.get(email="staff@example.com"),
                source=RefundSource.STAFF,
            )
    demo_campaigns.make(now=now)
    return len(missing)


def _book(stay: Stay, *, now: datetime) -> Booking:
    product = Product.objects.select_related("car_park__airport", "tariff", "policy", "pool").get(
        car_park__slug=stay.car_park, pool__kind="standard"
    )
    zone = product.car_park.airport.zone
    day = now.astimezone(zone).date() + timedelta(days=stay.arrives)
    start_at = datetime.combine(day, stay.at, zone).astimezone(UTC)
    end_at = datetime.combine(day + timedelta(days=stay.nights), stay.leaves_at, zone).astimezone(UTC)
    booked_at = min(now, start_at) - timedelta(hours=stay.booked)
    user = User.objects.filter(email=stay.email).first()
    quote = quote_stay(
        product, start_at=start_at, end_at=end_at, now=booked_at, user=user, promo_code=stay.code
    )
    return place_hold(
        quote,
        driver=Driver(stay.driver, stay.email, stay.phone),
        plate=stay.plate,
        flights=Flights(outbound="BA117", return_="BA112"),
        user=user,
        now=booked_at + timedelta(minutes=2),
    ).booking


def _pay(booking: Booking, card: str) -> Payment:
    """Pay as the browser does, with the publishable key and the client secret."""
    begun_at = booking.created_at + timedelta(minutes=1)
    session = checkout.start(booking, user=booking.user, now=begun_at)
    Payment.objects.filter(pk=session.payment.pk).update(created_at=begun_at)
    confirm = urllib.request.Request(  # noqa: S310 - the configured sandbox
        f"{settings.STRIPE_API_BASE}/v1/payment_intents/{session.provider_ref}/confirm",
        data=urllib.parse.urlencode(
            {"payment_method": card, "client_secret": session.client_secret}
        ).encode(),
        headers={"Authorization": f"Bearer {session.publishable_key}"},
    )
    urllib.request.urlopen(confirm, timeout=20).close()  # noqa: S310 - as above
    truth = gateway_for("stripe").fetch_payment(session.provider_ref)
    payment = settle.record(session.payment.pk, truth, now=begun_at + timedelta(minutes=2))
    booking.refresh_from_db()
    return payment
