"""The parts of one running sandbox, held together."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flask import current_app

from sandbox.clock import Clock
from sandbox.faults import Faults
from sandbox.state import State
from sandbox.webhooks import Webhooks

DEFAULT_TWILIO_TOKEN = "sandbox-twilio-auth-token"  # noqa: S105 the published default of a sandbox, not a secret
DEFAULT_PAYPAL_CLIENT_ID = "sandbox-paypal-client-id"
DEFAULT_PAYPAL_CLIENT_SECRET = "sandbox-paypal-client-secret"  # noqa: S105 likewise
DEFAULT_PAYPAL_WEBHOOK_ID = "WH-SANDBOX-PARKING"
DEFAULT_PAYPAL_EMAIL = "seller@runway.example"
DEFAULT_PAYPAL_MERCHANT_ID = "SANDBOXMERCHANT"
PAYPAL_TOKEN_SECONDS = 32_400


@dataclass
class Options:
    data: Path
    host: str = "127.0.0.1"
    port: int = 8001
    site: str = "http://127.0.0.1:8000"
    public_url: str = ""
    twilio_token: str = DEFAULT_TWILIO_TOKEN
    paypal_client_id: str = DEFAULT_PAYPAL_CLIENT_ID
    paypal_client_secret: str = DEFAULT_PAYPAL_CLIENT_SECRET
    paypal_email: str = DEFAULT_PAYPAL_EMAIL
    paypal_merchant_id: str = DEFAULT_PAYPAL_MERCHANT_ID
    paypal_token_seconds: int = PAYPAL_TOKEN_SECONDS

    @property
    def url(self) -> str:
        """Where browsers and providers' clients reach the sandbox, without a trailing slash."""
        return self.public_url.rstrip("/") or f"http://{self.host}:{self.port}"


@dataclass
class Sandbox:
    options: Options
    state: State = field(init=False)
    clock: Clock = field(init=False)
    faults: Faults = field(init=False)
    webhooks: Webhooks = field(init=False)
    busy_keys: set[str] = field(default_factory=set)
    busy_lock: threading.Lock = field(default_factory=threading.Lock)
    parts: dict[str, Any] = field(default_factory=dict)  # what providers plug in for themselves, by name

    def __post_init__(self) -> None:
        self.state = State(self.options.data)
        self.clock = Clock(self.state)
        self.faults = Faults(self.state)
        self.webhooks = Webhooks(self.state, self.clock)


def current() -> Sandbox:
    """The sandbox that answers the request at hand."""
    return current_app.extensions["sandbox"]
