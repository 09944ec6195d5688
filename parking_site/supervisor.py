"""The demo's parent: starts children in order, watches them, stops them, cleans up after a killed one."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from foundation.database import die_with_parent

MOST_REVIVALS_A_MINUTE = 5


class ChildFailed(Exception):
    """A child stopped by itself; the message holds the end of its log."""


class AlreadyRunning(Exception):
    """Another supervisor owns the folder."""


class PortTaken(Exception):
    """Another program listens where a child should."""


def require_free_port(port: int, variable: str) -> None:
    """Raise PortTaken, saying which variable changes the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortTaken(
                f"Port {port} on 127.0.0.1 cannot be used ({error.strerror}). Stop the program that uses it, "
                f"or choose another: make demo {variable}={port + 1000 if port <= 64535 else port - 1000}"
            ) from None


@dataclass(frozen=True)
class Start:
    """How a child was started, to start it again."""

    command: list[str]
    environment: dict[str, str]
    cwd: Path


class Supervisor:
    """Owns child processes. folder holds their logs and the record that lets a restart clean up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.record = folder / "children.json"
        self.ports_record = folder / "ports.json"
        self.tells_ports = False
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.starts: dict[str, Start] = {}
        self.revivals: list[float] = []

    def take_lock(self) -> None:
        """Be the only supervisor of this folder, until the process ends. Raises AlreadyRunning, naming the other."""
        lock = os.open(self.folder / "supervisor", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 20).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            raise AlreadyRunning(
                f"A demo of this folder already runs: process {holder}. Stop it (Ctrl-C) first."
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)

    def tell_ports(self, **ports: int) -> None:
        """Record where the demo listens, by variable, so that a command in another shell finds it: `ports_of_demo`."""
        ours = {"pid": os.getpid(), "started": _started(os.getpid()), "ports": ports}
        self.ports_record.write_text(json.dumps(ours))
        self.tells_ports = True

    def end_leftovers(self) -> int:
        """Stop the children of a supervisor that was killed; returns how many still ran."""
        try:
            recorded = json.loads(self.record.read_text())
        except (FileNotFoundError, ValueError):
            return 0
        alive = [(pid, started) for pid, started in recorded if started and _started(pid) == started]
        for attempt, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            for pid, _started_at in alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, attempt)
            deadline = time.monotonic() + patience
            while any(_started(pid) == started for pid, started in alive) and time.monotonic() < deadline:
                time.sleep(0.05)
        self.record.unlink(missing_ok=True)
        return len(alive)

    def start(self, name: str, command: list[str], environment: dict[str, str], *, cwd: Path) -> None:
        """Start a child with its output in <folder>/<name>.log, apart from the terminal's Ctrl-C."""
        self.starts[name] = Start(command, environment, cwd)
        with self.log(name).open("ab") as log:
            self.children[name] = subprocess.Popen(  # noqa: S603 - our own programs
                command,
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )
        self.record.write_text(json.dumps([[c.pid, _started(c.pid)] for c in self.children.values()]))

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def check(self) -> None:
        """Raise ChildFailed when a child has stopped."""
        for name, child in self.children.items():
            if child.poll() is not None:
                lines = self.log(name).read_text(errors="replace").splitlines()[-15:]
                raise ChildFailed(
                    f"The {name} stopped (exit {child.returncode}). {self.log(name)} ends:\n"
                    + "\n".join(lines)
                )

    def revive(self) -> list[str]:
        """Start each child again that has stopped; return their names. Raises ChildFailed when they stop again and again."""
        stopped = [name for name, child in self.children.items() if child.poll() is not None]
        now = time.monotonic()
        self.revivals = [at for at in self.revivals if at > now - 60] + [now] * len(stopped)
        if len(self.revivals) > MOST_REVIVALS_A_MINUTE:
            self.check()
        for name in stopped:
            again = self.starts[name]
            self.start(name, again.command, again.environment, cwd=again.cwd)
        return stopped

    def wait_for(self, url: str, *, timeout_seconds: float = 60) -> None:
        """Return when the address answers 200. Raises ChildFailed when a child dies or time is up."""
        deadline = time.monotonic() + timeout_seconds
        answer = "nothing"
        while time.monotonic() < deadline:
            self.check()
            try:
                with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - loopback
                    if response.status == 200:
                        return
            except urllib.error.HTTPError as error:
                answer = f"{error.code} {error.read(500).decode(errors='replace')}"
            except OSError:
                pass
            time.sleep(0.05)
        raise ChildFailed(f"{url} did not get healthy in {timeout_seconds:.0f} s; it answered {answer}.")

    def stop(self) -> None:
        """Ask the children to stop, last started first; kill one that does not within its time."""
        for child in reversed(self.children.values()):
            if child.poll() is None:
                child.terminate()
        for child in reversed(self.children.values()):
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        if self.children:  # without any, the record is that of another supervisor
            self.record.unlink(missing_ok=True)
        if self.tells_ports:
            self.ports_record.unlink(missing_ok=True)
        self.children.clear()


def ports_of_demo(folder: Path) -> dict[str, int]:
    """Return the ports of the demo whose living supervisor owns the folder, by variable; empty when none runs."""
    try:
        told = json.loads((folder / "ports.json").read_text())
        if told["started"] and _started(told["pid"]) == told["started"]:
            return {name: int(port) for name, port in told["ports"].items()}
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return {}


def _started(pid: int) -> str:
    """When this process started, in the system's words, to tell a recycled id apart; empty when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        if Path("/proc/self").exists():
            return ""
        return subprocess.run(  # noqa: S603 - macOS has no /proc
            ["ps", "-o", "lstart=", "-p", str(pid)],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
    return "" if fields[0] == "Z" else fields[19]
