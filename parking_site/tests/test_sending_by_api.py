"""Messages that programs ask for: who may, what is refused, where it goes, and that a repeat sends nothing."""

from __future__ import annotations

import contextlib
import threading
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.models import User
from bookings.models import Booking
from bookings.services.cancel import cancel, preview_cancellation
from bookings.services.tell_again import NotDue, send_confirmation_again, send_reminder
from bookings.tests.world import hold, make_product
from communications.catalogue import EMAIL, SMS
from communications.models import Message, SmsBreaker, SmsSpend
from communications.services import budget, consent, costs, outbox, wording
from communications.tests.conftest import wire as provider_wire
from foundation.errors import InvalidInput
from foundation.models import AuditEntry
from payments.services.settle import settle
from payments.tests.world import checkout, pay

pytestmark = pytest.mark.django_db(transaction=True)
wire = provider_wire
EMAIL_CALL, SMS_CALL = "/api/communication/send-email", "/api/communication/send-sms"


@pytest.fixture(autouse=True)
def words(db: None, sandbox: Any) -> None:
    wording.install_default_templates()


def client_of(user: User) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {accounts.issue_tokens(user).access}")
    return client


@pytest.fixture
def sam() -> APIClient:
    user = User.objects.create_user("sam@staff.example", "rather-long-Secret-7", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["send_email", "send_sms"]))
    return client_of(user)


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada@example.com", "rather-long-Secret-7", name="Ada")


def booked(user: User | None = None) -> Booking:
    now = timezone.now()
    return hold(make_product(capacity=9), start=now + timedelta(days=9), now=now, user=user).booking


def paid(user: User | None = None) -> Booking:
    session = checkout(booked(user))
    assert pay(session) == 200
    booking = settle(session.payment.pk).booking
    booking.refresh_from_db()
    Message.objects.update(queued_at=timezone.now() - timedelta(hours=1))
    return booking


def test_the_documented_calls_run_as_they_stand(sam: APIClient) -> None:
    mail = {"to": "test@example.com", "templateKey": "welcome", "variables": {"user_name": "Test User"}}
    text = {"to": "+1234567890", "message": "Test SMS from Airport Parking"}
    for call, body in ((EMAIL_CALL, mail), (SMS_CALL, text)):
        answer = sam.post(call, body, format="json")
        assert (answer.status_code, answer.json()["status"]) == (202, "queued"), answer.json()
    message = Message.objects.get(channel=EMAIL)
    assert (message.to, message.variables["customer_name"]) == ("test@example.com", "Test User")
    assert AuditEntry.objects.filter(action="email_sent_by_api").count() == 1


@pytest.mark.parametrize("call", [EMAIL_CALL, SMS_CALL])
def test_only_staff_with_the_permission(call: str, ada: User) -> None:
    staff = User.objects.create_user("vic@staff.example", "rather-long-Secret-7", is_staff=True)
    ada.user_permissions.set(Permission.objects.filter(codename__in=["send_email", "send_sms"]))
    assert APIClient().post(call, {}, format="json").status_code == 401
    for user in (ada, staff):
        assert client_of(user).post(call, {}, format="json").status_code == 403
    assert AuditEntry.objects.filter(action__endswith=".denied").count() == 2
    assert not Message.objects.exists()


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"templateKey": "welcom"}, 404, "welcome"),
        ({"templateKey": "password_reset"}, 409, "one-time"),
        ({"templateKey": "verify_email"}, 409, "one-time"),
        ({"variables": {"custmer_name": "x"}}, 400, "customer_name"),
        ({"variables": {}}, 400, "customer_name"),
        ({"variables": {"customer_name": "A\r\nBcc: eve@example.com"}}, 400, "one line"),
        ({"variables": {"customer_name": "x", "home_url": "https://evil.example/"}}, 400, "this site"),
        ({"variables": {"customer_name": "x", "site_name": "Evil"}}, 400, "site_name"),
        ({"variables": {"customer_name": "x" * 501}}, 400, "500"),
        ({"to": "a@example.com\nBcc: b@example.com"}, 400, "e-mail address"),
        ({"to": "not an address"}, 400, "e-mail address"),
        ({"language": "xx"}, 400, "language"),
        ({"html": "<b>"}, 400, "html"),
    ],
)
def test_what_could_harm_is_refused_with_a_reason(
    sam: APIClient, change: dict[str, Any], status: int, says: str
) -> None:
    body = {"to": "x@example.com", "templateKey": "welcome", "variables": {"customer_name": "X"}} | change
    answer = sam.post(EMAIL_CALL, body, format="json")
    assert (answer.status_code, says in answer.content.decode()) == (status, True), answer.json()
    assert not Message.objects.exists()


