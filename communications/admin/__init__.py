"""Staff's door: the outbox with its delivery timelines and figures, the words, consent, budgets, campaigns and emergency alerts."""

from communications.admin import alerts, analytics, budget, campaigns, consent, messages, templates

__all__ = ["alerts", "analytics", "budget", "campaigns", "consent", "messages", "templates"]
