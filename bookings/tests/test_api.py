"""Search, quotes, holds and bookings as a program meets them."""

from __future__ import annotations

import json
import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import services
from accounts.models import User
from bookings.models import Booking, Product, Quote
from bookings.tests.world import make_product

DRIVER = {"name": "Ada Lovelace", "email": "ada@example.com", "phone": "+447700900123"}


@pytest.fixture
def product(db: None) -> Product:
    return make_product(capacity=2)


@pytest.fixture
def guest() -> APIClient:
    return APIClient()


@pytest.fixture
def ada(db: None) -> User:
    return User.objects.create_user("ada@example.com", "rather-long-Secret-7", name="Ada")


@pytest.fixture
def ben(db: None) -> User:
    return User.objects.create_user("ben@example.com", "rather-long-Secret-7", name="Ben")


def _signed_in(user: User) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {services.issue_tokens(user).access}")
    return client


def _local(days: float) -> str:
    return (timezone.now() + timedelta(days=days)).strftime("%Y-%m-%dT12:00")


def _quote(client: APIClient, product: Product, **changes: Any) -> Any:
    body = {"productId": product.pk, "dropOff": _local(40), "return": _local(43), **changes}
    return client.post("/api/quotes", body, format="json")


def _book(client: APIClient, quote_id: str, key: str = "", **changes: Any) -> Any:
    body = {"quoteId": quote_id, "driver": DRIVER, "vehicle": {"plate": "AB12 CDE"}, **changes}
    headers = {"Idempotency-Key": key} if key else {}
    return client.post("/api/bookings", body, format="json", headers=headers)


def _held(client: APIClient, product: Product) -> dict[str, Any]:
    answer = _book(client, _quote(client, product).json()["quoteId"])
    assert answer.status_code == 201, answer.content
    return answer.json()


def _search(client: APIClient, **changes: Any) -> Any:
    return client.get(
        "/api/search", {"airport": "LHR", "dropOff": _local(40), "return": _local(43), **changes}
    )


def test_a_guest_finds_quotes_holds_and_sees_a_booking(guest: APIClient, product: Product) -> None:
    assert guest.get("/api/airports").json()[0]["iata"] == "LHR"
    offer = _search(guest, airport="lhr").json()["results"][0]
    assert (offer["productId"], offer["spacesLeft"], offer["soldOut"]) == (product.pk, 2, False)
    quote = _quote(guest, product)
    assert quote.status_code == 201
    assert quote.json()["total"] == offer["total"]
    assert sum(float(line["amount"]) for line in quote.json()["lines"]) == float(quote.json()["total"])
    hold = _book(guest, quote.json()["quoteId"])
    assert hold.status_code == 201
    assert (hold.json()["status"], hold.json()["amountDue"], hold.json()["currency"]) == (
        "held", quote.json()["total"], "GBP",
    )  # fmt: skip
    path = f"/api/bookings/{hold.json()['bookingId']}"
    seen = guest.get(path, headers={"X-Guest-Token": hold.json()["guestToken"]})
    assert seen.json()["vehicle"] == {"plate": "AB12CDE"}
    assert datetime.fromisoformat(seen.json()["dropOff"]).utcoffset() is not None
    assert _search(guest).json()["results"][0]["spacesLeft"] == 1


def test_search_costs_the_same_number_of_queries_for_many_offers(
    guest: APIClient, product: Product, django_assert_max_num_queries: Any
) -> None:
    for number in range(12):
        Product.objects.create(
            car_park=product.car_park,
            pool=product.pool,
            name=f"P{number}",
            policy=product.policy,
            tariff=product.tariff,
        )
    with django_assert_max_num_queries(6):
        assert len(_search(guest).json()["results"]) == 13


@pytest.mark.parametrize("verb", ["get", "cancellation", "cancel", "delete", "put", "patch"])
@pytest.mark.parametrize("who", ["ben", "stranger", "wrong token"])
def test_another_persons_booking_does_not_exist(
    guest: APIClient, ada: User, ben: User, product: Product, verb: str, who: str
) -> None:
    reference = _held(_signed_in(ada), product)["bookingId"]
    client = _signed_in(ben) if who == "ben" else guest
    headers = {"X-Guest-Token": "0" * 64} if who == "wrong token" else {}
    path = f"/api/bookings/{reference}"
    if verb == "cancellation":
        answer = client.get(f"{path}/cancellation", headers=headers)
    elif verb == "cancel":
        answer = client.post(f"{path}/cancel", {"previewToken": "x"}, format="json", headers=headers)
    else:
        answer = getattr(client, verb)(path, headers=headers)
    assert answer.status_code == (404 if verb in {"get", "cancellation", "cancel"} else 405)
    assert answer["Content-Type"] == "application/problem+json"
    assert reference not in answer.json()["detail"]
    assert Booking.objects.get().status == "held"


