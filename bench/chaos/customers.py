"""People at the doors: what they press, what they were told, and how they go on when nothing answers.

Every call goes over HTTP, to the site or, as a browser or a bank would, to the providers. What a person was told is kept as a claim,
which the oracle holds against the rows.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import requests
from django.conf import settings
from django.db import OperationalError, connection

from bench.chaos import world
from bench.chaos.faults import Tally
from bench.chaos.stack import Stack

PATIENCE = 5  # times that one presses the same button again
LONGEST_WAIT_SECONDS = 20.0


@dataclass
class Answer:
    """An HTTP answer; status 0 when none came. `body` is {} where it is no JSON."""

    status: int
    body: dict[str, Any]
    text: str = ""
    location: str = ""

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


@dataclass
class Stay:
    """A booking as its customer knows it. Amounts are text in major units, as the API gave them."""

    reference: str
    guest_token: str
    price: str
    start: datetime
    end: datetime


@dataclass
class Journal:
    """What people saw and were promised in one schedule. Threads append; the oracle reads when they are done."""

    claims: list[tuple[str, str, str]] = field(default_factory=list)  # what, reference or id, detail
    wrong: list[str] = field(default_factory=list)  # what must never be answered
    expected_breaks: set[str] = field(default_factory=set)
    forged_events: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    prices: dict[str, str] = field(default_factory=dict)  # reference -> what was quoted
    broke_database: bool = False


@dataclass
class Scene:
    """All that one schedule's people share."""

    stack: Stack
    tally: Tally
    journal: Journal
    place: world.Place
    name: str
    tokens: dict[str, str]
    step: Callable[[], None]
    times: dict[str, tuple[datetime, datetime]] = field(default_factory=dict)  # of quoted stays


