"""Sending to many: small batches, each message with its own intent and result, so that a killed worker leaves one in doubt, not many.

Any number of workers may send one campaign. Who takes the next recipients locks the campaign's row for that moment, which shares them
out and holds the pace. A message is claimed by one statement that also asks whether the campaign still runs: pausing takes effect
before the next message. What a dead worker had taken is taken again after LEASE, and what it had begun is never begun again.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Min, Q
from django.utils import timezone

from communications import rendering
from communications.campaigns import words
from communications.campaigns.people import reason_text
from communications.campaigns.press import Press
from communications.catalogue import EMERGENCY, KINDS, PROMOTIONAL, SMS
from communications.models import (
    ALERT_TRANSITIONS,
    CAMPAIGN_TRANSITIONS,
    AlertStatus,
    Campaign,
    CampaignStatus,
    EmergencyAlert,
    Message,
    MessageStatus,
    Recipient,
)
from communications.rendering import Rendered
from communications.senders import sender_for
from communications.senders.base import OutcomeUnknown, Rejected, Suppressed, Unavailable
from communications.services import address_news, budget, outbox, quiet, unsubscribe
from communications.services.consent import allowed_addresses
from foundation.jobs import defer
from foundation.transitions import change_status

logger = logging.getLogger(__name__)

LARGEST_BATCH = 50
LEASE = timedelta(seconds=60)  # longer than a batch takes
PROVIDER_REST = timedelta(seconds=30)  # when the provider is down or asks us to wait
SLICE_SECONDS = 2.0  # then the worker looks whether anything more urgent waits
TASK = "communications.dispatch"
State = Recipient.State


def find(key: str) -> Any:
    """Return the campaign or alert of a key such as "campaign:7", or None."""
    kind, _colon, number = key.partition(":")
    model: Any = {"campaign": Campaign, "alert": EmergencyAlert}[kind]
    return model.objects.filter(pk=int(number)).first()


def defer_lanes(sender: Any, *, at: datetime | None = None) -> None:
    """Queue the jobs that send, in the caller's transaction; those that wait already absorb them."""
    for lane in range(settings.CAMPAIGN_LANES):
        defer_lane(sender, lane, at=at)


def defer_lane(sender: Any, lane: int, *, at: datetime | None = None) -> None:
    is_urgent = KINDS[sender.kind].purpose == EMERGENCY
    defer(
        TASK,
        queueing_lock=f"dispatch:{sender.key}:{lane}",
        schedule_at=at,
        queue="default" if is_urgent else "campaigns",
        priority=100 if is_urgent else -100,
        sender=sender.key,
        lane=lane,
    )


def run(key: str, lane: int, *, clock: Callable[[], datetime] = timezone.now) -> None:
    """Send for a moment, then queue the same again behind whatever is more urgent, until nothing is left."""
    sender = find(key)
    if sender is None:
        return
    again = send_for(sender, seconds=SLICE_SECONDS, clock=clock)
    if again is not None:
        defer_lane(sender, lane, at=again if again > clock() else None)


def send_for(sender: Any, *, seconds: float, clock: Callable[[], datetime] = timezone.now) -> datetime | None:
    """Send batch after batch for about so many seconds; return when to go on, None when there is nothing more to do."""
    began = time.monotonic()
    desk = _Desk(sender)
    while True:
        taken = take(sender, now=clock())
        if taken.messages:
            desk.send(taken.messages, clock=clock)
        elif taken.again is None or taken.again > clock():
            return taken.again
        if time.monotonic() - began >= seconds:
            return clock()


# --- Taking -----------------------------------------------------------------------------------------------------


@dataclass
class Taken:
    """Messages to send now, or when to ask again (None: never)."""

    messages: list[Message] = field(default_factory=list)
    again: datetime | None = None


