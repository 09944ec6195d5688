"""Staff doors: every page opens, nobody does what they may not, a refund is sent once, and the figures are the rows."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from psycopg.types.range import TimestamptzRange

from accounts.models import User
from bookings.models import (
    Airport,
    Booking,
    BookingEvent,
    CancellationPolicy,
    CarPark,
    Occupancy,
    Operator,
    PolicyTier,
    Pool,
    Product,
    Quote,
    Tariff,
)
from communications.models import Message
from foundation.models import AuditEntry
from parking_site import dashboards
from payments.models import Break, Payment, ProviderEvent, Refund

pytestmark = pytest.mark.django_db
PASSWORD = "a-long-test-password"


@pytest.fixture
def product() -> Product:
    airport = Airport.objects.create(
        iata="QQA", name="Testfield", city="Testfield", country="NZ", timezone="Pacific/Auckland", latitude=-37, longitude=174,
        currency="GBP",
    )  # fmt: skip
    operator = Operator.objects.create(name="Test Parking Ltd")
    car_park = CarPark.objects.create(
        airport=airport, operator=operator, name="Test North", slug="test-north", kind="park_and_ride", latitude=-37,
        longitude=174, address="1 Test Road",
    )  # fmt: skip
    pool = Pool.objects.create(car_park=car_park, name="Standard", capacity=20)
    tariff = Tariff.objects.create(name="Plain", currency="GBP", daily_minor=1000)
    policy = CancellationPolicy.objects.create(name="Flexible test", summary="All back until a day before.")
    PolicyTier.objects.create(policy=policy, notice_hours=24, refund_percent=100)
    return Product.objects.create(
        car_park=car_park, pool=pool, name="Standard space", tariff=tariff, policy=policy
    )


@transaction.atomic
def book(
    product: Product, reference: str, *, start_at: datetime | None = None, days: int = 3, **details: Any
) -> Booking:
    """A confirmed booking with its space, as the services leave it."""
    now = timezone.now()
    start_at = start_at or now + timedelta(days=10)
    end_at = start_at + timedelta(days=days)
    lines = [{"label": "3 days", "rule": "daily", "amount_minor": 5000}]
    quote = Quote.objects.create(
        product=product, start_at=start_at, end_at=end_at, total_minor=5000, currency="GBP", lines=lines, policy={},
        created_at=now, expires_at=now + timedelta(minutes=30),
    )  # fmt: skip
    fields = {
        "driver_name": "Ada Example", "driver_email": "ada@customer.example", "driver_phone": "+447700900123", "plate": "AB12CDE",
        **details,
    }  # fmt: skip
    booking = Booking.objects.create(
        reference=reference, product=product, pool=product.pool, quote=quote, start_at=start_at, end_at=end_at,
        total_minor=5000, currency="GBP", lines=lines, policy={"name": "Flexible"}, hold_expires_at=now + timedelta(minutes=15),
        guest_token_hash="0" * 64, **fields,
    )  # fmt: skip
    Occupancy.objects.create(booking=booking, pool=product.pool, period=TimestamptzRange(start_at, end_at))
    booking.status, booking.confirmed_at = Booking.Status.CONFIRMED, now
    booking.save()
    BookingEvent.objects.create(booking=booking, kind=BookingEvent.Kind.CONFIRMED, at=now)
    return booking


def pay(booking: Booking, *, provider_ref: str = "") -> Payment:
    """A captured payment of the whole price."""
    payment = Payment.objects.create(
        booking=booking, amount_minor=booking.total_minor, currency=booking.currency, idempotency_key=uuid4().hex,
        provider_ref=provider_ref or f"pi_{uuid4().hex}", method_label="Visa 4242",
    )  # fmt: skip
    Payment.objects.filter(pk=payment.pk).update(status="submitted", submitted_at=timezone.now())
    Payment.objects.filter(pk=payment.pk).update(
        status="captured", captured_at=timezone.now(), captured_minor=booking.total_minor
    )
    payment.refresh_from_db()
    return payment


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def root() -> Client:
    return client_of(User.objects.create_superuser("root@staff.example", PASSWORD))


@pytest.fixture
def vic() -> Client:
    """Vic only views: every view permission, nothing else."""
    user = User.objects.create_user("vic@staff.example", PASSWORD, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    return client_of(user)


@pytest.fixture
def sam() -> Client:
    """Sam refunds."""
    user = User.objects.create_user("sam@staff.example", PASSWORD, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    user.user_permissions.add(Permission.objects.get(codename="refund_payment"))
    return client_of(user)


@pytest.fixture
def paid(product: Product) -> Payment:
    return pay(book(product, "AP-7F3K2Q"))


def _pages(*, with_add: bool) -> list[tuple[str, str]]:
    found = []
    for model in admin.site._registry:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        found.append((model._meta.label, reverse(f"{name}_changelist")))
        row = model._default_manager.first()
        if row is not None:
            found.append((model._meta.label, reverse(f"{name}_change", args=[row.pk])))
        if with_add:
            found.append((model._meta.label, reverse(f"{name}_add")))
    return found


def _fill(paid: Payment) -> None:
    Refund.objects.create(payment=paid, amount_minor=100, currency="GBP", source="staff", reason="Gesture")
    Break.objects.create(
        kind="amount", provider="stripe", provider_ref="pi_x", payment=paid, detail="5.00 there, 50.00 here"
    )
    ProviderEvent.objects.create(provider="stripe", event_ref="evt_1", kind="charge.refunded")
    AuditEntry.objects.create(action="test.made", subject="booking:AP-7F3K2Q")


def test_every_page_of_the_admin_opens(root: Client, paid: Payment) -> None:
    _fill(paid)
    assert root.get(reverse("admin:index")).status_code == 200
    refused_adding = set()
    for label, address in _pages(with_add=True):
        response = root.get(address)
        if address.endswith("/add/") and response.status_code == 403:
            refused_adding.add(label)
            continue
        assert response.status_code == 200, (address, response.status_code)
        if not address.endswith(("/add/", "/change/")):
            assert root.get(address, {"q": "AB 12 ü'\"%_"}).status_code == 200, address
    editable = {
        "bookings.Airport",
        "bookings.Operator",
        "bookings.CarPark",
        "bookings.Tariff",
        "bookings.CancellationPolicy",
    }
    assert not refused_adding & (editable | {"accounts.User"})
    assert {
        "bookings.Booking",
        "payments.Payment",
        "payments.Refund",
        "foundation.AuditEntry",
    } <= refused_adding


def test_viewer_sees_every_page_and_changes_nothing(vic: Client, paid: Payment) -> None:
    _fill(paid)
    assert vic.get(reverse("admin:index")).status_code == 200
    for _label, address in _pages(with_add=False):
        response = vic.get(address)
        assert response.status_code == 200, address
        assert b'name="_save"' not in response.content, address
    for _label, address in _pages(with_add=True):
        if address.endswith(("/add/", "/change/")):
            assert vic.post(address, {}).status_code == 403, address


def test_stranger_and_customer_are_sent_to_the_login(client: Client, paid: Payment) -> None:
    customer = client_of(User.objects.create_user("ben@customer.example", PASSWORD))
    for visitor in (client, customer):
        for address in (reverse("admin:index"), reverse("admin:payments_payment_refund", args=[paid.pk])):
            response = visitor.get(address)
            assert response.status_code == 302
            assert reverse("admin:login") in response["Location"]


# --- Refunds ----------------------------------------------------------------------------------------------------


def _refund_page(payment: Payment) -> str:
    return reverse("admin:payments_payment_refund", args=[payment.pk])


def _preview(client: Client, payment: Payment, amount: str, reason: str = "Car wash did not happen") -> str:
    response = client.post(_refund_page(payment), {"amount": amount, "reason": reason})
    assert response.status_code == 200, response.content.decode()
    found = re.search(r'name="token" value="([^"]+)"', response.content.decode())
    assert found, response.content.decode()
    return found[1]


def test_refund_confirmed_twice_is_one_refund(sam: Client, paid: Payment) -> None:
    token = _preview(sam, paid, "10.50")
    assert not Refund.objects.exists()
    first = sam.post(_refund_page(paid), {"token": token})
    second = sam.post(_refund_page(paid), {"token": token}, follow=True)
    assert first.status_code == 302
    assert "already requested" in second.content.decode()
    refund = Refund.objects.get()
    assert (refund.amount_minor, refund.currency, refund.source) == (1050, "GBP", "staff")
    assert refund.reason == "Car wash did not happen"
    assert refund.requested_by is not None
    assert refund.requested_by.email == "sam@staff.example"
    paid.refresh_from_db()
    assert paid.reserved_minor == 1050
    entry = AuditEntry.objects.get(action="refund.requested")
    assert (entry.reason, entry.subject) == ("Car wash did not happen", f"payment:{paid.pk}")


@pytest.mark.django_db(transaction=True)
def test_two_clicks_at_the_same_moment_are_one_refund(sam: Client, paid: Payment) -> None:
    token = _preview(sam, paid, "10.50")
    user = User.objects.get(email="sam@staff.example")
    barrier = Barrier(2, timeout=20)

    def click(_number: int) -> int:
        client = client_of(user)
        barrier.wait()
        try:
            return client.post(_refund_page(paid), {"token": token}).status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(click, range(2))) == [302, 302]
    assert Refund.objects.get().amount_minor == 1050


def test_refund_form_offers_all_that_is_left(sam: Client, paid: Payment) -> None:
    sam.post(_refund_page(paid), {"token": _preview(sam, paid, "20")})
    response = sam.get(_refund_page(paid))
    assert response.context["form"].initial["amount"] == "30.00"


@pytest.mark.parametrize(
    "amount", ["50.01", "0", "-1", "0.001", "NaN", "Infinity", "1e309", "9223372036854775808", "ten", ""]
)
def test_refund_of_an_impossible_amount_is_refused_with_a_reason(
    sam: Client, paid: Payment, amount: str
) -> None:
    response = sam.post(_refund_page(paid), {"amount": amount, "reason": "Because"})
    assert response.status_code == 400
    assert response.context["form"].errors["amount"]
    assert 'name="token"' not in response.content.decode()
    assert not Refund.objects.exists()


@pytest.mark.parametrize("reason", ["", "   ", "a\x00b", "x" * 501])
def test_refund_needs_a_reason_that_can_be_kept(sam: Client, paid: Payment, reason: str) -> None:
    response = sam.post(_refund_page(paid), {"amount": "5.00", "reason": reason})
    assert response.status_code == 400
    assert response.context["form"].errors["reason"]


def test_preview_that_was_overtaken_refunds_nothing_more(sam: Client, paid: Payment) -> None:
    early, late = _preview(sam, paid, "40.00"), _preview(sam, paid, "30.00")
    sam.post(_refund_page(paid), {"token": early})
    sam.post(_refund_page(paid), {"token": late})
    assert [refund.amount_minor for refund in Refund.objects.all()] == [4000]


def test_token_of_another_payment_or_a_forged_one_refunds_nothing(
    sam: Client, paid: Payment, product: Product
) -> None:
    other = pay(book(product, "AP-8G4M3R", plate="XY99ZZZ"))
    token = _preview(sam, paid, "5.00")
    for forged in (token, token[:-3] + "abc", "nonsense", ""):
        assert sam.post(_refund_page(other), {"token": forged}).status_code == 302
    assert not Refund.objects.exists()


def test_refund_without_the_permission_is_403_hidden_and_audited(vic: Client, paid: Payment) -> None:
    page = vic.get(reverse("admin:payments_payment_change", args=[paid.pk]))
    assert "Refund…" not in page.content.decode()
    assert vic.get(_refund_page(paid)).status_code == 403
    assert vic.post(_refund_page(paid), {"amount": "5.00", "reason": "x"}).status_code == 403
    assert not Refund.objects.exists()
    entries = AuditEntry.objects.filter(action="refund.denied", subject=f"payment:{paid.pk}")
    assert [entry.actor.email for entry in entries if entry.actor] == ["vic@staff.example"] * 2


def test_refund_button_is_there_for_who_may_press_it(sam: Client, paid: Payment) -> None:
    page = sam.get(reverse("admin:payments_payment_change", args=[paid.pk]))
    assert "Refund…" in page.content.decode()


# --- Inbox and breaks -------------------------------------------------------------------------------------------


def test_dead_letter_is_retried_once(root: Client, vic: Client) -> None:
    event = ProviderEvent.objects.create(
        provider="stripe", event_ref="evt_9", kind="charge.refunded", status="dead", attempts=5
    )
    page = reverse("admin:payments_providerevent_changelist")
    press = {"action": "retry", "_selected_action": [event.pk]}
    vic.post(page, press)
    event.refresh_from_db()
    assert event.status == "dead"
    root.post(page, press)
    root.post(page, press)
    event.refresh_from_db()
    assert (event.status, event.attempts) == ("received", 0)
    assert AuditEntry.objects.filter(action="provider_event.retried").count() == 1


def test_break_is_resolved_once_with_its_reason(root: Client, vic: Client, paid: Payment) -> None:
    found = Break.objects.create(kind="amount", provider="stripe", provider_ref="pi_x", payment=paid)
    page = reverse("admin:payments_break_resolve", args=[found.pk])
    assert vic.post(page, {"reason": "mine"}).status_code == 403
    assert root.post(page, {"reason": " "}).status_code == 400
    assert root.post(page, {"reason": "Fee of the bank, agreed"}).status_code == 302
    root.post(page, {"reason": "Again"})
    found.refresh_from_db()
    assert found.resolved_at is not None
    assert found.resolution == "Fee of the bank, agreed"
    assert AuditEntry.objects.get(action="break.resolved").reason == "Fee of the bank, agreed"


# --- Bookings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        "AB12 CDE", "ab12cde", "ab-12-cde", "AP-7F3K2Q", "ap7f3k2q", "7F3K2Q", "ada@customer", "Ada@Customer.Example",
        "07700 900123", "+44 7700 900123", "example ada",
    ],
)  # fmt: skip
def test_booking_is_found_by_what_people_say_on_the_phone(root: Client, product: Product, words: str) -> None:
    book(product, "AP-7F3K2Q")
    book(
        product,
        "AP-9H5M4S",
        plate="ZZ98YYY",
        driver_name="Ben Other",
        driver_email="b@o.test",
        driver_phone="+447700900999",
    )
    response = root.get(reverse("admin:bookings_booking_changelist"), {"q": words})
    assert [booking.reference for booking in response.context["cl"].result_list] == ["AP-7F3K2Q"]


def test_booking_list_asks_no_more_for_more_rows(
    root: Client, product: Product, django_assert_max_num_queries: Any
) -> None:
    letters = "ABCDEFGHJKMN"
    for letter in letters:
        book(product, f"AP-7F3K2{letter}")
    with django_assert_max_num_queries(25):
        response = root.get(reverse("admin:bookings_booking_changelist"))
    assert len(response.context["cl"].result_list) == len(letters)


def test_drop_off_filter_uses_the_airports_own_day(root: Client, product: Product) -> None:
    auckland = ZoneInfo("Pacific/Auckland")
    midnight = timezone.now().astimezone(auckland).replace(hour=0, minute=0, second=0, microsecond=0)
    book(product, "AP-7F3K2Q", start_at=(midnight + timedelta(minutes=5)).astimezone(UTC))
    book(product, "AP-9H5M4S", start_at=(midnight - timedelta(minutes=5)).astimezone(UTC))
    page = reverse("admin:bookings_booking_changelist")
    today = root.get(page, {"drop_off": "today"}).context["cl"].result_list
    yesterday = root.get(page, {"drop_off": "yesterday"}).context["cl"].result_list
    assert [booking.reference for booking in today] == ["AP-7F3K2Q"]
    assert [booking.reference for booking in yesterday] == ["AP-9H5M4S"]


def test_booking_page_tells_one_story_in_order(root: Client, vic: Client, paid: Payment) -> None:
    _fill(paid)
    message = Message.objects.create(
        kind="booking_confirmation", channel="email", to="ada@customer.example", dedupe_key="k1", reference="AP-7F3K2Q"
    )  # fmt: skip
    Message.objects.filter(pk=message.pk).update(status="sending")
    Message.objects.filter(pk=message.pk).update(status="failed", error_text="mailbox is full")
    page = reverse("admin:bookings_booking_change", args=[paid.booking_id])
    text = root.get(page).content.decode()
    for words in (
        "Price quoted",
        "Booking confirmed",
        "Payment taken",
        "Refund requested",
        "mailbox is full",
        "test: made",
    ):
        assert words in text, words
    from parking_site.story import story_of

    request = root.get(page).wsgi_request
    moments = story_of(paid.booking, request=request)
    assert [moment.at for moment in moments] == sorted(moment.at for moment in moments)
    assert {moment.source for moment in moments} == {"booking", "money", "message", "staff"}


@pytest.mark.parametrize(
    ("field", "value"), [("plate", "!"), ("driver_phone", "12"), ("driver_name", " "), ("outbound_flight", "B"), ("driver_email", "x")]
)  # fmt: skip
def test_bad_correction_of_a_booking_is_refused_beside_its_field(
    root: Client, product: Product, field: str, value: str
) -> None:
    booking = book(product, "AP-7F3K2Q")
    form = {
        "driver_name": "A",
        "driver_email": "a@b.test",
        "driver_phone": "+447700900123",
        "plate": "AB12",
        field: value,
    }
    response = root.post(reverse("admin:bookings_booking_change", args=[booking.pk]), form)
    assert response.status_code == 200
    assert response.context["adminform"].form.errors[field]


def test_plate_is_corrected_and_money_stays(root: Client, product: Product) -> None:
    booking = book(product, "AP-7F3K2Q")
    page = reverse("admin:bookings_booking_change", args=[booking.pk])
    form = {
        "driver_name": "Ada Example", "driver_email": "ada@customer.example", "driver_phone": "+447700900123",
        "language": "en",
            "plate": "xy 99 zzz", "outbound_flight": "", "return_flight": "", "total_minor": "1", "status": "cancelled",
    }  # fmt: skip
    assert root.post(page, form).status_code == 302
    booking.refresh_from_db()
    assert (booking.plate, booking.total_minor, booking.status) == ("XY99ZZZ", 5000, "confirmed")
    entry = AuditEntry.objects.get(action="booking.changed")
    assert entry.subject == "booking:AP-7F3K2Q"
    assert entry.data["values"] == {"plate": ["AB12CDE", "XY99ZZZ"]}


# --- Car parks and prices ---------------------------------------------------------------------------------------


def _car_park_form(product: Product, **changes: Any) -> dict[str, Any]:
    car_park = product.car_park
    return {
        "airport": car_park.airport_id, "operator": car_park.operator_id, "name": car_park.name, "slug": car_park.slug,
        "kind": car_park.kind, "is_open": "on", "latitude": "-37", "longitude": "174", "transfer_minutes": "5",
        "address": car_park.address, "directions": "", "description": "", "height_limit_cm": "", "amenities": "cctv, shuttle",
        "pools-TOTAL_FORMS": 1, "pools-INITIAL_FORMS": 1, "pools-0-id": product.pool_id, "pools-0-car_park": car_park.pk,
        "pools-0-name": "Standard", "pools-0-kind": "standard", "pools-0-capacity": "20",
        "products-TOTAL_FORMS": 0, "products-INITIAL_FORMS": 0, **changes,
    }  # fmt: skip


def test_capacity_under_what_is_sold_is_a_form_error(root: Client, product: Product) -> None:
    start_at = timezone.now() + timedelta(days=5)
    for reference in ("AP-7F3K2Q", "AP-9H5M4S"):
        book(product, reference, start_at=start_at)
    page = reverse("admin:bookings_carpark_change", args=[product.car_park_id])
    response = root.post(page, _car_park_form(product, **{"pools-0-capacity": "1"}))
    assert response.status_code == 200
    assert "already" in response.content.decode()
    product.pool.refresh_from_db()
    assert product.pool.capacity == 20
    assert root.post(page, _car_park_form(product, **{"pools-0-capacity": "2"})).status_code == 302
    product.pool.refresh_from_db()
    assert product.pool.capacity == 2


def test_what_only_the_database_refuses_is_a_form_error_too(
    root: Client, product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The race that the form cannot see: the check passes, then a booking is made, then the row is written."""
    start_at = timezone.now() + timedelta(days=5)
    for reference in ("AP-7F3K2Q", "AP-9H5M4S"):
        book(product, reference, start_at=start_at)
    monkeypatch.setattr(Pool, "clean", lambda self: None)
    page = reverse("admin:bookings_carpark_change", args=[product.car_park_id])
    response = root.post(page, _car_park_form(product, **{"pools-0-capacity": "1", "name": "Typed in"}))
    assert response.status_code == 200
    text = response.content.decode()
    assert "Enter a capacity that holds them all" in text
    assert "Typed in" in text
    product.pool.refresh_from_db()
    assert product.pool.capacity == 20
    assert not AuditEntry.objects.filter(action="carpark.changed").exists()


