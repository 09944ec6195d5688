"""What every gateway promises, asked of each over the sandbox's wire."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from bookings.models import Booking
from bookings.tests.world import make_product
from foundation.money import Money
from payments.gateways import gateway_for
from payments.gateways.base import Gateway, Gone, OutcomeUnknown, Unavailable
from payments.models import Payment, Refund
from payments.services.settle import settle
from payments.tests.world import approve, checkout, held_booking, pay

pytestmark = pytest.mark.django_db(transaction=True)

CREATE = {"stripe": "stripe.payment_intents.create", "paypal": "paypal.orders.create"}
FETCH = {"stripe": "stripe.payment_intents.retrieve", "paypal": "paypal.orders.get"}
REFUND = {"stripe": "stripe.refunds.create", "paypal": "paypal.captures.refund"}
UNKNOWN_REF = {"stripe": "pi_1000000000000000000000000", "paypal": "0AA00000AA0000000"}


@pytest.fixture(params=["stripe", "paypal"])
def provider(request: pytest.FixtureRequest, sandbox: Any) -> str:
    return str(request.param)


@pytest.fixture
def gateway(provider: str) -> Gateway:
    return gateway_for(provider)


def submitted(provider: str, **more: Any) -> Payment:
    """A payment that is committed and not yet known to the provider."""
    booking = held_booking(**more)
    payment = Payment(
        booking=booking, provider=provider, amount_minor=booking.total_minor, currency=booking.currency
    )
    payment.idempotency_key = str(payment.pk)
    payment.save(force_insert=True)
    payment.status, payment.submitted_at = "submitted", timezone.now()
    payment.save()
    return payment


def paid(provider: str, **more: Any) -> Payment:
    session = checkout(held_booking(**more), provider=provider)
    _agree(session)
    payment = settle(session.payment.pk)
    assert payment.status == "captured"
    return payment


def _agree(session: Any) -> None:
    if session.approve_url:
        assert approve(session)
    else:
        assert pay(session) == 200


def requested(payment: Payment, amount_minor: int) -> Refund:
    return Refund.objects.create(
        payment=payment, amount_minor=amount_minor, currency=payment.currency, source="staff"
    )


def test_creating_twice_makes_one_payment(provider: str, gateway: Gateway) -> None:
    payment = submitted(provider)
    first, second = (gateway.create_payment(payment, customer_ref="") for _time in range(2))
    assert first.ref == second.ref
    assert (first.status, first.amount_minor, first.currency, first.our_id, first.captured_minor) == (
        "requires_action",
        payment.amount_minor,
        payment.currency,
        str(payment.pk),
        0,
    )


def test_a_lost_answer_is_an_unknown_outcome_and_the_repeat_finds_the_first(
    provider: str, gateway: Gateway, sandbox: Any
) -> None:
    payment = submitted(provider)
    sandbox.post("/faults", {"operation": CREATE[provider], "behaviour": "do_then_reset", "times": 1})
    with pytest.raises(OutcomeUnknown):
        gateway.create_payment(payment, customer_ref="")
    again = gateway.create_payment(payment, customer_ref="")
    assert again.ref == gateway.create_payment(payment, customer_ref="").ref


def test_a_call_while_the_first_still_runs_is_an_unknown_outcome(
    provider: str, gateway: Gateway, sandbox: Any
) -> None:
    """Stripe answers 409 to the second of two calls with one key. The first may yet succeed, so nothing is refused."""
    payment = submitted(provider)
    sandbox.post("/faults", {"operation": CREATE[provider], "behaviour": "slow", "seconds": 4, "times": 1})
    outcomes: list[str] = []

    def create() -> None:
        try:
            outcomes.append(gateway.create_payment(payment, customer_ref="").ref)
        except OutcomeUnknown:
            outcomes.append("unknown")
        finally:
            connection.close()

    racers = [threading.Thread(target=create) for _ in range(3)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert len(outcomes) == 3
    assert len(set(outcomes) - {"unknown"}) == 1
    if provider == "stripe":  # PayPal lets the repeat wait for the first.
        assert "unknown" in outcomes


@pytest.mark.parametrize("status", [401, 403, 429])
def test_being_refused_is_unavailable_and_the_next_call_goes_through(
    provider: str, gateway: Gateway, sandbox: Any, status: int
) -> None:
    payment = submitted(provider)
    sandbox.post(
        "/faults", {"operation": CREATE[provider], "behaviour": "refuse", "status": status, "times": 1}
    )
    with pytest.raises(Unavailable):
        gateway.create_payment(payment, customer_ref="")
    assert gateway.create_payment(payment, customer_ref="").status == "requires_action"


def test_a_look_that_is_not_answered_is_unavailable(provider: str, gateway: Gateway, sandbox: Any) -> None:
    made = gateway.create_payment(submitted(provider), customer_ref="")
    sandbox.post("/faults", {"operation": FETCH[provider], "behaviour": "refuse", "status": 503, "times": 1})
    with pytest.raises(Unavailable):
        gateway.fetch_payment(made.ref)


def test_what_the_provider_does_not_know_is_gone(provider: str, gateway: Gateway) -> None:
    with pytest.raises(Gone):
        gateway.fetch_payment(UNKNOWN_REF[provider])


def test_no_call_is_made_inside_a_transaction(provider: str, gateway: Gateway) -> None:
    payment = submitted(provider)
    with transaction.atomic(), pytest.raises(RuntimeError, match="inside a transaction"):
        gateway.create_payment(payment, customer_ref="")


def test_a_cancelled_payment_is_cancelled_and_takes_nothing(
    provider: str, gateway: Gateway, sandbox: Any
) -> None:
    made = gateway.create_payment(submitted(provider), customer_ref="")
    assert gateway.cancel_payment(made.ref).status == "cancelled"
    assert sandbox.get("/ledger.json")["balances"] == {}


def test_a_paid_payment_cannot_be_cancelled_and_says_so(provider: str, gateway: Gateway) -> None:
    payment = paid(provider)
    assert gateway.cancel_payment(payment.provider_ref or "").status == "captured"


def test_a_paid_payment_tells_amount_fee_and_method(provider: str, gateway: Gateway) -> None:
    payment = paid(provider)
    truth = gateway.fetch_payment(payment.provider_ref or "")
    assert (truth.status, truth.captured_minor) == ("captured", payment.amount_minor)
    assert truth.fee_minor > 0
    assert truth.fee_currency == payment.currency
    assert "•••" in truth.method_label


def test_a_refund_sent_twice_is_one_and_carries_our_id(provider: str, gateway: Gateway) -> None:
    refund = requested(paid(provider), 700)
    first, second = gateway.refund(refund), gateway.refund(refund)
    assert (first.ref, first.amount_minor, first.our_id) == (second.ref, 700, str(refund.pk))
    found = gateway.find_refund(refund.payment.provider_ref or "", str(refund.pk))
    assert found is not None
    assert found.ref == first.ref


def test_a_refund_that_was_done_and_then_broke_is_found(
    provider: str, gateway: Gateway, sandbox: Any
) -> None:
    refund = requested(paid(provider), 700)
    sandbox.post("/faults", {"operation": REFUND[provider], "behaviour": "do_then_500", "times": 1})
    with pytest.raises(OutcomeUnknown):
        gateway.refund(refund)
    assert gateway.find_refund(refund.payment.provider_ref or "", str(refund.pk)) is not None


def test_yen_have_no_decimals_anywhere(provider: str, gateway: Gateway, sandbox: Any) -> None:
    product = make_product(iata="NRT", timezone="Asia/Tokyo", currency="JPY", daily_minor=1500)
    payment = paid(provider, product=product)
    assert payment.captured_minor == payment.amount_minor == 6000
    refund = gateway.refund(requested(payment, 501))
    assert (refund.amount_minor, refund.currency) == (501, "JPY")
    (charge,) = sandbox.get("/ledger.json")["charges"]
    assert (charge["captured_minor"], charge["currency"]) == (6000, "jpy")


def test_settling_in_parallel_takes_the_money_once(provider: str, sandbox: Any) -> None:
    session = checkout(held_booking(), provider=provider)
    _agree(session)
    together = threading.Barrier(2)

    def look() -> None:
        try:
            together.wait()
            settle(session.payment.pk)
        finally:
            connection.close()

    threads = [threading.Thread(target=look) for _number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert Payment.objects.get().status == "captured"
    assert Booking.objects.get().status == "confirmed"
    assert len(sandbox.get("/ledger.json")["charges"]) == 1


@pytest.mark.parametrize(
    ("amount", "taken"),
    [
        (Money(1050, "EUR"), True),
        (Money(1050, "JPY"), True),
        (Money(105000, "HUF"), True),
        (Money(105050, "HUF"), False),
        (Money(1050, "KWD"), False),
    ],
    ids=str,
)
def test_paypal_takes_what_it_can_take_exactly(amount: Money, taken: bool) -> None:
    assert gateway_for("paypal").takes(amount) is taken
