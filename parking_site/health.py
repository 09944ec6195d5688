"""Is this process alive, and can it do its work?"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.cache import caches
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from communications import stories
from foundation.cache import PatientRedisCache
from parking_site.system import oldest_due_job_seconds

logger = logging.getLogger(__name__)


@never_cache
@require_safe
def liveness(request: HttpRequest) -> JsonResponse:
    """Answer 200 while the process serves requests. Touches no database, so that a slow one restarts nobody."""
    return JsonResponse({"status": "ok", "release": settings.RELEASE})


@never_cache
@require_safe
def readiness(request: HttpRequest) -> JsonResponse:
    """Answer 200 when every part works, else 503 with the names of those that do not in `failing`."""
    checks: dict[str, Callable[[], dict[str, Any]]] = {
        "database": _database,
        "queue": _queue,
        "cache": _cache,
        "payments": _payments,
        "messages": _messages,
    }
    if settings.SANDBOX_URL:
        checks["sandbox"] = _sandbox
    parts = {}
    for name, check in checks.items():
        try:
            parts[name] = check()
        except (DatabaseError, OSError) as error:
            logger.warning("Readiness: %s does not answer: %s", name, error.__class__.__name__)
            parts[name] = {"status": "unreachable"}
    failing = [name for name, part in parts.items() if part["status"] not in {"ok", "degraded"}]
    return JsonResponse(
        {
            "status": "unavailable" if failing else "ok",
            "failing": failing,
            "release": settings.RELEASE,
            "environment": settings.ENVIRONMENT,
            "parts": parts,
        },
        status=503 if failing else 200,
    )


def _database() -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return {"status": "ok"}


def _queue() -> dict[str, Any]:
    oldest = round(oldest_due_job_seconds(timezone.now()))
    late = oldest > settings.QUEUE_AGE_LIMIT_SECONDS
    return {
        "status": "late" if late else "ok",
        "oldestDueJobSeconds": oldest,
        "limitSeconds": settings.QUEUE_AGE_LIMIT_SECONDS,
    }


def _cache() -> dict[str, Any]:
    # Only the rate limiter needs the cache, and it lets calls pass without one: worth an alert, not an outage.
    if isinstance(caches["default"], PatientRedisCache) and not caches["default"].answers():
        logger.warning("Readiness: the cache does not answer")
        return {"status": "degraded"}
    return {"status": "ok", "shared": bool(settings.REDIS_URL)}


def _payments() -> dict[str, Any]:
    configured = (
        settings.STRIPE_SECRET_KEY and settings.STRIPE_PUBLISHABLE_KEY and settings.STRIPE_WEBHOOK_SECRET
    )
    return {
        "status": "ok" if configured else "not_configured",
        "stripe": _mode(settings.STRIPE_API_BASE, live=settings.STRIPE_LIVE_MODE),
        "paypal": _mode(settings.PAYPAL_API_BASE, live=settings.PAYPAL_LIVE_MODE)
        if settings.PAYPAL_CLIENT_ID
        else "off",
    }


def _mode(base: str, *, live: bool) -> str:
    if settings.SANDBOX_URL and base.startswith(settings.SANDBOX_URL):
        return "sandbox"
    return "live" if live else "test"


def _messages() -> dict[str, Any]:
    email = bool(settings.SENDGRID_API_KEY and settings.DEFAULT_FROM_EMAIL)
    sms = bool(settings.TWILIO_ACCOUNT_SID and settings.TWILIO_AUTH_TOKEN and settings.TWILIO_FROM_NUMBER)
    down = [outage.channel for outage in stories.outages()]
    # A provider that is down is worth an alert, not an outage of ours: its messages wait.
    status = "not_configured" if not (email and sms) else "degraded" if down else "ok"
    return {
        "status": status,
        "email": email,
        "sms": sms,
        "providersDown": down,
        "oldestWaitingSeconds": stories.oldest_waiting_seconds(),
    }


def _sandbox() -> dict[str, Any]:
    address = urlsplit(settings.SANDBOX_URL)
    with socket.create_connection(
        (address.hostname or "", address.port or (443 if address.scheme == "https" else 80)), timeout=1
    ):
        return {"status": "ok", "url": settings.SANDBOX_URL}
