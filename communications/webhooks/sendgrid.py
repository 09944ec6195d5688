"""SendGrid's event webhook: anymail checks the ECDSA signature, we write down what it says."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from typing import Any

import requests
from anymail.exceptions import AnymailWebhookValidationFailure
from anymail.signals import AnymailTrackingEvent, EventType, tracking
from anymail.webhooks.sendgrid import SendGridTrackingWebhookView
from django.conf import settings
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from communications.models import MessageStatus
from communications.services.delivery import record_delivery

logger = logging.getLogger(__name__)
_KEY_NAME = "tracking_webhook_verification_key"
_lock = threading.Lock()
_fetched: dict[str, str] = {}
STATUS_OF = {
    EventType.DELIVERED: MessageStatus.DELIVERED,
    EventType.BOUNCED: MessageStatus.BOUNCED,
    EventType.REJECTED: MessageStatus.FAILED,
}


def verification_key() -> str:
    """Return the public key that events must be signed with; "" when there is none, and then nothing is accepted.

    Production has it in SENDGRID_WEBHOOK_VERIFICATION_KEY. Development asks the sandbox, once.
    """
    if settings.SENDGRID_WEBHOOK_VERIFICATION_KEY or settings.PRODUCTION or not settings.SANDBOX_URL:
        return settings.SENDGRID_WEBHOOK_VERIFICATION_KEY
    with _lock:
        if settings.SANDBOX_URL not in _fetched:
            try:
                answer = requests.get(f"{settings.SANDBOX_URL}/keys.json", timeout=3)
                answer.raise_for_status()
                key = _find_key(answer.json())
            except (requests.RequestException, ValueError):
                logger.warning(
                    "The sandbox's public key could not be fetched; its mail events are refused until then."
                )
                return ""
            if not key:
                return ""
            _fetched[settings.SANDBOX_URL] = key
        return _fetched[settings.SANDBOX_URL]


def _find_key(data: Any) -> str:
    found = data.get("sendgrid", "") if isinstance(data, dict) else ""
    if isinstance(found, dict):
        found = next((found[name] for name in ("public_key", "verification_key", "key") if name in found), "")
    if not found and isinstance(data, dict):
        found = data.get("sendgrid_public_key") or data.get("sendgrid_verification_key") or ""
    lines = [line for line in str(found).splitlines() if not line.startswith("-----")]
    return "".join(lines).strip()


@csrf_exempt
@require_POST
def events(request: HttpRequest) -> HttpResponse:
    """Take a batch of signed events. An unsigned or forged one is refused, also when no key is set."""
    key = verification_key()
    if not key:
        return HttpResponse(status=503)
    view = SendGridTrackingWebhookView.as_view(**{_KEY_NAME: key})
    try:
        return view(request)
    except AnymailWebhookValidationFailure:
        return HttpResponse(status=403)
    except (ValueError, TypeError, KeyError, AttributeError):
        # Signed, yet not a list of events as SendGrid documents it.
        logger.exception("A signed mail event could not be read")
        return HttpResponseBadRequest()


@receiver(tracking, dispatch_uid="communications.record_mail_event")
def record_event(sender: Any, event: AnymailTrackingEvent, esp_name: str, **_arguments: Any) -> None:
    """Write down one event that anymail has verified."""
    metadata = event.metadata or {}
    event_id = (
        event.event_id or hashlib.sha256(json.dumps(event.esp_event, sort_keys=True).encode()).hexdigest()
    )
    is_blocked = (event.esp_event or {}).get("type") == "blocked"  # refused this time; the address exists
    record_delivery(
        event_id=f"{esp_name}:{event_id}",
        kind="blocked" if event.event_type == EventType.BOUNCED and is_blocked else event.event_type,
        to_status=STATUS_OF.get(event.event_type),
        message_id=str(metadata.get("message_id", "")),
        provider_ref=str(event.message_id or ""),
        occurred_at=event.timestamp,
        detail=str(event.mta_response or event.reject_reason or ""),
    )
