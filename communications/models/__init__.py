"""The post office's books."""

from communications.models.budget import SmsBreaker, SmsScope, SmsShare, SmsSpend
from communications.models.campaign import (
    ALERT_TRANSITIONS,
    CAMPAIGN_TRANSITIONS,
    AlertStatus,
    Campaign,
    CampaignStatus,
    EmergencyAlert,
    Recipient,
)
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
from communications.models.count import MessageCount, MessageCountChange, MessageMonth
from communications.models.message import MESSAGE_TRANSITIONS, DeliveryEvent, Message, MessageStatus, Outage
from communications.models.own_words import OwnWords
from communications.models.template import MessageTemplate, TemplateVersion

__all__ = [
    "ALERT_TRANSITIONS",
    "CAMPAIGN_TRANSITIONS",
    "MESSAGE_TRANSITIONS",
    "AlertStatus",
    "Campaign",
    "CampaignStatus",
    "Channel",
    "ConsentEntry",
    "ConsentSource",
    "ConsentState",
    "DeliveryEvent",
    "EmergencyAlert",
    "InboundText",
    "Keyword",
    "Message",
    "MessageCount",
    "MessageCountChange",
    "MessageMonth",
    "MessageStatus",
    "MessageTemplate",
    "Outage",
    "OwnWords",
    "Recipient",
    "SmsBreaker",
    "SmsScope",
    "SmsShare",
    "SmsSpend",
    "Suppression",
    "SuppressionCause",
    "TemplateVersion",
]
