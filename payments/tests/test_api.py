"""Paying and refunding as a program does it, against the sandbox."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import services
from accounts.models import User
from bookings.models import Booking
from bookings.services.cancel import cancel, preview_cancellation
from bookings.tests.world import hold, make_product
from foundation.models import AuditEntry, IdempotencyRecord
from payments.models import Payment, PaymentStatus, Refund


def _user(name: str, *, staff: bool = False, may: tuple[str, ...] = ()) -> User:
    user = User.objects.create_user(
        f"{name}@example.com", "rather-long-Secret-7", name=name.title(), is_staff=staff
    )
    user.user_permissions.set(Permission.objects.filter(codename__in=may, content_type__app_label="payments"))
    return user


def _signed_in(user: User) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {services.issue_tokens(user).access}")
    return client


class Shop:
    """Ada's held booking of 30.00 USD, and the people around it."""

    def __init__(self) -> None:
        self.ada, self.ben = _user("ada"), _user("ben")
        now = timezone.now()
        product = make_product(capacity=9, iata="JFK", timezone="America/New_York", currency="USD")
        placed = hold(
            product, start=now + timedelta(days=40), days=2, now=now, user=self.ada, email="ada@example.com"
        )
        self.booking, self.guest_token = placed.booking, placed.guest_token
        self.price = self.booking.total.to_major()

    def paid(self) -> Payment:
        """A captured payment, as settle leaves it."""
        now = timezone.now()
        Booking.objects.filter(pk=self.booking.pk).update(status="confirmed", confirmed_at=now)
        payment = Payment.objects.create(
            booking=self.booking, user=self.ada, provider="stripe", provider_ref=f"pi_{uuid.uuid4().hex}",
            status=PaymentStatus.CREATED, amount_minor=self.booking.total_minor, currency="USD",
            idempotency_key=uuid.uuid4().hex,
        )  # fmt: skip
        payment.status = PaymentStatus.SUBMITTED
        payment.save()
        payment.status, payment.captured_minor, payment.captured_at = (
            PaymentStatus.CAPTURED,
            payment.amount_minor,
            now,
        )
        payment.save()
        return payment


@pytest.fixture
def shop(transactional_db: None) -> Shop:
    return Shop()


def _intent(client: APIClient, shop: Shop, key: str | None = "k1", guest: str = "", **body: Any) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    if guest:
        headers["X-Guest-Token"] = guest
    text = json.dumps({"bookingId": shop.booking.reference, **body})
    return client.post("/api/payments/create-intent", text, content_type="application/json", headers=headers)


def _refund(client: APIClient, payment: Payment, key: str | None = "r1", **body: Any) -> Any:
    return client.post(
        "/api/payments/refund",
        {"paymentId": str(payment.pk), "reason": "Rain", **body},
        format="json",
        headers={"Idempotency-Key": key} if key else {},
    )


def test_the_owner_starts_paying_at_our_price_and_a_repeat_is_the_same(shop: Shop, sandbox: Any) -> None:
    ada = _signed_in(shop.ada)
    first = _intent(ada, shop, amount=shop.price, currency="usd")
    assert first.status_code == 201, first.content
    body = first.json()
    assert (body["amount"], body["currency"], body["provider"]) == (shop.price, "USD", "stripe")
    assert body["paymentIntentId"].startswith("pi_")
    assert body["clientSecret"].startswith(body["paymentIntentId"])
    assert _intent(ada, shop, amount=shop.price, currency="usd").content == first.content
    assert Payment.objects.count() == 1


def test_without_a_key_repeats_share_the_live_payment_and_nothing_is_remembered(
    shop: Shop, sandbox: Any
) -> None:
    ada = _signed_in(shop.ada)
    first = _intent(ada, shop, key=None, amount=float(shop.price), currency="USD")
    again = _intent(ada, shop, key=None)
    assert first.status_code == again.status_code == 201, first.content
    assert first.json()["paymentId"] == again.json()["paymentId"]
    assert not IdempotencyRecord.objects.exists()


def test_the_guest_token_pays(shop: Shop, sandbox: Any) -> None:
    answer = _intent(APIClient(), shop, guest=shop.guest_token)
    assert answer.status_code == 201, answer.content


