"""What providers say became of messages."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from communications.models import MESSAGE_TRANSITIONS, DeliveryEvent, Message, MessageStatus
from communications.services import address_news
from communications.services.outbox import fall_back
from foundation.text import one_line
from foundation.transitions import change_status

NOT_ARRIVED = (MessageStatus.BOUNCED, MessageStatus.FAILED)
_CHANGED = ["status", "provider_ref", "delivered_at", "error_code", "error_text"]


@dataclass(frozen=True)
class Report:
    """One thing that a provider said. `event_id` is the same however often it says it; `code` and `detail` say why it did not arrive;
    `fact` is what it means for the address (see address_news), whatever became of this message."""

    channel: str
    event_id: str
    kind: str
    to_status: str | None = None
    message_id: str = ""
    provider_ref: str = ""
    recipient: str = ""
    occurred_at: datetime | None = None
    code: str = ""
    detail: str = ""
    fact: str = ""


def record_deliveries(reports: Sequence[Report]) -> list[Message]:
    """Write down what a provider said, each thing once, and move messages forward, never back. Returns those that were told about.

    A message is found by our own id, else by the provider's reference; what is not ours is passed over. A report about another
    recipient, or about an earlier attempt, is kept and moves nothing. A handful of statements, however many reports.
    """
    with transaction.atomic():
        by_id, by_ref = _messages_of(reports)
        told: list[tuple[Message, Report]] = []
        seen = set(
            DeliveryEvent.objects.filter(event_id__in=[_key(report) for report in reports]).values_list(
                "event_id", flat=True
            )
        )
        for report in reports:
            message = by_id.get(report.message_id) if report.message_id else by_ref.get(report.provider_ref)
            if message is None or message.channel != report.channel or _key(report) in seen:
                continue
            seen.add(_key(report))
            told.append((message, report))
        DeliveryEvent.objects.bulk_create(
            (_event(message, report) for message, report in told), ignore_conflicts=True
        )
        moved: dict[uuid.UUID, Message] = {}
        for message, report in told:
            if _move(message, report):
                moved[message.pk] = message
            if report.fact and _is_recipient(message, report):
                address_news.learn(
                    channel=message.channel,
                    address=message.to,
                    fact=report.fact,
                    message=message,
                    detail=report.detail,
                )
        Message.objects.bulk_update(moved.values(), _CHANGED)
        for message in moved.values():
            if message.status in NOT_ARRIVED:
                fall_back(message)
    return [message for message, _report in told]


def record_delivery(
    *,
    channel: str,
    event_id: str,
    kind: str,
    to_status: str | None,
    message_id: str = "",
    provider_ref: str = "",
    recipient: str = "",
    occurred_at: datetime | None = None,
    code: str = "",
    detail: str = "",
    fact: str = "",
) -> Message | None:
    """Write down one report; None for a message that is not ours or a report seen before."""
    told = record_deliveries(
        [
            Report(
                channel=channel,
                event_id=event_id,
                kind=kind,
                to_status=to_status,
                message_id=message_id,
                provider_ref=provider_ref,
                recipient=recipient,
                occurred_at=occurred_at,
                code=code,
                detail=detail,
                fact=fact,
            )
        ]
    )
    return told[0] if told else None


def _messages_of(reports: Iterable[Report]) -> tuple[dict[str, Message], dict[str, Message]]:
    """Lock the messages that the reports are about, in one order, and return them by our id as reported and by the provider's."""
    ids: dict[str, uuid.UUID] = {}
    refs = set()
    for report in reports:
        if report.message_id:
            try:
                ids[report.message_id] = uuid.UUID(report.message_id)
            except ValueError:
                continue
        elif report.provider_ref:
            refs.add(report.provider_ref[:200])
    wanted = Q(pk__in=set(ids.values())) | (Q(provider_ref__in=refs) if refs else Q())
    rows = (
        {row.pk: row for row in Message.objects.select_for_update().filter(wanted).order_by("pk")}
        if ids or refs
        else {}
    )
    return (
        {said: rows[pk] for said, pk in ids.items() if pk in rows},
        {row.provider_ref: row for row in rows.values() if row.provider_ref in refs},
    )


def _key(report: Report) -> str:
    return one_line(report.event_id)[:200]


def _event(message: Message, report: Report) -> DeliveryEvent:
    detail = one_line(report.detail)
    if message.to and not _is_recipient(message, report):  # of an erased one no address comes back
        detail = f"({one_line(report.recipient)}) {detail}"
    return DeliveryEvent(
        message=message,
        event_id=_key(report),
        kind=one_line(report.kind)[:40],
        detail=detail[:500],
        occurred_at=report.occurred_at,
    )


def _is_recipient(message: Message, report: Report) -> bool:
    return not report.recipient or report.recipient.strip().casefold() == message.to.casefold()


def _move(message: Message, report: Report) -> bool:
    """Take the message forward in memory, if the report is about its present attempt; say whether anything changed."""
    earlier_attempt = (
        message.provider_ref and report.provider_ref and message.provider_ref != report.provider_ref
    )
    to = report.to_status
    if to is None or earlier_attempt or not _is_recipient(message, report):
        return False
    if message.status in (to, MessageStatus.QUEUED) or to not in MESSAGE_TRANSITIONS[message.status]:
        return False
    change_status(message, to, MESSAGE_TRANSITIONS)
    if to in (MessageStatus.DELIVERED, MessageStatus.SENT):
        message.error_code = message.error_text = ""
    if to == MessageStatus.DELIVERED:
        # Clocks differ: nothing arrives before it was written, or later than now.
        now = timezone.now()
        message.delivered_at = min(max(report.occurred_at or now, message.queued_at), now)
    elif to in NOT_ARRIVED:
        message.error_code = one_line(report.code or report.kind)[:60]
        message.error_text = one_line(report.detail)[:500]
    if not message.provider_ref and report.provider_ref:
        message.provider_ref = one_line(report.provider_ref)[:200]
    return True
