"""Turning a template's words and a message's variables into mail and SMS.

Staff's text knows one thing: {{ name }}, a name of the catalogue. It is never compiled by Django's template language.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from django.core.exceptions import ValidationError
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from premailer import Premailer

from communications.catalogue import EMAIL, Kind, site_variables
from communications.models import TemplateVersion

PLACEHOLDER = re.compile(r"\{\{([^{}]*)\}\}")
HIDDEN = "•••"
QR_CONTENT_ID = "booking-qr"
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
    return "\n".join(str(item) for item in value) if isinstance(value, list) else str(value)


def _fill_html(text: str, variables: Mapping[str, Any], kind: Kind) -> SafeString:
    parts: list[str] = []
    position = 0
    for match in PLACEHOLDER.finditer(text):
        parts.append(conditional_escape(text[position : match.start()]))
        name = match.group(1).strip()
        value = _plain(variables.get(name, ""))
        known = kind.by_name.get(name)  # an old version may name what is gone
        if known is not None and known.is_url and is_web_address(value):
            parts.append(format_html('<a href="{}" class="link">{}</a>', value, value))
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
) -> Rendered:
    """Return the message in the language. Values are escaped in the HTML part; missing ones are left empty.

    `links` (unsubscribe_url, preferences_url) stand below a promotion.
    """
    values = {**variables, **site_variables()}
    paragraphs = [
        part.strip() for part in re.split(r"\n\s*\n", version.body.replace("\r\n", "\n")) if part.strip()
    ]
    if channel != EMAIL:
        return Rendered("", fill_text("\n".join(paragraphs), values).translate(_TO_GSM7).strip(), "")
    url = str(values.get(version.button_variable, "")) if version.button_variable else ""
    with translation.override(language):
        context = {
            "language": language,
            "subject": one_line(fill_text(version.subject, values)),
            "heading": one_line(fill_text(version.heading, values)),
            "preheader": one_line(fill_text(paragraphs[0], values))[:120] if paragraphs else "",
            "paragraphs": [_fill_html(part, values, kind) for part in paragraphs],
            "text_paragraphs": [fill_text(part, values) for part in paragraphs],
            "button_label": version.button_label if is_web_address(url) else "",
            "button_url": url,
            "has_pass": kind.shows_boarding_pass
            and bool(values.get("drop_off_time") or values.get("drop_off_local")),
            "is_cancelled": kind.code == "cancellation",
            "has_qr": has_qr,
            "qr_content_id": QR_CONTENT_ID,
            **(links or {}),
            "v": values,
        }
        html = str(render_to_string("communications/email/layout.html", context))
        text = str(render_to_string("communications/email/layout.txt", context))
    text = re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
    return Rendered(str(context["subject"])[:400], text, inline_css(html))


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


def hide_secrets(variables: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """Return the variables without the one-time links."""
    return {name: HIDDEN if name in kind.secrets else value for name, value in variables.items()}
