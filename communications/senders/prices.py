"""What the SMS provider took for a message: it says so some time after the message has left, and only when asked."""

from __future__ import annotations

import requests
from django.conf import settings
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.rest import Client

from communications.senders.base import Unavailable, refuse_open_transaction
from communications.senders.sms import _HttpClient
from foundation.metrics import provider_called


def price_of(provider_ref: str) -> tuple[str | None, str | None]:
    """Return the price ("-0.00790": taken from the account) and its currency; (None, None) before there is one. Raises Unavailable."""
    refuse_open_transaction()
    client = Client(
        settings.TWILIO_ACCOUNT_SID,
        settings.TWILIO_AUTH_TOKEN,
        http_client=_HttpClient(timeout=settings.TWILIO_TIMEOUT_SECONDS),
    )
    try:
        with provider_called("twilio", "price"):
            found = client.messages(provider_ref).fetch()
    except TwilioRestException as error:
        if error.status == 404:  # deleted there, or another account's: it will never have a price
            return None, None
        raise Unavailable(str(error.code or error.status), "The SMS provider does not answer.") from error
    except (requests.RequestException, TwilioException, ValueError) as error:
        raise Unavailable("not_connected", "The SMS provider does not answer.") from error
    return found.price, found.price_unit
