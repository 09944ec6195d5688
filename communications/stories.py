"""What became of messages, for those who read it: one story per message, what waits, and what is down."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Min, Q, QuerySet
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from communications.catalogue import EMAIL, SMS
from communications.models import InboundText, Message, MessageStatus, Outage
from communications.services.outages import WAITING

GOOD = {MessageStatus.DELIVERED}
BAD = {MessageStatus.BOUNCED, MessageStatus.FAILED}
WAIT = {MessageStatus.MAYBE_SENT, MessageStatus.SUPPRESSED}
MOST_TOLD = 100
# What a provider's event is called: anymail's words for mail, Twilio's for SMS, and ours.
EVENT_WORDS: dict[str, Promise] = {
    "queued": gettext_lazy("taken by the provider"),
    "accepted": gettext_lazy("taken by the provider"),
    "sending": gettext_lazy("being sent"),
    "sent": gettext_lazy("handed to the network"),
    "deferred": gettext_lazy("the mailbox asks to wait"),
    "delivered": gettext_lazy("delivered"),
    "read": gettext_lazy("read"),
    "opened": gettext_lazy("opened"),
    "clicked": gettext_lazy("a link was followed"),
    "bounced": gettext_lazy("returned by the mailbox"),
    "rejected": gettext_lazy("dropped by the provider"),
    "undelivered": gettext_lazy("not delivered"),
    "failed": gettext_lazy("failed"),
    "complained": gettext_lazy("reported as spam"),
    "unsubscribed": gettext_lazy("unsubscribed"),
    "retry": gettext_lazy("sent again by staff"),
    "found": gettext_lazy("found at the provider"),
}


@dataclass(frozen=True)
class Step:
    """One thing that happened to a message. `at` is aware UTC."""

    at: datetime
    what: str
    detail: str = ""
    link_to: Message | None = None


@dataclass(frozen=True)
class Told:
    """A message with everything that happened to it, oldest first."""

    message: Message
    steps: list[Step] = field(default_factory=list)

    @property
    def mood(self) -> str:
        status = self.message.status
        return "good" if status in GOOD else "bad" if status in BAD else "wait" if status in WAIT else ""

    @property
    def masked_to(self) -> str:
        return masked(self.message.channel, self.message.to)

    @property
    def at(self) -> datetime:
        return self.message.delivered_at or self.message.sent_at or self.message.queued_at

    @property
    def state_for_customer(self) -> str:
        """Say in plain words where it is, without the post office's inner life."""
        status = self.message.status
        if status == MessageStatus.DELIVERED:
            return _("delivered")
        if status in (MessageStatus.SENT, MessageStatus.MAYBE_SENT):
            return _("sent")
        if status in BAD or status == MessageStatus.SUPPRESSED:
            return _("not delivered")
        return _("being sent")


def about_booking(reference: str) -> list[Told]:
    """Return the messages about a booking, oldest first."""
    return _told(Message.objects.filter(reference=reference)) if reference else []


def about_user(user: Any) -> list[Told]:
    """Return the newest messages to an account's owner, the newest first: those of the account, and offers and warnings to its addresses."""
    addresses = [address for address in (user.email, str(user.phone or "")) if address]
    theirs = Message.objects.filter(Q(user=user) | Q(to__in=addresses))
    return _told(theirs.order_by("-queued_at"), newest_first=True)


def heard_from(phone: str, *, since: datetime | None = None) -> list[InboundText]:
    """Return the newest texts that a phone sent us, newest first."""
    texts = InboundText.objects.filter(phone=phone) if phone else InboundText.objects.none()
    return list(
        (texts.filter(received_at__gte=since) if since else texts).order_by("-received_at")[:MOST_TOLD]
    )


def written_about(phone: str) -> list[str]:
    """Return the bookings about which this phone was texted, the latest first."""
    about = Message.objects.filter(channel=SMS, to=phone).exclude(reference="").order_by("-queued_at")
    return list(dict.fromkeys(about.values_list("reference", flat=True)[:50]))[:5]


def story_of(message: Message) -> Told:
    """Return one message's story."""
    return _told(Message.objects.filter(pk=message.pk))[0]


def _told(messages: QuerySet[Message], *, newest_first: bool = False) -> list[Told]:
    rows = messages.select_related("fallback_of").prefetch_related("events", "fallbacks")
    rows = rows if newest_first else rows.order_by("queued_at")
    return [Told(message, _steps(message)) for message in rows[:MOST_TOLD]]


def _steps(message: Message) -> list[Step]:
    first = message.fallback_of
    steps = [
        Step(
            message.queued_at,
            _("queued in place of the %(channel)s") % {"channel": first.get_channel_display()}
            if first
            else _("queued"),
            link_to=first,
        )
    ]
    events = list(message.events.all())
    if message.sent_at:
        again = _("attempt %(number)d") % {"number": message.attempts} if message.attempts > 1 else ""
        steps.append(
            Step(
                message.sent_at,
                _("given to the provider"),
                " · ".join(filter(None, [message.provider, again])),
            )
        )
    for event in events:
        at = event.occurred_at or event.received_at
        # A provider's clock may be off; nothing happened before the message was there or after we heard of it.
        at = min(max(at, message.queued_at), event.received_at)
        steps.append(Step(at, str(EVENT_WORDS.get(event.kind, event.kind)), event.detail))
    if message.delivered_at and not any(event.kind == "delivered" for event in events):
        steps.append(Step(message.delivered_at, _("delivered")))
    steps.sort(key=lambda step: step.at)
    steps += [
        Step(
            other.queued_at,
            _("sent by %(channel)s instead") % {"channel": other.get_channel_display()},
            other.get_status_display(),
            link_to=other,
        )
        for other in message.fallbacks.all()
    ]
    unsaid = message.error_text if not any(message.error_text in step.detail for step in steps) else ""
    if message.error_code and unsaid:
        steps.append(Step(message.sending_since or message.queued_at, unsaid, message.error_code))
    if (
        message.due_at
        and message.status in (MessageStatus.QUEUED, MessageStatus.MAYBE_SENT)
        and message.attempts
    ):
        steps.append(
            Step(
                message.due_at,
                _("next try"),
                _("%(count)d tries are left") % {"count": message.tries_left},
            )
        )
    return steps


def masked(channel: str, address: str) -> str:
    """Hide the middle of an address: "a•••@example.com", "+44••••••999"."""
    if channel == EMAIL:
        name, at, domain = address.rpartition("@")
        return f"{name[:1]}•••{at}{domain}"
    return f"{address[:3]}••••••{address[-3:]}" if len(address) > 8 else "•••"


def outages() -> list[Outage]:
    """Return the channels whose provider takes nothing."""
    return list(Outage.objects.filter(since__isnull=False))


def oldest_waiting_seconds(*, now: datetime | None = None) -> int:
    """Return for how long the oldest message that could leave has been waiting, outages included; 0 for none."""
    now = now or timezone.now()
    waiting = Message.objects.filter(status__in=[MessageStatus.QUEUED, MessageStatus.SENDING])
    due = waiting.filter(due_at__lte=now).aggregate(oldest=Min("due_at"))["oldest"]
    held = waiting.filter(due_at=None, error_code=WAITING).aggregate(oldest=Min("queued_at"))["oldest"]
    oldest = min((at for at in (due, held) if at), default=now)
    return max(round((now - oldest).total_seconds()), 0)
