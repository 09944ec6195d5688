"""Signed webhooks: stored first, delivered at least once by background threads, retried with back-off.

Due times are on the sandbox's clock, so moving the clock makes retries due. Signature times are real, because the
receiver checks them against the real clock (`skew_seconds` in the mode bends that on purpose).
"""

from __future__ import annotations

import base64
import concurrent.futures
import hashlib
import hmac
import json
import logging
import random
import secrets
import threading
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sandbox.addresses import is_web_address
from sandbox.clock import Clock
from sandbox.state import State, identifier

logger = logging.getLogger(__name__)

PENDING, HELD, DROPPED, DELIVERING, DELIVERED, FAILED = (
    "pending", "held", "dropped", "delivering", "delivered", "failed",
)  # fmt: skip
MODES = ("deliver", "hold", "drop")
# Ways to send one delivery again by hand, in the words of the Webhooks page.
AGAIN = {
    "again": "as it was, signed anew",
    "copies": "five copies at the same time",
    "forged": "with a signature that is not the provider's",
    "altered": "with a body that was altered after it was signed",
    "old": "signed an hour ago, as a replay would be",
}
COPIES = 5
OLD_SECONDS = 3_600
DEFAULT_MODE: dict[str, Any] = {
    "mode": "deliver", "duplicate": 0, "shuffle": False, "delay_seconds": 0.0, "skew_seconds": 0.0, "forge": False,
}  # fmt: skip
# Seconds before the second, third, ... attempt; about three days in all, as Stripe does in live mode.
BACK_OFF = (2, 10, 60, 300, 1_800, 7_200, 18_000, 36_000, 43_200, 43_200, 43_200, 43_200)
RETRIES = {"twilio": 1}
CONNECT_SECONDS, READ_SECONDS = 3.05, 15.0
POSTMEN = 4
EXCERPT = 2_000


class WebhookError(ValueError):
    """A webhook control call asked for something impossible."""


def stripe_signature(body: bytes, secret: str, at: int) -> str:
    """Stripe's scheme v1: HMAC-SHA256 over `timestamp.body`."""
    signed = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={signed}"


def twilio_signature(url: str, body: bytes, token: str) -> str:
    """Twilio's X-Twilio-Signature: HMAC-SHA1 over the address and the sorted form fields."""
    fields = urllib.parse.parse_qsl(body.decode(), keep_blank_values=True)
    text = url + "".join(name + value for name, value in sorted(set(fields)))
    return base64.b64encode(hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()).decode()


def altered(body: str) -> str:
    """The body with one field more, as somebody on the way might change it."""
    return body.replace("{", '{"altered": true, ', 1) if "{" in body else f"{body}&Altered=1"


