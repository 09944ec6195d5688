"""What staff decide about the inbox and the breaks. No money moves here."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction

from foundation import audit
from foundation.jobs import defer
from payments.models import Break, EventStatus, ProviderEvent


def retry_event(event_id: int, *, by: Any) -> bool:
    """Put a given-up event back into the inbox and queue its job. Returns False when it was not given up.

    Locks the event row, so two people pressing at once queue one job.
    """
    with transaction.atomic():
        event = ProviderEvent.objects.select_for_update().get(pk=event_id)
        if event.status != EventStatus.DEAD:
            return False
        audit.record(
            actor=by,
            action="provider_event.retried",
            subject=f"providerevent:{event.pk}",
            data={"event": event.event_ref, "last error": event.last_error},
        )
        event.status = EventStatus.RECEIVED
        event.attempts = 0
        event.processed_at = None
        event.save(update_fields=["status", "attempts", "processed_at"])
        defer("payments.process_event", event_id=event.pk)
    return True


def resolve_break(
    break_id: int, *, by: Any, reason: str, now: datetime, action: str = "break.resolved"
) -> bool:
    """Close an open break with the reason that settles it. Returns False when it was closed before. Locks the row.

    `action` is what the audit log calls it, such as break.not_ours.
    """
    with transaction.atomic():
        found = Break.objects.select_for_update().get(pk=break_id)
        if found.resolved_at is not None:
            return False
        found.resolved_at, found.resolved_by, found.resolution = now, by, reason
        found.save(update_fields=["resolved_at", "resolved_by", "resolution"])
        audit.record(actor=by, action=action, subject=f"break:{found.pk}", reason=reason)
    return True
