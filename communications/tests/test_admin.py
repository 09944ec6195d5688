from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from communications.models import Message, MessageTemplate
from communications.services import outbox, wording
from communications.services.outbox import queue_message

pytestmark = pytest.mark.django_db


@pytest.fixture
def template(db: None) -> MessageTemplate:
    wording.install_default_templates()
    return MessageTemplate.objects.get(kind="booking_confirmation", channel="email", language="en")


def staff(*rights: str) -> Client:
    user = get_user_model().objects.create_user("sam@example.com", "x" * 12, is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(content_type__app_label="communications", codename__in=rights)
    )
    client = Client()
    client.force_login(user)
    return client


WRITER = ("view_messagetemplate", "change_messagetemplate", "view_message", "change_message")
VIEWER = ("view_messagetemplate", "view_message")


def words(**changes: str) -> dict[str, str]:
    return {
        "subject": "Booked",
        "heading": "Hello",
        "body": "Dear {{ customer_name }},\r\n\r\nsee you.",
        "button_label": "",
        "button_variable": "",
        **changes,
    }


def test_saving_words_makes_a_version_with_who(template: MessageTemplate) -> None:
    address = reverse("admin:communications_messagetemplate_change", args=[template.pk])
    client = staff(*WRITER)
    assert client.get(address).status_code == 200
    assert client.post(address, words()).status_code == 302
    current = template.current
    assert (current.number, current.created_by.email, current.subject) == (2, "sam@example.com", "Booked")


def test_an_unknown_placeholder_is_explained_on_the_form(template: MessageTemplate) -> None:
    address = reverse("admin:communications_messagetemplate_change", args=[template.pk])
    answer = staff(*WRITER).post(address, words(body="Dear {{ custmer_name }}"))
    assert answer.status_code == 200
    assert "Did you mean" in answer.content.decode()
    assert template.current.number == 1


def test_a_viewer_may_look_but_not_write_or_send(template: MessageTemplate) -> None:
    client = staff(*VIEWER)
    address = reverse("admin:communications_messagetemplate_change", args=[template.pk])
    preview = reverse("admin:communications_messagetemplate_preview", args=[template.pk])
    assert client.get(address).status_code == 200
    assert client.post(address, words()).status_code == 403
    assert client.get(preview).status_code == 200
    assert client.post(preview, {"send_to": "sam@example.com"}).status_code == 403
    assert not Message.objects.exists()


def test_the_preview_shows_samples_or_a_real_booking(template: MessageTemplate) -> None:
    queue_message(
        kind="booking_confirmation",
        channel="email",
        to="ada@example.com",
        variables={"customer_name": "<script>alert(1)</script>", "reference": "AP-QQQQQ2"},
        dedupe_key="x",
        reference="AP-QQQQQ2",
    )
    preview = reverse("admin:communications_messagetemplate_preview", args=[template.pk])
    client = staff(*WRITER)
    assert "AP-7F3K2Q" in client.get(preview).content.decode()
    page = client.get(preview, {"reference": "ap-qqqqq2"}).content.decode()
    assert "AP-QQQQQ2" in page and "<script>alert" not in page
    assert "<iframe sandbox srcdoc=" in page
    assert client.get(preview, {"reference": "nothing\x00"}).status_code in (200, 400)


def test_an_sms_preview_counts_segments(template: MessageTemplate) -> None:
    sms = MessageTemplate.objects.get(kind="booking_confirmation", channel="sms", language="en")
    client = staff(*WRITER)
    preview = reverse("admin:communications_messagetemplate_preview", args=[sms.pk])
    assert "1 SMS" in client.get(preview).content.decode()
    address = reverse("admin:communications_messagetemplate_change", args=[sms.pk])
    assert client.post(address, {"body": "Hi {{ reference }}"}).status_code == 302
    assert sms.current.body == "Hi {{ reference }}"


def test_a_test_message_is_queued(template: MessageTemplate) -> None:
    preview = reverse("admin:communications_messagetemplate_preview", args=[template.pk])
    client = staff(*WRITER)
    client.post(preview, {"send_to": "not an address"})
    assert not Message.objects.exists()
    client.post(preview, {"send_to": "sam@example.com"})
    assert Message.objects.get().to == "sam@example.com"


def test_messages_are_read_only_and_can_be_sent_again(template: MessageTemplate, wire: Any) -> None:
    message = queue_message(
        kind="welcome", channel="email", to="ada@example.com", variables={}, dedupe_key="w"
    )
    assert message is not None
    wire.answers = [400]
    outbox.send(message.pk, now=message.due_at)
    client = staff(*WRITER)
    listing = reverse("admin:communications_message_changelist")
    assert "ada@example.com" in client.get(listing, {"q": "ada@"}).content.decode()
    page = client.get(reverse("admin:communications_message_change", args=[message.pk]))
    assert page.status_code == 200
    assert client.post(page.request["PATH_INFO"], {"to": "eve@example.com"}).status_code == 403
    client.post(listing, {"action": "send_again", "_selected_action": [str(message.pk)]})
    message.refresh_from_db()
    assert (message.status, message.to) == ("queued", "ada@example.com")
