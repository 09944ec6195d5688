"""A line chart as inline SVG: drawn here, styled by the style sheet, told again as a table beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.utils import formats

WIDTH, HEIGHT = 720, 240
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 12, 28


@dataclass(frozen=True)
class Line:
    name: str
    label: Any
    points: str
    last: int


@dataclass(frozen=True)
class Chart:
    """`grid` is (y, label), `ticks` are (x, label, anchor); `rows` is the same as a table."""

    lines: list[Line]
    grid: list[tuple[float, str]]
    ticks: list[tuple[float, str, str]]
    rows: list[tuple[str, list[int]]]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    bottom: int = HEIGHT - BOTTOM
    right: int = WIDTH - RIGHT


def draw(
    moments: Sequence[datetime], series: Sequence[tuple[str, Any, Sequence[int]]], *, zone: ZoneInfo
) -> Chart | None:
    """Return the chart of (name, label, value at each moment); None when there is nothing to draw."""
    if not moments:
        return None
    top = _round_up(max(max(values) for _name, _label, values in series))
    span = max((moments[-1] - moments[0]).total_seconds(), 1)
    inner_width, inner_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(moment: datetime) -> float:
        if len(moments) == 1:
            return LEFT + inner_width / 2
        return round(LEFT + inner_width * (moment - moments[0]).total_seconds() / span, 1)

    def y(value: float) -> float:
        return round(TOP + inner_height * (1 - value / top), 1)

    lines = []
    for name, label, values in series:
        places = [f"{x(moment)},{y(value)}" for moment, value in zip(moments, values, strict=True)]
        if len(places) == 1:  # a line needs two ends
            places = [f"{LEFT},{y(0)}", places[0], f"{WIDTH - RIGHT},{y(values[0])}"]
        lines.append(Line(name, label, " ".join(places), values[-1]))
    several_days = moments[-1].astimezone(zone).date() != moments[0].astimezone(zone).date()
    form = "j M H:i" if several_days else "H:i"
    ends = [(moments[0], "start"), (moments[-1], "end")] if len(moments) > 1 else [(moments[0], "middle")]
    ticks = [(x(at), formats.date_format(at.astimezone(zone), form), anchor) for at, anchor in ends]
    grid = [(y(top * part / 4), f"{top * part // 4:,}") for part in range(5)]
    rows = [
        (
            formats.date_format(at.astimezone(zone), "j M H:i"),
            [values[place] for _name, _label, values in series],
        )
        for place, at in enumerate(moments)
    ]
    return Chart(lines, grid, ticks, rows)


def _round_up(value: int) -> int:
    """Return a number above it that four grid lines divide."""
    size = 4
    while size < value:
        for factor in (2, 5, 10):
            if size * factor >= value:
                return size * factor
        size *= 10
    return size