def test_tariff_is_written_in_major_units(root: Client) -> None:
    page = reverse("admin:bookings_tariff_add")
    form = {
        "name": "Yen", "currency": "jpy", "daily": "1500", "stay_fee": "", "is_active": "on", "rules-TOTAL_FORMS": 0,
        "rules-INITIAL_FORMS": 0,
    }  # fmt: skip
    assert root.post(page, {**form, "daily": "1500.5"}).status_code == 200
    assert root.post(page, {**form, "currency": "XQZ"}).status_code == 200
    assert not Tariff.objects.filter(name="Yen").exists()
    assert root.post(page, form).status_code == 302
    tariff = Tariff.objects.get(name="Yen")
    assert (tariff.daily_minor, tariff.stay_fee_minor, tariff.currency) == (1500, 0, "JPY")


def test_rule_without_a_kind_is_a_form_error(root: Client) -> None:
    form = {
        "name": "T", "currency": "GBP", "daily": "10", "stay_fee": "", "rules-TOTAL_FORMS": 1, "rules-INITIAL_FORMS": 0,
        "rules-0-kind": "", "rules-0-label": "x", "rules-0-percent": "5", "rules-0-position": "0",
    }  # fmt: skip
    assert root.post(reverse("admin:bookings_tariff_add"), form).status_code == 200
    assert not Tariff.objects.filter(name="T").exists()


