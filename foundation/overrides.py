"""What staff chose in place of the environment's defaults: the newest row of each key, remembered a few seconds per process."""

from __future__ import annotations

import time
from typing import Any

from django.db import connection, transaction
from django.utils.translation import gettext_lazy as _

from foundation import audit
from foundation.errors import InvalidInput
from foundation.models import Choice

SECONDS = 5.0
_remembered: tuple[float, dict[str, Any]] | None = None


def current() -> dict[str, Any]:
    """Return the chosen values by key; a key without a choice, or back at its default, is missing. At most SECONDS old."""
    global _remembered
    now = time.monotonic()
    if _remembered is None or now - _remembered[0] >= SECONDS:
        newest = Choice.objects.order_by("key", "-pk").distinct("key").values_list("key", "value")
        chosen = {key: value for key, value in newest if value is not None}
        if connection.in_atomic_block and connection.needs_rollback:
            return chosen
        _remembered = (now, chosen)
    return _remembered[1]


def forget() -> None:
    """Read anew at the next question."""
    global _remembered
    _remembered = None


def choose(key: str, value: Any, *, default: Any, by: Any, reason: str) -> None:
    """Put a value in the place of the default; None goes back to it. Audited with before and after. Raises InvalidInput without a reason."""
    if not reason.strip():
        raise InvalidInput(_("Say why."), field="reason")
    with transaction.atomic():
        forget()
        before = current().get(key)
        Choice.objects.create(
            key=key, value=value, by=by if getattr(by, "pk", None) else None, reason=reason.strip()[:500]
        )
        audit.record(
            actor=by, action="choice.changed", subject=key, reason=reason.strip()[:500],
            data={"from": default if before is None else before, "to": default if value is None else value, "default": value is None},
        )  # fmt: skip
        forget()
        transaction.on_commit(forget)
