from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError

from communications import rendering
from communications.catalogue import KINDS
from communications.models import MessageTemplate, TemplateVersion
from communications.services import wording
from communications.services.wording import Draft
from communications.words import en

pytestmark = pytest.mark.django_db


@pytest.fixture
def template(db: None) -> MessageTemplate:
    wording.install_default_templates()
    return MessageTemplate.objects.get(kind="booking_confirmation", channel="email", language="en")


def test_every_kind_and_channel_has_english_words_that_may_be_saved() -> None:
    wanted = {(kind.code, channel) for kind in KINDS.values() for channel in kind.channels}
    assert set(en.TEMPLATES) == wanted
    for (kind, channel), words in en.TEMPLATES.items():
        wording.check_draft(Draft(**vars(words)), kind=KINDS[kind], channel=channel)


def test_every_sms_fits_into_one_segment_with_its_sample() -> None:
    wording.install_default_templates()
    for template in MessageTemplate.objects.filter(channel="sms"):
        text = wording.preview(template).text
        assert rendering.sms_segments(text) == 1, (len(text), text)


def test_staffs_words_survive_another_installation(template: MessageTemplate) -> None:
    wording.save_version(template, Draft(subject="Ours", body="Our words"), by=None)
    wording.install_default_templates()
    assert (template.current.number, template.current.body) == (2, "Our words")
    assert wording.install_default_templates() == 0


def test_an_unknown_placeholder_is_refused_and_the_nearest_named(template: MessageTemplate) -> None:
    with pytest.raises(ValidationError) as refused:
        wording.save_version(template, Draft(subject="x", body="Hello {{ custmer_name }}"), by=None)
    assert "customer_name" in str(refused.value.message_dict["body"])
    assert template.current.number == 1


@pytest.mark.parametrize("subject", ["Hi\r\nBcc: eve@example.com", "Hi\nthere", ""])
def test_a_subject_is_one_line(template: MessageTemplate, subject: str) -> None:
    with pytest.raises(ValidationError) as refused:
        wording.save_version(template, Draft(subject=subject, body="x"), by=None)
    assert "subject" in refused.value.message_dict


def test_template_language_is_inert(template: MessageTemplate) -> None:
    wording.save_version(
        template,
        Draft(subject="x", body="{% load static %}{% debug %} {{ customer_name }} <b>bold</b>"),
        by=None,
    )
    shown = wording.preview(template, variables={"customer_name": "{{ total }}<script>alert(1)</script>"})
    assert "{% debug %}" in shown.html and "{{ total }}" in shown.html
    assert "<script" not in shown.html and "<b>" not in shown.html
    with pytest.raises(ValidationError):
        wording.save_version(template, Draft(subject="x", body="{{ settings.SECRET_KEY }}"), by=None)
    with pytest.raises(ValidationError):
        wording.save_version(template, Draft(subject="x", body="{{ customer_name|safe }}"), by=None)


def test_a_value_cannot_start_a_header(template: MessageTemplate) -> None:
    shown = wording.preview(template, variables={"reference": "A\r\nBcc: eve@example.com"})
    assert "\n" not in shown.subject and "\r" not in shown.subject


def test_only_web_addresses_become_links(template: MessageTemplate) -> None:
    shown = wording.preview(template, variables={"manage_url": "javascript:alert(1)"})
    assert "javascript:" not in shown.html


def test_the_plain_text_says_the_same(template: MessageTemplate) -> None:
    text = wording.preview(template).text
    for word in (
        "AP-7F3K2Q",
        "LHR",
        "London time",
        "AB12 CDE",
        "https://parking.example/b/AP-7F3K2Q/mfzw",
    ):
        assert word in text


def test_the_same_words_make_no_new_version(template: MessageTemplate) -> None:
    draft = Draft(**vars(en.TEMPLATES["booking_confirmation", "email"]))
    wording.save_version(template, draft, by=None)
    assert TemplateVersion.objects.filter(template=template).count() == 1


@pytest.mark.parametrize(
    ("text", "segments"),
    [("a" * 160, 1), ("a" * 161, 2), ("€" * 80, 1), ("€" * 81, 2), ("ж" * 70, 1), ("ж" * 71, 2)],
)
def test_segments_are_counted_as_the_network_does(text: str, segments: int) -> None:
    assert rendering.sms_segments(text) == segments
