"""Promo codes, and each booking that used one."""

from __future__ import annotations

from datetime import datetime

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from foundation.money import LARGEST_MINOR, Money

CODE_PATTERN = r"^[A-Z0-9][A-Z0-9-]{2,23}$"


class PromoCode(models.Model):
    """A reduction that a customer names. A change of it never touches quotes or bookings already made.

    `used` counts the bookings that hold a use now; PostgreSQL keeps it with PromoUse and refuses the one too many.
    """

    class Kind(models.TextChoices):
        PERCENT = "percent", _("Percent of the price")
        AMOUNT = "amount", _("Fixed amount")

    code = models.CharField(
        _("code"),
        max_length=24,
        unique=True,
        validators=[
            RegexValidator(
                CODE_PATTERN, _("Use 3 to 24 capital letters, digits and dashes, such as SPRING-20.")
            )
        ],
        help_text=_("What customers enter, such as SPRING20. Capitals do not matter to them."),
    )
    name = models.CharField(
        _("name"), max_length=100, blank=True, help_text=_("For staff: what this code is for.")
    )
    kind = models.CharField(_("kind"), max_length=8, choices=Kind.choices, default=Kind.PERCENT)
    percent = models.DecimalField(
        _("percent off"),
        max_digits=5,
        decimal_places=2,
        null=True,
        blank=True,
        validators=[MinValueValidator(0.01), MaxValueValidator(100)],
    )
    amount_minor = models.PositiveIntegerField(_("amount off"), default=0)
    currency = models.CharField(
        _("currency"),
        max_length=3,
        blank=True,
        help_text=_("A fixed amount needs one; a percentage with one holds for prices in it only."),
    )
    valid_from = models.DateTimeField(
        _("valid from"), null=True, blank=True, help_text=_("When the booking is made. UTC.")
    )
    valid_until = models.DateTimeField(_("valid until"), null=True, blank=True)
    max_uses = models.PositiveIntegerField(
        _("uses in all"), null=True, blank=True, help_text=_("Empty: as many as come.")
    )
    max_uses_per_customer = models.PositiveIntegerField(
        _("uses per customer"),
        null=True,
        blank=True,
        default=1,
        help_text=_("Counted by the driver's e-mail address. Empty: as many as they like."),
    )
    airports = models.ManyToManyField(
        "bookings.Airport",
        blank=True,
        related_name="+",
        verbose_name=_("airports"),
        help_text=_("Empty: everywhere."),
    )
    products = models.ManyToManyField(
        "bookings.Product",
        blank=True,
        related_name="+",
        verbose_name=_("products"),
        help_text=_("Empty: all."),
    )
    is_active = models.BooleanField(_("in use"), default=True)
    used = models.PositiveIntegerField(_("used"), default=0, db_default=0, editable=False)
    created_at = models.DateTimeField(_("made"), auto_now_add=True)

    class Meta:
        verbose_name = _("promo code")
        verbose_name_plural = _("promo codes")
        ordering = ["-created_at", "-pk"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(code__regex=CODE_PATTERN), name="promo_code_well_formed"
            ),
            models.CheckConstraint(
                condition=models.Q(
                    kind="percent", percent__isnull=False, percent__gt=0, percent__lte=100, amount_minor=0
                )
                | models.Q(
                    kind="amount",
                    percent__isnull=True,
                    amount_minor__gt=0,
                    amount_minor__lte=LARGEST_MINOR,
                    currency__regex=r"^[A-Z]{3}$",
                ),
                name="promo_code_takes_something_off",
            ),
            models.CheckConstraint(
                condition=models.Q(currency="") | models.Q(currency__regex=r"^[A-Z]{3}$"),
                name="promo_code_currency",
            ),
            models.CheckConstraint(
                condition=models.Q(valid_from__isnull=True)
                | models.Q(valid_until__isnull=True)
                | models.Q(valid_until__gt=models.F("valid_from")),
                name="promo_code_ends_after_start",
            ),
        ]

    def __str__(self) -> str:
        return self.code

    @property
    def amount(self) -> Money | None:
        return Money(self.amount_minor, self.currency) if self.kind == self.Kind.AMOUNT else None

    def is_valid_at(self, now: datetime) -> bool:
        """Say whether the code is in use and `now` (aware) falls in its time."""
        return (
            self.is_active
            and (self.valid_from is None or self.valid_from <= now)
            and (self.valid_until is None or now < self.valid_until)
        )

    def clean(self) -> None:
        if self.kind == self.Kind.PERCENT and self.percent is None:
            raise ValidationError({"percent": _("Enter how many percent come off.")})
        if self.valid_from and self.valid_until and self.valid_until <= self.valid_from:
            raise ValidationError({"valid_until": _("Enter a time after the start.")})


class PromoUse(models.Model):
    """One booking made with a code. It counts while the booking is held or stands; a lapsed or cancelled one gives it back."""

    promo = models.ForeignKey(PromoCode, on_delete=models.PROTECT, related_name="uses")
    booking = models.OneToOneField("bookings.Booking", on_delete=models.PROTECT, related_name="promo_use")
    customer = models.CharField(_("customer"), max_length=254)
    discount_minor = models.PositiveIntegerField(_("taken off"))
    created_at = models.DateTimeField(_("when"))
    given_back_at = models.DateTimeField(_("given back"), null=True, blank=True)

    class Meta:
        verbose_name = _("use of a promo code")
        verbose_name_plural = _("uses of promo codes")
        ordering = ["-created_at", "-pk"]
        indexes = [models.Index(fields=["promo", "customer"], name="promo_use_by_customer")]

    def __str__(self) -> str:
        return f"{self.promo} · {self.booking}"