def test_braces_in_a_value_stay_text(sam: APIClient, wire: Any) -> None:
    body = {
        "to": "x@example.com",
        "templateKey": "welcome",
        "variables": {"customer_name": "{{ support_email }}<script>"},
    }
    sam.post(EMAIL_CALL, body, format="json")
    outbox.send(Message.objects.get().pk, now=timezone.now() + timedelta(seconds=5))
    html = wire.received[0]["content"][1]["value"]
    assert "{{ support_email }}&lt;script&gt;" in html


def test_texts_are_refused_where_none_may_go(sam: APIClient) -> None:
    consent.stop_texts("+447700900124", now=timezone.now(), wording="STOP", language="en")
    for to, status, code in (
        ("+447700900124", 409, "no_consent"),
        ("+449098790879", 422, "sms_premium"),
        ("+22507123456", 422, "sms_country"),
        ("07700900123", 400, "invalid"),
        ("+44 7700 900123", 400, "invalid"),
    ):
        answer = sam.post(SMS_CALL, {"to": to, "message": "Hello"}, format="json")
        assert (answer.status_code, answer.json()["code"]) == (status, code), to
    assert sam.post(SMS_CALL, {"to": "+447700900123", "message": "x" * 481}, format="json").status_code == 400
    assert not Message.objects.exists()


def test_an_alert_cannot_be_sent_around_its_page(sam: APIClient) -> None:
    body = {"to": "x@example.com", "templateKey": "emergency_alert", "variables": {}}
    answer = sam.post(EMAIL_CALL, body, format="json")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_to_be_sent")
    assert not Message.objects.exists()


def test_a_spent_budget_is_said_at_the_door(sam: APIClient, settings: Any, wire: Any) -> None:
    settings.SMS_LIMITS = {**settings.SMS_LIMITS, "other": [2, 9, 9, 9]}
    ask = {"to": "+447700900123", "message": "Hello"}
    assert (
        sam.post(SMS_CALL, {**ask, "message": "x" * 400}, format="json").json()["code"] == "sms_budget_number"
    )
    for _time in range(2):
        text_to("+447700900123")
    answer = sam.post(SMS_CALL, ask, format="json")
    assert (answer.status_code, answer.json()["code"]) == (429, "sms_budget_number")
    assert Message.objects.count() == 2
    assert sam.post(SMS_CALL, {**ask, "to": "+447700900124"}, format="json").status_code == 202


def text_to(number: str, kind: str = "staff_message") -> Message:
    message = outbox.queue_message(
        kind=kind,
        channel=SMS,
        to=number,
        variables={"text": "Hello"},
        dedupe_key=f"t{Message.objects.count()}",
    )
    assert message is not None
    done = outbox.send(message.pk, now=timezone.now() + timedelta(seconds=5))
    assert done is not None
    return done


def test_budgets_hold_and_bookings_have_their_own(settings: Any, wire: Any) -> None:
    settings.SMS_LIMITS = {"other": [2, 3, 4, 5], "bookings": [9, 9, 9, 9]}
    codes = [
        text_to(number).error_code
        for number in (
            *["+447700900001"] * 3,  # two to one number
            *["+447700900002"] * 2,  # three to one prefix
            *["+447400123456"] * 2,  # four to one country
            *["+33612345678"] * 2,  # five in all
        )
    ]
    assert codes == [
        "", "", "sms_budget_number", "", "sms_budget_prefix", "", "sms_budget_country", "", "sms_budget_day",
    ]  # fmt: skip
    assert len(wire.received) == 5
    assert text_to("+447700900001", "payment_confirmation").status == "sent"
    day = SmsSpend.objects.get(share="other", scope="day")
    assert day.segments == 5
    assert Message.objects.filter(segments__isnull=False, is_price_estimated=True).count() == 6


def test_many_numbers_of_one_prefix_trip_the_breaker_until_staff_reset_it(
    settings: Any, wire: Any, ada: User
) -> None:
    settings.SMS_BREAKER = "4/10"
    statuses = [text_to(f"+44770090000{number}").status for number in range(6)]
    assert statuses == ["sent"] * 4 + ["failed"] * 2
    breaker = SmsBreaker.objects.get()
    assert breaker.prefix == "+44770090"
    with pytest.raises(InvalidInput):
        budget.reset_breaker(breaker.pk, by=ada, reason="", now=timezone.now())
    budget.reset_breaker(breaker.pk, by=ada, reason="A school trip", now=timezone.now())
    assert text_to("+447700900009").status == "sent"


