"""The words that the house starts with, a file a language: adding a language is adding a file. Staff's own are never overwritten."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from communications.words.base import Words


@cache
def languages() -> dict[str, dict[tuple[str, str], Words]]:
    """Return, by language code, the words by kind and channel."""
    return {
        module.name.replace("_", "-"): import_module(f"{__name__}.{module.name}").TEMPLATES
        for module in iter_modules(__path__)
        if module.name != "base"
    }


def date_pattern(language: str) -> str:
    """Return how a local date is written in messages of this language, as Babel takes it."""
    try:
        return str(import_module(f"{__name__}.{language.replace('-', '_')}").DATE_PATTERN)
    except (ModuleNotFoundError, AttributeError):
        return "EEE, d MMM y"
