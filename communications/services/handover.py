"""One message at its provider's door: written, counted, handed over, and what came of it. Every way of sending goes through here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils.module_loading import import_string
from django.utils.translation import gettext_lazy as _

from communications import rendering
from communications.catalogue import KINDS, PROMOTIONAL, SMS
from communications.models import DeliveryEvent, Message, MessageStatus
from communications.rendering import Rendered
from communications.senders import sender_for
from communications.senders.base import (
    Attachment,
    CalendarEntry,
    Envelope,
    OutcomeUnknown,
    Receipt,
    Rejected,
    Sender,
    SendError,
    Suppressed,
    Unavailable,
)
from communications.services import budget, outages, unsubscribe
from foundation.errors import InvalidInput

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Handed:
    """What became of a message. Whoever claimed it writes this down.

    `status`: SENT (with `receipt`, `rendered` and the `words` it was made of), QUEUED (it did not leave, later it may), MAYBE_SENT,
    SUPPRESSED or FAILED, each with a code and a text for staff. `refusal` is the provider's own, `over_budget` ours, which ends
    with the day. `is_providers`: any other message would have met the same; `is_outage`: so many did that the channel's messages
    wait (services.outages). `retry_after_seconds`: the provider named a time.
    """

    status: str
    code: str = ""
    text: str = ""
    receipt: Receipt | None = None
    rendered: Rendered | None = None
    words: Any = None
    refusal: SendError | None = None
    over_budget: bool = False
    is_providers: bool = False
    is_outage: bool = False
    retry_after_seconds: float | None = None


def hand_over(
    message: Message,
    write: Callable[[], tuple[Rendered, Any]],
    *,
    now: datetime,
    is_resend: bool = False,
    may_end_outage: bool = False,
) -> Handed:
    """Write a claimed message and hand it to its provider; say what became of it. Raises RuntimeError inside a transaction.

    `write` returns the message as it is to leave and the words it was made of. Before a resend the provider is asked whether it has the
    first one. The provider's failures are counted for its channel; `may_end_outage` says that there were some, which an answer ends.
    """
    try:
        rendered, words = write()
        sender, envelope = sender_for(message.channel), envelope_of(message, rendered)
        receipt = _taken_before(message, sender, envelope) if is_resend else None
        if receipt is None:
            if message.channel == SMS:
                budget.spend(message, segments=rendering.sms_segments(rendered.text), now=now)
            receipt = sender.send(envelope)
    except OutcomeUnknown as error:
        _note_failure(message, error, now=now)
        return Handed(MessageStatus.MAYBE_SENT, error.code, error.text, is_providers=True)
    except Unavailable as error:
        return Handed(
            MessageStatus.QUEUED,
            error.code,
            error.text,
            is_providers=error.is_providers,
            is_outage=error.is_providers and _note_failure(message, error, now=now),
            retry_after_seconds=error.retry_after_seconds,
        )
    except Rejected as error:
        if may_end_outage:
            outages.note_answer(message.channel)
        status = MessageStatus.SUPPRESSED if isinstance(error, Suppressed) else MessageStatus.FAILED
        return Handed(status, error.code, error.text, refusal=error)
    except budget.BudgetExceeded as error:
        return Handed(
            MessageStatus.FAILED,
            error.code,
            str(error.message),
            over_budget=error.code in budget.ENDS_WITH_DAY,
        )
    except InvalidInput as error:
        return Handed(MessageStatus.FAILED, "bad_address", str(error.message))
    except (LookupError, ValueError, TypeError) as error:
        logger.exception("Message %s cannot be written", message.pk)
        return Handed(MessageStatus.FAILED, "not_writable", f"{type(error).__name__}: {error}")
    if may_end_outage:
        outages.note_answer(message.channel)
    return Handed(MessageStatus.SENT, receipt=receipt, rendered=rendered, words=words)


def _note_failure(message: Message, error: SendError, *, now: datetime) -> bool:
    with transaction.atomic(durable=True):
        return outages.note_failure(message.channel, error, now=now)


def _taken_before(message: Message, sender: Sender, envelope: Envelope) -> Receipt | None:
    """Ask the provider whether it has the first one. Raises Unavailable when it does not say."""
    found = sender.find(envelope, since=message.queued_at)
    if not found:
        return None
    refs = [receipt.provider_ref for receipt in found]
    others = set(
        Message.objects.filter(provider_ref__in=refs)
        .exclude(pk=message.pk)
        .values_list("provider_ref", flat=True)
    )
    for receipt in found:
        if receipt.provider_ref not in others:
            DeliveryEvent.objects.get_or_create(
                event_id=f"found:{message.pk}:{receipt.provider_ref}"[:200],
                defaults={
                    "message": message,
                    "kind": "found",
                    "detail": str(_("The provider had taken the first one, so it was not sent again.")),
                },
            )
            return receipt
    return None


def envelope_of(message: Message, rendered: Rendered) -> Envelope:
    """Return the message as it is handed to a sender."""
    return Envelope(
        message_id=str(message.pk),
        to=message.to,
        to_name=message.to_name,
        subject=rendered.subject,
        text=rendered.text,
        html=rendered.html,
        calendar=CalendarEntry.from_json(message.calendar) if message.calendar else None,
        qr_text=message.qr_text,
        attachments=_attachments(message),
        headers=unsubscribe.headers_for(message) if KINDS[message.kind].purpose == PROMOTIONAL else {},
    )


def _attachments(message: Message) -> list[Attachment]:
    """Make the files that the message names. Without them the message still leaves: what it tells matters more."""
    maker, _colon, name = message.attachment.partition(":")
    if not maker:
        return []
    try:
        return import_string(settings.MESSAGE_ATTACHMENTS[maker])(name)
    except Exception:
        logger.exception("Message %s leaves without its attachment", message.pk)
        return []
