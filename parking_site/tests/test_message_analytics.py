"""Analytics for programs and staff: who may see them, that the numbers are the log's, and where each figure leads."""

from __future__ import annotations

import csv
import random
import re
from datetime import UTC, date, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.models import User
from communications.models import Message
from communications.tests.test_counts import KINDS, LONDON, WAYS, write
from foundation.models import AuditEntry

pytestmark = pytest.mark.django_db
CALL = "/api/communication/analytics"
SPRING = date(2026, 3, 29)  # 23 hours long in London


@pytest.fixture
def log() -> list[Message]:
    """Two hundred messages around the change of clocks, one of them with a reason that a spreadsheet would run."""
    chance = random.Random(11)  # noqa: S311
    start = datetime(2026, 3, 28, 20, tzinfo=UTC)
    for number in range(120):
        write(
            number,
            start + timedelta(minutes=chance.randrange(60 * 40)),
            kind=chance.choice(KINDS),
            channel=chance.choice(["email", "sms"]),
            status=chance.choice(list(WAYS)),
            chance=chance,
        )
    nasty = Message.objects.filter(status="suppressed").first()
    assert nasty is not None
    Message.objects.filter(pk=nasty.pk).update(error_code='=HYPERLINK("http://evil")')
    return list(Message.objects.all())


