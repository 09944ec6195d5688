"""Changing a booking through each door: the customer's pages, the API, the staff's page."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from icalendar import Calendar
from rest_framework.test import APIClient

from accounts import services
from accounts.models import User
from bookings.models import Amendment, Booking
from bookings.services.access import guest_token_for, with_places
from bookings.services.cancel import cancel, preview_cancellation
from bookings.services.messages import calendar_entry
from bookings.tests.world import make_product
from communications.models import Message
from communications.senders.base import CalendarEntry
from communications.senders.email import calendar_file
from foundation.models import AuditEntry
from payments.models import Payment, Refund
from payments.services import refund
from payments.services.settle import settle
from payments.tests.world import approve, checkout, held_booking, pay

pytestmark = pytest.mark.django_db(transaction=True)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def books_are_right() -> Any:
    yield
    call_command("audit_books")


@pytest.fixture
def booking(sandbox: Any) -> Booking:
    """Ada's paid booking, without an account."""
    held = held_booking(make_product(capacity=3))
    session = checkout(held)
    assert pay(session) == 200
    settle(session.payment.pk)
    return with_places().get(pk=held.pk)


@pytest.fixture
def browser(client: Client, booking: Booking) -> Client:
    """Ada's browser, opened by the link of her confirmation."""
    client.get(f"/b/{booking.reference}/{guest_token_for(booking.reference, booking.quote_id)}")
    return client


def form_of(booking: Booking, **different: Any) -> dict[str, Any]:
    """What the form holds when it is opened, and what Ada types over it."""
    return {
        "drop_off_date": f"{booking.local_start:%Y-%m-%d}",
        "drop_off_time": f"{booking.local_start:%H:%M}",
        "return_date": f"{booking.local_end:%Y-%m-%d}",
        "return_time": f"{booking.local_end:%H:%M}",
        "name": booking.driver_name,
        "phone": str(booking.driver_phone),
        "plate": booking.plate,
        **different,
    }


def days_later(booking: Booking, days: int) -> str:
    return f"{booking.local_end + days * DAY:%Y-%m-%d}"


def text(page: Any) -> str:
    return re.sub(r"\s+", " ", page.content.decode())


# Pages


def test_a_guest_sees_the_difference_pays_it_and_has_the_new_pass(browser: Client, booking: Booking) -> None:
    address = f"/bookings/{booking.reference}/change"
    assert "Change booking" in text(browser.get(f"/bookings/{booking.reference}"))
    assert f'value="{booking.plate}"' in text(browser.get(address))
    shown = browser.post(address, form_of(booking, return_date=days_later(booking, 2)))
    assert shown.status_code == 200
    assert "2 more days at £10.00" in text(shown)
    assert "Confirm and pay £20.00" in text(shown)
    assert Amendment.objects.count() == 0
    answer = browser.post(address, {"preview_token": shown.context["preview"].token})
    assert answer["Location"] == f"/pay/{booking.reference}"
    payment_page = text(browser.get(f"/pay/{booking.reference}"))
    assert "Pay £20.00" in payment_page
    assert "your booking stands as it is" in payment_page
    assert "Your change waits for payment" in text(browser.get(f"/bookings/{booking.reference}"))
    session = checkout(with_places().get(pk=booking.pk))
    assert pay(session) == 200
    assert browser.get(f"/pay/{booking.reference}/return")["Location"] == f"/bookings/{booking.reference}"
    page = text(browser.get(f"/bookings/{booking.reference}"))
    assert "Your booking is changed. The new pass is on its way" in page
    assert "Booking changed" in page
    assert "£60.00" in page
    assert browser.get(f"/bookings/{booking.reference}/calendar.ics").content.count(b"SEQUENCE:1") == 1
    assert browser.get(f"/pay/{booking.reference}")["Location"].endswith("/confirmed")


def test_paying_the_difference_with_paypal(browser: Client, booking: Booking) -> None:
    address = f"/bookings/{booking.reference}/change"
    shown = browser.post(address, form_of(booking, return_date=days_later(booking, 1)))
    browser.post(address, {"preview_token": shown.context["preview"].token})
    there = browser.post(f"/pay/{booking.reference}/paypal")
    assert there.status_code == 302
    session = checkout(with_places().get(pk=booking.pk), provider="paypal")
    assert there["Location"] == session.approve_url
    approve(session)
    browser.get(f"/pay/{booking.reference}/return")
    assert Amendment.objects.get().status == "applied"


def test_a_shorter_stay_says_what_comes_back_and_does_it(browser: Client, booking: Booking) -> None:
    address = f"/bookings/{booking.reference}/change"
    shown = browser.post(address, form_of(booking, return_date=days_later(booking, -1)))
    assert "Change and get £10.00 back" in text(shown)
    assert browser.post(address, {"preview_token": shown.context["preview"].token}).status_code == 302
    booking.refresh_from_db()
    assert booking.total_minor == 3000
    refund.refund_amendment(Amendment.objects.get().pk)
    assert Refund.objects.get().amount_minor == 1000


