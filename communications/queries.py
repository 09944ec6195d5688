"""Reads the counts of the message log: how many, what became of them, what they cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django.db import connection, transaction

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

EARLIEST, LATEST = date(1970, 1, 1), date(2199, 12, 31)
MOST_DAYS = 93  # longer periods are counted by month
DAYS = """(
    SELECT * FROM communications_messagecount WHERE {where}
    UNION ALL SELECT * FROM communications_messagecountchange WHERE {where}
) AS noted"""
# Whole months from their own counts, the days before and after them and what was not added yet from the others.
MONTHS = """(
    SELECT * FROM communications_messagemonth WHERE {where} AND day >= %(first_month)s AND day < %(end_month)s
    UNION ALL SELECT * FROM communications_messagecount WHERE {where} AND day < %(first_month)s
    UNION ALL SELECT * FROM communications_messagecount WHERE {where} AND day >= %(end_month)s
    UNION ALL SELECT * FROM communications_messagecountchange WHERE {where}
) AS noted"""
MONTH = "date_trunc('month', day)::date"
# Never more than the figures need, or years would be a million rows. Small integers are added much faster than decimals.
SUMMARY = """
SELECT {when}, channel, kind, status, reason, delay_seconds, NULL AS currency, sum(messages::integer), 0::bigint, 0::numeric, 0::numeric
FROM {noted} GROUP BY GROUPING SETS (({when}, status, delay_seconds), (channel, kind, status, delay_seconds), (status, reason))
UNION ALL
SELECT {when}, channel, kind, NULL, NULL, 0, currency, 0, sum(segments::integer), sum(price), sum(estimated_price)
FROM {noted} WHERE currency <> '' OR segments <> 0 GROUP BY GROUPING SETS (({when}, currency), (channel, kind, currency))
"""
WHOLE = """
SELECT day, channel, kind, status, reason, 0, currency, sum(messages), sum(segments), sum(price), sum(estimated_price)
FROM {noted} GROUP BY day, channel, kind, status, reason, currency
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

    def add(self, status: str, delay_seconds: int, messages: int) -> None:
        self.statuses[status] += messages
        if status == MessageStatus.DELIVERED:
            self.delays[delay_seconds] += messages

    def spend(self, currency: str, segments: int, price: Decimal, estimated: Decimal) -> None:
        self.segments += segments
        if currency:
            self.prices[currency] = self.prices.get(currency, Decimal(0)) + price
            self.estimated[currency] = self.estimated.get(currency, Decimal(0)) + estimated

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
class Analytics:
    """The counts of whole days [first, last] in `zone`. `begins` and `ends` are the first and the last of them that anything is counted on.

    `by_day` has every day that has a message; where `is_by_month`, it has months, by their first day, of which only the days in the
    period are counted.
    """

    first: date | None
    last: date | None
    zone: ZoneInfo
    total: Tally
    by_channel: dict[str, Tally]
    by_kind: dict[str, Tally]
    by_day: dict[date, Tally]
    begins: date | None = None
    ends: date | None = None
    is_by_month: bool = False

    def starts_at(self, day: date) -> datetime:
        """The instant at which the day begins where the operator is. A day's messages are those queued from then, before the next."""
        return datetime.combine(day, time(), tzinfo=self.zone)


