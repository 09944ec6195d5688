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
    """What was received, and what to answer next: a status, a dict of status, code and headers, "hang up" (after taking it) or
    "too slow". `listed` is what Twilio's list of messages holds, or a status."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.answers: list[Any] = []
        self.listed: Any = []
        self.looks = 0
        self.connections: set[Any] = set()


@pytest.fixture
def wire(settings: Any) -> Iterator[Wire]:
    wire = Wire()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # keeps connections, as providers do

        def do_GET(self) -> None:
            wire.looks += 1
            status = wire.listed if isinstance(wire.listed, int) else 200
            found = [] if isinstance(wire.listed, int) else wire.listed
            body = json.dumps({"messages": found, "page": 0, "page_size": 50, "next_page_uri": None}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            wire.connections.add(self.client_address)
            raw = self.rfile.read(int(self.headers["Content-Length"])).decode()
            is_mail = "/mail/" in self.path
            data = json.loads(raw) if is_mail else {name: values[0] for name, values in parse_qs(raw).items()}
            wire.received.append(data)
            answer = wire.answers.pop(0) if wire.answers else (202 if is_mail else 201)
            if answer in ("hang up", "too slow"):
                time.sleep(1.5 if answer == "too slow" else 0)
                self.close_connection = True
                return
            more = answer if isinstance(answer, dict) else {"status": answer}
            answer = more["status"]
            body = b"" if is_mail else json.dumps({"sid": "SM" + "a" * 32, "status": "queued"}).encode()
            if answer >= 400:
                body = json.dumps(
                    {"errors": [{"message": "no"}], "code": more.get("code", 21211), "message": "no"}
                ).encode()
            self.send_response(answer)
            self.send_header("X-Message-Id", "wire-1")
            for name, value in more.get("headers", {}).items():
                self.send_header(name, value)
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
