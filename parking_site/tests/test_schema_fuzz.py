"""Everybody's API against its own published description: odd and right input, no server error, no answer that the schema does not name.

`SCHEMA_EXAMPLES=500 pytest parking_site/tests/test_schema_fuzz.py -s` asks longer and prints what was asked.
"""

from __future__ import annotations

import functools
import os
import random
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
import schemathesis
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.utils import timezone
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from accounts import services as accounts
from accounts.models import User
from bookings.services.cancel import preview_cancellation
from bookings.services.quote import quote_stay
from bookings.tests.world import DAY, hold, make_product
from parking_site.wsgi import application
from payments.services.settle import settle
from payments.tests.world import checkout, pay, saved_card

pytestmark = pytest.mark.django_db(transaction=True)

EXAMPLES = int(os.environ.get("SCHEMA_EXAMPLES", "10"))  # of each call, each role, right and wrong
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    negative_data_rejection,
]
MONEY = {"payments", "payment methods"}


class World:
    """Ada with a held booking, a paid one and a saved card; Sam who may do everything; and their names for what exists."""

    def __init__(self) -> None:
        password = "rather-long-Secret-7"
        self.ada = User.objects.create_user("ada@example.com", password, name="Ada Lovelace")
        self.sam = User.objects.create_user("sam@staff.example", password, name="Sam", is_staff=True)
        apps = ("bookings", "payments", "communications")
        self.sam.user_permissions.set(Permission.objects.filter(content_type__app_label__in=apps))
        now = timezone.now()
        product = make_product(capacity=50)

        def placed(days_ahead: int, user: User | None) -> Any:
            return hold(product, start=now + days_ahead * DAY, now=now, user=user, email=self.ada.email)

        held, guests, paid = placed(9, self.ada), placed(12, None), placed(20, self.ada).booking
        session = checkout(paid)
        assert pay(session) == 200
        payment = settle(session.payment.pk)
        paid.refresh_from_db()
        awaited = checkout(held.booking)
        card = saved_card(self.ada)
        quote = quote_stay(product, start_at=now + 30 * DAY, end_at=now + 32 * DAY, now=now)
        references = [held.booking.reference, guests.booking.reference, paid.reference]
        local = [(now + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M") for days in (5, 8, 400)]
        self.known: dict[str, list[Any]] = {
            "reference": references,
            "bookingId": references,
            "transaction_id": [str(payment.pk)],
            "paymentId": [str(payment.pk)],
            "method_id": [str(card.pk)],
            "methodId": [str(card.pk)],
            "productId": [product.pk],
            "quoteId": [str(quote.pk)],
            "airport": ["LHR"],
            "dropOff": local,
            "return": local[::-1],
            "paymentIntentId": [awaited.provider_ref],
            "previewToken": [preview_cancellation(paid, now=now).token],
            "X-Guest-Token": [guests.guest_token],
            "refresh": [accounts.issue_tokens(self.ada).refresh],
            "email": [self.ada.email],
            "password": [password],
            "phone": ["+447700900123"],
            "plate": ["AB12CDE"],
            "to": ["+447700900124", "ben@example.com"],
            "templateKey": ["welcome", "booking_confirmation"],
        }

    def headers(self, role: str) -> dict[str, str]:
        user = {"customer": self.ada, "staff": self.sam}.get(role)
        own = {"Authorization": f"Bearer {accounts.issue_tokens(user).access}"} if user else {}
        return {**own, "Accept-Encoding": "identity"}  # nothing on the way here unpacks


@pytest.fixture
def world(sandbox: Any, settings: Any) -> Any:
    settings.RATELIMIT_ENABLE = settings.RATE_LIMITS_ENABLED = False
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    yield World()
    call_command("audit_books")


@functools.cache
def schema() -> Any:
    config = schemathesis.Config.from_dict({"generation": {"with-security-parameters": False}})
    return schemathesis.openapi.from_wsgi("/api/schema", application, config=config)


def operations(*, money: bool) -> list[Any]:
    every = [found.ok() for found in schema().get_all_operations()]
    return [one for one in every if bool(MONEY & set(one.definition.raw["tags"])) is money]


def put_known(value: Any, known: dict[str, list[Any]], chance: random.Random) -> None:
    """Name things that exist instead of made-up ones, wherever the field is one of theirs, three times out of four."""
    for name in list(value) if value else ():
        if isinstance(value[name], dict):
            put_known(value[name], known, chance)
        elif name in known and chance.random() < 0.75:
            value[name] = chance.choice(known[name])


def ask(operation: Any, mode: GenerationMode, world: World, role: str) -> tuple[Counter[int], list[str]]:
    """Ask one call EXAMPLES times; return the statuses and what was wrong."""
    statuses: Counter[int] = Counter()
    wrong: list[str] = []
    headers = world.headers(role)
    chance = random.Random(f"{operation.label} {role}")  # noqa: S311 - the same questions every time

    @hypothesis_settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],  # no shrinking: the state has moved on
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def asked(case: Any) -> None:
        if mode is GenerationMode.POSITIVE:
            for part in (case.path_parameters, case.query, case.headers, case.body):
                if hasattr(part, "keys"):
                    put_known(part, world.known, chance)
        response = case.call(headers=headers)
        statuses[response.status_code] += 1
        try:
            case.validate_response(response, checks=CHECKS)
        except FailureGroup as group:
            wrong.extend(
                f"{role}, {operation.label}: {failure}\n{case.as_curl_command()}"
                for failure in group.exceptions
            )

    try:
        asked()
    except Unsatisfiable:  # a call that takes nothing cannot be asked wrongly
        assert mode is GenerationMode.NEGATIVE
    return statuses, wrong


@pytest.mark.parametrize("area", ["shop", "money"])
@pytest.mark.parametrize("role", ["guest", "customer", "staff"])
def test_every_answer_is_one_that_the_schema_names(world: World, role: str, area: str) -> None:
    found = operations(money=area == "money")
    assert len(found) >= 10
    wrong: list[str] = []
    total: Counter[int] = Counter()
    for operation in found:
        for mode in GenerationMode:
            statuses, failures = ask(operation, mode, world, role)
            total += statuses
            wrong += failures
            if os.environ.get("SCHEMA_EXAMPLES"):
                print(f"{role:9}{mode.value:9}{operation.label:55}{dict(sorted(statuses.items()))}")  # noqa: T201
    print(f"{role}, {area}: {len(found)} calls, {total.total()} cases, {dict(sorted(total.items()))}")  # noqa: T201
    assert total.total() >= len(found) * EXAMPLES // 2
    assert not wrong, f"{len(wrong)} answers differ from the schema:\n\n" + "\n\n".join(wrong[:30])