def test_what_was_typed_is_kept_when_it_is_refused_or_chosen_anew(browser: Client, booking: Booking) -> None:
    address = f"/bookings/{booking.reference}/change"
    wrong = browser.post(address, form_of(booking, return_date="2020-01-01", plate="NEW 123"))
    assert wrong.status_code == 422
    assert "NEW 123" in text(wrong)
    assert wrong.context["form"].errors["return_date"]
    same = browser.post(address, form_of(booking))
    assert same.status_code == 422
    assert "Nothing would change" in text(same)
    again = browser.post(address, {**form_of(booking, plate="NEW 123"), "edit": "1"})
    assert (again.status_code, "NEW 123" in text(again)) == (200, True)
    old = browser.post(address, {"preview_token": "old"})
    assert old.status_code == 409


def test_a_plate_changes_for_nothing(browser: Client, booking: Booking) -> None:
    address = f"/bookings/{booking.reference}/change"
    shown = browser.post(address, form_of(booking, plate="NEW 123"))
    assert "<strong>NEW123</strong>" in text(shown)
    browser.post(address, {"preview_token": shown.context["preview"].token})
    booking.refresh_from_db()
    assert (booking.plate, Amendment.objects.count()) == ("NEW123", 0)


def test_a_change_can_be_taken_back(browser: Client, booking: Booking) -> None:
    address = f"/bookings/{booking.reference}/change"
    shown = browser.post(address, form_of(booking, return_date=days_later(booking, 1)))
    browser.post(address, {"preview_token": shown.context["preview"].token})
    assert browser.get(f"{address}/withdraw").status_code == 405
    browser.post(f"{address}/withdraw")
    assert Amendment.objects.get().status == "cancelled"
    assert browser.get(f"/pay/{booking.reference}")["Location"].endswith("/confirmed")


def test_strangers_change_nothing(client: Client, booking: Booking) -> None:
    address = f"/bookings/{booking.reference}/change"
    assert client.get(address).status_code == 404
    assert client.post(address, form_of(booking)).status_code == 404
    assert client.post(f"{address}/withdraw").status_code == 404
    answer = APIClient().post(f"/api/bookings/{booking.reference}/amend", {"plate": "X1"}, format="json")
    assert answer.status_code == 404


# API


@pytest.fixture
def api(booking: Booking) -> APIClient:
    program = APIClient()
    program.credentials(HTTP_X_GUEST_TOKEN=guest_token_for(booking.reference, booking.quote_id))
    return program


def ask(api: APIClient, booking: Booking, key: str = "", **body: Any) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return api.post(f"/api/bookings/{booking.reference}/amend", body, format="json", headers=headers)


def local(moment: Any) -> str:
    return f"{moment:%Y-%m-%dT%H:%M}"


def test_a_program_previews_holds_pays_and_sees_the_change(api: APIClient, booking: Booking) -> None:
    later = local(booking.local_end + 2 * DAY)
    preview = ask(api, booking, preview=True, **{"return": later}).json()
    assert (preview["status"], preview["difference"], preview["total"]) == ("preview", "20.00", "60.00")
    assert preview["lines"] == [{"label": "2 more days at £10.00", "rule": "days", "amount": "20.00"}]
    made = [ask(api, booking, "key-1", previewToken=preview["previewToken"]) for _time in range(2)]
    assert made[0].content == made[1].content
    held = made[0].json()
    assert (held["status"], held["amountDue"], Amendment.objects.count()) == ("held", "20.00", 1)
    seen = api.get(f"/api/bookings/{booking.reference}").json()
    assert (seen["pendingChange"]["amountDue"], seen["total"]) == ("20.00", "40.00")
    assert seen["pendingChange"]["holdExpiresAt"] == held["holdExpiresAt"]
    wrong = api.post(
        "/api/payments/create-intent", {"bookingId": booking.reference, "amount": "40.00"}, format="json"
    )
    assert (wrong.status_code, wrong.json()["code"]) == (422, "amount_mismatch")
    intent = api.post("/api/payments/create-intent", {"bookingId": booking.reference}, format="json").json()
    assert intent["amount"] == "20.00"
    assert pay(checkout(with_places().get(pk=booking.pk))) == 200
    settled = api.post(
        "/api/payments/confirm-stripe", {"paymentIntentId": intent["paymentIntentId"]}, format="json"
    )
    assert settled.json()["status"] == "captured"
    seen = api.get(f"/api/bookings/{booking.reference}").json()
    assert (seen["pendingChange"], seen["total"], seen["return"][:16]) == (None, "60.00", later)


