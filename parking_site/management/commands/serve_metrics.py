"""Serve the metrics to a Prometheus on this machine. A process of its own: the public site has no such page."""

from __future__ import annotations

import ipaddress
import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from prometheus_client import start_http_server

from parking_site.exposition import registry


def address_of(bind: str, *, allow_remote: bool = False) -> tuple[str, int]:
    """Read "127.0.0.1:9464" or "[::1]:9464". Raises CommandError for what cannot be read, and for an address that others can reach."""
    host, _colon, port = bind.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        address, number = ipaddress.ip_address(host), int(port)
    except ValueError:
        number = 0
    if not 1 <= number <= 65535:
        raise CommandError(f'METRICS_BIND is "{bind[:60]}"; it must be an address and a port: 127.0.0.1:9464')
    if not address.is_loopback and not allow_remote:
        raise CommandError(
            f"METRICS_BIND {bind} can be reached by other machines, and metrics have no log-in. Use 127.0.0.1, or say "
            "--allow-remote if a firewall lets only Prometheus in."
        )
    return host, number


class Command(BaseCommand):
    help = "Serve Prometheus metrics on METRICS_BIND until it is stopped."
    requires_system_checks = []

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument(
            "--bind", default=settings.METRICS_BIND, help="address:port instead of METRICS_BIND"
        )
        parser.add_argument(
            "--allow-remote", action="store_true", help="bind an address that is not loopback"
        )

    def handle(self, *args: Any, bind: str, allow_remote: bool, **options: Any) -> None:
        host, port = address_of(bind, allow_remote=allow_remote)
        stopped = threading.Event()
        for asked in (signal.SIGINT, signal.SIGTERM):
            signal.signal(asked, lambda *_: stopped.set())
        try:
            server, thread = start_http_server(port, addr=host, registry=registry())
        except OSError as error:
            raise CommandError(f"{bind} cannot be used ({error.strerror}).") from error
        self.stdout.write(f"Metrics on http://{bind}/metrics")
        stopped.wait()
        server.shutdown()
        thread.join()
