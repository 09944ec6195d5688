"""A paid hold becomes a booking; a cancellation does what its preview showed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import transaction
from procrastinate.contrib.django.models import ProcrastinateJob

from bookings import queries
from bookings.models import Booking, Cancellation, Product
from bookings.services.cancel import cancel, preview_cancellation
from bookings.services.confirm import confirm, lock_booking
from bookings.services.errors import CarParkFull, NotCancellable, PreviewOutdated
from bookings.services.hold import expire_overdue_holds
from bookings.tests.world import DAY, NOW, hold, make_product
from communications.models import Message
from communications.services import consent
from foundation.transitions import IllegalTransition

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


def confirmed(product: Product, *, start: datetime = NOW + 2 * DAY, now: datetime = NOW) -> Booking:
    placed = hold(product, start=start, now=now)
    with transaction.atomic():
        booking = lock_booking(placed.booking.pk)
        confirm(booking, now=now)
    # Payments keeps this sum; here nobody pays.
    Booking.objects.filter(pk=booking.pk).update(kept_minor=booking.total_minor)
    booking.kept_minor = booking.total_minor
    return booking


def left(product: Product) -> int:
    return queries.spaces_left(product.pool, start_at=NOW + 2 * DAY, end_at=NOW + 5 * DAY)


def test_confirming_twice_confirms_and_writes_once() -> None:
    booking = confirmed(make_product())
    with transaction.atomic():
        confirm(lock_booking(booking.pk), now=NOW + HOUR)
    booking.refresh_from_db()
    assert (booking.status, booking.confirmed_at) == ("confirmed", NOW)
    assert [event.kind for event in queries.timeline(booking)] == ["held", "confirmed"]
    messages = Message.objects.filter(reference=booking.reference, kind="booking_confirmation")
    assert sorted(messages.values_list("channel", flat=True)) == ["email", "sms"]
    email = messages.get(channel="email")
    assert email.to == booking.driver_email
    assert "10:00" in email.variables["drop_off_local"]  # 09:00 UTC on London's summer clock
    assert booking.reference in email.variables["manage_url"]


def test_late_money_gets_the_space_again_if_there_is_one() -> None:
    product = make_product(capacity=1)
    booking = hold(product).booking
    expire_overdue_holds(now=NOW + HOUR)
    with transaction.atomic():
        confirm(lock_booking(booking.pk), now=NOW + HOUR)
    booking.refresh_from_db()
    assert booking.status == "confirmed"
    assert left(product) == 0


def test_late_money_for_a_full_car_park_leaves_the_transaction_usable() -> None:
    product = make_product(capacity=1)
    booking = hold(product).booking
    expire_overdue_holds(now=NOW + HOUR)
    hold(product, now=NOW + HOUR)
    with transaction.atomic():
        locked = lock_booking(booking.pk)
        with pytest.raises(CarParkFull):
            confirm(locked, now=NOW + HOUR)
        assert locked.status == "expired"
        Booking.objects.filter(pk=booking.pk).update(language="en")
    booking.refresh_from_db()
    assert booking.status == "expired"
    assert not Message.objects.filter(reference=booking.reference).exists()


def test_money_for_a_stay_that_is_over_confirms_nothing() -> None:
    booking = hold(make_product()).booking
    expire_overdue_holds(now=NOW + HOUR)
    with transaction.atomic(), pytest.raises(CarParkFull):
        confirm(lock_booking(booking.pk), now=booking.end_at)


def test_a_cancelled_booking_cannot_be_confirmed() -> None:
    booking = confirmed(make_product())
    cancel(booking, preview_token=preview_cancellation(booking, now=NOW).token, now=NOW)
    with transaction.atomic(), pytest.raises(IllegalTransition):
        confirm(lock_booking(booking.pk), now=NOW)


@pytest.mark.parametrize(
    ("notice", "refund"),
    [
        (24 * HOUR, 4000),
        (24 * HOUR - timedelta(seconds=1), 2000),
        (12 * HOUR, 2000),
        (12 * HOUR - timedelta(seconds=1), 0),
        (timedelta(seconds=1), 0),
    ],
)
def test_the_refund_follows_the_notice(notice: timedelta, refund: int) -> None:
    booking = confirmed(make_product())
    preview = preview_cancellation(booking, now=booking.start_at - notice)
    assert preview.refund.amount_minor == refund == sum(line["amount_minor"] for line in preview.lines)


def test_what_was_shown_is_what_happens_even_past_the_boundary() -> None:
    product = make_product(capacity=1)
    booking = confirmed(product)
    boundary = booking.start_at - 24 * HOUR
    preview = preview_cancellation(booking, now=boundary)
    cancellation = cancel(
        booking, preview_token=preview.token, now=boundary + timedelta(minutes=9), reason="ill\x00"
    )
    assert (cancellation.refund, cancellation.lines, cancellation.reason) == (
        preview.refund,
        preview.lines,
        "ill",
    )
    booking.refresh_from_db()
    assert booking.status == "cancelled"
    assert left(product) == 1
    job = ProcrastinateJob.objects.get(task_name="payments.refund_cancellation")
    assert job.args == {"cancellation_id": cancellation.pk}


def test_the_fee_is_taken_off_and_never_more_than_comes_back() -> None:
    product = make_product()
    product.policy.fee_minor, product.policy.currency = 1500, "GBP"
    product.policy.save()
    booking = confirmed(product)
    full = preview_cancellation(booking, now=NOW)
    assert full.refund.amount_minor == 2500 == sum(line["amount_minor"] for line in full.lines)
    nothing = preview_cancellation(booking, now=booking.start_at - HOUR)
    assert nothing.refund.amount_minor == 0 == sum(line["amount_minor"] for line in nothing.lines)


def test_a_policy_edited_later_does_not_touch_the_booking() -> None:
    product = make_product()
    booking = confirmed(product)
    product.policy.tiers.all().delete()
    assert preview_cancellation(booking, now=NOW).refund.amount_minor == 4000


@pytest.mark.parametrize("later", [timedelta(minutes=10), timedelta(minutes=-1)])
def test_an_old_preview_is_not_carried_out(later: timedelta) -> None:
    booking = confirmed(make_product())
    token = preview_cancellation(booking, now=NOW).token
    with pytest.raises(PreviewOutdated):
        cancel(booking, preview_token=token, now=NOW + later)


def test_a_forged_or_borrowed_preview_is_not_carried_out() -> None:
    product = make_product()
    booking, other = confirmed(product), confirmed(product)
    token = preview_cancellation(other, now=NOW).token
    for wrong in (token, "", "x" * 5000, "a:b:c", "\x00", "\ud800", token[:-1]):
        with pytest.raises(PreviewOutdated):
            cancel(booking, preview_token=wrong, now=NOW)
    assert not Cancellation.objects.exists()


def test_a_preview_of_a_hold_is_worthless_once_it_is_paid() -> None:
    placed = hold(make_product())
    token = preview_cancellation(placed.booking, now=NOW).token
    with transaction.atomic():
        confirm(lock_booking(placed.booking.pk), now=NOW)
    with pytest.raises(PreviewOutdated):
        cancel(placed.booking, preview_token=token, now=NOW)


def test_a_hold_can_be_let_go_without_a_refund() -> None:
    product = make_product(capacity=1)
    booking = hold(product).booking
    cancellation = cancel(booking, preview_token=preview_cancellation(booking, now=NOW).token, now=NOW)
    assert cancellation.refund_minor == 0
    assert left(product) == 1
    assert not ProcrastinateJob.objects.filter(task_name="payments.refund_cancellation").exists()
    assert Message.objects.filter(reference=booking.reference, kind="cancellation").count() == 2


def test_cancelling_twice_refunds_once() -> None:
    booking = confirmed(make_product())
    token = preview_cancellation(booking, now=NOW).token
    cancel(booking, preview_token=token, now=NOW)
    stale: Any = Booking.objects.get(pk=booking.pk)
    with pytest.raises(NotCancellable):
        cancel(stale, preview_token=token, now=NOW)
    assert Cancellation.objects.count() == 1


def test_a_stay_that_has_begun_cannot_be_cancelled() -> None:
    booking = confirmed(make_product())
    with pytest.raises(NotCancellable):
        preview_cancellation(booking, now=booking.start_at)


@pytest.mark.parametrize("is_own", [False, True])
def test_a_no_that_stands_is_taken_back_by_its_own_account_only(db: None, is_own: bool) -> None:
    """A stranger may book with anybody's address."""
    placed = hold(make_product(), email="ada@example.com").booking
    user = get_user_model().objects.create_user("ada@example.com" if is_own else "eve@example.com", "x" * 12)
    Booking.objects.filter(pk=placed.pk).update(offers_wording="Send me offers.", user=user)
    now = placed.created_at
    for answer in (True, False):
        consent.record_consent(
            channel="email", address="ada@example.com", is_granted=answer, source="account", now=now
        )
    with transaction.atomic():
        confirm(Booking.objects.select_for_update().get(pk=placed.pk), now=now)
    assert consent.wants_offers(channel="email", address="ada@example.com") is is_own
