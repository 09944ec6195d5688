"""A provider on loopback that answers as told: fakes stop at the wire."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest


class Wire:
    """What was received, and what to answer next: a status, "hang up" (after taking it) or "too slow"."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.answers: list[Any] = []


@pytest.fixture
def wire(settings: Any) -> Iterator[Wire]:
    wire = Wire()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"])).decode()
            is_mail = "/mail/" in self.path
            data = json.loads(raw) if is_mail else {name: values[0] for name, values in parse_qs(raw).items()}
            wire.received.append(data)
            answer = wire.answers.pop(0) if wire.answers else (202 if is_mail else 201)
            if answer == "hang up":
                self.connection.close()
                return
            if answer == "too slow":
                time.sleep(1.5)
                return
            body = b"" if is_mail else json.dumps({"sid": "SM" + "a" * 32, "status": "queued"}).encode()
            if answer >= 400:
                body = json.dumps({"errors": [{"message": "no"}], "code": 21211, "message": "no"}).encode()
            self.send_response(answer)
            self.send_header("X-Message-Id", "wire-1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    settings.EMAIL_BACKEND = "anymail.backends.sendgrid.EmailBackend"
    settings.ANYMAIL = {**settings.ANYMAIL, "SENDGRID_API_URL": f"{base}/v3/", "REQUESTS_TIMEOUT": 0.5}
    settings.TWILIO_API_BASE = base
    settings.TWILIO_TIMEOUT_SECONDS = 0.5
    yield wire
    server.shutdown()
    server.server_close()
