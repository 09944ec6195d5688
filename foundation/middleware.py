"""Request ids, the caller's address, and text that PostgreSQL cannot store."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable
from contextvars import ContextVar

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.utils.translation import gettext as _

_request_id: ContextVar[str] = ContextVar("request_id", default="")
_WELL_FORMED = re.compile(r"^[A-Za-z0-9_-]{8,64}$")
GetResponse = Callable[[HttpRequest], HttpResponse]


def current_request_id() -> str:
    """Return the id of the request being served, or "" outside one."""
    return _request_id.get()


class RequestIdFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = current_request_id() or "-"
        return True


class RequestIdMiddleware:
    """Give each request an id: the proxy's if it is well formed, else a new one. It is in every log line and answer."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.META.get("HTTP_X_REQUEST_ID", "")
        request_id = given if _WELL_FORMED.match(given) else secrets.token_hex(8)
        token = _request_id.set(request_id)
        try:
            response = self.get_response(request)
        finally:
            _request_id.reset(token)
        response["X-Request-ID"] = request_id
        return response


class RejectUnstorableTextMiddleware:
    """Refuse a NUL byte in the path or query: PostgreSQL cannot store one, so it would end as a server error."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if "\x00" in request.path_info or "%00" in request.META.get("QUERY_STRING", ""):
            return HttpResponseBadRequest(_("The address holds a character that cannot be used."))
        return self.get_response(request)


def client_address(request: HttpRequest) -> str:
    """Return the caller's address as our own proxy set it; never what the caller claims in X-Forwarded-For."""
    header = settings.CLIENT_ADDRESS_HEADER
    if header:
        return request.META.get("HTTP_" + header.upper().replace("-", "_"), "") or "unknown"
    return request.META.get("REMOTE_ADDR", "") or "unknown"
