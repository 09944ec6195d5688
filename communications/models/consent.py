"""Who wants what: the ledger of consent, what follows from it, addresses that take nothing, and what people text back."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from communications.models.channel import Channel
from communications.models.message import Message


class ConsentSource(models.TextChoices):
    SIGN_UP = "sign_up", _("sign-up form")
    BOOKING = "booking", _("booking form")
    ACCOUNT = "account", _("account page")
    PREFERENCES = "preferences", _("preferences page")
    ONE_CLICK = "one_click", _("one-click unsubscribe")
    SMS = "sms", _("answer by SMS")
    PROVIDER = "provider", _("report of the provider")
    STAFF = "staff", _("staff")
    IMPORT = "import", _("import")


class ConsentEntry(models.Model):
    """One yes or no to offers on one channel. Append-only: PostgreSQL refuses changes, but for forgetting the person.

    `address_key` is a keyed hash of the address, so that an erased person's no still stands; `address` is blanked by erasure.
    """

    channel = models.CharField(_("channel"), max_length=8, choices=Channel.choices)
    address_key = models.CharField(_("address, hashed"), max_length=64, db_index=True)
    address = models.CharField(_("address"), max_length=254, blank=True)
    is_granted = models.BooleanField(_("wants offers"))
    source = models.CharField(_("how"), max_length=16, choices=ConsentSource.choices)
    wording = models.CharField(_("wording that was shown"), max_length=500, blank=True)
    language = models.CharField(_("language"), max_length=8, blank=True)
    note = models.CharField(_("note"), max_length=500, blank=True)
    ip_address = models.GenericIPAddressField(_("IP address"), null=True, blank=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        verbose_name=_("by"),
    )
    at = models.DateTimeField(_("when"), db_index=True)

    class Meta:
        verbose_name = _("consent entry")
        verbose_name_plural = _("consent ledger")
        ordering = ["-at", "-pk"]

    def __str__(self) -> str:
        return f"{self.get_channel_display()}: {_('yes') if self.is_granted else _('no')}"


class ConsentState(models.Model):
    """The last word per channel and address. A trigger of the ledger writes it; nobody else may."""

    channel = models.CharField(_("channel"), max_length=8, choices=Channel.choices)
    address_key = models.CharField(_("address, hashed"), max_length=64)
    is_granted = models.BooleanField(_("wants offers"))
    since = models.DateTimeField(_("since"))

    class Meta:
        verbose_name = _("consent")
        verbose_name_plural = _("consents")
        constraints = [models.UniqueConstraint(fields=["channel", "address_key"], name="consent_state_once")]

    def __str__(self) -> str:
        return f"{self.channel} {self.address_key[:8]}"


class SuppressionCause(models.TextChoices):
    HARD_BOUNCE = "hard_bounce", _("does not exist")
    SPAM_REPORT = "spam_report", _("reported us as spam")
    STOPPED = "stopped", _("answered STOP")
    STAFF = "staff", _("entered by staff")


class Suppression(models.Model):
    """An address to which nothing is sent until somebody, or START, lifts it."""

    channel = models.CharField(_("channel"), max_length=8, choices=Channel.choices)
    address_key = models.CharField(_("address, hashed"), max_length=64)
    address = models.CharField(_("address"), max_length=254, blank=True)
    cause = models.CharField(_("why"), max_length=16, choices=SuppressionCause.choices)
    detail = models.CharField(_("what the provider said"), max_length=500, blank=True)
    message = models.ForeignKey(
        Message, null=True, blank=True, on_delete=models.SET_NULL, related_name="+", verbose_name=_("message")
    )
    at = models.DateTimeField(_("since"))
    lifted_at = models.DateTimeField(_("lifted"), null=True, blank=True)
    lifted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        verbose_name=_("lifted by"),
    )
    lift_reason = models.CharField(_("why it was lifted"), max_length=500, blank=True)

    class Meta:
        verbose_name = _("suppressed address")
        verbose_name_plural = _("suppressed addresses")
        ordering = ["-at"]
        permissions = [("lift_suppression", _("Can lift the suppression of an address"))]
        constraints = [
            models.UniqueConstraint(
                fields=["channel", "address_key", "cause"],
                condition=Q(lifted_at__isnull=True),
                name="suppression_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.address or self.address_key[:8]}: {self.get_cause_display()}"


class Keyword(models.TextChoices):
    STOP = "stop", _("STOP")
    START = "start", _("START")
    HELP = "help", _("HELP")
    OTHER = "", _("something else")


class InboundText(models.Model):
    """An SMS that somebody sent us. `handled_at` says that staff have read one which no keyword answered."""

    sid = models.CharField(_("provider's reference"), max_length=64, unique=True)
    phone = models.CharField(_("from"), max_length=32, db_index=True)
    to = models.CharField(_("to"), max_length=32)
    body = models.TextField(_("text"), max_length=1600, blank=True)
    keyword = models.CharField(_("understood as"), max_length=8, choices=Keyword.choices, blank=True)
    reply = models.CharField(_("our answer"), max_length=480, blank=True)
    received_at = models.DateTimeField(_("received"), db_index=True)
    handled_at = models.DateTimeField(_("handled"), null=True, blank=True)
    handled_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        verbose_name=_("handled by"),
    )

    class Meta:
        verbose_name = _("received SMS")
        verbose_name_plural = _("received SMS")
        ordering = ["-received_at", "-pk"]

    def __str__(self) -> str:
        return f"{self.phone}: {self.body[:40]}"
