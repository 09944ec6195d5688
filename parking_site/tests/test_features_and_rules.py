"""Features disappear whole, rules change within their bounds; both with a reason, in the audit log, and for every process."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import IntegrityError, transaction
from django.http import Http404, HttpResponse
from django.test import Client, RequestFactory
from django.urls import reverse
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.models import User
from bookings.services.hold import Driver, place_hold
from bookings.services.quote import quote_stay
from bookings.tests.world import ADA, DAY, NOW, add_rule, hold, make_product
from communications.models import Message
from communications.services.outbox import queue_message
from foundation import features, overrides, rules
from foundation.errors import InvalidInput, NotAllowed
from foundation.models import AuditEntry, Choice
from foundation.money import Money
from parking_site.checks import business_rules_are_readable
from payments.gateways import configured, offered, savable

pytestmark = pytest.mark.django_db


@pytest.fixture
def sam(db: None) -> User:
    user = User.objects.create_user("sam@staff.example", "rather-long-Secret-7", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(
            codename__in=("view_choice", "choose_feature", "choose_rule", "view_campaign")
        )
    )
    return user


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def switch(name: str, value: Any) -> None:
    overrides.choose(f"feature:{name}", value, default=True, by=None, reason="a test")


# --- Features -------------------------------------------------------------------------------------------------------

HIDDEN = {
    "paypal": ["POST /pay/AP-222222/paypal", "POST /account/payment-methods/add-paypal"],
    "saved_methods": [
        "GET /account/payment-methods", "GET /account/payment-methods/add", "GET /api/payments/methods", "POST /api/payments/save-method",
        "POST /pay/AP-222222/charge", "POST /pay/AP-222222/keep",
    ],
    "amendments": ["GET /bookings/AP-222222/change", "POST /api/bookings/AP-222222/amend"],
    "sign_up": ["GET /accounts/signup/", "POST /api/auth/register"],
    "sms": ["POST /api/communication/send-sms"],
    "campaigns": ["GET /admin/communications/campaign/", "GET /admin/communications/campaign/add/"],
    "partner_api": ["GET /api/airports", "GET /api/search", "POST /api/quotes", "POST /api/bookings", "GET /api/schema", "GET /api/docs"],
}  # fmt: skip


@pytest.mark.parametrize("name", HIDDEN)
def test_what_is_off_is_gone_from_pages_and_api_and_nothing_else_is(sam: User, name: str) -> None:
    page = signed_in(sam)
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {accounts.issue_tokens(sam).access}")
    door = features.FeatureMiddleware(lambda request: HttpResponse())
    asked = [
        RequestFactory().generic(method, path) for method, path in (call.split() for call in HIDDEN[name])
    ]
    assert all(door.process_view(request) is None for request in asked)
    switch(name, False)
    for call in HIDDEN[name]:
        method, path = call.split()
        if path.startswith("/api"):
            answer = api.generic(method, path)
            assert (answer.status_code, answer.json()["code"]) == (404, "feature_off")
        else:
            assert page.generic(method, path).status_code == 404
            with pytest.raises(Http404):
                door.process_view(RequestFactory().generic(method, path))
    assert page.get("/").status_code == 200 and api.get("/api/payments/transactions").status_code == 200
    switch(name, None)
    assert all(door.process_view(request) is None for request in asked)


def test_links_go_with_the_feature(sam: User) -> None:
    client, stranger = signed_in(sam), Client()
    profile, login = reverse("accounts:profile"), reverse("account_login")
    for name, page, who, mark in (
        ("saved_methods", profile, client, "Payment methods"),
        ("sign_up", login, stranger, "Open an account"),
        ("campaigns", reverse("admin:index"), client, "/admin/communications/campaign/"),
    ):
        assert mark in who.get(page).content.decode()
        switch(name, False)
        assert mark not in who.get(page).content.decode()


def test_paypal_off_is_not_offered_and_what_was_begun_goes_on() -> None:
    assert "paypal" in offered(Money(1000, "GBP")) and "paypal" in savable()
    switch("paypal", False)
    assert offered(Money(1000, "GBP")) == ["stripe"] == savable()
    assert "paypal" in configured(), "reconciliation, webhooks and refunds still ask it"
    switch("saved_methods", False)
    assert savable() == []


def test_guests_promo_codes_and_sms() -> None:
    product = make_product()
    switch("guest_checkout", False)
    with pytest.raises(NotAllowed, match="log in"):
        hold(product)
    user = User.objects.create_user("ada@example.com", "rather-long-Secret-7")
    assert hold(product, user=user).booking.user == user
    stay = {"airport": "LHR", "drop_off": "2031-05-01T10:00", "return": "2031-05-03T10:00"}
    assert (
        Client()
        .get(reverse("bookings:book", args=[product.pk]), stay)
        .headers["Location"]
        .startswith("/accounts/login/")
    )
    switch("promo_codes", False)
    from bookings.services.promo import promo_for

    with pytest.raises(InvalidInput, match="not taken"):
        promo_for("SUMMER", product=product, now=NOW)
    switch("sms", False)
    for channel, to in (("sms", "+447700900123"), ("email", "ada@example.com")):
        queue_message(
            kind="payment_confirmation",
            channel=channel,
            to=to,
            variables={"customer_name": "Ada"},
            dedupe_key=channel,
        )
    assert list(Message.objects.values_list("channel", flat=True)) == ["email"]


def test_the_environment_sets_the_default_and_a_wrong_name_is_named_with_the_known_ones(
    settings: Any,
) -> None:
    settings.FEATURES = {"paypal": "off", "promo_codes": "on"}
    assert not features.is_on("paypal") and features.is_on("promo_codes") and features.is_on("sms")
    switch("paypal", True)
    assert features.is_on("paypal"), "the row overrides the environment"
    switch("paypal", None)
    assert not features.is_on("paypal")
    settings.FEATURES = {"papal": "off", "sms": "maybe"}
    said = [str(one.hint) for one in business_rules_are_readable(None)]
    assert (
        len(said) == 2
        and "papal is unknown" in said[0]
        and "saved_methods" in said[0]
        and "write on or off" in said[1]
    )


def test_every_process_follows_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert features.is_on("paypal")
    Choice.objects.create(key="feature:paypal", value=False, reason="written by another process")
    assert features.is_on("paypal"), "remembered"
    monkeypatch.setattr(overrides, "SECONDS", 5.0)
    now = overrides.time.monotonic()
    monkeypatch.setattr(overrides.time, "monotonic", lambda: now + 6)
    assert not features.is_on("paypal")


# --- Business rules -------------------------------------------------------------------------------------------------


def test_a_change_applies_to_new_quotes_and_what_exists_keeps_its_own() -> None:
    product = make_product(capacity=9)
    add_rule(product, "long_stay", "-10", min_days=5)
    quote = quote_stay(product, start_at=NOW + DAY, end_at=NOW + 31 * DAY, now=NOW)
    held = hold(product, days=30).booking
    facts = (quote.expires_at, quote.total_minor, quote.lines, held.hold_expires_at)
    for name, value in (
        ("QUOTE_LIFETIME_MINUTES", 5), ("HOLD_LIFETIME_MINUTES", 7), ("LONGEST_STAY_DAYS", 10), ("BOOKABLE_FROM_HOURS_AHEAD", 48),
        ("BOOKABLE_UP_TO_DAYS_AHEAD", 1),
    ):  # fmt: skip
        overrides.choose(f"rule:{name}", value, default=0, by=None, reason="a test")
    quote.refresh_from_db()
    held.refresh_from_db()
    assert facts == (quote.expires_at, quote.total_minor, quote.lines, held.hold_expires_at)
    booked = place_hold(quote, driver=ADA, plate="XY12 ABC", now=NOW + timedelta(minutes=20)).booking
    assert booked.total_minor == quote.total_minor
    assert booked.hold_expires_at == NOW + timedelta(minutes=27), "held after the change"
    for start, days, word in ((3, 2, "days ahead"), (1, 2, "hours from now")):
        with pytest.raises(InvalidInput, match=word):
            quote_stay(product, start_at=NOW + start * DAY, end_at=NOW + (start + days) * DAY, now=NOW)
    overrides.choose("rule:BOOKABLE_UP_TO_DAYS_AHEAD", 30, default=0, by=None, reason="a test")
    with pytest.raises(InvalidInput, match="longest stay is 10"):
        quote_stay(product, start_at=NOW + 3 * DAY, end_at=NOW + 20 * DAY, now=NOW)
    fresh = quote_stay(product, start_at=NOW + 3 * DAY, end_at=NOW + 4 * DAY, now=NOW)
    assert fresh.expires_at == NOW + timedelta(minutes=5)
    assert isinstance(ADA, Driver)


def test_a_rule_is_changed_with_preview_reason_and_bounds_and_goes_back(sam: User, settings: Any) -> None:
    client = signed_in(sam)
    page = reverse("admin:foundation_choice_choose", args=["rule", "HOLD_LIFETIME_MINUTES"])
    assert "Never changed here" in client.get(page).content.decode()
    for bad in (
        {"value": "1", "reason": "x"},
        {"value": "ten", "reason": "x"},
        {"value": "20", "reason": " "},
        {"value": "9" * 30, "reason": "x"},
        {"value": "000000019999999", "reason": "x"},
    ):
        assert client.post(page, bad).status_code == 400
    shown = client.post(page, {"value": "20", "reason": "Busy season"}).content.decode()
    assert "kept for 20 minutes" in shown and "15 → 20" in shown and not Choice.objects.exists()
    assert client.post(page, {"value": "20", "reason": "Busy season", "confirm": "1"}).status_code == 302
    assert rules.value("HOLD_LIFETIME_MINUTES") == 20
    entry = AuditEntry.objects.get(action="choice.changed")
    assert (entry.actor, entry.reason, entry.data["from"], entry.data["to"]) == (sam, "Busy season", 15, 20)
    assert "Busy season" in client.get(page).content.decode()
    listed = client.get(reverse("admin:foundation_choice_changelist")).content.decode()
    assert "chosen here" in listed and "Busy season" in listed
    client.post(page, {"default": "on", "reason": "Season over", "confirm": "1"})
    assert rules.value("HOLD_LIFETIME_MINUTES") == 15
    settings.HOLD_LIFETIME_MINUTES = 16
    assert rules.value("HOLD_LIFETIME_MINUTES") == 16
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        Choice.objects.all().delete()


def test_a_feature_is_switched_in_the_admin_and_only_by_who_may(sam: User) -> None:
    page = reverse("admin:foundation_choice_choose", args=["feature", "paypal"])
    client = signed_in(sam)
    assert "Gone from pages" in client.post(page, {"value": "off", "reason": "Trouble"}).content.decode()
    client.post(page, {"value": "off", "reason": "Trouble", "confirm": "1"})
    assert not features.is_on("paypal")
    vic = User.objects.create_user("vic@staff.example", "rather-long-Secret-7", is_staff=True)
    vic.user_permissions.set(Permission.objects.filter(codename="view_choice"))
    assert signed_in(vic).post(page, {"value": "on", "reason": "x", "confirm": "1"}).status_code == 403
    assert signed_in(vic).get(reverse("admin:foundation_choice_changelist")).status_code == 200
    assert (
        client.get(reverse("admin:foundation_choice_choose", args=["rule", "SECRET_KEY"])).status_code == 404
    )


def test_lists_and_amounts_are_rules_too() -> None:
    assert rules.clean(rules.RULES["REMINDER_HOURS"], "48, 3") == [48, 3]
    assert rules.clean(rules.RULES["REMINDER_HOURS"], "") == []
    assert rules.clean(rules.RULES["REFUND_APPROVAL_ABOVE"], "USD:200.00, JPY:30000") == [
        "USD:200.00",
        "JPY:30000",
    ]
    for name, text in (
        ("REMINDER_HOURS", "0"),
        ("REMINDER_HOURS", "24;2"),
        ("REFUND_APPROVAL_ABOVE", "200"),
        ("LONGEST_STAY_DAYS", ""),
    ):
        with pytest.raises(InvalidInput):
            rules.clean(rules.RULES[name], text)


def test_defaults_out_of_range_are_named_at_start(settings: Any) -> None:
    settings.HOLD_LIFETIME_MINUTES, settings.REMINDER_HOURS = 0, [0]
    assert {str(one.msg).split()[0] for one in business_rules_are_readable(None)} == {
        "HOLD_LIFETIME_MINUTES",
        "REMINDER_HOURS",
    }


def test_limits_that_cannot_be_read_are_named_at_start(settings: Any) -> None:
    settings.RATE_LIMITS = {
        "token": ["60/m"],
        "register": ["x", "5/h"],
        "quotes": ["240/m", "0/m"],
        "bookings": ["60/5m", "20/m"],
    }
    settings.CARD_DECLINE_MINUTES, settings.RECENT_SIGN_IN_MINUTES = 0, -5
    assert {str(one.msg).split()[0] for one in business_rules_are_readable(None)} == {
        "RATE_LIMIT_TOKEN", "RATE_LIMIT_REGISTER", "RATE_LIMIT_QUOTES", "CARD_DECLINE_MINUTES", "RECENT_SIGN_IN_MINUTES",
    }  # fmt: skip
