"""What every API door shares: strict JSON, problem+json, cursor pages, strict serializers, Idempotency-Key."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig, ValidationError
from django.db import DataError, IntegrityError, OperationalError, transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.csrf import csrf_exempt
from django_ratelimit.core import get_usage
from redis.exceptions import RedisError
from rest_framework import exceptions, pagination, parsers, serializers
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from foundation.errors import DomainError, InvalidInput, NotAllowed, NotFound
from foundation.middleware import current_request_id
from foundation.models import IdempotencyRecord
from foundation.text import is_storable

logger = logging.getLogger(__name__)

# A domain error is a conflict with the present state (409) unless it stands here or is one of errors.py's classes.
STATUS_OF_CODE: dict[str, int] = {
    "ambiguous_time": 422,
    "impossible_time": 422,
    "amount_mismatch": 422,
    "currency_mismatch": 422,
    "declined": 402,
    "wrong_credentials": 401,
    "wrong_code": 401,
    "token_not_valid": 401,
    "email_not_verified": 403,
    "too_many_requests": 429,
    "too_many_declines": 429,
    "provider_unavailable": 503,
}


class TooLarge(exceptions.APIException):
    status_code = 413
    default_code = "too_large"
    default_detail = gettext_lazy("The body is too large.")


class TooManyRequests(DomainError):
    code = "too_many_requests"
    message = gettext_lazy("Too many requests. Please wait a moment and try again.")

    def __init__(self, *, retry_after_seconds: int) -> None:
        super().__init__()
        self.retry_after_seconds = retry_after_seconds


class StrictJSONParser(parsers.JSONParser):
    """JSON as the standard has it: no NaN, no Infinity, no doubled keys, and no text that PostgreSQL cannot store.

    Numbers with a point or exponent arrive as Decimal, so that 50.00 is exact and 1e309 is not infinity. A body over
    DATA_UPLOAD_MAX_MEMORY_SIZE is answered 413; a streamed one without a length is cut off there.
    """

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise TooLarge
        try:
            data = json.loads(
                body.decode("utf-8"),
                parse_float=Decimal,
                parse_constant=_refuse_constant,
                object_pairs_hook=_object_without_doubles,
            )
        except (ValueError, ArithmeticError, RecursionError) as error:
            raise exceptions.ParseError(_("The body is not valid JSON.")) from error
        _refuse_unstorable(data, depth=0)
        return data


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _object_without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("doubled key")
    return made


def _refuse_unstorable(value: Any, *, depth: int) -> None:
    if depth > 20:
        raise exceptions.ParseError(_("The JSON is nested too deeply."))
    if isinstance(value, str):
        if not is_storable(value):
            raise exceptions.ParseError(_("Text may not hold NUL bytes or lone surrogates."))
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_unstorable(key, depth=depth + 1)
            _refuse_unstorable(item, depth=depth + 1)
    elif isinstance(value, list):
        for item in value:
            _refuse_unstorable(item, depth=depth + 1)


class StrictSerializer(serializers.Serializer):
    """A serializer that refuses fields it does not know, so that a misspelt field is never silently dropped."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = sorted(set(data) - set(self.fields))
            if unknown:
                raise serializers.ValidationError(
                    {name: [_("This field is not known here.")] for name in unknown[:20]}
                )
        return super().to_internal_value(data)


class UtcInstant(serializers.DateTimeField):
    """An instant in an answer: ISO 8601 in UTC, to the second, with its offset ("2026-07-01T09:30:00Z")."""

    def to_representation(self, value: datetime) -> str:
        return instant(value)


def instant(value: datetime) -> str:
    """Write an aware datetime as the API does: ISO 8601 in UTC, to the second."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class CursorPagination(pagination.CursorPagination):
    """Cursor pages: {results, next, previous}. `pageSize` up to 100."""

    page_size = 25
    page_size_query_param = "pageSize"
    max_page_size = 100
    ordering = "-pk"

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> Any:
        """Return one page. A cursor that somebody made up is refused as such, not handed to the database."""
        try:
            return super().paginate_queryset(queryset, request, view)
        except (DataError, ValidationError, ValueError, OverflowError):
            raise InvalidInput(
                _("This cursor is not one of ours. Start from the first page."), field="cursor"
            ) from None


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    errors: list[dict[str, Any]] | None = None,
    headers: dict[str, str] | None = None,
    **extra: Any,
) -> Response:
    """Return an application/problem+json answer (RFC 9457) with our `code`, `errors` and `requestId`."""
    return Response(
        _problem_body(status, code, detail, errors=errors, **extra),
        status=status,
        content_type="application/problem+json",
        headers=headers,
    )


def plain_problem(status: int, code: str, detail: str) -> HttpResponse:
    """The same answer for code that runs outside DRF: unknown paths, middleware, Django's own error handlers."""
    body = JSONRenderer().render(_problem_body(status, code, detail))
    return HttpResponse(body, status=status, content_type="application/problem+json")


