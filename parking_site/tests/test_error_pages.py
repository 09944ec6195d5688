"""What people see when something is not there, not theirs, or broken."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from django.urls import reverse

from accounts.models import User

pytestmark = pytest.mark.django_db


@pytest.fixture
def boss(client: Client) -> Client:
    client.force_login(User.objects.create_superuser(email="boss@example.com", password="long-enough-phrase"))
    return client


def page(client: Client, path: str) -> tuple[int, str]:
    client.raise_request_exception = False
    answer = client.get(path, headers={"X-Request-ID": "support-case-17"})
    return answer.status_code, answer.content.decode()


def broken(error: Exception) -> Any:
    def view(*_: Any, **__: Any) -> None:
        raise error

    return view


def test_a_customer_finds_the_way_back_and_an_id_to_quote(client: Client) -> None:
    status, text = page(client, "/nowhere")
    assert status == 404
    assert f'href="{reverse("bookings:home")}"' in text
    assert 'quote <span class="mono">support-case-17</span>' in text


def test_staff_find_the_way_back_to_the_admin(boss: Client) -> None:
    status, text = page(boss, "/admin/nowhere/")
    assert status == 404
    assert f'href="{reverse("admin:index")}"' in text
    assert "belongs to someone else" not in text
    assert "support-case-17" in text


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("secret 4242"), 500), (OperationalError("secret 4242"), 503)]
)
def test_what_breaks_says_so_without_the_reason(
    boss: Client, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    monkeypatch.setattr("parking_site.dashboards.system_figures", broken(error))
    answered, text = page(boss, reverse("admin:index"))
    assert answered == status
    assert "support-case-17" in text
    assert "Back to today" in text
    assert "4242" not in text
