"""Emergency alerts: shown, confirmed twice, sent at once on both channels, and tried again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from bookings.models import Booking, Occupancy
from bookings.tests.world import DAY, hold, make_product
from communications.campaigns import alerts, dispatch
from communications.catalogue import EMAIL, SMS
from communications.models import EmergencyAlert, Message, OwnWords, Recipient
from communications.services import consent, wording
from communications.services.wording import Draft
from foundation.models import AuditEntry

pytestmark = pytest.mark.django_db(transaction=True)
TEXTS = {
    (SMS, "en"): Draft(body="{{ car_park_name }} floods. Move {{ plate }} now."),
    (EMAIL, "en"): Draft(
        subject="Water at {{ car_park_name }}", body="Hello {{ customer_name }}, move {{ plate }} now."
    ),
}


class World:
    def __init__(self) -> None:
        wording.install_default_templates()
        self.now = timezone.now()
        self.product = make_product(capacity=20)
        self.car_park = self.product.car_park
        self.sam = User.objects.create_user("sam@staff.example", "rather-long-Secret-7", is_staff=True)
        self.sam.user_permissions.set(
            Permission.objects.filter(codename__in=["send_emergencyalert", "view_emergencyalert"])
        )
        self.vic = User.objects.create_user("vic@staff.example", "rather-long-Secret-7", is_staff=True)
        self.vic.user_permissions.set(Permission.objects.filter(codename="view_emergencyalert"))
        self.here = [self.booked(-1, 3, f"here{number}@example.com") for number in range(3)]
        self.coming = self.booked(0.2, 2, "coming@example.com")
        self.cancelled = self.booked(-1, 3, "gone@example.com", status="cancelled")

    def booked(self, start: float, days: float, email: str, status: str = "confirmed") -> Booking:
        begin = self.now + start * DAY
        booking = hold(self.product, start=begin, days=days, now=begin - 10 * DAY, email=email).booking
        Booking.objects.filter(pk=booking.pk).update(status="confirmed", confirmed_at=begin - 10 * DAY)
        if status == "cancelled":
            with transaction.atomic():
                Occupancy.objects.filter(booking=booking).update(released_at=self.now)
                Booking.objects.filter(pk=booking.pk).update(status="cancelled", cancelled_at=self.now)
        booking.refresh_from_db()
        return booking

    def definition(self, who: str = "on_site", **more: Any) -> dict[str, Any]:
        return {"car_park": str(self.car_park.pk), "who": who, **more}

    def preview(self, **more: Any) -> alerts.AlertPreview:
        return alerts.preview(
            self.definition(**more), texts=TEXTS, reason="Burst pipe", by=self.sam, now=self.now
        )

    def sent(self) -> EmergencyAlert:
        return alerts.confirm(self.preview().token, typed="3", by=self.sam, now=self.now)


@pytest.fixture
def world(db: None) -> World:
    return World()


def run_out(alert: EmergencyAlert) -> None:
    for _round in range(50):
        if dispatch.send_for(alert, seconds=1) is None:
            return
    raise AssertionError("the alert does not end")


def test_the_cars_on_site_are_warned_on_both_channels_and_nobody_else(world: World, wire: Any) -> None:
    preview = world.preview()
    assert (preview.count, dict(preview.by_channel)) == (3, {"email": 3, "sms": 3})
    assert preview.sms_segments == 1
    alert = world.sent()
    run_out(alert)
    alert.refresh_from_db()
    assert alert.status == "finished"
    mails = {
        mail["personalizations"][0]["to"][0]["email"] for mail in wire.received if "personalizations" in mail
    }
    texts = [sms["Body"] for sms in wire.received if "Body" in sms]
    assert mails == {booking.driver_email for booking in world.here}
    assert texts == ["Meadow floods. Move AB12CDE now."] * 3
    assert alerts.progress(alert).told == 3 and not alerts.not_reached(alert)
    entry = AuditEntry.objects.get(action="emergencyalert.sent")
    assert (entry.actor, entry.reason) == (world.sam, "Burst pipe")


def test_the_preview_counts_whom_it_can_reach(world: World) -> None:
    before = world.preview()
    assert dict(before.by_channel) == {"email": 3, "sms": 3}
    phone = before.owners[0].phone
    consent.stop_texts(phone, now=world.now, wording="STOP", language="en")
    after = world.preview()
    others = [owner for owner in after.owners if owner.phone != phone]
    assert dict(after.by_channel) == {"email": 3, "sms": len(others)}
    assert (len(others) < 3, after.unreachable) == (True, 0)


def test_an_alert_comes_before_everything_else_that_waits(world: World) -> None:
    world.sent()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT priority, queue_name FROM procrastinate_jobs WHERE task_name = 'communications.dispatch'"
        )
        jobs = cursor.fetchall()
        cursor.execute(
            "SELECT max(priority) FROM procrastinate_jobs WHERE task_name <> 'communications.dispatch'"
        )
        others = cursor.fetchone()[0]
    assert jobs and all(job == (100, "default") for job in jobs)
    assert not others


@pytest.mark.parametrize(
    ("who", "start", "end", "found"),
    [("arriving", 0, 1, 1), ("leaving", 1, 2.1, 3), ("all", -0.5, 5, 4), ("leaving", 10, 11, 0)],
)
def test_the_period_is_read_on_the_car_parks_clock(
    world: World, who: str, start: float, end: float, found: int
) -> None:
    local = world.now.astimezone(world.car_park.airport.zone)
    period = {
        "from": f"{local + start * DAY:%Y-%m-%dT%H:%M}",
        "to": f"{local + end * DAY:%Y-%m-%dT%H:%M}",
    }
    assert world.preview(who=who, **period).count == found


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"car_park": "999999"}, "car_park"), ({"car_park": "'; DROP"}, "car_park"), ({"who": "everybody"}, "who"),
        ({"who": "arriving"}, "from"), ({"who": "arriving", "from": "2026-06-02T10:00", "to": "2026-06-01T10:00"}, "to"),
    ],
)  # fmt: skip
def test_a_bad_audience_is_refused_by_field(world: World, change: dict[str, str], field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        alerts.preview({**world.definition(), **change}, texts=TEXTS, reason="x", by=world.sam, now=world.now)
    assert field in refused.value.message_dict


def test_an_unknown_placeholder_and_the_forms_own_text_are_refused(world: World) -> None:
    bad = {(SMS, "en"): Draft(body="Move {{ plat }}")}
    with pytest.raises(ValidationError) as refused:
        alerts.preview(world.definition(), texts=bad, reason="x", by=world.sam, now=world.now)
    assert "plate" in str(refused.value.message_dict["sms_en_body"])
    empty = {(SMS, "en"): Draft(body=wording.version_for("emergency_alert", "sms", "en").body)}
    with pytest.raises(ValidationError):
        alerts.preview(world.definition(), texts=empty, reason="x", by=world.sam, now=world.now)


def test_the_second_step_wants_the_name_or_the_number_and_the_same_person(world: World) -> None:
    token = world.preview().token
    for typed in ("", "2", "yes"):
        with pytest.raises(alerts.NotConfirmed):
            alerts.confirm(token, typed=typed, by=world.sam, now=world.now)
    for by, token_, now in (
        (world.vic, token, world.now),
        (world.sam, token + "x", world.now),
        (world.sam, token, world.now + timedelta(minutes=16)),
    ):
        with pytest.raises(alerts.AlertPreviewOutdated):
            alerts.confirm(token_, typed="3", by=by, now=now)
    assert not EmergencyAlert.objects.exists()
    first = alerts.confirm(token, typed="meadow, lhr", by=world.sam, now=world.now)
    assert alerts.confirm(token, typed="3", by=world.sam, now=world.now) == first
    assert Recipient.objects.count() == 6


def test_who_came_since_the_preview_is_warned_and_it_is_said(world: World) -> None:
    token = world.preview().token
    world.booked(-0.5, 2, "late@example.com")
    alert = alerts.confirm(token, typed="3", by=world.sam, now=world.now)
    assert (alert.shown, alert.reached, alert.audience["came"], alert.audience["went"]) == (3, 4, 1, 0)


def test_an_alert_stays_as_it_was_confirmed(world: World) -> None:
    alert = world.sent()
    for change in (
        lambda: EmergencyAlert.objects.update(reason="x"),
        lambda: EmergencyAlert.objects.all().delete(),
        lambda: OwnWords.objects.create(owner=alert.key, channel="sms", language="en", number=1, body="x"),
        lambda: OwnWords.objects.all().delete(),
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            change()


def test_who_was_not_reached_is_tried_again_unless_the_booking_is_cancelled(world: World, wire: Any) -> None:
    alert = world.sent()
    wire.answers = [
        {"status": 400, "code": 21617}
    ] * 4  # both channels of two cars; nothing about their addresses
    run_out(alert)
    missed = alerts.not_reached(alert)
    assert len(missed) == 2
    gone = Booking.objects.get(reference=missed[0])
    with transaction.atomic():
        Occupancy.objects.filter(booking=gone).update(released_at=world.now)
        Booking.objects.filter(pk=gone.pk).update(status="cancelled", cancelled_at=world.now)
    assert alerts.resend(alert, reason="The line is back", by=world.sam, now=world.now) == 1
    assert alerts.resend(alert, reason="twice", by=world.sam, now=world.now) == 0  # on its way
    run_out(alert)
    assert alerts.not_reached(alert) == [missed[0]]
    assert Message.objects.filter(reference=missed[1], status="sent").count() == 2
    assert Message.objects.filter(reference=missed[0]).count() == 2


def test_the_page_shows_confirms_and_sends(world: World, wire: Any) -> None:
    client = Client()
    client.force_login(world.sam, backend="django.contrib.auth.backends.ModelBackend")
    page = reverse("admin:communications_emergencyalert_add")
    form = {
        "step": "look", "car_park": str(world.car_park.pk), "who": "on_site", "reason": "Burst pipe", "sms_en_body": "Move {{ plate }}",
        "email_en_subject": "Water", "email_en_body": "Move {{ plate }}",
    }  # fmt: skip
    shown = client.post(page, form)
    body = shown.content.decode()
    assert shown.status_code == 200, body
    assert "AB12CDE" in body and "he•••@example.com" in body and "here0@example.com" not in body
    token = shown.context["preview"].token
    final = client.post(page, {"step": "again", "token": token})
    assert "Second confirmation" in final.content.decode()
    wrong = client.post(page, {"step": "send", "token": token, "typed": "4"})
    assert wrong.status_code == 422 and not EmergencyAlert.objects.exists()
    first = client.post(page, {"step": "send", "token": token, "typed": "Meadow, LHR"})
    again = client.post(page, {"step": "send", "token": token, "typed": "Meadow, LHR"})
    assert first["Location"] == again["Location"]
    run_out(EmergencyAlert.objects.get())
    progress = client.get(first["Location"], headers={"HX-Request": "true"}).content.decode()
    assert "Everybody was tried" in progress and "<html" not in progress
    assert client.post(page, {"step": "send", "token": "forged", "typed": "3"}).status_code == 302
    bad = client.post(page, {**form, "sms_en_body": "{{ nope }}", "car_park": "77777"})
    assert bad.status_code == 422


def test_without_the_permission_it_is_refused_and_noted(world: World) -> None:
    client = Client()
    client.force_login(world.vic, backend="django.contrib.auth.backends.ModelBackend")
    alert = world.sent()
    assert client.get(reverse("admin:communications_emergencyalert_add")).status_code == 403
    assert (
        client.post(reverse("admin:communications_emergencyalert_resend", args=[alert.pk])).status_code == 403
    )
    assert client.get(reverse("admin:communications_emergencyalert_page", args=[alert.pk])).status_code == 200
    assert client.get(reverse("admin:communications_emergencyalert_page", args=[10**18])).status_code == 404
    assert (
        AuditEntry.objects.filter(action__startswith="emergencyalert.", action__endswith=".denied").count()
        == 2
    )
