"""The faults by their numbers, and how often each has really fired."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field

FAULTS = {
    1: "double click or two tabs paying",
    2: "the provider did it, then timed out",
    3: "the provider did it, then answered 500 or reset",
    4: "killed between the provider's call and our commit",
    5: "killed after the intent's commit, before the call",
    6: "PostgreSQL restarted mid-flow",
    7: "retry after the provider's key window",
    8: "Stripe and PayPal both paid",
    9: "capture after expiry, space free",
    10: "capture after expiry, car park full",
    11: "PayPal pending, completed or denied later",
    12: "3-D Secure abandoned",
    13: "captured amount differs",
    14: "price edited during checkout",
    15: "zero total",
    16: "JPY, KWD and USD",
    17: "negative, NaN, 1e309, 2^63, 0.001",
    18: "staff refund at once",
    19: "staff and customer cancel at once",
    20: "refund made at the provider's dashboard",
    21: "a refund fails later",
    22: "refund during a dispute",
    23: "dispute won or lost, events reordered",
    24: "cancel at the second of a policy boundary",
    25: "webhooks duplicated ten times, in parallel",
    26: "webhooks in any order",
    27: "webhooks all lost",
    28: "webhook before the API's answer",
    29: "webhook forged, wrong secret, altered body",
    30: "webhook replayed outside the tolerance",
    31: "clock skew of ten minutes",
    32: "PayPal cert_url of an attacker",
    33: "IPN for a wrong receiver or amount, or a test's",
    34: "event of the other mode",
    35: "poison event",
    36: "flood of invalid signatures",
    37: "two workers, one job",
    38: "Redis down or flushed",
    39: "message sent, then timed out",
    63: "a stay made longer, paid in time or not",
    64: "a change paid after its time",
    65: "two changes of one booking at once",
    66: "changed and cancelled at once",
    67: "a stay made shorter while staff refund",
    68: "a payout, arrived or returned by the bank",
    69: "longer stays and new ones race for the last space",
}


class Tally:
    """Counts what fired. Threads of customers, the clock of a schedule and the oracle all write to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.injected: Counter[int] = Counter()
        self.broken: Counter[int] = Counter()  # fired in a schedule that the oracle refused
        self.kills: Counter[str] = Counter()
        self.this_schedule: Counter[int] = Counter()

    def fired(self, number: int, times: int = 1) -> None:
        with self._lock:
            self.this_schedule[number] += times

    def killed(self, point: str) -> None:
        with self._lock:
            self.kills[point] += 1

    def told(self) -> dict[str, dict[str, int]]:
        """All counts, as JSON can carry them from a lane to the whole."""
        return {
            name: {str(key): times for key, times in getattr(self, name).items()}
            for name in ("injected", "broken", "kills")
        }

    def add(self, told: dict[str, dict[str, int]]) -> None:
        self.injected.update({int(key): times for key, times in told["injected"].items()})
        self.broken.update({int(key): times for key, times in told["broken"].items()})
        self.kills.update(told["kills"])

    def close(self, *, survived: bool) -> Counter[int]:
        """End a schedule and return what fired in it."""
        with self._lock:
            fired, self.this_schedule = self.this_schedule, Counter()
            self.injected += fired
            if not survived:
                self.broken += fired
            return fired


@dataclass
class Result:
    """What a run came to: how many schedules were played, how many of them the oracle refused, and every fault that fired."""

    tally: Tally = field(default_factory=Tally)
    played: int = 0
    refused: int = 0


def table(tally: Tally, not_here: dict[int, str]) -> str:
    """The faults, one a line: number, name, times injected, times survived, and why not where it was not."""
    lines = [f"{'':>4} {'fault':<52}{'injected':>9}{'survived':>9}"]
    for number, name in FAULTS.items():
        injected = tally.injected[number]
        survived = injected - tally.broken[number]
        why = "" if injected else f"   {not_here.get(number, 'not drawn by these schedules')}"
        lines.append(f"{number:>4} {name:<52}{injected:>9}{survived:>9}{why}")
    if tally.kills:
        lines.append("\nkill -9 at: " + ", ".join(f"{point} {n}" for point, n in sorted(tally.kills.items())))
    return "\n".join(lines)
