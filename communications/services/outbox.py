"""The post office's counter: queue, send, send again."""

from __future__ import annotations

import logging
import re
import uuid
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.utils import timezone as clock
from django.utils.module_loading import import_string
from django.utils.translation import gettext_lazy as _

from communications import rendering
from communications.campaigns.words import words_for
from communications.catalogue import EMAIL, KINDS, PROMOTIONAL, SMS, TRANSACTIONAL
from communications.models import MESSAGE_TRANSITIONS, Message, MessageStatus, TemplateVersion
from communications.senders import sender_for
from communications.senders.base import (
    Attachment,
    CalendarEntry,
    Envelope,
    OutcomeUnknown,
    Receipt,
    Rejected,
    Unavailable,
)
from communications.services import budget, consent, quiet, unsubscribe
from communications.services.wording import version_for
from foundation import audit
from foundation.errors import DomainError, InvalidInput
from foundation.jobs import defer
from foundation.text import one_line
from foundation.transitions import change_status

logger = logging.getLogger(__name__)

SEND_TASK = "communications.send_message"
TRIES = 8
BACKOFF_SECONDS = (15, 60, 300, 900, 1800, 3600, 7200)
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
) -> Message | None:
    """Put a message into the outbox in the caller's transaction; a worker sends it after the commit.

    A dedupe_key that was used before returns the earlier message and sends nothing. No address: None. An address that nobody can
    be reached at is no reason to undo what the message tells of (a payment, a refund): it is queued, and the attempt to send it
    fails, where staff see it. `attachment` ("maker:name") is made when the message is sent, by the function that settings.MESSAGE_ATTACHMENTS
    names for the maker. `timezone` (an IANA name) is where the person is, for quiet hours; `condition` ("checker:what") is
    asked again when it leaves (settings.MESSAGE_CONDITIONS). Raises ValueError for an unknown kind or channel.
    """
    known = KINDS.get(kind)
    if known is None or channel not in known.channels:
        raise ValueError(f"There is no {channel} message of kind {kind!r}.")
    to = one_line(str(to or ""))[:254]
    if not to:
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
                "timezone": timezone[:64],
                "campaign_key": campaign_key[:60],
                "condition": condition,
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
    defer(SEND_TASK, queueing_lock=f"message:{message.pk}", schedule_at=at, message_id=str(message.pk))


# --- Sending ----------------------------------------------------------------------------------------------------


def send(message_id: str | uuid.UUID, *, now: datetime) -> Message | None:
    """Send a queued message that is due and record what became of it; None when there is nothing to do.

    Three steps: commit "sending", call the provider with no transaction open, commit the result. Raises RuntimeError when
    called inside a transaction.
    """
    message = _claim(message_id, now=now)
    if message is None:
        return None
    kind, purpose = KINDS[message.kind], purpose_of(message)
    if purpose == PROMOTIONAL:
        later = quiet.next_allowed(now, timezone=message.timezone)
        if later > now:
            return _record_quiet(message, later)
    verdict = consent.may_receive(purpose=purpose, channel=message.channel, address=message.to)
    if not verdict.is_allowed:
        return _record_suppressed(message, verdict.reason, verdict.words)
    if not _still_holds(message.condition):
        return _record_suppressed(message, "no_longer_true", str(_("What it tells is not true any more.")))
    try:
        check_address(message.channel, message.to)
        version = _words_of(message)
        rendered = rendering.render(
            version,
            kind=kind,
            channel=message.channel,
            language=message.language,
            variables=message.variables,
            has_qr=bool(message.qr_text),
            links=unsubscribe.links_for(message) if kind.purpose == PROMOTIONAL else None,
        )
        if message.channel == SMS:
            budget.spend(message, segments=rendering.sms_segments(rendered.text), now=now)
        receipt = sender_for(message.channel).send(envelope_of(message, rendered))
    except OutcomeUnknown as error:
        return _record_unknown(message, error, now=now)
    except Unavailable as error:
        return _record_unavailable(message, error, now=now)
    except Rejected as error:
        return _record_failed(message, error.code, error.text)
    except budget.BudgetExceeded as error:
        return _record_failed(message, error.code, str(error.message))
    except InvalidInput as error:
        return _record_failed(message, "bad_address", str(error.message))
    except (LookupError, ValueError, TypeError) as error:
        logger.exception("Message %s cannot be written", message.pk)
        return _record_failed(message, "not_writable", f"{type(error).__name__}: {error}")
    return _record_sent(message, receipt, version, rendered, now=now)


