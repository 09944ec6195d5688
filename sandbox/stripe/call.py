"""One call to Stripe's API: its parameters, the store, and the events it causes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sandbox.core import Sandbox
from sandbox.state import identifier
from sandbox.stripe import objects
from sandbox.stripe.errors import StripeError, invalid, no_such
from sandbox.stripe.objects import Body

# Where an id in a field leads, for expand[].
LINKS = {
    "customer": "customer", "payment_method": "payment_method", "latest_charge": "charge",
    "balance_transaction": "balance_transaction", "failure_balance_transaction": "balance_transaction",
    "payment_intent": "payment_intent", "charge": "charge", "default_payment_method": "payment_method",
    "setup_intent": "setup_intent",
}  # fmt: skip
# What a page may learn with the publishable key.
_PUBLIC_FIELDS = """
    id object amount amount_details automatic_payment_methods canceled_at cancellation_reason
    capture_method client_secret confirmation_method created currency description last_payment_error
    last_setup_error livemode next_action payment_method payment_method_configuration_details
    payment_method_types processing receipt_email setup_future_usage shipping source status usage
    excluded_payment_method_types
"""
PUBLIC_FIELDS = frozenset(_PUBLIC_FIELDS.split())
NAMES = {"payment_intent": "payment_intent", "payment_method": "PaymentMethod", "setup_intent": "setupintent"}
MOST_PER_PAGE = 100
DEEPEST_EXPANSION = 4


@dataclass
class Call:
    box: Sandbox
    params: dict[str, Any] = field(default_factory=dict)
    raw: dict[str, Any] = field(default_factory=dict)
    publishable: bool = False
    idempotency_key: str | None = None
    request_id: str = ""

    @property
    def now(self) -> int:
        return self.box.clock.timestamp()

    # Objects

    def find(self, kind: str, object_id: str, param: str = "id") -> Body:
        found = self.box.state.get(kind, object_id)
        if found is None or (found.get("deleted") and param != "customer_path"):
            raise no_such(NAMES.get(kind, kind), object_id, param)
        return found

    def save(self, body: Body, private: dict[str, Any] | None = None) -> Body:
        return self.box.state.put(body, private)

    def private(self, body: Body) -> dict[str, Any]:
        return self.box.state.private(body["id"])

    # Events

    def emit(self, kind: str, body: Body, previous: Body | None = None) -> None:
        """Record an event with the object as it is now, and queue its webhooks."""
        listening = sum(
            "*" in endpoint["enabled_events"] or kind in endpoint["enabled_events"]
            for endpoint in self.box.webhooks.endpoints("stripe")
        )
        event = objects.event(
            self.now, kind, body, previous=previous, pending_webhooks=listening,
            request={"id": self.request_id or None, "idempotency_key": self.idempotency_key},
        )  # fmt: skip
        self.save(event)
        self.box.webhooks.publish(
            "stripe",
            event_id=event["id"],
            event_type=kind,
            body=json.dumps(event, indent=2, ensure_ascii=False),
        )

    # Answers

    def shown(self, body: Body, expand: list[str] | None = None) -> Body:
        """The object as the caller may see it, with what `expand[]` asked for."""
        if self.publishable and body["object"] in {"payment_intent", "setup_intent"}:
            body = {name: value for name, value in body.items() if name in PUBLIC_FIELDS}
        wanted = self.params.get("expand") if expand is None else expand
        for path in wanted or []:
            body = self._expanded(body, path, path.split("."))
        return body

    def _expanded(self, body: Body, path: str, parts: list[str]) -> Body:
        head, rest = parts[0], parts[1:]
        if len(parts) > DEEPEST_EXPANSION:
            raise invalid(
                f"You cannot expand more than {DEEPEST_EXPANSION} levels of a property. Property: {path[:200]}",
                "expand",
            )
        if head == "refunds" and body.get("object") == "charge":
            found = self.box.state.select("refund", equal={"charge": body["id"]}, limit=10)
            return {**body, "refunds": listed(found, f"/v1/charges/{body['id']}/refunds", more=False)}
        if (
            head == "sources" and body.get("object") == "customer"
        ):  # the cards of an older API: nobody has any
            return {**body, "sources": listed([], f"/v1/customers/{body['id']}/sources", more=False)}
        if head not in body:
            raise invalid(f"This property cannot be expanded ({path[:200]}).", "expand")
        value = body[head]
        if value is None:
            return body
        if isinstance(value, list) and head == "data":
            return {**body, head: [self._expanded(item, path, rest) for item in value]}
        if isinstance(value, str):
            value = self._linked(body, head, value, path)
        elif not isinstance(value, dict) or not rest:
            if isinstance(value, dict) and value.get("id"):
                return body
            raise invalid(f"This property cannot be expanded ({path[:200]}).", "expand")
        return {**body, head: self._expanded(value, path, rest) if rest else value}

    def _linked(self, body: Body, name: str, object_id: str, path: str) -> Body:
        kind = LINKS.get(name)
        if name == "source" and body.get("object") == "balance_transaction":
            kind = {"ch": "charge", "re": "refund", "dp": "dispute", "po": "payout"}.get(
                object_id.partition("_")[0]
            )
        found = self.box.state.get(kind, object_id) if kind else None
        if found is None:
            raise invalid(f"This property cannot be expanded ({path[:200]}).", "expand")
        return found

    def page(
        self, kind: str, url: str, *, equal: dict[str, str] | None = None, types: list[str] | None = None
    ) -> Body:
        """A list, newest first, with Stripe's cursors and created filters."""
        limit = self.params.get("limit", 10)
        if not 1 <= limit <= MOST_PER_PAGE:
            wrong = "less" if limit > MOST_PER_PAGE else "greater"
            edge = MOST_PER_PAGE if limit > MOST_PER_PAGE else 1
            raise invalid(
                f"Invalid integer: This value must be {wrong} than or equal to {edge}.", "limit",
                "parameter_invalid_integer",
            )  # fmt: skip
        start, end = self.params.get("starting_after"), self.params.get("ending_before")
        if start and end:
            raise invalid("You may only specify one of these parameters: starting_after, ending_before.")
        created = self.params.get("created")
        found = self.box.state.select(
            kind, equal={name: value for name, value in (equal or {}).items() if value}, types=types,
            created={"gte": created, "lte": created} if isinstance(created, int) else created,
            before_seq=self._cursor(kind, start, "starting_after"), after_seq=self._cursor(kind, end, "ending_before"),
            limit=limit + 1,
        )  # fmt: skip
        more = len(found) > limit
        if more:
            found = found[1:] if end else found[:limit]
        return self.shown(listed(found, url, more=more))

    def _cursor(self, kind: str, object_id: str | None, param: str) -> int | None:
        if not object_id:
            return None
        self.find(kind, object_id, param)
        return self.box.state.sequence(object_id)

    # Parts of answers

    def apply(self, body: Body, names: tuple[str, ...]) -> Body:
        """Copy simple parameters onto an object; an empty text unsets."""
        for name in names:
            if name in self.params:
                body[name] = None if self.params[name] == "" else self.params[name]
        return body

    def check_secret(self, body: Body) -> None:
        """A page proves with the client secret that this intent is its own."""
        if self.publishable and self.params.get("client_secret") != body["client_secret"]:
            raise StripeError(
                f"The client_secret provided does not match any associated {body['object']} on this account. Ensure "
                "the provided client_secret and publishable key belong to the same account.",
                code="resource_missing", param="client_secret", validation=True,
            )  # fmt: skip


Handler = Callable[..., Body]


def listed(found: list[Body], url: str, *, more: bool) -> Body:
    return {"object": "list", "data": found, "has_more": more, "url": url}


def new_request_id() -> str:
    return identifier("req_", 14)
