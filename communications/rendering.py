"""Turning a template's words and a message's variables into mail and SMS.

Staff's text knows one thing: {{ name }}, a name of the catalogue. It is never compiled by Django's template language.
"""

from __future__ import annotations

import logging
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from django.core.exceptions import ValidationError
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.html import conditional_escape, escape, format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from premailer import Premailer

from communications.catalogue import EMAIL, Kind, site_variables
from communications.models import TemplateVersion

PLACEHOLDER = re.compile(r"\{\{([^{}]*)\}\}")
HIDDEN = "•••"
QR_CONTENT_ID = "booking-qr"
LINE = 72  # of the plain text
PREHEADER = 120  # what inboxes show of a mail beside its subject; then BLANK, else they go on with the top of the mail
BLANK = mark_safe("&#847;&zwnj;&nbsp;" * 60)  # noqa: S308 - ours
# What the layout itself says of a booking and of us. Staff's words may use every variable of their kind.
IN_LAYOUT = (
    *("site_name", "support_email", "support_phone", "postal_address"),
    *("airport_iata", "airport_name", "car_park_name", "reference", "plate", "timezone_name"),
    *("drop_off_local", "drop_off_time", "drop_off_date", "return_local", "return_time", "return_date"),
)
# Filled into the laid out mail, so it brings its style along; the class is for the dark.
LINK = '<a href="{}" class="link" style="color:#1C1C1E">{}</a>'
_FACT = re.compile(r"([^:{}.?!,]{1,30}):[ \t]+(\S.*)")
_SLOT = re.compile("slot([0-9]+)q")
_GSM7 = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM7_EXTENDED = frozenset("\f^{}\\[~]|€")
_TO_GSM7 = str.maketrans(
    {
        "‘": "'",  # noqa: RUF001
        "’": "'",  # noqa: RUF001
        "“": '"',
        "”": '"',
        "–": "-",  # noqa: RUF001
        "—": "-",
        "→": ">",
        "…": "...",
        "·": "-",
        "\u00a0": " ",
    }
)


@dataclass(frozen=True)
class Rendered:
    """A message ready to leave. For SMS only `text` is filled."""

    subject: str
    text: str
    html: str


def check_placeholders(text: str, kind: Kind) -> None:
    """Raise ValidationError when the text names a word that this kind of message does not have; the nearest is offered."""
    for match in PLACEHOLDER.finditer(text):
        name = match.group(1).strip()
        if name not in kind.by_name:
            near = get_close_matches(name, kind.by_name, n=1, cutoff=0.4)
            if near:
                raise ValidationError(
                    _("“{{ %(name)s }}” is not known here. Did you mean “{{ %(near)s }}”?")
                    % {"name": name[:40], "near": near[0]}
                )
            raise ValidationError(
                _("“{{ %(name)s }}” is not known here. Known are: %(known)s.")
                % {"name": name[:40], "known": ", ".join(kind.by_name)}
            )
    rest = PLACEHOLDER.sub("", text)
    if "{{" in rest or "}}" in rest:
        raise ValidationError(_("A placeholder is not closed. Write it like {{ customer_name }}."))


def one_line(text: str) -> str:
    """Collapse all white space, so that no value can start a new header line."""
    return " ".join(text.split())


def fill_text(text: str, variables: Mapping[str, Any]) -> str:
    """Put the variables' values in, once: a value that looks like a placeholder stays as it is."""
    return PLACEHOLDER.sub(lambda match: _plain(variables.get(match.group(1).strip(), "")), text)


def _plain(value: Any) -> str:
    text = "\n".join(str(item) for item in value) if isinstance(value, list) else str(value)
    return text.replace("\r\n", "\n")


def _fill_html(text: str, variables: Mapping[str, Any], kind: Kind) -> SafeString:
    parts: list[str] = []
    position = 0
    for match in PLACEHOLDER.finditer(text):
        parts.append(conditional_escape(text[position : match.start()]))
        name = match.group(1).strip()
        value = _plain(variables.get(name, ""))
        known = kind.by_name.get(name)  # an old version may name what is gone
        if known is not None and known.is_url and is_web_address(value):
            parts.append(format_html(LINK, value, value))
        else:
            parts.append(conditional_escape(value))
        position = match.end()
    parts.append(conditional_escape(text[position:]))
    return mark_safe("".join(parts).replace("\n", "<br>"))  # noqa: S308 - every part was escaped above


