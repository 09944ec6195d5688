"""Which reminders were queued."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from bookings.models.booking import Booking


class Reminder(models.Model):
    """One reminder of one moment: a stay that moves is reminded of anew, the same moment never twice."""

    class About(models.TextChoices):
        DROP_OFF = "drop_off", _("drop-off")
        RETURN = "return", _("return")

    booking = models.ForeignKey(
        Booking, on_delete=models.CASCADE, related_name="reminders", verbose_name=_("booking")
    )
    about = models.CharField(_("about"), max_length=8, choices=About.choices)
    hours = models.PositiveSmallIntegerField(_("hours before"))
    event_at = models.DateTimeField(_("moment"))
    queued_at = models.DateTimeField(_("queued"))

    class Meta:
        verbose_name = _("reminder")
        verbose_name_plural = _("reminders")
        constraints = [
            models.UniqueConstraint(fields=["booking", "about", "hours", "event_at"], name="reminder_once")
        ]

    def __str__(self) -> str:
        return f"{self.booking_id} {self.about} {self.hours} h"