def test_offers_and_staffs_texts_have_purses_of_their_own(settings: Any, wire: Any) -> None:
    settings.SMS_LIMITS = {"other": [1, 1, 1, 1], "offers": [1, 1, 1, 1], "bookings": [9, 9, 9, 9]}
    for kind, share in (("staff_message", "other"), ("promotion", "offers"), ("cancellation", "bookings")):
        assert budget.share_of(kind) == share
    assert text_to("+447700900001").status == "sent"
    assert text_to("+447700900001").error_code == "sms_budget_number"
    offer = Message.objects.create(kind="promotion", channel=SMS, to="+447700900001", dedupe_key="offer")
    budget.spend(offer, segments=1, now=timezone.now())
    assert SmsSpend.objects.filter(share="offers", scope="day", segments=1).exists()


def test_pumping_is_many_numbers_of_a_block_in_a_short_time(settings: Any, wire: Any) -> None:
    settings.SMS_BREAKER = "4/10"
    start = timezone.now()

    def asked(number: str, minutes: int) -> str:
        message = outbox.queue_message(
            kind="staff_message", channel=SMS, to=number, variables={}, dedupe_key=f"{number}{minutes}"
        )
        assert message is not None
        try:
            budget.spend(message, segments=1, now=start + timedelta(minutes=minutes))
        except budget.BudgetExceeded as error:
            return error.code
        return ""

    assert [asked(f"+44770090000{number}", 4 * number) for number in range(6)] == [""] * 6, "spread over time"
    assert [asked(f"+4477009{number}0001", 60) for number in range(1, 7)] == [""] * 6, "many blocks"
    assert [asked("+447700970001", 80 + number) for number in range(5)] == [""] * 5, "one number"
    assert [asked(f"+44770098000{number}", 100) for number in range(5)] == ["", "", "", "", "sms_breaker"]
    settings.SMS_BREAKER = "0/10"
    assert [asked(f"+44770099000{number}", 100) for number in range(5)] == [""] * 5


def test_workers_cannot_pass_the_breaker_together(settings: Any, wire: Any) -> None:
    settings.SMS_BREAKER = "4/10"
    for number in range(8):
        outbox.queue_message(
            kind="staff_message",
            channel=SMS,
            to=f"+44770090000{number}",
            variables={},
            dedupe_key=f"p{number}",
        )
    start = threading.Barrier(4)

    def work(first: int) -> None:  # no more threads than the pool has connections
        start.wait(10)
        for number in (first, first + 4):
            with contextlib.suppress(budget.BudgetExceeded):
                budget.spend(Message.objects.get(dedupe_key=f"p{number}"), segments=1, now=timezone.now())
        connection.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert SmsBreaker.objects.get().why == "4 different numbers in 10 minutes"


def test_staff_let_a_block_go_with_a_reason_and_the_permission(ada: User) -> None:
    breaker = SmsBreaker.objects.create(prefix="+44770090", why="many", tripped_at=timezone.now())
    ada.is_staff = True
    ada.save()
    ada.user_permissions.add(Permission.objects.get(codename="view_smsbreaker"))
    browser, page = Client(), reverse("admin:communications_smsbreaker_reset", args=[breaker.pk])
    browser.force_login(ada, backend="django.contrib.auth.backends.ModelBackend")
    assert browser.post(page, {"reason": "ours"}).status_code == 403
    ada.user_permissions.add(Permission.objects.get(codename="reset_breaker"))
    assert "+44770090" in browser.get(page).content.decode()
    assert browser.post(page, {"reason": " "}).status_code == 400
    assert browser.post(page, {"reason": "A coach party"}).status_code == 302
    breaker.refresh_from_db()
    assert (breaker.reset_by, breaker.reset_reason) == (ada, "A coach party")
    assert AuditEntry.objects.filter(action="sms_breaker_reset", reason="A coach party").count() == 1


def test_the_price_is_an_estimate_until_the_provider_names_it(settings: Any, sandbox: Any) -> None:
    done = text_to("+447700900123")
    assert (done.status, done.price, done.is_price_estimated) == ("sent", Decimal("0.05"), True)
    for price, unit in ((None, "USD"), ("nan", "USD"), ("-0.1", ""), ("x", "USD"), ("-99999", "USD")):
        assert not costs.record_price(done.provider_ref, price, unit)
    later = timezone.now() + timedelta(minutes=5)
    assert costs.fetch_prices(now=later) == 0, "the provider names none yet"
    for seconds in (2, 60):  # it leaves, and half a minute later has a price
        sandbox.post("/clock", {"advance_seconds": seconds})
    assert costs.fetch_prices(now=later) == 0, "asked a moment ago"
    assert costs.fetch_prices(now=later + timedelta(minutes=31)) == 1
    done.refresh_from_db()
    assert (done.price, done.price_currency, done.is_price_estimated) == (Decimal("0.05160"), "USD", False)


