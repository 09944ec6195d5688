"""Staff who press the same button at the same moment."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.urls import reverse

from communications.models import MessageTemplate
from communications.services import wording

pytestmark = pytest.mark.django_db(transaction=True)


def save_at_once(template: MessageTemplate, bodies: list[str]) -> list[int]:
    """Post each body as somebody's new words, all based on version 1; return the answers' statuses."""
    page = reverse("admin:communications_messagetemplate_change", args=[template.pk])
    clients = []
    for number, _body in enumerate(bodies):
        client = Client()
        client.force_login(get_user_model().objects.create_superuser(f"s{number}@example.com", "x" * 12))
        clients.append(client)
    start, answers = threading.Barrier(len(bodies)), []

    def save(client: Client, body: str) -> None:
        given = {"subject": "S", "heading": "H", "body": body, "button_label": "", "button_variable": ""}
        start.wait()
        try:
            answers.append(client.post(page, {**given, "based_on": "1"}).status_code)
        finally:
            connection.close()

    threads = [threading.Thread(target=save, args=each) for each in zip(clients, bodies, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return sorted(answers)


@pytest.fixture
def template(db: None) -> MessageTemplate:
    wording.install_default_templates()
    return MessageTemplate.objects.get(kind="welcome", channel="email", language="en")


def test_of_those_who_save_at_once_one_is_first_and_the_others_are_told(template: MessageTemplate) -> None:
    assert save_at_once(template, [f"Words {number}" for number in range(4)]) == [200, 200, 200, 302]
    assert template.versions.count() == 2


def test_pressing_save_twice_makes_one_version(template: MessageTemplate) -> None:
    assert save_at_once(template, ["The same words"] * 4) == [302] * 4
    assert template.versions.count() == 2


def test_without_the_lock_they_would_overwrite_each_other(
    template: MessageTemplate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: what only looks before it saves, lets more than one through."""
    from communications.admin.templates import MessageTemplateAdmin, WordsForm

    def unlocked(self: Any, request: Any, object_id: Any = None, *given: Any, **more: Any) -> Any:
        return super(MessageTemplateAdmin, self).changeform_view(request, object_id, *given, **more)

    everybody_looked = threading.Barrier(2)
    looked = WordsForm.clean

    def slowly(self: Any) -> Any:
        cleaned = looked(self)
        everybody_looked.wait(30)
        return cleaned

    monkeypatch.setattr(MessageTemplateAdmin, "changeform_view", unlocked)
    monkeypatch.setattr(WordsForm, "clean", slowly)
    monkeypatch.setattr(
        MessageTemplateAdmin,
        "save_model",
        lambda self, request, obj, form, change: wording.save_version(obj, form.draft, by=request.user),
    )
    assert save_at_once(template, ["Words 0", "Words 1"]) == [302, 302]
    assert template.versions.count() == 3
