"""Several stacks side by side, each with every nth schedule, and their counts put together."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.chaos.faults import Result, table
from foundation.database import die_with_parent

Say = Callable[[str], None]


def numbers(asked: argparse.Namespace) -> list[int]:
    """The numbers of the schedules that were asked for; of a lane, its share."""
    return list(range(asked.first, asked.first + asked.schedules * asked.step, asked.step))


def run(asked: argparse.Namespace, *, say: Say) -> int:
    """Play all lanes to their end, or until somebody stops them, and print one table. Returns the process's exit status."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-lanes-"))
    began = time.monotonic()
    lanes = []
    for number in range(asked.lanes):
        share = len(range(number, asked.schedules, asked.lanes))
        command = [
            sys.executable, "-m", "bench.chaos", "--seed", str(asked.seed), "--first", str(asked.first + number),
            "--step", str(asked.lanes), "--schedules", str(share), "--lane", str(folder / f"{number}.json"),
            *(["--verbose"] if asked.verbose else []), *(["--keep-going"] if asked.keep_going else []),
        ]  # fmt: skip
        lanes.append(subprocess.Popen(command, preexec_fn=die_with_parent(signal.SIGTERM)))  # noqa: S603 - our own
    try:
        statuses = [lane.wait() for lane in lanes]
        status = int(any(statuses))
    except KeyboardInterrupt:  # whichever signal it was: __main__ makes them one
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for lane in lanes:
            lane.terminate()
        for lane in lanes:
            lane.wait()
        status = 130
    whole = Result()
    for left in folder.iterdir():
        told = json.loads(left.read_text())
        whole.played += told["played"]
        whole.refused += told["refused"]
        whole.tally.add(told["tally"])
    shutil.rmtree(folder, ignore_errors=True)
    conclude(whole, asked, took=time.monotonic() - began, say=say)
    return status


def leave(path: Path, result: Result) -> None:
    """Write down what a lane counted, for run() to add up."""
    path.write_text(
        json.dumps({"played": result.played, "refused": result.refused, "tally": result.tally.told()})
    )


def conclude(result: Result, asked: argparse.Namespace, *, took: float, say: Say) -> None:
    """Print the table of faults and what the run came to."""
    why_not = {} if shutil.which("redis-server") else {38: "not injected here: redis-server is not installed"}
    say("")
    say(table(result.tally, why_not))
    say(
        f"\nseed {asked.seed}: {result.played} schedules in {took:.0f} s, {result.refused} refused by the oracle"
    )
