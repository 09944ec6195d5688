"""No decimals, two, three: every amount is exact at both providers, in the books, on paper, on the page and in the API."""

from __future__ import annotations

import re
from io import BytesIO
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pypdf import PdfReader
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.models import User
from bookings.models import Booking, Product
from bookings.services.access import manage_url
from bookings.services.cancel import cancel, preview_cancellation
from bookings.services.quote import price_stay
from bookings.tests.world import DAY, NOW, add_rule, make_product
from foundation.money import Money
from payments.gateways import gateway_for, offered
from payments.models import Document, LedgerEntry, Payment, Refund
from payments.paper import receipt
from payments.services import refund
from payments.services.checkout import NotOffered
from payments.services.settle import settle
from payments.tests.world import approve, checkout, held_booking, pay, provider

pytestmark = pytest.mark.django_db(transaction=True)

ZONES = {"JPY": ("NRT", "Asia/Tokyo"), "KWD": ("KWI", "Asia/Kuwait"), "USD": ("JFK", "America/New_York")}


@pytest.fixture(autouse=True)
def books_are_right() -> Any:
    yield
    call_command("audit_books")


def product_in(currency: str, daily_minor: int) -> Product:
    iata, zone = ZONES.get(currency, ("ZRH", "Europe/Zurich"))
    return make_product(capacity=9, iata=iata, timezone=zone, currency=currency, daily_minor=daily_minor)


def paid(product: Product, through: str) -> tuple[Booking, Payment]:
    booking = held_booking(product, days=2)
    session = checkout(booking, provider=through)
    if through == "stripe":
        assert pay(session) == 200
    else:
        approve(session)
    payment = settle(session.payment.pk)
    assert payment.status == "captured"
    booking.refresh_from_db()
    return booking, payment


def staff() -> APIClient:
    user = User.objects.create_user("sam@staff.example", "rather-long-Secret-7", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(codename__in=["refund_payment", "view_payment", "view_refund"])
    )
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {accounts.issue_tokens(user).access}")
    return client


def give_back(client: APIClient, payment: Payment, amount: Any, key: str = "k") -> Any:
    body = {"paymentId": str(payment.pk), "amount": amount, "reason": "rain"}
    return client.post("/api/payments/refund", body, format="json", headers={"Idempotency-Key": key})


def booked(account: str, currency: str) -> int:
    rows = LedgerEntry.objects.filter(account=account, currency=currency)
    return sum(rows.values_list("amount_minor", flat=True))


def paper(document: Document) -> str:
    text = "\n".join(page.extract_text() for page in PdfReader(BytesIO(receipt.render(document))).pages)
    return re.sub(r"\s+", " ", text)


CASES = [
    # currency, price of a day in minor units, provider, a part in major units, the same in minor units, one unit too fine
    ("JPY", 1501, "stripe", "777", 777, "0.5"),
    ("JPY", 1501, "paypal", "777", 777, "0.5"),
    ("USD", 1001, "stripe", "7.77", 777, "0.001"),
    ("USD", 1001, "paypal", "7.77", 777, "0.001"),
    ("KWD", 5120, "stripe", "1.230", 1230, "0.0001"),
]