def test_the_list_holds_ones_own_bookings_in_cursor_pages(ada: User, ben: User, product: Product) -> None:
    mine, theirs = _signed_in(ada), _signed_in(ben)
    first = _held(mine, product)["bookingId"]
    product.pool.__class__.objects.filter(pk=product.pool_id).update(capacity=5)
    second = _held(mine, product)["bookingId"]
    _held(theirs, product)
    page = mine.get("/api/bookings", {"pageSize": 1}).json()
    assert [row["bookingId"] for row in page["results"]] == [second]
    rest = mine.get(page["next"]).json()
    assert [row["bookingId"] for row in rest["results"]] == [first]
    assert rest["next"] is None
    assert APIClient().get("/api/bookings").status_code == 401


def test_the_last_space_goes_once(guest: APIClient, product: Product) -> None:
    product.pool.__class__.objects.filter(pk=product.pool_id).update(capacity=1)
    quotes = [_quote(guest, product).json()["quoteId"] for _ in range(2)]
    assert _book(guest, quotes[0]).status_code == 201
    refused = _book(guest, quotes[1])
    assert (refused.status_code, refused.json()["code"]) == (409, "car_park_full")


def test_a_repeat_with_the_same_key_gets_the_same_bytes_and_one_booking(
    guest: APIClient, product: Product
) -> None:
    quote_id = _quote(guest, product).json()["quoteId"]
    first, again = _book(guest, quote_id, key="k1"), _book(guest, quote_id, key="k1")
    assert first.status_code == again.status_code == 201
    assert first.content == again.content
    assert again["Idempotent-Replayed"] == "true"
    other = _book(guest, quote_id, key="k1", vehicle={"plate": "ZZ99ZZZ"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert Booking.objects.count() == 1


def test_a_refused_call_is_not_remembered(guest: APIClient, product: Product) -> None:
    quote_id = _quote(guest, product).json()["quoteId"]
    assert _book(guest, quote_id, key="k1", vehicle={"plate": "!"}).status_code == 400
    assert _book(guest, quote_id, key="k1").status_code == 201


def test_one_persons_key_says_nothing_to_another(ada: User, ben: User, product: Product) -> None:
    one = _signed_in(ada)
    quote_id = _quote(one, product).json()["quoteId"]
    assert _book(one, quote_id, key="k1").status_code == 201
    stolen = _book(_signed_in(ben), quote_id, key="k1")
    assert stolen.status_code == 400
    assert "guestToken" not in stolen.json()


@pytest.mark.parametrize(
    "extra",
    [
        {"status": "confirmed"},
        {"total": "0.01"},
        {"total_minor": 1},
        {"user": 1},
        {"holdExpiresAt": "2099-01-01"},
    ],
)
def test_what_the_customer_may_not_set_is_refused(
    guest: APIClient, product: Product, extra: dict[str, Any]
) -> None:
    quote_id = _quote(guest, product).json()["quoteId"]
    answer = _book(guest, quote_id, **extra)
    assert answer.status_code == 400
    assert [row["field"] for row in answer.json()["errors"]] == list(extra)
    assert not Booking.objects.exists()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"vehicle": {"plate": "!!"}}, "vehicle.plate"),
        ({"vehicle": {"plate": 7.5}}, "vehicle.plate"),
        ({"flights": {"return": "not a flight"}}, "flights.return"),
        ({"driver": {**DRIVER, "phone": "12"}}, "driver.phone"),
        ({"driver": {**DRIVER, "email": "x\r\nBcc: y@example.com"}}, "driver.email"),
        ({"driver": {**DRIVER, "name": "x" * 1000}}, "driver.name"),
        ({"driver": {**DRIVER, "name": "Ada\nBcc: x"}}, "driver.name"),
        ({"quoteId": "nope"}, "quoteId"),
        ({"quoteId": str(uuid.uuid4())}, "quoteId"),
    ],
)
def test_each_bad_field_is_named(
    guest: APIClient, product: Product, changes: dict[str, Any], field: str
) -> None:
    answer = _book(guest, _quote(guest, product).json()["quoteId"], **changes)
    assert answer.status_code == 400, answer.content
    assert answer.json()["errors"][0]["field"] == field


def test_an_old_quote_is_refused(guest: APIClient, product: Product) -> None:
    quote_id = _quote(guest, product).json()["quoteId"]
    Quote.objects.update(expires_at=timezone.now())
    answer = _book(guest, quote_id)
    assert (answer.status_code, answer.json()["code"]) == (409, "quote_expired")


