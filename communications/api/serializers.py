"""What the message doors take and give."""

from __future__ import annotations

from django.conf import settings
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from foundation.api import StrictSerializer


class EmailInput(StrictSerializer):
    to = serializers.CharField(max_length=254)
    templateKey = serializers.CharField(max_length=40)
    variables = serializers.DictField(
        child=serializers.CharField(allow_blank=True, max_length=2000), required=False
    )
    language = serializers.ChoiceField(choices=[code for code, _name in settings.LANGUAGES], required=False)


class SmsInput(StrictSerializer):
    to = serializers.CharField(max_length=32, help_text=_("E.164, such as +442079460123."))
    message = serializers.CharField(max_length=2000)


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
