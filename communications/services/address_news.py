"""What providers tell about an address rather than about one message, and what follows: suppressions, and a no to offers."""

from __future__ import annotations

from django.utils import timezone

from communications.models import ConsentSource, Message, SuppressionCause
from communications.senders.base import SendError
from communications.services import consent

HARD_BOUNCE = "hard_bounce"  # there is no such mailbox or phone
SPAM_REPORT = "spam_report"
UNSUBSCRIBED = "unsubscribed"  # by the mail program's or the provider's own button
OPTED_OUT = "opted_out"  # STOP, known to the SMS provider

# Twilio: the number is no mobile phone's or nobody's. 21610 is its list of those who answered STOP.
# https://www.twilio.com/docs/api/errors
NO_SUCH_PHONE = {"21211", "21214", "21217", "21614", "30005", "30006"}
CAUSES = {
    HARD_BOUNCE: SuppressionCause.HARD_BOUNCE,
    SPAM_REPORT: SuppressionCause.SPAM_REPORT,
    OPTED_OUT: SuppressionCause.STOPPED,
}


def learn(*, channel: str, address: str, fact: str, message: Message, detail: str = "") -> None:
    """Draw what follows from a fact, in the caller's transaction; a fact may come more than once. Nothing for an erased address."""
    if not address:
        return
    now = timezone.now()
    if cause := CAUSES.get(fact):
        consent.suppress(
            channel=channel, address=address, cause=cause, detail=detail, message=message, now=now
        )
    if fact in (UNSUBSCRIBED, OPTED_OUT):
        consent.record_consent(
            channel=channel, address=address, is_granted=False, source=ConsentSource.PROVIDER, now=now
        )


def learn_from_refusal(message: Message, error: SendError) -> None:
    """Learn what the provider's refusal of a message says about its address."""
    if fact := fact_of_code(error.code):
        learn(channel=message.channel, address=message.to, fact=fact, message=message, detail=error.text)


def fact_of_code(code: str) -> str:
    """Return the fact about an address that an error code means; "" for none."""
    if code in ("opted_out", "21610"):
        return OPTED_OUT
    return HARD_BOUNCE if code in NO_SUCH_PHONE else ""
