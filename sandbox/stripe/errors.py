"""Stripe's error shape."""

from __future__ import annotations

from typing import Any


class StripeError(Exception):
    """An answer that is an error.

    keeps_changes: what was done before stays (a decline leaves a failed charge behind). validation: raised before
    anything ran, so Stripe stores no idempotent result for it.
    """

    def __init__(
        self, message: str, *, status: int = 400, kind: str = "invalid_request_error", code: str = "",
        param: str = "", keeps_changes: bool = False, validation: bool = False, **extra: Any,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind
        self.code = code
        self.param = param
        self.keeps_changes = keeps_changes
        self.validation = validation
        self.extra = extra

    def body(self) -> dict[str, Any]:
        error: dict[str, Any] = {}
        if self.code:
            error["code"] = self.code
            error["doc_url"] = f"https://docs.stripe.com/error-codes#{self.code.replace('_', '-')}"
        error["message"] = self.message
        if self.param:
            error["param"] = self.param
        error.update(self.extra)
        error["type"] = self.kind
        return {"error": error}


def no_such(what: str, object_id: str, param: str = "id") -> StripeError:
    # Stripe answers 404 when the object is in the path and 400 when it is named by a parameter.
    status = 404 if param in {"id", "intent", "customer_path"} else 400
    shown = {"customer_path": "customer"}.get(param, param)
    return StripeError(
        f"No such {what}: '{object_id[:200]}'", status=status, code="resource_missing", param=shown
    )


def invalid(message: str, param: str = "", code: str = "") -> StripeError:
    """A parameter that cannot be taken."""
    return StripeError(message, param=param, code=code, validation=True)