class Person:
    """One customer, member of staff or thief with an address, a session and a number of their own."""

    def __init__(self, scene: Scene, number: int, seed: str) -> None:
        self.scene, self.number = scene, number
        self.rng = random.Random(seed)  # noqa: S311 - play, not secrecy
        self.session = requests.Session()
        self.session.trust_env = False
        self.address = f"10.{self.rng.randrange(256)}.{self.rng.randrange(256)}.{1 + self.rng.randrange(254)}"
        self.email = f"{scene.name}-{number}@example.com"
        self.phone = f"+4477009{self.rng.randrange(10**5):05d}"
        self.token = ""  # of an account, where there is one

    # The site

    def call(
        self, method: str, path: str, body: Any = None, *, token: str = "", guest: str = "", key: str = "", form: Any = None
    ) -> Answer:  # fmt: skip
        """One call of the site's. 503 is a documented answer; any other 5xx is a finding."""
        self.scene.step()
        headers = {"X-Real-IP": self.address}
        if token or self.token:
            headers["Authorization"] = f"Bearer {token or self.token}"
        if guest:
            headers["X-Guest-Token"] = guest
        if key:
            headers["Idempotency-Key"] = key
        try:
            answer = self.session.request(
                method, self.scene.stack.site + path, json=body, data=form, headers=headers,
                timeout=LONGEST_WAIT_SECONDS, allow_redirects=False,
            )  # fmt: skip
        except requests.RequestException as error:
            return Answer(0, {}, type(error).__name__)
        if answer.status_code >= 500 and answer.status_code != 503:
            self.scene.journal.wrong.append(
                f"{method} {path} answered {answer.status_code}: {answer.text[:300]}"
            )
        try:
            read = answer.json()
        except ValueError:
            read = {}
        body = read if isinstance(read, dict) else {}
        return Answer(answer.status_code, body, answer.text, answer.headers.get("Location", ""))

    def insist(
        self, act: Callable[[], Answer], *, give_up: tuple[int, ...] = (400, 402, 404, 409, 410, 422)
    ) -> Answer:
        """Press again while nothing or "try later" comes back; where a killed call still counts as running, a minute later."""
        answer = Answer(0, {})
        for press in range(3 * PATIENCE):
            answer = act()
            running = answer.status == 409 and answer.body.get("code") == "still_running"
            if answer.ok or (answer.status in give_up and not running):
                return answer
            if not running and press >= PATIENCE:
                return answer
            if running and press == 2 * PATIENCE:
                self.in_database(let_a_minute_pass_for_running_calls)
            time.sleep(0.15)
        return answer

    def quote(
        self, *, days_ahead: int | None = None, start: datetime | None = None, product: int = 0, days: int = 2
    ) -> Answer:
        """Ask what a stay costs; everybody's days are their own unless said otherwise."""
        ahead = 3 + 12 * self.number if days_ahead is None else days_ahead
        begin = start or (datetime.now(UTC) + timedelta(days=ahead)).replace(
            minute=0, second=0, microsecond=0
        )
        end = begin + timedelta(days=days, hours=3)
        asked = {
            "productId": product or self.scene.place.product, "dropOff": begin.isoformat(), "return": end.isoformat(),
        }  # fmt: skip
        answer = self.insist(lambda: self.call("POST", "/api/quotes", asked))
        if answer.ok:
            self.scene.times[answer.body["quoteId"]] = begin, end
        return answer

    def hold(self, quote: Answer) -> Stay | None:
        """Take a space at the quoted price; None when the car park is full or the site stays away."""
        if not quote.ok:
            return None
        wanted = {
            "quoteId": quote.body["quoteId"],
            "driver": {"name": f"Driver {self.number}", "email": self.email, "phone": self.phone},
            "vehicle": {"plate": f"C{self.number}{uuid.uuid4().hex[:6]}".upper()},
        }
        key = str(uuid.uuid4())
        held = self.insist(lambda: self.call("POST", "/api/bookings", wanted, key=key))
        if not held.ok:
            return None
        stay = Stay(
            held.body["bookingId"], held.body["guestToken"], quote.body["total"], *self.scene.times[quote.body["quoteId"]]
        )  # fmt: skip
        self.scene.journal.claims.append(("booking", stay.reference, ""))
        self.scene.journal.prices[stay.reference] = stay.price
        return stay

    def book(self, *, start: datetime | None = None, product: int = 0) -> Stay | None:
        return self.hold(self.quote(start=start, product=product))

    def intent(self, stay: Stay, *, provider: str = "stripe", key: str = "", **more: Any) -> Answer:
        """Start paying, as often as it takes; once it answers 201 the payment must be in the database."""
        answer = self.insist(
            lambda: self.call(
                "POST",
                "/api/payments/create-intent",
                {"bookingId": stay.reference, "provider": provider, **more},
                guest=stay.guest_token,
                key=key,
            )
        )
        if answer.ok:
            self.scene.journal.claims.append(("payment", answer.body["paymentId"], answer.body["amount"]))
        return answer

    def confirm(self, stay: Stay, session: Answer) -> Answer:
        """Tell the site that one has paid; what it then says must stay true."""
        if session.body.get("provider") == "paypal":
            path, body = "confirm-paypal", {"orderId": session.body["orderId"]}
        else:
            path, body = "confirm-stripe", {"paymentIntentId": session.body["paymentIntentId"]}
        answer = self.insist(lambda: self.call("POST", f"/api/payments/{path}", body, guest=stay.guest_token))
        self.believe(stay, answer)
        return answer

    def believe(self, stay: Stay, answer: Answer) -> None:
        if answer.ok and answer.body.get("status") == "captured":
            self.scene.journal.claims.append(("captured", answer.body["paymentId"], ""))
        if answer.ok and answer.body.get("bookingStatus") == "confirmed":
            self.scene.journal.claims.append(("confirmed", stay.reference, ""))
            if answer.body.get("status") in ("processing", "requires_action"):
                self.scene.journal.wrong.append(
                    f"{stay.reference} is confirmed by a {answer.body['status']} payment"
                )

    def payment_of(self, stay: Stay) -> str:
        """The id of the payment that was captured for a booking, or ""."""
        found = self.in_database(
            lambda: (
                __import__("payments.models", fromlist=["Payment"])
                .Payment.objects.filter(booking__reference=stay.reference, status="captured")
                .values_list("pk", "provider_ref")
                .first()
            )
        )
        return f"{found[0]} {found[1]}" if found else ""

    def in_database(self, act: Callable[[], Any]) -> Any:
        """What staff or the clock would do from another program, again while the server is away."""
        for _attempt in range(20):
            try:
                return act()
            except OperationalError:
                connection.close()
                time.sleep(0.2)
            finally:
                connection.close()
        return None

    # The providers, as browsers and dashboards reach them

    def provider(
        self, method: str, path: str, *, form: Any = None, body: Any = None, headers: Any = None
    ) -> Answer:
        try:
            answer = self.session.request(
                method, path if path.startswith("http") else self.scene.stack.sandbox + path, data=form, json=body,
                headers=headers, timeout=LONGEST_WAIT_SECONDS, allow_redirects=False,
            )  # fmt: skip
        except requests.RequestException as error:
            return Answer(0, {}, type(error).__name__)
        try:
            read = answer.json()
        except ValueError:
            read = {}
        return Answer(answer.status_code, read if isinstance(read, dict) else {}, answer.text)

    def enter_card(self, session: Answer, card: str = "pm_card_visa") -> Answer:
        """What Stripe.js does; pressed again when the page says that nothing was heard."""
        form = {
            "client_secret": session.body["clientSecret"],
            "key": settings.STRIPE_PUBLISHABLE_KEY,
            "payment_method": card,
        }
        return self.insist(
            lambda: self.provider(
                "POST", f"/stripe/v1/payment_intents/{session.body['paymentIntentId']}/confirm", form=form
            )
        )

    def answer_bank(self, entered: Answer, *, passes: bool) -> None:
        action = entered.body.get("next_action") or {}
        address = (action.get("use_stripe_sdk") or {}).get("stripe_js")
        if not address:
            return
        url = urllib.parse.urlsplit(address)
        self.provider(
            "POST",
            urllib.parse.urlunsplit(url._replace(query="")),
            form={
                "attempt": urllib.parse.parse_qs(url.query)["attempt"][0],
                "outcome": "complete" if passes else "fail",
            },
        )

    def approve(self, session: Answer, buyer: str = "at_once") -> Answer:
        """Agree on PayPal's page."""
        return self.provider("POST", session.body["approveUrl"], form={"buyer": buyer, "decision": "approve"})

    def stripe(self, method: str, path: str, **form: Any) -> Answer:
        """Stripe's dashboard: behind the shop's back."""
        return self.provider(
            method, f"/stripe/v1/{path}", form=form or None,
            headers={"Authorization": f"Bearer {settings.STRIPE_SECRET_KEY}"},
        )  # fmt: skip

    def paypal(self, method: str, path: str, body: Any = None) -> Answer:
        """PayPal's dashboard, again while PayPal is in trouble."""
        return self.insist(lambda: self._paypal(method, path, body))

    def capture_of(self, order: str) -> dict[str, Any] | None:
        """The capture of an order as PayPal shows it, or None where there is none."""
        units = self.paypal("GET", f"v2/checkout/orders/{order}").body.get("purchase_units") or [{}]
        captures = (units[0].get("payments") or {}).get("captures") or []
        return captures[0] if captures else None

    def _paypal(self, method: str, path: str, body: Any) -> Answer:
        granted = requests.post(
            f"{self.scene.stack.sandbox}/paypal/v1/oauth2/token", data={"grant_type": "client_credentials"},
            auth=(settings.PAYPAL_CLIENT_ID, settings.PAYPAL_CLIENT_SECRET), timeout=LONGEST_WAIT_SECONDS,
        )  # fmt: skip
        if not granted.ok:
            return Answer(granted.status_code, {})
        return self.provider(
            method, f"/paypal/{path}", body=body,
            headers={"Authorization": f"Bearer {granted.json()['access_token']}", "Prefer": "return=representation"},
        )  # fmt: skip

    def control(self, path: str, body: Any = None) -> Answer:
        return self.provider("GET" if body is None else "POST", path, body=body)


