"""What a customer sees and what it leaves in the database: search, details, hold, find, manage, cancel."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone
from icalendar import Calendar
from rest_framework.test import APIClient

from accounts.models import User
from bookings.models import (
    Airport,
    Booking,
    CancellationPolicy,
    CarPark,
    Operator,
    PolicyTier,
    Pool,
    Product,
    Tariff,
)
from bookings.services import access
from bookings.services.cancel import preview_cancellation
from bookings.services.confirm import confirm, lock_booking
from bookings.services.hold import Driver, place_hold
from bookings.services.quote import quote_stay

pytestmark = pytest.mark.django_db

DRIVER = {
    "name": "Ada Lovelace",
    "email": "ada@example.com",
    "phone": "+44 7700 900123",
    "plate": "ab12-cde",
    "outbound_flight": "",
    "return_flight": "ba 112",
}


@pytest.fixture
def product() -> Product:
    airport = Airport.objects.create(
        iata="LHR", name="London Heathrow", city="London", country="GB", timezone="Europe/London",
        latitude="51.47060", longitude="-0.46190", currency="GBP",
    )  # fmt: skip
    car_park = CarPark.objects.create(
        airport=airport, operator=Operator.objects.create(name="Runway"), name="North Side", slug="north-side",
        kind="park_and_ride", latitude="51.48000", longitude="-0.46000", transfer_minutes=12,
        address="Northern Perimeter Road", directions="Follow the yellow signs.",
    )  # fmt: skip
    policy = CancellationPolicy.objects.create(name="Flex", summary="Free cancellation until you drop off")
    PolicyTier.objects.create(policy=policy, notice_hours=0, refund_percent=100)
    return Product.objects.create(
        car_park=car_park,
        pool=Pool.objects.create(car_park=car_park, name="Spaces", capacity=2),
        name="Economy",
        tariff=Tariff.objects.create(name="Economy", currency="GBP", daily_minor=1100),
        policy=policy,
    )


def stay(days_ahead: int = 30, days: int = 7) -> dict[str, str]:
    start = datetime.now(UTC).date() + timedelta(days=days_ahead)
    end = start + timedelta(days=days)
    return {"airport": "LHR", "drop_off": f"{start}T10:00", "return": f"{end}T18:00"}


def hold_for(product: Product, *, user: User | None = None, email: str = "ada@example.com") -> Any:
    now = datetime.now(UTC)
    start = now + timedelta(days=30)
    quote = quote_stay(product, start_at=start, end_at=start + timedelta(days=7), now=now, user=user)
    driver = Driver(name="Ada Lovelace", email=email, phone="+447700900123")
    return place_hold(quote, driver=driver, plate="AB12CDE", user=user, now=now)


def confirmed_for(product: Product, *, user: User | None = None) -> Any:
    from django.db import transaction

    placed = hold_for(product, user=user)
    with transaction.atomic():
        confirm(lock_booking(placed.booking.pk), now=datetime.now(UTC))
    # Payments keeps this sum; here nobody pays.
    Booking.objects.filter(pk=placed.booking.pk).update(kept_minor=placed.booking.total_minor)
    placed.booking.refresh_from_db()
    return placed


def text(response: Any) -> str:
    return response.content.decode()


class TestSearch:
    def test_home_offers_the_airports_and_a_week_ahead(self, client: Client, product: Product) -> None:
        page = text(client.get("/"))
        assert "London Heathrow (LHR)" in page
        assert (datetime.now(UTC).date() + timedelta(days=7)).isoformat() in page

    def test_results_show_the_price_of_the_stay_and_what_it_includes(
        self, client: Client, product: Product
    ) -> None:
        page = text(client.get("/search", stay()))
        assert "£88.00" in page
        assert "£11.00 a day" in page
        assert "8 days at £11.00" in page
        assert "12 min to the terminal" in page
        assert "Free cancellation until you drop off" in page
        assert "2 spaces left" in page
        assert "London time" in page

    def test_the_forms_own_fields_search_as_well(self, client: Client, product: Product) -> None:
        asked = stay()
        split = {"airport": "LHR"}
        for part in ("drop_off", "return"):
            split[f"{part}_date"], split[f"{part}_time"] = asked[part].split("T")
        assert "£88.00" in text(client.get("/search", split))

    @pytest.mark.parametrize("path", ["/", "/search", "/api/airports"])
    def test_strangers_share_an_answer_and_get_no_cookie(
        self, client: Client, product: Product, path: str
    ) -> None:
        answer = client.get(path, stay() if path == "/search" else {})
        assert "s-maxage" in answer["Cache-Control"] and "private" not in answer["Cache-Control"]
        assert not answer.cookies

    @pytest.mark.parametrize("path", ["/", "/search"])
    def test_whoever_has_a_session_shares_nothing(self, client: Client, product: Product, path: str) -> None:
        begins = client.get(path, stay() | {"code": "SPRING20"})
        assert begins.cookies and "no-store" in begins["Cache-Control"]
        assert "no-store" in client.get(path, stay())["Cache-Control"]

    def test_htmx_gets_the_list_alone(self, client: Client, product: Product) -> None:
        page = text(client.get("/search", stay(), headers={"HX-Request": "true"}))
        assert page.lstrip().startswith("<section")
        assert "<html" not in page

    def test_a_filter_that_nothing_passes_says_so_and_how_to_leave(
        self, client: Client, product: Product
    ) -> None:
        page = text(client.get("/search", stay() | {"covered": "1"}))
        assert "Nothing fits these filters" in page
        assert "Remove all filters" in page

    def test_sold_out_days_come_with_alternatives(self, client: Client, product: Product) -> None:
        Pool.objects.update(capacity=1)
        hold_for(product)
        asked = stay(days_ahead=30, days=1)
        page = text(client.get("/search", asked))
        assert "Sold out" in page
        assert "Choose North Side" not in page

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"airport": ""}, "Choose an airport."),
            ({"airport": "ZZZ"}, "Choose one from the list"),
            ({"drop_off": "soon"}, "Enter a day such as"),
            ({"drop_off": "2020-01-01T10:00"}, "in the past"),
            ({"return": "2020-01-01T10:00"}, "must be after the drop-off"),
            ({"drop_off": "9" * 300}, "Enter a day such as"),
        ],
    )
    def test_bad_input_is_told_beside_its_field(
        self, client: Client, product: Product, change: dict[str, str], message: str
    ) -> None:
        response = client.get("/search", stay() | change)
        assert response.status_code == 422
        assert message in text(response)
        assert 'aria-invalid="true"' in text(response)

    def test_a_time_that_comes_twice_offers_both_readings(self, client: Client, product: Product) -> None:
        year = datetime.now(UTC).year + (1 if datetime.now(UTC).month >= 10 else 0)
        night = max(
            day for day in range(25, 32) if datetime(year, 10, day, tzinfo=UTC).weekday() == 6
        )  # the last Sunday of October
        asked = {"airport": "LHR", "drop_off": f"{year}-10-{night}T01:30", "return": f"{year}-11-05T18:00"}
        response = client.get("/search", asked)
        page = text(response)
        assert response.status_code == 422
        assert "(UTC+01:00)" in page
        assert "(UTC+00:00)" in page
        chosen = client.get("/search", asked | {"drop_off": f"{year}-10-{night}T01:30+01:00"})
        assert chosen.status_code == 200

    def test_an_undecodable_address_is_refused_not_a_fault(self, client: Client, product: Product) -> None:
        assert client.get("/search?airport=%00").status_code == 400
        assert client.get("/search?airport=%ed%a0%80&drop_off=%ff").status_code == 422


class TestHold:
    def test_details_explain_the_price(self, client: Client, product: Product) -> None:
        page = text(client.get(f"/book/{product.pk}", stay()))
        assert "8 days at £11.00" in page
        assert 'name="shown_total_minor" value="8800"' in page

    def test_posting_the_details_holds_a_space_and_leads_to_payment(
        self, client: Client, product: Product
    ) -> None:
        response = client.post(f"/book/{product.pk}", stay() | DRIVER | {"shown_total_minor": "8800"})
        booking = Booking.objects.get()
        assert response.status_code == 302
        assert response["Location"] == f"/pay/{booking.reference}"
        assert (booking.status, booking.plate, booking.return_flight) == ("held", "AB12CDE", "BA112")
        assert booking.total_minor == 8800
        assert client.session["guest_bookings"] == [booking.reference]

    def test_pressing_the_button_twice_holds_one_space(self, client: Client, product: Product) -> None:
        attempt = str(client.get(f"/book/{product.pk}", stay()).context["attempt"])
        form = stay() | DRIVER | {"attempt": attempt}
        first, second = (client.post(f"/book/{product.pk}", form)["Location"] for _click in range(2))
        assert first == second
        assert Booking.objects.count() == 1
        corrected = client.post(f"/book/{product.pk}", form | {"plate": "XY99ZZZ"})
        assert corrected["Location"] != first  # another car is another booking
        assert Booking.objects.count() == 2
        forged = client.post(f"/book/{product.pk}", form | {"attempt": "\x00"})
        assert (
            forged.status_code == 409
        )  # read as no attempt: a third space, which this car park does not have

    def test_another_price_than_the_one_shown_is_shown_before_anything_is_held(
        self, client: Client, product: Product
    ) -> None:
        response = client.post(f"/book/{product.pk}", stay() | DRIVER | {"shown_total_minor": "7700"})
        assert response.status_code == 409
        assert "changed from £77.00 to" in text(response)
        assert "Ada Lovelace" in text(response)
        assert not Booking.objects.exists()

    @pytest.mark.parametrize(
        ("field", "value", "message"),
        [
            ("name", "", "Enter the driver"),
            ("name", "x" * 500, "at most 120"),
            ("email", "ada", "such as ada@example.com"),
            ("phone", "12", "Enter a phone number with its country code"),
            ("phone", "07700", "Enter a phone number with its country code"),
            ("plate", "!!", "2 to 12 letters and digits"),
            ("plate", "", "number plate"),
            ("return_flight", "tomorrow", "such as BA117"),
            ("return_flight", "123", "such as BA117"),
            ("name", "A\x00da", "Null characters"),
        ],
    )
    def test_a_bad_detail_is_told_and_the_rest_is_kept(
        self, client: Client, product: Product, field: str, value: str, message: str
    ) -> None:
        given = DRIVER | {field: value}
        response = client.post(f"/book/{product.pk}", stay() | given)
        assert response.status_code == 422
        assert message in text(response)
        assert 'role="alert"' in text(response)
        assert ("ada@example.com" if field != "email" else "Ada Lovelace") in text(response)
        assert not Booking.objects.exists()

    def test_a_full_car_park_says_so_and_leads_back_to_the_search(
        self, client: Client, product: Product
    ) -> None:
        Pool.objects.update(capacity=1)
        hold_for(product)
        start = datetime.now(UTC).date() + timedelta(days=31)
        asked = {"drop_off": f"{start}T10:00", "return": f"{start + timedelta(days=2)}T10:00"}
        response = client.post(f"/book/{product.pk}", asked | DRIVER)
        assert response.status_code == 409
        assert "/search?airport=LHR" in text(response)
        assert Booking.objects.count() == 1

    def test_products_that_are_not_on_sale_are_not_found(self, client: Client, product: Product) -> None:
        Product.objects.update(is_active=False)
        assert client.get(f"/book/{product.pk}", stay()).status_code == 404
        assert client.get(f"/book/{10**30}", stay()).status_code == 404

    def test_too_many_posts_get_the_page_that_says_wait(self, client: Client, product: Product) -> None:
        statuses = [client.post(f"/book/{product.pk}", stay()).status_code for _try in range(21)]
        assert statuses[-1] == 429
        assert 429 not in statuses[:20]


class TestManage:
    def test_a_stranger_does_not_learn_that_a_booking_exists(self, client: Client, product: Product) -> None:
        reference = hold_for(product).booking.reference
        for path in ("", "/cancel", "/calendar.ics", "/qr.svg"):
            assert client.get(f"/bookings/{reference}{path}").status_code == 404
        ben = User.objects.create_user("ben@example.com", "not-a-secret-42")
        client.force_login(ben)
        assert client.get(f"/bookings/{reference}").status_code == 404

    def test_the_guest_link_is_exchanged_for_the_session(self, client: Client, product: Product) -> None:
        placed = hold_for(product)
        reference = placed.booking.reference
        assert client.get(f"/b/{reference}/{'0' * 64}").status_code == 404
        response = client.get(f"/b/{reference}/{placed.guest_token}")
        assert response["Location"] == f"/bookings/{reference}"
        assert placed.booking.plate in text(client.get(response["Location"]))

    def test_find_opens_the_booking_only_with_its_own_address(self, client: Client, product: Product) -> None:
        reference = hold_for(product).booking.reference
        wrong = client.post("/bookings/find", {"reference": reference, "email": "ben@example.com"})
        unknown = client.post("/bookings/find", {"reference": "AP-222222", "email": "ada@example.com"})
        assert wrong.status_code == unknown.status_code == 422
        assert "No booking has this reference" in text(wrong)
        assert "No booking has this reference" in text(unknown)
        assert reference in text(wrong)
        right = client.post(
            "/bookings/find", {"reference": reference.lower().replace("-", " "), "email": "ADA@example.com"}
        )
        assert right["Location"] == f"/bookings/{reference}"

    def test_guessing_references_is_stopped(self, client: Client) -> None:
        guess = {"reference": "AP-222222", "email": "ada@example.com"}
        statuses = [client.post("/bookings/find", guess).status_code for _try in range(11)]
        assert statuses == [422] * 10 + [429]

    def test_the_list_shows_own_bookings_only(self, client: Client, product: Product) -> None:
        ada = User.objects.create_user("ada@example.com", "not-a-secret-42")
        mine = confirmed_for(product, user=ada).booking
        other = hold_for(product, email="ben@example.com").booking
        client.force_login(ada)
        page = text(client.get("/bookings"))
        assert mine.reference in page
        assert other.reference not in page

    def test_a_guest_without_bookings_is_asked_for_a_reference(self, client: Client) -> None:
        assert client.get("/bookings")["Location"] == "/bookings/find"

    def test_a_confirmed_booking_has_a_pass_a_calendar_and_a_code(
        self, client: Client, product: Product
    ) -> None:
        placed = confirmed_for(product)
        reference = placed.booking.reference
        client.get(f"/b/{reference}/{placed.guest_token}")
        page = text(client.get(f"/bookings/{reference}"))
        assert f"/bookings/{reference}/qr.svg" in page
        assert "openstreetmap.org" in page
        assert b"<svg" in client.get(f"/bookings/{reference}/qr.svg").content
        calendar = Calendar.from_ical(client.get(f"/bookings/{reference}/calendar.ics").content)
        [event] = calendar.walk("VEVENT")
        times = [event[name].dt for name in ("DTSTART", "DTEND")]
        assert [at.astimezone(UTC).replace(microsecond=0) for at in times] == [
            placed.booking.start_at.replace(microsecond=0),
            placed.booking.end_at.replace(microsecond=0),
        ]

    def test_an_unpaid_booking_has_no_pass(self, client: Client, product: Product) -> None:
        placed = hold_for(product)
        client.get(f"/b/{placed.booking.reference}/{placed.guest_token}")
        assert client.get(f"/bookings/{placed.booking.reference}/qr.svg").status_code == 404


class TestCancel:
    def test_the_refund_is_shown_first_and_then_exactly_that_is_recorded(
        self, client: Client, product: Product
    ) -> None:
        placed = confirmed_for(product)
        reference = placed.booking.reference
        client.get(f"/b/{reference}/{placed.guest_token}")
        page = client.get(f"/bookings/{reference}/cancel")
        preview = page.context["preview"]
        assert f"Cancel and get {preview.refund} back" in text(page)
        placed.booking.refresh_from_db()
        assert placed.booking.status == "confirmed"
        response = client.post(f"/bookings/{reference}/cancel", {"preview_token": preview.token})
        assert response["Location"] == f"/bookings/{reference}"
        placed.booking.refresh_from_db()
        assert placed.booking.status == "cancelled"
        assert (
            placed.booking.cancellation.refund_minor
            == preview.refund.amount_minor
            == placed.booking.total_minor
        )

    def test_staff_who_may_only_look_neither_cancel_nor_pay(self, client: Client, product: Product) -> None:
        booking = hold_for(product).booking
        vic = User.objects.create_user("vic@example.com", "a long enough one", is_staff=True)
        vic.user_permissions.add(Permission.objects.get(codename="view_booking"))
        client.force_login(vic)
        assert client.get(f"/bookings/{booking.reference}").status_code == 200
        token = preview_cancellation(booking, now=timezone.now()).token
        assert (
            client.post(f"/bookings/{booking.reference}/cancel", {"preview_token": token}).status_code == 403
        )
        assert client.get(f"/pay/{booking.reference}").status_code == 403
        api = APIClient()
        api.force_authenticate(vic)
        answer = api.post(f"/api/bookings/{booking.reference}/cancel", {"previewToken": token}, format="json")
        assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")
        answer = api.post("/api/payments/create-intent", {"bookingId": booking.reference}, format="json")
        assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")
        booking.refresh_from_db()
        assert booking.status == "held"

    def test_a_made_up_guest_link_gives_staff_no_right_to_cancel(
        self, client: Client, product: Product
    ) -> None:
        booking = hold_for(product).booking
        vic = User.objects.create_user("vic@example.com", "tango-bravo-917", name="Vic", is_staff=True)
        vic.user_permissions.add(Permission.objects.get(codename="view_booking"))
        client.force_login(vic)
        assert client.get(f"/b/{booking.reference}/whatever").status_code == 404
        answer = client.get(f"/bookings/{booking.reference}/cancel")
        assert answer.status_code == 403
        assert "may look at this booking but not change it" in text(answer)

    def test_a_guest_link_starts_a_session_of_its_own(self, client: Client, product: Product) -> None:
        client.get("/search", stay())  # a session that somebody else may have planted
        session = client.session
        session["planted"] = "yes"
        session.save()
        planted = session.session_key
        client.cookies[settings.SESSION_COOKIE_NAME] = planted
        booking = hold_for(product).booking
        token = access.guest_token_for(booking.reference, booking.quote_id)
        assert client.get(f"/b/{booking.reference}/{token}").status_code == 302
        assert client.session.session_key != planted

    def test_the_documentations_booking_opens_on_its_page(self, client: Client, product: Product) -> None:
        booking = hold_for(product).booking
        user = User.objects.create_user("cust@example.com", "tango-bravo-917", name="Cust")
        Booking.objects.filter(pk=booking.pk).update(reference="test-booking", user=user)
        later = datetime.now(UTC) + timedelta(days=30)
        Booking.objects.update(hold_expires_at=later)
        client.force_login(user)
        page = client.get("/bookings/test-booking")
        assert page.status_code == 200
        assert f"We keep the space until {later.astimezone(booking.zone):%a} " in text(page), (
            "not today's clock"
        )

    def test_a_forged_preview_cancels_nothing(self, client: Client, product: Product) -> None:
        placed = confirmed_for(product)
        reference = placed.booking.reference
        client.get(f"/b/{reference}/{placed.guest_token}")
        response = client.post(f"/bookings/{reference}/cancel", {"preview_token": "1:forged"})
        assert response.status_code == 409
        placed.booking.refresh_from_db()
        assert placed.booking.status == "confirmed"


def test_every_page_has_a_title_a_language_and_a_skip_link(client: Client, product: Product) -> None:
    for path in ("/", "/bookings/find", "/accounts/login/", "/accounts/signup/", "/accounts/password/reset/"):
        page = text(client.get(path))
        assert '<html lang="en">' in page
        assert 'class="skip" href="#content"' in page
        assert "<title>" in page
        assert " style=" not in page
        assert "onclick" not in page


def test_error_pages_lead_on(client: Client, product: Product) -> None:
    lost = client.get("/no-such-gate")
    assert lost.status_code == 404
    assert "No such gate" in text(lost)
    strict = Client(enforce_csrf_checks=True)
    closed = strict.post("/bookings/find", {"reference": "AP-222222", "email": "ada@example.com"})
    assert closed.status_code == 403
    assert "This door is closed" in text(closed)
    assert "Find a booking" in text(closed)


def test_who_opens_a_guests_link_while_signed_in_stays_in_the_list_of_sign_ins(product: Product) -> None:
    ben = User.objects.create_user("ben@example.com", "tango-bravo-917")
    placed = hold_for(product)
    browser = Client(headers={"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"})
    browser.post("/accounts/login/", {"login": ben.email, "password": "tango-bravo-917"})
    assert "Firefox on Linux" in browser.get("/account/sign-ins").content.decode()
    assert browser.get(f"/b/{placed.booking.reference}/{placed.guest_token}").status_code == 302
    assert "Firefox on Linux" in browser.get("/account/sign-ins").content.decode()