def test_a_budget_is_exact_when_many_workers_count_at_once(settings: Any, wire: Any) -> None:
    settings.SMS_LIMITS = {"other": [5, 5, 5, 5], "bookings": [9, 9, 9, 9]}
    start, done = threading.Barrier(4), []

    def work(first: int) -> None:  # no more threads than the pool has connections
        start.wait(10)
        for number in (first, first + 4):
            try:
                budget.spend(Message.objects.get(dedupe_key=f"race{number}"), segments=1, now=timezone.now())
                done.append(number)
            except budget.BudgetExceeded:
                pass
        connection.close()

    for number in range(8):
        outbox.queue_message(
            kind="staff_message", channel=SMS, to="+447700900001", variables={}, dedupe_key=f"race{number}"
        )
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(done) == 5
    assert set(SmsSpend.objects.values_list("segments", flat=True)) == {5}


# About a booking


@pytest.mark.parametrize("what", ["booking-confirmation", "booking-reminder", "payment-confirmation"])
def test_a_message_about_a_booking_goes_to_its_contact_and_a_repeat_sends_nothing(
    what: str, ada: User
) -> None:
    booking = paid(ada)
    before = Message.objects.count()
    ben = User.objects.create_user("ben@example.com", "rather-long-Secret-7")
    call, body = f"/api/communication/{what}", {"bookingId": booking.reference}
    assert client_of(ben).post(call, body, format="json").status_code == 404
    assert APIClient().post(call, body, format="json").status_code == 404
    first = client_of(ada).post(call, body, format="json")
    again = client_of(ada).post(call, body, format="json")
    assert (first.status_code, first.json()["duplicate"]) == (202, False), first.json()
    assert again.json() == {**first.json(), "duplicate": True}
    new = list(Message.objects.order_by("queued_at"))[before:]
    assert {(message.channel, message.to) for message in new} == {
        ("email", booking.driver_email),
        ("sms", str(booking.driver_phone)),
    }
    Message.objects.update(queued_at=timezone.now() - timedelta(minutes=11))
    assert client_of(ada).post(call, body, format="json").json()["duplicate"] is False


@pytest.mark.parametrize("what", ["booking-confirmation", "booking-reminder", "payment-confirmation"])
def test_what_is_not_due_is_said_so(what: str, ada: User) -> None:
    booking = booked(ada)
    answer = client_of(ada).post(
        f"/api/communication/{what}", {"bookingId": booking.reference}, format="json"
    )
    assert (answer.status_code, answer.json()["code"]) == (409, "not_due")
    assert not Message.objects.exists()


def test_staff_who_may_change_bookings_send_again_and_leave_their_name(ada: User) -> None:
    booking = paid(ada)
    vic = User.objects.create_user("vic@staff.example", "rather-long-Secret-7", is_staff=True)
    vic.user_permissions.set(Permission.objects.filter(codename="view_booking"))
    call, body = "/api/communication/booking-confirmation", {"bookingId": booking.reference}
    assert client_of(vic).post(call, body, format="json").status_code == 403
    vic.user_permissions.add(Permission.objects.get(codename="change_booking"))
    assert client_of(User.objects.get(pk=vic.pk)).post(call, body, format="json").status_code == 202
    assert AuditEntry.objects.get(action="message_sent_again").actor == vic


def test_a_booking_cancelled_meanwhile_is_not_confirmed_again(ada: User) -> None:
    stale = paid(ada)
    preview = preview_cancellation(stale, now=timezone.now())
    cancel(stale, preview_token=preview.token, now=timezone.now(), requested_by=ada)
    before = Message.objects.count()
    stale.status = "confirmed"  # as the door read it before the cancellation
    for send in (send_confirmation_again, send_reminder):
        with pytest.raises(NotDue):
            send(stale, now=timezone.now())
    assert Message.objects.count() == before


def test_a_double_click_sends_one(sandbox: Any, ada: User) -> None:
    booking = paid(ada)
    client_of(ada)
    start, answers = threading.Barrier(3), []

    def press() -> None:
        client = client_of(ada)
        start.wait(20)
        answers.append(
            client.post(
                "/api/communication/booking-confirmation", {"bookingId": booking.reference}, format="json"
            ).json()
        )
        connection.close()

    threads = [threading.Thread(target=press) for _each in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(one["duplicate"] for one in answers) == [False, True, True]
