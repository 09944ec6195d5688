"""Bars over time as inline SVG: geometry only, the template draws."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta

from django.utils import formats
from django.utils.translation import gettext as _

from communications.models import MessageStatus
from communications.queries import Tally

HEIGHT = 100.0
MOST_DAYS, MOST_WEEKS = 62, 62 * 7
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


def bars_over(by_day: dict[date, Tally], *, first: date | None, last: date | None) -> Chart:
    """Draw every day, week or month from `first` to `last`; without them from the first day that has messages to the last one."""
    first = first or min(by_day, default=None)
    last = last or max(by_day, default=None)
    if first is None or last is None or not by_day:
        return Chart([], 0)
    # A range far beyond what there is would be years of nothing.
    first, last = max(first, min(by_day) - timedelta(days=366)), min(last, max(by_day) + timedelta(days=366))
    bars = [Bar(begin, end, x) for x, (begin, end) in enumerate(_spans(first, last))]
    place = 0
    for day in sorted(day for day in by_day if first <= day <= last):
        while bars[place].last < day:
            place += 1
        bars[place].tally.merge(by_day[day])
    top = _round_up(max(bar.tally.total for bar in bars))
    for bar in bars:
        below = HEIGHT
        for name, statuses in PARTS.items():
            height = HEIGHT * sum(bar.tally.statuses[status] for status in statuses) / top
            if height:
                below -= height
                bar.parts.append(Part(name, round(below, 3), round(height, 3)))
    return Chart(bars, top)


def _spans(first: date, last: date) -> Iterable[tuple[date, date]]:
    days = (last - first).days + 1
    while first <= last:
        if days <= MOST_DAYS:
            end = first
        elif days <= MOST_WEEKS:
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
