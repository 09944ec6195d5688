"""Twilio's status callback."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext_lazy as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from twilio.request_validator import RequestValidator

from communications.catalogue import SMS
from communications.models import MessageStatus
from communications.senders.sms import STATUS_PATH
from communications.services import address_news
from communications.services.delivery import record_delivery
from foundation.text import is_storable

# Twilio's callbacks bring the number only. https://www.twilio.com/docs/api/errors
ERRORS = {
    "30001": _("too many messages waited"),
    "30002": _("our account is suspended"),
    "30003": _("the phone cannot be reached now"),
    "30004": _("the phone or its network blocks us"),
    "30005": _("there is no such phone"),
    "30006": _("a landline, or a network that takes no SMS"),
    "30007": _("the network took it for spam"),
    "30008": _("the network does not say why"),
    "30034": _("our number is not registered with US networks"),
    "21610": _("the person has answered STOP"),
}
STATUS_OF = {
    "accepted": MessageStatus.SENT,
    "scheduled": MessageStatus.SENT,
    "queued": MessageStatus.SENT,  # by Twilio: it has the message
    "sending": MessageStatus.SENT,
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
    if not is_storable(sid + said + parameters.get("To", "")):
        return HttpResponse(status=400)
    number = parameters.get("ErrorCode", "")
    words = ERRORS.get(number) or parameters.get("ErrorMessage", "")
    # Unknown or repeated, Twilio can do nothing better: it is thanked all the same.
    record_delivery(
        channel=SMS,
        event_id=f"Twilio:{sid}:{said}",
        kind=said,
        to_status=STATUS_OF.get(said),
        message_id=request.GET.get("message", ""),
        provider_ref=sid,
        recipient=parameters.get("To", ""),
        code=number,
        detail=" ".join(filter(None, (number, str(words)))),
        fact=address_news.fact_of_code(number),
    )
    return HttpResponse(status=204)
