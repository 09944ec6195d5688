"""What people text back: STOP, START, HELP, and everything else for staff to read."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from communications.services.answering import take_text
from communications.webhooks.twilio import is_signed

TWILIO_ANSWERS = frozenset(
    ["STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "START", "YES", "UNSTOP", "HELP", "INFO"]
)
INBOUND_PATH = "/webhooks/twilio/inbound/"


@csrf_exempt
@require_POST
def inbound(request: HttpRequest) -> HttpResponse:
    """Take one signed SMS, once, and answer in TwiML; 403 for anything that Twilio did not sign."""
    given = request.POST
    if not is_signed(request, INBOUND_PATH) or not constant_time_compare(
        given.get("AccountSid", ""), settings.TWILIO_ACCOUNT_SID
    ):
        return HttpResponse(status=403)
    reply = take_text(
        sid=given.get("MessageSid", ""),
        phone=given.get("From", ""),
        to=given.get("To", ""),
        body=given.get("Body", ""),
        now=timezone.now(),
        # Twilio answers its own words itself; a second answer to STOP it would even refuse.
        is_answered=bool(given.get("OptOutType")) or given.get("Body", "").strip().upper() in TWILIO_ANSWERS,
    )
    root = ET.Element("Response")
    if reply:
        ET.SubElement(root, "Message").text = reply
    return HttpResponse(ET.tostring(root, encoding="utf-8", xml_declaration=True), content_type="text/xml")
