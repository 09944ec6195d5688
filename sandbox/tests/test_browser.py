"""The stand-in for Stripe.js in a real browser, on a page of another origin."""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from sandbox.tests import paypal
from sandbox.tests.conftest import PUBLISHABLE_KEY, Process

pytestmark = pytest.mark.browser

SHOP = """<!doctype html><html lang="en"><title>Shop</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'self';
  script-src 'self' 'unsafe-inline' {sandbox}; frame-src {sandbox}; connect-src {sandbox}">
<h1>Pay</h1><form id="form"><div id="element"></div><button id="pay" disabled>Pay</button></form><p id="said" role="status"></p>
<script src="{sandbox}/stripe-js/v3/"></script>
<script>
const stripe = Stripe("{key}");
const elements = stripe.elements({{ clientSecret: "{secret}", locale: "{locale}",
  appearance: {{ theme: "{theme}", variables: {{ colorPrimary: "#ffc72c" }} }} }});
const element = elements.create("payment");
window.changes = [];
element.on("ready", () => {{ document.getElementById("pay").disabled = false; }});
element.on("change", (event) => window.changes.push(event.complete));
element.mount("#element");
document.getElementById("form").addEventListener("submit", async (event) => {{
  event.preventDefault();
  const result = await stripe.{call}({{ elements, redirect: "{redirect}", confirmParams: {{ return_url: location.origin + "/return?step=1" }} }});
  document.getElementById("said").textContent = JSON.stringify(result);
}});
</script>"""


class Shop:
    """A page server of its own origin; nothing but the page's text can reach it."""

    def __init__(self) -> None:
        self.page = ""
        self.posted: list[bytes] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = (
                    outer.page.encode()
                    if self.path == "/"
                    else b"<!doctype html><title>Back</title><h1>Back</h1>"
                )
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                outer.posted.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def shop() -> Iterator[Shop]:
    made = Shop()
    yield made
    made.server.shutdown()
    made.server.server_close()


def chromium() -> str:
    for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"):
        if Path(path).exists():
            return path
    raise AssertionError(
        "These tests need Chromium: install the package chromium, or leave them out with -m 'not browser'."
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield started
        started.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 420, "height": 800}, locale="en-US")
    opened = context.new_page()
    opened.set_default_timeout(10_000)
    opened.errors = []
    opened.on("pageerror", lambda error: opened.errors.append(str(error)))
    yield opened
    assert opened.errors == []
    context.close()


def open_shop(
    box: Process,
    shop: Shop,
    page: Page,
    *,
    setup: bool = False,
    redirect: str = "if_required",
    locale: str = "en",
    theme: str = "stripe",
) -> Any:
    service = box.stripe().v1
    intent = (
        service.setup_intents.create({})
        if setup
        else service.payment_intents.create({"amount": 4200, "currency": "eur"})
    )
    shop.page = SHOP.format(
        sandbox=box.url, key=PUBLISHABLE_KEY, secret=intent.client_secret, redirect=redirect, locale=locale, theme=theme,
        call="confirmSetup" if setup else "confirmPayment",
    )  # fmt: skip
    page.goto(shop.url)
    expect(page.locator("#pay")).to_be_enabled()
    return intent


def fill(page: Page, number: str, *, expiry: str = "1234", cvc: str = "123") -> Any:
    frame = page.frame_locator("#element iframe")
    frame.get_by_label("Card number").press_sequentially(number)
    frame.get_by_label("Expiration date").press_sequentially(expiry)
    frame.get_by_label("Security code").press_sequentially(cvc)
    if frame.get_by_label("ZIP code").is_visible():
        frame.get_by_label("ZIP code").fill("94107")
    return frame


def said(page: Page) -> Any:
    expect(page.locator("#said")).not_to_be_empty()
    return json.loads(page.locator("#said").inner_text())


def test_a_card_is_typed_and_pays(box: Process, shop: Shop, page: Page) -> None:
    intent = open_shop(box, shop, page)
    requests_to_shop: list[str] = []
    page.on(
        "request",
        lambda request: (
            requests_to_shop.append(f"{request.url} {request.post_data or ''}")
            if request.url.startswith(shop.url)
            else None
        ),
    )
    frame = fill(page, "4242424242424242")
    assert frame.get_by_label("Card number").input_value() == "4242 4242 4242 4242"
    assert frame.get_by_label("Expiration date").input_value() == "12 / 34"
    assert page.evaluate("window.changes.at(-1)") is True
    page.locator("#pay").click()
    assert said(page)["paymentIntent"]["status"] == "succeeded"
    assert box.stripe().v1.payment_intents.retrieve(intent.id).status == "succeeded"
    assert not [line for line in requests_to_shop if "4242" in line]
    assert shop.posted == []


