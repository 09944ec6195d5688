"""The same words for many: laid out once, filled in for each.

Laying a mail out and moving its style sheet to the elements takes some thirty times as long as all the rest of writing it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any

from django.utils.html import escape

from communications import rendering
from communications.catalogue import PROMOTIONAL, Kind, site_variables
from communications.rendering import Rendered

LINKS = ("unsubscribe_url", "preferences_url")


class Press:
    """Words of one sending, on one channel in one language. The kind must show no boarding pass: only values may differ."""

    def __init__(self, words: Any, *, kind: Kind, channel: str, language: str) -> None:
        if kind.shows_boarding_pass:
            raise ValueError(f"{kind.code} is laid out anew for each booking.")
        self._plain = (words, kind, channel, language)
        stamp = f"q{secrets.token_hex(5)}"
        own = site_variables()
        self._marks = {
            name: f"https://{stamp}{number}z.invalid/" if variable.is_url else f"{stamp}{number}z"
            for number, (name, variable) in enumerate(kind.by_name.items())
            if name not in own
        }
        self._links = {}
        if kind.purpose == PROMOTIONAL:  # how to stop them stands below
            self._links = {name: f"https://{stamp}9{place}z.invalid/" for place, name in enumerate(LINKS)}
        self._marks |= self._links
        self._names = {mark: name for name, mark in self._marks.items()}
        self._pattern = re.compile(rf"https://{stamp}[0-9]+z\.invalid/|{stamp}[0-9]+z")
        made = rendering.render(
            words,
            kind=kind,
            channel=channel,
            language=language,
            variables=self._marks,
            links=self._links,
            is_wrapped=False,
        )
        left = "".join(self._pattern.sub("", part) for part in (made.subject, made.text, made.html))
        # A mark that the layout cut in two cannot be filled in; such words are laid out for each person.
        self._made = made if stamp not in left else None

    def print(self, variables: Mapping[str, Any], links: Mapping[str, str] | None = None) -> Rendered:
        """Return the message with the values filled in, escaped where it is HTML. No value brings in a line end.

        `links` stand below a promotion, as rendering.render takes them.
        """
        given = {**variables, **(links or {})}
        values = {name: rendering.one_line(str(given.get(name, ""))) for name in self._marks}
        if self._made is None:
            words, kind, channel, language = self._plain
            return rendering.render(
                words, kind=kind, channel=channel, language=language, variables=values, links=links
            )
        plain = self._filled(self._made.text, values)
        plain = rendering.plain_text(plain) if self._made.html else plain.translate(rendering._TO_GSM7)
        return Rendered(
            subject=self._filled(self._made.subject, values)[:400],
            text=plain,
            html=self._filled(self._made.html, {name: escape(value) for name, value in values.items()}),
        )

    def _filled(self, text: str, values: Mapping[str, str]) -> str:
        return self._pattern.sub(lambda match: values[self._names[match.group()]], text)