def _problem_body(
    status: int, code: str, detail: str, *, errors: list[dict[str, Any]] | None = None, **extra: Any
) -> dict[str, Any]:
    return {
        **extra,
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "errors": errors or [],
        "requestId": current_request_id(),
    }


# A program is told that there is nothing, not that it lacks a page's token; nothing is done.
@csrf_exempt  # nosemgrep: csrf-exempt-outside-webhooks
def unknown_path(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
    """The answer for every path under /api that no door has."""
    return plain_problem(
        404, "not_found", _("There is no such path. /api/docs lists them all; none of them ends in a slash.")
    )


def problem_response(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler: every error as problem+json; an unforeseen one as a 500 with the request's id."""
    if isinstance(error, Http404):
        error = NotFound()
    elif isinstance(error, PermissionDenied):
        error = NotAllowed()
    elif isinstance(error, RequestDataTooBig):
        error = TooLarge()
    if isinstance(error, DomainError):
        return _domain_problem(error)
    if isinstance(error, exceptions.ValidationError):
        return problem(
            400, "invalid", _("Please correct the fields that are named."), errors=_flat(error.detail)
        )
    if isinstance(error, exceptions.APIException):
        headers = {}
        if challenge := getattr(error, "auth_header", None):
            headers["WWW-Authenticate"] = challenge
        if wait_seconds := getattr(error, "wait", None):
            headers["Retry-After"] = f"{int(wait_seconds)}"
        return problem(error.status_code, _code_of(error), str(_first(error.detail)), headers=headers)
    logger.exception("API request failed", exc_info=error)
    if isinstance(error, OperationalError):
        return problem(
            503,
            "unavailable",
            _("We cannot answer right now. Please try again shortly."),
            headers={"Retry-After": "5"},
        )
    return problem(
        500,
        "server_error",
        _("Something went wrong on our side. Quote the request id when you ask for help."),
    )


def _domain_problem(error: DomainError) -> Response:
    status = _status_of(error)
    errors = []
    if isinstance(error, InvalidInput) and error.field:
        errors = [{"field": error.field, "message": str(error.message)}]
    headers = {}
    if isinstance(error, TooManyRequests):
        headers["Retry-After"] = str(error.retry_after_seconds)
    elif status == 503:
        headers["Retry-After"] = "5"
    elif status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return problem(status, error.code, str(error.message), errors=errors, headers=headers, **error.details)


def _status_of(error: DomainError) -> int:
    if error.code in STATUS_OF_CODE:
        return STATUS_OF_CODE[error.code]
    if isinstance(error, NotFound):
        return 404
    if isinstance(error, NotAllowed):
        return 403
    return 400 if isinstance(error, InvalidInput) else 409


def _code_of(error: exceptions.APIException) -> str:
    codes = error.get_codes()
    if isinstance(error.detail, dict) and isinstance(
        error.detail.get("code"), str
    ):  # simplejwt puts its code there
        return str(error.detail["code"])
    return codes if isinstance(codes, str) else str(error.default_code)


def _first(detail: Any) -> Any:
    while isinstance(detail, (list, dict)) and detail:
        detail = detail.get("detail", next(iter(detail.values()))) if isinstance(detail, dict) else detail[0]
    return detail


def _flat(detail: Any, path: str = "") -> list[dict[str, str]]:
    if isinstance(detail, dict):
        return [
            row
            for key, value in detail.items()
            for row in _flat(value, f"{path}.{key}" if path else str(key))
        ]
    if isinstance(detail, list):
        rows: list[dict[str, str]] = []
        for index, value in enumerate(detail):
            rows += _flat(value, f"{path}[{index}]" if isinstance(value, (dict, list)) else path)
        return rows
    return [{"field": "" if path == "non_field_errors" else path, "message": str(detail)}]


def limit_rate(request: Request, group: str, *, account: str = "") -> None:
    """Count this call against settings.RATE_LIMITS[group], per address and per account. Raises TooManyRequests.

    `account` names whose budget is used besides the address's: a user's id or the e-mail address that was typed. While the shared
    cache is away each process counts for itself (foundation.cache); were even that to fail the call passes and the log says so.
    """
    per_address, per_account = settings.RATE_LIMITS[group]
    buckets: list[tuple[str, Any, str]] = [(f"{group}.address", "ip", per_address)]
    if account:
        buckets.append((f"{group}.account", lambda _group, _request: account, per_account))
    for name, key, rate in buckets:
        try:
            usage = get_usage(request._request, group=name, key=key, rate=rate, increment=True)
        except (RedisError, OSError):
            logger.exception("The rate limiter's cache does not answer; the call passes uncounted")
            return
        if usage and usage["should_limit"]:
            raise TooManyRequests(retry_after_seconds=max(1, usage["time_left"]))


def caller_principal(request: Request) -> str:
    """Name the caller for idempotency: the user, or whoever holds this guest token (hashed); "nobody" has neither."""
    if request.user.is_authenticated:
        return f"user:{request.user.pk}"
    token = request.headers.get("X-Guest-Token", "")
    return (
        "guest:" + hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest() if token else "nobody"
    )


RUNNING_TAKEOVER = timedelta(seconds=60)  # a call still "running" after this died with its process
NEVER_STORED = {400, 401, 403, 429}
Post = Callable[..., Response]


def idempotent(
    *, required: bool = True, derived_key: Callable[[Request], str] | None = None
) -> Callable[[Post], Post]:
    """Make a view's `post` honour Idempotency-Key: a repeat gets the same bytes again.

    Missing key: 400, or with required=False the call runs unguarded. Same key with another payload: 422. Still running: 409
    with Retry-After. Done: the first answer again, marked `Idempotent-Replayed`. The record is keyed by (principal, method
    and route, key) and kept 48 hours. Errors are never stored: a repeat tries again. The view may define
    `idempotency_principal(request) -> str`; by default it is caller_principal.

    `derived_key(request)` stands in for a missing header where the service itself returns the same row for a repeat. Such a
    call is guarded while it runs and then forgotten, because a client that named no key asked for no memory.
    """

    def decorate(post: Post) -> Post:
        @functools.wraps(post)
        def wrapper(view: Any, request: Request, *args: Any, **kwargs: Any) -> Any:
            key = request.headers.get("Idempotency-Key")
            remember = key is not None
            if key is None:
                if derived_key is not None:
                    key = derived_key(request)
                elif not required:
                    return post(view, request, *args, **kwargs)
            if not key or len(key) > 255 or not (key.isascii() and key.isprintable()):
                return problem(
                    400,
                    "idempotency_key_required",
                    _("Send an Idempotency-Key header of 1 to 255 printable ASCII characters."),
                )
            name = getattr(view, "idempotency_principal", None)
            route = f"{request.method} {request.path}"
            call = {
                "principal": name(request) if name else caller_principal(request),
                "route": route if len(route) <= 200 else hashlib.sha256(route.encode()).hexdigest(),
                "key": key,
            }
            # A key that was not sent cannot be reused for something else: its calls only wait for each other.
            record = _claim(call, _fingerprint(request.data) if remember else "")
            if not isinstance(record, IdempotencyRecord):
                return record
            try:
                response = post(view, request, *args, **kwargs)
            except BaseException:
                record.delete()
                raise
            if not remember or response.status_code >= 500 or response.status_code in NEVER_STORED:
                record.delete()
                return response
            body = JSONRenderer().render(response.data)
            IdempotencyRecord.objects.filter(pk=record.pk).update(
                finished_at=timezone.now(), status_code=response.status_code, body=body
            )
            return HttpResponse(body, status=response.status_code, content_type="application/json")

        return wrapper

    return decorate


def _fingerprint(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()


def _claim(call: dict[str, str], fingerprint: str) -> IdempotencyRecord | HttpResponse | Response:
    """Return the record that this call now owns, or the answer for a repeat."""
    for _attempt in range(3):
        try:
            with transaction.atomic():
                return IdempotencyRecord.objects.create(**call, fingerprint=fingerprint)
        except IntegrityError:
            pass
        with transaction.atomic():
            record = IdempotencyRecord.objects.select_for_update().filter(**call).first()
            if record is None:  # the first call failed and forgot itself between our insert and this read
                continue
            is_dead = record.finished_at is None and timezone.now() - record.created_at > RUNNING_TAKEOVER
            if record.fingerprint != fingerprint and not is_dead:
                return problem(
                    422,
                    "idempotency_key_reused",
                    _("This Idempotency-Key was used with another payload. Send a new key."),
                )
            if record.finished_at is not None:
                response = HttpResponse(
                    bytes(record.body), status=record.status_code, content_type="application/json"
                )
                response["Idempotent-Replayed"] = "true"
                return response
            if is_dead:
                record.created_at, record.fingerprint = timezone.now(), fingerprint
                record.save(update_fields=["created_at", "fingerprint"])
                return record
        break
    return problem(
        409,
        "still_running",
        _("The first call with this key is still running. Ask again shortly."),
        headers={"Retry-After": "2"},
    )


def forget_old_calls(*, now: datetime, keep: timedelta = timedelta(hours=48)) -> int:
    """Delete the memory of idempotent calls older than `keep`; return how many."""
    return IdempotencyRecord.objects.filter(created_at__lt=now - keep).delete()[0]


def valid(serializer: type[serializers.Serializer], request: Request, **options: Any) -> dict[str, Any]:
    """Validate the body with a serializer and return the values."""
    checked = serializer(data=request.data, **options)
    checked.is_valid(raise_exception=True)
    return checked.validated_data


def query_of(serializer: type[serializers.Serializer], request: Request) -> dict[str, Any]:
    """Validate the query string with a serializer and return the values. Of a repeated parameter the last counts."""
    checked = serializer(data=dict(request.query_params.items()))
    checked.is_valid(raise_exception=True)
    return checked.validated_data
