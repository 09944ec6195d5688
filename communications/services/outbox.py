"""The post office's counter: queue, send, send again."""

from __future__ import annotations

import logging
import random
import re
import uuid
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone as clock
from django.utils.module_loading import import_string
from django.utils.translation import gettext_lazy as _

from communications import rendering
from communications.campaigns.words import words_for
from communications.catalogue import EMAIL, KINDS, PROMOTIONAL, SMS, TRANSACTIONAL
from communications.models import (
    MESSAGE_TRANSITIONS,
    Channel,
    DeliveryEvent,
    Message,
    MessageStatus,
    Outage,
    TemplateVersion,
)
from communications.senders.base import CalendarEntry, refuse_open_transaction
from communications.services import address_news, consent, outages, quiet, unsubscribe
from communications.services.handover import Handed, hand_over
from communications.services.wording import version_for
from foundation import audit, features
from foundation.errors import DomainError, InvalidInput
from foundation.jobs import defer
from foundation.text import one_line
from foundation.transitions import change_status

logger = logging.getLogger(__name__)

SEND_TASK = "communications.send_message"
TRIES = 8
BACKOFF_SECONDS = (15, 60, 300, 900, 1800, 3600, 7200)
JITTER = 0.25  # so that what failed together does not come back together
LONGEST_WAIT = timedelta(
    days=3
)  # for a provider that is down; after that the news is stale and a person decides
CAMPAIGN_QUEUE = "campaigns"
NO_LONGER_TRUE = "no_longer_true"
RESEND_AFTER = timedelta(minutes=10)  # time for a delivery event to tell us that the first one did arrive
STUCK_AFTER = timedelta(minutes=10)
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,4})?")


RETRIABLE = (
    MessageStatus.FAILED,
    MessageStatus.BOUNCED,
    MessageStatus.MAYBE_SENT,
    MessageStatus.SUPPRESSED,
)


class CannotRetry(DomainError):
    code = "cannot_retry"
    message = _(
        "Only a message that failed, bounced, was not sent on purpose or may not have left can be sent again."
    )


def was_queued(dedupe_key: str) -> bool:
    """Say whether a message with this key is in the outbox, sent or not."""
    return Message.objects.filter(dedupe_key=dedupe_key).exists()


def queue_message(
    *,
    kind: str,
    channel: str,
    to: str,
    to_name: str = "",
    language: str = "en",
    variables: dict[str, Any],
    dedupe_key: str,
    reference: str = "",
    calendar: CalendarEntry | None = None,
    qr_text: str = "",
    attachment: str = "",
    user: Any = None,
    timezone: str = "",
    campaign_key: str = "",
    condition: str = "",
    other_address: str = "",
    fallback_of: Message | None = None,
    unsaved_words: dict[str, str] | None = None,
) -> Message | None:
    """Put a message into the outbox in the caller's transaction; a worker sends it after the commit.

    A dedupe_key that was used before returns the earlier message and sends nothing. No address: None. An address that nobody can
    be reached at is no reason to undo what the message tells of (a payment, a refund): it is queued, and the attempt to send it
    fails, where staff see it. `other_address` is the same person's on the other channel: what is not delivered goes there once, if
    the kind has words for it. `attachment` ("maker:name") is made when the message is sent, by the function that settings.MESSAGE_ATTACHMENTS
    names for the maker. `timezone` (an IANA name) is where the person is, for quiet hours; `condition` ("checker:what") is
    asked again when it leaves (settings.MESSAGE_CONDITIONS). Raises ValueError for an unknown kind or channel.
    """
    known = KINDS.get(kind)
    if known is None or channel not in known.channels:
        raise ValueError(f"There is no {channel} message of kind {kind!r}.")
    to = one_line(str(to or ""))[:254]
    if not to or (channel == SMS and not features.is_on("sms")):
        return None
    to_name = one_line(to_name)[:120]  # only a display name
    unknown = sorted(set(variables) - set(known.by_name))
    if unknown:
        logger.warning("A %s message was given variables that it does not know: %s", kind, ", ".join(unknown))
    with transaction.atomic():
        message, is_new = Message.objects.get_or_create(
            dedupe_key=dedupe_key,
            defaults={
                "kind": kind,
                "channel": channel,
                "to": to,
                "to_name": to_name,
                "language": language if _LANGUAGE.fullmatch(language or "") else "en",
                "variables": {
                    name: _storable(value) for name, value in variables.items() if name in known.by_name
                },
                "calendar": calendar.as_json() if calendar else None,
                "qr_text": qr_text,
                "attachment": attachment,
                "reference": reference,
                "user": user if getattr(user, "pk", None) else None,
                "other_address": one_line(str(other_address or ""))[:254],
                "timezone": timezone[:64],
                "campaign_key": campaign_key[:60],
                "condition": condition,
                "fallback_of": fallback_of,
                "unsaved_words": unsaved_words,
                "tries_left": TRIES,
                "due_at": clock.now(),
            },
        )
        if is_new:
            _defer_sending(message)
    return message