# --- People -----------------------------------------------------------------------------------------------------


def test_staff_cannot_give_themselves_rights() -> None:
    user = User.objects.create_user("desk@staff.example", PASSWORD, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="accounts"))
    desk = client_of(user)
    boss = User.objects.create_superuser("boss@staff.example", PASSWORD)
    for target in (user, boss):
        page = reverse("admin:accounts_user_change", args=[target.pk])
        assert desk.post(page, {"email": target.email, "is_superuser": "on"}).status_code == 403
    assert desk.post(reverse("admin:auth_user_password_change", args=[boss.pk]), {}).status_code == 403
    customer = User.objects.create_user("ada@customer.example", PASSWORD)
    desk.post(
        reverse("admin:accounts_user_change", args=[customer.pk]),
        {
            "email": customer.email, "language": "en", "is_active": "on", "is_staff": "on", "is_superuser": "on",
            "emailaddress_set-TOTAL_FORMS": 0, "emailaddress_set-INITIAL_FORMS": 0,
        },
    )  # fmt: skip
    for row in (user, customer):
        row.refresh_from_db()
        assert not row.is_superuser
    assert not customer.is_staff


# --- The landing page -------------------------------------------------------------------------------------------


def test_landing_figures_are_the_rows(root: Client, product: Product) -> None:
    auckland = ZoneInfo("Pacific/Auckland")
    now = timezone.now()
    midnight = now.astimezone(auckland).replace(hour=0, minute=0, second=0, microsecond=0)
    arriving = book(
        product, "AP-7F3K2Q", start_at=(midnight + timedelta(hours=23, minutes=50)).astimezone(UTC)
    )
    book(product, "AP-7F3K3Q", start_at=(midnight + timedelta(hours=24, minutes=10)).astimezone(UTC))
    book(
        product,
        "AP-7F3K4Q",
        start_at=(midnight - timedelta(days=3) + timedelta(minutes=1)).astimezone(UTC),
        days=3,
    )
    for payment in (pay(arriving), pay(Booking.objects.get(reference="AP-7F3K3Q"))):
        Refund.objects.create(payment=payment, amount_minor=700, currency="GBP", source="staff", reason="x")
    Break.objects.create(kind="amount", provider="stripe", provider_ref="pi_x")
    response = root.get(reverse("admin:index"))
    (row,) = [row for row in response.context["car_parks_today"] if row.car_park == product.car_park]
    inside = Occupancy.objects.filter(
        pool=product.pool, released_at__isnull=True, period__contains=now
    ).count()
    assert (row.arrivals, row.departures, row.inside, row.capacity) == (1, 1, inside, 20)
    assert row.clock == row.now_local.astimezone(auckland).strftime("%a %H:%M")
    figures = {figure.label: figure for figure in response.context["money_figures"]}
    assert figures["Taken today, GBP"].value == "£100.00"
    assert (figures["Refunds on their way"].value, figures["Refunds on their way"].note) == ("2", "£14.00")
    assert (figures["Open breaks"].value, figures["Open breaks"].mood) == ("1", "bad")
    text = response.content.decode()
    assert "£100.00" in text
    assert "Sandbox" in text


