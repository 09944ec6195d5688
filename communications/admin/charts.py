"""Bars over time as inline SVG: geometry only, the template draws."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta

from django.utils import formats
from django.utils.translation import gettext as _

from communications.models import MessageStatus
from communications.queries import MOST_DAYS, Analytics, Tally

HEIGHT = 100.0
# Spans of so many days are drawn by day, by week; longer ones are counted by month.
BY_DAY, BY_WEEK = 62, MOST_DAYS
# What a bar is stacked of, from below: its class in the stylesheet and the states in it.
PARTS = {
    "delivered": (MessageStatus.DELIVERED,),
    "way": (MessageStatus.QUEUED, MessageStatus.SENDING, MessageStatus.SENT),
    "unclear": (MessageStatus.MAYBE_SENT,),
    "held": (MessageStatus.SUPPRESSED,),
    "trouble": (MessageStatus.BOUNCED, MessageStatus.FAILED),
}


@dataclass(frozen=True)
class Part:
    """One rectangle of a bar, in units of the drawing: 1 wide per bar, HEIGHT high."""

    name: str
    y: float
    height: float


@dataclass
class Bar:
    """The messages queued on the days from `first` to `last`."""

    first: date
    last: date
    x: int
    tally: Tally = field(default_factory=Tally)
    parts: list[Part] = field(default_factory=list)

    @property
    def label(self) -> str:
        if self.first == self.last:
            return formats.date_format(self.first, "j M Y")
        return f"{formats.date_format(self.first, 'j M')} - {formats.date_format(self.last, 'j M Y')}"

    @property
    def title(self) -> str:
        return _("%(when)s: %(total)d messages, %(delivered)d delivered") % {
            "when": self.label,
            "total": self.tally.total,
            "delivered": self.tally.statuses[MessageStatus.DELIVERED],
        }


@dataclass(frozen=True)
class Chart:
    """Bars of equal spans; `top` is what the height stands for."""

    bars: list[Bar]
    top: int

    @property
    def has_few_bars(self) -> bool:
        return len(self.bars) <= 14


def bars_over(found: Analytics) -> Chart:
    """Draw every day, week or month of the period; of one without an end, or far beyond what there is, those that have messages."""
    if found.begins is None or found.ends is None or not found.by_day:
        return Chart([], 0)
    year = timedelta(days=366)
    first = max(found.first, found.begins - year) if found.first else found.begins
    last = min(found.last, found.ends + year) if found.last else found.ends
    bars = [
        Bar(begin, end, x)
        for x, (begin, end) in enumerate(_spans(first, last, is_by_month=found.is_by_month))
    ]
    place = 0
    for day in sorted(found.by_day):
        while bars[place].last < day:
            place += 1
        bars[place].tally.merge(found.by_day[day])
    top = _round_up(max(bar.tally.total for bar in bars))
    for bar in bars:
        below = HEIGHT
        for name, statuses in PARTS.items():
            height = HEIGHT * sum(bar.tally.statuses[status] for status in statuses) / top
            if height:
                below -= height
                bar.parts.append(Part(name, round(below, 3), round(height, 3)))
    return Chart(bars, top)


def _spans(first: date, last: date, *, is_by_month: bool) -> Iterable[tuple[date, date]]:
    days = (last - first).days + 1
    while first <= last:
        if days <= BY_DAY and not is_by_month:
            end = first
        elif days <= BY_WEEK and not is_by_month:
            end = first + timedelta(days=6 - first.weekday())
        else:
            end = (first.replace(day=1) + timedelta(days=32)).replace(day=1) - timedelta(days=1)
        yield first, min(end, last)
        first = end + timedelta(days=1)


def _round_up(count: int) -> int:
    """Return the least 1, 2 or 5 with noughts that is not below `count`, at least 1."""
    step = 1
    while True:
        for factor in (1, 2, 5):
            if factor * step >= count:
                return factor * step
        step *= 10
