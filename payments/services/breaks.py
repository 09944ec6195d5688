"""Opening breaks: questions about money that a person must answer."""

from __future__ import annotations

import logging
from typing import Any

from payments.models import Break

logger = logging.getLogger(__name__)


def open_break(kind: str, *, provider: str, provider_ref: str, detail: str, payment: Any = None) -> None:
    """Ask the question once while it is open; a repeat changes nothing."""
    Break.objects.bulk_create(
        [Break(kind=kind, provider=provider, provider_ref=provider_ref, detail=detail, payment=payment)],
        ignore_conflicts=True,
    )
    logger.error("break %s at %s %s: %s", kind, provider, provider_ref, detail)
