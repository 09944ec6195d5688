"""Tariffs: a price per started local calendar day, a fee per stay, and percent rules on top."""

from __future__ import annotations

from datetime import date

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from bookings.models.airport import currency_code
from foundation.money import LARGEST_MINOR, Money


class Tariff(models.Model):
    """Prices in the currency's minor unit. A change never touches quotes or bookings already made."""

    name = models.CharField(_("name"), max_length=100)
    currency = models.CharField(_("currency"), max_length=3, validators=[currency_code])
    daily_minor = models.PositiveIntegerField(
        _("price per day"),
        validators=[MaxValueValidator(LARGEST_MINOR)],
        help_text=_("In the smallest unit of the currency, such as pence."),
    )
    stay_fee_minor = models.PositiveIntegerField(
        _("fee per stay"), default=0, validators=[MaxValueValidator(LARGEST_MINOR)]
    )
    is_active = models.BooleanField(_("in use"), default=True)

    class Meta:
        verbose_name = _("tariff")
        verbose_name_plural = _("tariffs")
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(currency__regex=r"^[A-Z]{3}$"), name="tariff_currency_code"
            ),
            models.CheckConstraint(
                condition=models.Q(daily_minor__lte=LARGEST_MINOR, stay_fee_minor__lte=LARGEST_MINOR),
                name="tariff_amounts_in_range",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.currency})"

    @property
    def daily(self) -> Money:
        return Money(self.daily_minor, self.currency)


class TariffRule(models.Model):
    """A percentage on the price of the days, on a condition. Of one kind only the first match applies."""

    class Kind(models.TextChoices):
        LENGTH_OF_STAY = "length_of_stay", _("Length of stay")
        EARLY_BIRD = "early_bird", _("Early bird")
        LAST_MINUTE = "last_minute", _("Last minute")
        ARRIVAL_WEEKDAY = "arrival_weekday", _("Day of arrival")
        SEASON = "season", _("Season")
        OCCUPANCY = "occupancy", _("Occupancy")

    tariff = models.ForeignKey(
        Tariff, on_delete=models.CASCADE, related_name="rules", verbose_name=_("tariff")
    )
    kind = models.CharField(_("kind"), max_length=20, choices=Kind.choices)
    label = models.CharField(
        _("label"), max_length=80, help_text=_("The customer reads it on the price line.")
    )
    percent = models.DecimalField(
        _("percent"),
        max_digits=5,
        decimal_places=2,
        validators=[MinValueValidator(-100), MaxValueValidator(300)],
        help_text=_("Negative is a discount."),
    )
    min_days = models.PositiveSmallIntegerField(_("from days"), null=True, blank=True)
    max_days = models.PositiveSmallIntegerField(_("to days"), null=True, blank=True)
    hours_ahead = models.PositiveIntegerField(
        _("hours ahead"),
        null=True,
        blank=True,
        help_text=_("Early bird: at least so many hours before drop-off. Last minute: fewer than so many."),
    )
    weekdays = models.JSONField(
        _("weekdays"), default=list, blank=True, help_text=_("Numbers from 0 (Monday) to 6 (Sunday), local.")
    )
    season_from = models.DateField(
        _("season from"),
        null=True,
        blank=True,
        help_text=_("Only month and day count; the season comes back each year."),
    )
    season_to = models.DateField(_("season to"), null=True, blank=True)
    occupancy_percent = models.PositiveSmallIntegerField(
        _("occupancy over"),
        null=True,
        blank=True,
        validators=[MinValueValidator(50), MaxValueValidator(100)],
        help_text=_("Percent of the pool that is sold at the busiest moment of the stay."),
    )
    position = models.PositiveSmallIntegerField(_("position"), default=0)

    class Meta:
        verbose_name = _("tariff rule")
        verbose_name_plural = _("tariff rules")
        ordering = ["tariff", "position", "pk"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(percent__gte=-100, percent__lte=300), name="tariff_rule_percent_in_range"
            ),
            models.CheckConstraint(
                condition=models.Q(occupancy_percent__isnull=True)
                | models.Q(occupancy_percent__gte=50, occupancy_percent__lte=100),
                name="tariff_rule_occupancy_in_range",
            ),
        ]

    def __str__(self) -> str:
        return self.label

    def clean(self) -> None:
        needed: dict[str, list[str]] = {
            self.Kind.LENGTH_OF_STAY: ["min_days"],
            self.Kind.EARLY_BIRD: ["hours_ahead"],
            self.Kind.LAST_MINUTE: ["hours_ahead"],
            self.Kind.SEASON: ["season_from", "season_to"],
            self.Kind.OCCUPANCY: ["occupancy_percent"],
        }
        missing = [name for name in needed.get(self.kind, []) if getattr(self, name) is None]
        if missing:
            raise ValidationError({name: _("This kind of rule needs a value here.") for name in missing})
        days = self.weekdays
        if not isinstance(days, list) or not all(type(day) is int and 0 <= day <= 6 for day in days):
            raise ValidationError({"weekdays": _("Enter a list of numbers from 0 (Monday) to 6 (Sunday).")})
        if self.kind == self.Kind.ARRIVAL_WEEKDAY and not days:
            raise ValidationError({"weekdays": _("Enter at least one day, such as [4, 5, 6].")})
        if self.min_days is not None and self.max_days is not None and self.max_days < self.min_days:
            raise ValidationError({"max_days": _("Enter a number that is not below the first.")})

    def in_season(self, day: date) -> bool:
        """Say whether the local date falls in the season, which may run over New Year."""
        if self.season_from is None or self.season_to is None:
            return False
        first = (self.season_from.month, self.season_from.day)
        last = (self.season_to.month, self.season_to.day)
        today = (day.month, day.day)
        return first <= today <= last if first <= last else today >= first or today <= last