def take(sender: Any, *, now: datetime) -> Taken:
    """Take the next recipients and make their messages, in one commit. Locks the sender's row.

    Asks for each whether they may still be written to and whether it is quiet where they are. Nobody left: the sending is finished.
    """
    with transaction.atomic(durable=True):
        row = type(sender).objects.select_for_update().get(pk=sender.pk)
        if row.status not in (CampaignStatus.SENDING, AlertStatus.SENDING):
            return Taken()
        if row.next_slot_at is not None and row.next_slot_at > now:
            return Taken(again=row.next_slot_at)
        everybody = _recipients(row)
        found = list(
            everybody.filter(
                Q(state=State.WAITING) & (Q(due_at=None) | Q(due_at__lte=now))
                | Q(state=State.TAKEN, taken_at__lt=now - LEASE)
            )
            .select_related("message")
            .order_by("pk")[: batch_size(row)]
        )
        if not found:
            return _what_is_left(row, everybody, now=now)
        ready = _allowed_now(row, _not_begun(found), now=now)
        messages = _made(row, ready)
        _give(ready, messages, now=now)
        others = [recipient for recipient in found if recipient not in ready]
        Recipient.objects.bulk_update(others, ["state", "reason", "due_at"])
        if messages and isinstance(row, Campaign):
            row.next_slot_at = now + timedelta(seconds=len(messages) * 60 / row.per_minute)
            row.save(update_fields=["next_slot_at"])
    return Taken(messages, again=now)