def _storable(value: Any) -> Any:
    return [str(item) for item in value] if isinstance(value, list | tuple) else str(value)


def check_address(channel: str, to: str) -> None:
    """Raise InvalidInput for an address that the channel cannot reach."""
    if channel == EMAIL:
        try:
            validate_email(to)
        except ValidationError as error:
            raise InvalidInput(_("Enter an e-mail address such as ada@example.com."), field="to") from error
    elif not _E164.fullmatch(to):
        raise InvalidInput(
            _("Enter a phone number with its country code, such as +442079460123."), field="to"
        )
    if len(to) > 254:
        raise InvalidInput(_("The address is too long."), field="to")


def _defer_sending(message: Message, *, at: datetime | None = None) -> None:
    """Queue the job. Campaigns have a queue of their own, and where one worker serves both, everything else goes first."""
    is_campaign = message.campaign_key.startswith("campaign:")
    defer(
        SEND_TASK,
        queueing_lock=f"message:{message.pk}",
        schedule_at=at,
        queue=CAMPAIGN_QUEUE if is_campaign else "default",
        priority=-10 if is_campaign else 0,
        message_id=str(message.pk),
    )


# --- Sending ----------------------------------------------------------------------------------------------------


def send(message_id: str | uuid.UUID, *, now: datetime) -> Message | None:
    """Send a queued message that is due and record what became of it; None when there is nothing to do.

    Three steps: commit "sending", call the provider with no transaction open, commit the result. Raises RuntimeError when
    called inside a transaction.
    """
    message = _claim(message_id, now=now)
    if message is None:
        return None
    purpose = purpose_of(message)
    if purpose == PROMOTIONAL:
        later = quiet.next_allowed(now, timezone=message.timezone)
        if later > now:
            return _record_quiet(message, later)
    verdict = consent.may_receive(purpose=purpose, channel=message.channel, address=message.to)
    if not verdict.is_allowed:
        return _record_suppressed(message, verdict.reason, verdict.words)
    if not _still_holds(message.condition):
        return _record_suppressed(message, NO_LONGER_TRUE, str(_("What it tells is not true any more.")))
    handed = hand_over(
        message,
        lambda: _written(message),
        now=now,
        is_resend=message.was_resent,
        may_end_outage=getattr(message, "provider_has_failed", False),
    )
    if handed.status == MessageStatus.SENT:
        return _record_sent(message, handed, now=now)
    if handed.status == MessageStatus.QUEUED:
        return _record_unavailable(message, handed, now=now)
    if handed.status == MessageStatus.MAYBE_SENT:
        return _record_unknown(message, handed, now=now)
    return _record_refused(message, handed)


def _written(message: Message) -> tuple[rendering.Rendered, Any]:
    check_address(message.channel, message.to)
    kind, words = KINDS[message.kind], _words_of(message)
    rendered = rendering.render(
        words,
        kind=kind,
        channel=message.channel,
        language=message.language,
        variables=message.variables,
        has_qr=bool(message.qr_text),
        links=unsubscribe.links_for(message) if kind.purpose == PROMOTIONAL else None,
    )
    if message.is_test:
        mark = f"{_('Test')}: "
        name = "subject" if message.channel == EMAIL else "text"
        rendered = replace(rendered, **{name: mark + getattr(rendered, name)})
    return rendered, words


def purpose_of(message: Message) -> str:
    """Return what the message is for; a test goes to whom staff named and is no promotion."""
    return TRANSACTIONAL if message.is_test else KINDS[message.kind].purpose


