"""Every language that ships says everything, in valid words, and the compiled sentences are the written ones."""

from __future__ import annotations

import io
from typing import Any

import pytest
from babel.messages.extract import extract, extract_from_file
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from django.conf import settings
from django.test import Client, RequestFactory
from django.utils.translation.template import templatize

from accounts.models import User
from bookings.models import Booking
from bookings.services.messages import queue_booking_confirmation
from bookings.tests.test_amend import confirmed
from communications import words
from communications.catalogue import EMAIL, KINDS, SMS
from communications.models import Message, MessageTemplate
from communications.rendering import sms_segments
from communications.services import outbox
from communications.services.wording import Draft, check_draft, install_default_templates, preview
from communications.tests.conftest import wire as provider_wire
from foundation.languages import known_language, language_of
from payments.causes import CAUSES

LANGUAGES = [code for code, _name in settings.MESSAGE_LANGUAGES]
# Every sentence of these reaches customers, in a message or on a paper that comes with one.
WRITERS = (
    "bookings/services/messages.py",
    "communications/services/answering.py",
    "payments/paper/receipt.py",
    "payments/paper/sheet.py",
    "payments/services/documents.py",
    "payments/services/messages.py",
)
LAYOUTS = ("templates/communications/email/layout.html", "templates/communications/email/layout.txt")
wire = provider_wire
# What does not fit one SMS with our samples: sentences about money that must be whole, and links of guests, which are long.
IN_TWO = {
    "cancellation",
    "refund_issued",
    "amendment_not_made",
    "emergency_alert",
    "return_reminder",
    "drop_off_reminder",
}


def test_what_ships_is_what_is_offered() -> None:
    assert sorted(words.languages()) == sorted(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_has_valid_words_for_every_kind_and_channel(language: str) -> None:
    said = words.languages()[language]
    wanted = {(kind.code, channel) for kind in KINDS.values() for channel in kind.channels}
    assert set(said) == wanted
    for (kind, channel), one in said.items():
        check_draft(Draft(**vars(one)), kind=KINDS[kind], channel=channel)
        assert (channel == EMAIL) == bool(one.subject), (kind, channel)


@pytest.mark.django_db
@pytest.mark.parametrize("language", LANGUAGES)
def test_sms_are_short_and_plain(language: str) -> None:
    install_default_templates()
    for template in MessageTemplate.objects.filter(channel=SMS, language=language):
        text = preview(template).text
        assert sms_segments(text) <= (2 if template.kind in IN_TWO else 1), (template.kind, len(text), text)
        # UCS-2 would take one segment for 70 characters: every letter of our words is in GSM-7.
        assert sms_segments(text) == max(1, -(-len(text) // 153) if len(text) > 160 else 1), text


@pytest.mark.parametrize("language", [code for code in LANGUAGES if code != "en"])
def test_the_compiled_sentences_are_the_written_ones_and_none_is_missing(language: str) -> None:
    folder = settings.BASE_DIR / "locale" / language / "LC_MESSAGES"
    with (folder / "django.po").open("rb") as file:
        catalog = read_po(file, locale=language)
    compiled = io.BytesIO()
    write_mo(compiled, catalog)
    assert compiled.getvalue() == (folder / "django.mo").read_bytes(), (
        "compile it: pybabel compile -d locale -D django"
    )
    translated = {message.id: message.string for message in catalog if message.id}
    assert all(translated.values())
    written = {
        found[1]
        for path in WRITERS
        for found in extract_from_file("python", settings.BASE_DIR / path, keywords={"_": None})
    }
    for path in LAYOUTS:
        labels = templatize((settings.BASE_DIR / path).read_text()).encode()
        found = {
            one[1] for one in extract("python", io.BytesIO(labels), keywords={"_": None, "gettext": None})
        }
        assert found, path
        written |= found
    assert written <= set(translated), written - set(translated)
    customers = {str(cause.customer) for cause in CAUSES.values()}
    assert customers <= set(translated), customers - set(translated)


def asked(header: str, user: Any = None) -> str:
    request = RequestFactory().get("/", headers={"Accept-Language": header})
    request.user = user
    return language_of(request)


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("de-AT,de;q=0.9", "de"),
        ("fr, de;q=0.5, en;q=0.4", "de"),
        ("en-GB", "en"),
        ("fr", "en"),
        ("", "en"),
        ("x" * 9000, "en"),
        (";;q=", "en"),
    ],
)
def test_the_browsers_first_language_that_we_write(header: str, language: str) -> None:
    assert asked(header) == language


def test_the_accounts_language_goes_first() -> None:
    assert asked("en", User(language="de")) == "de"
    assert asked("de", User(language="fr")) == "de"
    assert known_language("de_CH") == "de"


@pytest.mark.django_db
def test_a_german_guest_is_written_to_in_german(wire: Any) -> None:
    install_default_templates()
    booking = confirmed()
    Booking.objects.filter(pk=booking.pk).update(language="de")
    booking.refresh_from_db()
    Message.objects.all().delete()
    queue_booking_confirmation(booking)
    for message in Message.objects.all():
        outbox.send(message.pk, now=message.queued_at)
    mail = next(one for one in wire.received if "content" in one)
    text, html = (
        next(part["value"] for part in mail["content"] if part["type"] == kind)
        for kind in ("text/plain", "text/html")
    )
    assert "Ihre Buchung steht" in html
    assert 'lang="de"' in html
    for german in ("Abgabe", "Abholung", "Ortszeit London", "Kennzeichen", "Mi., 3. Juni 2026"):
        assert german in text, german
    for english in ("Drop-off", "Return", "Local times", "Wed"):
        assert english not in text, english
    sms = next(one for one in wire.received if "Body" in one)
    assert "ist gebucht" in sms["Body"]


@pytest.mark.django_db
def test_pages_stay_english_for_a_german_browser() -> None:
    answer = Client().get("/", headers={"Accept-Language": "de"})
    assert 'lang="en"' in answer.content.decode()
    assert "Find parking" in answer.content.decode()
