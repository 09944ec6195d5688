"""German."""

from __future__ import annotations

from communications.words.base import Words

TEMPLATES: dict[tuple[str, str], Words] = {}
