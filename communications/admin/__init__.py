"""Staff's door: the outbox with its delivery timelines, the words, consent, campaigns and emergency alerts."""

from communications.admin import alerts, budget, campaigns, consent, messages, templates

__all__ = ["alerts", "budget", "campaigns", "consent", "messages", "templates"]
