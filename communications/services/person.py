"""A person's messages: handed over to them, or forgotten, while the proof of what they agreed to stays."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain
from typing import Any

from django.db import transaction
from django.db.models import CharField, F, Q, Value
from django.db.models.functions import Cast, Concat
from django.utils.translation import gettext_lazy as _

from communications import rendering
from communications.catalogue import EMAIL, KINDS, SMS
from communications.models import (
    ConsentEntry,
    DeliveryEvent,
    InboundText,
    Message,
    MessageStatus,
    Recipient,
    SmsScope,
    SmsSpend,
    Suppression,
)
from communications.services.consent import key_of, normalised
from foundation import audit
from foundation.errors import InvalidInput
from foundation.spreadsheet import lines, safe

COLUMNS = ("record", "at", "channel", "address", "kind", "status", "subject", "text", "reference")
Addresses = str | Sequence[str]
UNFINISHED = (MessageStatus.QUEUED, MessageStatus.SENDING, MessageStatus.MAYBE_SENT)


def export(*, email: Addresses = "", phone: Addresses = "", user: Any = None) -> Iterator[dict[str, Any]]:
    """Yield all that is kept of messages to and from a person, oldest first in each kind, as plain values; instants are ISO 8601 in UTC.
    With an account (`user`), also what went to other addresses that they gave with a booking.

    Links with which a booking is changed as its customer are taken out: staff handle the file.

    Raises InvalidInput without an address.
    """
    ways = _ways(email, phone)
    for message in _messages(ways, user).order_by("queued_at").iterator():
        yield {
            "record": "message",
            "at": message.queued_at.isoformat(),
            "channel": message.channel,
            "address": message.to,
            "kind": message.kind,
            "status": message.status,
            "subject": message.subject,
            "text": rendering.without_customers_links(
                message.body_text, message.variables, KINDS[message.kind]
            ),
            "reference": message.reference,
        }
    for entry in ConsentEntry.objects.filter(_keyed(ways)).order_by("at", "pk").iterator():
        yield {
            "record": "consent",
            "at": entry.at.isoformat(),
            "channel": entry.channel,
            "address": entry.address,
            "kind": entry.source,
            "status": "yes" if entry.is_granted else "no",
            "subject": "",
            "text": entry.wording,
            "reference": entry.note,
        }
    for found in Suppression.objects.filter(_keyed(ways)).order_by("at").iterator():
        yield {
            "record": "suppression",
            "at": found.at.isoformat(),
            "channel": found.channel,
            "address": found.address,
            "kind": found.cause,
            "status": "lifted" if found.lifted_at else "in force",
            "subject": "",
            "text": found.detail,
            "reference": "",
        }
    for text in (
        InboundText.objects.filter(phone__in=_addresses(ways, SMS)).order_by("received_at").iterator()
    ):
        yield {
            "record": "received",
            "at": text.received_at.isoformat(),
            "channel": SMS,
            "address": text.phone,
            "kind": text.keyword or "text",
            "status": "received",
            "subject": "",
            "text": text.body,
            "reference": "",
        }


def count(*, email: Addresses = "", phone: Addresses = "", user: Any = None) -> int:
    """Return how many messages to a person are kept. Raises InvalidInput without an address."""
    return int(_messages(_ways(email, phone), user).count())


def as_csv(rows: Iterable[dict[str, str]]) -> Iterator[str]:
    """Write what export() gives as CSV lines, safe against formulas."""
    table = ([safe(str(row[name])) for name in COLUMNS] for row in rows)
    return lines(chain([COLUMNS], table))


def as_json(rows: Iterable[dict[str, str]]) -> Iterator[str]:
    """Write what export() gives as JSON, one object a line."""
    return (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def erase(
    *, email: Addresses = "", phone: Addresses = "", user: Any = None, by: Any, reason: str, now: datetime
) -> int:
    """Blank what messages to and from a person say and to whom they went; return how many messages.

    What stays: that a message of a kind was sent and what became of it, and, under the hash of the address, every yes and no and every
    suppression: an erased person's no still stands. What has not left yet does not leave. Audited. Raises InvalidInput without an address
    or a reason.
    """
    ways = _ways(email, phone)
    if not reason.strip():
        raise InvalidInput(_("Say why."), field="reason")
    with transaction.atomic():
        waiting = _messages(ways, user).select_for_update().filter(status__in=UNFINISHED)
        for message in waiting:
            message.status = (
                MessageStatus.SUPPRESSED if message.status == MessageStatus.QUEUED else message.status
            )
            message.due_at = None
            message.save(update_fields=["status", "due_at"])
        ids = list(_messages(ways, user).values_list("pk", flat=True))
        # A worker that is sending one of them now is not to write down again what it said: the answer of its attempt comes too late.
        Message.objects.filter(pk__in=ids, status=MessageStatus.SENDING).update(attempts=F("attempts") + 1)
        DeliveryEvent.objects.filter(message_id__in=ids).update(detail="")
        Message.objects.filter(pk__in=ids).update(
            to="",
            to_name="",
            other_address="",
            user=None,
            variables={},
            calendar=None,
            qr_text="",
            attachment="",
            reference="",
            condition="",
            subject="",
            body_text="",
            body_html="",
            error_text="",
        )
        Message.objects.filter(other_address__in=[address for _channel, address in ways]).update(
            other_address=""
        )
        Recipient.objects.filter(_ways_of(ways, "address")).update(
            # One row an address, in a campaign: each its own nothing.
            address=Concat(Value("erased:"), Cast("pk", CharField())),
            name="",
            reference="",
            variables={},
        )
        InboundText.objects.filter(phone__in=_addresses(ways, SMS)).update(phone="", body="", reply="")
        SmsSpend.objects.filter(scope=SmsScope.NUMBER, key__in=_addresses(ways, SMS)).delete()
        ConsentEntry.objects.filter(_keyed(ways)).update(address="", user=None, ip_address=None, note="")
        Suppression.objects.filter(_keyed(ways)).update(address="", detail="", message=None)
        audit.record(
            actor=by,
            action="messages_erased",
            subject=f"person:{key_of(*ways[0])[:16]}",
            reason=reason.strip()[:500],
            data={"messages": len(ids)},
        )
    return len(ids)


def _ways(email: Addresses, phone: Addresses) -> list[tuple[str, str]]:
    ways = [
        (channel, normalised(channel, address))
        for channel, given in ((EMAIL, email), (SMS, phone))
        for address in ((given,) if isinstance(given, str) else given)
    ]
    ways = [(channel, address) for channel, address in ways if address]
    if not ways:
        raise InvalidInput(_("Name an e-mail address, a phone number, or both."))
    return ways


def _ways_of(ways: list[tuple[str, str]], column: str) -> Q:
    found = Q(pk__in=[])
    for channel, address in ways:
        found |= Q(channel=channel, **{f"{column}__iexact": address})
    return found


def _messages(ways: list[tuple[str, str]], user: Any) -> Any:
    """What went to the person's addresses, and to whichever they gave with a booking of their account."""
    theirs = Q(user=user) if user is not None else Q(pk__in=[])
    return Message.objects.filter(_ways_of(ways, "to") | theirs)


def _keyed(ways: list[tuple[str, str]]) -> Q:
    found = Q(pk__in=[])
    for channel, address in ways:
        found |= Q(channel=channel, address_key=key_of(channel, address))
    return found


def _addresses(ways: list[tuple[str, str]], channel: str) -> list[str]:
    return [address for way, address in ways if way == channel]
