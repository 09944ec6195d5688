"""Django's own error answers, in the form that the caller reads: problem+json under /api, a page elsewhere."""

from __future__ import annotations

import sys
from http import HTTPStatus

from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.translation import gettext as _
from django.views import defaults

from foundation.api import plain_problem
from foundation.middleware import current_request_id
from parking_site import context


def _for_programs(request: HttpRequest) -> bool:
    return request.path == "/api" or request.path.startswith("/api/")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400, also for a Host header that is not ours."""
    if _for_programs(request):
        return plain_problem(
            400, "bad_request", _("The request cannot be read. Please check how it is sent.")
        )
    return defaults.bad_request(request, exception)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _for_programs(request):
        return plain_problem(HTTPStatus.FORBIDDEN, "not_allowed", _("You are not allowed to do that."))
    return defaults.permission_denied(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _for_programs(request):
        return plain_problem(HTTPStatus.NOT_FOUND, "not_found", _("There is no such thing here."))
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """500 with the request's id, never a traceback; 503 when it is only the database that does not answer."""
    if isinstance(sys.exception(), OperationalError):
        return _unavailable(request)
    if _for_programs(request):
        return plain_problem(
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "server_error",
            _("Something went wrong on our side. Quote the request id when you ask for help."),
        )
    return HttpResponse(
        render_to_string("500.html", _marks(request)), status=HTTPStatus.INTERNAL_SERVER_ERROR
    )


def _marks(request: HttpRequest) -> dict[str, object]:
    """What a page needs that is rendered without the context processors, which may be what failed."""
    return {"request_id": current_request_id(), "for_staff": context.is_for_staff(request)}


def _unavailable(request: HttpRequest) -> HttpResponse:
    if _for_programs(request):
        response = plain_problem(
            503, "unavailable", _("We cannot answer right now. Please try again shortly.")
        )
    else:
        response = HttpResponse(
            render_to_string("503.html", _marks(request)), status=HTTPStatus.SERVICE_UNAVAILABLE
        )
    response["Retry-After"] = "5"
    return response
