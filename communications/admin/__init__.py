"""Staff's door: the outbox with its delivery timelines, the words, campaigns and emergency alerts."""

from communications.admin import alerts, campaigns, messages, templates

__all__ = ["alerts", "campaigns", "messages", "templates"]