def test_without_a_token_the_change_is_made_at_the_prices_of_the_moment(
    api: APIClient, booking: Booking
) -> None:
    answer = ask(api, booking, **{"return": local(booking.local_end - DAY), "plate": "new 1"}).json()
    assert (answer["status"], answer["difference"], answer["refund"]) == ("applied", "-10.00", "10.00")
    seen = api.get(f"/api/bookings/{booking.reference}").json()
    assert (seen["vehicle"]["plate"], seen["total"]) == ("NEW1", "30.00")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "invalid"),
        ({"return": "soon"}, 400, "invalid"),
        ({"return": "2020-01-01T10:00"}, 400, "invalid"),
        ({"plate": "!"}, 400, "invalid"),
        ({"driver": {"name": "\u202e"}}, 400, "invalid"),
        ({"previewToken": "x"}, 409, "preview_outdated"),
        ({"total": "0.00"}, 400, "invalid"),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(
    api: APIClient, booking: Booking, body: dict[str, Any], status: int, code: str
) -> None:
    answer = ask(api, booking, **body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.json()
    assert Amendment.objects.count() == 0


# Staff


@pytest.fixture
def sam(booking: Booking) -> User:
    user = User.objects.create_user("sam@example.com", "rather-long-Secret-7", is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(codename__in=["view_booking", "change_booking"]))
    return user


def test_staff_keep_new_times_and_the_customer_is_asked_to_pay(
    client: Client, sam: User, booking: Booking
) -> None:
    client.force_login(sam)
    address = reverse("admin:bookings_booking_amend", args=[booking.pk])
    assert "Which times?" in text(client.get(address))
    asked = form_of(booking, return_date=days_later(booking, 1), reason="Flight moved, called at 10")
    shown = client.post(address, asked)
    assert "Keep the times and ask for £10.00" in text(shown)
    client.post(
        address, {"preview_token": shown.context["preview"].token, "reason": "Flight moved, called at 10"}
    )
    amendment = Amendment.objects.get()
    assert (amendment.status, amendment.requested_by, amendment.reason) == (
        "held",
        sam,
        "Flight moved, called at 10",
    )
    assert amendment.hold_expires_at is not None
    assert amendment.hold_expires_at > timezone.now() + timedelta(hours=23)
    entry = AuditEntry.objects.get(action="booking.change")
    assert (entry.actor, entry.reason) == (sam, "Flight moved, called at 10")
    assert {one.channel for one in Message.objects.filter(kind="amendment_to_pay")} == {"email", "sms"}


def test_staff_without_a_reason_or_the_permission_change_nothing(
    client: Client, sam: User, booking: Booking
) -> None:
    address = reverse("admin:bookings_booking_amend", args=[booking.pk])
    client.force_login(sam)
    page = client.post(address, form_of(booking, return_date=days_later(booking, 1), reason=""))
    assert page.context["preview"] is None
    vic = User.objects.create_user("vic@example.com", "rather-long-Secret-7", is_staff=True)
    vic.user_permissions.add(Permission.objects.get(codename="view_booking"))
    client.force_login(vic)
    assert client.get(address).status_code == 403
    assert AuditEntry.objects.filter(action="booking.change.denied", actor=vic).count() == 1
    program = APIClient()
    program.credentials(HTTP_AUTHORIZATION=f"Bearer {services.issue_tokens(vic).access}")
    assert ask(program, booking, plate="X1").status_code == 403
    assert (Amendment.objects.count(), Payment.objects.count()) == (0, 1)


# Calendars


def entry(file: bytes) -> dict[str, Any]:
    calendar = Calendar.from_ical(file)
    [event] = calendar.walk("VEVENT")
    return {
        "method": str(calendar["METHOD"]),
        "uid": str(event["UID"]),
        "sequence": event["SEQUENCE"],
        "times": (event["DTSTART"].dt, event["DTEND"].dt),
        "alarms": len(event.walk("VALARM")),
    }


def mailed(kind: str, booking: Booking) -> dict[str, Any]:
    message = Message.objects.get(kind=kind, channel="email", reference=booking.reference)
    return entry(calendar_file(CalendarEntry.from_json(message.calendar)))


def test_a_calendar_holds_a_stay_once_wherever_its_entry_came_from(browser: Client, booking: Booking) -> None:
    page = f"/bookings/{booking.reference}/calendar.ics"
    first = mailed("booking_confirmation", booking)
    assert first == entry(browser.get(page).content)
    assert (first["method"], first["sequence"], first["alarms"]) == ("PUBLISH", 0, 2)
    assert first["times"] == tuple(
        at.replace(microsecond=0) for at in (booking.local_start, booking.local_end)
    )
    shown = browser.post(f"/bookings/{booking.reference}/change", form_of(booking, plate="NEW 123"))
    browser.post(f"/bookings/{booking.reference}/change", {"preview_token": shown.context["preview"].token})
    changed = mailed("booking_amended", booking)
    assert changed == entry(browser.get(page).content) == {**first, "sequence": 1}
    now = timezone.now()
    cancel(booking, preview_token=preview_cancellation(booking, now=now).token, now=now)
    booking.refresh_from_db()
    gone = entry(calendar_file(calendar_entry(booking)))
    assert gone == {**first, "method": "CANCEL", "sequence": 2, "alarms": 0}
