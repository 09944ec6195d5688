"""Staff's door: the outbox with its delivery timelines, and the words."""

from communications.admin import consent, messages, templates

__all__ = ["consent", "messages", "templates"]
