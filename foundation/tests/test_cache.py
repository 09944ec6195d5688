"""Redis is down: nobody is counted, and everybody is served."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from accounts.models import User
from bookings.models import Booking
from bookings.tests.world import make_product

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def redis_is_down(settings: Any, _fresh_limits: None) -> None:
    from parking_site import settings as written

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


def test_readiness_tells_that_nobody_is_counted(client: Client) -> None:
    assert client.get("/api/health").json()["parts"]["cache"] == {"status": "degraded"}


def test_an_empty_cache_answers_whatever_is_asked() -> None:
    cache.set("a", 1)
    cache.set_many({"a": 1})
    cache.delete_many(["a"])
    cache.clear()
    assert cache.add("a", 1) is True
    assert cache.get("a", "nothing") == "nothing"
    assert cache.get_many(["a"]) == {}
    assert cache.incr("a", 2) == 2
    assert (cache.has_key("a"), cache.touch("a"), cache.delete("a")) == (False, False, False)
