"""The whole journey as people make it: the real demo, a real browser, the sandbox's own inbox as witness."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from foundation.database import PrivateServer

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = "/usr/bin/chromium"
THREE_D_SECURE_CARD = "4000002760003184"
PASSWORD = "demo-parking"

pytestmark = pytest.mark.browser


@dataclass
class Demo:
    """The running demo: where the site and the sandbox answer, and how to reach its database."""

    site: str
    sandbox: str
    environment: dict[str, str]
    folder: Path

    def read(
        self, url: str, *, token: str = "", body: Any = None, headers: dict[str, str] | None = None
    ) -> Any:
        request = urllib.request.Request(
            url,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Content-Type": "application/json",
                **({"Authorization": f"Bearer {token}"} if token else {}),
                **(headers or {}),
            },
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or "null")

    def mail_to(self, address: str) -> list[dict[str, Any]]:
        rows = self.read(f"{self.sandbox}/mail.json")["mail"]
        return [row for row in rows if address in json.dumps(row["to"])]

    def sms_to(self, number: str) -> list[dict[str, Any]]:
        rows = self.read(f"{self.sandbox}/sms.json")["sms"]
        return [row for row in rows if row["to"] == number]


def wait_for(claim: Any, *, seconds: float = 30) -> Any:
    """Return the first truthy answer of claim(); fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        answer = claim()
        if answer:
            return answer
        if time.monotonic() > deadline:
            pytest.fail("It did not become true in time.")
        time.sleep(0.3)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """`make demo`'s own command on free ports, in a folder of its own."""
    folder = tmp_path_factory.mktemp("demo")
    site, sandbox = free_port(), free_port()
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("DATABASE_URL", "SITE_URL", "SANDBOX_URL")
    }
    environment |= {
        "PORT": str(site),
        "SANDBOX_PORT": str(sandbox),
        "VAR_DIR": str(folder),
        "PYTHONUNBUFFERED": "1",
    }
    log = (folder / "log.txt").open("wb")
    process = subprocess.Popen(
        [sys.executable, "manage.py", "quickstart"],
        cwd=ROOT,
        env=environment,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    deadline = time.monotonic() + 180
    try:
        while "customer@example.com" not in (folder / "log.txt").read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"The demo did not start:\n{(folder / 'log.txt').read_text()}")
            time.sleep(0.3)
        yield Demo(f"http://127.0.0.1:{site}", f"http://127.0.0.1:{sandbox}", environment, folder)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
        log.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
            ],
        )
        yield started
        started.close()


def book(page: Page, demo: Demo, *, email: str, phone: str) -> str:
    """Search from home, choose the first offer, fill in the driver; return the booking's reference on the payment page."""
    page.goto(demo.site)
    box = page.get_by_role("combobox", name="Airport")
    box.fill("LHR")
    box.press("Enter")
    page.get_by_role("button", name="Find parking").click()
    page.locator(".offer:not(.sold-out) a.button.primary").first.click()
    page.get_by_label("Driver's name").fill("Ada Lovelace")
    page.get_by_label("E-mail", exact=True).fill(email)
    page.get_by_label("Mobile phone").fill(phone)
    page.get_by_label("Number plate").fill("ab12 cde")
    for label in ("Outbound flight", "Return flight"):
        if page.get_by_label(re.compile(label, re.IGNORECASE)).count():
            page.get_by_label(re.compile(label, re.IGNORECASE)).first.fill("BA117")
    page.get_by_role("button", name="Continue to payment").click()
    page.wait_for_url(re.compile(r"/pay/[A-Z0-9-]+$"))
    return page.url.rsplit("/", 1)[-1]


def fill_card(page: Page, number: str) -> None:
    frame = page.frame_locator("#payment-element iframe").first
    frame.get_by_label(re.compile("card number", re.IGNORECASE)).fill(number)
    frame.get_by_label(re.compile("expir", re.IGNORECASE)).fill("12/34")
    frame.get_by_label(re.compile("security code|cvc", re.IGNORECASE)).fill("123")
    postal = frame.get_by_label(re.compile("zip|postal", re.IGNORECASE))
    if postal.is_visible():
        postal.fill("94107")
    page.locator("#payment button").click()


def press_in_challenge(page: Page, name: str) -> None:
    """Press a button of the bank's page, in whichever frame it opened."""

    def pressed() -> bool:
        for frame in page.frames:
            button = frame.get_by_role("button", name=re.compile(name, re.IGNORECASE))
            if button.count():
                button.first.click()
                return True
        return False

    wait_for(pressed)


