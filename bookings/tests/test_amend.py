"""Other times for a booking: priced as a change, held or made at once, and never without its space."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from bookings import queries
from bookings.models import Amendment, Booking, Occupancy, Product
from bookings.services.amend import (
    AmendmentLapsed,
    Change,
    amend,
    apply_amendment,
    could_apply,
    preview_amendment,
)
from bookings.services.cancel import cancel, preview_cancellation, refund_due
from bookings.services.confirm import confirm, lock_booking
from bookings.services.errors import CarParkFull, ChangeOutdated, NotAmendable, NotOnSale, PreviewOutdated
from bookings.services.lapse import expire_overdue_amendments
from bookings.tests.world import DAY, NOW, add_rule, hold, make_product
from communications.models import Message
from foundation.errors import InvalidInput

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)
START, END = NOW + 2 * DAY, NOW + 5 * DAY  # 4 local days: 40.00


def confirmed(product: Product | None = None, *, start: datetime = START, days: float = 3) -> Booking:
    placed = hold(product or make_product(), start=start, days=days)
    with transaction.atomic():
        booking = lock_booking(placed.booking.pk)
        confirm(booking, now=NOW)
    # Payments keeps this sum; here nobody pays.
    Booking.objects.filter(pk=booking.pk).update(kept_minor=booking.total_minor)
    booking.refresh_from_db()
    return lock_free(booking)


def lock_free(booking: Booking) -> Booking:
    from bookings.services.access import with_places

    return with_places().get(pk=booking.pk)


def change(booking: Booking, *, now: datetime = NOW, **what: Any) -> Amendment | None:
    booking = lock_free(booking)
    token = preview_amendment(booking, Change(**what), now=now).token
    return amend(booking, preview_token=token, now=now)


def pay_for(amendment: Amendment, *, now: datetime = NOW) -> None:
    with transaction.atomic():
        apply_amendment(amendment, lock_booking(amendment.booking_id), now=now)


def spaces(product: Product, start: datetime, end: datetime) -> int:
    return queries.spaces_left(product.pool, start_at=start, end_at=end)


def adds_up(booking: Booking) -> bool:
    booking.refresh_from_db()
    return sum(line["amount_minor"] for line in booking.lines) == booking.total_minor


def test_longer_is_held_and_made_when_paid() -> None:
    product = make_product(capacity=1)
    booking = confirmed(product)
    preview = preview_amendment(booking, Change(end_at=END + 2 * DAY), now=NOW)
    assert (preview.difference.amount_minor, preview.new_total.amount_minor) == (2000, 6000)
    assert [line["label"] for line in preview.lines] == ["2 more days at £10.00"]
    amendment = amend(booking, preview_token=preview.token, now=NOW)
    assert amendment is not None
    assert (amendment.status, booking.end_at, booking.total_minor) == ("held", END, 4000)
    assert spaces(product, END, END + 2 * DAY) == 0
    assert spaces(product, END + 2 * DAY, END + 3 * DAY) == 1
    pay_for(amendment)
    booking.refresh_from_db()
    assert (booking.end_at, booking.total_minor, adds_up(booking)) == (END + 2 * DAY, 6000, True)
    assert Occupancy.objects.filter(booking=booking, released_at=None).count() == 1
    assert spaces(product, START, END + 2 * DAY) == 0
    email = Message.objects.get(kind="booking_amended", channel="email")
    assert "£20.00" in email.variables["money_text"]
    assert email.calendar["sequence"] == 1
    assert [event.kind for event in queries.timeline(booking)][-2:] == ["amendment_held", "amended"]


def test_a_stay_that_moves_away_keeps_both_until_paid_and_then_only_the_new_one() -> None:
    product = make_product(capacity=1)
    booking = confirmed(product)
    later = START + 10 * DAY
    amendment = change(booking, start_at=later, end_at=later + 4 * DAY)
    assert amendment is not None
    assert spaces(product, START, END) == 0 == spaces(product, later, later + 4 * DAY)
    assert spaces(product, END, later) == 1
    pay_for(amendment)
    assert spaces(product, START, END) == 1
    assert spaces(product, later, later + 4 * DAY) == 0


def test_what_is_not_paid_in_time_leaves_the_booking_as_it_was() -> None:
    product = make_product(capacity=1)
    booking = confirmed(product)
    amendment = change(booking, end_at=END + DAY)
    assert amendment is not None
    assert expire_overdue_amendments(now=NOW + HOUR) == 1
    amendment.refresh_from_db()
    booking.refresh_from_db()
    assert (amendment.status, booking.status, booking.end_at, booking.total_minor) == (
        "expired",
        "confirmed",
        END,
        4000,
    )
    assert spaces(product, END, END + DAY) == 1
    assert spaces(product, START, END) == 0


def test_late_money_is_seated_again_while_the_extra_time_is_free() -> None:
    product = make_product(capacity=1)
    amendment = change(confirmed(product), end_at=END + DAY)
    assert amendment is not None
    expire_overdue_amendments(now=NOW + HOUR)
    with transaction.atomic():
        assert could_apply(amendment, lock_booking(amendment.booking_id), now=NOW + HOUR)
    pay_for(amendment, now=NOW + HOUR)
    assert spaces(product, END, END + DAY) == 0


def test_late_money_for_extra_time_that_is_gone_changes_nothing() -> None:
    product = make_product(capacity=1)
    booking = confirmed(product)
    amendment = change(booking, end_at=END + DAY)
    assert amendment is not None
    expire_overdue_amendments(now=NOW + HOUR)
    hold(product, start=END, days=1, now=NOW + HOUR)
    with transaction.atomic():
        locked = lock_booking(booking.pk)
        assert not could_apply(amendment, locked, now=NOW + HOUR)
        with pytest.raises(AmendmentLapsed):
            apply_amendment(amendment, locked, now=NOW + HOUR)
        assert (locked.end_at, locked.total_minor) == (END, 4000)
    amendment.refresh_from_db()
    assert amendment.status == "expired"
    assert not Message.objects.filter(kind="booking_amended").exists()


def test_late_money_for_a_booking_that_changed_since_is_refused() -> None:
    booking = confirmed()
    amendment = change(booking, end_at=END + DAY)
    assert amendment is not None
    expire_overdue_amendments(now=NOW + HOUR)
    change(booking, now=NOW + HOUR, end_at=END - DAY)
    with transaction.atomic(), pytest.raises(AmendmentLapsed):
        apply_amendment(amendment, lock_booking(booking.pk), now=NOW + HOUR)


@pytest.mark.parametrize(
    ("notice", "refund", "total"), [(48 * HOUR, 2000, 2000), (13 * HOUR, 1000, 3000), (HOUR, 0, 4000)]
)
def test_shorter_gives_back_what_the_policy_gives_at_this_notice(
    notice: timedelta, refund: int, total: int
) -> None:
    product = make_product(capacity=1)
    booking = confirmed(product)
    amendment = change(booking, now=START - notice, end_at=END - 2 * DAY)
    assert amendment is not None
    booking.refresh_from_db()
    assert (amendment.status, amendment.difference_minor, amendment.refund_minor) == (
        "applied",
        -2000,
        refund,
    )
    assert (booking.end_at, booking.total_minor, adds_up(booking)) == (END - 2 * DAY, total, True)
    assert spaces(product, END - 2 * DAY, END) == 1


@pytest.mark.parametrize("notice", [48 * HOUR, 13 * HOUR, HOUR])
def test_shortening_and_then_cancelling_gives_back_no_more_than_cancelling(notice: timedelta) -> None:
    now = START - notice
    booking = confirmed()
    at_once = refund_due(booking, at=now)[0].amount_minor
    amendment = change(booking, now=now, end_at=END - 2 * DAY)
    assert amendment is not None
    Booking.objects.filter(pk=booking.pk).update(kept_minor=4000 - amendment.refund_minor)
    booking.refresh_from_db()
    rest, lines = refund_due(booking, at=now)
    assert amendment.refund_minor + rest.amount_minor == at_once
    assert sum(line["amount_minor"] for line in lines) == rest.amount_minor


@pytest.mark.parametrize("days_left", [1, 2, 3])
def test_shortening_first_does_not_save_the_cancellation_fee(days_left: int) -> None:
    product = make_product()
    product.policy.fee_minor, product.policy.currency = 1500, "GBP"
    product.policy.save()
    booking = confirmed(product)
    at_once = refund_due(booking, at=NOW)[0].amount_minor
    assert at_once == 2500
    amendment = change(booking, end_at=START + (days_left - 0.5) * DAY)
    assert amendment is not None
    Booking.objects.filter(pk=booking.pk).update(kept_minor=4000 - amendment.refund_minor)
    booking.refresh_from_db()
    assert adds_up(booking)
    assert amendment.refund_minor + refund_due(booking, at=NOW)[0].amount_minor == at_once


def test_moving_the_drop_off_away_buys_no_notice() -> None:
    now = START - 13 * HOUR  # half comes back
    booking = confirmed()
    assert refund_due(booking, at=now)[0].amount_minor == 2000
    change(booking, now=now, start_at=START + 20 * DAY, end_at=END + 20 * DAY)
    booking.refresh_from_db()
    assert booking.total_minor == 4000
    back, lines = refund_due(booking, at=now)
    assert back.amount_minor == 2000 == sum(line["amount_minor"] for line in lines)


def test_moving_and_shortening_at_once_neither_gains_nor_loses_notice() -> None:
    now = START - 13 * HOUR  # half comes back: 20.00 of 40.00
    booking = confirmed()
    amendment = change(booking, now=now, start_at=START + 20 * DAY, end_at=END + 18 * DAY)
    assert amendment is not None
    assert (amendment.difference_minor, amendment.refund_minor) == (-2000, 1000)
    Booking.objects.filter(pk=booking.pk).update(kept_minor=3000)
    booking.refresh_from_db()
    assert refund_due(booking, at=now)[0].amount_minor == 1000


def test_what_was_paid_keeps_its_price_when_prices_rise() -> None:
    product = make_product()
    booking = confirmed(product)
    product.tariff.daily_minor = 3000
    product.tariff.save()
    longer = preview_amendment(lock_free(booking), Change(end_at=END + DAY), now=NOW)
    assert longer.new_total.amount_minor == 4000 + 3000
    shorter = preview_amendment(lock_free(booking), Change(end_at=END - 2 * DAY), now=NOW)
    assert (shorter.refund.amount_minor, shorter.new_total.amount_minor) == (
        2000,
        2000,
    )  # half of what was paid


def test_each_rule_that_begins_or_ends_to_apply_is_a_line() -> None:
    product = make_product()
    add_rule(product, "length_of_stay", "-20", min_days=6)
    booking = confirmed(product)
    preview = preview_amendment(booking, Change(end_at=END + 2 * DAY), now=NOW)
    assert [(line["label"], line["amount_minor"]) for line in preview.lines] == [
        ("2 more days at £10.00", 2000),
        ("length_of_stay (-20%)", -1200),
    ]
    assert preview.difference.amount_minor == 800
    amendment = amend(booking, preview_token=preview.token, now=NOW)
    assert amendment is not None
    pay_for(amendment)
    back = preview_amendment(lock_free(booking), Change(end_at=END), now=NOW)
    assert [line["label"] for line in back.lines] == [
        "2 days less at £10.00",
        "No longer: length_of_stay (-20%)",
    ]
    assert (back.difference.amount_minor, back.new_total.amount_minor) == (-800, 4000)


def test_a_rule_that_takes_the_place_of_another_is_named_with_it() -> None:
    product = make_product()
    add_rule(product, "length_of_stay", "-10", min_days=2, max_days=5)
    add_rule(product, "length_of_stay", "-20", min_days=6)
    preview = preview_amendment(confirmed(product), Change(end_at=END + 2 * DAY), now=NOW)
    assert [(line["label"], line["amount_minor"]) for line in preview.lines] == [
        ("2 more days at £10.00", 2000),
        ("length_of_stay (-20%) instead of length_of_stay (-10%)", -800),
    ]


def test_the_car_itself_does_not_make_its_own_change_dearer() -> None:
    product = make_product(capacity=2)
    add_rule(product, "occupancy", "50", occupancy_percent=50)
    booking = confirmed(product)
    assert preview_amendment(booking, Change(end_at=END + DAY), now=NOW).difference.amount_minor == 1000


def test_yen_have_no_decimals() -> None:
    product = make_product(iata="HND", timezone="Asia/Tokyo", currency="JPY", daily_minor=1001)
    booking = confirmed(product)
    preview = preview_amendment(
        booking, Change(end_at=booking.end_at - DAY), now=booking.start_at - 13 * HOUR
    )
    assert (preview.difference.amount_minor, preview.refund.amount_minor) == (-1001, 501)
    assert preview.refund.to_major() == "501"


def test_a_night_in_which_the_clocks_change_costs_one_day() -> None:
    product = make_product()
    start = datetime(2026, 10, 23, 9, tzinfo=NOW.tzinfo)
    booking = confirmed(product, start=start, days=1)
    preview = preview_amendment(
        booking, Change(end_at=start + 3 * DAY + HOUR), now=NOW
    )  # 10:00 after the change
    assert preview.lines[0]["label"] == "2 more days at £10.00"


def test_an_hour_that_costs_nothing_is_changed_at_once() -> None:
    product = make_product(capacity=1)
    booking = confirmed(product)
    amendment = change(booking, start_at=START - HOUR, end_at=END + HOUR)
    assert amendment is not None
    assert (amendment.status, amendment.difference_minor) == ("applied", 0)
    assert spaces(product, END, END + HOUR) == 0


def test_details_change_for_nothing_and_at_once() -> None:
    booking = confirmed()
    assert change(booking, plate="xy-99 zz", driver_phone="+44 7700 900999") is None
    booking.refresh_from_db()
    assert (booking.plate, str(booking.driver_phone), booking.total_minor) == (
        "XY99ZZ",
        "+447700900999",
        4000,
    )
    event = queries.timeline(booking).last()
    assert event is not None
    assert (event.kind, event.data["plate"]) == ("details_changed", ["AB12CDE", "XY99ZZ"])
    assert Message.objects.get(kind="booking_amended").variables["plate"] == "XY99ZZ"
    with pytest.raises(InvalidInput):
        preview_amendment(booking, Change(plate="XY99 ZZ"), now=NOW)


def test_only_the_return_moves_once_the_car_is_here() -> None:
    booking = confirmed()
    Booking.objects.filter(pk=booking.pk).update(status="arrived")
    booking = lock_free(booking)
    there = START + DAY
    with pytest.raises(InvalidInput) as refused:
        preview_amendment(booking, Change(start_at=START + HOUR), now=there)
    assert refused.value.field == "dropOff"
    with pytest.raises(InvalidInput):
        preview_amendment(booking, Change(end_at=there), now=there)
    shorter = change(booking, now=there, end_at=there + HOUR)
    assert shorter is not None
    assert shorter.refund_minor == 0
    longer = change(booking, now=there, end_at=END + DAY)
    assert longer is not None
    assert longer.status == "held"


@pytest.mark.parametrize("status", ["held", "cancelled", "expired", "completed"])
def test_other_bookings_say_why_they_cannot_be_changed(status: str) -> None:
    booking = confirmed()
    booking.status = status
    with pytest.raises(NotAmendable):
        preview_amendment(booking, Change(end_at=END + DAY), now=NOW)


@pytest.mark.parametrize(
    ("start", "end"), [(START, START - HOUR), (NOW - HOUR, END), (START, START + 91 * DAY), (START, NOW)]
)
def test_times_that_cannot_be_sold_are_refused(start: datetime, end: datetime) -> None:
    with pytest.raises(InvalidInput):
        preview_amendment(confirmed(), Change(start_at=start, end_at=end), now=NOW)


def test_a_product_off_sale_can_be_made_shorter_only() -> None:
    booking = confirmed()
    booking.product.is_active = False
    booking.product.save()
    with pytest.raises(NotOnSale):
        preview_amendment(booking, Change(end_at=END + DAY), now=NOW)
    assert change(booking, end_at=END - DAY) is not None


def test_the_last_space_taken_between_preview_and_confirmation() -> None:
    product = make_product(capacity=1)
    booking = confirmed(product)
    preview = preview_amendment(booking, Change(end_at=END + DAY, plate="NEW1"), now=NOW)
    hold(product, start=END, days=1)
    with pytest.raises(CarParkFull):
        amend(booking, preview_token=preview.token, now=NOW)
    booking.refresh_from_db()
    assert (booking.end_at, booking.plate, Amendment.objects.count()) == (END, "AB12CDE", 0)
    with pytest.raises(CarParkFull):
        preview_amendment(booking, Change(end_at=END + DAY), now=NOW)


def test_an_overdue_hold_in_the_way_is_let_go_for_a_change_and_the_other_way_round() -> None:
    product = make_product(capacity=1)
    booking = confirmed(product)
    preview = preview_amendment(booking, Change(end_at=END + DAY), now=NOW + HOUR)
    hold(product, start=END, days=1)
    assert amend(booking, preview_token=preview.token, now=NOW + HOUR) is not None
    assert hold(product, start=END, days=1, now=NOW + 2 * HOUR).booking.status == "held"
    assert Amendment.objects.get().status == "expired"


def test_a_preview_is_good_for_its_booking_its_time_and_nothing_else() -> None:
    product = make_product(capacity=3)
    booking, other = confirmed(product), confirmed(product, start=START + HOUR)
    token = preview_amendment(booking, Change(end_at=END + DAY), now=NOW).token
    for wrong, now in ((other, NOW), (booking, NOW + HOUR), (booking, NOW - HOUR)):
        with pytest.raises(ChangeOutdated):
            amend(wrong, preview_token=token, now=now)
    with pytest.raises(ChangeOutdated):
        amend(booking, preview_token=token + "x", now=NOW)
    change(booking, plate="NEW1")
    with pytest.raises(ChangeOutdated):
        amend(booking, preview_token=token, now=NOW)


def test_what_was_shown_is_what_happens_although_prices_changed_since() -> None:
    product = make_product()
    booking = confirmed(product)
    preview = preview_amendment(booking, Change(end_at=END + DAY), now=NOW)
    product.tariff.daily_minor = 9000
    product.tariff.save()
    amendment = amend(booking, preview_token=preview.token, now=NOW + timedelta(minutes=9))
    assert amendment is not None
    assert amendment.difference_minor == 1000


def test_a_second_change_withdraws_the_first_and_may_use_its_space() -> None:
    product = make_product(capacity=1)
    booking = confirmed(product)
    first = change(booking, end_at=END + DAY)
    second = change(booking, end_at=END + 2 * DAY)
    assert first is not None
    assert second is not None
    first.refresh_from_db()
    assert (first.status, second.status) == ("cancelled", "held")
    with transaction.atomic(), pytest.raises(AmendmentLapsed):
        apply_amendment(first, lock_booking(booking.pk), now=NOW)
    pay_for(second)
    assert spaces(product, START, END + 2 * DAY) == 0


def test_cancelling_withdraws_the_change_and_gives_all_space_back() -> None:
    product = make_product(capacity=1)
    booking = confirmed(product)
    amendment = change(booking, start_at=START - DAY, end_at=END + DAY)
    assert amendment is not None
    booking.refresh_from_db()
    cancel(booking, preview_token=preview_cancellation(booking, now=NOW).token, now=NOW)
    amendment.refresh_from_db()
    assert amendment.status == "cancelled"
    assert spaces(product, START - DAY, END + DAY) == 1
    assert not Occupancy.objects.filter(released_at=None).exists()


def test_a_cancellation_preview_from_before_the_change_is_outdated() -> None:
    booking = confirmed()
    token = preview_cancellation(booking, now=NOW).token
    change(booking, end_at=END - DAY)
    booking.refresh_from_db()
    with pytest.raises(PreviewOutdated):
        cancel(booking, preview_token=token, now=NOW)


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE bookings_amendment SET status = 'expired'",
        "UPDATE bookings_amendment SET difference_minor = 1",
        "UPDATE bookings_amendment SET status = 'applied', applied_at = now()",
        "DELETE FROM bookings_amendment",
        "UPDATE bookings_occupancy SET released_at = now() WHERE amendment_id IS NOT NULL",
        "DELETE FROM bookings_occupancy WHERE amendment_id IS NOT NULL",
        "INSERT INTO bookings_amendment SELECT (jsonb_populate_record(a, '{\"id\": 99999}')).* FROM bookings_amendment a",
    ],
)
def test_the_database_keeps_a_change_and_its_space_together(tampering: str) -> None:
    change(confirmed(), end_at=END + DAY)
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(tampering)
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


# Races


def together(*acts: Any) -> list[Any]:
    """Run the acts at the same moment, each on its own connection; return what each returned or raised."""
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


@pytest.mark.django_db(transaction=True)
def test_two_customers_extend_into_the_last_space() -> None:
    product = make_product(capacity=2)
    first, second = confirmed(product), confirmed(product, start=START + HOUR)
    hold(product, start=END + HOUR, days=2)  # one space left after both
    tokens = [preview_amendment(one, Change(end_at=END + DAY), now=NOW).token for one in (first, second)]
    outcomes = together(
        lambda: amend(first, preview_token=tokens[0], now=NOW),
        lambda: amend(second, preview_token=tokens[1], now=NOW),
    )
    assert sorted(type(one).__name__ for one in outcomes) == ["Amendment", "ExtraTimeFull"]
    assert queries.oversold_pools() == []
    with connection.cursor() as cursor:  # the control: without the gate both would have got it
        cursor.execute("ALTER TABLE bookings_occupancy DISABLE TRIGGER bookings_occupancy_gate")
    loser = (first, second)[[type(one).__name__ for one in outcomes].index("ExtraTimeFull")]
    token = tokens[(first, second).index(loser)]
    assert amend(loser, preview_token=token, now=NOW) is not None
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT bookings_peak(%s, tstzrange(%s, %s))", [product.pool_id, END + HOUR, END + DAY]
        )
        assert cursor.fetchone()[0] == 3  # of 2


@pytest.mark.django_db(transaction=True)
def test_two_changes_of_one_booking_at_once_leave_one() -> None:
    booking = confirmed(make_product(capacity=5))
    previews = [preview_amendment(booking, Change(end_at=END + n * DAY), now=NOW) for n in (1, 2)]
    again = [Booking.objects.get(pk=booking.pk) for _number in range(2)]
    outcomes = together(
        *(
            lambda one=one, preview=preview: amend(one, preview_token=preview.token, now=NOW)
            for one, preview in zip(again, previews, strict=True)
        )
    )
    assert all(isinstance(one, Amendment) for one in outcomes), outcomes
    assert sorted(Amendment.objects.values_list("status", flat=True)) == ["cancelled", "held"]
    with (
        pytest.raises(IntegrityError),
        transaction.atomic(),
    ):  # the control: the database allows no second one
        Amendment.objects.filter(status="held").get()
        Amendment.objects.create(
            booking=booking, status="held", old_start_at=START, old_end_at=END, new_start_at=START, new_end_at=END + DAY,
            old_total_minor=4000, new_total_minor=5000, difference_minor=1000, currency="GBP", hold_expires_at=NOW, created_at=NOW,
        )  # fmt: skip


@pytest.mark.django_db(transaction=True)
def test_a_change_and_a_cancellation_at_once() -> None:
    for _round in range(4):
        product = Product.objects.first() or make_product(capacity=9)
        booking = confirmed(product)
        shorter = preview_amendment(booking, Change(end_at=END - DAY), now=NOW)
        gone = preview_cancellation(booking, now=NOW)
        one, two = (Booking.objects.get(pk=booking.pk) for _number in range(2))
        changed, cancelled = together(
            lambda one=one, token=shorter.token: amend(one, preview_token=token, now=NOW),
            lambda two=two, token=gone.token: cancel(two, preview_token=token, now=NOW),
        )
        booking.refresh_from_db()
        if booking.status == "cancelled":
            assert isinstance(changed, NotAmendable), changed
            assert Amendment.objects.filter(booking=booking).count() == 0
        else:
            assert isinstance(cancelled, PreviewOutdated), cancelled
            assert booking.total_minor == 3000


@pytest.mark.django_db(transaction=True)
def test_crossing_changes_do_not_wait_for_each_other() -> None:
    """One stay moves from early to late days, another from late to early: both lock the days in one order."""
    product = make_product(capacity=9)
    for number in range(6):
        early = confirmed(product, start=START + number * HOUR)
        late = confirmed(product, start=START + 10 * DAY + number * HOUR)
        tokens = [
            preview_amendment(early, Change(start_at=late.start_at, end_at=late.end_at), now=NOW).token,
            preview_amendment(late, Change(start_at=early.start_at, end_at=early.end_at), now=NOW).token,
        ]
        outcomes = together(
            lambda one=early, token=tokens[0]: amend(one, preview_token=token, now=NOW),
            lambda one=late, token=tokens[1]: amend(one, preview_token=token, now=NOW),
        )
        assert all(isinstance(one, Amendment) for one in outcomes), outcomes


def test_staff_do_not_change_bookings_through_a_customers_door() -> None:
    """The admin's door asks for a reason and keeps it."""
    from accounts.models import User
    from foundation.errors import NotAllowed

    sam = User.objects.create_user("sam@staff.example", "rather-long-Secret-7", is_staff=True)
    booking = confirmed()
    preview = preview_amendment(booking, Change(end_at=booking.end_at + DAY), now=NOW)
    with pytest.raises(NotAllowed):
        amend(booking, preview_token=preview.token, now=NOW, requested_by=sam)
    assert not Amendment.objects.exists()