def analytics(
    *, first: date | None = None, last: date | None = None, channel: str = "", kind: str = ""
) -> Analytics:
    """Return what became of the messages queued on the operator's days from `first` to `last`, both whole; None is without end.

    One statement reads the counts and what was not added to them yet, so the numbers are those of the log at one moment. More than
    MOST_DAYS from the first that has messages to the last are counted by month.
    """
    # Days long before and after every message exclude none, and leave room to reckon with days.
    first, last = (day and min(max(day, EARLIEST), LATEST) for day in (first, last))
    begins, ends = _extent(first, last)
    is_by_month = begins is not None and ends is not None and (ends - begins).days >= MOST_DAYS
    found = Analytics(first, last, ZoneInfo(counted_zone()), Tally(), {}, {}, {}, begins, ends, is_by_month)
    statement = SUMMARY.replace("{when}", MONTH if is_by_month else "day")
    for (
        day,
        channel_code,
        kind_code,
        status,
        reason,
        delay,
        currency,
        messages,
        segments,
        price,
        estimated,
    ) in _counted(statement, first=first, last=last, channel=channel, kind=kind, is_by_month=is_by_month):
        if reason is not None:
            if status == MessageStatus.SUPPRESSED and messages:
                found.total.reasons[reason] += int(messages)
            continue
        tallies = (
            [found.by_day.setdefault(day, Tally())]
            if day
            else [
                found.by_channel.setdefault(channel_code, Tally()),
                found.by_kind.setdefault(kind_code, Tally()),
            ]
        )
        for tally in tallies:
            if status is not None:
                tally.add(status, delay, int(messages))
            else:
                tally.spend(currency, int(segments), price, estimated)
    _drop_empty(found.by_day)
    _drop_empty(found.by_channel)
    _drop_empty(found.by_kind)
    for tally in found.by_channel.values():
        reasons = found.total.reasons
        found.total.merge(tally)
        found.total.reasons = reasons
    return found


def _extent(first: date | None, last: date | None) -> tuple[date | None, date | None]:
    """Return the first and the last day of the period that anything is counted on."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT min(day), max(day) FROM (
                SELECT min(day) AS day FROM communications_messagecount WHERE day >= %(first)s AND day <= %(last)s
                UNION ALL SELECT max(day) FROM communications_messagecount WHERE day >= %(first)s AND day <= %(last)s
                UNION ALL SELECT day FROM communications_messagecountchange WHERE day >= %(first)s AND day <= %(last)s
            ) AS days
            """,
            {"first": first or date.min, "last": last or date.max},
        )
        begins, ends = cursor.fetchone()
        return begins, ends


def _drop_empty(tallies: dict[Any, Tally]) -> None:
    """Forget whose messages all went elsewhere since the counts were folded."""
    for key in [key for key, tally in tallies.items() if not tally.total]:
        del tallies[key]


def counted_rows(
    *, first: date | None = None, last: date | None = None, channel: str = "", kind: str = ""
) -> Iterator[tuple[Any, ...]]:
    """Yield (day, channel, kind, status, reason, currency, messages, segments, price, estimated price) in that order."""
    rows = [row for row in _counted(WHOLE, first=first, last=last, channel=channel, kind=kind) if row[7]]
    for row in sorted(rows, key=lambda row: (*row[:5], row[6])):
        yield (*row[:5], row[6], int(row[7]), int(row[8]), row[9], row[10])


def _counted(
    statement: str,
    *,
    first: date | None,
    last: date | None,
    channel: str,
    kind: str,
    is_by_month: bool = False,
) -> list[tuple[Any, ...]]:
    values = {"first": first, "last": last, "channel": channel, "kind": kind}
    tests = {"first": "day >= %(first)s", "last": "day <= %(last)s", "channel": "channel = %(channel)s", "kind": "kind = %(kind)s"}  # fmt: skip
    conditions = ["true", *(test for name, test in tests.items() if values[name])]
    noted = (MONTHS if is_by_month else DAYS).format(where=" AND ".join(conditions))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL work_mem = '64MB'")  # years of days in memory, not sorted on disk
        cursor.execute(
            statement.format(noted=noted),
            {
                **values,
                "first_month": _first_month(first) if first else date.min,
                "end_month": (last + timedelta(days=1)).replace(day=1) if last else date.max,
            },
        )
        return cursor.fetchall()


def _first_month(day: date) -> date:
    """Return the first day of the first month that begins on this day or after it."""
    return day if day.day == 1 else (day.replace(day=1) + timedelta(days=32)).replace(day=1)
