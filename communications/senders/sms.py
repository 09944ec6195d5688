"""SMS through Twilio."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
    Unavailable,
    refuse_open_transaction,
)

TWILIO = "https://api.twilio.com"
STATUS_PATH = "/webhooks/twilio/status/"


class _HttpClient(TwilioHttpClient):
    """Twilio's client with our timeout and, when TWILIO_API_BASE is set, another base address."""

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Response:
        if settings.TWILIO_API_BASE and url.startswith(TWILIO):
            url = settings.TWILIO_API_BASE.rstrip("/") + url.removeprefix(TWILIO)
        return super().request(method, url, *args, **kwargs)


def callback_url(message_id: str) -> str:
    """Return the address that Twilio reports to. It names our row, because a report may overtake the answer with the SID."""
    return f"{settings.SITE_URL}{STATUS_PATH}?{urlencode({'message': message_id})}"


class SmsSender:
    provider = "twilio"

    def __init__(self, client: Client | None = None) -> None:
        self._client = client

    @contextmanager
    def kept_open(self) -> Iterator[SmsSender]:
        """Keep one connection to Twilio for all that is sent meanwhile."""
        yield SmsSender(_client())

    def send(self, envelope: Envelope) -> Receipt:
        """Send one SMS. Raises Rejected, Unavailable or OutcomeUnknown: Twilio has no idempotency key."""
        refuse_open_transaction()
        client = self._client or _client()
        try:
            sent = client.messages.create(
                to=envelope.to,
                from_=settings.TWILIO_FROM_NUMBER,
                body=envelope.text,
                status_callback=callback_url(envelope.message_id),
            )
        except TwilioRestException as error:
            raise _translated(error) from error
        except requests.exceptions.ConnectTimeout as error:
            raise Unavailable("not_connected", "The SMS provider could not be reached.") from error
        except requests.RequestException as error:
            if any(sign in repr(error) for sign in ("NewConnectionError", "NameResolutionError")):
                raise Unavailable("not_connected", "The SMS provider could not be reached.") from error
            raise OutcomeUnknown("no_answer", "The SMS provider's answer was lost.") from error
        except (TwilioException, ValueError) as error:  # an answer that is not JSON: a proxy's page, perhaps
            raise OutcomeUnknown("bad_answer", "The SMS provider's answer could not be read.") from error
        return Receipt(self.provider, sent.sid or "")


def _client() -> Client:
    return Client(
        settings.TWILIO_ACCOUNT_SID,
        settings.TWILIO_AUTH_TOKEN,
        http_client=_HttpClient(timeout=settings.TWILIO_TIMEOUT_SECONDS),
    )


def _translated(error: TwilioRestException) -> Exception:
    code = str(error.code or f"http_{error.status}")
    if error.status in (408, 429, 503):
        return Unavailable(code, "The SMS provider asks us to wait.")
    if error.status in (401, 403) and error.code in (None, 20003):
        return Unavailable(code, "The SMS provider refuses our credentials. Check TWILIO_AUTH_TOKEN.")
    if error.status >= 500:
        return OutcomeUnknown(code, "The SMS provider failed while taking the message.")
    return Rejected(code, str(error.msg))
