"""What a local time means when the clocks change."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from bookings.queries import parse_local
from bookings.services.errors import AmbiguousTime, ImpossibleTime
from foundation.errors import InvalidInput

LONDON = ZoneInfo("Europe/London")


def test_a_plain_time_is_the_airports() -> None:
    assert parse_local("2026-07-01T10:30", LONDON, field="dropOff") == datetime(2026, 7, 1, 9, 30, tzinfo=UTC)
    assert parse_local("2026-07-01 10:30:15", ZoneInfo("America/Phoenix"), field="dropOff") == datetime(
        2026, 7, 1, 17, 30, 15, tzinfo=UTC
    )


@pytest.mark.parametrize("text", ["2026-07-01T10:30Z", "2026-07-01T12:30+02:00", "2026-07-01T12:30 02:00"])
def test_a_written_offset_wins(text: str) -> None:
    assert parse_local(text, LONDON, field="dropOff") == datetime(2026, 7, 1, 10, 30, tzinfo=UTC)


def test_a_time_that_comes_twice_is_asked_about() -> None:
    with pytest.raises(AmbiguousTime) as question:
        parse_local("2026-10-25T01:30", LONDON, field="dropOff")
    assert question.value.details["readings"] == ["2026-10-25T01:30+01:00", "2026-10-25T01:30+00:00"]
    assert question.value.field == "dropOff"
    first, second = (parse_local(text, LONDON, field="x") for text in question.value.details["readings"])
    assert (second - first).total_seconds() == 3600


def test_a_time_that_is_skipped_is_asked_about() -> None:
    with pytest.raises(ImpossibleTime) as question:
        parse_local("2026-03-29T01:30", LONDON, field="return")
    assert question.value.details["readings"] == ["2026-03-29T00:30+00:00", "2026-03-29T02:30+01:00"]


@pytest.mark.parametrize(
    "text",
    ["", "soon", "2026-13-01T10:00", "2026-02-30T10:00", "2026-07-01", "2026-07-01T25:00", "0001-01-01T00:00+14:00",
     "9999-12-31T23:59-14:00", "2026-07-01T10:30\x00", "\uff12\uff10\uff12\uff16-07-01T10:30", "9" * 5000, "2026-07-01T10:30+99:99"],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse_local(text, LONDON, field="dropOff")
    assert refusal.value.code == "invalid"
