"""Templates and their versions."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from communications.catalogue import kind_choices
from communications.models.channel import Channel


class MessageTemplate(models.Model):
    """The words for one kind of message, on one channel, in one language. The newest version is the one in use."""

    kind = models.CharField(_("kind"), max_length=40, choices=kind_choices)
    channel = models.CharField(_("channel"), max_length=8, choices=Channel.choices)
    language = models.CharField(_("language"), max_length=8, default="en")

    class Meta:
        verbose_name = _("message template")
        verbose_name_plural = _("message templates")
        ordering = ["kind", "channel", "language"]
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "channel", "language"], name="one_template_per_kind_channel_language"
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} · {self.get_channel_display()} · {self.language}"

    @property
    def current(self) -> TemplateVersion | None:
        """The version in use, or None before the first."""
        return self.versions.order_by("-number").first()


class TemplateVersion(models.Model):
    """What a template said from a moment on. Never changed: an edit is a new version. Text with {{ placeholders }} only."""

    template = models.ForeignKey(
        MessageTemplate, on_delete=models.CASCADE, related_name="versions", verbose_name=_("template")
    )
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
        verbose_name = _("template version")
        verbose_name_plural = _("template versions")
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(fields=["template", "number"], name="template_version_number_once")
        ]

    def __str__(self) -> str:
        return f"{self.template} v{self.number}"
