"""What each process counts: requests, provider calls, jobs. `manage.py serve_metrics` adds them up and serves them.

With PROMETHEUS_MULTIPROC_DIR the numbers are kept in that folder, where another process reads them; without it they stay in the
process that counted. Labels are of bounded variety: routes are patterns, operations are our functions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from prometheus_client import Histogram

from foundation.logs import get_logger
from foundation.text import snake

if settings.PROMETHEUS_MULTIPROC_DIR:
    Path(settings.PROMETHEUS_MULTIPROC_DIR).mkdir(parents=True, exist_ok=True)

calls = get_logger("calls")
BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
REQUESTS = Histogram(
    "parking_request_seconds", "Requests answered.", ["route", "method", "status"], buckets=BUCKETS
)
PROVIDER_CALLS = Histogram(
    "parking_provider_call_seconds",
    "Calls to payment and message providers.",
    ["provider", "operation", "outcome"],
    buckets=BUCKETS,
)
JOBS = Histogram("parking_job_seconds", "Jobs done by workers.", ["task", "outcome"], buckets=BUCKETS)


def route_of(request: HttpRequest) -> str:
    """Return the pattern of the route that answered, never the path; "unmatched" where none did."""
    match = request.resolver_match
    if match is not None:
        return "/" + match.route.lstrip("^/")
    return "static" if request.path.startswith(settings.STATIC_URL) else "unmatched"


def count_request(request: HttpRequest, status: int, seconds: float) -> None:
    """Count one answered request."""
    method = request.method if request.method in METHODS else "OTHER"
    REQUESTS.labels(route_of(request), method, f"{status // 100}xx").observe(seconds)


def operation_of(call: Callable[..., Any]) -> str:
    """Name a provider call by the function of ours that makes it: a lambda inside `create_payment` is "create_payment"."""
    return getattr(call, "__qualname__", "call").partition(".<locals>")[0].rpartition(".")[2].lstrip("_")


@contextmanager
def provider_called(provider: str, operation: str) -> Iterator[None]:
    """Count a call to a provider and write one line about it. The outcome is "ok", or the name of the error that it ends with."""
    began, outcome = time.monotonic(), "ok"
    try:
        yield
    except BaseException as error:
        outcome = snake(type(error).__name__)
        raise
    finally:
        seconds = time.monotonic() - began
        PROVIDER_CALLS.labels(provider, operation, outcome).observe(seconds)
        calls.info(
            "provider call",
            provider=provider,
            operation=operation,
            outcome=outcome,
            ms=round(seconds * 1000),
        )
