"""Is a text an address that can be posted to or returned to?"""

from __future__ import annotations

import urllib.parse

LONGEST = 2_000


def is_web_address(text: object) -> bool:
    """True for an http or https address with a host; broken ones are false, never an error."""
    if not isinstance(text, str) or not 0 < len(text) <= LONGEST or not text.isprintable() or " " in text:
        return False
    try:
        parts = urllib.parse.urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
