"""Every door that changes something says what a repeat does, and does that: API calls by key, forms by what they carry."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.models import User
from bookings.models import Booking, Cancellation, Product
from bookings.services.cancel import preview_cancellation
from bookings.services.quote import quote_stay
from bookings.tests.world import DAY, hold, make_product
from communications.models import Message
from foundation.api import forget_old_calls
from foundation.models import IdempotencyRecord
from payments.models import Payment, Refund, StoredMethod
from payments.services.settle import settle
from payments.tests.world import approve, checkout, pay, saved_card

pytestmark = pytest.mark.django_db(transaction=True)

# What Idempotency-Key does on each call that changes something. "required": a repeat without it could move more money. "derived": without
# the header the booking stands in, for whom the service returns the one live payment. "optional": a token, a state or the provider makes the
# repeat harmless anyway. "none": no money, or the method is idempotent by itself.
RULES = {
    "POST api/payments/refund": "required",
    "POST api/payments/create-intent": "derived",
    "POST api/payments/confirm-stripe": "optional",  # looks at the provider
    "POST api/payments/confirm-paypal": "optional",  # captures under a key of the payment
    "POST api/payments/save-method": "optional",
    "POST api/payments/methods/<uuid:method_id>/default": "optional",
    "DELETE api/payments/methods/<uuid:method_id>": "none",
    "POST api/bookings": "optional",  # the same quote and car is the same hold
    "POST api/bookings/<slug:reference>/cancel": "optional",  # the preview's token works once
    "POST api/bookings/<slug:reference>/amend": "optional",  # what is the same already changes nothing; one change waits at most
    "POST api/communication/send-email": "optional",
    "POST api/communication/send-sms": "optional",
    "POST api/communication/booking-confirmation": "optional",  # the same within minutes sends nothing
    "POST api/communication/booking-reminder": "optional",  # likewise
    "POST api/communication/payment-confirmation": "optional",  # likewise
    "POST api/quotes": "none",
    "POST api/auth/register": "none",
    "POST api/auth/token": "none",
    "POST api/auth/refresh": "none",
    "POST api/auth/logout": "none",
    "PATCH api/auth/me": "none",
}
KEYED = sorted(call for call, rule in RULES.items() if rule != "none")


def routes(patterns: Any = None, prefix: str = "") -> list[tuple[str, Any, str]]:
    """Every (path, view, name) of the URL map."""
    found: list[tuple[str, Any, str]] = []
    for entry in get_resolver().url_patterns if patterns is None else patterns:
        path = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            found += routes(entry.url_patterns, path)
        elif isinstance(entry, URLPattern):
            found.append((path, entry.callback, str(entry.name or "")))
    return found


def test_every_api_call_that_changes_something_has_a_rule() -> None:
    changing = {
        f"{verb.upper()} {path}"
        for path, view, _name in routes()
        if path.startswith("api/") and hasattr(view, "cls")
        for verb in ("post", "put", "patch", "delete")
        if hasattr(view.cls, verb)
    }
    assert changing == set(RULES), "give the new call a rule above, and a way to call it in Cast"


class Cast:
    """Ada with a held booking, a paid one and saved cards; Sam who refunds; and how each call is made rightly."""

    def __init__(self) -> None:
        self.ada = User.objects.create_user("ada@example.com", "rather-long-Secret-7", name="Ada")
        self.sam = User.objects.create_user("sam@staff.example", "rather-long-Secret-7", is_staff=True)
        self.sam.user_permissions.set(
            Permission.objects.filter(codename__in=["refund_payment", "send_email", "send_sms"])
        )
        self.product = make_product(capacity=9)
        self.ways: dict[str, Callable[[], tuple[User, str, dict[str, Any]]]] = {
            "POST api/payments/refund": self._refund,
            "POST api/payments/create-intent": lambda: (
                self.ada,
                "/api/payments/create-intent",
                {"bookingId": self.held().reference},
            ),
            "POST api/payments/confirm-stripe": self._confirm_stripe,
            "POST api/payments/confirm-paypal": self._confirm_paypal,
            "POST api/payments/save-method": lambda: (self.ada, "/api/payments/save-method", {}),
            "POST api/payments/methods/<uuid:method_id>/default": lambda: (
                self.ada,
                f"/api/payments/methods/{saved_card(self.ada).pk}/default",
                {},
            ),
            "POST api/communication/send-email": lambda: (
                self.sam,
                "/api/communication/send-email",
                {"to": "x@example.com", "templateKey": "welcome", "variables": {"customer_name": "X"}},
            ),
            "POST api/communication/send-sms": lambda: (
                self.sam,
                "/api/communication/send-sms",
                {"to": "+447700900123", "message": "Hello"},
            ),
            **{
                f"POST api/communication/{what}": lambda what=what: (
                    self.ada,
                    f"/api/communication/{what}",
                    {"bookingId": self.paid().booking.reference},
                )
                for what in ("booking-confirmation", "booking-reminder", "payment-confirmation")
            },
            "POST api/bookings": self._book,
            "POST api/bookings/<slug:reference>/cancel": self._cancel,
            "POST api/bookings/<slug:reference>/amend": self._amend,
        }

    def held(self) -> Booking:
        now = timezone.now()
        return hold(
            self.product, start=now + timedelta(days=9), now=now, user=self.ada, email=self.ada.email
        ).booking

    def paid(self) -> Payment:
        session = checkout(self.held())
        assert pay(session) == 200
        return settle(session.payment.pk)

    def _refund(self) -> tuple[User, str, dict[str, Any]]:
        return (
            self.sam,
            "/api/payments/refund",
            {"paymentId": str(self.paid().pk), "amount": "5.00", "reason": "r"},
        )

    def _confirm_stripe(self) -> tuple[User, str, dict[str, Any]]:
        session = checkout(self.held())
        pay(session)
        return self.ada, "/api/payments/confirm-stripe", {"paymentIntentId": session.provider_ref}

    def _confirm_paypal(self) -> tuple[User, str, dict[str, Any]]:
        session = checkout(self.held(), provider="paypal")
        approve(session)
        return self.ada, "/api/payments/confirm-paypal", {"orderId": session.provider_ref}

    def _book(self) -> tuple[User, str, dict[str, Any]]:
        now = timezone.now()
        quote = quote_stay(self.product, start_at=now + 5 * DAY, end_at=now + 7 * DAY, now=now, user=self.ada)
        driver = {"name": "Ada", "email": self.ada.email, "phone": "+447700900123"}
        return (
            self.ada,
            "/api/bookings",
            {"quoteId": str(quote.pk), "driver": driver, "vehicle": {"plate": "AB12CDE"}},
        )

    def _cancel(self) -> tuple[User, str, dict[str, Any]]:
        booking = self.paid().booking
        booking.refresh_from_db()
        token = preview_cancellation(booking, now=timezone.now()).token
        return self.ada, f"/api/bookings/{booking.reference}/cancel", {"previewToken": token}

    def _amend(self) -> tuple[User, str, dict[str, Any]]:
        booking = self.paid().booking
        later = (booking.end_at + DAY).isoformat()
        return self.ada, f"/api/bookings/{booking.reference}/amend", {"return": later}


@pytest.fixture
def cast(db: None) -> Any:
    yield Cast()
    call_command("audit_books")


def signed_in(user: User) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {accounts.issue_tokens(user).access}")
    return client


def send(client: APIClient, path: str, body: Any, key: str | None = "key-1") -> Any:
    return client.post(path, body, format="json", headers={"Idempotency-Key": key} if key else {})


@pytest.mark.parametrize("call", KEYED)
def test_a_repeat_gets_the_same_bytes_another_payload_422_and_a_running_one_409(
    sandbox: Any, cast: Cast, call: str
) -> None:
    user, path, body = cast.ways[call]()
    client = signed_in(user)
    first = send(client, path, body)
    assert first.status_code in {200, 201, 202}, first.content
    assert "Idempotent-Replayed" not in first
    again = send(client, path, body)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again["Idempotent-Replayed"] == "true"
    other = send(client, path, {**body, "other": 1})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    # Another person's call with the same key is another call.
    ben = User.objects.create_user("ben@example.com", "rather-long-Secret-7")
    theirs = send(signed_in(ben), path, body)
    assert "Idempotent-Replayed" not in theirs
    assert theirs.content != first.content or call.endswith("save-method")
    IdempotencyRecord.objects.filter(principal=f"user:{user.pk}").update(finished_at=None)
    running = send(client, path, body)
    assert (running.status_code, running.json()["code"]) == (409, "still_running")
    assert int(running["Retry-After"]) > 0
    # The process that ran it died: a minute later the call is taken over.
    IdempotencyRecord.objects.update(created_at=timezone.now() - timedelta(minutes=2))
    assert send(client, path, body).status_code != 409 or call.endswith("/cancel")


@pytest.mark.parametrize("call", KEYED)
def test_refusals_are_never_stored(
    sandbox: Any, cast: Cast, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, path, body = cast.ways[call]()
    assert send(APIClient(), path, {**body, "bad": 1}).status_code in {400, 401, 403, 404}
    assert send(signed_in(user), path, {**body, "unknownField": 1}).status_code in {200, 400}
    if not call.endswith("/default"):  # takes no body, so nothing in it is wrong
        assert not IdempotencyRecord.objects.exists()
    vic = User.objects.create_user("vic@staff.example", "rather-long-Secret-7", is_staff=True)
    IdempotencyRecord.objects.all().delete()
    refused = send(signed_in(vic), path, body)
    if refused.status_code >= 400:
        assert refused.status_code in {400, 403, 404}, refused.content
        assert not IdempotencyRecord.objects.exists()


@pytest.mark.parametrize(
    "call", [call for call in KEYED if "methods" in call or "save-method" in call or "bookings" in call]
)
def test_too_many_requests_are_never_stored(sandbox: Any, cast: Cast, call: str, settings: Any) -> None:
    user, path, body = cast.ways[call]()
    settings.RATE_LIMITS = {group: ["0/m", "0/m"] for group in settings.RATE_LIMITS}
    answer = send(signed_in(user), path, body)
    if answer.status_code == 429:
        assert not IdempotencyRecord.objects.exists()
    else:
        assert call.endswith(("/default", "/cancel"))  # not limited: they make nothing new


@pytest.mark.parametrize("call", KEYED)
def test_a_bad_key_is_400_everywhere(sandbox: Any, cast: Cast, call: str) -> None:
    user, path, body = cast.ways[call]()
    for key in ("\x7f", "x" * 256, "é"):
        answer = send(signed_in(user), path, body, key=key)
        assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_required")


@pytest.mark.parametrize("call", KEYED)
def test_without_a_key_each_does_what_its_rule_says(sandbox: Any, cast: Cast, call: str) -> None:
    user, path, body = cast.ways[call]()
    client = signed_in(user)
    first = send(client, path, body, key=None)
    if RULES[call] == "required":
        assert (first.status_code, first.json()["code"]) == (400, "idempotency_key_required")
        assert not Refund.objects.exists()
        return
    assert first.status_code in {200, 201, 202}, first.content
    before = (
        Payment.objects.count(),
        Booking.objects.count(),
        Cancellation.objects.count(),
        Refund.objects.count(),
    )
    again = send(client, path, body, key=None)
    assert again.status_code in {200, 201, 202, 409}
    assert before == (
        Payment.objects.count(),
        Booking.objects.count(),
        Cancellation.objects.count(),
        Refund.objects.count(),
    )
    assert not IdempotencyRecord.objects.exists()


RACED = [
    "POST api/payments/refund",
    "POST api/bookings/<slug:reference>/cancel",
    "POST api/payments/create-intent",
    "POST api/bookings",
]


@pytest.mark.parametrize(
    ("call", "key"),
    [
        *((call, "same") for call in RACED),
        # What requires a key is refused without one: test_without_a_key_each_does_what_its_rule_says.
        *((call, None) for call in RACED if RULES[call] != "required"),
    ],
)
def test_calls_at_once_have_one_effect(sandbox: Any, cast: Cast, call: str, key: str | None) -> None:
    user, path, body = cast.ways[call]()
    client, start, answers = signed_in(user), threading.Barrier(4), []
    before = Payment.objects.count(), Booking.objects.count()

    def one() -> None:
        start.wait()
        try:
            answers.append(send(client, path, body, key=key))
        finally:
            connection.close()

    threads = [threading.Thread(target=one) for _number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    good = [answer for answer in answers if answer.status_code in {200, 201, 202}]
    assert good, [answer.content for answer in answers]
    assert {answer.status_code for answer in answers} <= {200, 201, 202, 409, 503}
    if key:
        assert len({answer.content for answer in good}) == 1
    made = Payment.objects.count() - before[0], Booking.objects.count() - before[1]
    assert made == {"POST api/payments/create-intent": (1, 0), "POST api/bookings": (0, 1)}.get(call, (0, 0))
    assert Refund.objects.count() == (1 if call.endswith("refund") else 0)
    assert Cancellation.objects.count() == (1 if call.endswith("cancel") else 0)


def test_answers_are_kept_for_48_hours_and_then_forgotten(sandbox: Any, cast: Cast) -> None:
    user, path, body = cast.ways["POST api/payments/refund"]()
    client = signed_in(user)
    send(client, path, body)
    now = timezone.now()
    assert forget_old_calls(now=now + timedelta(hours=47, minutes=59)) == 0
    assert send(client, path, body)["Idempotent-Replayed"] == "true"
    assert forget_old_calls(now=now + timedelta(hours=48, minutes=1)) == 1
    assert "Idempotent-Replayed" not in send(client, path, body)


def test_a_guests_answer_is_not_given_to_who_has_another_token(sandbox: Any, cast: Cast) -> None:
    now = timezone.now()
    placed = hold(cast.product, start=now + 9 * DAY, now=now)
    path = f"/api/bookings/{placed.booking.reference}/cancel"
    body = {"previewToken": preview_cancellation(placed.booking, now=now).token}
    guest = APIClient()
    guest.credentials(HTTP_X_GUEST_TOKEN=placed.guest_token)
    assert send(guest, path, body).status_code == 200
    assert send(guest, path, body)["Idempotent-Replayed"] == "true"
    for other in ("0" * 64, ""):
        stranger = APIClient()
        stranger.credentials(HTTP_X_GUEST_TOKEN=other)
        assert send(stranger, path, body).status_code == 404


# --- Pages ------------------------------------------------------------------------------------------------------

# Each page of bookings and payments: what a second press of its button does. "reads" has no button that changes anything.
PAGES = {
    "book": "the same hold", "cancel": "one cancellation", "charge": "one payment", "keep": "the same wish", "paypal": "the same order",
    "make_method_default": "the same default", "remove_method": "removed once", "add_paypal": "another saving begun, none kept",
    "change": "one change", "withdraw_change": "withdrawn once", "send_again": "sent once",
    "home": "reads", "search": "reads", "list": "reads", "find": "reads", "detail": "reads", "calendar": "reads", "qr": "reads",
    "guest_link": "reads", "pay": "reads", "return": "reads", "confirmed": "reads", "methods": "reads", "add_method": "reads",
    "method_added": "reads", "document": "reads",
}  # fmt: skip


def test_every_page_with_money_says_what_a_second_press_does() -> None:
    names = {
        name
        for _path, view, name in routes()
        if view.__module__.startswith(("bookings.pages", "payments.pages"))
    }
    assert names == set(PAGES), "say above what pressing its button twice does, and test it below"


@pytest.fixture
def browser(cast: Cast) -> Client:
    client = Client()
    client.force_login(cast.ada, backend="django.contrib.auth.backends.ModelBackend")
    return client


def press_twice_at_once(cast: Cast, url: str, body: dict[str, str]) -> list[int]:
    """Two tabs, one moment; and a third press afterwards."""
    start, seen = threading.Barrier(2), []

    def press() -> None:
        client = Client()
        client.force_login(cast.ada, backend="django.contrib.auth.backends.ModelBackend")
        start.wait()
        try:
            seen.append(client.post(url, body).status_code)
        finally:
            connection.close()

    threads = [threading.Thread(target=press) for _number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client = Client()
    client.force_login(cast.ada, backend="django.contrib.auth.backends.ModelBackend")
    return [*seen, client.post(url, body).status_code]


def test_pressing_book_twice_holds_one_space(sandbox: Any, cast: Cast, browser: Client) -> None:
    product: Product = cast.product
    start = timezone.now() + 5 * DAY
    stay = {
        "airport": "LHR",
        "drop_off": f"{start:%Y-%m-%dT10:00}",
        "return": f"{start + DAY:%Y-%m-%dT10:00}",
    }
    form = {
        "name": "Ada", "email": "ada@example.com", "phone": "+447700900123", "plate": "AB12CDE", "attempt": str(uuid.uuid4()), **stay,
    }  # fmt: skip
    assert set(press_twice_at_once(cast, reverse("bookings:book", args=[product.pk]), form)) == {302}
    assert Booking.objects.count() == 1


def test_pressing_cancel_twice_cancels_once_and_says_nothing_wrong(
    sandbox: Any, cast: Cast, browser: Client
) -> None:
    booking = cast.paid().booking
    page = reverse("bookings:cancel", args=[booking.reference])
    token = browser.get(page).context["preview"].token
    assert press_twice_at_once(cast, page, {"preview_token": token}) == [302, 302, 302]
    assert Cancellation.objects.count() == 1
    again = browser.post(page, {"preview_token": token}, follow=True).content.decode()
    assert "can no longer be cancelled" not in again


def test_pressing_pay_with_a_saved_card_twice_takes_the_money_once(
    sandbox: Any, cast: Cast, browser: Client
) -> None:
    stored, booking = saved_card(cast.ada), cast.held()
    url = reverse("payments:charge", args=[booking.reference])
    assert set(press_twice_at_once(cast, url, {"stored": str(stored.pk)})) == {302}
    settle(Payment.objects.get().pk)
    assert len(sandbox.get("/ledger.json")["charges"]) == 1
    booking.refresh_from_db()
    assert booking.status == "confirmed"


def test_pressing_paypal_or_keep_twice_finds_the_same_payment(
    sandbox: Any, cast: Cast, browser: Client
) -> None:
    booking = cast.held()
    keep = reverse("payments:keep", args=[booking.reference])
    assert set(press_twice_at_once(cast, keep, {"keep": "1"})) <= {204, 409}
    assert Payment.objects.filter(provider="stripe", saves_method=True).count() == 1
    paypal = reverse("payments:paypal", args=[booking.reference])
    assert set(press_twice_at_once(cast, paypal, {})) <= {302, 503}
    assert Payment.objects.filter(provider="paypal").count() == 1


def test_pressing_the_buttons_of_a_saved_card_twice_does_it_once(
    sandbox: Any, cast: Cast, browser: Client
) -> None:
    first, second = saved_card(cast.ada), saved_card(cast.ada, card="pm_card_mastercard")
    default = reverse("payments:make_method_default", args=[second.pk])
    assert press_twice_at_once(cast, default, {}) == [302, 302, 302]
    assert StoredMethod.objects.get(is_default=True) == second
    remove = reverse("payments:remove_method", args=[first.pk])
    assert press_twice_at_once(cast, remove, {}) == [302, 302, 302]
    assert browser.get(remove).status_code == 404


def test_pressing_send_again_twice_sends_once(sandbox: Any, cast: Cast, browser: Client) -> None:
    booking = cast.paid().booking
    url = reverse("payments:send_again", args=[booking.reference])
    for what, kind in (
        ("confirmation", "booking_confirmation"),
        ("payment", "payment_confirmation"),
        ("reminder", "drop_off_reminder"),
    ):
        Message.objects.update(queued_at=timezone.now() - timedelta(hours=1))  # what confirming it queued
        before = Message.objects.filter(kind=kind).count()
        assert press_twice_at_once(cast, url, {"what": what}) == [302, 302, 302]
        assert Message.objects.filter(kind=kind).count() == before + 2  # e-mail and SMS
    page = browser.get(reverse("bookings:detail", args=[booking.reference])).content.decode()
    assert "Send the receipt again" in page
    assert browser.post(url, {"what": "ruin"}).status_code == 302
    ben = User.objects.create_user("ben@example.com", "rather-long-Secret-7")
    other = Client()
    other.force_login(ben, backend="django.contrib.auth.backends.ModelBackend")
    assert other.post(url, {"what": "confirmation"}).status_code == 404
