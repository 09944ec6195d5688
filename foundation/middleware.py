"""Request ids and the line per request, the caller's address, and text that PostgreSQL cannot store."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable

from django.conf import settings
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars

from foundation import metrics
from foundation.logs import current_request_id, get_logger, is_plain, serving, user_id_of

__all__ = ["RejectUnstorableTextMiddleware", "RequestIdMiddleware", "client_address", "current_request_id"]
access = get_logger("access")
_WELL_FORMED = re.compile(r"^[A-Za-z0-9_-]{8,64}$")
# Asked every few seconds by whoever watches: counted, but not written down while they are well.
QUIET_ROUTES = {"/health", "/api/health", "static"}
GetResponse = Callable[[HttpRequest], HttpResponse]


class RequestIdMiddleware:
    """Give each request an id: the proxy's if it is well formed, else a new one. It is in every log line, answer and later job.

    Writes one line per request, by its route's pattern: a path may hold a token.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.META.get("HTTP_X_REQUEST_ID", "")
        request_id = given if _WELL_FORMED.match(given) and is_plain(given) else secrets.token_hex(8)
        request.request_id = request_id  # type: ignore[attr-defined]
        outer, token = get_contextvars(), serving.set(request)
        clear_contextvars()
        bind_contextvars(request_id=request_id)
        began, status = time.monotonic(), 500
        try:
            response = self.get_response(request)
            status = response.status_code
        finally:
            _told(request, status, time.monotonic() - began)
            serving.reset(token)
            clear_contextvars()
            bind_contextvars(**outer)
        response["X-Request-ID"] = request_id
        return response


def _told(request: HttpRequest, status: int, seconds: float) -> None:
    metrics.count_request(request, status, seconds)
    route = metrics.route_of(request)
    if status < 400 and route in QUIET_ROUTES:
        return
    fields = {"user_id": user_id} if (user_id := user_id_of(request)) is not None else {}
    access.info(
        "request",
        method=request.method if request.method in metrics.METHODS else "OTHER",
        route=route,
        status=status,
        ms=round(seconds * 1000),
        **fields,
    )


class RejectUnstorableTextMiddleware:
    """Refuse a NUL byte in the path or query: PostgreSQL cannot store one, so it would end as a server error."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if "\x00" in request.path_info or "%00" in request.META.get("QUERY_STRING", ""):
            # Answered by handler400, in the form that the caller reads.
            raise BadRequest("The address holds a character that cannot be used.")
        return self.get_response(request)


def client_address(request: HttpRequest) -> str:
    """Return the caller's address as our own proxy set it; never what the caller claims in X-Forwarded-For."""
    header = settings.CLIENT_ADDRESS_HEADER
    if header:
        return request.META.get("HTTP_" + header.upper().replace("-", "_"), "") or "unknown"
    return request.META.get("REMOTE_ADDR", "") or "unknown"
