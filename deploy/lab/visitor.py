"""People outside the machine. `python -m deploy.lab.visitor WHAT ...` in the world's namespace; prints one line of JSON."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests

from deploy.lab.world import SANDBOX, SANDBOX_PORT, SECRETS, SITE, open_ports

URL = f"https://{SITE}"
MACHINE = os.environ.get("LAB_MACHINE", "10.77.0.2")
FOLDER = Path(os.environ.get("LAB_FOLDER", "."))
PORTS_OF_SERVICES = [80, 443, 5432, 6379, 8000, 8001, 9090, 9100, 9464]


class Customer:
    """Books and pays as a program does; knows what it was promised."""

    def __init__(self, number: int = 0) -> None:
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = os.environ["LAB_ROOTS"]
        self.number = number

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
        return self.session.request(
            method,
            URL + path,
            json=body,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
            timeout=30,
        )

    def product(self) -> int:
        start, end = self.days(30)
        found = self.call("GET", f"/api/search?airport=LHR&dropOff={start}&return={end}")
        found.raise_for_status()
        results = found.json()
        offers = results["results"] if isinstance(results, dict) else results
        return int(offers[0]["productId"])

    def days(self, ahead: int) -> tuple[str, str]:
        start = (datetime.now(UTC) + timedelta(days=ahead)).replace(minute=0, second=0, microsecond=0)
        return start.strftime("%Y-%m-%dT%H:%MZ"), (start + timedelta(days=2)).strftime("%Y-%m-%dT%H:%MZ")

    def hold(self, product: int, ahead: int = 30) -> dict[str, Any]:
        """Take a space; what comes back was acknowledged, so it must never be lost."""
        start, end = self.days(ahead)
        quote = self.call("POST", "/api/quotes", {"productId": product, "dropOff": start, "return": end})
        quote.raise_for_status()
        email = f"rita-{uuid.uuid4().hex[:10]}@example.com"
        held = self.call(
            "POST",
            "/api/bookings",
            {
                "quoteId": quote.json()["quoteId"],
                "driver": {
                    "name": "Rita Rehearsal",
                    "email": email,
                    "phone": f"+4477009{uuid.uuid4().int % 100_000:05d}",
                },
                "vehicle": {"plate": f"L{uuid.uuid4().hex[:6]}".upper()},
            },
            Idempotency_Key=str(uuid.uuid4()),
        )
        held.raise_for_status()
        return {**held.json(), "email": email}

    def pay(self, booking: dict[str, Any]) -> dict[str, Any]:
        guest = booking["guestToken"]
        intent = self.call(
            "POST", "/api/payments/create-intent", {"bookingId": booking["bookingId"]}, X_Guest_Token=guest
        )
        intent.raise_for_status()
        told = intent.json()
        self.session.post(
            f"http://{SANDBOX}:{SANDBOX_PORT}/stripe/v1/payment_intents/{told['paymentIntentId']}/confirm",
            data={
                "client_secret": told["clientSecret"],
                "key": SECRETS["STRIPE_PUBLISHABLE_KEY"],
                "payment_method": "pm_card_visa",
            },
            timeout=30,
        ).raise_for_status()
        confirmed = self.call(
            "POST",
            "/api/payments/confirm-stripe",
            {"paymentIntentId": told["paymentIntentId"]},
            X_Guest_Token=guest,
        )
        confirmed.raise_for_status()
        return dict(confirmed.json())


def journey() -> dict[str, Any]:
    """Search, hold, pay by card, and read what was sent."""
    customer = Customer()
    booking = customer.hold(customer.product())
    paid = customer.pay(booking)
    mail: list[Any] = []
    texts: list[Any] = []
    for _try in range(60):
        mail = _received("mail.json", to=booking["email"])["mail"]
        texts = [sms for sms in _received("sms.json")["sms"] if booking["bookingId"] in json.dumps(sms)]
        if len(mail) >= 2 and texts:
            break
        time.sleep(0.5)
    return {
        "booking": booking["bookingId"],
        "status": paid["bookingStatus"],
        "mail": [item.get("subject") for item in mail],
        "sms": len(texts),
    }


def _received(where: str, **query: str) -> dict[str, Any]:
    answer = requests.get(f"http://{SANDBOX}:{SANDBOX_PORT}/{where}", params=query, timeout=10)
    answer.raise_for_status()
    return dict(answer.json())


class Tally:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.asked = self.answered = self.failed = 0
        self.slowest = 0.0
        self.problems: list[str] = []
        self.held: list[str] = []

    def add(self, *, seconds: float, problem: str = "") -> None:
        with self.lock:
            self.asked += 1
            self.slowest = max(self.slowest, seconds)
            if problem:
                self.failed += 1
                self.problems.append(f"{datetime.now(UTC):%H:%M:%S.%f} {problem}"[:300])
            else:
                self.answered += 1


def load(people: str) -> dict[str, Any]:
    """Browse, search and hold until the stop file appears. A failure is no answer, or one of 500 and more."""
    return _crowd("load", int(people), _browse)


def writers(people: str) -> dict[str, Any]:
    """Only hold and pay, until the machine dies or the stop file appears; keeps what was acknowledged."""
    return _crowd("writers", int(people), _write)


def _crowd(name: str, people: int, act: Any) -> dict[str, Any]:
    tally, stop, began = Tally(), FOLDER / f"{name}.stop", time.monotonic()
    product = Customer().product()

    def live(number: int) -> None:
        customer = Customer(number)
        turn = 0
        while not stop.exists() and time.monotonic() - began < 600:
            turn += 1
            act(customer, tally, product, number * 7 + turn)
            time.sleep(0.03)  # people read

    with ThreadPoolExecutor(people) as pool:
        list(pool.map(live, range(people)))
    seconds = time.monotonic() - began
    told = {
        "asked": tally.asked,
        "answered": tally.answered,
        "failed": tally.failed,
        "per_second": round(tally.asked / seconds),
        "slowest_ms": round(tally.slowest * 1000),
        "seconds": round(seconds, 1),
        "problems": tally.problems[:20],
        "held": tally.held,
    }
    (FOLDER / f"{name}.json").write_text(json.dumps(told))
    return {key: value for key, value in told.items() if key != "held"}


def _browse(customer: Customer, tally: Tally, product: int, turn: int) -> None:
    start, end = customer.days(20 + turn % 30)
    paths = [
        "/",
        f"/api/search?airport=LHR&dropOff={start}&return={end}",
        "/api/airports",
        "/accounts/login/",
        "/health",
    ]
    if turn % 7 == 0:
        # A new connection now and then, as new visitors have.
        customer.session.close()
    if turn % 6 == 0:
        _tell(tally, lambda: customer.hold(product, 20 + turn % 60))
        return

    def read() -> None:
        answer = customer.call("GET", paths[turn % len(paths)])
        if answer.status_code >= 400:
            raise requests.HTTPError(f"{answer.status_code} for {answer.url}: {answer.text[:100]}")

    _tell(tally, read)


def _write(customer: Customer, tally: Tally, product: int, turn: int) -> None:
    def hold_and_pay() -> None:
        booking = customer.hold(product, 20 + turn % 60)
        tally.held.append(f"held {booking['bookingId']}")
        if customer.pay(booking)["bookingStatus"] == "confirmed":
            tally.held.append(f"confirmed {booking['bookingId']}")

    _tell(tally, hold_and_pay)
    if tally.failed and tally.problems and "Connection" in tally.problems[-1]:
        time.sleep(0.2)


def _tell(tally: Tally, act: Any) -> None:
    began = time.monotonic()
    try:
        act()
    except requests.HTTPError as error:
        # A car park that is full says so: that is an answer.
        full = error.response is not None and error.response.status_code == 409
        tally.add(
            seconds=time.monotonic() - began, problem="" if full else f"{type(error).__name__}: {error}"
        )
    except (requests.RequestException, KeyError, ValueError) as error:
        tally.add(seconds=time.monotonic() - began, problem=f"{type(error).__name__}: {error}")
    else:
        tally.add(seconds=time.monotonic() - began)


def ports(first: str = "1", last: str = "65535") -> dict[str, Any]:
    """Every TCP port of the machine that answers from outside."""
    everything = list(range(int(first), int(last) + 1))
    with ThreadPoolExecutor(200) as pool:
        chunks = [everything[start::200] for start in range(200)]
        found = sorted(
            port for part in pool.map(lambda chunk: open_ports(MACHINE, chunk, 0.3), chunks) for port in part
        )
    return {"scanned": len(everything), "open": found}


def service_ports() -> dict[str, Any]:
    return {"open": open_ports(MACHINE, PORTS_OF_SERVICES)}


def headers() -> dict[str, Any]:
    """What a browser is told, and what strangers are."""
    customer = Customer()
    page = customer.call("GET", "/")
    told = {
        name: page.headers.get(name, "")
        for name in (
            "Strict-Transport-Security",
            "Content-Security-Policy",
            "X-Content-Type-Options",
            "X-Frame-Options",
            "Referrer-Policy",
            "Cross-Origin-Opener-Policy",
            "Server",
            "X-Request-ID",
        )
    }
    login = customer.call("GET", "/accounts/login/")
    return {
        "headers": told,
        "cookies": login.raw.headers.getlist("Set-Cookie"),
        "http": _status("http://" + SITE + "/search?x=1"),
        "login_cached": login.headers.get("Cache-Control", ""),
    }


def _status(url: str) -> list[Any]:
    answer = requests.get(url, allow_redirects=False, timeout=10)
    return [answer.status_code, answer.headers.get("Location", "")]


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))  # noqa: T201 - it is what the lab reads
