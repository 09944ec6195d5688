"""The sandbox as a real process, and a receiver for what it posts."""

from __future__ import annotations

import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import stripe

ROOT = Path(__file__).resolve().parents[2]
SECRET_KEY = "sk_test_sandboxsandboxsandboxsandbox"
PUBLISHABLE_KEY = "pk_test_sandboxsandboxsandboxsandbox"
TOKEN = "a-twilio-token"
ACCOUNT = "AC" + "0f" * 16


@dataclass
class Process:
    """A running sandbox and the calls that tests make to it."""

    data: Path
    options: list[str] = field(default_factory=list)
    url: str = ""
    running: subprocess.Popen[str] | None = None

    def start(self) -> Process:
        self.running = subprocess.Popen(
            [
                sys.executable, "-m", "sandbox", "--port", "0", "--data", str(self.data), "--twilio-token", TOKEN,
                *self.options,
            ],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.running.stdout is not None
        line = self.running.stdout.readline()
        assert line.startswith("sandbox: listening on "), line
        self.url = line.split()[-1]
        return self

    def stop(self, number: int = signal.SIGTERM) -> None:
        assert self.running is not None
        os.kill(self.running.pid, number)
        self.running.wait(timeout=15)

    def get(self, path: str, **params: Any) -> Any:
        answer = requests.get(self.url + path, params=params, timeout=15)
        answer.raise_for_status()
        return answer.json()

    def post(self, path: str, body: Any = None) -> Any:
        answer = requests.post(self.url + path, json=body or {}, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def stripe(self, **options: Any) -> stripe.StripeClient:
        options.setdefault("max_network_retries", 0)
        client = options.pop("http_client", None) or stripe.RequestsClient(timeout=options.pop("timeout", 20))
        return stripe.StripeClient(
            SECRET_KEY,
            base_addresses={"api": f"{self.url}/stripe", "files": f"{self.url}/stripe"},
            http_client=client,
            **options,
        )

    def raw(self, method: str, path: str, key: str = SECRET_KEY, **options: Any) -> requests.Response:
        """A call to Stripe's API as no library would make it."""
        headers = {"Authorization": f"Bearer {key}", **options.pop("headers", {})}
        return requests.request(
            method,
            f"{self.url}/stripe/v1/{path}",
            headers=headers,
            timeout=options.pop("timeout", 15),
            **options,
        )

    def events(self) -> list[str]:
        """Types of all events, oldest first."""
        return [event.type for event in self.stripe().v1.events.list({"limit": 100}).data][::-1]


@pytest.fixture(scope="session")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    started = Process(tmp_path_factory.mktemp("sandbox")).start()
    yield started
    started.stop()


@pytest.fixture
def box(process: Process) -> Process:
    """The sandbox, empty."""
    process.post("/reset", {"endpoints": True})
    return process


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """An HTTP server on loopback that keeps what is posted to it."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: list[int] = []
        self.text, self.kind = b"", "text/plain"
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.received.append(Received(self.path, dict(self.headers), body))
                self.send_response(outer.answers.pop(0) if outer.answers else 200)
                self.send_header("Content-Type", outer.kind)
                self.send_header("Content-Length", str(len(outer.text)))
                self.end_headers()
                self.wfile.write(outer.text)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait_for(self, count: int) -> list[Received]:
        wait_until(lambda: len(self.received) >= count)
        return self.received


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


def wait_until(met: Callable[[], Any], seconds: float = 10) -> Any:
    """The first true answer; fails when none comes in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = met()
        if answer:
            return answer
        time.sleep(0.03)
    raise AssertionError("It did not happen in time.")