def _words_of(message: Message) -> Any:
    """Return the words that the message is made of: those being tried, its campaign's or alert's, else its template's newest."""
    if message.unsaved_words:
        return TemplateVersion(number=0, **message.unsaved_words)
    if KINDS[message.kind].has_own_words and message.campaign_key:
        return words_for(message.campaign_key.removeprefix("test:"), message.channel, message.language)
    return version_for(message.kind, message.channel, message.language)


def _still_holds(condition: str) -> bool:
    """Ask whoever queued the message whether it is still true, by the function that settings.MESSAGE_CONDITIONS names."""
    checker, _colon, what = condition.partition(":")
    return not checker or bool(import_string(settings.MESSAGE_CONDITIONS[checker])(what))


_CLAIM = """
    UPDATE communications_message AS message
    SET status = 'sending', attempts = attempts + 1, tries_left = greatest(tries_left - 1, 0), sending_since = %(now)s
    WHERE id = %(id)s AND status = 'queued' AND (due_at IS NULL OR due_at <= %(now)s) AND NOT EXISTS (
        SELECT 1 FROM communications_outage outage WHERE outage.channel = message.channel AND outage.failures > 0
    )
    RETURNING *
"""


def _claim(message_id: str | uuid.UUID, *, now: datetime) -> Message | None:
    """Take the message for this worker, in one statement where nothing is out of the ordinary."""
    refuse_open_transaction()
    for message in Message.objects.raw(_CLAIM, {"id": str(message_id), "now": now}):
        return message
    return _claim_with_care(message_id, now=now)


def _claim_with_care(message_id: str | uuid.UUID, *, now: datetime) -> Message | None:
    """Take a message that waits for its one resend, or whose channel has seen failures."""
    with transaction.atomic(durable=True):
        message = Message.objects.select_for_update(skip_locked=True).filter(pk=message_id).first()
        if message is None or message.status not in (MessageStatus.QUEUED, MessageStatus.MAYBE_SENT):
            return None
        if message.due_at is not None and message.due_at > now:
            return None
        if message.due_at is None and message.status == MessageStatus.MAYBE_SENT:
            return None
        if not outages.may_try(message.channel, now=now):
            _wait_for_provider(message, now=now)
            return None
        if message.status == MessageStatus.MAYBE_SENT:
            if message.was_resent:
                return None
            message.was_resent = True
            change_status(message, MessageStatus.QUEUED, MESSAGE_TRANSITIONS)
            message.save(update_fields=["status", "was_resent"])
        change_status(message, MessageStatus.SENDING, MESSAGE_TRANSITIONS)
        message.attempts += 1
        message.tries_left = max(message.tries_left - 1, 0)
        message.sending_since = now
        message.save(update_fields=["status", "attempts", "tries_left", "sending_since"])
        message.provider_has_failed = True  # type: ignore[attr-defined]  # its answer may end an outage
        return message


def _wait_for_provider(message: Message, *, now: datetime) -> None:
    """Lay the message aside until the provider answers somebody. No job is left: the end of the outage brings one."""
    if message.status == MessageStatus.MAYBE_SENT:
        message.due_at = now + RESEND_AFTER
        message.save(update_fields=["due_at"])
        _defer_sending(message, at=message.due_at)
        return
    message.due_at = None
    message.error_code = outages.WAITING
    message.error_text = str(_("Waits until the provider takes messages again."))
    message.save(update_fields=["due_at", "error_code", "error_text"])


def _locked(message: Message) -> Message:
    return Message.objects.select_for_update().get(pk=message.pk)


def _is_ours(message: Message, attempt: int) -> bool:
    """Whether the row still waits for this attempt's answer (the sweep may have given up on it meanwhile)."""
    return message.attempts == attempt


