"""The audit log's only writer."""

from __future__ import annotations

from typing import Any

from foundation.middleware import current_request_id
from foundation.models import AuditEntry


def record(
    *, actor: Any, action: str, subject: str, reason: str = "", data: dict[str, Any] | None = None
) -> AuditEntry:
    """Write one audit entry in the caller's transaction. `actor` is a user, or None for the system itself."""
    return AuditEntry.objects.create(
        actor=actor if getattr(actor, "pk", None) else None,
        action=action,
        subject=subject,
        reason=reason,
        data=data or {},
        request_id=current_request_id(),
    )
