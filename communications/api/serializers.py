"""What the message doors take and give."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from communications.catalogue import KIND_CHOICES
from communications.models import Channel
from communications.services.by_hand import LONGEST_TEXT
from foundation.api import StrictSerializer


class EmailInput(StrictSerializer):
    to = serializers.CharField(max_length=254)
    templateKey = serializers.CharField(max_length=40)
    variables = serializers.DictField(
        child=serializers.CharField(allow_blank=True, max_length=2000), required=False
    )
    language = serializers.ChoiceField(
        choices=[code for code, _name in settings.MESSAGE_LANGUAGES], required=False
    )


class SmsInput(StrictSerializer):
    to = serializers.CharField(max_length=32, help_text=_("E.164, such as +442079460123."))
    message = serializers.CharField(max_length=LONGEST_TEXT)


class QueuedAnswer(serializers.Serializer):
    messageId = serializers.UUIDField()
    status = serializers.CharField(
        help_text=_("“queued”: a worker sends it. Analytics and the admin tell what became of it.")
    )


class AboutBookingInput(StrictSerializer):
    bookingId = serializers.CharField(max_length=12)


class AboutBookingAnswer(QueuedAnswer):
    duplicate = serializers.BooleanField(
        help_text=_("True: the same was sent moments ago, so nothing was sent now.")
    )


class AnalyticsQuery(StrictSerializer):
    vars()["from"] = serializers.DateField(required=False)  # a keyword of Python
    to = serializers.DateField(required=False, help_text=_("The whole day is included."))
    channel = serializers.ChoiceField(choices=Channel.choices, required=False)
    kind = serializers.ChoiceField(choices=KIND_CHOICES, required=False)

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        if given.get("from") and given.get("to") and given["to"] < given["from"]:
            raise serializers.ValidationError({"to": _("The last day is before the first.")})
        return given


class StatusCounts(serializers.Serializer):
    """How many messages stand in each state now. They add up to `total`."""

    queued = serializers.IntegerField()
    sending = serializers.IntegerField()
    sent = serializers.IntegerField(help_text=_("Taken by the provider, nothing heard of it since."))
    maybe_sent = serializers.IntegerField(help_text=_("The provider's answer was lost."))
    delivered = serializers.IntegerField()
    bounced = serializers.IntegerField()
    failed = serializers.IntegerField()
    suppressed = serializers.IntegerField(help_text=_("Not sent on purpose."))


class CostAnswer(serializers.Serializer):
    currency = serializers.CharField()
    amount = serializers.CharField(help_text=_("Of SMS, estimates included."))
    estimated = serializers.CharField(help_text=_("What of it the provider has not confirmed yet."))


class TallyAnswer(serializers.Serializer):
    total = serializers.IntegerField()
    statuses = StatusCounts()
    optedOut = serializers.IntegerField(
        help_text=_("Of the suppressed: those whose people do not want them.")
    )
    deliveryRate = serializers.FloatField(
        allow_null=True, help_text=_("Delivered of those that left or tried to, 0 to 1.")
    )
    medianSecondsToDelivery = serializers.IntegerField(
        allow_null=True, help_text=_("Exact to a second up to 6, then in steps.")
    )
    smsSegments = serializers.IntegerField()
    smsCost = CostAnswer(many=True)


class ChannelTally(TallyAnswer):
    channel = serializers.CharField()


class KindTally(TallyAnswer):
    kind = serializers.CharField()


class DayTally(TallyAnswer):
    day = serializers.DateField()


class MonthTally(TallyAnswer):
    month = serializers.CharField(help_text=_("Such as 2026-05. Only its days in the period are counted."))


class AnalyticsAnswer(TallyAnswer):
    vars()["from"] = serializers.DateField(allow_null=True)
    to = serializers.DateField(allow_null=True)
    timezone = serializers.CharField(help_text=_("Whose days these are: the operator's."))
    suppressedReasons = serializers.DictField(child=serializers.IntegerField())
    channels = ChannelTally(many=True)
    kinds = KindTally(many=True)
    days = DayTally(
        many=True,
        help_text=_("Days on which messages were queued, in order; empty for a period of more than 93 days."),
    )
    months = MonthTally(
        many=True,
        help_text=_("Months in which messages were queued, in order, for a longer period; else empty."),
    )
