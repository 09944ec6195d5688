"""What providers say became of a message."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from communications.catalogue import EMAIL, SMS
from communications.models import (
    MESSAGE_TRANSITIONS,
    ConsentSource,
    DeliveryEvent,
    Message,
    MessageStatus,
    SuppressionCause,
)
from communications.services import consent
from foundation.transitions import change_status


def record_delivery(
    *,
    event_id: str,
    kind: str,
    to_status: str | None,
    message_id: str = "",
    provider_ref: str = "",
    occurred_at: datetime | None = None,
    detail: str = "",
) -> Message | None:
    """Write down what a provider said about a message, once, and move the message forward, never back.

    Found by our own id, else by the provider's reference. None for a message that is not ours or an event seen before.
    """
    with transaction.atomic():
        message = _find(message_id, provider_ref)
        if message is None:
            return None
        _event, is_new = DeliveryEvent.objects.get_or_create(
            event_id=event_id[:200],
            defaults={
                "message": message,
                "kind": kind[:40],
                "detail": _clean(detail)[:500],
                "occurred_at": occurred_at,
            },
        )
        if not is_new:
            return None
        _heed(message, kind, to_status, detail, now=occurred_at or timezone.now())
        is_about_an_earlier_attempt = bool(
            message.channel == SMS
            and message.provider_ref
            and provider_ref
            and message.provider_ref != provider_ref
        )
        if (
            to_status
            and not is_about_an_earlier_attempt
            and message.status not in (to_status, MessageStatus.QUEUED)
            and to_status in MESSAGE_TRANSITIONS[message.status]
        ):
            change_status(message, to_status, MESSAGE_TRANSITIONS)
            if to_status == MessageStatus.DELIVERED:
                message.delivered_at = occurred_at or timezone.now()
                message.error_code = message.error_text = ""
            elif to_status in (MessageStatus.BOUNCED, MessageStatus.FAILED):
                message.error_code, message.error_text = kind[:60], _clean(detail)[:500]
            if not message.provider_ref and provider_ref:
                message.provider_ref = provider_ref[:200]
            message.save()
    return message


def _heed(message: Message, kind: str, to_status: str | None, detail: str, *, now: datetime) -> None:
    """Draw what follows for the address: one that does not exist, a spam report, an unsubscription at the provider."""
    address: dict[str, Any] = {"channel": message.channel, "address": message.to, "now": now}
    if not message.to:  # erased meanwhile
        return
    if message.channel == EMAIL and kind == "bounced" and to_status == MessageStatus.BOUNCED:
        consent.suppress(
            **address, cause=SuppressionCause.HARD_BOUNCE, detail=_clean(detail), message=message
        )
    elif kind == "complained":
        consent.suppress(
            **address, cause=SuppressionCause.SPAM_REPORT, detail=_clean(detail), message=message
        )
    elif kind == "unsubscribed":
        consent.record_consent(**address, is_granted=False, source=ConsentSource.PROVIDER)


def _clean(text: str) -> str:
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def _find(message_id: str, provider_ref: str) -> Message | None:
    rows = Message.objects.select_for_update()
    if message_id:
        try:
            return rows.filter(pk=uuid.UUID(message_id)).first()
        except ValueError:
            return None
    return rows.filter(provider_ref=provider_ref).first() if provider_ref else None