def test_landing_shows_failed_messages_and_how_long_the_queue_waits(root: Client) -> None:
    now = timezone.now()
    for number, (status, minutes) in enumerate([("failed", 5), ("queued", 12), ("queued", 3)]):
        message = Message.objects.create(
            kind="welcome",
            channel="email",
            to="a@b.example",
            dedupe_key=f"k{number}",
            variables={},
            status="queued",
        )
        if status == "failed":
            Message.objects.filter(pk=message.pk).update(status="sending")
        Message.objects.filter(pk=message.pk).update(
            status=status, queued_at=now - timedelta(minutes=minutes)
        )
    figures = {figure.label: figure for figure in root.get(reverse("admin:index")).context["message_figures"]}
    assert (figures["Failed or bounced, 7 days"].value, figures["Failed or bounced, 7 days"].mood) == (
        "1",
        "bad",
    )
    waiting = figures["Waiting to be sent"]
    assert (waiting.value, waiting.note, waiting.mood) == ("2", "oldest 12 min", "bad")


def test_landing_shows_each_person_only_what_they_may_view() -> None:
    user = User.objects.create_user("new@staff.example", PASSWORD, is_staff=True)
    response = client_of(user).get(reverse("admin:index"))
    assert response.status_code == 200
    assert not [
        name for name in ("car_parks_today", "money_figures", "message_figures") if name in response.context
    ]


def test_environment_badge_is_gone_in_production(settings: Any) -> None:
    assert dashboards.environment_badge(None) is not None  # type: ignore[arg-type]
    settings.PRODUCTION = True
    assert dashboards.environment_badge(None) is None  # type: ignore[arg-type]
