"""What became of a campaign, counted from the recipients and their messages, so that it equals the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Count, Min
from django.db.models.functions import Coalesce, Trunc
from django.utils import timezone

from communications.campaigns import audience as seam
from communications.campaigns.alerts import status_of
from communications.campaigns.people import reason_text, withdrawals
from communications.models import Campaign, DeliveryEvent, Message, Recipient
from foundation.money import Money

# What a person reads, in the order of a message's life.
STATES = (
    "queued",
    "sending",
    "sent",
    "delivered",
    "maybe_sent",
    "bounced",
    "failed",
    "suppressed",
    "skipped",
)
LEFT = ("sent", "delivered", "bounced", "maybe_sent")  # a provider had it
LINES = ("sent", "delivered", "trouble", "opted_out", "bookings")

WIDTHS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}


@dataclass
class Results:
    """`states` is {channel: {state: people}}; `left_out` why; `lines` what happened over time, added up."""

    states: dict[str, Counter[str]] = field(default_factory=dict)
    left_out: list[tuple[str, int]] = field(default_factory=list)
    held: int = 0
    opted_out: int = 0
    bookings: int = 0
    takings: list[Money] = field(default_factory=list)
    moments: list[datetime] = field(default_factory=list)
    lines: dict[str, list[int]] = field(default_factory=dict)

    def total(self, *states: str) -> int:
        return sum(counts[state] for counts in self.states.values() for state in states)

    @property
    def recipients(self) -> int:
        return self.total(*(state for state in STATES if state != "skipped"))

    @property
    def handed_over(self) -> int:
        return self.total(*LEFT)

    @property
    def rows(self) -> list[tuple[str, list[int]]]:
        """The table: a row a state that occurs, a column a channel."""
        return [
            (state, [counts[state] for counts in self.states.values()])
            for state in STATES
            if any(counts[state] for counts in self.states.values())
        ]


def results_of(campaign: Campaign) -> Results:
    """Count everything: five statements, whatever the size."""
    found = Results(states={channel: Counter() for channel in campaign.channels})
    reasons: Counter[str] = Counter()
    rows = (
        Recipient.objects.filter(campaign=campaign)
        .order_by()
        .values_list("channel", "state", "reason", "message__status")
        .annotate(Count("pk"))
    )
    for channel, state, reason, status, count in rows:
        found.states.setdefault(channel, Counter())[status_of(state, status)] += count
        if state == Recipient.State.SKIPPED:
            reasons[reason] += count
        elif state == Recipient.State.WAITING and reason == "quiet_hours":
            found.held += count
    found.left_out = [(reason_text(code), count) for code, count in reasons.most_common()]
    if campaign.promo_code and campaign.started_at:
        # The code may be older than the campaign, or another one's too; what was booked before is not this one's.
        found.bookings, sums = seam.promo_codes().takings(campaign.promo_code, since=campaign.started_at)
        found.takings = [Money(total, currency) for currency, total in sums]
    _draw(campaign, found)
    return found


def _draw(campaign: Campaign, found: Results) -> None:
    """Fill `moments` and `lines`: sums up to each moment, in steps that give about forty points."""
    messages = Message.objects.filter(campaign_key=campaign.key)
    spent = (campaign.finished_at or timezone.now()) - (campaign.started_at or campaign.created_at)
    step = "minute" if spent < timedelta(hours=2) else "hour" if spent < timedelta(days=3) else "day"
    noes = withdrawals(campaign)
    found.opted_out = len(noes)
    series = {
        # One whose answer was lost was taken by the provider when its delivery was reported, at the latest.
        "sent": _counted(
            messages.annotate(taken_at=Coalesce("sent_at", "delivered_at")).filter(taken_at__isnull=False),
            "taken_at",
            step,
        ),
        "delivered": _counted(messages.filter(delivered_at__isnull=False), "delivered_at", step),
        "trouble": _troubles(campaign, step),
        "opted_out": Counter(_cut(at, step) for at in noes),
        "bookings": Counter(),
    }
    if campaign.promo_code and campaign.started_at:
        made: Counter[datetime] = Counter()
        for at, count in seam.promo_codes().by_hour(campaign.promo_code, since=campaign.started_at):
            made[max(_cut(at, step), _cut(campaign.started_at, step))] += count
        series["bookings"] = made
    moments = sorted({moment for counts in series.values() for moment in counts})
    found.moments = moments
    for name, counts in series.items():
        total, line = 0, []
        for moment in moments:
            total += counts[moment]
            line.append(total)
        found.lines[name] = line


def _counted(rows: Any, field_name: str, step: str) -> Counter[datetime]:
    grouped = (
        rows.order_by().annotate(moment=Trunc(field_name, step)).values_list("moment").annotate(Count("pk"))
    )
    return Counter(dict(grouped))


def _troubles(campaign: Campaign, step: str) -> Counter[datetime]:
    """When a bounce or failure was first reported, once a message."""
    firsts = (
        DeliveryEvent.objects.filter(
            message__campaign_key=campaign.key, message__status__in=["bounced", "failed"]
        )
        .order_by()
        .values_list("message")
        .annotate(Min("received_at"))
    )
    return Counter(_cut(at, step) for _message, at in firsts.iterator())


def _cut(at: datetime, step: str) -> datetime:
    """Return the beginning of the minute, hour or UTC day."""
    return at - ((at - datetime(1970, 1, 1, tzinfo=UTC)) % WIDTHS[step])


def table_of(campaign: Campaign) -> Iterator[list[str]]:
    """Return the export, row by row: one row a recipient, memory bounded."""
    yield ["channel", "address", "language", "state", "reason", "sent", "delivered", "error"]
    rows = (
        Recipient.objects.filter(campaign=campaign)
        .order_by("pk")
        .values_list(
            "channel", "address", "language", "state", "reason", "message__status", "message__sent_at",
            "message__delivered_at", "message__error_code",
        )
    )  # fmt: skip
    for channel, address, language, state, reason, status, sent_at, delivered_at, error in rows.iterator(
        2000
    ):
        yield [
            channel, address, language, status_of(state, status), reason, sent_at.isoformat() if sent_at else "",
            delivered_at.isoformat() if delivered_at else "", error or "",
        ]  # fmt: skip
