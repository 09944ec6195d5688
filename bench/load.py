"""A small HTTP load generator: blocking keep-alive sockets, one thread per client, in its own process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """per_second over the whole run; p50 and p99 in milliseconds; wrong counts answers of another status."""

    per_second: float
    p50: float
    p99: float
    wrong: int
    example: str


def run(port: int, request: Callable[[int], bytes], *, clients: int, seconds: float, expect: int) -> Measured:
    """Send request(n) from each client as fast as it is answered, for so many seconds after a short warm-up."""
    times: list[float] = []
    wrong: list[str] = []
    counter = iter(range(10**9))
    start = threading.Barrier(clients + 1)
    stop_at = [0.0]

    def client() -> None:
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        mine: list[float] = []
        start.wait()
        while time.perf_counter() < stop_at[0]:
            message = request(next(counter))
            began = time.perf_counter()
            connection.sendall(message)
            status, body, closing = _answer(connection)
            mine.append(time.perf_counter() - began)
            if status != expect:
                wrong.append(f"{status} {body[:200].decode(errors='replace')}")
            if closing:
                connection.close()
                connection = socket.create_connection(("127.0.0.1", port))
        connection.close()
        times.extend(mine)

    threads = [threading.Thread(target=client, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    stop_at[0] = time.perf_counter() + seconds
    start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - began
    times.sort()
    return Measured(
        per_second=(len(times) - len(wrong)) / elapsed,
        p50=times[len(times) // 2] * 1000,
        p99=times[int(len(times) * 0.99)] * 1000,
        wrong=len(wrong),
        example=wrong[0] if wrong else "",
    )


def _answer(connection: socket.socket) -> tuple[int, bytes, bool]:
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            return 0, data, True
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    closing = False
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
        elif name.lower() == b"connection":
            closing = value.strip().lower() == b"close"
    while len(body) < length:
        body += connection.recv(65536)
    return int(head.split(b" ", 2)[1]), body, closing