def batch_size(sender: Any) -> int:
    """So many that a batch lasts about a second at the campaign's pace."""
    if not isinstance(sender, Campaign):
        return LARGEST_BATCH
    return max(1, min(LARGEST_BATCH, sender.per_minute // 60))


def _recipients(sender: Any) -> Any:
    return Recipient.objects.filter(**{"campaign" if isinstance(sender, Campaign) else "alert": sender})


def _not_begun(found: list[Recipient]) -> list[Recipient]:
    """Leave out whose message a dead worker had begun: its outcome is for the outbox to find out."""
    fresh = []
    for recipient in found:
        if recipient.message is not None and recipient.message.status != MessageStatus.QUEUED:
            recipient.state = State.HANDED_ON
        else:
            fresh.append(recipient)
    return fresh


def _allowed_now(sender: Any, fresh: list[Recipient], *, now: datetime) -> list[Recipient]:
    purpose = KINDS[sender.kind].purpose
    verdicts = {
        channel: allowed_addresses(
            purpose=purpose,
            channel=channel,
            addresses=[recipient.address for recipient in fresh if recipient.channel == channel],
        )
        for channel in {recipient.channel for recipient in fresh}
    }
    ready = []
    for recipient in fresh:
        verdict = verdicts[recipient.channel][recipient.address]
        if not verdict.is_allowed:
            _leave_out(recipient, verdict.reason)
        elif (
            purpose == PROMOTIONAL and (allowed := quiet.next_allowed(now, timezone=recipient.timezone)) > now
        ):
            recipient.state, recipient.due_at, recipient.reason = State.WAITING, allowed, "quiet_hours"
        else:
            recipient.reason = ""
            ready.append(recipient)
    return ready


def _leave_out(recipient: Recipient, reason: str) -> None:
    recipient.state, recipient.reason = State.SKIPPED, reason[:60] or "not_allowed"
    if recipient.message is not None:
        Message.objects.filter(pk=recipient.message.pk, status=MessageStatus.QUEUED).update(
            status=MessageStatus.SUPPRESSED, error_code=recipient.reason, error_text=reason_text(reason)[:500]
        )


def _made(sender: Any, ready: list[Recipient]) -> list[Message]:
    """Return the messages of these recipients, made in one statement where there is none yet, under the key that every sending uses."""
    common = common_variables(sender)
    rounds = getattr(sender, "rounds", 1)
    made, messages = [], []
    for recipient in ready:
        if recipient.message is not None:
            messages.append(recipient.message)
            continue
        dedupe_key = f"{sender.key}:{recipient.channel}:{recipient.address}"
        if recipient.reference:
            dedupe_key += f":{recipient.reference}:{rounds}"
        message = Message(
            id=uuid.uuid5(uuid.NAMESPACE_URL, dedupe_key),
            kind=sender.kind,
            channel=recipient.channel,
            to=recipient.address,
            to_name=recipient.name,
            language=recipient.language,
            timezone=recipient.timezone,
            variables={**common, **variables_of(recipient)},
            dedupe_key=dedupe_key,
            reference=recipient.reference,
            campaign_key=sender.key,
            tries_left=outbox.TRIES,
            # In doubt it is not sent again by itself: nobody wants an offer twice. A warning is.
            was_resent=isinstance(sender, Campaign),
        )
        made.append(message)
        messages.append(message)
    Message.objects.bulk_create(made, ignore_conflicts=True)
    return messages


def _give(ready: list[Recipient], messages: list[Message], *, now: datetime) -> None:
    """Note which message is whose, in one statement."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE communications_recipient AS r SET state = 'taken', reason = '', taken_at = %s, due_at = NULL, message_id = given.message "
            "FROM unnest(%s::bigint[], %s::uuid[]) AS given (recipient, message) WHERE r.id = given.recipient",
            [now, [recipient.pk for recipient in ready], [message.pk for message in messages]],
        )


def common_variables(sender: Any) -> dict[str, str]:
    """Return the values that are the same for everybody."""
    if not isinstance(sender, Campaign):
        return {}
    code = sender.promo_code
    return {
        "promo_code": code,
        "offer_url": f"{settings.SITE_URL}/?code={code}" if code else f"{settings.SITE_URL}/",
    }


def variables_of(recipient: Recipient) -> dict[str, str]:
    return {"customer_name": recipient.name or recipient.address, **recipient.variables}


def _what_is_left(sender: Any, everybody: Any, *, now: datetime) -> Taken:
    """Nobody is due: wait for who is next, or say that it is done."""
    still = everybody.filter(state__in=[State.WAITING, State.TAKEN]).aggregate(
        due=Min("due_at", filter=Q(state=State.WAITING)), taken=Min("taken_at", filter=Q(state=State.TAKEN))
    )
    moments = [still["due"], still["taken"] + LEASE if still["taken"] else None]
    if waits := [moment for moment in moments if moment is not None]:
        return Taken(again=max(min(waits), now + timedelta(seconds=1)))
    if isinstance(sender, Campaign):
        change_status(sender, CampaignStatus.FINISHED, CAMPAIGN_TRANSITIONS)
    else:
        change_status(sender, AlertStatus.FINISHED, ALERT_TRANSITIONS)
    sender.finished_at = now
    sender.save(update_fields=["status", "finished_at"])
    return Taken()


# --- Sending ----------------------------------------------------------------------------------------------------

CLAIM = """
    UPDATE communications_message SET status = 'sending', attempts = attempts + 1, tries_left = greatest(tries_left - 1, 0),
        sending_since = %(claimed_at)s
    WHERE id = %(claimed)s AND status = 'queued' AND EXISTS (SELECT 1 FROM {sender} WHERE id = %(sender)s AND status = 'sending')
"""
# A report may have overtaken our answer: the state only goes forward.
SENT = """
    UPDATE communications_message SET status = CASE WHEN status IN ('sending', 'maybe_sent') THEN 'sent' ELSE status END,
        provider = %(provider)s, provider_ref = CASE WHEN provider_ref = '' THEN %(ref)s ELSE provider_ref END, sent_at = %(now)s,
        subject = %(subject)s, body_text = %(text)s,
        error_code = CASE WHEN status IN ('sending', 'maybe_sent', 'sent', 'delivered') THEN '' ELSE error_code END,
        error_text = CASE WHEN status IN ('sending', 'maybe_sent', 'sent', 'delivered') THEN '' ELSE error_text END
    WHERE id = %(id)s
"""
ENDED = """
    UPDATE communications_message SET status = %(status)s, error_code = %(code)s, error_text = %(text)s, due_at = %(due)s,
        tries_left = tries_left + %(back)s
    WHERE id = %(id)s AND status = 'sending'
"""


class _Desk:
    """One worker's desk, with a press for each language while a slice lasts. The senders keep their connections by themselves.

    That a message was sent is written in the statement that claims the next one, so that each costs one round trip and one commit.
    """

    def __init__(self, sender: Any) -> None:
        self.sender = sender
        self.table = type(sender)._meta.db_table
        self.presses: dict[tuple[str, str], Press] = {}
        self.unwritten: dict[str, Any] | None = None

    def send(self, messages: Iterable[Message], *, clock: Callable[[], datetime]) -> None:
        """Send the messages one by one until the sender is paused or the provider asks us to wait; the rest is given back."""
        waiting = list(messages)
        done: list[uuid.UUID] = []
        try:
            rest_until = self._work_off(waiting, done, clock=clock)
        finally:
            self._write_down()
        self._hand_back(done, [message.pk for message in waiting], rest_until=rest_until)

    def _work_off(
        self, waiting: list[Message], done: list[uuid.UUID], *, clock: Callable[[], datetime]
    ) -> datetime | None:
        """Move messages from waiting to done; return until when the provider wants to rest, if it does."""
        while waiting:
            message = waiting[0]
            if not self._claim(message, now=clock()):
                if not type(self.sender).objects.filter(pk=self.sender.pk, status="sending").exists():
                    break
                done.append(message.pk)  # another worker was faster
                waiting.pop(0)
                continue
            if not self._send_one(message, clock=clock):
                return clock() + PROVIDER_REST
            done.append(message.pk)
            waiting.pop(0)
        return None

    def _send_one(self, message: Message, *, clock: Callable[[], datetime]) -> bool:
        """Hand one claimed message to its provider and record what became of it; False when the provider takes nothing now."""
        try:
            is_offer = KINDS[message.kind].purpose == PROMOTIONAL
            links = unsubscribe.links_for(message) if is_offer else None
            rendered = self._press(message).print(message.variables, links)
            if message.channel == SMS:
                budget.spend(message, segments=rendering.sms_segments(rendered.text), now=clock())
            receipt = sender_for(message.channel).send(outbox.envelope_of(message, rendered))
        except Unavailable as error:
            # Nobody's fault but the provider's: it costs no try, and the campaign waits.
            self._ended(message, MessageStatus.QUEUED, error.code, error.text, back=1)
            return False
        except OutcomeUnknown as error:
            due = None if message.was_resent else clock() + outbox.RESEND_AFTER
            self._ended(message, MessageStatus.MAYBE_SENT, error.code, error.text, due=due)
        except Suppressed as error:
            self._ended(message, MessageStatus.SUPPRESSED, error.code, error.text)
            address_news.learn_from_refusal(message, error)
        except Rejected as error:
            self._ended(message, MessageStatus.FAILED, error.code, error.text)
            address_news.learn_from_refusal(message, error)
        except budget.BudgetExceeded as error:
            self._ended(message, MessageStatus.FAILED, error.code, str(error.message))
        except (LookupError, ValueError, TypeError) as error:
            logger.exception("Message %s cannot be written", message.pk)
            self._ended(message, MessageStatus.FAILED, "not_writable", f"{type(error).__name__}: {error}")
        else:
            self._sent(message, receipt, rendered, now=clock())
        return True

    def _sent(self, message: Message, receipt: Any, rendered: Rendered, *, now: datetime) -> None:
        # The HTML is not kept for each: the frozen words and the values give it again.
        self.unwritten = {
            "id": message.pk,
            "provider": receipt.provider,
            "ref": receipt.provider_ref,
            "now": now,
            "subject": rendered.subject,
            "text": rendered.text,
        }

    def _claim(self, message: Message, *, now: datetime) -> bool:
        """Write down the last one, and make this one ours; False when it is somebody else's or the sending was paused."""
        claim = CLAIM.format(sender=self.table)
        unwritten, self.unwritten = self.unwritten, None
        sql = f"WITH sent AS ({SENT}) {claim}" if unwritten else claim
        return bool(
            self._execute(sql, claimed=message.pk, sender=self.sender.pk, claimed_at=now, **(unwritten or {}))
        )

    def _write_down(self) -> None:
        if self.unwritten:
            self._execute(SENT, **self.unwritten)
            self.unwritten = None

    def _ended(
        self,
        message: Message,
        status: str,
        code: str,
        text: str,
        *,
        due: datetime | None = None,
        back: int = 0,
    ) -> None:
        self._execute(
            ENDED, id=message.pk, status=status, code=code[:60], text=text[:500], due=due, back=back
        )

    def _hand_back(
        self, done: list[uuid.UUID], waiting: list[uuid.UUID], *, rest_until: datetime | None
    ) -> None:
        Recipient.objects.filter(message_id__in=done, state=State.TAKEN).update(state=State.HANDED_ON)
        Recipient.objects.filter(message_id__in=waiting, state=State.TAKEN).update(
            state=State.WAITING, due_at=rest_until
        )
        if rest_until is not None and isinstance(self.sender, Campaign):
            Campaign.objects.filter(pk=self.sender.pk).update(next_slot_at=rest_until)

    def _press(self, message: Message) -> Press:
        known = (message.channel, message.language)
        if known not in self.presses:
            own = words.words_for(self.sender.key, *known)
            self.presses[known] = Press(
                own, kind=KINDS[message.kind], channel=message.channel, language=message.language
            )
        return self.presses[known]

    @staticmethod
    def _execute(sql: str, **values: Any) -> int:
        with connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.rowcount
