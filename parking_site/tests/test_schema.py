"""The published schema says what the doors do."""

from __future__ import annotations

import pytest
from django.test import Client

pytestmark = pytest.mark.django_db


def test_every_call_describes_its_problems_and_its_policy() -> None:
    schema = Client().get("/api/schema").json()
    assert schema["openapi"].startswith("3.1")
    operations = [
        operation
        for path in schema["paths"].values()
        for method, operation in path.items()
        if method in {"get", "post", "patch", "delete"}
    ]
    assert len(operations) >= 15
    assert all("4XX" in operation["responses"] for operation in operations)
    policy = schema["components"]["schemas"]["QuoteAnswer"]["properties"]["policy"]
    assert "PolicyAnswer" in str(policy)


def test_a_problem_has_the_published_form() -> None:
    required = Client().get("/api/schema").json()["components"]["schemas"]["Problem"]["required"]
    answer = Client().get("/api/search?airport=ZZZ&dropOff=x&return=y")
    assert answer.status_code == 404
    assert set(required) <= set(answer.json())


@pytest.mark.parametrize("path", ["/api/nothing", "/api/bookings/%0A", "/api/bookings/a%0Ab/cancel"])
def test_a_program_that_posts_where_nothing_is_is_told_so(path: str) -> None:
    answer = Client(enforce_csrf_checks=True).post(path, {}, content_type="application/json")
    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")


def test_an_address_that_cannot_be_read_is_a_problem_too() -> None:
    answer = Client().get("/api/search?airport=%00")
    assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json")
    assert "text/html" in Client().get("/search?airport=%00")["Content-Type"]


def test_unknown_fields_are_refused_by_the_description_too() -> None:
    schemas = Client().get("/api/schema").json()["components"]["schemas"]
    assert schemas["QuoteInputRequest"]["additionalProperties"] is False
    assert "additionalProperties" not in schemas["QuoteAnswer"]