@pytest.fixture
def vic() -> User:
    user = User.objects.create_user("vic@staff.example", "rather-long-Secret-7", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_message"))
    return user


def client_of(user: User) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {accounts.issue_tokens(user).access}")
    return client


def on(row: Message) -> date:
    return row.queued_at.astimezone(LONDON).date()


def test_only_staff_who_may_view_messages_see_them(client: Client, vic: User) -> None:
    ada = User.objects.create_user("ada@example.com", "rather-long-Secret-7")
    assert APIClient().get(CALL).status_code == 401
    assert client_of(ada).get(CALL).status_code == 403
    ada.user_permissions.set(Permission.objects.filter(codename="view_message"))
    assert client_of(User.objects.get(pk=ada.pk)).get(CALL).status_code == 403, (
        "the permission alone makes nobody staff"
    )
    assert client_of(vic).get(CALL).status_code == 200
    sam = User.objects.create_user("sam@staff.example", "rather-long-Secret-7", is_staff=True)
    page = reverse("admin:communications_messagecount_changelist")
    client.force_login(sam)
    assert client.get(page).status_code == 403
    client.force_login(vic)
    assert client.get(page).status_code == 200


def test_the_api_counts_what_the_log_holds(log: list[Message], vic: User) -> None:
    api = client_of(vic)
    for query, rows in [
        ({}, log),
        ({"from": "2026-03-29", "to": "2026-03-29"}, [row for row in log if on(row) == SPRING]),
        ({"to": "2026-03-28", "channel": "sms"}, [row for row in log if on(row) < SPRING and row.channel == "sms"]),
        ({"from": "2026-03-30", "kind": KINDS[0]}, [row for row in log if on(row) > SPRING and row.kind == KINDS[0]]),
        ({"from": "2030-01-01"}, []),
    ]:  # fmt: skip
        told = api.get(CALL, query).json()
        assert told["timezone"] == "Europe/London"
        assert told["total"] == len(rows)
        for status, count in told["statuses"].items():
            assert count == sum(row.status == status for row in rows), (query, status)
        assert told["optedOut"] == sum(
            row.status == "suppressed" and row.error_code in ("no_consent", "opted_out") for row in rows
        )
        assert sum(told["suppressedReasons"].values()) == told["statuses"]["suppressed"]
        price = sum(row.price or 0 for row in rows)
        assert sum(float(one["amount"]) for one in told["smsCost"]) == pytest.approx(float(price))
        assert told["smsSegments"] == sum(row.segments or 0 for row in rows)
        left = [row for row in rows if row.status in ("sent", "maybe_sent", "delivered", "bounced", "failed")]
        rate = sum(row.status == "delivered" for row in left) / len(left) if left else None
        assert told["deliveryRate"] == (None if rate is None else pytest.approx(rate, abs=0.0001))
        assert not (told["days"] and told["months"])
        for name in ("channels", "kinds", "months" if told["months"] else "days"):
            assert sum(part["total"] for part in told[name]) == told["total"]
            assert sum(part["statuses"]["bounced"] for part in told[name]) == told["statuses"]["bounced"]


@pytest.mark.parametrize(
    "query",
    ["from=yesterday", "to=2026-13-01", "from=2026-02-02&to=2026-02-01", "channel=fax", "kind=nothing", "by=day",
     "from=2026-03-29T00:00:00Z", "from=10000-01-01"],
)  # fmt: skip
def test_a_question_that_is_none_is_refused_by_name(vic: User, query: str) -> None:
    answer = client_of(vic).get(f"{CALL}?{query}")
    assert answer.status_code == 400, answer.content
    assert answer.json()["errors"]


def test_every_figure_leads_to_exactly_its_messages(log: list[Message], client: Client, vic: User) -> None:
    """Follow each link of the page and count what the list shows."""
    client.force_login(vic)
    page = reverse("admin:communications_messagecount_changelist")
    for query in (
        "?period=all",
        "?first=2026-03-29&last=2026-03-29",
        "?first=2026-03-28&last=2026-03-29&channel=sms",
    ):
        text = client.get(page + query).content.decode()
        cells = re.findall(r'<a href="([^"]*communications/message/\?[^"]+)">([\d,]+)</a>', text)
        cards = re.findall(
            r'<a class="ops-card[^"]*" href="([^"]+)">\s*<span class="ops-label">[^<]*</span>\s*<span class="ops-figure">([\d,]+)</span>',
            text,
        )
        assert len(cards) == 8 and len(cells) > 10, text
        for link, told in {*cards, *cells}:
            shown = client.get(unescape(link))
            assert shown.status_code == 200, link
            assert shown.context["cl"].result_count == int(told.replace(",", "")), link


def test_the_page_starts_with_thirty_days_and_takes_strange_wishes_calmly(client: Client, vic: User) -> None:
    client.force_login(vic)
    page = reverse("admin:communications_messagecount_changelist")
    assert "No messages in these days" in client.get(page).content.decode()
    for query, status in [
        ("?first=nonsense", 400),
        ("?first=2026-02-02&last=2026-02-01", 400),
        ("?kind=nothing&period=7", 400),
        ("?first=0001-01-01&last=9999-12-31", 200),
        ("?first=%00", 400),
        ("?period=nonsense", 200),
    ]:
        assert client.get(page + query).status_code == status, query


def test_an_endless_range_draws_what_there_is(log: list[Message], client: Client, vic: User) -> None:
    client.force_login(vic)
    page = reverse("admin:communications_messagecount_changelist")
    answer = client.get(page, {"first": "0001-01-01", "last": "9999-12-31"})
    assert answer.status_code == 200
    assert sum(bar.tally.total for bar in answer.context["chart"].bars) == len(log)
    assert len(answer.context["chart"].bars) < 50


def test_the_spreadsheet_adds_up_and_runs_nothing(log: list[Message], client: Client, vic: User) -> None:
    client.force_login(vic)
    page = reverse("admin:communications_messagecount_changelist")
    answer: Any = client.get(page, {"period": "all", "format": "csv"})
    assert answer["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(b"".join(answer.streaming_content).decode().splitlines()))
    assert sum(int(row["messages"]) for row in rows) == len(log)
    assert sum(int(row["messages"]) for row in rows if row["status"] == "bounced") == sum(
        one.status == "bounced" for one in log
    )
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@"))]
    assert any(row["reason"].startswith("'=HYPERLINK") for row in rows)
    assert AuditEntry.objects.filter(action="message_analytics.exported", actor=vic).exists()


@pytest.mark.parametrize(
    "query", [{"to": "9999-12-31"}, {"from": "9999-12-31"}, {"from": "0001-01-01", "to": "9999-12-31"}]
)
def test_the_ends_of_the_calendar_are_only_long_periods(
    log: list[Message], vic: User, client: Client, query: dict[str, str]
) -> None:
    told = client_of(vic).get(CALL, query)
    assert told.status_code == 200
    assert told.json()["total"] == (0 if query.get("from", "").startswith("9999") else len(log))
    client.force_login(vic)
    page = reverse("admin:communications_messagecount_changelist")
    given = {"first": query.get("from", ""), "last": query.get("to", "")}
    assert client.get(page, given).status_code == 200
