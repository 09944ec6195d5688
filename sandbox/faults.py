"""Scripted misbehaviour: what goes wrong, at which call, how often."""

from __future__ import annotations

import contextlib
import fnmatch
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Response, request

from sandbox.state import State

OK = "ok"
SLOW = "slow"
DO_THEN_TIMEOUT = "do_then_timeout"
DO_THEN_500 = "do_then_500"
DO_THEN_RESET = "do_then_reset"
REFUSE = "refuse"
TOO_MANY = "429"
BEHAVIOURS = (OK, SLOW, DO_THEN_TIMEOUT, DO_THEN_500, DO_THEN_RESET, REFUSE, TOO_MANY)
DEFAULT_SECONDS = {SLOW: 3.0, DO_THEN_TIMEOUT: 60.0}
LONGEST_SECONDS = 600.0


class FaultError(ValueError):
    """A fault was described in a way that the sandbox cannot carry out."""


@dataclass(frozen=True)
class Fault:
    behaviour: str = OK
    seconds: float = 0.0
    status: int = 400

    @property
    def refuses(self) -> bool:
        """Nothing is done at all."""
        return self.behaviour in {REFUSE, TOO_MANY}


class Faults:
    """The script. Operations are matched with shell patterns (`stripe.*`); the oldest live line wins."""

    def __init__(self, state: State) -> None:
        self._state = state

    def add(self, wanted: dict[str, Any]) -> int:
        """Append a line and return its number. Raises FaultError with what to write instead."""
        operation, behaviour = wanted.get("operation"), str(wanted.get("behaviour", ""))
        if not isinstance(operation, str) or not operation or len(operation) > 200:
            raise FaultError("Name the operation, for example stripe.payment_intents.create or stripe.*.")
        if behaviour not in BEHAVIOURS:
            raise FaultError(f"behaviour must be one of {', '.join(BEHAVIOURS)}.")
        times = wanted.get("times", 1)
        seconds = wanted.get("seconds", DEFAULT_SECONDS.get(behaviour, 0.0))
        status = wanted.get("status", 400)
        if isinstance(times, bool) or not isinstance(times, int) or not 1 <= times <= 1_000_000:
            raise FaultError("times must be a whole number from 1 to 1000000.")
        if (
            isinstance(seconds, bool)
            or not isinstance(seconds, int | float)
            or not 0 <= seconds <= LONGEST_SECONDS
        ):
            raise FaultError(f"seconds must be a number from 0 to {LONGEST_SECONDS:.0f}.")
        if isinstance(status, bool) or not isinstance(status, int) or not 400 <= status <= 599:
            raise FaultError("status must be an HTTP error status from 400 to 599.")
        with self._state.transaction():
            self._state.run(
                "INSERT INTO faults (operation, behaviour, times, seconds, status) VALUES (?, ?, ?, ?, ?)",
                *(operation, behaviour, times, float(seconds), status),
            )
            return self._state.rows("SELECT max(id) AS id FROM faults")[0]["id"]

    def all(self) -> list[dict[str, Any]]:
        return [
            {**dict(row), "left": max(row["times"] - row["used"], 0)}
            for row in self._state.rows("SELECT * FROM faults ORDER BY id")
        ]

    def clear(self, fault_id: int | None = None) -> int:
        if fault_id is None:
            return self._state.run("DELETE FROM faults")
        return self._state.run("DELETE FROM faults WHERE id = ?", fault_id)

    def take(self, operation: str) -> Fault:
        """The fault for this call, used up once."""
        with self._state.transaction():
            for row in self._state.rows("SELECT * FROM faults WHERE used < times ORDER BY id"):
                if fnmatch.fnmatchcase(operation, row["operation"]):
                    self._state.run("UPDATE faults SET used = used + 1 WHERE id = ?", row["id"])
                    return Fault(row["behaviour"], row["seconds"], row["status"])
        return Fault()


def before(fault: Fault) -> None:
    if fault.behaviour == SLOW:
        time.sleep(fault.seconds)


def after(fault: Fault, response: Response) -> Response:
    """What the caller gets to see of work that was really done."""
    if fault.behaviour == DO_THEN_TIMEOUT:
        time.sleep(fault.seconds)
        _reset_connection()
    elif fault.behaviour == DO_THEN_RESET:
        _reset_connection()
    return response


def play(fault: Fault, execute: Callable[[], Response], refusal: Callable[[int], Response]) -> Response:
    """Run a provider call under a fault. `refusal` builds the provider's own error for a status."""
    if fault.refuses:
        return refusal(429 if fault.behaviour == TOO_MANY else fault.status)
    before(fault)
    response = execute()
    if fault.behaviour == DO_THEN_500:
        return refusal(500)
    return after(fault, response)


def _reset_connection() -> None:
    """Drop the caller with a TCP reset instead of an answer."""
    connection: socket.socket | None = request.environ.get("werkzeug.socket")
    if connection is None:
        return
    with contextlib.suppress(OSError):
        # Lingering for zero seconds turns the close into a reset. The server's own file objects keep the descriptor
        # open, so it is shut down here and what the server still writes goes nowhere.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
