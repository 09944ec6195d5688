"""The outbox, and what providers said about each message."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from communications.catalogue import kind_choices
from communications.models.channel import Channel
from communications.models.template import TemplateVersion
from foundation.transitions import Transitions


class MessageStatus(models.TextChoices):
    QUEUED = "queued", _("queued")
    SENDING = "sending", _("sending")
    SENT = "sent", _("sent")
    MAYBE_SENT = "maybe_sent", _("maybe sent")
    DELIVERED = "delivered", _("delivered")
    BOUNCED = "bounced", _("bounced")
    FAILED = "failed", _("failed")
    SUPPRESSED = "suppressed", _("not sent on purpose")


# A callback may overtake the answer to our own request, hence sending -> delivered. A mail server may return a mail that
# it had accepted, hence delivered -> bounced. Back to queued: a temporary error, the one resend, or a member of staff.
# Suppressed: the person does not want it, or the address takes nothing; asked at the moment of sending.
MESSAGE_TRANSITIONS: Transitions = {
    MessageStatus.QUEUED: {MessageStatus.SENDING, MessageStatus.SUPPRESSED},
    MessageStatus.SENDING: {
        MessageStatus.QUEUED,
        MessageStatus.SUPPRESSED,
        MessageStatus.SENT,
        MessageStatus.MAYBE_SENT,
        MessageStatus.DELIVERED,
        MessageStatus.BOUNCED,
        MessageStatus.FAILED,
    },
    MessageStatus.MAYBE_SENT: {
        MessageStatus.QUEUED,
        MessageStatus.SENT,
        MessageStatus.DELIVERED,
        MessageStatus.BOUNCED,
        MessageStatus.FAILED,
    },
    MessageStatus.SENT: {MessageStatus.DELIVERED, MessageStatus.BOUNCED, MessageStatus.FAILED},
    MessageStatus.DELIVERED: {MessageStatus.BOUNCED},
    MessageStatus.BOUNCED: {MessageStatus.QUEUED},
    MessageStatus.FAILED: {MessageStatus.QUEUED},
    MessageStatus.SUPPRESSED: {MessageStatus.QUEUED},
}


class Message(models.Model):
    """One message to one address: the outbox row. Written in the transaction of the fact that it tells."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(_("kind"), max_length=40, choices=kind_choices)
    channel = models.CharField(_("channel"), max_length=8, choices=Channel.choices)
    to = models.CharField(_("to"), max_length=254, db_index=True)
    to_name = models.CharField(_("name"), max_length=120, blank=True)
    language = models.CharField(_("language"), max_length=8, default="en")
    variables = models.JSONField(_("variables"), default=dict, blank=True)
    calendar = models.JSONField(_("calendar entry"), null=True, blank=True)
    qr_text = models.CharField(_("QR code"), max_length=500, blank=True)
    attachment = models.CharField(_("attachment"), max_length=120, blank=True)
    dedupe_key = models.CharField(_("dedupe key"), max_length=200, unique=True)
    reference = models.CharField(_("booking"), max_length=20, blank=True, db_index=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        verbose_name=_("user"),
    )
    # Where the person is, for quiet hours; empty: where the operator is.
    timezone = models.CharField(_("recipient's time zone"), max_length=64, blank=True)
    # "checker:what", asked when it leaves: see settings.MESSAGE_CONDITIONS.
    condition = models.CharField(_("sent only if"), max_length=120, blank=True)
    # What it is one of many of: "campaign:<id>", "alert:<id>".
    campaign_key = models.CharField(_("campaign"), max_length=60, blank=True, db_index=True)
    fallback_of = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="fallbacks",
        verbose_name=_("takes the place of"),
    )
    # The same person's address on the other channel, for the one fallback.
    other_address = models.CharField(_("other address"), max_length=254, blank=True)
    status = models.CharField(
        _("status"), max_length=12, choices=MessageStatus.choices, default=MessageStatus.QUEUED
    )
    provider = models.CharField(_("provider"), max_length=20, blank=True)
    provider_ref = models.CharField(_("provider's reference"), max_length=200, blank=True, db_index=True)
    template_version = models.ForeignKey(
        TemplateVersion,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        verbose_name=_("template version"),
    )
    # A test of words that nobody has saved yet brings them along.
    unsaved_words = models.JSONField(_("words being tried"), null=True, blank=True, editable=False)
    subject = models.CharField(_("subject"), max_length=400, blank=True)
    body_text = models.TextField(_("text"), blank=True)
    body_html = models.TextField(_("HTML"), blank=True)
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    tries_left = models.PositiveSmallIntegerField(_("tries left"), default=8)
    was_resent = models.BooleanField(_("sent again after an unknown outcome"), default=False)
    queued_at = models.DateTimeField(_("queued"), auto_now_add=True, db_index=True)
    due_at = models.DateTimeField(_("due"), null=True, blank=True)
    sending_since = models.DateTimeField(_("sending since"), null=True, blank=True)
    sent_at = models.DateTimeField(_("sent"), null=True, blank=True)
    delivered_at = models.DateTimeField(_("delivered"), null=True, blank=True)
    # Staff have said that nothing more is to be done about it.
    attended_at = models.DateTimeField(_("seen to"), null=True, blank=True)
    # Of an SMS: how many it took, counted once against the budgets; and what it cost, estimated until the provider says so.
    segments = models.PositiveSmallIntegerField(_("segments"), null=True, blank=True)
    price = models.DecimalField(_("price"), max_digits=10, decimal_places=5, null=True, blank=True)
    price_currency = models.CharField(_("currency"), max_length=3, blank=True)
    is_price_estimated = models.BooleanField(_("price is an estimate"), default=False)
    price_asked_at = models.DateTimeField(_("price asked for"), null=True, blank=True)
    error_code = models.CharField(_("error"), max_length=60, blank=True)
    error_text = models.CharField(_("what happened"), max_length=500, blank=True)

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        ordering = ["-queued_at"]
        permissions = [
            ("send_email", _("Can send e-mail from a template by the API")),
            ("send_sms", _("Can send SMS by the API")),
            ("export_person", _("Can hand over all messages to and from a person")),
            ("erase_person", _("Can erase what messages to and from a person say")),
        ]
        indexes = [
            models.Index(
                fields=["queued_at"], condition=models.Q(is_price_estimated=True), name="message_to_be_priced"
            ),
            models.Index(
                fields=["status", "due_at"],
                condition=models.Q(status__in=["queued", "sending", "maybe_sent"]),
                name="message_unfinished",
            ),
            models.Index(fields=["status", "-queued_at"], name="message_by_status"),
            models.Index(fields=["kind", "-queued_at"], name="message_by_kind"),
            models.Index(
                fields=["queued_at"],
                condition=models.Q(status__in=["bounced", "failed", "maybe_sent"], attended_at=None),
                name="message_needs_person",
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["fallback_of"],
                condition=models.Q(fallback_of__isnull=False),
                name="one_fallback_per_message",
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} → {self.to}"

    @property
    def is_test(self) -> bool:
        """Whether staff sent it to see what words look like."""
        return self.dedupe_key.startswith("test:")


class DeliveryEvent(models.Model):
    """What the provider told us, once per event."""

    message = models.ForeignKey(
        Message, on_delete=models.CASCADE, related_name="events", verbose_name=_("message")
    )
    event_id = models.CharField(_("event"), max_length=200, unique=True)
    kind = models.CharField(_("kind"), max_length=40)
    detail = models.CharField(_("detail"), max_length=500, blank=True)
    occurred_at = models.DateTimeField(_("when"), null=True, blank=True)
    received_at = models.DateTimeField(_("received"), auto_now_add=True)

    class Meta:
        verbose_name = _("delivery event")
        verbose_name_plural = _("delivery events")
        ordering = ["received_at", "pk"]

    def __str__(self) -> str:
        return self.kind


class Outage(models.Model):
    """A channel whose provider takes nothing: its messages wait, and one of them is tried from time to time.

    One row per channel, made at the first failure. `since` is set while messages wait.
    """

    channel = models.CharField(_("channel"), max_length=8, choices=Channel.choices, primary_key=True)
    failures = models.PositiveIntegerField(_("failures in a row"), default=0)
    since = models.DateTimeField(_("messages wait since"), null=True, blank=True)
    next_try_at = models.DateTimeField(_("next try"), null=True, blank=True)
    error_code = models.CharField(_("error"), max_length=60, blank=True)
    error_text = models.CharField(_("what happened"), max_length=500, blank=True)

    class Meta:
        verbose_name = _("outage of a provider")
        verbose_name_plural = _("outages of providers")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(since__isnull=True, next_try_at__isnull=True)
                | models.Q(since__isnull=False, next_try_at__isnull=False),
                name="outage_has_a_next_try",
            )
        ]

    def __str__(self) -> str:
        return self.get_channel_display()
