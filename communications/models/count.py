"""The message log, counted: what analytics reads instead of millions of rows."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class _Counted(models.Model):
    """A number of messages that are alike. `day` is the operator's; `delay_seconds` is how long the provider took to deliver, rounded down to a
    step (communications_delay_step); `reason` is why messages were not sent on purpose; prices are in `currency`, estimates included."""

    day = models.DateField(_("day"))
    channel = models.CharField(_("channel"), max_length=8)
    kind = models.CharField(_("kind"), max_length=40)
    status = models.CharField(_("status"), max_length=12)
    reason = models.CharField(_("reason"), max_length=60, blank=True)
    delay_seconds = models.IntegerField(_("seconds to delivery"), default=0)
    currency = models.CharField(_("currency"), max_length=3, blank=True)
    messages = models.BigIntegerField(_("messages"))
    segments = models.BigIntegerField(_("SMS parts"), default=0)
    price = models.DecimalField(_("price"), max_digits=16, decimal_places=5, default=0)
    estimated_price = models.DecimalField(_("estimated price"), max_digits=16, decimal_places=5, default=0)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.day} {self.channel} {self.kind} {self.status}: {self.messages}"


class MessageCount(_Counted):
    """So many messages of this day, kind, channel and state. Written by PostgreSQL only."""

    class Meta:
        verbose_name = _("message count")
        verbose_name_plural = _("message analytics")
        constraints = [
            models.UniqueConstraint(
                fields=["day", "channel", "kind", "status", "reason", "delay_seconds", "currency"],
                name="message_count_once",
            )
        ]
        indexes = [models.Index(fields=["day"], condition=models.Q(messages=0), name="message_count_empty")]


class MessageMonth(_Counted):
    """The same by month: `day` is its first. What years are read from, and edges of months from MessageCount. Written by PostgreSQL only."""

    class Meta:
        verbose_name = _("message count of a month")
        verbose_name_plural = _("message counts of months")
        constraints = [
            models.UniqueConstraint(
                fields=["day", "channel", "kind", "status", "reason", "delay_seconds", "currency"],
                name="message_month_once",
            )
        ]


class MessageCountChange(_Counted):
    """What a statement changed in the counts, written by its trigger in the same transaction and folded into the two others later.

    Adding a row makes nobody wait for anybody; one counter for all would make every booking that writes a message wait for the others.
    """

    class Meta:
        verbose_name = _("change of the message counts")
        verbose_name_plural = _("changes of the message counts")