def _record_sent(sent: Message, handed: Handed, *, now: datetime) -> Message:
    kind, words, receipt, rendered = KINDS[sent.kind], handed.words, handed.receipt, handed.rendered
    assert receipt and rendered  # of what was sent
    if kind.secrets:
        hidden = rendering.hide_secrets(sent.variables, kind)
        rendered = rendering.render(
            words,
            kind=kind,
            channel=sent.channel,
            language=sent.language,
            variables=hidden,
            has_qr=bool(sent.qr_text),
        )
    changes: dict[str, Any] = {
        "provider": receipt.provider,
        "provider_ref": receipt.provider_ref,
        "template_version": words if isinstance(words, TemplateVersion) and words.pk else None,
        "subject": rendered.subject,
        "body_text": rendered.text,
        "body_html": rendered.html,
        "variables": rendering.hide_secrets(sent.variables, kind),
        "sent_at": now,
        "error_code": "",
        "error_text": "",
    }
    still_ours = Message.objects.filter(pk=sent.pk, attempts=sent.attempts, status=MessageStatus.SENDING)
    if still_ours.update(status=MessageStatus.SENT, **changes):
        for name, value in {"status": MessageStatus.SENT, **changes}.items():
            setattr(sent, name, value)
        return sent
    with transaction.atomic(durable=True):  # a callback or the sweep was faster
        message = _locked(sent)
        if message.status in (MessageStatus.SENDING, MessageStatus.MAYBE_SENT):
            change_status(message, MessageStatus.SENT, MESSAGE_TRANSITIONS)
        if _is_ours(message, sent.attempts):
            if message.status not in (MessageStatus.SENT, MessageStatus.DELIVERED):
                changes = {name: value for name, value in changes.items() if not name.startswith("error")}
            for name, value in changes.items():
                setattr(message, name, value)
        message.save()
    return message


def _record_refused(sent: Message, handed: Handed) -> Message:
    """Record that the message cannot leave, and what the provider's refusal says about its address."""
    with transaction.atomic(durable=True):
        message = _end(sent, handed.status, handed.code, handed.text)
        if handed.refusal:
            address_news.learn_from_refusal(message, handed.refusal)
        if message.status == handed.status:
            fall_back(message)
    return message


def _record_suppressed(sent: Message, code: str, text: str) -> Message:
    """Note that the message is not sent on purpose. The try that was counted is given back."""
    with transaction.atomic(durable=True):
        message = _end(sent, MessageStatus.SUPPRESSED, code, text, back=1)
        if message.status == MessageStatus.SUPPRESSED and code != NO_LONGER_TRUE:
            fall_back(message)
    return message


def _end(sent: Message, status: str, code: str, text: str, *, back: int = 0) -> Message:
    """Lock the message and end it, if it still waits for this attempt's answer. In a transaction."""
    message = _locked(sent)
    if message.status == MessageStatus.SENDING and _is_ours(message, sent.attempts):
        change_status(message, status, MESSAGE_TRANSITIONS)
        message.error_code, message.error_text = code[:60], text[:500]
        message.tries_left += back
        message.save(update_fields=["status", "error_code", "error_text", "tries_left"])
    return message


def _record_quiet(sent: Message, later: datetime) -> Message:
    """Let the message wait for the end of the recipient's quiet hours. The try that was counted is given back."""
    with transaction.atomic(durable=True):
        message = _locked(sent)
        if message.status == MessageStatus.SENDING and _is_ours(message, sent.attempts):
            change_status(message, MessageStatus.QUEUED, MESSAGE_TRANSITIONS)
            message.due_at = later
            message.tries_left += 1
            message.error_code, message.error_text = (
                "quiet_hours",
                str(_("It waits for the end of quiet hours.")),
            )
            message.save(update_fields=["status", "due_at", "error_code", "error_text", "tries_left"])
            _defer_sending(message, at=later)
    return message


def _record_unavailable(sent: Message, handed: Handed, *, now: datetime) -> Message:
    with transaction.atomic(durable=True):
        message = _locked(sent)
        if message.status != MessageStatus.SENDING or not _is_ours(message, sent.attempts):
            return message
        message.error_code, message.error_text = handed.code, handed.text
        if message.was_resent:
            # The first one may have left, so that is what it stays; the resend did not, so it is still to come.
            change_status(message, MessageStatus.MAYBE_SENT, MESSAGE_TRANSITIONS)
            message.was_resent = not message.tries_left
            message.due_at = now + _wait(message, handed) if message.tries_left else None
            if message.due_at:
                _defer_sending(message, at=message.due_at)
        elif handed.is_outage:
            change_status(message, MessageStatus.QUEUED, MESSAGE_TRANSITIONS)
            message.tries_left += 1
            _wait_for_provider(message, now=now)
        elif message.tries_left:
            change_status(message, MessageStatus.QUEUED, MESSAGE_TRANSITIONS)
            message.due_at = now + _wait(message, handed)
            _defer_sending(message, at=message.due_at)
        else:
            change_status(message, MessageStatus.FAILED, MESSAGE_TRANSITIONS)
        message.save()
        if message.status == MessageStatus.FAILED:
            fall_back(message)
    return message


