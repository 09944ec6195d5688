"""The campaign's pages: written, counted, scheduled, paused, read and exported by those who may."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from communications.admin.campaigns import ScheduleForm
from communications.campaigns import dispatch, people, results
from communications.models import Campaign, Message
from communications.services import consent, wording
from communications.tests.crowd import NOON, Crowd, agreed, consenting, draft, run_out, scheduled
from foundation.models import AuditEntry

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def house(db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.CAMPAIGN_AUDIENCE = "communications.tests.crowd.crowd"
    for asks in (people, dispatch):
        monkeypatch.setattr(asks, "allowed_addresses", agreed)
    wording.install_default_templates()
    Crowd.addresses = ["ada@example.com", "ben@example.com", "=cmd|'x'!A1@example.com"]
    consenting("ada@example.com", "=cmd|'x'!A1@example.com")


def browser(*permissions: str) -> Client:
    user = User.objects.create_user(
        f"u{User.objects.count()}@staff.example", "rather-long-Secret-7", is_staff=True
    )
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


ALL = ("view_campaign", "add_campaign", "change_campaign", "run_campaign")


def at(name: str, campaign: Campaign, *more: Any) -> str:
    return reverse(f"admin:communications_campaign_{name}", args=[campaign.pk, *more])


def test_from_the_first_form_to_the_schedule() -> None:
    client = browser(*ALL)
    made = client.post(
        reverse("admin:communications_campaign_add"),
        {
            "name": "Spring",
            "by_email": "on",
            "per_minute": "600",
            "promo_code": "spring15",
            "promo_percent": "15",
        },
    )
    campaign = Campaign.objects.get()
    assert made["Location"] == at("page", campaign)
    assert (campaign.promo_code, campaign.timezone) == ("SPRING15", "Europe/London")
    words = at("words", campaign, "email", "en")
    assert "promo_code" in client.get(words).content.decode()
    bad = client.post(words, {"subject": "x\r\nBcc: eve@example.com", "body": "{{ promo_cod }}"})
    assert bad.status_code == 422
    good = client.post(
        words,
        {
            "subject": "Less",
            "body": "{{ customer_name }}: {{ promo_code }}",
            "button_label": "Go",
            "button_variable": "offer_url",
        },
    )
    assert good.status_code == 302
    test = client.post(words, {"test": "1", "send_to": "sam@staff.example"})
    assert test.status_code == 302
    message = Message.objects.get()
    assert (message.to, message.campaign_key) == ("sam@staff.example", f"test:campaign:{campaign.pk}")
    page = client.get(at("schedule", campaign)).content.decode()
    assert "They never agreed" in page and "ad•••@example.com" in page and "ada@example.com" not in page
    refused = client.post(at("schedule", campaign), {"when": "later", "start_local": "2020-01-01T10:00"})
    assert refused.status_code == 422
    start = (timezone.now() + timedelta(days=3)).strftime("%Y-%m-%dT10:00")
    for _press in range(2):
        assert (
            client.post(at("schedule", campaign), {"when": "later", "start_local": start}).status_code == 302
        )
    campaign.refresh_from_db()
    assert campaign.status == "scheduled"
    assert AuditEntry.objects.filter(action="campaign.scheduled").count() == 1
    assert client.get(reverse("admin:communications_campaign_change", args=[campaign.pk])).status_code == 302
    told = client.post(words, {"subject": "x", "body": "x"}, follow=True).content.decode()
    assert "its words are fixed" in told
    assert client.post(at("step", campaign, "unschedule"), {"reason": "Not yet"}).status_code == 302
    campaign.refresh_from_db()
    assert campaign.status == "draft"


def test_a_form_that_cannot_be_is_shown_again() -> None:
    client = browser(*ALL)
    for bad in (
        {"per_minute": "0"}, {"by_email": ""}, {"promo_code": "NOPE"}, {"promo_percent": "15"}, {"promo_code": "X", "promo_percent": "15"},
        {"promo_code": "GOOD", "promo_percent": "1e9"}, {"airports": "ZZZ"}, {"name": "a\x00b"},
    ):  # fmt: skip
        form = {"name": "Spring", "by_email": "on", "per_minute": "600", **bad}
        answer = client.post(reverse("admin:communications_campaign_add"), form)
        assert answer.status_code in (200, 400), bad
    assert not Campaign.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_pause_resume_stop_want_a_reason_and_a_second_press_is_harmless() -> None:
    client = browser(*ALL)
    campaign = scheduled(draft())
    assert client.post(at("step", campaign, "pause"), {"reason": ""}).status_code == 422
    for step, status in (("pause", "paused"), ("resume", "preparing"), ("stop", "stopped")):
        for _press in range(2):
            assert client.post(at("step", campaign, step), {"reason": "Because"}).status_code == 302
        campaign.refresh_from_db()
        assert campaign.status == status
    assert AuditEntry.objects.filter(action="campaign.stopped", reason="Because").count() == 1
    client.post(at("step", campaign, "resume"), {"reason": "Because"})
    campaign.refresh_from_db()
    assert campaign.status == "stopped"
    assert client.get(at("step", campaign, "explode")).status_code == 404


@pytest.mark.django_db(transaction=True)
def test_who_opts_out_afterwards_is_on_the_chart(wire: Any) -> None:
    campaign = scheduled(draft())
    run_out(campaign, now=NOON)
    for address in ("ada@example.com", "stranger@example.com"):
        for wanted in (True, False):
            consent.record_consent(
                channel="email", address=address, is_granted=wanted, source="preferences", now=NOON + timedelta(minutes=9)
            )  # fmt: skip
    found = results.results_of(Campaign.objects.get())
    assert (found.opted_out, found.lines["opted_out"][-1]) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_results_are_the_log_and_the_export_has_no_formula(wire: Any) -> None:
    campaign = scheduled(draft())
    run_out(campaign, now=NOON)
    client = browser(*ALL)
    page = client.get(at("page", campaign))
    found = page.context["results"]
    assert found.handed_over == Message.objects.filter(status="sent").count() == 2
    assert "<polyline" in page.content.decode() and "The same as a table" in page.content.decode()
    part = client.get(at("page", campaign), headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in part and "Recipients" in part
    moved = client.get(at("page", campaign), {"was": "sending"}, headers={"HX-Request": "true"})
    assert moved["HX-Refresh"] == "true" and "HX-Refresh" not in page
    people_page = reverse("admin:communications_recipient_changelist")
    listed = browser("view_recipient").get(people_page, {"campaign__id__exact": campaign.pk}).content.decode()
    assert "ben@example.com" in listed and "They never agreed" in listed
    reader = browser("view_message")
    sent = Message.objects.get(to="ada@example.com")
    shown = reader.get(reverse("admin:communications_message_change", args=[sent.pk])).content.decode()
    assert "Hello Person ada" in shown and "srcdoc" in shown and "/unsubscribe/" not in shown
    text = b"".join(client.get(at("export", campaign)).streaming_content).decode()
    assert "\r\nemail,'=cmd|'x'!A1@example.com," in text
    assert "ben@example.com,en,skipped,no_consent" in text
    assert AuditEntry.objects.filter(action="campaign.exported").count() == 1


def test_who_may_only_look_changes_nothing() -> None:
    campaign = draft()
    client = browser("view_campaign")
    assert client.get(at("page", campaign)).status_code == 200
    assert client.get(at("schedule", campaign)).status_code == 403
    assert client.post(at("step", campaign, "stop"), {"reason": "x"}).status_code == 403
    assert client.get(at("export", campaign)).status_code == 403
    assert client.post(at("words", campaign, "email", "en"), {"subject": "x", "body": "x"}).status_code == 403
    assert browser().get(at("page", campaign)).status_code == 403
    assert AuditEntry.objects.filter(action__endswith=".denied").count() == 3
    admin = browser(*ALL)
    assert admin.get(reverse("admin:communications_campaign_page", args=[10**19])).status_code == 404
    assert admin.get(at("words", campaign, "sms", "en")).status_code == 404
    assert admin.get(at("words", campaign, "email", "tlh")).status_code == 404


@pytest.mark.parametrize(
    ("local", "reading", "starts"),
    [
        ("2027-03-28T01:30", None, None),  # the clock skips it
        ("2026-10-25T01:30", None, None),  # the clock shows it twice
        ("2026-10-25T01:30", "0", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        ("2026-10-25T01:30", "1", datetime(2026, 10, 25, 1, 30, tzinfo=UTC)),
        ("2026-07-01T10:00", None, datetime(2026, 7, 1, 9, tzinfo=UTC)),
        ("tomorrow", None, None),
        ("0001-01-01T00:00", None, None),
        ("2026-07-01T10:00+02:00", None, None),
    ],
)  # fmt: skip
def test_the_time_is_the_offices_and_the_change_of_the_clocks_is_asked_about(
    local: str, reading: str | None, starts: datetime | None
) -> None:
    form = ScheduleForm(
        {"when": "later", "start_local": local, **({"reading": reading} if reading else {})},
        zone=ZoneInfo("Europe/London"),
    )
    assert form.is_valid() == (starts is not None)
    if starts:
        assert form.cleaned_data["start_at"] == starts
