"""How log lines are made: one JSON object a line for machines, or readable lines, for our loggers and the libraries' alike.

A line says when (UTC), how serious, who writes, what happened, in which release, for which request or job, and for which user by
number. `foundation.redaction` has the last word about what it may hold.
"""

from __future__ import annotations

import functools
import logging
import re
import sys
import threading
from collections.abc import Callable, MutableMapping
from contextvars import ContextVar
from typing import Any

import structlog
from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject, empty
from structlog.contextvars import get_contextvars, merge_contextvars
from structlog.typing import EventDict, WrappedLogger

from foundation.redaction import Redactor, secrets_of_settings

FIRST = ("timestamp", "level", "logger", "event", "request_id", "job_id", "task", "user_id")
_BREAKS = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")
serving: ContextVar[HttpRequest | None] = ContextVar("serving", default=None)


def current_request_id() -> str:
    """Return the id of the request being served or of the job being done, or "" outside both."""
    return str(get_contextvars().get("request_id", ""))


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger for lines with fields: `get_logger(__name__).info("provider call", provider="stripe")`."""
    return structlog.stdlib.get_logger(name)


def user_id_of(request: HttpRequest) -> int | None:
    """Return the number of the request's user if it is known by now. Asks nobody: a log line may not cost a query."""
    known = request.__dict__
    user = known.get("user")
    if isinstance(user, SimpleLazyObject):
        user = user.__dict__["_wrapped"]
    return None if user is None or user is empty else getattr(user, "pk", None)


def _add_user(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    request = serving.get()
    if request is not None and (user_id := user_id_of(request)) is not None:
        event.setdefault("user_id", user_id)
    return event


def _add_release(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    if settings.configured:
        event["release"] = settings.RELEASE
    return event


def _of_request(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Django's own lines about a request come when it is over, and quote its path, which may be a one-time link: they get its id and the
    route's pattern."""
    request = getattr(event.get("_record"), "request", None)
    if isinstance(request, HttpRequest):
        if request_id := getattr(request, "request_id", ""):
            event["request_id"] = request_id
        if request.resolver_match is not None:
            event["event"] = str(event["event"]).replace(request.path, "/" + request.resolver_match.route)
    return event


def _in_order(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    return {name: event[name] for name in FIRST if name in event} | {
        name: value for name, value in event.items() if name not in FIRST
    }


def _line(logger: WrappedLogger, method: str, event: MutableMapping[str, Any]) -> str:
    """A line for people; the traceback below it. A line break in what somebody sent cannot begin a line of its own."""
    head = f"{event.pop('timestamp')} {event.pop('level'):<7} {event.pop('logger', '-')} [{event.pop('request_id', '-')}]"
    what, trace, stack = str(event.pop("event")), event.pop("exception", ""), event.pop("stack", "")
    event.pop("release", None)
    fields = " ".join(f"{name}={value}" for name, value in event.items())
    line = _BREAKS.sub(" ", " ".join(filter(None, [head, what, fields])))
    return "\n".join(filter(None, [line, trace, stack]))


_SHARED: list[Any] = [
    merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    _add_user,
    _add_release,
]
structlog.configure(
    processors=[
        structlog.stdlib.filter_by_level,
        *_SHARED,
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    wrapper_class=structlog.stdlib.BoundLogger,
    logger_factory=structlog.stdlib.LoggerFactory(),
    cache_logger_on_first_use=True,
)


@functools.cache
def _redactor() -> Redactor:
    return Redactor(secrets_of_settings())


def is_plain(text: str) -> bool:
    """Say whether a text may be written as it is."""
    return _redactor().text(text) == text


def redact(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Take out of a line what may not be written, by the settings as they are when the first line is."""
    return _redactor()(logger, method, event)


def formatter(
    format: str = "line", redaction: Callable[..., Any] | None = redact
) -> structlog.stdlib.ProcessorFormatter:
    """Make the formatter of every handler: `format` is json or line. Without redaction for tests that prove its need."""
    render: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=False, default=str) if format == "json" else _line
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_SHARED, _of_request],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,  # the stack without the values of its variables
            *([redaction] if redaction else []),
            _in_order,
            render,
        ],
    )


def own_the_process() -> None:
    """Have what Python itself would print (warnings, what nobody caught) written as lines too, redacted like all others."""
    logging.captureWarnings(True)
    uncaught = logging.getLogger("uncaught")

    def write(kind: Any, error: Any, trace: Any) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
        else:
            uncaught.critical("uncaught exception", exc_info=(kind, error, trace))

    sys.excepthook = write
    threading.excepthook = lambda told: write(told.exc_type, told.exc_value, told.exc_traceback)


def logging_settings(*, format: str, level: str) -> dict[str, Any]:
    """Return Django's LOGGING, which is gunicorn's too: one handler to stderr, and quiet libraries."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"ours": {"()": "foundation.logs.formatter", "format": format}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "ours"}},
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            # No mail of a whole request to administrators, which is what Django would do.
            "django": {"handlers": [], "level": "INFO", "propagate": True},
            "django.request": {"level": "ERROR"},  # a refused request has its line already
            "django.server": {"handlers": [], "level": "WARNING", "propagate": True},
            "gunicorn.error": {"handlers": [], "level": "INFO", "propagate": True},
            # foundation.middleware writes the line of a request, by its route and not by its path.
            "gunicorn.access": {"handlers": [], "level": "WARNING", "propagate": True},
            "procrastinate": {"level": "WARNING"},  # foundation.jobs writes a line per job
            "stripe": {"level": "WARNING"},
            "fontTools": {"level": "WARNING"},
            "fpdf": {"level": "ERROR"},  # its warnings quote letters of names
            "twilio": {"level": "WARNING"},  # at INFO it writes numbers and texts
            "urllib3": {"level": "WARNING"},  # at DEBUG it writes addresses with their tokens
            "asyncio": {"level": "WARNING"},
        },
    }