def test_the_browser_returns_to_the_shop(box: Process, shop: Shop, page: Page) -> None:
    intent = open_shop(box, shop, page, redirect="always")
    fill(page, "4242424242424242")
    page.locator("#pay").click()
    page.wait_for_url(f"{shop.url}/return**")
    query = parse_qs(urlsplit(page.url).query)
    assert query["payment_intent"] == [intent.id]
    assert query["redirect_status"] == ["succeeded"]
    assert query["step"] == ["1"]


@pytest.mark.parametrize("outcome", ["Complete", "Fail"])
def test_the_bank_asks_in_a_window_above_the_page(box: Process, shop: Shop, page: Page, outcome: str) -> None:
    intent = open_shop(box, shop, page)
    fill(page, "4000002760003184")
    page.locator("#pay").click()
    bank = page.frame_locator("iframe[title='Bank authentication']")
    expect(bank.get_by_text("42.00 EUR")).to_be_visible()
    bank.get_by_role("button", name=f"{outcome} authentication").click()
    result = said(page)
    if outcome == "Complete":
        assert result["paymentIntent"]["status"] == "succeeded"
    else:
        assert result["error"]["code"] == "payment_intent_authentication_failure"
        assert result["error"]["payment_intent"]["status"] == "requires_payment_method"
    expect(page.locator("iframe[title='Bank authentication']")).to_have_count(0)
    assert box.stripe().v1.payment_intents.retrieve(intent.id).status == (
        "succeeded" if outcome == "Complete" else "requires_payment_method"
    )


def test_a_decline_can_be_followed_by_another_card(box: Process, shop: Shop, page: Page) -> None:
    open_shop(box, shop, page)
    frame = fill(page, "4000000000009995")
    page.locator("#pay").click()
    assert said(page)["error"]["decline_code"] == "insufficient_funds"
    frame.get_by_role("button", name=re.compile("Succeeds")).click()
    page.locator("#said").evaluate("node => { node.textContent = ''; }")
    page.locator("#pay").click()
    assert said(page)["paymentIntent"]["status"] == "succeeded"


def test_what_is_missing_is_said_beside_the_field(box: Process, shop: Shop, page: Page) -> None:
    open_shop(box, shop, page)
    page.locator("#pay").click()
    assert said(page)["error"]["type"] == "validation_error"
    frame = page.frame_locator("#element iframe")
    expect(frame.get_by_text("Your card number is incomplete.")).to_be_visible()
    expect(frame.get_by_label("Card number")).to_be_focused()
    frame.get_by_label("Card number").fill("4242424242424241")
    expect(frame.get_by_text("Your card number is invalid.")).to_be_visible()
    assert frame.get_by_label("Card number").get_attribute("autocomplete") == "cc-number"


def test_a_card_is_saved_with_authentication(box: Process, shop: Shop, page: Page) -> None:
    intent = open_shop(box, shop, page, setup=True)
    fill(page, "4000002500003155")
    page.locator("#pay").click()
    page.frame_locator("iframe[title='Bank authentication']").get_by_role(
        "button", name="Complete authentication"
    ).click()
    assert said(page)["setupIntent"]["status"] == "succeeded"
    assert box.stripe().v1.setup_intents.retrieve(intent.id).status == "succeeded"


def test_the_frame_speaks_the_pages_language_and_wears_its_theme(
    box: Process, shop: Shop, page: Page
) -> None:
    open_shop(box, shop, page, locale="de", theme="night")
    frame = page.frame_locator("#element iframe")
    expect(frame.get_by_label("Kartennummer")).to_be_visible()
    assert frame.locator("html").get_attribute("data-theme") == "night"
    height = page.locator("#element iframe").bounding_box()
    assert height is not None
    assert 150 < height["height"] < 500


def test_the_screens_fit_a_phone_and_say_what_arrives(box: Process, page: Page) -> None:
    order = paypal.Shop(box).order(description="Parking at Runway East")
    pages = (f"/paypal-payments/{order}", f"/paypal/checkoutnow?token={order}")
    for path in ("/", "/mail", "/phone", "/stripe-payments", "/webhooks", "/faults", "/clock", *pages):
        page.goto(box.url + path)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
    page.goto(f"{box.url}/stripe-payments")
    box.stripe().v1.payment_intents.create({"amount": 4200, "currency": "eur"})
    expect(page.get_by_text("42.00 EUR")).to_be_visible()


def test_a_buyer_approves_a_paypal_order_and_returns_to_the_shop(box: Process, page: Page) -> None:
    shop = paypal.Shop(box)
    order = shop.order()
    page.route("https://shop.example/**", lambda route: route.fulfill(body="Back at the shop"))
    page.goto(f"{shop.base}/checkoutnow?token={order}")
    expect(page.get_by_label("pays at once")).to_be_checked()
    page.get_by_label("pays by eCheck (pending)").check()
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Back at the shop")).to_be_visible()
    assert f"token={order}&PayerID=" in page.url
    assert shop.get(f"v2/checkout/orders/{order}")["status"] == "APPROVED"
    capture = shop.capture(order).json()["purchase_units"][0]["payments"]["captures"][0]
    assert capture["status_details"] == {"reason": "ECHECK"}
