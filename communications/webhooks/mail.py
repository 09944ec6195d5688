"""What the doors of all mail providers share: anymail checks and reads, we write down a whole batch at once."""

from __future__ import annotations

import hashlib
import json
import logging
from typing import Any

from anymail.exceptions import AnymailWebhookValidationFailure
from anymail.signals import AnymailTrackingEvent, EventType, RejectReason
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest

from communications.catalogue import EMAIL
from communications.models import MessageStatus
from communications.services import address_news
from communications.services.delivery import Report, record_deliveries

logger = logging.getLogger(__name__)

LARGEST_BATCH = 4 * 1024 * 1024  # SendGrid collects up to 768 kB, far more than a form of ours may have
# Whatever is told about a mail that the provider has taken says that it was sent.
STATUS_OF = {
    EventType.QUEUED: MessageStatus.SENT,
    EventType.SENT: MessageStatus.SENT,
    EventType.DEFERRED: MessageStatus.SENT,
    EventType.DELIVERED: MessageStatus.DELIVERED,
    EventType.OPENED: MessageStatus.DELIVERED,
    EventType.CLICKED: MessageStatus.DELIVERED,
    EventType.COMPLAINED: MessageStatus.DELIVERED,
    EventType.BOUNCED: MessageStatus.BOUNCED,
    EventType.REJECTED: MessageStatus.FAILED,
    EventType.FAILED: MessageStatus.FAILED,
}
# What SendGrid calls a bounce of an address that does not exist; its other classes are about our mail, our name or the moment.
# https://www.twilio.com/docs/sendgrid/ui/analytics-and-reporting/bounce-and-block-classifications
HARD_CLASSES = {"", "invalid address", "unclassified"}
SOFT_TYPES = {"blocked", "softbounce", "transient", "dnserror"}


def receive(request: HttpRequest, view: Any) -> HttpResponse:
    """Take a batch of events that anymail's `view` vouches for: 403 for a forged one, 400 for one that nobody can read."""
    if not _read_body(request):
        return HttpResponse(status=413)
    view.setup(request)
    try:
        view.run_validators(request)
    except AnymailWebhookValidationFailure:
        return HttpResponse(status=403)
    try:
        said = json.loads(request.body)
    except (ValueError, RecursionError):
        return HttpResponseBadRequest()
    record_deliveries([report_of(event, view.esp_name) for event in _events(said, view)])
    return HttpResponse()


def _read_body(request: HttpRequest) -> bool:
    """Read the body past Django's limit, which is meant for forms; False when it is too large for us as well."""
    data = request.read(LARGEST_BATCH + 1)
    request._body = data  # what HttpRequest.body returns; it has no other way to another limit
    return len(data) <= LARGEST_BATCH


def _events(said: Any, view: Any) -> list[AnymailTrackingEvent]:
    """Read each event by itself, so that one that nobody can read does not take the others with it."""
    events = []
    for one in said if isinstance(said, list) else [said]:
        try:
            events.append(view.esp_to_anymail_event(one))
        except Exception:
            logger.exception("A signed mail event could not be read")
    return events


def report_of(event: AnymailTrackingEvent, esp_name: str) -> Report:
    """Say in our words what the provider said."""
    raw = event.esp_event or {}
    event_id = event.event_id or hashlib.sha256(json.dumps(raw, sort_keys=True).encode()).hexdigest()
    code, fact = _why(event, raw)
    return Report(
        channel=EMAIL,
        event_id=f"{esp_name}:{event_id}",
        kind=event.event_type,
        to_status=STATUS_OF.get(event.event_type),
        message_id=str((event.metadata or {}).get("message_id", "")),
        provider_ref=str(event.message_id or ""),
        recipient=str(event.recipient or ""),
        occurred_at=event.timestamp,
        code=code,
        detail=str(event.mta_response or raw.get("reason") or event.description or event.reject_reason or ""),
        fact=fact,
    )


def _why(event: AnymailTrackingEvent, raw: dict[str, Any]) -> tuple[str, str]:
    """Return a code for what went wrong, and what it says about the address."""
    if event.event_type == EventType.COMPLAINED:
        return "spam_report", address_news.SPAM_REPORT
    if event.event_type == EventType.UNSUBSCRIBED:
        return "unsubscribed", address_news.UNSUBSCRIBED
    if event.event_type == EventType.BOUNCED:
        kind = str(raw.get("type") or raw.get("Type") or "").casefold()
        if kind in SOFT_TYPES or str(raw.get("status", "")).startswith("4"):
            return "blocked" if kind == "blocked" else "soft_bounce", ""
        if str(raw.get("bounce_classification", "")).casefold() not in HARD_CLASSES:
            return "soft_bounce", ""
        return "hard_bounce", address_news.HARD_BOUNCE
    if event.event_type == EventType.REJECTED:
        if "spam report" in str(raw.get("reason", "")).casefold():
            return "dropped_spam_report", address_news.SPAM_REPORT
        facts = {
            RejectReason.BOUNCED: address_news.HARD_BOUNCE,
            RejectReason.INVALID: address_news.HARD_BOUNCE,
            RejectReason.SPAM: address_news.SPAM_REPORT,
            RejectReason.UNSUBSCRIBED: address_news.UNSUBSCRIBED,
        }
        return f"dropped_{event.reject_reason or 'other'}", facts.get(event.reject_reason or "", "")
    return "", ""
