"""Campaigns, emergency alerts, and whom each of them writes to."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import models
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

from communications.catalogue import EMAIL, SMS
from communications.models.channel import Channel
from communications.models.message import Message
from foundation.transitions import Transitions


class CampaignStatus(models.TextChoices):
    DRAFT = "draft", _("draft")
    SCHEDULED = "scheduled", _("scheduled")
    PREPARING = "preparing", _("choosing recipients")
    SENDING = "sending", _("sending")
    PAUSED = "paused", _("paused")
    STOPPED = "stopped", _("stopped")
    FINISHED = "finished", _("finished")


# A scheduled one can go back to being written. Preparing and sending can be paused, and go on where they were; nothing follows on the end.
CAMPAIGN_TRANSITIONS: Transitions = {
    CampaignStatus.DRAFT: {CampaignStatus.SCHEDULED},
    CampaignStatus.SCHEDULED: {CampaignStatus.DRAFT, CampaignStatus.PREPARING, CampaignStatus.STOPPED},
    CampaignStatus.PREPARING: {CampaignStatus.SENDING, CampaignStatus.PAUSED, CampaignStatus.STOPPED},
    CampaignStatus.SENDING: {CampaignStatus.PAUSED, CampaignStatus.STOPPED, CampaignStatus.FINISHED},
    CampaignStatus.PAUSED: {CampaignStatus.PREPARING, CampaignStatus.SENDING, CampaignStatus.STOPPED},
    CampaignStatus.STOPPED: set(),
    CampaignStatus.FINISHED: set(),
}
RUNNING = (CampaignStatus.PREPARING, CampaignStatus.SENDING)
SLOWEST, FASTEST = 1, 60_000


class Campaign(models.Model):
    """One promotion to many people. What is sent, and to whom, is fixed from the moment it is scheduled (a trigger holds it).

    `audience` is the definition that settings.CAMPAIGN_AUDIENCE understands. `next_slot_at` is the throttle: the earliest
    moment at which any worker may take the next recipients.
    """

    name = models.CharField(_("name"), max_length=100, help_text=_("For staff only."))
    status = models.CharField(
        _("status"), max_length=12, choices=CampaignStatus.choices, default=CampaignStatus.DRAFT
    )
    by_email = models.BooleanField(_("by e-mail"), default=True)
    by_sms = models.BooleanField(_("by SMS"), default=False)
    audience = models.JSONField(_("audience"), default=dict, blank=True)
    promo_code = models.CharField(_("promo code"), max_length=24, blank=True)
    per_minute = models.PositiveIntegerField(
        _("messages a minute"),
        default=600,
        help_text=_("At most so many, over all workers. Slower protects your name with mail providers."),
    )
    start_at = models.DateTimeField(_("starts"), null=True, blank=True)
    timezone = models.CharField(_("time zone"), max_length=64, default="UTC")
    created_at = models.DateTimeField(_("made"), default=now)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        verbose_name=_("made by"),
    )
    started_at = models.DateTimeField(_("started"), null=True, blank=True)
    prepared_at = models.DateTimeField(_("recipients chosen"), null=True, blank=True)
    finished_at = models.DateTimeField(_("ended"), null=True, blank=True)
    status_reason = models.CharField(_("why"), max_length=500, blank=True)
    prepared_to = models.JSONField(default=dict, blank=True, editable=False)
    next_slot_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("campaign")
        verbose_name_plural = _("campaigns")
        ordering = ["-created_at", "-pk"]
        permissions = [("run_campaign", _("Can schedule, pause, resume and stop campaigns"))]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(by_email=True) | models.Q(by_sms=True), name="campaign_has_a_channel"
            ),
            models.CheckConstraint(
                condition=models.Q(per_minute__gte=SLOWEST, per_minute__lte=FASTEST),
                name="campaign_pace_in_range",
            ),
            models.CheckConstraint(
                condition=models.Q(status="draft") | models.Q(start_at__isnull=False),
                name="campaign_scheduled_when",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    kind = "promotion"

    @property
    def key(self) -> str:
        """What its messages and words carry."""
        return f"campaign:{self.pk}"

    @property
    def channels(self) -> list[str]:
        return [channel for channel, wanted in ((EMAIL, self.by_email), (SMS, self.by_sms)) if wanted]

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)


class AlertStatus(models.TextChoices):
    SENDING = "sending", _("sending")
    FINISHED = "finished", _("finished")


ALERT_TRANSITIONS: Transitions = {
    AlertStatus.SENDING: {AlertStatus.FINISHED},
    AlertStatus.FINISHED: {AlertStatus.SENDING},  # those not reached, once more
}


class EmergencyAlert(models.Model):
    """A warning to the people of one car park, born when staff confirmed it. Words and audience are fixed at birth.

    `once` is the preview that was confirmed: a second press of the button finds it used.
    """

    place = models.CharField(_("car park"), max_length=150)
    audience = models.JSONField(_("audience"), default=dict)
    audience_text = models.CharField(_("who"), max_length=300)
    status = models.CharField(
        _("status"), max_length=12, choices=AlertStatus.choices, default=AlertStatus.SENDING
    )
    reason = models.CharField(_("reason"), max_length=500)
    shown = models.PositiveIntegerField(_("people in the preview"))
    reached = models.PositiveIntegerField(_("people when confirmed"))
    once = models.CharField(max_length=64, unique=True, editable=False)
    rounds = models.PositiveSmallIntegerField(_("rounds"), default=1)
    created_at = models.DateTimeField(_("confirmed"), default=now)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        verbose_name=_("by"),
    )
    finished_at = models.DateTimeField(_("all handed over"), null=True, blank=True)

    class Meta:
        verbose_name = _("emergency alert")
        verbose_name_plural = _("emergency alerts")
        ordering = ["-created_at", "-pk"]
        permissions = [("send_emergencyalert", _("Can send emergency alerts"))]

    def __str__(self) -> str:
        return f"{self.place}, {self.created_at:%Y-%m-%d %H:%M} UTC"

    kind = "emergency_alert"
    next_slot_at = None

    @property
    def key(self) -> str:
        return f"alert:{self.pk}"


class Recipient(models.Model):
    """One address that a campaign or an alert writes to, or why it does not. Once per address, however many bookings stand behind it.

    What becomes of the message is read from the message; the state here is only how far the recipient itself has come.
    """

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting")
        TAKEN = "taken", _("taken by a worker")
        HANDED_ON = "handed_on", _("message made and tried")
        SKIPPED = "skipped", _("left out")

    campaign = models.ForeignKey(
        Campaign, null=True, blank=True, on_delete=models.CASCADE, related_name="recipients"
    )
    alert = models.ForeignKey(
        EmergencyAlert, null=True, blank=True, on_delete=models.CASCADE, related_name="recipients"
    )
    channel = models.CharField(_("channel"), max_length=8, choices=Channel.choices)
    address = models.CharField(_("address"), max_length=254)
    name = models.CharField(_("name"), max_length=120, blank=True)
    language = models.CharField(_("language"), max_length=8, default="en")
    timezone = models.CharField(_("time zone"), max_length=64, blank=True)
    reference = models.CharField(_("booking"), max_length=20, blank=True)
    variables = models.JSONField(default=dict, blank=True)
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.WAITING)
    reason = models.CharField(_("why left out"), max_length=60, blank=True)
    due_at = models.DateTimeField(_("not before"), null=True, blank=True)
    taken_at = models.DateTimeField(null=True, blank=True)
    message = models.OneToOneField(
        Message, null=True, blank=True, on_delete=models.SET_NULL, related_name="recipient"
    )

    class Meta:
        verbose_name = _("recipient")
        verbose_name_plural = _("recipients")
        ordering = ["pk"]
        indexes = [
            models.Index(
                fields=["campaign", "id"],
                condition=models.Q(state__in=["waiting", "taken"]),
                name="recipient_campaign_open",
            ),
            models.Index(
                fields=["alert", "id"],
                condition=models.Q(state__in=["waiting", "taken"]),
                name="recipient_alert_open",
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(campaign__isnull=False, alert__isnull=True)
                | models.Q(campaign__isnull=True, alert__isnull=False),
                name="recipient_of_one_sender",
            ),
            models.UniqueConstraint(
                fields=["campaign", "channel", "address"],
                condition=models.Q(campaign__isnull=False),
                name="recipient_once_per_campaign",
            ),
            # A person with two cars there is told about each.
            models.UniqueConstraint(
                fields=["alert", "channel", "address", "reference"],
                condition=models.Q(alert__isnull=False),
                name="recipient_once_per_alert",
            ),
            models.CheckConstraint(
                condition=~models.Q(state="skipped") | ~models.Q(reason=""), name="recipient_skipped_why"
            ),
        ]

    def __str__(self) -> str:
        return self.address

    @property
    def sender(self) -> Any:
        return self.campaign or self.alert