@pytest.mark.parametrize("amount", ["0.01", 1, "29.99", 5000])
def test_another_amount_is_refused_with_the_right_one(shop: Shop, amount: Any) -> None:
    answer = _intent(_signed_in(shop.ada), shop, amount=amount)
    assert (answer.status_code, answer.json()["code"]) == (422, "amount_mismatch")
    assert (answer.json()["expectedAmount"], answer.json()["expectedCurrency"]) == (shop.price, "USD")
    assert not Payment.objects.exists()
    assert not IdempotencyRecord.objects.exists()


def test_another_currency_is_refused(shop: Shop) -> None:
    answer = _intent(_signed_in(shop.ada), shop, amount=shop.price, currency="EUR")
    assert (answer.status_code, answer.json()["code"]) == (422, "currency_mismatch")


@pytest.mark.parametrize(
    "amount",
    [
        "NaN",
        "sNaN",
        "Infinity",
        "-1",
        -50,
        "0",
        0,
        "0.001",
        "1e309",
        "9" * 39,
        2**63,
        "1e-400",
        "",
        "x",
        True,
        [],
        {},
        "\uff11\uff10",
    ],
)
def test_amounts_that_are_none_are_refused_and_leave_no_row(shop: Shop, amount: Any) -> None:
    answer = _intent(_signed_in(shop.ada), shop, amount=amount)
    assert answer.status_code == 400, answer.content
    assert answer.json()["errors"][0]["field"] == "amount"
    assert not Payment.objects.exists()


@pytest.mark.parametrize("literal", [b"NaN", b"Infinity", b"1e309", b"1e99999999999", b"-0.0", b"9" * 5000])
def test_number_literals_beyond_reason_are_refused(shop: Shop, literal: bytes) -> None:
    body = b'{"bookingId": "%s", "amount": %s}' % (shop.booking.reference.encode(), literal)
    answer = _signed_in(shop.ada).post("/api/payments/create-intent", body, content_type="application/json")
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "extra", [{"status": "captured"}, {"amount_minor": 1}, {"capturedAmount": "1"}, {"provider": "cash"}]
)
def test_what_the_payer_may_not_set_is_refused(shop: Shop, extra: dict[str, Any]) -> None:
    assert _intent(_signed_in(shop.ada), shop, **extra).status_code == 400


@pytest.mark.parametrize("reference", ["AP-ZZZZZZ", "", "x" * 33, "a\u0000b", "\ud800", 7, None, ["x"]])
def test_no_booking_id_breaks_anything(shop: Shop, reference: Any) -> None:
    for key in ("k1", None):
        assert _intent(_signed_in(shop.ada), shop, key=key, bookingId=reference).status_code in {400, 404}


@pytest.mark.parametrize("key", ["é", "x" * 256, " \x7f"])
def test_a_bad_key_is_refused(shop: Shop, key: str) -> None:
    answer = _intent(_signed_in(shop.ada), shop, key=key)
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_required")


def test_another_persons_booking_payment_and_transaction_do_not_exist(shop: Shop) -> None:
    payment = shop.paid()
    ben, nobody = _signed_in(shop.ben), APIClient()
    assert _intent(ben, shop).status_code == 404
    assert _intent(nobody, shop).status_code == 401
    assert _intent(nobody, shop, guest="0" * 64).status_code == 404
    body = {"paymentIntentId": payment.provider_ref}
    assert ben.post("/api/payments/confirm-stripe", body, format="json").status_code == 404
    assert nobody.post("/api/payments/confirm-stripe", body, format="json").status_code == 401
    assert _refund(ben, payment).status_code == 404
    assert ben.get(f"/api/payments/transactions/{payment.pk}").status_code == 404
    assert ben.get("/api/payments/transactions").json()["results"] == []
    for verb in ("put", "patch", "delete", "post"):
        assert getattr(ben, verb)(f"/api/payments/transactions/{payment.pk}").status_code == 405


def test_the_owner_cannot_refund_a_booking_that_stands(shop: Shop) -> None:
    answer = _refund(_signed_in(shop.ada), shop.paid())
    assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")
    assert "/cancellation" in answer.json()["detail"]
    assert not Refund.objects.exists()