def test_book_with_3d_secure_be_told_and_be_refunded(demo: Demo, browser: Browser) -> None:
    email, phone = "ada.journey@example.org", "+447700900123"
    page = browser.new_context(locale="en-GB").new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "console", lambda line: problems.append(line.text) if "Content Security Policy" in line.text else None
    )
    reference = book(page, demo, email=email, phone=phone)

    fill_card(page, "4000000000000002")
    expect(page.locator("#payment-problem")).to_contain_text(re.compile("declined", re.IGNORECASE))
    page.reload()
    fill_card(page, THREE_D_SECURE_CARD)
    press_in_challenge(page, "complete")
    page.wait_for_url(re.compile(rf"/bookings/{reference}"), timeout=30_000)
    expect(page.get_by_text(reference).first).to_be_visible()
    assert problems == []

    subjects = wait_for(lambda: [mail["subject"] for mail in demo.mail_to(email)][1:] and demo.mail_to(email))
    assert len(subjects) == 2, "one booking confirmation and one payment confirmation"
    assert wait_for(lambda: demo.sms_to(phone))

    admin = browser.new_context(locale="en-GB").new_page()
    admin.goto(f"{demo.site}/admin/")
    admin.locator("input[name=login]").fill("staff@example.com")
    admin.locator("input[name=password]").fill(PASSWORD)
    admin.locator("form:has(input[name=login]) button[type=submit]").first.click()
    admin.goto(f"{demo.site}/admin/payments/payment/?q={reference}")
    admin.locator("#result_list th a, #result_list td a").first.click()
    payment_id = re.search(r"/payment/([0-9a-f-]{36})/", admin.url)
    if payment_id is None:
        admin.goto(f"{demo.site}/admin/payments/payment/?q={reference}")
        link = admin.locator("#result_list a[href*='/payments/payment/']").first
        link.click()
        payment_id = re.search(r"/payment/([0-9a-f-]{36})/", admin.url)
    assert payment_id
    admin.goto(f"{demo.site}/admin/payments/payment/{payment_id[1]}/refund/")
    admin.locator("input[name=amount]").fill("10.00")
    admin.locator("[name=reason]").fill("The shuttle was late")
    admin.get_by_role("button", name="Preview the refund").click()
    expect(admin.get_by_text("£10.00").first).to_be_visible()
    admin.get_by_role("button", name=re.compile("^Refund")).click()
    refund_mail = wait_for(lambda: [mail for mail in demo.mail_to(email) if "efund" in mail["subject"]])
    assert len(refund_mail) == 1
    refunds = demo.read(f"{demo.sandbox}/ledger.json")["refunds"]
    ours = [one["amount_minor"] for one in refunds if one["metadata"].get("booking") == reference]
    assert ours == [1000], "the demo's own day has refunds too"
    audit = subprocess.run(
        [sys.executable, "manage.py", "audit_books"],
        cwd=ROOT,
        env=demo.environment | {"DATABASE_URL": PrivateServer(demo.folder / "postgresql").url()},
        capture_output=True,
        text=True,
    )
    assert audit.returncode == 0, audit.stdout + audit.stderr


def test_save_a_card_and_pay_with_it_though_the_bank_asks_again(demo: Demo, browser: Browser) -> None:
    page = browser.new_context(locale="en-GB").new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "console", lambda line: problems.append(line.text) if "Content Security Policy" in line.text else None
    )
    page.goto(f"{demo.site}/accounts/login/?next=/account/payment-methods/add")
    page.get_by_label("E-mail").fill("customer@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    fill_card(page, THREE_D_SECURE_CARD)
    press_in_challenge(page, "complete")
    expect(page.get_by_text("Visa •••• 3184 is saved.")).to_be_visible(timeout=30_000)

    reference = book(page, demo, email="customer@example.com", phone="+447700900123")
    expect(page.get_by_label("Visa •••• 3184")).to_be_checked()
    page.get_by_role("button", name=re.compile(r"^Pay \D?\d")).click()
    press_in_challenge(page, "complete")
    page.wait_for_url(re.compile(rf"/bookings/{reference}/confirmed"), timeout=30_000)

    reference = book(page, demo, email="customer@example.com", phone="+447700900123")
    page.get_by_label("Another card").check()
    page.get_by_label("Save this card for next time").check()
    fill_card(page, "5555555555554444")
    page.wait_for_url(re.compile(rf"/bookings/{reference}/confirmed"), timeout=30_000)
    page.goto(f"{demo.site}/account/payment-methods")
    expect(page.get_by_role("heading", name="Mastercard •••• 4444")).to_be_visible()
    page.get_by_role("link", name="Remove Visa •••• 3184").click()
    page.get_by_role("button", name="Remove it").click()
    expect(page.get_by_text("Visa •••• 3184 is removed.")).to_be_visible()
    assert problems == []


def test_the_same_by_curl(demo: Demo) -> None:
    tokens = demo.read(
        f"{demo.site}/api/auth/token", body={"email": "customer@example.com", "password": PASSWORD}
    )
    intent = demo.read(
        f"{demo.site}/api/payments/create-intent",
        token=tokens["access"],
        body={"bookingId": "test-booking", "amount": 50.00, "currency": "USD"},
    )
    assert (intent["amount"], intent["currency"], intent["provider"]) == ("50.00", "USD", "stripe")
    confirm = urllib.request.Request(
        f"{demo.sandbox}/stripe/v1/payment_intents/{intent['paymentIntentId']}/confirm",
        data=f"payment_method=pm_card_visa&client_secret={intent['clientSecret']}".encode(),
        headers={"Authorization": f"Bearer {intent['publishableKey']}"},
    )
    urllib.request.urlopen(confirm, timeout=30).close()
    paid = demo.read(
        f"{demo.site}/api/payments/confirm-stripe",
        token=tokens["access"],
        body={"paymentIntentId": intent["paymentIntentId"]},
        headers={"Idempotency-Key": "journey-confirm"},
    )
    assert paid["bookingStatus"] == "confirmed"
    booking = demo.read(f"{demo.site}/api/bookings/test-booking", token=tokens["access"])
    assert booking["status"] == "confirmed"
