"""Capacity: who occupies a space when, and the day gates that make selling the last space safe.

The triggers of migration 0002 do the work, so that no path can go round them. Every insert, update or delete
of an Occupancy locks the gates of the UTC days it touches, in order, and refuses what does not fit
(constraint `car_park_full`).
"""

from __future__ import annotations

from django.contrib.postgres.fields import DateTimeRangeField
from django.contrib.postgres.indexes import GistIndex, OpClass
from django.db import models
from django.utils.translation import gettext_lazy as _


class CapacityGate(models.Model):
    """One UTC day of one pool: overlapping stays queue at it. `touch` counts the live stays of the day."""

    pool = models.ForeignKey("bookings.Pool", on_delete=models.CASCADE, related_name="gates")
    utc_day = models.DateField()
    touch = models.IntegerField(default=0, db_default=0)

    class Meta:
        verbose_name = _("capacity gate")
        verbose_name_plural = _("capacity gates")
        constraints = [
            models.UniqueConstraint(fields=["pool", "utc_day"], name="capacity_gate_one_per_day"),
            models.CheckConstraint(condition=models.Q(touch__gte=0), name="capacity_gate_touch_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.pool_id} {self.utc_day}: {self.touch}"


class Occupancy(models.Model):
    """A space taken for `period` [start, end), until it is released.

    A booking has one for its stay. A change that waits for payment has its own for the extra time, so that the stay keeps its space.
    """

    booking = models.ForeignKey("bookings.Booking", on_delete=models.PROTECT, related_name="occupancies")
    amendment = models.ForeignKey(
        "bookings.Amendment", on_delete=models.PROTECT, null=True, blank=True, related_name="occupancies"
    )
    pool = models.ForeignKey("bookings.Pool", on_delete=models.PROTECT, related_name="occupancies")
    period = DateTimeRangeField()
    released_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("occupancy")
        verbose_name_plural = _("occupancies")
        indexes = [
            GistIndex(
                OpClass("pool_id", name="gist_int8_ops"),
                OpClass("period", name="range_ops"),
                condition=models.Q(released_at__isnull=True),
                name="occupancy_live_by_period",
            )
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["booking"],
                condition=models.Q(amendment__isnull=True),
                name="occupancy_one_per_stay",
            ),
            models.CheckConstraint(
                condition=models.Q(period__isempty=False, period__lower_inf=False, period__upper_inf=False),
                name="occupancy_period_bounded",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.booking_id} {self.period}"
