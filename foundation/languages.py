"""In which language we write to somebody: pages are in one language, messages in several."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import get_language_info, gettext
from django.utils.translation.trans_real import parse_accept_lang_header


def known_language(code: str) -> str:
    """Return the language of messages that a code such as "de-AT" means; "" for one that we do not write."""
    names = dict(settings.MESSAGE_LANGUAGES)
    code = (code or "").replace("_", "-").lower()
    for candidate in (code, code.split("-")[0]):
        if candidate in names:
            return candidate
    return ""


def language_of(request: HttpRequest) -> str:
    """Return in which language to write to whoever calls: their account's, else the first of their browser's that we write."""
    own = known_language(getattr(getattr(request, "user", None), "language", "") or "")
    if own:
        return own
    for code, weight in parse_accept_lang_header(request.headers.get("Accept-Language", "")[:500]):
        if weight and (found := known_language(code)):
            return found
    return settings.LANGUAGE_CODE


def language_name(code: str) -> str:
    """Return what a language is called, such as "German"; the code itself for one that Django does not know."""
    try:
        return gettext(get_language_info(code)["name"])
    except KeyError:
        return code
