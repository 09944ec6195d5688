"""E-mail through Django's mail backend: anymail for SendGrid, or whatever EMAIL_BACKEND names."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from email.headerregistry import Address
from email.mime.image import MIMEImage
from typing import Any

import icalendar
import requests
import segno
from anymail.exceptions import AnymailAPIError, AnymailError
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
)

NOT_CONNECTED = (
    requests.exceptions.ConnectTimeout,
    requests.exceptions.SSLError,
    requests.exceptions.ProxyError,
)


class EmailSender:
    provider = "email"

    def __init__(self, connection: Any = None) -> None:
        self._connection = connection

    @contextmanager
    def kept_open(self) -> Iterator[EmailSender]:
        """Keep one connection to the provider for all that is sent meanwhile. Without one each mail makes its own."""
        connection = get_connection()
        try:
            connection.open()
        except OSError:
            yield self
            return
        try:
            yield EmailSender(connection)
        finally:
            connection.close()

    def send(self, envelope: Envelope) -> Receipt:
        """Send one mail. Raises Rejected, Unavailable or OutcomeUnknown."""
        refuse_open_transaction()
        try:
            mail = build(envelope)
            mail.connection = self._connection
            mail.send()
        except (BadHeaderError, ValueError) as error:
            raise Rejected("invalid_message", str(error)) from error
        except AnymailAPIError as error:
            raise _translated(error) from error
        except AnymailError as error:
            raise Rejected("not_sendable", type(error).__name__) from error
        except (TimeoutError, ConnectionError) as error:  # the SMTP backend
            raise OutcomeUnknown("no_answer", type(error).__name__) from error
        status = getattr(mail, "anymail_status", None)
        provider = settings.EMAIL_BACKEND.split(".")[-2]  # anymail.backends.sendgrid.EmailBackend: sendgrid
        return Receipt(provider[:20], str(getattr(status, "message_id", None) or ""))


def _translated(error: AnymailAPIError) -> Exception:
    status = error.status_code
    if status is None:
        if isinstance(error, NOT_CONNECTED) or _was_refused(error):
            return Unavailable("not_connected", "The mail provider could not be reached.")
        return OutcomeUnknown("no_answer", "The mail provider's answer was lost.")
    if status in (408, 429):
        return Unavailable(f"http_{status}", "The mail provider asks us to wait.")
    if status in (401, 403):
        return Unavailable(f"http_{status}", "The mail provider refuses our key. Check SENDGRID_API_KEY.")
    if status >= 500:
        # 503 says that nothing was taken; after any other server error the mail may have left.
        if status == 503:
            return Unavailable("http_503", "The mail provider is down.")
        return OutcomeUnknown(f"http_{status}", "The mail provider failed while taking the message.")
    return Rejected(f"http_{status}", _reason(error))


def _was_refused(error: BaseException) -> bool:
    """Whether no connection was made at all (refused, unknown host), as against one that broke."""
    return isinstance(error, requests.exceptions.ConnectionError) and any(
        sign in repr(error.__cause__ or error) for sign in ("NewConnectionError", "NameResolutionError")
    )


def _reason(error: AnymailAPIError) -> str:
    try:
        return "; ".join(str(item.get("message", "")) for item in error.response.json()["errors"])[:500]
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
        mail.attach("parking.ics", calendar_file(envelope.calendar).decode(), "text/calendar")
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
    """Return the appointment as iCalendar, in the place's own time zone."""
    calendar = icalendar.Calendar()
    calendar.add("prodid", "-//airport parking//booking//EN")
    calendar.add("version", "2.0")
    calendar.add("method", "PUBLISH")
    event = icalendar.Event()
    event.add("uid", entry.uid)
    event.add("sequence", entry.sequence)
    event.add("dtstamp", timezone.now())
    event.add("dtstart", entry.starts_at)
    event.add("dtend", entry.ends_at)
    event.add("summary", entry.summary)
    event.add("location", entry.location)
    event.add("description", entry.description)
    calendar.add_component(event)
    calendar.add_missing_timezones()
    return calendar.to_ical()