def is_web_address(value: str) -> bool:
    return value.startswith(("https://", "http://"))


def render(
    version: TemplateVersion,
    *,
    kind: Kind,
    channel: str,
    language: str,
    variables: Mapping[str, Any],
    has_qr: bool = False,
    links: Mapping[str, str] | None = None,
    is_wrapped: bool = True,
) -> Rendered:
    """Return the message in the language. Values are escaped in the HTML part; missing ones are left empty.

    `links` (unsubscribe_url, preferences_url) stand below a promotion. Text that is not wrapped yet still has to go through plain_text.
    """
    values = {**variables, **site_variables()}
    paragraphs = [
        part.strip() for part in re.split(r"\n\s*\n", version.body.replace("\r\n", "\n")) if part.strip()
    ]
    if channel != EMAIL:
        return Rendered("", fill_text("\n".join(paragraphs), values).translate(_TO_GSM7).strip(), "")
    url = str(values.get(version.button_variable, "")) if version.button_variable else ""
    paragraphs = _with_something_to_say(paragraphs, values)
    subject = one_line(fill_text(version.subject, values))[:400]
    shared = {
        "heading": one_line(fill_text(version.heading, values)),
        "button_label": version.button_label if is_web_address(url) else "",
        "button_url": url,
        "has_pass": kind.shows_boarding_pass
        and bool(values.get("drop_off_time") or values.get("drop_off_local")),
        "is_cancelled": kind.code == "cancellation",
        "has_qr": has_qr,
        "unsubscribe_url": "",
        "preferences_url": "",
        **(links or {}),
        "v": {name: one_line(_plain(values.get(name, ""))) for name in IN_LAYOUT},
        "support_number": re.sub(r"[^+0-9]", "", values["support_phone"]),
    }
    html = _laid_out(
        language,
        {
            **shared,
            "subject": subject,
            "preheader": _preheader(paragraphs, values),
            "blocks": [_block(part, values, kind) for part in paragraphs],
        },
    )
    with translation.override(language):
        text = render_to_string(
            "communications/email/layout.txt",
            {**shared, "paragraphs": [fill_text(part, values) for part in paragraphs]},
        )
    return Rendered(subject, plain_text(text) if is_wrapped else text, html)


def plain_text(text: str) -> str:
    """Return the text as a mail's plain part: short lines, each link on a line of its own, no more than one empty line."""
    text = re.sub(
        r"[ \t]+(?=https?://\S+[ \t]*$)|[ \t]+(?=https?://\S+[ \t])", "\n", text, flags=re.MULTILINE
    )
    text = re.sub(r"^(https?://\S+)[ \t]+", r"\1\n", text, flags=re.MULTILINE)
    lines = [
        textwrap.fill(line, LINE, break_long_words=False, break_on_hyphens=False)
        if len(line) > LINE
        else line
        for line in text.splitlines()
    ]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def _preheader(paragraphs: list[str], values: Mapping[str, Any]) -> str:
    """Return what an inbox shows beside the subject: the first words that say something, so not the greeting."""
    told = [part for part in paragraphs if not part.endswith(",")] or paragraphs
    text = one_line(fill_text(told[0], values)) if told else ""
    return textwrap.shorten(text, PREHEADER, placeholder="…")


def _facts(part: str) -> list[re.Match[str]]:
    """Return the lines of a paragraph all of which are such as "Amount: {{ amount }}"; else none."""
    rows = [_FACT.fullmatch(line.strip()) for line in part.split("\n")]
    found = [row for row in rows if row is not None]
    return found if len(found) == len(rows) > 1 else []


def _with_something_to_say(paragraphs: list[str], values: Mapping[str, Any]) -> list[str]:
    """Leave out what an empty value leaves bare, such as directions that a car park does not have."""
    kept = []
    for part in paragraphs:
        if facts := _facts(part):
            part = "\n".join(row[0] for row in facts if fill_text(row[2], values).strip())
        if fill_text(part, values).strip():
            kept.append(part)
    return kept