def _wait(message: Message, handed: Handed) -> timedelta:
    """Return how long to wait: what the provider asked for, or our own steps; spread, so that not all come at once."""
    step = BACKOFF_SECONDS[min(TRIES - message.tries_left, len(BACKOFF_SECONDS)) - 1]
    if handed.retry_after_seconds is not None:
        return timedelta(seconds=handed.retry_after_seconds + random.uniform(0, 5))  # noqa: S311 - only to spread the load
    return timedelta(seconds=step * random.uniform(1 - JITTER, 1 + JITTER))  # noqa: S311


def _record_unknown(sent: Message, handed: Handed, *, now: datetime) -> Message:
    with transaction.atomic(durable=True):
        message = _locked(sent)
        if message.status == MessageStatus.SENDING and _is_ours(message, sent.attempts):
            _mark_maybe_sent(message, handed.code, handed.text, now=now)
    return message


def _mark_maybe_sent(message: Message, code: str, text: str, *, now: datetime) -> None:
    change_status(message, MessageStatus.MAYBE_SENT, MESSAGE_TRANSITIONS)
    message.error_code, message.error_text = code, text
    message.due_at = None if message.was_resent else now + RESEND_AFTER
    message.save(update_fields=["status", "due_at", "error_code", "error_text"])
    if message.due_at:
        _defer_sending(message, at=message.due_at)


# --- The other channel ------------------------------------------------------------------------------------------


def fall_back(message: Message) -> Message | None:
    """Queue the news of a message that did not arrive for the person's other channel, once; None where that is not to be.

    Only what belongs to something the person did or has, if the kind has words for the other channel, the address is known and
    nothing was queued there for the same fact. Never for what is a fallback itself. In the caller's transaction, the message locked.
    """
    kind = KINDS.get(message.kind)
    other = SMS if message.channel == EMAIL else EMAIL
    if kind is None or purpose_of(message) != TRANSACTIONAL or other not in kind.channels:
        return None
    if message.fallback_of_id or not message.other_address or rendering.HIDDEN in message.variables.values():
        return None
    try:
        check_address(other, message.other_address)
    except InvalidInput:
        return None
    key = f"{message.dedupe_key.removesuffix(f':{message.channel}')[:190]}:{other}"
    if was_queued(key) or message.fallbacks.exists():
        return None
    return queue_message(
        kind=message.kind,
        channel=other,
        to=message.other_address,
        to_name=message.to_name,
        language=message.language,
        variables=message.variables,
        dedupe_key=key,
        reference=message.reference,
        calendar=CalendarEntry.from_json(message.calendar) if message.calendar else None,
        qr_text=message.qr_text,
        attachment=message.attachment if other == EMAIL else "",
        user=message.user,
        timezone=message.timezone,
        condition=message.condition,
        fallback_of=message,
    )


# --- The clock --------------------------------------------------------------------------------------------------


def sweep(*, now: datetime, limit: int = 200) -> int:
    """Bring unfinished messages back on their way and return how many.

    "sending" for ten minutes: the worker died and the provider may have been asked, so it is maybe sent. Queued or due for
    its one resend without being picked up for two minutes: its job is deferred again.
    """
    with transaction.atomic():
        stuck = list(
            Message.objects.select_for_update(skip_locked=True).filter(
                status=MessageStatus.SENDING, sending_since__lt=now - STUCK_AFTER
            )[:limit]
        )
        for message in stuck:
            _mark_maybe_sent(
                message, "worker_lost", str(_("The worker stopped while it was sending.")), now=now
            )
        waiting = list(
            Message.objects.select_for_update(skip_locked=True)
            .filter(
                status__in=[MessageStatus.QUEUED, MessageStatus.MAYBE_SENT],
                due_at__lt=now - timedelta(minutes=2),
            )
            .order_by("due_at")[:limit]
        )
        for message in waiting:
            _defer_sending(message)
        tried = sum(_try_during_outage(channel, now=now) for channel, _name in Channel.choices)
    return len(stuck) + len(waiting) + tried


