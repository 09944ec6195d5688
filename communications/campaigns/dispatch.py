"""Sending to many: small batches, each message with its own intent and result, so that a killed worker leaves one in doubt, not many.

Any number of workers may send one campaign. Who takes the next recipients locks the campaign's row for that moment, which shares them
out and holds the pace. A message is claimed by one statement that also asks whether the campaign still runs: pausing takes effect
before the next message. What a dead worker had taken is taken again after LEASE, and what it had begun is never begun again.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Min, Q
from django.utils import timezone

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
from communications.services import address_news, budget, outages, outbox, quiet, unsubscribe
from communications.services.consent import allowed_addresses
from communications.services.handover import Handed, hand_over
from foundation import features
from foundation.jobs import defer
from foundation.transitions import change_status

logger = logging.getLogger(__name__)

LARGEST_BATCH = 50
LEASE = timedelta(seconds=60)  # longer than a batch takes
REST = timedelta(seconds=30)  # for one that could not leave now
ALERT_LOOKS_AFTER = timedelta(
    seconds=15
)  # in an outage: a warning leaves soon after the provider answers anybody
CATCH_UP = timedelta(seconds=10)  # longer than a job is picked up late
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
            desk.send(taken, clock=clock)
        elif taken.again is None or taken.again > clock():
            return taken.again
        if time.monotonic() - began >= seconds:
            return clock()


# --- Taking -----------------------------------------------------------------------------------------------------


@dataclass
class Taken:
    """Messages to send now, or when to ask again (None: never). `failing`: the channels whose providers failed last."""

    messages: list[Message] = field(default_factory=list)
    again: datetime | None = None
    failing: set[str] = field(default_factory=set)


def take(sender: Any, *, now: datetime) -> Taken:
    """Take the next recipients and make their messages, in one commit. Locks the sender's row.

    Asks for each whether they may still be written to and whether it is quiet where they are. Who would be reached by a provider that
    is down waits; one at a time may try. Nobody left: the sending is finished.
    """
    with transaction.atomic(durable=True):
        row = type(sender).objects.select_for_update().get(pk=sender.pk)
        if row.status not in (CampaignStatus.SENDING, AlertStatus.SENDING):
            return Taken()
        if row.next_slot_at is not None and row.next_slot_at > now:
            return Taken(again=row.next_slot_at)
        everybody, shut = _recipients(row), outages.shut(now=now)
        found = list(
            everybody.exclude(channel__in=shut)
            .filter(
                Q(state=State.WAITING) & (Q(due_at=None) | Q(due_at__lte=now))
                | Q(state=State.TAKEN, taken_at__lt=now - LEASE)
            )
            .select_related("message")
            .order_by("pk")[: batch_size(row)]
        )
        if not found:
            return _what_is_left(row, everybody, shut, now=now)
        ready = _allowed_now(row, _not_begun(found), now=now)
        failing = outages.failing()
        ready, held = _those_who_may_try(ready, failing, now=now)
        messages = _made(row, ready)
        _give(ready, messages, now=now)
        others = [recipient for recipient in found if recipient not in ready and recipient not in held]
        Recipient.objects.bulk_update(others, ["state", "reason", "due_at"])
        if messages and isinstance(row, Campaign):
            # Jobs may be picked up seconds late; what was missed meanwhile is made up for, or the pace would be a third of what was said.
            from_when = max(row.next_slot_at or now, now - CATCH_UP)
            row.next_slot_at = from_when + timedelta(seconds=len(messages) * 60 / row.per_minute)
            row.save(update_fields=["next_slot_at"])
    return Taken(messages, again=now, failing=set(failing))


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
        elif recipient.channel == SMS and not features.is_on("sms"):
            _leave_out(recipient, "switched_off")
        elif (
            purpose == PROMOTIONAL and (allowed := quiet.next_allowed(now, timezone=recipient.timezone)) > now
        ):
            recipient.state, recipient.due_at, recipient.reason = State.WAITING, allowed, "quiet_hours"
        else:
            recipient.reason = ""
            ready.append(recipient)
    return ready


def _those_who_may_try(
    ready: list[Recipient], failing: dict[str, bool], *, now: datetime
) -> tuple[list[Recipient], list[Recipient]]:
    """Split those who are ready: of a channel in an outage one may try, if a try is due; the others stay as they are."""
    tries = {
        channel: 1 if outages.may_try(channel, now=now) else 0
        for channel in {recipient.channel for recipient in ready}
        if failing.get(channel)
    }
    may: list[Recipient] = []
    held: list[Recipient] = []
    for recipient in ready:
        left = tries.get(recipient.channel)
        if left is not None:
            tries[recipient.channel] = left - 1
        (held if left is not None and left < 1 else may).append(recipient)
    return may, held


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


def _what_is_left(sender: Any, everybody: Any, shut: dict[str, datetime], *, now: datetime) -> Taken:
    """Nobody is due: wait for who is next, or say that it is done."""
    left = everybody.filter(state__in=[State.WAITING, State.TAKEN])
    still = left.exclude(channel__in=shut).aggregate(
        due=Min("due_at", filter=Q(state=State.WAITING)), taken=Min("taken_at", filter=Q(state=State.TAKEN))
    )
    moments = [still["due"], still["taken"] + LEASE if still["taken"] else None]
    for channel in set(left.filter(channel__in=shut).values_list("channel", flat=True).distinct()):
        moments.append(
            shut[channel] if isinstance(sender, Campaign) else min(shut[channel], now + ALERT_LOOKS_AFTER)
        )
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
# A report may have overtaken our answer: the state only goes forward. Who was erased meanwhile stays erased.
SENT = """
    UPDATE communications_message SET status = CASE WHEN status IN ('sending', 'maybe_sent') THEN 'sent' ELSE status END,
        provider = %(provider)s, provider_ref = CASE WHEN provider_ref = '' THEN %(ref)s ELSE provider_ref END, sent_at = %(now)s,
        subject = CASE WHEN "to" = '' THEN '' ELSE %(subject)s END, body_text = CASE WHEN "to" = '' THEN '' ELSE %(text)s END,
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

    def send(self, taken: Taken, *, clock: Callable[[], datetime]) -> None:
        """Send the messages one by one until the sender is paused; what is left, or could not leave now, is given back."""
        waiting = list(taken.messages)
        done: list[uuid.UUID] = []
        held: dict[uuid.UUID, tuple[datetime | None, str]] = {}
        try:
            self._work_off(waiting, done, held, failing=taken.failing, clock=clock)
        finally:
            self._write_down()
        held.update({message.pk: (None, "") for message in waiting})
        self._hand_back(done, held)

    def _work_off(
        self,
        waiting: list[Message],
        done: list[uuid.UUID],
        held: dict[uuid.UUID, tuple[datetime | None, str]],
        *,
        failing: set[str],
        clock: Callable[[], datetime],
    ) -> None:
        """Move messages from waiting to done, or to held with when they are due again and why."""
        down: dict[str, tuple[datetime | None, str]] = {}
        while waiting:
            message = waiting[0]
            if message.channel in down:
                held[message.pk] = down[message.channel]
                waiting.pop(0)
                continue
            if (reason := self._refusal(message)) is not None:
                recipient = Recipient.objects.select_related("message").get(message=message)
                _leave_out(recipient, reason)
                recipient.save(update_fields=["state", "reason"])
                waiting.pop(0)
                continue
            if not self._claim(message, now=clock()):
                if not type(self.sender).objects.filter(pk=self.sender.pk, status="sending").exists():
                    return
                done.append(message.pk)  # another worker was faster
                waiting.pop(0)
                continue
            handed = hand_over(
                message,
                partial(self._written, message),
                now=clock(),
                may_end_outage=message.channel in failing,
            )
            again = self._record(message, handed, now=clock())
            if again is None:
                done.append(message.pk)
            else:
                held[message.pk] = again
            if not handed.is_providers:
                failing.discard(message.channel)
            else:
                failing.add(message.channel)
                if again is not None:
                    asked = handed.retry_after_seconds
                    down[message.channel] = (clock() + timedelta(seconds=asked) if asked else None, "")
            waiting.pop(0)

    def _refusal(self, message: Message) -> str | None:
        """Return why an offer may not go to this address any more: many seconds may have passed since its batch was taken."""
        if not isinstance(self.sender, Campaign):
            return None
        found = allowed_addresses(purpose=PROMOTIONAL, channel=message.channel, addresses=[message.to])
        verdict = found[message.to]
        return None if verdict.is_allowed else verdict.reason

    def _written(self, message: Message) -> tuple[Rendered, None]:
        is_offer = KINDS[message.kind].purpose == PROMOTIONAL
        links = unsubscribe.links_for(message) if is_offer else None
        return self._press(message).print(message.variables, links), None

    def _record(self, message: Message, handed: Handed, *, now: datetime) -> tuple[datetime, str] | None:
        """Write down what became of a claimed message; return when it is due again and why, if it did not leave and still may."""
        if handed.status == MessageStatus.SENT:
            self._sent(message, handed, now=now)
            return None
        if handed.over_budget and isinstance(self.sender, Campaign):
            # An offer can wait for tomorrow's budget; a warning cannot, and staff see that it failed.
            self._ended(message, MessageStatus.QUEUED, handed, back=1)
            return budget.renewed_at(now), handed.code
        if handed.status == MessageStatus.QUEUED and (handed.is_providers or message.tries_left > 1):
            # A provider that is down costs no try.
            self._ended(message, MessageStatus.QUEUED, handed, back=1 if handed.is_providers else 0)
            asked = handed.retry_after_seconds
            return now + (timedelta(seconds=asked) if asked is not None else REST), handed.code
        status = MessageStatus.FAILED if handed.status == MessageStatus.QUEUED else handed.status
        is_to_resend = status == MessageStatus.MAYBE_SENT and not message.was_resent
        self._ended(message, status, handed, due=now + outbox.RESEND_AFTER if is_to_resend else None)
        if handed.refusal:
            address_news.learn_from_refusal(message, handed.refusal)
        return None

    def _sent(self, message: Message, handed: Handed, *, now: datetime) -> None:
        assert handed.receipt and handed.rendered  # of what was sent
        # The HTML is not kept for each: the frozen words and the values give it again.
        self.unwritten = {
            "id": message.pk,
            "provider": handed.receipt.provider,
            "ref": handed.receipt.provider_ref,
            "now": now,
            "subject": handed.rendered.subject,
            "text": handed.rendered.text,
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
        self, message: Message, status: str, handed: Handed, *, due: datetime | None = None, back: int = 0
    ) -> None:
        values = {"code": handed.code[:60], "text": handed.text[:500], "due": due, "back": back}
        self._execute(ENDED, id=message.pk, status=status, **values)

    def _hand_back(self, done: list[uuid.UUID], held: dict[uuid.UUID, tuple[datetime | None, str]]) -> None:
        taken = Recipient.objects.filter(state=State.TAKEN)
        taken.filter(message_id__in=done).update(state=State.HANDED_ON)
        for due_at, reason in set(held.values()):
            these = [pk for pk, given in held.items() if given == (due_at, reason)]
            taken.filter(message_id__in=these).update(state=State.WAITING, due_at=due_at, reason=reason[:60])

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
