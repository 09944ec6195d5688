"""Paying for a change of a booking, and giving back money that came in several payments."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from bookings.models import Amendment, Booking, Cancellation, Product
from bookings.services.access import with_places
from bookings.services.amend import Change, amend, preview_amendment
from bookings.services.cancel import cancel, preview_cancellation
from bookings.services.lapse import expire_amendment
from bookings.tests.world import hold, make_product
from communications.models import Message
from payments.models import Document, Payment, Refund
from payments.queries import documents_for_message
from payments.services import janitor, refund
from payments.services.checkout import AlreadyPaid, ChangeExpired, PaymentInDoubt, withdraw
from payments.services.settle import settle
from payments.tests.world import approve, checkout, held_booking, pay

pytestmark = pytest.mark.django_db(transaction=True)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def books_are_right() -> Any:
    """The oracle after every journey."""
    yield
    call_command("audit_books")


def again(booking: Booking) -> Booking:
    return with_places().get(pk=booking.pk)


def paid_booking(product: Product | None = None, *, provider: str = "stripe", **more: Any) -> Booking:
    booking = held_booking(product, **more)
    pay_due(booking, provider=provider)
    return again(booking)


def pay_due(booking: Booking, *, provider: str = "stripe") -> Payment:
    """Pay whatever the booking has to pay now, as the customer does."""
    session = checkout(again(booking), provider=provider)
    if provider == "stripe":
        assert pay(session) == 200
    else:
        approve(session)
    return settle(session.payment.pk)


def extend(booking: Booking, days: int = 1) -> Amendment:
    return change(booking, end_at=again(booking).end_at + days * DAY)


def change(booking: Booking, **what: Any) -> Amendment:
    booking, now = again(booking), timezone.now()
    token = preview_amendment(booking, Change(**what), now=now).token
    amendment = amend(booking, preview_token=token, now=now)
    assert amendment is not None
    return amendment


def call_off(booking: Booking) -> Cancellation:
    booking, now = again(booking), timezone.now()
    done = cancel(booking, preview_token=preview_cancellation(booking, now=now).token, now=now)
    refund.refund_cancellation(done.pk)
    return done


def send_all() -> None:
    for row in Refund.objects.filter(status="requested").order_by("created_at"):
        refund.send_refund(row.pk)


def expire_change(amendment: Amendment) -> None:
    with connection.cursor() as cursor:  # the row is fixed at birth; only the clock may pass
        cursor.execute("ALTER TABLE bookings_amendment DISABLE TRIGGER bookings_amendment_fixed")
        cursor.execute(
            "UPDATE bookings_amendment SET hold_expires_at = now() - interval '1 second' WHERE id = %s",
            [amendment.pk],
        )
        cursor.execute("ALTER TABLE bookings_amendment ENABLE TRIGGER bookings_amendment_fixed")


def janitor_round() -> None:
    past = timezone.now() - timedelta(minutes=5)
    Payment.objects.update(created_at=past, submitted_at=past, last_checked_at=past)
    Refund.objects.update(created_at=past)
    janitor.sweep(now=timezone.now())


def told(kind: str, channel: str = "email") -> int:
    return Message.objects.filter(kind=kind, channel=channel).count()


def parts() -> list[tuple[str, int, str]]:
    return sorted(Refund.objects.values_list("payment__provider", "amount_minor", "source"))


# Paying for a change


def test_the_difference_is_paid_and_the_change_made_in_one_commit(sandbox: Any) -> None:
    booking = paid_booking()
    amendment = extend(booking, 2)
    payment = pay_due(booking)
    for _again in range(3):
        settle(payment.pk)
    booking, amendment = again(booking), Amendment.objects.get()
    assert (payment.amount_minor, payment.amendment_id, amendment.status) == (2000, amendment.pk, "applied")
    assert (booking.total_minor, booking.kept_minor, booking.end_at) == (6000, 6000, amendment.new_end_at)
    assert (told("booking_amended"), told("booking_amended", "sms"), told("payment_confirmation")) == (
        1,
        1,
        2,
    )
    assert told("second_payment_refunded") == 0
    receipt = Document.objects.get(payment=payment)
    assert [line["label"] for line in receipt.content["lines"]] == ["2 more days at £10.00"]
    assert receipt.content["stay"]["end_at"] == amendment.new_end_at.isoformat()
    with pytest.raises(AlreadyPaid):
        checkout(booking)


def test_a_closed_tab_is_settled_by_the_janitor_which_leaves_a_payable_change_alone(sandbox: Any) -> None:
    booking = paid_booking()
    extend(booking)
    session = checkout(booking)
    janitor_round()
    assert Payment.objects.get(pk=session.payment.pk).is_live
    assert pay(session) == 200
    janitor_round()
    assert Amendment.objects.get().status == "applied"


def test_a_declined_card_leaves_the_change_waiting_for_a_good_one(sandbox: Any) -> None:
    booking = paid_booking()
    extend(booking)
    session = checkout(booking)
    assert pay(session, card="pm_card_chargeDeclined") == 402
    assert settle(session.payment.pk).is_live
    assert Amendment.objects.get().status == "held"
    pay_due(booking)
    assert Amendment.objects.get().status == "applied"


def test_an_unpaid_change_lapses_and_its_payment_is_cancelled_at_the_provider(sandbox: Any) -> None:
    booking = paid_booking()
    amendment = extend(booking)
    session = checkout(booking)
    expire_change(amendment)
    with pytest.raises(ChangeExpired):
        checkout(again(booking))
    assert expire_amendment(amendment.pk, now=timezone.now())
    janitor_round()
    assert Payment.objects.get(pk=session.payment.pk).status == "cancelled"
    assert pay(session) == 400
    assert (again(booking).status, again(booking).total_minor) == ("confirmed", 4000)


def test_late_money_makes_the_change_while_there_is_space(sandbox: Any) -> None:
    booking = paid_booking()
    amendment = extend(booking)
    session = checkout(booking)
    expire_change(amendment)
    expire_amendment(amendment.pk, now=timezone.now())
    assert pay(session) == 200
    settle(session.payment.pk)
    assert again(booking).end_at == amendment.new_end_at
    assert Refund.objects.count() == 0


def test_late_money_for_time_that_is_gone_goes_back_and_the_booking_stands(sandbox: Any) -> None:
    booking = paid_booking(make_product(capacity=1))
    amendment = extend(booking)
    session = checkout(booking)
    expire_change(amendment)
    expire_amendment(amendment.pk, now=timezone.now())
    hold(booking.product, start=booking.end_at, days=1, now=timezone.now())
    assert pay(session) == 200
    settle(session.payment.pk)
    send_all()
    booking = again(booking)
    assert parts() == [("stripe", 1000, "late_payment")]
    assert (booking.status, booking.total_minor, booking.kept_minor) == ("confirmed", 4000, 4000)
    assert (told("amendment_not_made"), told("late_payment_refunded"), told("second_payment_refunded")) == (
        1,
        0,
        0,
    )
    assert "£10.00" in Message.objects.filter(kind="amendment_not_made")[0].variables["what_happened_text"]


def test_an_approval_for_a_change_that_cannot_be_made_any_more_is_not_captured(sandbox: Any) -> None:
    booking = paid_booking(make_product(capacity=1))
    amendment = extend(booking)
    session = checkout(booking, provider="paypal")
    expire_change(amendment)
    expire_amendment(amendment.pk, now=timezone.now())
    hold(booking.product, start=booking.end_at, days=1, now=timezone.now())
    approve(session)
    assert settle(session.payment.pk).status == "cancelled"
    assert Payment.objects.get(pk=session.payment.pk).captured_minor == 0


def test_a_pending_payment_of_a_change_that_is_denied_is_told_without_losing_the_booking(
    sandbox: Any,
) -> None:
    booking = paid_booking()
    extend(booking)
    session = checkout(booking, provider="paypal")
    approve(session, buyer="review")
    settle(session.payment.pk)
    assert Payment.objects.get(pk=session.payment.pk).status == "processing"
    assert again(booking).total_minor == 4000
    with pytest.raises(PaymentInDoubt):
        checkout(booking, provider="stripe")
    (taken,) = [one for one in sandbox.get("/ledger.json")["charges"] if one["provider"] == "paypal"]
    sandbox.post(f"/paypal-captures/{taken['id']}", {"status": "DECLINED"})
    assert settle(session.payment.pk).status == "failed"
    assert (again(booking).status, told("amendment_not_made"), told("payment_failed")) == ("confirmed", 1, 0)


def test_both_providers_paid_for_the_change_gives_the_second_back(sandbox: Any) -> None:
    booking = paid_booking()
    extend(booking)
    card = checkout(booking)
    sandbox.post(
        "/faults",
        {"operation": "stripe.payment_intents.cancel", "behaviour": "refuse", "status": 503, "times": 1},
    )
    wallet = checkout(booking, provider="paypal")
    assert pay(card) == 200
    approve(wallet)
    settle(wallet.payment.pk)
    withdraw(Payment.objects.get(pk=card.payment.pk))
    send_all()
    assert parts() == [("stripe", 1000, "late_payment")]
    assert (told("second_payment_refunded"), told("amendment_not_made")) == (1, 0)
    assert (again(booking).total_minor, again(booking).kept_minor) == (5000, 5000)


def test_a_new_change_withdraws_the_payment_of_the_first(sandbox: Any) -> None:
    booking = paid_booking()
    extend(booking)
    first = checkout(booking)
    second = extend(booking, 3)
    session = checkout(booking)
    assert (session.payment.amount_minor, session.payment.amendment_id) == (3000, second.pk)
    assert pay(first) == 400
    assert pay(session) == 200
    settle(session.payment.pk)
    assert again(booking).total_minor == 7000


def test_cancelling_while_a_change_is_being_paid_gives_back_both(sandbox: Any) -> None:
    booking = paid_booking()
    extend(booking)
    session = checkout(booking)
    call_off(booking)
    assert pay(session) == 200
    settle(session.payment.pk)
    send_all()
    assert parts() == [("stripe", 1000, "late_payment"), ("stripe", 4000, "customer_cancellation")]
    assert again(booking).kept_minor == 0


def test_the_database_refuses_a_payment_that_is_not_the_change(sandbox: Any) -> None:
    booking = paid_booking()
    amendment = extend(booking)
    for wrong in ({"amount_minor": 999}, {"booking": held_booking(booking.product)}):
        with pytest.raises(IntegrityError), transaction.atomic():
            Payment.objects.create(
                **{
                    "booking": booking,
                    "amendment": amendment,
                    "amount_minor": 1000,
                    "currency": "GBP",
                    "idempotency_key": "k",
                    **wrong,
                }
            )


# Money back from several payments


def test_shortening_refunds_the_part_and_says_so_once(sandbox: Any) -> None:
    booking = paid_booking()
    amendment = change(booking, end_at=booking.end_at - 2 * DAY)
    refund.refund_amendment(amendment.pk)
    refund.refund_amendment(amendment.pk)
    send_all()
    booking = again(booking)
    assert parts() == [("stripe", 2000, "amendment")]
    assert (booking.total_minor, booking.kept_minor) == (2000, 2000)
    assert (told("refund_issued"), told("booking_amended")) == (1, 1)
    note = Document.objects.get(kind="credit_note")
    assert [line["label"] for line in note.content["lines"]] == ["2 days less at £10.00"]


def test_the_janitor_asks_for_a_refund_whose_job_was_lost(sandbox: Any) -> None:
    booking = paid_booking()
    change(booking, end_at=booking.end_at - 2 * DAY)
    janitor_round()
    assert parts() == [("stripe", 2000, "amendment")]


@pytest.mark.parametrize("second", ["stripe", "paypal"])
def test_extending_and_cancelling_refunds_both_payments_and_tells_the_whole_once(
    sandbox: Any, second: str
) -> None:
    booking = paid_booking()
    extend(booking, 2)
    pay_due(booking, provider=second)
    done = call_off(booking)
    assert done.refund_minor == 6000
    rows = list(Refund.objects.order_by("amount_minor"))
    assert [row.amount_minor for row in rows] == [2000, 4000]
    refund.send_refund(rows[0].pk)
    assert told("cancellation") == 0  # the other part is still to be sent
    refund.send_refund(rows[1].pk)
    assert [
        message.variables["refund_amount"] for message in Message.objects.filter(kind="cancellation")
    ] == [
        "£60.00",
        "£60.00",
    ]
    assert again(booking).kept_minor == 0
    assert Document.objects.filter(kind="credit_note").count() == 2
    mail = Message.objects.get(kind="cancellation", channel="email")
    papers = documents_for_message(mail.attachment.removeprefix("document:"))
    assert len(papers) == 2, "the mail that tells the sum brings every credit note of it"
    refund.refund_cancellation(done.pk)
    assert Refund.objects.count() == 2


def test_a_part_of_the_refund_comes_from_the_latest_payment_first(sandbox: Any) -> None:
    booking = paid_booking()
    extend(booking, 1)
    pay_due(booking, provider="paypal")
    amendment = change(booking, end_at=again(booking).end_at - 3 * DAY)
    refund.refund_amendment(amendment.pk)
    send_all()
    assert parts() == [("paypal", 1000, "amendment"), ("stripe", 2000, "amendment")]
    assert [message.variables["amount"] for message in Message.objects.filter(kind="refund_issued")] == [
        "£30.00",
        "£30.00",
    ]
    call_off(booking)
    send_all()
    assert again(booking).kept_minor == 0


def test_when_one_part_fails_the_message_tells_what_did_go_back(sandbox: Any) -> None:
    booking = paid_booking()
    extend(booking, 2)
    pay_due(booking, provider="paypal")
    call_off(booking)
    sandbox.post(
        "/faults", {"operation": "stripe.refunds.create", "behaviour": "refuse", "status": 400, "times": 1}
    )
    send_all()
    assert sorted(Refund.objects.values_list("amount_minor", "status")) == [
        (2000, "succeeded"),
        (4000, "failed"),
    ]
    assert {
        message.variables["refund_amount"] for message in Message.objects.filter(kind="cancellation")
    } == {"£20.00"}
    assert told("refund_failed") == 1
    Payment.objects.filter(provider="stripe").update(last_checked_at=timezone.now())


def test_a_cancellation_gives_back_no_more_than_we_hold(sandbox: Any) -> None:
    booking = paid_booking()
    extend(booking, 2)
    payment = pay_due(booking)
    refund.request_refund(payment, amount_minor=1500, reason="goodwill", requested_by=None, source="staff")
    send_all()
    done = call_off(booking)
    send_all()
    assert done.refund_minor == 4500
    assert again(booking).kept_minor == 0


def test_a_second_payment_that_went_back_does_not_lessen_a_cancellation(sandbox: Any) -> None:
    booking = held_booking()
    card = checkout(booking)
    sandbox.post(
        "/faults",
        {"operation": "stripe.payment_intents.cancel", "behaviour": "refuse", "status": 503, "times": 1},
    )
    wallet = checkout(booking, provider="paypal")
    assert pay(card) == 200
    approve(wallet)
    settle(wallet.payment.pk)
    withdraw(Payment.objects.get(pk=card.payment.pk))
    send_all()
    done = call_off(booking)
    send_all()
    assert done.refund_minor == booking.total_minor
    assert parts() == [
        ("paypal", booking.total_minor, "customer_cancellation"),
        ("stripe", booking.total_minor, "late_payment"),
    ]


@pytest.mark.parametrize(("outcome", "sums"), [("won", [2000, 4000]), ("lost", [4000])])
def test_a_dispute_of_one_payment_makes_the_refund_wait_as_a_whole(
    sandbox: Any, outcome: str, sums: list[int]
) -> None:
    booking = paid_booking()
    extend(booking, 2)
    disputed = pay_due(booking)
    sandbox.post("/stripe-disputes", {"payment_intent": disputed.provider_ref})
    disputed = settle(disputed.pk)
    assert disputed.disputed_minor == 2000
    done = call_off(booking)
    assert Refund.objects.count() == 0
    (row,) = disputed.disputes.all()
    sandbox.post(f"/stripe-disputes/{row.provider_ref}", {"status": outcome})
    settle(disputed.pk)
    refund.refund_cancellation(done.pk)
    send_all()
    assert sorted(Refund.objects.values_list("amount_minor", flat=True)) == sums
    assert told("cancellation") == 1
    assert again(booking).kept_minor == 0


def test_yen_in_two_payments(sandbox: Any) -> None:
    product = make_product(capacity=3, iata="HND", timezone="Asia/Tokyo", currency="JPY", daily_minor=1001)
    booking = paid_booking(product)
    first = booking.total_minor
    extend(booking)
    pay_due(booking)
    done = call_off(booking)
    send_all()
    assert (done.refund_minor, Refund.objects.count()) == (first + 1001, 2)


# Races


def together(*acts: Any) -> list[Any]:
    outcomes: list[Any] = [None] * len(acts)
    start = threading.Barrier(len(acts))

    def run(place: int) -> None:
        try:
            start.wait()
            outcomes[place] = acts[place]()
        except BaseException as error:
            outcomes[place] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[place]) for place in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return outcomes


def test_payment_and_expiry_of_a_change_at_once(sandbox: Any) -> None:
    """Whoever is first: the change is made, once, because its space is still free for the late one as well."""
    product = make_product(capacity=3)
    for _round in range(3):
        booking = paid_booking(product)
        amendment = extend(booking)
        session = checkout(booking)
        assert pay(session) == 200
        expire_change(amendment)
        outcomes = together(
            lambda pk=session.payment.pk: settle(pk),
            lambda pk=amendment.pk: expire_amendment(pk, now=timezone.now()),
            lambda pk=session.payment.pk: settle(pk),
        )
        assert not [one for one in outcomes if isinstance(one, BaseException)], outcomes
        amendment.refresh_from_db()
        assert amendment.status == "applied"
        assert again(booking).end_at == amendment.new_end_at
        assert Refund.objects.count() == 0


def test_payment_of_a_change_and_cancellation_at_once_lose_no_money(sandbox: Any) -> None:
    booking = paid_booking()
    extend(booking)
    session = checkout(booking)
    assert pay(session) == 200
    now = timezone.now()
    token = preview_cancellation(again(booking), now=now).token
    mine = again(booking)
    paid, cancelled = together(
        lambda: settle(session.payment.pk), lambda: cancel(mine, preview_token=token, now=now)
    )
    assert not isinstance(paid, BaseException), paid
    if isinstance(cancelled, BaseException):  # the change was faster: the preview is outdated
        cancelled = call_off(booking)
    refund.refund_cancellation(cancelled.pk)
    send_all()
    assert sum(Refund.objects.values_list("amount_minor", flat=True)) == 5000
    assert again(booking).kept_minor == 0


def test_what_a_bank_gave_back_meanwhile_is_not_given_again(sandbox: Any) -> None:
    """Paid twice over by dispute and cancellation: the first payment is lost at the bank, so the second one owes nothing more."""
    booking = paid_booking()
    first = booking.payments.get()
    extend(booking, 1)
    pay_due(booking)
    sandbox.post("/stripe-disputes", {"payment_intent": first.provider_ref})
    settle(first.pk)
    done = call_off(again(booking))
    assert refund.refund_cancellation(done.pk) == []
    (opened,) = first.disputes.all()
    sandbox.post(f"/stripe-disputes/{opened.provider_ref}", {"status": "lost"})
    settle(first.pk)
    janitor_round()
    send_all()
    given = sum(row["amount_minor"] for row in sandbox.get("/ledger.json")["refunds"])
    assert given + opened.amount_minor == done.refund_minor


def test_what_a_bank_gave_back_before_counts_as_given(sandbox: Any) -> None:
    """Half comes back at this notice: 25.00 of 50.00. The bank gave 40.00, so neither cancelling nor shortening gives more."""
    booking = paid_booking()
    first = booking.payments.get()
    extend(booking, 1)
    pay_due(booking)
    sandbox.post("/stripe-disputes", {"payment_intent": first.provider_ref})
    settle(first.pk)
    sandbox.post(f"/stripe-disputes/{first.disputes.get().provider_ref}", {"status": "lost"})
    settle(first.pk)
    booking = again(booking)
    assert (booking.total_minor, booking.kept_minor, booking.taken_back_minor) == (5000, 1000, 4000)
    half_notice = booking.start_at - timedelta(hours=13)
    assert preview_cancellation(booking, now=half_notice).refund.amount_minor == 0
    shorter = preview_amendment(booking, Change(end_at=booking.end_at - 3 * DAY), now=half_notice)
    assert shorter.refund.amount_minor == 0


def test_a_saved_wallet_pays_for_a_change(sandbox: Any) -> None:
    from accounts.models import User
    from payments.services.charge import pay_with_saved
    from payments.tests.test_saved_paypal import saved_wallet

    ada = User.objects.create_user("ada@example.com", "rather-long-Secret-7", name="Ada")
    wallet = saved_wallet(ada)
    booking = paid_booking(user=ada)
    amendment = extend(booking, 1)
    session = pay_with_saved(again(booking), method=wallet, now=timezone.now())
    assert (session.payment.status, session.payment.amendment) == ("captured", amendment)
    amendment.refresh_from_db()
    assert amendment.status == "applied"


def test_a_difference_that_the_card_provider_cannot_take_is_not_offered_there(sandbox: Any) -> None:
    from foundation.money import Money
    from payments.gateways import offered

    assert offered(Money(20, "GBP")) == ["paypal"]
    assert "stripe" in offered(Money(30, "GBP"))
