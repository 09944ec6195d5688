"""Staff's door: the outbox with its delivery timelines, the words, consent, campaigns and emergency alerts."""

from communications.admin import alerts, campaigns, consent, messages, templates

__all__ = ["alerts", "campaigns", "consent", "messages", "templates"]
