"""SMS through Twilio."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import requests
from django.conf import settings
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.http.response import Response
from twilio.rest import Client

from communications.senders.base import (
    Envelope,
    OutcomeUnknown,
    Receipt,
    Rejected,
    Suppressed,
    Unavailable,
    refuse_open_transaction,
    seconds_to_wait,
)
from foundation.logs import current_request_id
from foundation.metrics import provider_called

TWILIO = "https://api.twilio.com"
STATUS_PATH = "/webhooks/twilio/status/"


# The account or our own number is at fault, so every message would meet the same: they wait until it is mended.
# https://www.twilio.com/docs/api/errors
ACCOUNT_AT_FAULT = {
    20003: "refuses our credentials. Check TWILIO_AUTH_TOKEN.",
    20005: "says that our account is not active.",
    21212: "does not accept our number. Check TWILIO_FROM_NUMBER.",
    21603: "misses the number to send from. Check TWILIO_FROM_NUMBER.",
    21606: "says that our number cannot send SMS. Check TWILIO_FROM_NUMBER.",
    21611: "says that too many messages wait for our number.",
    21659: "says that the number to send from is not ours. Check TWILIO_FROM_NUMBER.",
    21660: "says that the number to send from is not ours. Check TWILIO_FROM_NUMBER.",
}
OPTED_OUT = 21610
LOOK_BACK = timedelta(minutes=2)  # between our clock and Twilio's
MOST_LOOKED_AT = 50
IDLE_SECONDS = (
    30  # a connection that rested longer may be dead without saying so, and a mail lost in it "maybe sent"
)


class _HttpClient(TwilioHttpClient):
    """Twilio's client with our timeout and, when TWILIO_API_BASE is set, another base address. Keeps its connections."""

    retry_after: str | None = None

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Response:
        if settings.TWILIO_API_BASE and url.startswith(TWILIO):
            url = settings.TWILIO_API_BASE.rstrip("/") + url.removeprefix(TWILIO)
        self.retry_after = None
        if current_request_id():  # so that Twilio's own log can be compared with ours
            kwargs["headers"] = {**(kwargs.get("headers") or {}), "X-Request-ID": current_request_id()}
        response = super().request(method, url, *args, **kwargs)
        self.retry_after = (response.headers or {}).get("Retry-After")
        return response


_kept = threading.local()


def _client() -> Client:
    """Return this thread's client; a new one after a rest or when a setting has changed."""
    wanted = (settings.TWILIO_ACCOUNT_SID, settings.TWILIO_AUTH_TOKEN, settings.TWILIO_TIMEOUT_SECONDS)
    now = time.monotonic()
    if getattr(_kept, "wanted", None) != wanted or now - _kept.used > IDLE_SECONDS:
        if hasattr(_kept, "client"):
            _kept.client.http_client.session.close()
        sid, token, timeout = wanted
        _kept.client = Client(sid, token, http_client=_HttpClient(timeout=timeout))
        _kept.wanted = wanted
    _kept.used = now
    client: Client = _kept.client
    return client


def callback_url(message_id: str) -> str:
    """Return the address that Twilio reports to. It names our row, because a report may overtake the answer with the SID."""
    return f"{settings.SITE_URL}{STATUS_PATH}?{urlencode({'message': message_id})}"


class SmsSender:
    provider = "twilio"

    def send(self, envelope: Envelope) -> Receipt:
        """Send one SMS. Raises Rejected, Suppressed, Unavailable or OutcomeUnknown: Twilio has no idempotency key."""
        refuse_open_transaction()
        client = _client()
        with provider_called(self.provider, "send"), _errors(client):
            sent = client.messages.create(
                to=envelope.to,
                from_=settings.TWILIO_FROM_NUMBER,
                body=envelope.text,
                status_callback=callback_url(envelope.message_id),
            )
        return Receipt(self.provider, sent.sid or "")

    def find(self, envelope: Envelope, *, since: datetime) -> list[Receipt] | None:
        """Look through the newest messages to this number for the same text. Raises Unavailable."""
        refuse_open_transaction()
        client = _client()
        try:
            with provider_called(self.provider, "find"), _errors(client):
                listed = client.messages.list(
                    to=envelope.to,
                    from_=settings.TWILIO_FROM_NUMBER,
                    limit=MOST_LOOKED_AT,
                    page_size=MOST_LOOKED_AT,
                )
        except (OutcomeUnknown, Rejected) as error:  # nothing was asked for but a list
            raise Unavailable(error.code, error.text) from error
        return [
            Receipt(self.provider, one.sid or "")
            for one in listed
            if envelope.text.strip() in (one.body or "")
            and one.date_created is not None
            and one.date_created >= since - LOOK_BACK
        ]


@contextmanager
def _errors(client: Client) -> Iterator[None]:
    """Translate what Twilio's library raises."""
    try:
        yield
    except TwilioRestException as error:
        raise _translated(error, getattr(client.http_client, "retry_after", None)) from error
    except requests.exceptions.ConnectTimeout as error:
        raise Unavailable("not_connected", "The SMS provider could not be reached.") from error
    except requests.RequestException as error:
        if any(sign in repr(error) for sign in ("NewConnectionError", "NameResolutionError")):
            raise Unavailable("not_connected", "The SMS provider could not be reached.") from error
        raise OutcomeUnknown("no_answer", "The SMS provider's answer was lost.") from error
    except (TwilioException, ValueError) as error:  # an answer that is not JSON: a proxy's page, perhaps
        raise OutcomeUnknown("bad_answer", "The SMS provider's answer could not be read.") from error


def _translated(error: TwilioRestException, retry_after: str | None) -> Exception:
    status = error.status
    number = (
        0 if error.code in (None, status) else int(error.code)
    )  # the library puts the status where no code is
    code = str(number or f"http_{status}")
    if number == OPTED_OUT:
        return Suppressed("opted_out", "The person has answered STOP.")
    if status in (408, 429, 503):
        return Unavailable(
            code, "The SMS provider asks us to wait.", retry_after_seconds=seconds_to_wait(retry_after)
        )
    if number in ACCOUNT_AT_FAULT:
        return Unavailable(code, f"The SMS provider {ACCOUNT_AT_FAULT[number]}")
    if status in (401, 403) and not number:
        return Unavailable(code, f"The SMS provider {ACCOUNT_AT_FAULT[20003]}")
    if status >= 500:
        return OutcomeUnknown(code, "The SMS provider failed while taking the message.")
    return Rejected(code, str(error.msg))