@pytest.mark.parametrize(("currency", "daily", "through", "part", "part_minor", "too_fine"), CASES)
def test_every_amount_is_exact_from_the_price_to_the_credit_note(
    sandbox: Any, currency: str, daily: int, through: str, part: str, part_minor: int, too_fine: str
) -> None:
    booking, payment = paid(product_in(currency, daily), through)
    total = booking.total_minor
    assert total == daily * (total // daily)
    assert (payment.captured_minor, payment.currency) == (total, currency)
    theirs = sandbox.get("/ledger.json")["balances"][currency.lower()]
    assert theirs["net"] == booked("provider_balance", currency)
    if through == "stripe":
        intent = provider().v1.payment_intents.retrieve(payment.provider_ref or "")
        assert (intent.amount_received, intent.currency) == (total, currency.lower())
    client = staff()
    for odd in (too_fine, f"-{part}", "0", 2**63, "1e309", "NaN"):
        assert give_back(client, payment, odd, key=f"odd{odd}").status_code == 400
    assert not Refund.objects.exists()
    answer = give_back(client, payment, part)
    assert (answer.status_code, answer.json()["amount"]) == (202, part)
    row = Refund.objects.get()
    assert refund.send_refund(row.pk).status == "succeeded"
    assert row.amount_minor == part_minor
    assert booked("customer_refunds", currency) == part_minor
    theirs = sandbox.get("/ledger.json")["balances"][currency.lower()]
    assert theirs["net"] == booked("provider_balance", currency)
    listed = client.get(f"/api/payments/transactions/{payment.pk}").json()
    assert listed["amount"] == Money(total, currency).to_major()
    assert Money.from_major(listed["amount"], currency).amount_minor == total
    for kind, minor in (("receipt", total), ("credit_note", part_minor)):
        document = Document.objects.get(kind=kind)
        assert document.total_minor == minor
        assert Money(minor, currency).to_major() in paper(document).replace(",", "").replace(" ", " ")
    page = Client().get(manage_url(booking), follow=True).content.decode()
    for amount in (Money(total, currency), Money(part_minor, currency)):
        assert amount.format("en") in page.replace("&nbsp;", "\xa0")
    again = give_back(client, payment, Money(total - part_minor, currency).to_major(), key="rest")
    assert again.status_code == 202
    assert refund.send_refund(again.json()["refundId"]).status == "succeeded"
    payment.refresh_from_db()
    assert (payment.refunded_minor, payment.refundable.amount_minor) == (total, 0)


def test_a_price_in_three_decimals_is_rounded_once_to_what_cards_can_pay(sandbox: Any) -> None:
    product = product_in("KWD", 5123)
    add_rule(product, "length_of_stay", "-7.5", min_days=1)
    priced = price_stay(product, start_at=NOW + 2 * DAY, end_at=NOW + 4 * DAY, now=NOW)
    assert priced.total.amount_minor % 10 == 0
    assert sum(line["amount_minor"] for line in priced.lines) == priced.total.amount_minor
    assert priced.lines[-1]["rule"] == "rounding"
    assert abs(priced.lines[-1]["amount_minor"]) <= 5
    booking, payment = paid(product, "stripe")
    assert payment.captured_minor == booking.total_minor
    odd = give_back(staff(), payment, "1.005")
    assert odd.status_code == 400
    assert "0.010" in odd.json()["errors"][0]["message"]
    assert not Refund.objects.exists()


def test_half_of_a_price_in_three_decimals_can_be_given_back(sandbox: Any) -> None:
    product = product_in("KWD", 5110)
    product.policy.tiers.all().delete()
    product.policy.tiers.create(notice_hours=1, refund_percent=50)
    booking, payment = paid(product, "stripe")
    now = timezone.now()
    preview = preview_cancellation(booking, now=now)
    assert preview.refund.amount_minor % 10 == 0
    assert sum(line["amount_minor"] for line in preview.lines) == preview.refund.amount_minor
    cancelled = cancel(booking, preview_token=preview.token, now=now)
    (row,) = refund.refund_cancellation(cancelled.pk)
    assert refund.send_refund(row.pk).status == "succeeded"
    payment.refresh_from_db()
    assert payment.refunded_minor == preview.refund.amount_minor


def test_paypal_is_not_offered_for_what_it_does_not_take(sandbox: Any) -> None:
    product = product_in("KWD", 5120)
    booking = held_booking(product)
    assert offered(booking.total) == ["stripe"]
    with pytest.raises(NotOffered):
        checkout(booking, provider="paypal")
    client = Client()
    page = client.get(manage_url(booking), follow=True)
    page = client.get(reverse("payments:pay", args=[booking.reference]))
    assert page.status_code == 200
    assert reverse("payments:paypal", args=[booking.reference]) not in page.content.decode()
    assert client.post(reverse("payments:paypal", args=[booking.reference])).status_code == 302
    assert not Payment.objects.filter(provider="paypal").exists()


@pytest.mark.parametrize(
    ("amount", "providers"),
    [
        (Money(500, "JPY"), {"stripe", "paypal"}), (Money(5120, "KWD"), {"stripe"}), (Money(5125, "KWD"), set()),
        (Money(100_050, "HUF"), {"stripe"}), (Money(100_100, "HUF"), {"stripe", "paypal"}), (Money(1050, "USD"), {"stripe", "paypal"}),
        # Our tables and Stripe's count other decimals here: the same integer would be another amount.
        (Money(500, "ISK"), set()), (Money(500, "UGX"), set()), (Money(500, "ALL"), set()),
    ],
)  # fmt: skip
def test_what_each_provider_can_name(amount: Money, providers: set[str]) -> None:
    assert set(offered(amount)) == providers
    assert {name for name in ("stripe", "paypal") if gateway_for(name).can_move(amount)} == providers


def test_a_currency_that_nobody_takes_is_said_so_and_asks_no_provider(sandbox: Any) -> None:
    booking = held_booking(product_in("ISK", 5000))
    client = Client()
    client.get(manage_url(booking), follow=True)
    page = client.get(reverse("payments:pay", args=[booking.reference]))
    assert page.status_code == 503
    assert "does not take this amount or currency" in page.content.decode()
    assert not Payment.objects.exists()
    assert sandbox.get("/ledger.json")["charges"] == []
