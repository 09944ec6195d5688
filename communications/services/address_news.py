"""What providers tell about an address rather than about one message. Consent and suppression learn it here, and only here."""

from __future__ import annotations

import logging

from communications.models import Message

logger = logging.getLogger(__name__)

HARD_BOUNCE = "hard_bounce"  # there is no such mailbox or phone
SPAM_REPORT = "spam_report"
UNSUBSCRIBED = "unsubscribed"  # by the mail program's or the provider's own button
OPTED_OUT = "opted_out"  # STOP, known to the SMS provider

# Twilio: the number is no mobile phone's or nobody's. 21610 is its list of those who answered STOP.
# https://www.twilio.com/docs/api/errors
NO_SUCH_PHONE = {"21211", "21214", "21217", "21614", "30005", "30006"}


def learn(*, channel: str, address: str, fact: str, message: Message, detail: str = "") -> None:
    """Tell those who keep consent and suppressions. In the caller's transaction; a fact may come more than once."""
    logger.debug("An address of the channel %s: %s (message %s)", channel, fact, message.pk)


def learn_from_refusal(message: Message) -> None:
    """Learn what the provider's refusal of a message says about its address."""
    fact = fact_of_code(message.error_code)
    if fact:
        learn(
            channel=message.channel, address=message.to, fact=fact, message=message, detail=message.error_text
        )


def fact_of_code(code: str) -> str:
    """Return the fact about an address that an error code means; "" for none."""
    if code in ("opted_out", "21610"):
        return OPTED_OUT
    return HARD_BOUNCE if code in NO_SUCH_PHONE else ""
