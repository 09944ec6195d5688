"""The post office's books."""

from communications.models.budget import SmsBreaker, SmsScope, SmsShare, SmsSpend
from communications.models.channel import Channel
from communications.models.consent import (
    ConsentEntry,
    ConsentSource,
    ConsentState,
    InboundText,
    Keyword,
    Suppression,
    SuppressionCause,
)
from communications.models.message import MESSAGE_TRANSITIONS, DeliveryEvent, Message, MessageStatus
from communications.models.template import MessageTemplate, TemplateVersion

__all__ = [
    "MESSAGE_TRANSITIONS",
    "Channel",
    "ConsentEntry",
    "ConsentSource",
    "ConsentState",
    "DeliveryEvent",
    "InboundText",
    "Keyword",
    "Message",
    "MessageStatus",
    "MessageTemplate",
    "SmsBreaker",
    "SmsScope",
    "SmsShare",
    "SmsSpend",
    "Suppression",
    "SuppressionCause",
    "TemplateVersion",
]
