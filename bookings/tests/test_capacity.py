"""Never oversold: the trigger alone against raw SQL, and against real threads, with a control that does oversell."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, connections, transaction
from psycopg.types.range import TimestamptzRange

from bookings import queries
from bookings.models import TRANSITIONS, Booking, BookingEvent, CapacityGate, Occupancy, Pool, Product
from bookings.services.capacity import extend_gates
from bookings.services.errors import CarParkFull, constraint_of
from bookings.services.hold import expire_overdue_holds
from bookings.tests.world import DAY, NOW, hold, make_product

FUTURE = 40_000  # days: stays that are still ahead on the day the tests run, whatever day that is


def broken_by(change: Callable[[], Any]) -> str:
    """Return the name of the constraint that refuses the change."""
    with pytest.raises(IntegrityError) as refusal, transaction.atomic():
        change()
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    return constraint_of(refusal.value)


def run(statement: str, *values: Any) -> Callable[[], Any]:
    def change() -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement, values)

    return change


@pytest.mark.django_db
class TestRawSql:
    def test_no_path_goes_round_the_gate(self) -> None:
        product = make_product(capacity=1)
        first = hold(product).booking
        other = hold(product, start=NOW + 20 * DAY).booking
        take = "UPDATE bookings_occupancy SET period = tstzrange(%s, %s) WHERE booking_id = %s"
        assert broken_by(run(take, first.start_at + DAY, first.end_at + DAY, other.pk)) == "car_park_full"
        assert (
            broken_by(
                lambda: Occupancy.objects.filter(booking=other).update(
                    period=TimestamptzRange(first.start_at, first.end_at)
                )
            )
            == "car_park_full"
        )
        second_pool = Pool.objects.create(car_park=product.car_park, name="None left", capacity=0)
        move = "UPDATE bookings_occupancy SET pool_id = %s WHERE booking_id = %s"
        assert broken_by(run(move, second_pool.pk, other.pk)) == "car_park_full"

    def test_gates_count_what_is_live(self) -> None:
        product = make_product(capacity=5)
        booking = hold(product, days=2.5).booking
        touches = CapacityGate.objects.filter(pool=product.pool)
        assert sorted(touches.values_list("touch", flat=True)) == [1, 1, 1]
        with transaction.atomic():
            Booking.objects.filter(pk=booking.pk).update(end_at=booking.end_at + 4 * DAY)
            Occupancy.objects.update(period=TimestamptzRange(booking.start_at, booking.end_at + 4 * DAY))
        assert sorted(touches.values_list("touch", flat=True)) == [1] * 7
        expire_overdue_holds(now=NOW + DAY)
        assert set(touches.values_list("touch", flat=True)) == {0}

    def test_gates_agree_with_the_exact_sweep_over_random_stays(self) -> None:
        product = make_product(capacity=4)
        dice = random.Random(7)  # noqa: S311 - repeatable on purpose
        accepted = 0
        for _try in range(60):
            start = NOW + timedelta(hours=dice.randint(24, 240))
            days = dice.randint(1, 60) / 10
            end = start + timedelta(days=days)
            room = queries.spaces_left(product.pool, start_at=start, end_at=end)
            try:
                hold(product, start=start, days=days)
            except CarParkFull:
                assert room == 0
            else:
                assert room > 0
                assert queries.spaces_left(product.pool, start_at=start, end_at=end) <= room
                accepted += 1
        assert 10 < accepted < 60
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT bookings_peak(%s, tstzrange(%s, %s))", [product.pool_id, NOW, NOW + 90 * DAY]
            )
            assert cursor.fetchone()[0] == 4

    def test_a_gate_that_counts_cannot_be_deleted_or_go_negative(self) -> None:
        hold(make_product())
        assert broken_by(run("DELETE FROM bookings_capacitygate")) == "capacity_gate_in_use"
        negative = run("UPDATE bookings_capacitygate SET touch = -1")
        assert broken_by(negative) == "capacity_gate_touch_not_negative"

    def test_a_closed_car_park_sells_nothing(self) -> None:
        product = make_product()
        booking = hold(product).booking
        expire_overdue_holds(now=NOW + DAY)
        product.car_park.is_open = False
        product.car_park.save()
        back = run("UPDATE bookings_occupancy SET released_at = NULL WHERE booking_id = %s", booking.pk)
        assert broken_by(back) == "car_park_closed"
        assert queries.spaces_left(product.pool, start_at=NOW + DAY, end_at=NOW + 2 * DAY) == 0

    def test_a_pool_cannot_be_cut_below_what_is_sold(self, settings: Any) -> None:
        settings.BOOKABLE_UP_TO_DAYS_AHEAD = FUTURE * 2
        product = make_product(capacity=3)
        for offset in (0, 1, 5):
            hold(product, start=NOW + (FUTURE + offset) * DAY)
        pool = product.pool
        assert queries.sold_peak(pool) == 2
        cut = run("UPDATE bookings_pool SET capacity = 1 WHERE id = %s", pool.pk)
        assert broken_by(cut) == "pool_capacity_covers_sold"
        pool.capacity = 1
        with pytest.raises(ValidationError, match="2 spaces are already sold"):
            pool.full_clean()
        Pool.objects.filter(pk=pool.pk).update(capacity=2)
        assert queries.oversold_pools() == []

    def test_states_follow_the_table_and_nothing_else(self) -> None:
        booking = hold(make_product()).booking
        stamp = {"confirmed_at": NOW, "cancelled_at": NOW, "expired_at": NOW}
        states = list(TRANSITIONS)
        ways = {"held": [], "confirmed": ["confirmed"], "arrived": ["confirmed", "arrived"],
                "completed": ["confirmed", "arrived", "completed"], "expired": ["expired"],
                "cancelled": ["cancelled"], "no_show": ["confirmed", "no_show"]}  # fmt: skip
        rows = Booking.objects.filter(pk=booking.pk)
        for old in states:
            for new in states:
                point = transaction.savepoint()
                for step in ways[old]:
                    rows.update(status=step, **stamp)
                if new == old or new in TRANSITIONS[old]:
                    assert rows.update(status=new, **stamp) == 1
                else:
                    with pytest.raises(IntegrityError), transaction.atomic():
                        rows.update(status=new, **stamp)
                transaction.savepoint_rollback(point)

    @pytest.mark.parametrize(
        ("change", "constraint"),
        [
            ("end_at = start_at", "booking_ends_after_start"),
            ("total_minor = -1", "booking_total_in_range"),
            ("currency = 'gbp'", "booking_currency_code"),
            ("plate = ''", "booking_plate_plain"),
            ("plate = 'ab 1'", "booking_plate_plain"),
            ("driver_name = ''", "booking_driver_named"),
            ("reference = 'AP-O0I1L1'", "booking_reference_form"),
            ("guest_token_hash = 'plain'", "booking_guest_token_hashed"),
            ("status = 'confirmed'", "booking_confirmed_when"),
            ("status = 'expired', expired_at = now()", "booking_gave_its_space_back"),
            ("start_at = start_at - interval '1 hour'", "booking_has_its_space"),
        ],
    )
    def test_a_booking_that_cannot_be_is_refused(self, change: str, constraint: str) -> None:
        hold(make_product())
        name = broken_by(run(f"UPDATE bookings_booking SET {change}"))  # noqa: S608 - from the list above
        assert name == constraint or (constraint == "booking_total_in_range" and "total_minor" in name)

    def test_a_booking_keeps_its_space_and_its_timeline(self) -> None:
        booking = hold(make_product()).booking
        assert broken_by(run("DELETE FROM bookings_occupancy")) == "booking_has_its_space"
        assert broken_by(run("UPDATE bookings_occupancy SET released_at = now()")) == "booking_has_its_space"
        for rewrite in (
            "DELETE FROM bookings_bookingevent",
            "UPDATE bookings_bookingevent SET kind = 'note'",
        ):
            assert broken_by(run(rewrite)) == "bookings_bookingevent_append_only"
        assert BookingEvent.objects.filter(booking=booking).count() == 1

    def test_a_product_draws_on_a_pool_of_its_own_car_park(self) -> None:
        product, other = make_product(), make_product(iata="LGW")
        steal = run("UPDATE bookings_product SET pool_id = %s WHERE id = %s", other.pool_id, product.pk)
        assert broken_by(steal) == "product_pool_in_car_park"

    def test_gates_are_made_ahead_once(self) -> None:
        product = make_product()
        made = extend_gates(now=NOW)
        assert made == settings.BOOKABLE_UP_TO_DAYS_AHEAD + settings.LONGEST_STAY_DAYS + 2
        assert extend_gates(now=NOW) == 0
        assert extend_gates(now=NOW + DAY) == 1
        assert CapacityGate.objects.filter(pool=product.pool).count() == made + 1


def _rush(product: Product, *, clients: int) -> int:
    """Let so many customers want overlapping stays at the same moment; return how many got a space."""
    barrier = Barrier(3)  # the pool has four connections, and the test itself holds one

    def buy(number: int) -> bool:
        try:
            fresh = Product.objects.select_related("pool", "tariff", "policy", "car_park__airport").get(
                pk=product.pk
            )
            if number < 3:
                barrier.wait(10)
            hold(fresh, start=NOW + 2 * DAY + timedelta(hours=number), email=f"c{number}@example.com")
        except CarParkFull:
            return False
        finally:
            connections.close_all()
        return True

    with ThreadPoolExecutor(3) as threads:
        return sum(threads.map(buy, range(clients)))


def _slow_gate(*, locked: bool) -> None:
    """Make the trigger dawdle between its check and its count, with or without the lock in front of them."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_get_functiondef('bookings_occupancy_gate'::regproc)")
        source = cursor.fetchone()[0]
        dawdling = source.replace(
            "UPDATE bookings_capacitygate SET touch = touch + 1",
            "PERFORM pg_sleep(0.1);\n    UPDATE bookings_capacitygate SET touch = touch + 1",
        )
        assert dawdling != source
        if not locked:
            unlocked = dawdling.replace("FOR NO KEY UPDATE", "")
            assert unlocked != dawdling
            dawdling = unlocked
        cursor.execute(dawdling)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("gates_ready", [True, False])
