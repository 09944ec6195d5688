"""E-mail through Django's mail backend: anymail for the provider that EMAIL_PROVIDER names, or whatever EMAIL_BACKEND is."""

from __future__ import annotations

import io
import smtplib
import socket
import threading
import time
from datetime import datetime, timedelta
from email.headerregistry import Address
from email.mime.image import MIMEImage
from typing import Any

import icalendar
import requests
import segno
from anymail.backends.base_requests import AnymailRequestsBackend
from anymail.exceptions import (
    AnymailAPIError,
    AnymailConfigurationError,
    AnymailError,
    AnymailRecipientsRefused,
)
from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.mail.message import BadHeaderError
from django.utils import timezone

from communications.rendering import QR_CONTENT_ID
from communications.senders.base import (
    CalendarEntry,
    Envelope,
    OutcomeUnknown,
    Receipt,
    Rejected,
    Unavailable,
    refuse_open_transaction,
    seconds_to_wait,
)
from foundation.metrics import provider_called

NOT_CONNECTED = (
    requests.exceptions.ConnectTimeout,
    requests.exceptions.SSLError,
    requests.exceptions.ProxyError,
)


ALARM_BEFORE = timedelta(hours=-3)  # what calendars remind of, beside our own reminders
IDLE_SECONDS = (
    30  # a connection that rested longer may be dead without saying so, and a mail lost in it "maybe sent"
)
_kept = threading.local()


def _connection() -> Any:
    """Return this thread's mail connection, opened. Kept between mails when it is anymail's over HTTP; SMTP opens one for each mail."""
    wanted = (settings.EMAIL_BACKEND, repr(sorted(settings.ANYMAIL.items())))
    now = time.monotonic()
    if getattr(_kept, "wanted", None) != wanted or now - _kept.used > IDLE_SECONDS:
        if hasattr(_kept, "connection"):
            _kept.connection.close()
        _kept.connection, _kept.wanted = get_connection(), wanted
    _kept.used = now
    if isinstance(_kept.connection, AnymailRequestsBackend):
        _kept.connection.open()
    return _kept.connection


class EmailSender:
    provider = "email"

    def send(self, envelope: Envelope) -> Receipt:
        """Send one mail. Raises Rejected, Unavailable or OutcomeUnknown."""
        refuse_open_transaction()
        # anymail.backends.sendgrid.EmailBackend: sendgrid
        provider = settings.EMAIL_BACKEND.split(".")[-2][:20]
        with provider_called(provider, "send"):
            return Receipt(provider, self._send(envelope))

    def _send(self, envelope: Envelope) -> str:
        """Return the provider's reference, if it gave one."""
        try:
            mail = build(envelope)
            mail.connection = _connection()
            mail.send()
        except (BadHeaderError, ValueError) as error:
            raise Rejected("invalid_message", str(error)) from error
        except AnymailAPIError as error:
            raise _translated(error) from error
        except AnymailRecipientsRefused as error:
            raise Rejected("address_refused", "The mail provider refuses this address.") from error
        except AnymailConfigurationError as error:
            raise Unavailable("not_configured", str(error)) from error
        except AnymailError as error:
            raise Rejected("not_sendable", type(error).__name__) from error
        except (smtplib.SMTPException, OSError) as error:
            raise _translated_smtp(error) from error
        status = getattr(mail, "anymail_status", None)
        if status is not None and status.status == {
            "unknown"
        }:  # neither taken nor refused, in words that anymail knows
            raise OutcomeUnknown("not_said", "The mail provider did not say whether it took the mail.")
        return str(getattr(status, "message_id", None) or "")

    def find(self, envelope: Envelope, *, since: datetime) -> list[Receipt] | None:
        """None: mail providers tell of a mail by events only, or against extra payment; they are waited for instead."""
        return None


def _translated(error: AnymailAPIError) -> Exception:
    # https://www.twilio.com/docs/sendgrid/api-reference/how-to-use-the-sendgrid-v3-api/responses
    status = error.status_code
    if status is None:
        if isinstance(error, NOT_CONNECTED) or _was_refused(error):
            return Unavailable("not_connected", "The mail provider could not be reached.")
        return OutcomeUnknown("no_answer", "The mail provider's answer was lost.")
    code = f"http_{status}"
    if 200 <= status < 300:  # it said yes, in words that anymail cannot read
        return OutcomeUnknown("bad_answer", "The mail provider's answer could not be read.")
    if status in (408, 429):
        wait = _wait_of(error)
        return Unavailable(code, "The mail provider asks us to wait.", retry_after_seconds=wait)
    if status in (401, 403, 404, 405):  # our key, our sender or our settings: every mail would meet the same
        return Unavailable(
            code,
            f"The mail provider refuses our key, sender or address of its API. It says: {_reason(error)}",
        )
    if status == 413:
        return Rejected(code, "The mail is larger than the mail provider takes.")
    if status >= 500:
        # 503 says that nothing was taken; after any other server error the mail may have left.
        if status == 503:
            wait = _wait_of(error)
            return Unavailable(code, "The mail provider is down.", retry_after_seconds=wait)
        return OutcomeUnknown(code, "The mail provider failed while taking the message.")
    return Rejected(code, _reason(error))


def _wait_of(error: AnymailAPIError) -> float | None:
    """Read how long to wait: Retry-After, or SendGrid's X-RateLimit-Reset (seconds since 1970)."""
    headers = getattr(error.response, "headers", None) or {}
    reset = headers.get("X-RateLimit-Reset", "")
    if not headers.get("Retry-After") and reset.isdecimal():
        return seconds_to_wait(str(int(reset) - time.time()))
    return seconds_to_wait(headers.get("Retry-After"))


