"""Make .venv from locked requirements. A script for any Python 3.11 to 3.13, standard library only."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"


def say(text: str, end: str = "\n") -> None:
    sys.stdout.write(text + end)
    sys.stdout.flush()


def run(command: list[str], advice: str) -> None:
    """Run quietly; on failure show what the program said and stop with the advice."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        say("failed")
        raise SystemExit(f"{done.stdout[-3000:]}{done.stderr[-3000:]}\n{advice}")


def main(requirements: str) -> None:
    """Two numbered steps: the environment, the packages. Both are skipped when nothing changed."""
    kind = Path(requirements).stem.removeprefix("requirements-")
    stamp = VENV / f"ready-{kind}"
    wanted = hashlib.sha256((ROOT / requirements).read_bytes()).hexdigest()
    python = VENV / "bin" / "python"
    began = time.monotonic()
    steps = "/10" if kind == "demo" else "/2"  # the demo's go on with manage.py quickstart's eight
    say(f"[1{steps}] Python {sys.version.split()[0]} in .venv ... ", end="")
    works = False
    if python.exists():
        question = [str(python), "-c", "import pip"]
        works = not subprocess.run(question, check=False, capture_output=True).returncode  # noqa: S603 - our own
    if not works:
        shutil.rmtree(VENV, ignore_errors=True)
        run(
            [sys.executable, "-m", "venv", str(VENV)],
            "This Python cannot make a virtual environment. On Debian and Ubuntu: apt install "
            "python3-venv. Or name another: make demo PYTHON=/path/to/python3",
        )
    say(f"{time.monotonic() - began:.1f} s")
    began = time.monotonic()
    # The development set holds all of the demo's, in the same versions.
    enough = [stamp, *([VENV / "ready-dev"] if kind == "demo" else [])]
    dev = hashlib.sha256((ROOT / "requirements-dev.txt").read_bytes()).hexdigest()
    ready = any(path.exists() and path.read_text() in {wanted, dev} for path in enough)
    hint = "" if ready else " (once; from the network, half a minute or more)"
    say(f"[2{steps}] Packages of {requirements}{hint} ... ", end="")
    if not ready:
        install = [
            str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
            "--require-hashes", "--only-binary", ":all:", "-r", requirements,
        ]  # fmt: skip
        # A cache that another installation is writing to can break pip: the second try goes without.
        if subprocess.run(install, cwd=ROOT, capture_output=True, check=False).returncode:  # noqa: S603 - our own
            run(
                [*install, "--no-cache-dir"],
                "The packages could not be installed. Check the network and run it again.",
            )
        stamp.write_text(wanted)
    elif stamp.exists():
        stamp.touch()
    say(f"{time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main(sys.argv[1])
