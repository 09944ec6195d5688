"""The workers under test: a parent that sets Django up once, forks the workers, and forks again whichever dies.

In production systemd restarts a dead worker; here it must not cost seconds of start-up, as hundreds are killed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from types import FrameType

import django

from foundation.database import die_with_parent

WORKERS = 2
MOST_FORKS = 5000  # a worker that cannot live must not be born for ever


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "parking_site.settings")
    django.setup()
    from bench.chaos import entry

    entry.prepare()
    children: set[int] = set()

    def stop(_number: int, _frame: FrameType | None) -> None:
        for child in children:
            os.kill(child, signal.SIGKILL)  # what they were doing is what the next worker finds
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    for _fork in range(MOST_FORKS):
        while len(children) >= WORKERS:
            child, _status = os.wait()
            children.discard(child)
            time.sleep(0.05)
        tie = die_with_parent(signal.SIGKILL)
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            if tie is not None:
                tie()
            _work()
        children.add(child)
    return 1


def _work() -> None:
    """Run one worker, as `manage.py procrastinate worker` does, with a heart that beats fast enough to be missed soon."""
    from procrastinate.contrib.django import app

    async def work() -> None:
        async with app.open_async():
            await app.run_worker_async(
                concurrency=2, fetch_job_polling_interval=0.5, update_heartbeat_interval=0.5,
                install_signal_handlers=False,
            )  # fmt: skip

    try:
        with app.replace_connector(app.connector.get_worker_connector()):  # type: ignore[attr-defined]
            asyncio.run(work())
    except BaseException as error:
        sys.stderr.write(f"worker {os.getpid()}: {type(error).__name__}: {error}\n")
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
