"""The sandbox's clock: real time plus an offset that tests and people may move."""

from __future__ import annotations

import datetime as dt
import time

from sandbox.state import State

OFFSET = "clock_offset_seconds"
FURTHEST_SECONDS = 100 * 365 * 86_400


class ClockError(ValueError):
    """The clock was asked for something that is not a time."""


class Clock:
    """Time as the providers see it. Persisted, so a restart does not travel back."""

    def __init__(self, state: State) -> None:
        self._state = state

    def offset(self) -> float:
        return float(self._state.setting(OFFSET, 0.0))

    def now(self) -> float:
        """Seconds since the epoch, UTC, on the sandbox's clock."""
        return time.time() + self.offset()

    def timestamp(self) -> int:
        return int(self.now())

    def moment(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self.now(), tz=dt.UTC)

    def advance(self, seconds: float) -> None:
        self._store(self.offset() + seconds)

    def set(self, moment: dt.datetime | None) -> None:
        """Jump to an aware moment; None returns to real time."""
        if moment is None:
            self._store(0.0)
            return
        if moment.tzinfo is None:
            raise ClockError("Give the time with an offset, for example 2026-11-23T09:00:00+00:00.")
        self._store(moment.timestamp() - time.time())

    def _store(self, offset: float) -> None:
        if not -FURTHEST_SECONDS < offset < FURTHEST_SECONDS:
            raise ClockError("The clock can be moved by at most a hundred years.")
        self._state.set_setting(OFFSET, offset)