def _block(part: str, values: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """Return a paragraph, or lines such as "Amount: {{ amount }}" as the rows of a small table."""
    if facts := _facts(part):
        return {"facts": [{"label": row[1], "value": _fill_html(row[2], values, kind)} for row in facts]}
    return {"html": _fill_html(part, values, kind)}


def _laid_out(language: str, context: dict[str, Any]) -> str:
    """Return the mail's HTML. What is not SafeString is escaped here.

    Moving the style sheet to the elements takes far longer than all the rest, so it is done once for all mails of one shape: with slots
    where the words stand, which are then filled in.
    """
    words: list[str] = []

    def shape(value: Any) -> Any:
        if isinstance(value, Mapping):
            return tuple((name, shape(item)) for name, item in value.items())
        if isinstance(value, list):
            return ("list", *(shape(item) for item in value))
        if isinstance(value, str):
            if value:
                words.append(conditional_escape(value))
            return "word" if value else ""
        return value

    frame = _frame(language, shape(context))
    return _SLOT.sub(lambda match: words[int(match[1])], frame)


@lru_cache(maxsize=256)
def _frame(language: str, shape: tuple[Any, ...]) -> str:
    slots = 0

    def context(part: Any) -> Any:
        nonlocal slots
        if part == "word":
            slots += 1
            return f"slot{slots - 1}q"
        if isinstance(part, tuple):
            if part[0] == "list":
                return [context(item) for item in part[1:]]
            return {name: context(item) for name, item in part}
        return part

    with translation.override(language):
        html = render_to_string(
            "communications/email/layout.html",
            {**context(shape), "language": language, "qr_content_id": QR_CONTENT_ID, "blank": BLANK},
        )
    return inline_css(html)


def inline_css(html: str) -> str:
    """Move the style sheet's rules to the elements; rules inside @media stay in the head for clients that know them."""
    return Premailer(
        html,
        keep_style_tags=True,
        strip_important=False,
        disable_validation=True,
        allow_network=False,
        allow_loading_external_files=False,
        remove_classes=False,
        cssutils_logging_level=logging.CRITICAL,
    ).transform()


@dataclass(frozen=True)
class SmsFacts:
    """What an SMS takes: its encoding, how many units of it the text has, how many fit one segment, and the characters that force UCS-2."""

    is_gsm7: bool
    length: int
    segments: int
    room: int
    forcing: tuple[str, ...]

    @property
    def encoding(self) -> str:
        return "GSM-7" if self.is_gsm7 else "UCS-2"


def sms_facts(text: str) -> SmsFacts:
    """Count a text as networks do: 160 GSM-7 characters or 70 of UCS-2 in one segment, 153 or 67 each in several.

    A character of GSM-7's extension counts twice, and one outside UCS-2's plane counts twice as well. Source: 3GPP TS 23.038.
    """
    forcing = tuple(
        dict.fromkeys(
            character for character in text if character not in _GSM7 and character not in _GSM7_EXTENDED
        )
    )
    if not forcing:
        length = sum(2 if character in _GSM7_EXTENDED else 1 for character in text)
        alone, each = 160, 153
    else:
        length, alone, each = len(text.encode("utf-16-be")) // 2, 70, 67
    segments = 1 if length <= alone else -(-length // each)
    return SmsFacts(not forcing, length, segments, alone if segments == 1 else each * segments, forcing)


def sms_segments(text: str) -> int:
    """Return how many SMS the text takes."""
    return sms_facts(text).segments


def without_customers_links(text: str, variables: Mapping[str, Any], kind: Kind) -> str:
    """Take out the links that open the booking as its customer: whoever reads messages may not act for others."""
    for variable in kind.variables:
        link = str(variables.get(variable.name, "")) if variable.acts_for_customer else ""
        if link:
            text = text.replace(escape(link), HIDDEN).replace(link, HIDDEN)
    return text


def hide_secrets(variables: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """Return the variables without the one-time links."""
    return {name: HIDDEN if name in kind.secrets else value for name, value in variables.items()}
