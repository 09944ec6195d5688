"""Staff's door: the outbox with its delivery timelines, and the words."""

from communications.admin import messages, templates

__all__ = ["messages", "templates"]
