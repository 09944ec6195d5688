"""SendGrid's event webhook: anymail checks the ECDSA signature, we write down what it says."""

from __future__ import annotations

import logging
import threading
from typing import Any

import requests
from anymail.webhooks.sendgrid import SendGridTrackingWebhookView
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from communications.webhooks import mail

logger = logging.getLogger(__name__)
SIGNATURE = ("X-Twilio-Email-Event-Webhook-Signature", "X-Twilio-Email-Event-Webhook-Timestamp")
_lock = threading.Lock()
_fetched: dict[str, str] = {}


class _View(SendGridTrackingWebhookView):
    tracking_webhook_verification_key = None  # what anymail's as_view() sets for its own constructor


def verification_key() -> str:
    """Return the public key that events must be signed with; "" when there is none, and then nothing is accepted.

    A server has it in SENDGRID_WEBHOOK_VERIFICATION_KEY. Development asks the sandbox, once.
    """
    if settings.SENDGRID_WEBHOOK_VERIFICATION_KEY or settings.DEPLOYED or not settings.SANDBOX_URL:
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
    if not all(request.headers.get(name, "").isascii() for name in SIGNATURE):
        return HttpResponse(status=403)  # anymail would stumble over it
    key = verification_key()
    if not key:
        return HttpResponse(status=503)
    try:
        view = _View(tracking_webhook_verification_key=key)
    except ValueError:
        logger.exception("SENDGRID_WEBHOOK_VERIFICATION_KEY is no public key")
        return HttpResponse(status=503)
    return mail.receive(request, view)
