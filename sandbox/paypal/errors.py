"""PayPal's error shape."""

from __future__ import annotations

import secrets
from typing import Any

NAMES = {
    400: ("INVALID_REQUEST", "Request is not well-formed, syntactically incorrect, or violates schema."),
    401: ("AUTHENTICATION_FAILURE", "Authentication failed due to missing authorization header, or invalid authentication credentials."),
    403: ("NOT_AUTHORIZED", "Authorization failed due to insufficient permissions."),
    404: ("RESOURCE_NOT_FOUND", "The specified resource does not exist."),
    405: ("METHOD_NOT_SUPPORTED", "The server does not implement the requested HTTP method."),
    413: ("REQUEST_TOO_LARGE", "The request is too large."),
    415: ("UNSUPPORTED_MEDIA_TYPE", "The server does not support the request payload's media type."),
    422: ("UNPROCESSABLE_ENTITY", "The requested action could not be performed, semantically incorrect, or failed business validation."),
    429: ("RATE_LIMIT_REACHED", "Too many requests. Blocked due to rate limiting."),
    500: ("INTERNAL_SERVER_ERROR", "An internal server error occurred."),
    503: ("SERVICE_UNAVAILABLE", "Service Unavailable."),
}  # fmt: skip


class PayPalError(Exception):
    """An answer that is an error: a status, and what is wrong with which field."""

    def __init__(
        self, status: int, issue: str = "", description: str = "", *, field: str = "", value: str | None = None,
        location: str = "body", links: list[dict[str, str]] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(description or issue)
        self.status = status
        self.issue = issue
        self.description = description
        self.field, self.value, self.location = field, value, location
        self.links = links or []

    def body(self) -> dict[str, Any]:
        fallback = 500 if self.status >= 500 else 400
        name, message = NAMES.get(self.status) or NAMES[fallback]
        answer: dict[str, Any] = {"name": name, "message": message, "debug_id": secrets.token_hex(7)[:13]}
        if self.issue:
            detail: dict[str, Any] = {"issue": self.issue, "description": self.description}
            if self.field:
                detail.update(field=self.field, location=self.location)
            if self.value is not None:
                detail["value"] = self.value[:200]
            answer["details"] = [detail]
        reasons = {
            "href": f"https://developer.paypal.com/docs/api/orders/v2/#error-{self.issue or name}",
            "rel": "information_link", "method": "GET",
        }  # fmt: skip
        answer["links"] = [reasons, *self.links]
        return answer


class Waiting(PayPalError):
    """A refusal that has changed something: what was done before it stays done."""


def malformed(
    field: str, issue: str, description: str, value: Any = None, location: str = "body"
) -> PayPalError:
    """A request that violates the schema: 400."""
    shown = None if value is None else str(value)
    return PayPalError(400, issue, description, field=field, value=shown, location=location)


def refused(issue: str, description: str, field: str = "", **more: Any) -> PayPalError:
    """A well-formed request that the business rules refuse: 422."""
    return PayPalError(422, issue, description, field=field, **more)


def not_found(what: str = "INVALID_RESOURCE_ID") -> PayPalError:
    return PayPalError(
        404, what, "Specified resource ID does not exist. Please check the resource ID and try again."
    )
