"""How long the post office keeps things. That a message was sent, and what became of it, stays; so does consent."""

from __future__ import annotations

from datetime import datetime

from django.utils.translation import gettext_lazy as _

from communications.models import DeliveryEvent, InboundText, Message, SmsSpend
from communications.services.person import UNFINISHED
from foundation.retention import Rule, delete_oldest


def _texts(before: datetime, most: int) -> int:
    old = Message.objects.filter(queued_at__lt=before).exclude(status__in=UNFINISHED)
    keys = list(
        old.exclude(body_text="", variables={}).order_by("queued_at").values_list("pk", flat=True)[:most]
    )
    Message.objects.filter(pk__in=keys).update(
        variables={}, calendar=None, qr_text="", subject="", body_text="", body_html="", unsaved_words=None
    )
    DeliveryEvent.objects.filter(message_id__in=keys).update(detail="")
    return len(keys)


def _answers(before: datetime, most: int) -> int:
    old = InboundText.objects.filter(received_at__lt=before, handled_at__isnull=False).exclude(body="")
    keys = list(old.order_by("pk").values_list("pk", flat=True)[:most])
    InboundText.objects.filter(pk__in=keys).update(body="", reply="")
    return len(keys)


RULES = [
    Rule("message texts", _("what messages said"), "message_texts", _texts, least=30, most=3650),
    Rule("answers by SMS", _("what people texted"), "message_texts", _answers, least=30, most=3650),
    Rule(
        "SMS counts",
        _("how many SMS a number got on a day"),
        35,
        lambda before, most: delete_oldest(SmsSpend.objects.filter(last_at__lt=before), most),
    ),
]
