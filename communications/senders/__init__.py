"""The ways out of the house."""

from __future__ import annotations

from communications.catalogue import EMAIL
from communications.senders.base import Sender
from communications.senders.email import EmailSender
from communications.senders.sms import SmsSender


def sender_for(channel: str) -> Sender:
    """Return the sender of a channel."""
    return EmailSender() if channel == EMAIL else SmsSender()
