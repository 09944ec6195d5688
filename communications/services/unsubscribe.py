"""The links with which people stop offers without signing in, and the headers that give mail programs a button for it (RFC 8058)."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core import signing
from django.urls import reverse

from communications.catalogue import EMAIL, SMS
from communications.models import Message
from communications.services import consent

SALT = "communications.unsubscribe"


def _signer() -> signing.Signer:
    # Not under SECRET_KEY: that one is changed from time to time, and links in old mails go on working.
    return signing.Signer(key=settings.ADDRESS_KEY, salt=SALT)


class BadLink(Exception):
    """The link was altered, or is none of ours."""


def token_for(channel: str, address: str) -> str:
    """Return what names the channel and the person in a link: a signed hash that tells nobody the address. It never runs out."""
    return _signer().sign(f"{channel}.{consent.key_of(channel, address)}")


def read(token: str) -> tuple[str, str]:
    """Return channel and hashed address of a link. Raises BadLink."""
    try:
        channel, _dot, key = _signer().unsign(token).partition(".")
    except (signing.BadSignature, UnicodeError):
        raise BadLink from None
    if channel not in (EMAIL, SMS) or len(key) != 64:
        raise BadLink
    return channel, key


def links_for(message: Message) -> dict[str, str]:
    """Return the addresses that stand below a promotion."""
    token = token_for(message.channel, message.to)
    return {
        "unsubscribe_url": settings.SITE_URL + reverse("communications:unsubscribe", args=[token]),
        "preferences_url": settings.SITE_URL + reverse("communications:preferences", args=[token]),
    }


def headers_for(message: Message) -> dict[str, Any]:
    """Return List-Unsubscribe and List-Unsubscribe-Post for an e-mail; nothing for an SMS."""
    if message.channel != EMAIL:
        return {}
    return {
        "List-Unsubscribe": f"<{links_for(message)['unsubscribe_url']}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