def _translated_smtp(error: Exception) -> Exception:
    """Say what an SMTP server's answer means: 4xx later, 5xx never, and a line that broke after the mail's text is unknown."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = [code for code, _words in error.recipients.values()]
        if codes and min(codes) >= 500:
            return Rejected("address_refused", "The mail server refuses this address.")
        return Unavailable(
            "address_waits", "The mail server does not take this address yet.", is_providers=False
        )
    if isinstance(error, (smtplib.SMTPConnectError, smtplib.SMTPAuthenticationError, smtplib.SMTPHeloError)):
        return Unavailable("not_connected", "The mail server does not let us in. Check the EMAIL_ settings.")
    if isinstance(error, smtplib.SMTPResponseException):
        code, text = f"smtp_{error.smtp_code}", "The mail server refuses the message."
        return Rejected(code, text) if error.smtp_code >= 500 else Unavailable(code, text)
    if isinstance(error, (ConnectionRefusedError, socket.gaierror)):
        return Unavailable("not_connected", "The mail server could not be reached.")
    return OutcomeUnknown("no_answer", type(error).__name__)


def _was_refused(error: BaseException) -> bool:
    """Whether no connection was made at all (refused, unknown host), as against one that broke."""
    return isinstance(error, requests.exceptions.ConnectionError) and any(
        sign in repr(error.__cause__ or error) for sign in ("NewConnectionError", "NameResolutionError")
    )


def _reason(error: AnymailAPIError) -> str:
    """Return the provider's own words: SendGrid's list of errors, or the one message that others give."""
    try:
        said = error.response.json()
        if "errors" in said:
            return "; ".join(str(item.get("message", "")) for item in said["errors"])[:500]
        return str(said.get("Message") or said["message"])[:500]
    except (AttributeError, KeyError, TypeError, ValueError):
        return "The mail provider refuses the message."


def build(envelope: Envelope) -> EmailMultiAlternatives:
    """Return the mail: text and HTML, the QR code inline, the appointment and files attached. Raises ValueError for a bad header."""
    name, _at, domain = envelope.to.rpartition("@")
    to = str(Address(envelope.to_name, name, domain)) if envelope.to_name else envelope.to
    mail = EmailMultiAlternatives(
        subject=envelope.subject, body=envelope.text, from_email=settings.DEFAULT_FROM_EMAIL, to=[to]
    )
    if settings.SUPPORT_EMAIL:
        mail.reply_to = [settings.SUPPORT_EMAIL]
    if "\n" in envelope.subject or "\r" in envelope.subject:
        raise BadHeaderError("The subject holds a line break.")
    mail.attach_alternative(envelope.html, "text/html")
    if envelope.qr_text:
        image = MIMEImage(qr_png(envelope.qr_text), "png")
        image.add_header("Content-ID", f"<{QR_CONTENT_ID}>")
        image.add_header("Content-Disposition", "inline", filename="qr.png")
        mail.attach(image)
    if envelope.calendar:
        method = "CANCEL" if envelope.calendar.is_cancelled else "PUBLISH"
        mail.attach(
            "parking.ics", calendar_file(envelope.calendar).decode(), f"text/calendar; method={method}"
        )
    for file in envelope.attachments:
        mail.attach(file.filename, file.content, file.content_type)
    mail.extra_headers |= envelope.headers
    mail.metadata = {"message_id": envelope.message_id}  # type: ignore[attr-defined]
    # A rewritten one-time link would leak to a third party.
    mail.track_clicks = False  # type: ignore[attr-defined]
    mail.track_opens = False  # type: ignore[attr-defined]
    return mail


def qr_png(text: str) -> bytes:
    """Return a QR code as PNG, dark on white with a quiet zone so that it scans in dark mode too."""
    buffer = io.BytesIO()
    segno.make_qr(text, error="m").save(
        buffer, kind="png", scale=6, border=4, dark="#1C1C1E", light="#FFFFFF"
    )
    return buffer.getvalue()


def calendar_file(entry: CalendarEntry) -> bytes:
    """Return the appointment as iCalendar, on the place's own clock, with an alarm before its start and its end.

    The same for everybody who offers it, so that a calendar which got it twice holds it once.
    """
    calendar = icalendar.Calendar()
    calendar.add("prodid", "-//airport parking//booking//EN")
    calendar.add("version", "2.0")
    calendar.add("method", "CANCEL" if entry.is_cancelled else "PUBLISH")
    event = icalendar.Event()
    event.add("uid", entry.uid)
    event.add("sequence", entry.sequence)
    event.add("status", "CANCELLED" if entry.is_cancelled else "CONFIRMED")
    event.add("dtstamp", timezone.now())
    event.add("dtstart", entry.starts_at)
    event.add("dtend", entry.ends_at)
    event.add("summary", entry.summary)
    event.add("location", entry.location)
    event.add("description", entry.description)
    event.add("transp", "TRANSPARENT")  # the car is busy, its driver is not
    if entry.url:
        event.add("url", entry.url)
    if entry.latitude is not None and entry.longitude is not None:
        event.add("geo", (entry.latitude, entry.longitude))
    for end_of in () if entry.is_cancelled else ("START", "END"):
        alarm = icalendar.Alarm()
        alarm.add("action", "DISPLAY")
        alarm.add("description", entry.summary)
        alarm.add("trigger", ALARM_BEFORE, parameters={"RELATED": end_of})
        event.add_component(alarm)
    calendar.add_component(event)
    calendar.add_missing_timezones()
    return calendar.to_ical()
