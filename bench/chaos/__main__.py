"""`python -m bench.chaos --schedules 1000 --seed 1`: the platform under attack, and the table of what it survived."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

import django

from bench.chaos import lanes
from bench.chaos.faults import Result
from bench.chaos.stack import Stack

ROOM_BYTES = 2 * 1024**3
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def say(text: str = "") -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.chaos", description=__doc__)
    parser.add_argument("--schedules", type=int, default=25, help="how many")
    parser.add_argument("--first", type=int, default=0, help="begin with this number instead of 0")
    parser.add_argument(
        "--lanes", type=int, default=1, help="so many whole stacks side by side: a schedule is mostly waiting"
    )
    parser.add_argument(
        "--lane", type=Path, help=argparse.SUPPRESS
    )  # one of several: where to leave its counts
    parser.add_argument("--step", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="play this one schedule of the seed again")
    parser.add_argument(
        "--mutants", action="store_true", help="remove one safety at a time; each must be noticed"
    )
    parser.add_argument("--mutant", action="append", default=[], help="only these mutants")
    parser.add_argument("--verbose", action="store_true", help="a line for each schedule")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first violation")
    return parser.parse_args()


def main() -> int:
    asked = parse()
    for number in SIGNALS:
        signal.signal(number, _stop)
    if asked.lanes > 1 and asked.only is None and not (asked.mutants or asked.mutant):
        return lanes.run(asked, say=say)
    folder = Path(tempfile.mkdtemp(prefix="chaos-", dir=_roomy_memory()))
    folder.chmod(0o755)  # PostgreSQL's own user must be able to walk through it
    stack = Stack(folder)
    result = Result()
    good = stopped = False
    began = time.monotonic()
    try:
        stack.start_database()
        django.setup()
        _log_to(folder / "logs" / "harness.log")
        from bench.chaos import run

        run.VERBOSE = asked.verbose
        stack.prepare_template()
        say(f"Ready in {time.monotonic() - began:.0f} s; everything is below {folder}.")
        if asked.mutants or asked.mutant:
            good = run.mutants(stack, asked.mutant, seed=asked.seed, say=say)
        else:
            numbers = [asked.only] if asked.only is not None else lanes.numbers(asked)
            run.schedules(stack, numbers, result, seed=asked.seed, say=say, keep_going=asked.keep_going)
            good = result.refused == 0
    except KeyboardInterrupt:
        stopped = True
    finally:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        stack.stop()
        if good or (stopped and not result.refused):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(stack.server.home, ignore_errors=True)
    if asked.lane:
        lanes.leave(asked.lane, result)
    elif result.played:
        lanes.conclude(result, asked, took=time.monotonic() - began, say=say)
    if stopped:
        say("Stopped.")
        return 130
    return 0 if good else 1


def _roomy_memory() -> str | None:
    """A file system in memory, where there is one with room: a database for each few schedules is thousands of files to sync."""
    memory = Path("/dev/shm")  # noqa: S108 - a private folder is made in it
    if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ROOM_BYTES:
        return str(memory)
    return None


def _log_to(path: Path) -> None:
    """What the product says in this process, where the janitor runs, belongs to the evidence and not on the screen."""
    logging.captureWarnings(True)
    logging.basicConfig(filename=path, level=logging.WARNING, force=True)


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
