"""Rehearse the deployment: `python -m deploy.lab`, or `make lab`.

Root; Debian packages debootstrap, systemd-container, slirp4netns, nginx, pebble, curl, iproute2 (testssl.sh if it is there). Exit code 1 when
anything was not as it must be. The log and the machines' disks stay in the folder.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from pathlib import Path

from deploy.lab.machines import Machines
from deploy.lab.rehearsal import Lab
from deploy.lab.world import ROOT

NEEDED = ("debootstrap", "systemd-nspawn", "slirp4netns", "nginx", "pebble", "curl", "ip")
ADVICE = "apt install debootstrap systemd-container slirp4netns nginx pebble curl iproute2"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.lab", description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "var" / "lab" / "run", help="where disks and logs lie"
    )
    parser.add_argument("--short", action="store_true", help="fewer ports, one broken release, no testssl")
    parser.add_argument("--machines", action="store_true", help="the rehearsal of several machines instead")
    parser.add_argument("--pause", action="store_true", help="keep the machine running after a failure")
    asked = parser.parse_args()
    missing = [name for name in NEEDED if not shutil.which(name)]
    if os.getuid() != 0 or missing:
        sys.exit(f"The rehearsal needs root{' and ' + ', '.join(missing) if missing else ''}: {ADVICE}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    kind = Machines if asked.machines else Lab
    return kind(asked.folder.resolve(), short=asked.short).rehearse(pause=asked.pause)


if __name__ == "__main__":
    sys.exit(main())
