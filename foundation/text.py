"""What PostgreSQL can store, and what can stand in one line such as a mail header."""

from __future__ import annotations

import re
import unicodedata

_REFUSED = {"Cc", "Cs"}  # control characters, line ends and NUL among them; lone surrogates


def is_storable(text: str) -> bool:
    """Say whether PostgreSQL can store the text: no NUL byte, no lone surrogate."""
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def is_one_line(text: str) -> bool:
    """Say whether the text can stand in a header and in the database as it is."""
    return not any(unicodedata.category(character) in _REFUSED for character in text)


def one_line(text: str) -> str:
    """Return the text with a space for each character that cannot, and none around it."""
    return "".join(
        " " if unicodedata.category(character) in _REFUSED else character for character in text
    ).strip()


def snake(name: str) -> str:
    """Return a class's name in small letters: OutcomeUnknown is outcome_unknown."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


_LINK = re.compile(r"://|www\.|@|[^\W\d_]\.[^\W\d_]{2,}", re.IGNORECASE)


def holds_link(text: str) -> bool:
    """Say whether mail programs may make a link of something in the text: an address of the web or of a mailbox."""
    return bool(_LINK.search(text))
