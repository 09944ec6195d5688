"""The post office's books."""

from communications.models.channel import Channel
from communications.models.message import MESSAGE_TRANSITIONS, DeliveryEvent, Message, MessageStatus, Outage
from communications.models.template import MessageTemplate, TemplateVersion

__all__ = [
    "MESSAGE_TRANSITIONS",
    "Channel",
    "DeliveryEvent",
    "Message",
    "MessageStatus",
    "MessageTemplate",
    "Outage",
    "TemplateVersion",
]
