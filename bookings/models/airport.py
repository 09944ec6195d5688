"""Airports: where a stay happens, in which time zone and currency."""

from __future__ import annotations

from zoneinfo import ZoneInfo, available_timezones

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

currency_code = RegexValidator(r"^[A-Z]{3}\Z", _("Enter a three-letter currency code such as GBP."))


def known_time_zone(value: str) -> None:
    """Raise ValidationError unless `value` is an IANA time zone name."""
    if value not in available_timezones():
        raise ValidationError(_("Enter a time zone name such as Europe/London."))


class Airport(models.Model):
    """An airport. Everything local about a stay (clock, calendar days, currency) is the airport's."""

    iata = models.CharField(
        _("IATA code"),
        max_length=3,
        unique=True,
        validators=[RegexValidator(r"^[A-Z]{3}\Z", _("Enter three capital letters such as LHR."))],
    )
    name = models.CharField(_("name"), max_length=100)
    city = models.CharField(_("city"), max_length=80)
    country = models.CharField(_("country"), max_length=2, help_text=_("Two letters, such as GB."))
    timezone = models.CharField(_("time zone"), max_length=64, validators=[known_time_zone])
    latitude = models.DecimalField(
        _("latitude"),
        max_digits=8,
        decimal_places=5,
        validators=[MinValueValidator(-90), MaxValueValidator(90)],
    )
    longitude = models.DecimalField(
        _("longitude"),
        max_digits=8,
        decimal_places=5,
        validators=[MinValueValidator(-180), MaxValueValidator(180)],
    )
    currency = models.CharField(_("currency"), max_length=3, validators=[currency_code])
    is_active = models.BooleanField(_("on sale"), default=True)

    class Meta:
        verbose_name = _("airport")
        verbose_name_plural = _("airports")
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(iata__regex=r"^[A-Z]{3}$"), name="airport_iata_three_capitals"
            ),
            models.CheckConstraint(
                condition=models.Q(currency__regex=r"^[A-Z]{3}$"), name="airport_currency_code"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.iata})"

    @property
    def zone(self) -> ZoneInfo:
        """The airport's clock."""
        return ZoneInfo(self.timezone)
