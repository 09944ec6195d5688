"""Twilio's status callback."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from twilio.request_validator import RequestValidator

from communications.models import MessageStatus
from communications.senders.sms import STATUS_PATH
from communications.services.delivery import record_delivery

STATUS_OF = {
    "sent": MessageStatus.SENT,
    "delivered": MessageStatus.DELIVERED,
    "read": MessageStatus.DELIVERED,
    "undelivered": MessageStatus.BOUNCED,
    "failed": MessageStatus.FAILED,
}


def is_signed(request: HttpRequest, path: str) -> bool:
    """Whether Twilio signed this call. The signature covers the public address that we gave, not what a proxy made of it."""
    query = request.META.get("QUERY_STRING", "")
    address = settings.SITE_URL + path + (f"?{query}" if query else "")
    return bool(settings.TWILIO_AUTH_TOKEN) and RequestValidator(settings.TWILIO_AUTH_TOKEN).validate(
        address, request.POST, request.headers.get("X-Twilio-Signature", "")
    )


@csrf_exempt
@require_POST
def status(request: HttpRequest) -> HttpResponse:
    """Take a signed status."""
    parameters = request.POST
    if not is_signed(request, STATUS_PATH):
        return HttpResponse(status=403)
    if not constant_time_compare(parameters.get("AccountSid", ""), settings.TWILIO_ACCOUNT_SID):
        return HttpResponse(status=403)
    sid, said = parameters.get("MessageSid", ""), parameters.get("MessageStatus", "")
    if "\x00" in sid + said:
        return HttpResponse(status=400)
    # Unknown or repeated, Twilio can do nothing better: it is thanked all the same.
    record_delivery(
        event_id=f"Twilio:{sid}:{said}",
        kind=said,
        to_status=STATUS_OF.get(said),
        message_id=request.GET.get("message", ""),
        provider_ref=sid,
        detail=" ".join(filter(None, (parameters.get("ErrorCode", ""), parameters.get("ErrorMessage", "")))),
    )
    return HttpResponse(status=204)