def purpose_of(message: Message) -> str:
    """Return what the message is for; a test goes to whom staff named and is no promotion."""
    return TRANSACTIONAL if message.dedupe_key.startswith("test:") else KINDS[message.kind].purpose


def _words_of(message: Message) -> Any:
    """Return the words that the message is made of: those of its campaign or alert, else its template's newest."""
    if KINDS[message.kind].has_own_words and message.campaign_key:
        return words_for(message.campaign_key.removeprefix("test:"), message.channel, message.language)
    return version_for(message.kind, message.channel, message.language)


def _still_holds(condition: str) -> bool:
    """Ask whoever queued the message whether it is still true, by the function that settings.MESSAGE_CONDITIONS names."""
    checker, _colon, what = condition.partition(":")
    return not checker or bool(import_string(settings.MESSAGE_CONDITIONS[checker])(what))


def _claim(message_id: str | uuid.UUID, *, now: datetime) -> Message | None:
    with transaction.atomic(durable=True):
        message = Message.objects.select_for_update(skip_locked=True).filter(pk=message_id).first()
        if message is None:
            return None
        if (
            message.status == MessageStatus.MAYBE_SENT
            and not message.was_resent
            and message.due_at
            and message.due_at <= now
        ):
            message.was_resent = True
            change_status(message, MessageStatus.QUEUED, MESSAGE_TRANSITIONS)
            message.save(update_fields=["status", "was_resent"])
        if message.status != MessageStatus.QUEUED or (message.due_at and message.due_at > now):
            return None
        change_status(message, MessageStatus.SENDING, MESSAGE_TRANSITIONS)
        message.attempts += 1
        message.tries_left = max(message.tries_left - 1, 0)
        message.sending_since = now
        message.save(update_fields=["status", "attempts", "tries_left", "sending_since"])
        return message