def let_a_minute_pass_for_running_calls() -> int:
    """Idempotent calls whose process was killed may be taken over after a minute; nobody here waits for it."""
    from foundation.models import IdempotencyRecord

    return IdempotencyRecord.objects.filter(finished_at=None).update(
        created_at=datetime.now(UTC) - timedelta(minutes=2)
    )


def together(*acts: Callable[[], Any]) -> list[Any]:
    """Do things at the same moment, each in a thread of its own."""
    start = threading.Barrier(len(acts))
    results: list[Any] = [None] * len(acts)

    def run(place: int, act: Callable[[], Any]) -> None:
        start.wait()
        results[place] = act()

    threads = [threading.Thread(target=run, args=(n, act), daemon=True) for n, act in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return results


# --- Signatures, true and false ------------------------------------------------------------------------------------


def stripe_event(
    object_kind: str, object_id: str, *, livemode: bool = False, event_id: str = ""
) -> tuple[str, bytes]:
    event_id = event_id or f"evt_{uuid.uuid4().hex}"
    return event_id, json.dumps(
        {
            "id": event_id, "object": "event", "type": f"{object_kind}.succeeded", "api_version": settings.STRIPE_API_VERSION,
            "created": int(time.time()), "livemode": livemode, "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "data": {"object": {"object": object_kind, "id": object_id, "livemode": livemode}},
        }
    ).encode()  # fmt: skip


def signed(body: bytes, secret: str, *, at: int | None = None) -> dict[str, str]:
    moment = int(time.time()) if at is None else at
    mac = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return {"Stripe-Signature": f"t={moment},v1={mac}", "Content-Type": "application/json"}
