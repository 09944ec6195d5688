"""Redis is down: everybody is served, and each process counts for itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.core.cache.backends.locmem import LocMemCache
from django.test import Client
from django.utils import timezone

from accounts.models import User
from bookings.models import Booking
from bookings.tests.world import make_product

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def redis_is_down(settings: Any, _fresh_limits: None) -> None:
    from parking_site import settings as written

    LocMemCache("while-redis-is-away", {}).clear()
    settings.CACHES = {"default": {"BACKEND": written.REDIS_BACKEND, "LOCATION": "redis://127.0.0.1:1/0"}}


def test_pages_hold_a_space_without_the_limiters_cache(client: Client) -> None:
    product = make_product()
    day = timezone.now() + timedelta(days=30)
    form = {
        "drop_off": f"{day:%Y-%m-%dT10:00}", "return": f"{day + timedelta(days=2):%Y-%m-%dT10:00}", "name": "Ada Lovelace",
        "email": "ada@example.com", "phone": "+44 7700 900123", "plate": "ab12 cde", "outbound_flight": "", "return_flight": "",
    }  # fmt: skip
    assert client.post(f"/book/{product.pk}", form).status_code == 302
    assert Booking.objects.get().status == "held"


def test_people_sign_in_without_the_limiters_cache(client: Client) -> None:
    User.objects.create_user("ada@example.com", "rather-long-Secret-7", name="Ada")
    wrong = client.post("/accounts/login/", {"login": "ada@example.com", "password": "wrong-wrong-1"})
    assert wrong.status_code == 200
    answer = client.post(
        "/api/auth/token", {"email": "ada@example.com", "password": "rather-long-Secret-7"}, content_type="application/json"
    )  # fmt: skip
    assert answer.status_code == 200


def test_readiness_tells_that_each_process_counts_for_itself(client: Client) -> None:
    assert client.get("/api/health").json()["parts"]["cache"] == {"status": "degraded"}


def test_guessing_passwords_stays_limited_without_redis(client: Client, settings: Any) -> None:
    settings.RATELIMIT_ENABLE = True
    settings.SIGN_IN_FAILURES = [60, 2, 20]
    statuses = [
        client.post(
            "/api/auth/token", {"email": "ada@example.com", "password": "wrong-wrong-1"}, content_type="application/json"
        ).status_code
        for _try in range(3)
    ]  # fmt: skip
    assert statuses == [401, 401, 429]


def test_calls_stay_limited_without_redis(client: Client, settings: Any) -> None:
    settings.RATELIMIT_ENABLE = True
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "register": ["2/h", "9/h"]}
    statuses = [
        client.post("/api/auth/register", {"email": f"a{number}@example.com", "password": "rather-long-Secret-7", "name": "A"},
                    content_type="application/json").status_code
        for number in range(3)
    ]  # fmt: skip
    assert statuses == [201, 201, 429]


def test_the_own_memory_answers_whatever_is_asked() -> None:
    assert cache.add("a", 1) is True
    assert cache.add("a", 2) is False
    assert cache.incr("a", 2) == 3
    assert cache.incr("never added") == 1
    assert cache.get("a", "nothing") == 3
    cache.set_many({"b": 1})
    assert cache.get_many(["a", "b"]) == {"a": 3, "b": 1}
    assert (cache.has_key("a"), cache.touch("a"), cache.delete("a")) == (True, True, True)
    cache.delete_many(["b"])
    cache.clear()
    assert cache.get("b", "nothing") == "nothing"
