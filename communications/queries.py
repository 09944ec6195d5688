"""Reads the counts of the message log: how many, what became of them, what they cost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django.db import connection

from communications.models import MessageStatus
from communications.services.counting import counted_zone

# What left us or tried to, and what arrived of it: the delivery rate is the second divided by the first.
TRIED = (
    MessageStatus.SENT,
    MessageStatus.MAYBE_SENT,
    MessageStatus.DELIVERED,
    MessageStatus.BOUNCED,
    MessageStatus.FAILED,
)
# Reasons of messages that are not sent on purpose which are the person's own no.
OPTED_OUT = ("no_consent", "opted_out")

COUNTED = """
SELECT day, channel, kind, status, reason, delay_seconds, currency, sum(messages), sum(segments), sum(price), sum(estimated_price)
FROM (
    SELECT * FROM communications_messagecount
    UNION ALL SELECT * FROM communications_messagecountchange
) AS counts
WHERE {where}
GROUP BY day, channel, kind, status, reason, delay_seconds, currency
HAVING sum(messages) <> 0 OR sum(segments) <> 0 OR sum(price) <> 0 OR sum(estimated_price) <> 0
ORDER BY day, channel, kind, status, reason, delay_seconds, currency
"""


@dataclass
class Tally:
    """What became of some messages. Prices are per currency, estimates included."""

    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    delays: Counter[int] = field(default_factory=Counter)
    prices: dict[str, Decimal] = field(default_factory=dict)
    estimated: dict[str, Decimal] = field(default_factory=dict)
    segments: int = 0

    def add(self, row: Count) -> None:
        self.statuses[row.status] += row.messages
        if row.status == MessageStatus.SUPPRESSED:
            self.reasons[row.reason] += row.messages
        if row.status == MessageStatus.DELIVERED:
            self.delays[row.delay_seconds] += row.messages
        self.segments += row.segments
        if row.currency:
            self.prices[row.currency] = self.prices.get(row.currency, Decimal(0)) + row.price
            self.estimated[row.currency] = self.estimated.get(row.currency, Decimal(0)) + row.estimated_price

    def merge(self, other: Tally) -> None:
        """Add all that another one counted."""
        self.statuses += other.statuses
        self.reasons += other.reasons
        self.delays += other.delays
        self.segments += other.segments
        for mine, theirs in ((self.prices, other.prices), (self.estimated, other.estimated)):
            for currency, amount in theirs.items():
                mine[currency] = mine.get(currency, Decimal(0)) + amount

    @property
    def total(self) -> int:
        return sum(self.statuses.values())

    @property
    def tried(self) -> int:
        return sum(self.statuses[status] for status in TRIED)

    @property
    def opted_out(self) -> int:
        """Messages that were not sent because the person does not want them."""
        return sum(self.reasons[reason] for reason in OPTED_OUT)

    @property
    def delivery_rate(self) -> float | None:
        """Delivered of those that left or tried to, 0 to 1; None where nothing did."""
        return self.statuses[MessageStatus.DELIVERED] / self.tried if self.tried else None

    @property
    def median_delay_seconds(self) -> int | None:
        """Half of the delivered ones took no longer, by the steps of communications_delay_step; None where nothing was delivered."""
        middle = (sum(self.delays.values()) + 1) // 2
        for seconds in sorted(self.delays):
            middle -= self.delays[seconds]
            if middle <= 0 and self.delays[seconds]:
                return seconds
        return None


@dataclass(frozen=True)
class Count:
    """So many messages that are alike; see communications.models.MessageCount."""

    day: date
    channel: str
    kind: str
    status: str
    reason: str
    delay_seconds: int
    currency: str
    messages: int
    segments: int
    price: Decimal
    estimated_price: Decimal


@dataclass(frozen=True)
class Analytics:
    """The counts of whole days [first, last] in `zone`. `by_day` has every day that has a message, in order."""

    first: date | None
    last: date | None
    zone: ZoneInfo
    total: Tally
    by_channel: dict[str, Tally]
    by_kind: dict[str, Tally]
    by_day: dict[date, Tally]
    rows: list[Count]

    def starts_at(self, day: date) -> datetime:
        """The instant at which the day begins where the operator is. A day's messages are those queued from then, before the next."""
        return datetime.combine(day, time(), tzinfo=self.zone)


def analytics(
    *, first: date | None = None, last: date | None = None, channel: str = "", kind: str = ""
) -> Analytics:
    """Return what became of the messages queued on the operator's days from `first` to `last`, both whole; None is without end.

    One statement reads the counts and what was not added to them yet, so the numbers are those of the log at one moment.
    """
    conditions, values = ["true"], []
    for condition, value in (("day >= %s", first), ("day <= %s", last), ("channel = %s", channel), ("kind = %s", kind)):  # fmt: skip
        if value:
            conditions.append(condition)
            values.append(value)
    found = Analytics(first, last, ZoneInfo(counted_zone()), Tally(), {}, {}, {}, [])
    with connection.cursor() as cursor:
        cursor.execute(COUNTED.format(where=" AND ".join(conditions)), values)
        for values_of_row in cursor.fetchall():
            row = Count(*_integers(values_of_row))
            found.rows.append(row)
            found.total.add(row)
            found.by_channel.setdefault(row.channel, Tally()).add(row)
            found.by_kind.setdefault(row.kind, Tally()).add(row)
            found.by_day.setdefault(row.day, Tally()).add(row)
    return found


def _integers(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """PostgreSQL sums big integers into decimals."""
    return (*row[:7], int(row[7]), int(row[8]), *row[9:])