def test_the_owner_gets_what_the_policy_gives_and_no_other_amount(shop: Shop) -> None:
    payment = shop.paid()
    booking = Booking.objects.get(pk=shop.booking.pk)
    now = timezone.now()
    due = cancel(
        booking, preview_token=preview_cancellation(booking, now=now).token, now=now, requested_by=shop.ada
    )
    ada = _signed_in(shop.ada)
    assert _refund(ada, payment, key="a", amount="1.00").status_code == 403
    given = _refund(ada, payment, key="b")
    assert given.status_code == 202, given.content
    assert _refund(ada, payment, key="c").json()["refundId"] == given.json()["refundId"]
    assert Refund.objects.get().amount_minor == due.refund_minor


def test_staff_refund_only_with_the_permission_and_refusals_are_audited(shop: Shop) -> None:
    payment = shop.paid()
    vic = _user("vic", staff=True, may=("view_payment",))
    assert _refund(_signed_in(vic), payment).status_code == 403
    assert AuditEntry.objects.filter(actor=vic, action="payment.refund_refused").count() == 1
    sam = _signed_in(_user("sam", staff=True, may=("view_payment", "refund_payment")))
    assert _refund(sam, payment, key=None).json()["code"] == "idempotency_key_required"
    part = _refund(sam, payment, amount="10.00")
    assert part.status_code == 202, part.content
    assert part.json()["amount"] == "10.00"
    assert _refund(sam, payment, amount="10.00").content == part.content
    trail = AuditEntry.objects.get(action="refund.requested")
    assert (trail.subject, trail.data["refund"]) == (f"payment:{payment.pk}", part.json()["refundId"])
    other = _refund(sam, payment, amount="11.00")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    too_much = _refund(sam, payment, key="r2", amount="9999.00")
    assert too_much.status_code == 409, too_much.content
    assert Refund.objects.count() == 1


def test_transactions_are_newest_first_filtered_and_paged_both_ways(shop: Shop) -> None:
    payment = shop.paid()
    sam = _signed_in(_user("sam", staff=True, may=("view_payment", "refund_payment")))
    refunds = [
        _refund(sam, payment, key=f"r{number}", amount="1.00").json()["refundId"] for number in range(3)
    ]
    expected = [*reversed(refunds), str(payment.pk)]
    listed = sam.get("/api/payments/transactions").json()["results"]
    assert [row["id"] for row in listed] == expected
    assert [row["kind"] for row in listed] == ["refund"] * 3 + ["payment"]
    first = sam.get("/api/payments/transactions", {"pageSize": 2}).json()
    assert first["previous"] is None
    second = sam.get(first["next"]).json()
    assert [row["id"] for row in first["results"] + second["results"]] == expected
    assert second["next"] is None
    assert sam.get(second["previous"]).json()["results"] == first["results"]
    today = timezone.now().date().isoformat()
    for query, count in [
        ({"kind": "payment"}, 1), ({"bookingId": shop.booking.reference}, 4), ({"bookingId": "AP-ZZZZZZ"}, 0),
        ({"from": today, "to": today}, 4), ({"from": "2099-01-01"}, 0), ({"to": "2020-01-01T00:00:00Z"}, 0),
    ]:  # fmt: skip
        assert len(sam.get("/api/payments/transactions", query).json()["results"]) == count, query
    mine = _signed_in(shop.ada).get(f"/api/payments/transactions/{payment.pk}").json()
    assert (mine["bookingId"], mine["status"], mine["amount"]) == (
        shop.booking.reference,
        "captured",
        shop.price,
    )


@pytest.mark.parametrize(
    "query",
    [{"from": "yesterday"}, {"from": "2026-07-01T10:00"}, {"to": "9999-12-31"}, {"cursor": "x"}, {"cursor": "bnwxfDE"},
     {"kind": "gift"}, {"pageSize": "0"}, {"pageSize": "9" * 40}, {"user": "1"}, {"from": "2026-13-45"},
     {"from": "0001-01-01T00:00:00+23:59"}, {"to": "9999-12-31T23:59:59-23:59"},
     {"cursor": "bnwwMDAxLTAxLTAxVDAwOjAwOjAwKzIzOjU5fDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw"}],
)  # fmt: skip
def test_bad_filters_are_named(shop: Shop, query: dict[str, str]) -> None:
    answer = _signed_in(shop.ada).get("/api/payments/transactions", query)
    assert answer.status_code == 400, answer.content
    assert answer.json()["errors"][0]["field"] == next(iter(query))