def test_a_rush_sells_each_space_once(gates_ready: bool) -> None:
    product = make_product(capacity=3)
    if gates_ready:
        extend_gates(now=NOW)
    _slow_gate(locked=True)
    assert _rush(product, clients=12) == 3
    assert Booking.objects.count() == Occupancy.objects.filter(released_at=None).count() == 3


@pytest.mark.django_db(transaction=True)
def test_control_the_same_rush_oversells_without_the_lock() -> None:
    product = make_product(capacity=1)
    extend_gates(now=NOW)
    _slow_gate(locked=False)
    assert _rush(product, clients=3) > 1


@pytest.mark.django_db(transaction=True)
def test_a_capacity_cut_and_a_rush_agree(settings: Any) -> None:
    settings.BOOKABLE_UP_TO_DAYS_AHEAD = FUTURE * 2
    product = make_product(capacity=6)
    _slow_gate(locked=True)

    def buy(number: int) -> None:
        try:
            fresh = Product.objects.select_related("pool", "tariff", "policy", "car_park__airport").get(
                pk=product.pk
            )
            hold(fresh, start=NOW + FUTURE * DAY, email=f"c{number}@example.com")
        except CarParkFull:
            return
        finally:
            connections.close_all()

    def cut(capacity: int) -> None:
        try:
            Pool.objects.filter(pk=product.pool_id, capacity__gt=capacity).update(capacity=capacity)
        except IntegrityError as error:
            assert constraint_of(error) == "pool_capacity_covers_sold"
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as threads:
        work = [threads.submit(*job) for pair in zip(
            [(buy, number) for number in range(8)], [(cut, 5), (cut, 4), (cut, 3), (cut, 2)] * 2, strict=True
        ) for job in pair]  # fmt: skip
        for job in work:
            job.result(30)
    assert queries.oversold_pools() == []
    assert Booking.objects.count() == queries.sold_peak(product.pool) <= Pool.objects.get().capacity
