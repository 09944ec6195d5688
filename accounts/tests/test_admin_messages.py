"""A person's messages: who may hand them over or erase them, and what is left."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from accounts.models import User
from communications.catalogue import KINDS
from communications.models import Message
from communications.services import wording
from communications.services.outbox import queue_message
from foundation.models import AuditEntry

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada(db: None) -> User:
    wording.install_default_templates()
    ada = User.objects.create_user("ada@example.com", "x" * 12, name="=Ada", phone="+442079460123")
    for channel, to in (("email", "Ada@example.com"), ("sms", "+442079460123"), ("email", "ben@example.com")):
        queue_message(
            kind="booking_confirmation",
            channel=channel,
            to=to,
            to_name="=Ada",
            variables=dict(KINDS["booking_confirmation"].sample),
            dedupe_key=f"{channel}:{to}",
        )
    return ada


def staff(*rights: str) -> Client:
    user = User.objects.create_user(f"sam{len(rights)}@example.com", "x" * 12, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=("view_user", *rights)))
    client = Client()
    client.force_login(user)
    return client


def page(name: str, user: User) -> str:
    return reverse(f"admin:accounts_user_messages{name}", args=[user.pk])


def body_of(answer: Any) -> str:
    return b"".join(answer.streaming_content).decode()


def test_everything_to_and_from_the_person_is_handed_over_and_nothing_else(ada: User) -> None:
    client = staff("export_person")
    assert "Download" in client.get(page("", ada)).content.decode()
    answer = client.post(page("_export", ada), {"format": "json"})
    rows = [json.loads(line) for line in body_of(answer).splitlines()]
    assert sorted(row["address"] for row in rows) == ["+442079460123", "Ada@example.com"]
    assert "attachment" in answer["Content-Disposition"] and "no-store" in answer["Cache-Control"]
    link = KINDS["booking_confirmation"].sample["manage_url"]
    Message.objects.filter(to="Ada@example.com").update(body_text=f"Change it: {link}")
    assert link not in body_of(client.post(page("_export", ada), {"format": "json"})), (
        "it acts for the customer"
    )
    answer = client.post(page("_export", ada), {"format": "csv"})
    assert len(body_of(answer).splitlines()) == 3
    assert AuditEntry.objects.filter(action="messages_exported").count() == 3
    assert client.post(page("_export", ada), {"format": "exe"}).status_code == 302


def test_messages_are_erased_with_a_reason_by_who_may_and_names_the_person(ada: User) -> None:
    client = staff("erase_person")
    good = {"reason": "She asked for it", "email": " ADA@example.com "}
    for bad in ({**good, "reason": ""}, {**good, "email": "ben@example.com"}, {}):
        assert client.post(page("_erase", ada), bad).status_code == 400
    assert Message.objects.filter(to="").count() == 0
    assert client.get(page("_erase", ada)).status_code == 302, "looking erases nothing"
    assert client.post(page("_erase", ada), good).status_code == 302
    assert client.post(page("_erase", ada), good).status_code == 302, "a second press finds nothing more"
    assert set(Message.objects.values_list("to", "status")) == {
        ("", "suppressed"),
        ("ben@example.com", "queued"),
    }
    entry = AuditEntry.objects.filter(action="messages_erased").earliest("at")
    assert (entry.reason, entry.data["messages"]) == ("She asked for it", 2)


def test_without_the_permission_neither_is_offered_or_done(ada: User) -> None:
    client = staff()
    shown = client.get(reverse("admin:accounts_user_change", args=[ada.pk])).content.decode()
    assert "messages-page" not in shown
    for name in ("", "_export", "_erase"):
        assert client.post(page(name, ada)).status_code == 403
    exporter = staff("export_person")
    assert exporter.post(page("_erase", ada), {"reason": "x", "email": ada.email}).status_code == 403
    assert exporter.get(reverse("admin:accounts_user_messages", args=[999999])).status_code == 404
    assert exporter.get("/admin/accounts/user/nonsense/messages/").status_code == 404
    assert (
        Message.objects.filter(to="ben@example.com").exists() and not Message.objects.filter(to="").exists()
    )
