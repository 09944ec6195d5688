"""What a service may raise. Doors translate: a page shows the message, the API answers problem+json with the code."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _


class DomainError(Exception):
    """A fact that stops the request. `code` is for programs; the message tells a person what to do."""

    code = "not_possible"
    message: Any = _("That is not possible now.")

    def __init__(self, message: Any = None, **details: Any) -> None:
        self.message = message if message is not None else type(self).message
        self.details = details
        super().__init__(str(self.message))


class InvalidInput(DomainError):
    """What was sent cannot be used. `field` is the public (camelCase) name of the part that must change."""

    code = "invalid"
    message = _("Please check what you entered.")

    def __init__(self, message: Any = None, *, field: str | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.field = field


class NotFound(DomainError):
    code = "not_found"
    message = _("There is no such thing here.")


class NotAllowed(DomainError):
    code = "not_allowed"
    message = _("You are not allowed to do that.")
