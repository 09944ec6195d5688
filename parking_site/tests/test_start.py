"""Starting, and going on after the database was restarted."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from django.test import Client

from parking_site.supervisor import Supervisor, ports_of_demo

ROOT = Path(__file__).resolve().parents[2]


def started(tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "quickstart", "--check"],
        cwd=ROOT, env={**os.environ, "VAR_DIR": str(tmp_path), **variables}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("variable", ["PORT", "SANDBOX_PORT"])
@pytest.mark.parametrize("written", ["abc", "0", "70000", "-1", "80.5", "\uff19\uff10\uff10\uff10", ""])
def test_a_port_that_is_none_is_said_in_one_line(tmp_path: Path, variable: str, written: str) -> None:
    ended = started(tmp_path, **{variable: written})
    assert ended.returncode != 0
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f'{variable} is "{written}"; it must be a port')
    assert ended.stdout == ""


@pytest.mark.parametrize("variable", ["PORT", "SANDBOX_PORT"])
def test_a_taken_port_is_said_in_one_line(tmp_path: Path, variable: str) -> None:
    with socket.socket() as other, socket.socket() as free:
        other.bind(("127.0.0.1", 0))
        other.listen()
        free.bind(("127.0.0.1", 0))
        taken, beside = str(other.getsockname()[1]), str(free.getsockname()[1])
        free.close()
        ports = {"PORT": beside, "SANDBOX_PORT": beside, variable: taken}
        ended = started(tmp_path, **ports)
    assert ended.returncode != 0
    (line,) = ended.stderr.splitlines()
    assert f"Port {taken} on 127.0.0.1 cannot be used" in line
    assert f"make demo {variable}=" in line


def _others() -> list[int]:
    """Server processes that this pool's connections talk to, seen from outside the pool."""
    with psycopg.connect(**connection.get_connection_params() | {"dbname": "postgres"}) as outside:
        rows = outside.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = %s", [connection.settings_dict["NAME"]]
        )
        return [row[0] for row in rows.fetchall()]


def _end_all_connections() -> list[int]:
    """As a restart of the server would, while every connection lies idle in the pool."""
    ended = _others()
    with psycopg.connect(**connection.get_connection_params() | {"dbname": "postgres"}) as outside:
        for process in ended:
            outside.execute("SELECT pg_terminate_backend(%s, 5000)", [process])
    return ended


@pytest.mark.django_db(transaction=True)
def test_nobody_sees_that_the_database_was_restarted(sandbox: Any, client: Client) -> None:
    assert client.get("/api/airports").status_code == 200
    for _restart in range(3):
        connection.close()
        ended = _end_all_connections()
        assert ended, "the pool held nothing that could break"
        for _request in range(settings.DATABASES["default"]["OPTIONS"]["pool"]["max_size"] + 1):
            assert client.get("/api/airports").status_code == 200
            connection.close()
    assert not set(_others()) & set(ended)


@pytest.mark.django_db(transaction=True)
def test_without_the_check_the_first_who_comes_meets_a_dead_connection(sandbox: Any, client: Client) -> None:
    """The control of the test above: it is the check that mends it."""
    connection.close_pool()  # type: ignore[attr-defined]  # PostgreSQL's wrapper has it
    connection.settings_dict["CONN_HEALTH_CHECKS"] = False
    try:
        for _look in range(20):  # the pool may just have been renewing its connection
            assert client.get("/api/airports").status_code == 200
            connection.close()
            if _end_all_connections():
                break
        else:
            raise AssertionError("the pool held nothing that could break")
        client.raise_request_exception = False
        assert client.get("/api/airports").status_code >= 500
    finally:
        connection.close()
        connection.close_pool()  # type: ignore[attr-defined]
        connection.settings_dict["CONN_HEALTH_CHECKS"] = True


def managed(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command in a shell that knows nothing of a demo but its folder."""
    known = {name: value for name, value in os.environ.items() if name not in NAMED_BY_THE_DEMO}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT, env=known | {"VAR_DIR": str(tmp_path)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


NAMED_BY_THE_DEMO = ("DATABASE_URL", "PORT", "SANDBOX_PORT", "SANDBOX_URL", "SITE_URL")


def test_a_command_without_a_database_says_so_in_one_line(tmp_path: Path) -> None:
    ended = managed(tmp_path, "audit_books")
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("No database 'parking' answers at ")
    assert "make demo" in line


def test_a_command_beside_a_demo_finds_its_ports_while_it_lives(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path / "demo")
    supervisor.tell_ports(PORT=9000, SANDBOX_PORT=9001)
    Supervisor(tmp_path / "demo").stop()  # one that found the folder taken leaves the record alone
    asked = (
        "shell",
        "--no-imports",
        "-c",
        "from django.conf import settings; print(settings.STRIPE_API_BASE)",
    )
    assert managed(tmp_path, *asked).stdout.strip() == "http://127.0.0.1:9001/stripe"
    record = supervisor.ports_record.read_text()
    supervisor.stop()
    assert ports_of_demo(tmp_path / "demo") == {}
    supervisor.ports_record.write_text(record.replace(f'"pid": {os.getpid()}', '"pid": 999999999'))
    assert ports_of_demo(tmp_path / "demo") == {}, "a killed demo's"