class SendGridKey:
    """The ECDSA P-256 pair that signs SendGrid's events, made on the first start and kept beside the data."""

    def __init__(self, folder: Path) -> None:
        path = folder / "sendgrid_key.pem"
        if not path.exists():
            fresh = ec.generate_private_key(ec.SECP256R1())
            path.touch(mode=0o600)
            path.write_bytes(
                fresh.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
            )
        loaded = serialization.load_pem_private_key(path.read_bytes(), password=None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise WebhookError(f"{path} does not hold an elliptic curve key; delete it and start again.")
        self._key = loaded

    @property
    def public_key(self) -> str:
        """Base64 DER, the form in which SendGrid shows it and anymail's setting takes it."""
        der = self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return base64.b64encode(der).decode()

    def sign(self, body: bytes, at: int) -> str:
        return base64.b64encode(self._key.sign(str(at).encode() + body, ec.ECDSA(hashes.SHA256()))).decode()


class Webhooks:
    """The outgoing post: endpoints, deliveries, and the threads that carry them."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        self.sendgrid_key = SendGridKey(state.folder)
        self._awake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._job_handlers: dict[str, Callable[[dict[str, Any]], None]] = {}
        self._answer_readers: dict[str, Callable[[dict[str, Any], requests.Response], None]] = {}
        self._signers: dict[str, Callable[[dict[str, Any], int], dict[str, str]]] = {
            "stripe": self._sign_stripe,
            "sendgrid": self._sign_sendgrid,
            "twilio": self._sign_twilio,
        }

    # What providers plug in

    def handle_jobs(self, kind: str, handler: Callable[[dict[str, Any]], None]) -> None:
        self._job_handlers[kind] = handler

    def read_answers(
        self, provider: str, reader: Callable[[dict[str, Any], requests.Response], None]
    ) -> None:
        self._answer_readers[provider] = reader

    def sign_with(self, provider: str, signer: Callable[[dict[str, Any], int], dict[str, str]]) -> None:
        """A further provider brings its own headers: signer(delivery, unix_time) -> headers."""
        self._signers[provider] = signer

    @property
    def providers(self) -> list[str]:
        return sorted(self._signers)

    # Endpoints

    def set_endpoint(
        self, provider: str, url: str, secret: str = "", *, enabled_events: list[str] | None = None,
        details: dict[str, Any] | None = None, endpoint_id: str = "",
    ) -> dict[str, Any]:  # fmt: skip
        """Insert or replace the endpoint at (provider, url). A Stripe endpoint without a secret gets one."""
        if provider not in self._signers:
            raise WebhookError(f"provider must be one of {', '.join(sorted(self._signers))}.")
        if not is_web_address(url):
            raise WebhookError(
                "url must be an http or https address, for example http://127.0.0.1:8000/webhooks/."
            )
        if not isinstance(secret, str) or len(secret) > 500:
            raise WebhookError("secret must be a text of at most 500 characters.")
        if provider == "stripe" and not secret:
            secret = identifier("whsec_", 32)
        with self._state.transaction():
            known = self._state.row(
                "SELECT id, created FROM endpoints WHERE provider = ? AND url = ?", provider, url
            )
            if provider == "paypal":  # the webhook's id is what its signatures prove
                endpoint_id = secret = secret or (known["id"] if known else identifier("", 17).upper())
            else:
                endpoint_id = known["id"] if known else endpoint_id or identifier("we_1", 23)
            self._state.run(
                "INSERT OR REPLACE INTO endpoints (id, provider, url, secret, enabled_events, details, created) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                endpoint_id, provider, url, secret, json.dumps(enabled_events or ["*"]),
                json.dumps(details or {}), known["created"] if known else self._clock.now(),
            )  # fmt: skip
        return self.endpoint(endpoint_id)

    def endpoints(self, provider: str = "") -> list[dict[str, Any]]:
        rows = self._state.rows(
            "SELECT * FROM endpoints WHERE ? IN ('', provider) ORDER BY created, id", provider
        )
        return [
            {
                **dict(row),
                "enabled_events": json.loads(row["enabled_events"]),
                "details": json.loads(row["details"]),
            }
            for row in rows
        ]

    def endpoint(self, endpoint_id: str) -> dict[str, Any]:
        for found in self.endpoints():
            if found["id"] == endpoint_id:
                return found
        raise WebhookError(f"There is no webhook endpoint {endpoint_id}.")

    def remove_endpoint(self, endpoint_id: str) -> bool:
        return self._state.run("DELETE FROM endpoints WHERE id = ?", endpoint_id) > 0

    # Mode

    def mode(self, provider: str) -> dict[str, Any]:
        return {**DEFAULT_MODE, **self._state.setting("webhook_mode", {}).get(provider, {})}

    def set_mode(self, wanted: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Change how webhooks travel, for one provider or, without `provider`, for all."""
        unknown = sorted(set(wanted) - {*DEFAULT_MODE, "provider", "release"})
        if unknown:
            raise WebhookError(
                f"There is no {unknown[0]}; send {', '.join(DEFAULT_MODE)}, provider, release."
            )
        change = {name: wanted[name] for name in DEFAULT_MODE if name in wanted}
        if change.get("mode", "deliver") not in MODES:
            raise WebhookError(f"mode must be one of {', '.join(MODES)}.")
        duplicate = change.get("duplicate", 0)
        if isinstance(duplicate, bool) or not isinstance(duplicate, int) or not 0 <= duplicate <= 50:
            raise WebhookError("duplicate is the number of extra copies, from 0 to 50.")
        for name in ("delay_seconds", "skew_seconds"):
            number = change.get(name, 0)
            if isinstance(number, bool) or not isinstance(number, int | float) or not -1e7 < number < 1e7:
                raise WebhookError(f"{name} must be a number of seconds.")
        for name in ("shuffle", "forge"):
            if not isinstance(change.get(name, False), bool):
                raise WebhookError(f"{name} must be true or false.")
        provider = wanted.get("provider")
        if provider is not None and provider not in self._signers:
            raise WebhookError(
                f"provider must be one of {', '.join(sorted(self._signers))}, or left out for all."
            )
        chosen = [provider] if provider else sorted(self._signers)
        with self._state.transaction():
            modes = self._state.setting("webhook_mode", {})
            for name in chosen:
                modes[name] = {**DEFAULT_MODE, **modes.get(name, {}), **change}
            self._state.set_setting("webhook_mode", modes)
            if wanted.get("release"):
                for name in chosen:
                    self._state.run(
                        "UPDATE deliveries SET status = ?, due_at = ? WHERE status = ? AND provider = ?",
                        PENDING, self._clock.now(), HELD, name,
                    )  # fmt: skip
        self.wake()
        return {name: self.mode(name) for name in sorted(self._signers)}

    # Queueing

    def publish(self, provider: str, *, event_id: str, event_type: str, body: str) -> int:
        """Queue one event for every endpoint of a provider that listens to it; returns how many listen."""
        count = 0
        for endpoint in self.endpoints(provider):
            if "*" in endpoint["enabled_events"] or event_type in endpoint["enabled_events"]:
                self.queue(
                    provider, url=endpoint["url"], secret=endpoint["secret"], event_id=event_id,
                    event_type=event_type, body=body,
                )  # fmt: skip
                count += 1
        return count

    def queue(
        self, provider: str, *, url: str, secret: str, event_id: str, event_type: str, body: str
    ) -> None:
        mode = self.mode(provider)
        status = {"deliver": PENDING, "hold": HELD, "drop": DROPPED}[mode["mode"]]
        now = self._clock.now()
        for _ in range(1 + mode["duplicate"]):
            due_at = now + mode["delay_seconds"]
            if mode["shuffle"]:
                due_at += random.uniform(0, max(1.5, mode["delay_seconds"]))  # noqa: S311 order, not secrecy
            self._state.run(
                "INSERT INTO deliveries (id, provider, url, secret, event_id, event_type, status, due_at, body, "
                "created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                identifier("whd_", 20), provider, url, secret, event_id, event_type, status, due_at, body, now,
            )  # fmt: skip
        self.wake()

    # Reading and pushing by hand

    def log(
        self, *, provider: str = "", status: str = "", event_type: str = "", limit: int = 500, skip: int = 0
    ) -> list[dict[str, Any]]:
        """Newest first. What was not sent yet carries fresh signed headers, ready to post by hand."""
        rows = self._state.rows(
            "SELECT * FROM deliveries WHERE ? IN ('', provider) AND ? IN ('', status) AND ? IN ('', event_type) "
            "ORDER BY seq DESC LIMIT ? OFFSET ?",
            provider, status, event_type, limit, skip,
        )  # fmt: skip
        return [self._shown(dict(row)) for row in rows]

    def find(self, delivery_id: str) -> dict[str, Any]:
        found = self._state.row("SELECT * FROM deliveries WHERE id = ?", delivery_id)
        if found is None:
            raise WebhookError(f"There is no delivery {delivery_id}.")
        return self._shown(dict(found))

    def deliver_now(self, delivery_id: str) -> dict[str, Any]:
        """Send one delivery at once, whatever its state, and say how it went."""
        found = self._state.row("SELECT * FROM deliveries WHERE id = ?", delivery_id)
        if found is None:
            raise WebhookError(f"There is no delivery {delivery_id}.")
        self._send(dict(found))
        return self.find(delivery_id)

    def send_again(self, delivery_ids: list[str], how: str = "again") -> list[dict[str, Any]]:
        """Send deliveries once more by hand, in the order given, each as a new line of the log, and wait for the answers.

        `how` is one of AGAIN. Nothing that is sent this way is retried. Returns the new deliveries in the order of sending.
        """
        if how not in AGAIN:
            raise WebhookError(f"how must be one of {', '.join(AGAIN)}.")
        if not delivery_ids:
            raise WebhookError("Choose at least one delivery.")
        found: list[dict[str, Any]] = []
        for delivery_id in delivery_ids:
            known = self._state.row("SELECT * FROM deliveries WHERE id = ?", delivery_id)
            if known is None:
                raise WebhookError(f"There is no delivery {delivery_id[:80]}.")
            found.append(dict(known))
        sent: list[str] = []
        for row in found:
            at = int(time.time()) - (OLD_SECONDS if how == "old" else 0)
            secret = secrets.token_hex(16) if how == "forged" else row["secret"]
            signed = {**row, "secret": secret, "forged": how == "forged"}
            body = (
                altered(row["body"])
                if how == "altered" or (how == "forged" and row["provider"] == "paypal_ipn")
                else row["body"]
            )
            made = [
                self._by_hand({**row, "body": body}, how, self._signers[row["provider"]](signed, at))
                for _ in range(COPIES if how == "copies" else 1)
            ]
            with concurrent.futures.ThreadPoolExecutor(COPIES) as postmen:
                list(postmen.map(lambda new: self._send(new, json.loads(new["headers"])), made))
            sent += [new["id"] for new in made]
        return [self.find(delivery_id) for delivery_id in sent]

    def _by_hand(self, row: dict[str, Any], how: str, headers: dict[str, str]) -> dict[str, Any]:
        now = self._clock.now()
        new_id = identifier("whd_", 20)
        self._state.run(
            "INSERT INTO deliveries (id, provider, url, secret, event_id, event_type, status, due_at, body, headers, "
            "created_at, by_hand) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            new_id, row["provider"], row["url"], row["secret"], row["event_id"], row["event_type"], FAILED, now,
            row["body"], json.dumps(headers), now, how,
        )  # fmt: skip
        return dict(self._state.rows("SELECT * FROM deliveries WHERE id = ?", new_id)[0])

    def _shown(self, row: dict[str, Any]) -> dict[str, Any]:
        headers = json.loads(row["headers"]) or self._headers(row)
        if row["status"] in {HELD, PENDING, DROPPED}:
            headers = self._headers(row)
        shown = {name: value for name, value in row.items() if name not in {"secret", "seq"}}
        return {**shown, "headers": headers}

    # Carrying

    def start(self) -> None:
        self._state.run("UPDATE deliveries SET status = ? WHERE status = ?", PENDING, DELIVERING)
        self._thread = threading.Thread(target=self._carry, name="courier", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self.wake()
        if self._thread:
            self._thread.join(timeout=5)

    def wake(self) -> None:
        self._awake.set()

    def run_due_jobs(self) -> int:
        """Carry out every job the sandbox's clock has reached, oldest first; returns how many."""
        count = 0
        while True:
            with self._state.transaction():
                job = self._state.row(
                    "SELECT * FROM jobs WHERE due_at <= ? ORDER BY due_at, id LIMIT 1", self._clock.now()
                )
                if job is None:
                    return count
                self._state.run("DELETE FROM jobs WHERE id = ?", job["id"])
                self._job_handlers[job["kind"]](json.loads(job["payload"]))
            count += 1

    def _carry(self) -> None:
        with concurrent.futures.ThreadPoolExecutor(POSTMEN, thread_name_prefix="postman") as postmen:
            while not self._stopping.is_set():
                self._awake.wait(timeout=self._pause())
                self._awake.clear()
                try:
                    self.run_due_jobs()
                    for row in self._claim():
                        postmen.submit(self._send_safely, row)
                except Exception:
                    if self._stopping.is_set():
                        return
                    logger.exception("The courier stumbled and goes on.")
                    time.sleep(0.2)

    def _pause(self) -> float:
        now = self._clock.now()
        nexts = [
            row["due"]
            for row in (
                self._state.row("SELECT min(due_at) AS due FROM jobs"),
                self._state.row("SELECT min(due_at) AS due FROM deliveries WHERE status = ?", PENDING),
            )
            if row is not None and row["due"] is not None
        ]
        return min(max(min(nexts, default=now + 1.0) - now, 0.01), 1.0)

    def _claim(self) -> list[dict[str, Any]]:
        with self._state.transaction():
            rows = self._state.rows(
                "SELECT * FROM deliveries WHERE status = ? AND due_at <= ? ORDER BY due_at, seq LIMIT 50",
                PENDING, self._clock.now(),
            )  # fmt: skip
            for row in rows:
                self._state.run("UPDATE deliveries SET status = ? WHERE seq = ?", DELIVERING, row["seq"])
        return [dict(row) for row in rows]

    def _send_safely(self, row: dict[str, Any]) -> None:
        try:
            self._send(row)
        except Exception:
            if not self._stopping.is_set():
                logger.exception("Delivery %s stumbled and will be tried again after a restart.", row["id"])

    def _send(self, row: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        headers = headers or self._headers(row)
        code, excerpt, response = None, "", None
        try:
            with requests.Session() as session:
                session.trust_env = False
                response = session.post(
                    row["url"], data=row["body"].encode(), headers=headers, allow_redirects=False,
                    timeout=(CONNECT_SECONDS, READ_SECONDS),
                )  # fmt: skip
            code, excerpt = response.status_code, response.text[:EXCERPT]
        except requests.RequestException as problem:
            excerpt = f"No answer: {problem}"[:EXCERPT]
        attempts = row["attempts"] + 1
        now = self._clock.now()
        retries = BACK_OFF[: RETRIES.get(row["provider"], len(BACK_OFF))]
        if code is not None and 200 <= code < 300:
            status, due_at = DELIVERED, row["due_at"]
        elif row["by_hand"] or row["status"] in {
            DELIVERED,
            HELD,
            DROPPED,
        }:  # pushed by hand: no retries follow
            status, due_at = row["status"], row["due_at"]
        elif attempts <= len(retries):
            status, due_at = PENDING, now + retries[attempts - 1]
        else:
            status, due_at = FAILED, row["due_at"]
        with self._state.transaction():
            self._state.run(
                "UPDATE deliveries SET status = ?, attempts = attempts + 1, due_at = ?, headers = ?, "
                "response_code = ?, response_excerpt = ?, attempted_at = ? WHERE seq = ?",
                status, due_at, json.dumps(headers), code, excerpt, now, row["seq"],
            )  # fmt: skip
        if status == PENDING:
            self.wake()
        if status == DELIVERED and response is not None and row["provider"] in self._answer_readers:
            self._answer_readers[row["provider"]](row, response)

    # Signing

    def _headers(self, row: dict[str, Any]) -> dict[str, str]:
        mode = self.mode(row["provider"])
        if mode["forge"]:
            row = {**row, "secret": secrets.token_hex(16), "forged": True}
        return self._signers[row["provider"]](row, int(time.time() + mode["skew_seconds"]))

    def _sign_stripe(self, row: dict[str, Any], at: int) -> dict[str, str]:
        return {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            "Stripe-Signature": stripe_signature(row["body"].encode(), row["secret"], at),
        }

    def _sign_sendgrid(self, row: dict[str, Any], at: int) -> dict[str, str]:
        body = row["body"].encode() + (b" " if row.get("forged") else b"")
        return {
            "Content-Type": "application/json;charset=utf-8",
            "User-Agent": "SendGrid Event API",
            "X-Twilio-Email-Event-Webhook-Signature": self.sendgrid_key.sign(body, at),
            "X-Twilio-Email-Event-Webhook-Timestamp": str(at),
        }

    def _sign_twilio(self, row: dict[str, Any], _at: int) -> dict[str, str]:
        return {
            "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
            "User-Agent": "TwilioProxy/1.1",
            "X-Twilio-Signature": twilio_signature(row["url"], row["body"].encode(), row["secret"]),
        }
