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