def envelope_of(message: Message, rendered: rendering.Rendered) -> Envelope:
    """Return the message as it is handed to a sender."""
    return Envelope(
        message_id=str(message.pk),
        to=message.to,
        to_name=message.to_name,
        subject=f"{_('Test')}: {rendered.subject}"
        if message.dedupe_key.startswith("test:")
        else rendered.subject,
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


def _locked(message: Message) -> Message:
    return Message.objects.select_for_update().get(pk=message.pk)


def _is_ours(message: Message, attempt: int) -> bool:
    """Whether the row still waits for this attempt's answer (the sweep may have given up on it meanwhile)."""
    return message.attempts == attempt


def _record_sent(
    sent: Message, receipt: Receipt, version: TemplateVersion, rendered: rendering.Rendered, *, now: datetime
) -> Message:
    kind = KINDS[sent.kind]
    if kind.secrets:
        hidden = rendering.hide_secrets(sent.variables, kind)
        rendered = rendering.render(
            version,
            kind=kind,
            channel=sent.channel,
            language=sent.language,
            variables=hidden,
            has_qr=bool(sent.qr_text),
        )
    with transaction.atomic(durable=True):
        message = _locked(sent)
        if message.status in (
            MessageStatus.SENDING,
            MessageStatus.MAYBE_SENT,
        ):  # a callback may have been faster
            change_status(message, MessageStatus.SENT, MESSAGE_TRANSITIONS)
        if _is_ours(message, sent.attempts):
            message.provider, message.provider_ref = receipt.provider, receipt.provider_ref
            message.template_version = version if isinstance(version, TemplateVersion) else None
            message.subject, message.body_text, message.body_html = (
                rendered.subject,
                rendered.text,
                rendered.html,
            )
            message.variables = rendering.hide_secrets(message.variables, kind)
            message.sent_at = now
            if message.status in (MessageStatus.SENT, MessageStatus.DELIVERED):
                message.error_code = message.error_text = ""
        message.save()
    return message


def _record_failed(sent: Message, code: str, text: str) -> Message:
    with transaction.atomic(durable=True):
        message = _locked(sent)
        if message.status == MessageStatus.SENDING and _is_ours(message, sent.attempts):
            change_status(message, MessageStatus.FAILED, MESSAGE_TRANSITIONS)
            message.error_code, message.error_text = code[:60], text[:500]
            message.save(update_fields=["status", "error_code", "error_text"])
    return message


def _record_suppressed(sent: Message, code: str, text: str) -> Message:
    """Note that the message is not sent on purpose. The try that was counted is given back."""
    with transaction.atomic(durable=True):
        message = _locked(sent)
        if message.status == MessageStatus.SENDING and _is_ours(message, sent.attempts):
            change_status(message, MessageStatus.SUPPRESSED, MESSAGE_TRANSITIONS)
            message.error_code, message.error_text = code[:60], text[:500]
            message.tries_left += 1
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


def _record_unavailable(sent: Message, error: Unavailable, *, now: datetime) -> Message:
    if not sent.tries_left:
        return _record_failed(sent, error.code, error.text)
    with transaction.atomic(durable=True):
        message = _locked(sent)
        if message.status == MessageStatus.SENDING and _is_ours(message, sent.attempts):
            change_status(message, MessageStatus.QUEUED, MESSAGE_TRANSITIONS)
            wait = BACKOFF_SECONDS[min(TRIES - message.tries_left, len(BACKOFF_SECONDS)) - 1]
            message.due_at = now + timedelta(seconds=wait)
            message.error_code, message.error_text = error.code, error.text
            message.save(update_fields=["status", "due_at", "error_code", "error_text"])
            _defer_sending(message, at=message.due_at)
    return message


def _record_unknown(sent: Message, error: OutcomeUnknown, *, now: datetime) -> Message:
    with transaction.atomic(durable=True):
        message = _locked(sent)
        if message.status == MessageStatus.SENDING and _is_ours(message, sent.attempts):
            _mark_maybe_sent(message, error.code, error.text, now=now)
    return message


def _mark_maybe_sent(message: Message, code: str, text: str, *, now: datetime) -> None:
    change_status(message, MessageStatus.MAYBE_SENT, MESSAGE_TRANSITIONS)
    message.error_code, message.error_text = code, text
    message.due_at = None if message.was_resent else now + RESEND_AFTER
    message.save(update_fields=["status", "due_at", "error_code", "error_text"])
    if message.due_at:
        _defer_sending(message, at=message.due_at)


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
    return len(stuck) + len(waiting)


def retry(message: Message, *, by: Any, reason: str = "") -> Message:
    """Queue a message again that failed, bounced or may not have left. Raises CannotRetry."""
    with transaction.atomic():
        message = _locked(message)
        if message.status not in RETRIABLE:
            raise CannotRetry
        if rendering.HIDDEN in message.variables.values():
            raise CannotRetry(
                _("This message held a one-time link that is gone. Ask the customer to request a new one.")
            )
        change_status(message, MessageStatus.QUEUED, MESSAGE_TRANSITIONS)
        message.tries_left, message.was_resent = TRIES, False
        message.due_at = clock.now()
        message.error_code = message.error_text = message.provider_ref = ""
        message.save()
        audit.record(actor=by, action="message_retried", subject=f"message:{message.pk}", reason=reason)
        _defer_sending(message)
    return message