def _try_during_outage(channel: str, *, now: datetime) -> int:
    """Send one of the waiting messages on its way when a try is due; all of them when there is no outage any more."""
    outage = Outage.objects.filter(channel=channel, since__isnull=False).first()
    if outage is None:
        return release_waiting(channel, now=now) if outages.waiting(channel).exists() else 0
    if outage.next_try_at is None or outage.next_try_at > now:
        return 0
    return _release(list(outages.waiting(channel).select_for_update(skip_locked=True)[:1]), now=now)


def release_waiting(channel: str, *, now: datetime, limit: int = 500) -> int:
    """Bring what waited for the provider back on its way, a batch at a time, and return how many. Goes on by itself."""
    with transaction.atomic():
        rows = list(outages.waiting(channel).select_for_update(skip_locked=True)[:limit])
        released = _release(rows, now=now)
        if released == limit:
            defer(outages.RELEASE_TASK, queueing_lock=f"{outages.RELEASE_TASK}:{channel}", channel=channel)
    return released


def _release(messages: list[Message], *, now: datetime) -> int:
    Message.objects.filter(pk__in=[message.pk for message in messages]).update(
        due_at=now, error_code="", error_text=""
    )
    for message in messages:
        _defer_sending(message)
    return len(messages)


# --- Staff ------------------------------------------------------------------------------------------------------


def needs_person() -> QuerySet[Message]:
    """Return what did not arrive, or may not have, and that nothing will mend by itself: staff look at these."""
    replaced = Message.objects.filter(
        fallback_of=OuterRef("pk"),
        status__in=[
            MessageStatus.QUEUED, MessageStatus.SENDING, MessageStatus.SENT, MessageStatus.DELIVERED,
        ],
    )  # fmt: skip
    return Message.objects.filter(
        Q(status__in=[MessageStatus.FAILED, MessageStatus.BOUNCED])
        | Q(status=MessageStatus.MAYBE_SENT, due_at=None),
        ~Exists(replaced),
        status__in=[
            MessageStatus.FAILED,
            MessageStatus.BOUNCED,
            MessageStatus.MAYBE_SENT,
        ],  # as the index says it
        attended_at=None,
    )


def attend(message: Message, *, by: Any, reason: str) -> Message:
    """Take a message off the list of those that need a person. Raises CannotRetry for one that is not on it."""
    with transaction.atomic():
        message = _locked(message)
        if not needs_person().filter(pk=message.pk).exists():
            raise CannotRetry(_("This message does not wait for anybody."))
        message.attended_at = clock.now()
        message.save(update_fields=["attended_at"])
        audit.record(actor=by, action="message_seen_to", subject=f"message:{message.pk}", reason=reason)
    return message


def retry(message: Message, *, by: Any, reason: str = "", to: str = "") -> Message:
    """Queue a message again that failed, bounced or may not have left; to another address where the first was wrong.

    Raises CannotRetry, and InvalidInput for an address that cannot be reached.
    """
    with transaction.atomic():
        message = _locked(message)
        if message.status not in RETRIABLE:
            raise CannotRetry
        if rendering.HIDDEN in message.variables.values():
            raise CannotRetry(
                _("This message held a one-time link that is gone. Ask the customer to request a new one.")
            )
        before = message.to
        if to.strip():
            message.to = to.strip()
            check_address(message.channel, message.to)
        change_status(message, MessageStatus.QUEUED, MESSAGE_TRANSITIONS)
        message.tries_left, message.was_resent = TRIES, False
        message.due_at = clock.now()
        message.error_code = message.error_text = message.provider_ref = ""
        message.attended_at = message.delivered_at = None
        message.save()
        changed = {} if message.to == before else {"values": {"to": [before, message.to]}}
        audit.record(
            actor=by, action="message_retried", subject=f"message:{message.pk}", reason=reason, data=changed
        )
        DeliveryEvent.objects.create(
            message=message,
            event_id=f"retry:{uuid.uuid4()}",
            kind="retry",
            detail=f"{before} → {message.to}" if changed else "",
        )
        _defer_sending(message)
    return message
