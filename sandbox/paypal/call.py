"""One call to PayPal's API: its body, the store, and the events it causes."""

from __future__ import annotations

import datetime as dt
import json
import secrets
import string
from dataclasses import dataclass, field
from typing import Any

from sandbox.core import Sandbox
from sandbox.paypal.errors import not_found

Body = dict[str, Any]
Answer = tuple[int, Body | None]
_ID_LETTERS = string.ascii_uppercase + string.digits

# What an event says in words, and of which kind and version its resource is.
EVENTS = {
    "CHECKOUT.ORDER.APPROVED": ("checkout-order", "2.0", "An order has been approved by buyer"),
    "PAYMENT.CAPTURE.COMPLETED": ("capture", "2.0", "Payment completed for {amount}"),
    "PAYMENT.CAPTURE.PENDING": ("capture", "2.0", "Payment pending for {amount}"),
    "PAYMENT.CAPTURE.DENIED": ("capture", "2.0", "A {amount} capture payment was denied"),
    "PAYMENT.CAPTURE.DECLINED": ("capture", "2.0", "A {amount} capture payment was declined"),
    "PAYMENT.CAPTURE.REFUNDED": ("refund", "2.0", "A {amount} capture payment was refunded"),
    "PAYMENT.REFUND.PENDING": ("refund", "2.0", "A {amount} refund is pending"),
    "PAYMENT.REFUND.FAILED": ("refund", "2.0", "A {amount} refund failed"),
    "VAULT.PAYMENT-TOKEN.CREATED": ("payment_token", "3.0", "A payment token has been created."),
    "VAULT.PAYMENT-TOKEN.DELETED": ("payment_token", "3.0", "A payment token has been deleted."),
    "CUSTOMER.DISPUTE.CREATED": ("dispute", "1.0", "A new dispute opened with Case # {id}"),
    "CUSTOMER.DISPUTE.UPDATED": ("dispute", "1.0", "A dispute was updated with Case # {id}"),
    "CUSTOMER.DISPUTE.RESOLVED": ("dispute", "1.0", "A dispute was resolved with Case # {id}"),
}


def new_id(length: int = 17) -> str:
    """PayPal's kind of identifier: capital letters and digits."""
    return "".join(secrets.choice(_ID_LETTERS) for _ in range(length))


def iso(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, tz=dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Call:
    box: Sandbox
    body: Body = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    full: bool = False  # Prefer: return=representation
    request_id: str = ""
    raw: str = ""  # the body as it was sent
    files: list[tuple[str, str, int]] = field(default_factory=list)  # name, type, size

    @property
    def now(self) -> int:
        return self.box.clock.timestamp()

    @property
    def url(self) -> str:
        """The API's base address as callers know it."""
        return f"{self.box.options.url}/paypal"

    def link(self, path: str, rel: str = "self", method: str = "GET") -> dict[str, str]:
        return {"href": self.url + path, "rel": rel, "method": method}

    def find(self, kind: str, object_id: str, issue: str = "INVALID_RESOURCE_ID") -> Body:
        found = self.box.state.get(kind, object_id)
        if found is None or found.get("deleted"):
            raise not_found(issue)
        return found

    def save(self, record: Body) -> Body:
        record["updated"] = self.now
        return self.box.state.put(record)

    def enter(self, kind: str, record: Body, amount: int) -> None:
        """Book a movement of money; the payment's id is the capture's."""
        self.box.state.enter(
            at=self.box.clock.now(), provider="paypal", kind=kind, currency=record["currency"].lower(),
            amount_minor=amount, object_id=record["id"], payment_id=record.get("capture") or record["id"],
            metadata={name: record[name] for name in ("custom_id", "invoice_id") if record.get(name)},
        )  # fmt: skip

    def emit(self, event_type: str, resource: Body) -> None:
        """Record an event with the resource as PayPal shows it now, and queue its webhooks."""
        kind, version, summary = EVENTS[event_type]
        event_id = f"WH-{new_id()}-{new_id()}"
        amount = resource.get("amount", {})
        event = {
            "id": event_id, "event_version": "1.0", "create_time": iso(self.now), "resource_type": kind,
            "resource_version": version, "event_type": event_type,
            "summary": summary.format(
                amount=f"{amount.get('value')} {amount.get('currency_code')}",
                id=resource.get("dispute_id", resource.get("id")),
            ),
            "resource": resource,
            "links": [
                self.link(f"/v1/notifications/webhooks-events/{event_id}"),
                self.link(f"/v1/notifications/webhooks-events/{event_id}/resend", "resend", "POST"),
            ],
        }  # fmt: skip
        self.box.state.put(
            {"id": event_id, "object": "paypal_event", "created": self.now, "type": event_type, "event": event,
             "about": resource.get("dispute_id", resource.get("id"))}
        )  # fmt: skip
        self.send(event)

    def send(self, event: Body) -> None:
        self.box.webhooks.publish(
            "paypal", event_id=event["id"], event_type=event["event_type"],
            body=json.dumps(event, ensure_ascii=False, separators=(",", ":")),
        )  # fmt: skip
