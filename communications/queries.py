"""Reading the outbox."""

from __future__ import annotations

from django.db.models import QuerySet

from communications.models import Message


def messages_for(reference: str) -> QuerySet[Message]:
    """Return the messages about a booking, newest first, with their delivery events at hand."""
    return Message.objects.filter(reference=reference).exclude(reference="").prefetch_related("events")