@pytest.mark.parametrize(
    ("code", "time"), [("ambiguous_time", "2027-10-31T01:30"), ("impossible_time", "2027-03-28T01:30")]
)
def test_a_time_that_the_clocks_make_unclear_is_asked_about(
    guest: APIClient, product: Product, code: str, time: str
) -> None:
    answers = [_quote(guest, product, dropOff=time), _search(guest, dropOff=time)]
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (422, code)
        assert len(answer.json()["readings"]) == 2
        assert answer.json()["errors"][0]["field"] == "dropOff"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"dropOff": "2020-01-01T10:00"}, "dropOff"),
        ({"dropOff": _local(43), "return": _local(40)}, "return"),
        ({"dropOff": _local(370), "return": _local(372)}, "dropOff"),
        ({"return": _local(300)}, "return"),
        ({"dropOff": "tomorrow"}, "dropOff"),
        ({"dropOff": "0001-01-01T00:00+14:00"}, "dropOff"),
        ({"dropOff": "9999-12-31T23:59-12:00"}, "dropOff"),
        ({"dropOff": "2027-02-30T10:00"}, "dropOff"),
        ({"dropOff": "x" * 5000}, "dropOff"),
        ({"dropOff": ""}, "dropOff"),
    ],
)
def test_a_stay_that_cannot_be_sold_is_refused(
    guest: APIClient, product: Product, changes: dict[str, str], field: str
) -> None:
    for answer in (_quote(guest, product, **changes), _search(guest, **changes)):
        assert answer.status_code == 400, answer.content
        assert answer.json()["errors"][0]["field"] == field
    assert not Quote.objects.exists()


@pytest.mark.parametrize("product_id", [0, -1, 2**63, 10**30, "x", None, True, 1.5, [], {}, "\ud800"])
def test_no_product_id_breaks_anything(guest: APIClient, product: Product, product_id: Any) -> None:
    body = {"productId": product_id, "dropOff": _local(40), "return": _local(43)}
    answer = guest.post("/api/quotes", json.dumps(body), content_type="application/json")
    assert answer.status_code in {400, 404}


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"airport": "ZZZ"}, 404), ({"airport": "L"}, 400), ({"page": "0"}, 400), ({"page": "9" * 50}, 400),
        ({"kind": "spaceship"}, 400), ({"sort": "luck"}, 400), ({"cheap": "1"}, 400), ({"page": "50"}, 200),
        ({"covered": "true"}, 200), ({"ev": "true"}, 200), ({"kind": "valet"}, 200), ({"sort": "transfer"}, 200),
    ],
)  # fmt: skip
def test_search_parameters(guest: APIClient, product: Product, query: dict[str, str], status: int) -> None:
    assert _search(guest, **query).status_code == status


def test_cancelling_gives_back_what_the_preview_showed(guest: APIClient, product: Product) -> None:
    hold = _held(guest, product)
    path, headers = f"/api/bookings/{hold['bookingId']}", {"X-Guest-Token": hold["guestToken"]}
    preview = guest.get(f"{path}/cancellation", headers=headers)
    assert preview.json()["refund"] == "0.00"
    bad = guest.post(f"{path}/cancel", {"previewToken": "forged"}, format="json", headers=headers)
    assert bad.status_code == 409
    body = {"previewToken": preview.json()["previewToken"]}
    done = guest.post(f"{path}/cancel", body, format="json", headers=headers)
    assert done.status_code == 200, done.content
    assert done.json() == {
        "status": "cancelled",
        "refund": {"amount": "0.00", "currency": "GBP", "status": "none"},
    }
    assert _search(guest).json()["results"][0]["spacesLeft"] == 2


def test_booking_is_limited_per_address(guest: APIClient, product: Product, settings: Any) -> None:
    settings.RATELIMIT_ENABLE = True
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "bookings": ["1/h", "9/h"]}
    _book(guest, str(uuid.uuid4()))
    limited = _book(guest, str(uuid.uuid4()))
    assert (limited.status_code, limited.json()["code"]) == (429, "too_many_requests")
    assert int(limited["Retry-After"]) > 0


@pytest.mark.parametrize(
    "path", ["/api", "/api/", "/api/airports/", "/api/nothing", "/api/bookings/a/b/c", "/api/auth/token/"]
)
def test_unknown_paths_are_problems(guest: APIClient, db: None, path: str) -> None:
    for answer in (guest.get(path), guest.post(path, {}, format="json")):
        assert answer.status_code == 404
        assert answer["Content-Type"] == "application/problem+json"
        assert answer.json()["requestId"]


def test_a_wrong_verb_is_a_problem(guest: APIClient, db: None) -> None:
    answer = guest.delete("/api/airports")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("cursor", ["cD0x", "cD0A", "cD1ub3RhZGF0ZQ==", "x"])
def test_a_made_up_cursor_is_refused(db: None, cursor: str) -> None:
    client = APIClient()
    client.force_authenticate(User.objects.create_user("ada@example.com", "rather-long-Secret-7"))
    answer = client.get("/api/bookings", {"cursor": cursor})
    assert answer.status_code in {400, 404}


def test_the_same_quote_car_and_driver_again_is_the_same_hold(product: Product) -> None:
    client = APIClient()
    body = {
        "quoteId": _quote(client, product).json()["quoteId"],
        "driver": DRIVER,
        "vehicle": {"plate": "AB12 CDE"},
    }
    first, again = (client.post("/api/bookings", body, format="json") for _click in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert Booking.objects.count() == 1
    other = client.post(
        "/api/bookings", body | {"driver": DRIVER | {"email": "eve@example.com"}}, format="json"
    )
    assert (other.status_code, other.json()["code"]) == (409, "quote_used")
