"""PayPal as a shop's program and its buyer see it."""

from __future__ import annotations

import json
import uuid
from typing import Any

import requests

from sandbox.tests.conftest import Process, Received

CLIENT = ("sandbox-paypal-client-id", "sandbox-paypal-client-secret")
WEBHOOK_ID = "WH-SANDBOX-PARKING"
BACK = {"return_url": "https://shop.example/back?x=1", "cancel_url": "https://shop.example/cancel"}


class Shop:
    """A client of the sandbox's PayPal, with the buyer's hands at the approval page."""

    def __init__(self, box: Process) -> None:
        self.base = f"{box.url}/paypal"
        answer = requests.post(
            f"{self.base}/v1/oauth2/token", auth=CLIENT, data={"grant_type": "client_credentials"}, timeout=10
        )
        self.token = answer.json()["access_token"]

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
        return requests.request(
            method,
            f"{self.base}/{path}",
            json=body,
            headers=headers,
            timeout=options.pop("timeout", 10),
            **options,
        )

    def post(self, path: str, body: Any = None, key: str = "", **headers: str) -> requests.Response:
        given = {"PayPal-Request-Id": key or str(uuid.uuid4()), **headers}
        return self.call("POST", path, {} if body is None else body, headers=given)

    def get(self, path: str, **query: Any) -> Any:
        answer = self.call("GET", path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def order(self, value: str = "50.00", currency: str = "USD", **unit: Any) -> str:
        return str(self.post("v2/checkout/orders", order(value, currency, **unit)).json()["id"])

    def at_page(self, page: str, buyer: str = "at_once", decision: str = "approve") -> requests.Response:
        return requests.post(
            f"{self.base}/{page}",
            data={"buyer": buyer, "decision": decision},
            allow_redirects=False,
            timeout=10,
        )

    def approve(self, order_id: str, buyer: str = "at_once", decision: str = "approve") -> requests.Response:
        return self.at_page(f"checkoutnow?token={order_id}", buyer, decision)

    def capture(self, order_id: str, **options: Any) -> requests.Response:
        return self.post(f"v2/checkout/orders/{order_id}/capture", **options)

    def paid(self, value: str = "50.00", currency: str = "USD", buyer: str = "at_once", **unit: Any) -> Any:
        """The capture of an order that was created, approved and captured."""
        order_id = self.order(value, currency, **unit)
        self.approve(order_id, buyer)
        answer = self.capture(order_id)
        assert answer.status_code == 201, answer.text
        return answer.json()["purchase_units"][0]["payments"]["captures"][0]

    def refund(self, capture_id: str, body: Any = None, **options: Any) -> requests.Response:
        return self.post(f"v2/payments/captures/{capture_id}/refund", body, **options)

    def verify(self, got: Received, **changes: str) -> str:
        """What the API says about a delivery as it was received; the event is spliced in as it came."""
        headers = {name.upper(): value for name, value in got.headers.items()}
        sent = {
            "auth_algo": headers["PAYPAL-AUTH-ALGO"], "cert_url": headers["PAYPAL-CERT-URL"],
            "transmission_id": headers["PAYPAL-TRANSMISSION-ID"],
            "transmission_sig": headers["PAYPAL-TRANSMISSION-SIG"],
            "transmission_time": headers["PAYPAL-TRANSMISSION-TIME"], "webhook_id": WEBHOOK_ID,
        }  # fmt: skip
        event = changes.pop("webhook_event", got.body.decode())
        text = json.dumps({**sent, **changes})[:-1] + f', "webhook_event": {event}}}'
        answer = self.call(
            "POST", "v1/notifications/verify-webhook-signature", data=text.encode(),
            headers={"Content-Type": "application/json"},
        )  # fmt: skip
        assert answer.status_code == 200, answer.text
        return str(answer.json()["verification_status"])


def order(value: str = "50.00", currency: str = "USD", **unit: Any) -> dict[str, Any]:
    return {
        "intent": "CAPTURE",
        "purchase_units": [{"amount": {"currency_code": currency, "value": value}, **unit}],
        "payment_source": {"paypal": {"experience_context": BACK}},
    }


def issue(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["details"][0]["issue"]
