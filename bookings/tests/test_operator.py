"""The operator: what receipts name."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from bookings.models import Operator

pytestmark = pytest.mark.django_db
WHOLE = {
    "name": "Runway", "legal_name": "Runway Parking Ltd", "address": "1 Perimeter Road\nHounslow", "email": "",
    "phone_0": "", "phone_1": "", "phone": "", "vat_number": "GB123456789", "vat_percent": "20",
}  # fmt: skip


@pytest.fixture
def boss(client: Client) -> Client:
    client.force_login(User.objects.create_superuser(email="boss@example.com", password="long-enough-phrase"))
    return client


def complaints(boss: Client, **changes: Any) -> list[str]:
    """Save an operator in the admin; return the fields that were complained of."""
    answer = boss.post(reverse("admin:bookings_operator_add"), WHOLE | changes)
    return [] if answer.status_code == 302 else sorted(answer.context["adminform"].form.errors)


@pytest.mark.parametrize("field", ["legal_name", "address", "vat_number"])
def test_a_vat_rate_wants_what_a_receipt_with_vat_must_show(boss: Client, field: str) -> None:
    assert complaints(boss, **{field: " "}) == [field]
    assert not Operator.objects.exists()


def test_whole_data_and_no_vat_at_all_are_saved(boss: Client) -> None:
    bare = {"name": "Small", "legal_name": "", "address": "", "vat_number": "", "vat_percent": ""}
    assert complaints(boss) == complaints(boss, **bare) == []
    assert sorted(Operator.objects.values_list("name", flat=True)) == ["Runway", "Small"]
