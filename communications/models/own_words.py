"""The words of one campaign or alert."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from communications.models.channel import Channel


class OwnWords(models.Model):
    """What one campaign or alert says on a channel in a language; the highest number counts. An edit is a new row, and nobody can
    write another once it is on its way: PostgreSQL refuses.

    `owner` is the sender's key, as on its messages: "campaign:7", "alert:3".
    """

    owner = models.CharField(max_length=60)
    channel = models.CharField(_("channel"), max_length=8, choices=Channel.choices)
    language = models.CharField(_("language"), max_length=8)
    number = models.PositiveIntegerField(_("version"))
    subject = models.CharField(_("subject"), max_length=200, blank=True)
    heading = models.CharField(_("heading"), max_length=200, blank=True)
    body = models.TextField(_("text"), max_length=8000)
    button_label = models.CharField(_("button"), max_length=60, blank=True)
    button_variable = models.CharField(_("button opens"), max_length=40, blank=True)
    created_at = models.DateTimeField(_("when"), auto_now_add=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        verbose_name=_("who"),
    )

    class Meta:
        verbose_name = _("words of a campaign")
        verbose_name_plural = _("words of campaigns")
        ordering = ["owner", "channel", "language", "-number"]
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "channel", "language", "number"], name="own_words_number_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.owner} {self.channel} {self.language} v{self.number}"
