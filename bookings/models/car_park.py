"""Car parks, the pools of spaces in them, and the products sold from a pool."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _
from phonenumber_field.modelfields import PhoneNumberField


class Operator(models.Model):
    """The company that runs car parks; named on confirmations and receipts."""

    name = models.CharField(_("name"), max_length=100, unique=True)
    legal_name = models.CharField(_("legal name"), max_length=160, blank=True)
    address = models.TextField(_("address"), blank=True)
    email = models.EmailField(_("e-mail address"), blank=True)
    phone = PhoneNumberField(_("phone"), blank=True)
    vat_number = models.CharField(_("VAT number"), max_length=32, blank=True)
    vat_percent = models.DecimalField(
        _("VAT rate"),
        max_digits=5,
        decimal_places=2,
        null=True,
        blank=True,
        validators=[MinValueValidator(0), MaxValueValidator(100)],
        help_text=_(
            "Per cent, such as 20. All prices include it, and receipts show it. Empty: receipts say nothing of VAT. A change counts "
            "for receipts issued from then on."
        ),
    )

    class Meta:
        verbose_name = _("operator")
        verbose_name_plural = _("operators")
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(vat_percent__isnull=True)
                | models.Q(vat_percent__gte=0, vat_percent__lte=100),
                name="operator_vat_percent_in_range",
            )
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Refuse a VAT rate without what a receipt with VAT must name. Raises ValidationError by field."""
        super().clean()
        if self.vat_percent is None:
            return
        missing = {
            field: _("A receipt with VAT must show it. Fill it in, or leave the VAT rate empty.")
            for field in ("legal_name", "address", "vat_number")
            if not getattr(self, field).strip()
        }
        if missing:
            raise ValidationError(missing)


class CarPark(models.Model):
    """A place to leave the car. `is_open` False takes it off sale; bookings already made stay."""

    class Kind(models.TextChoices):
        PARK_AND_RIDE = "park_and_ride", _("Park and ride")
        PARK_AND_WALK = "park_and_walk", _("Park and walk")
        MEET_AND_GREET = "meet_and_greet", _("Meet and greet")
        VALET = "valet", _("Valet")

    airport = models.ForeignKey(
        "bookings.Airport", on_delete=models.PROTECT, related_name="car_parks", verbose_name=_("airport")
    )
    operator = models.ForeignKey(
        Operator, on_delete=models.PROTECT, related_name="car_parks", verbose_name=_("operator")
    )
    name = models.CharField(_("name"), max_length=100)
    slug = models.SlugField(_("slug"), max_length=100, unique=True)
    kind = models.CharField(_("kind"), max_length=20, choices=Kind.choices)
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
    transfer_minutes = models.PositiveSmallIntegerField(
        _("transfer"), default=0, help_text=_("Minutes from the car to the terminal, by shuttle or on foot.")
    )
    address = models.TextField(_("address"))
    directions = models.TextField(_("directions"), blank=True)
    description = models.TextField(_("description"), blank=True)
    height_limit_cm = models.PositiveSmallIntegerField(
        _("height limit"), null=True, blank=True, help_text=_("Centimetres; empty when there is none.")
    )
    is_covered = models.BooleanField(_("covered"), default=False)
    is_open = models.BooleanField(_("open for booking"), default=True)
    amenities = models.JSONField(
        _("amenities"), default=list, blank=True, help_text=_("A list of words such as “cctv” or “shuttle”.")
    )

    class Meta:
        verbose_name = _("car park")
        verbose_name_plural = _("car parks")
        ordering = ["airport", "name"]
        constraints = [
            models.UniqueConstraint(fields=["airport", "name"], name="car_park_name_once_per_airport")
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if not isinstance(self.amenities, list) or not all(isinstance(word, str) for word in self.amenities):
            raise ValidationError({"amenities": _('Enter a list of words, such as ["cctv", "shuttle"].')})


class Pool(models.Model):
    """Spaces that are counted together. A capacity under what is already sold is refused by the database."""

    class Kind(models.TextChoices):
        STANDARD = "standard", _("Standard spaces")
        EV = "ev", _("Charging bays")
        ACCESSIBLE = "accessible", _("Accessible bays")

    car_park = models.ForeignKey(
        CarPark, on_delete=models.PROTECT, related_name="pools", verbose_name=_("car park")
    )
    kind = models.CharField(_("kind"), max_length=12, choices=Kind.choices, default=Kind.STANDARD)
    name = models.CharField(_("name"), max_length=80)
    capacity = models.PositiveIntegerField(_("capacity"), validators=[MaxValueValidator(100_000)])

    class Meta:
        verbose_name = _("pool")
        verbose_name_plural = _("pools")
        ordering = ["car_park", "name"]
        constraints = [
            models.UniqueConstraint(fields=["car_park", "name"], name="pool_name_once_per_car_park"),
            models.CheckConstraint(
                condition=models.Q(capacity__gte=0, capacity__lte=100_000), name="pool_capacity_in_range"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.car_park.name}: {self.name}"

    def clean(self) -> None:
        """Say kindly what the database would refuse: a capacity under the most that is already sold."""
        if self.pk and self.capacity is not None:
            from bookings.queries import sold_peak

            peak = sold_peak(self)
            if self.capacity < peak:
                raise ValidationError(
                    {
                        "capacity": _(
                            "%(peak)d spaces are already sold at the busiest time. Enter %(peak)d or more."
                        )
                        % {"peak": peak}
                    }
                )


class Product(models.Model):
    """What a customer picks: spaces of one pool, priced by a tariff, cancelled under a policy."""

    car_park = models.ForeignKey(
        CarPark, on_delete=models.PROTECT, related_name="products", verbose_name=_("car park")
    )
    pool = models.ForeignKey(Pool, on_delete=models.PROTECT, related_name="products", verbose_name=_("pool"))
    name = models.CharField(_("name"), max_length=100)
    description = models.TextField(_("description"), blank=True)
    tariff = models.ForeignKey(
        "bookings.Tariff", on_delete=models.PROTECT, related_name="products", verbose_name=_("tariff")
    )
    policy = models.ForeignKey(
        "bookings.CancellationPolicy",
        on_delete=models.PROTECT,
        related_name="products",
        verbose_name=_("cancellation policy"),
    )
    is_active = models.BooleanField(_("on sale"), default=True)
    needs_flight_number = models.BooleanField(_("needs a flight number"), default=False)

    class Meta:
        verbose_name = _("product")
        verbose_name_plural = _("products")
        ordering = ["car_park", "name"]
        constraints = [
            models.UniqueConstraint(fields=["car_park", "name"], name="product_name_once_per_car_park")
        ]

    def __str__(self) -> str:
        return f"{self.car_park.name}: {self.name}"

    def clean(self) -> None:
        if self.pool_id and self.car_park_id and self.pool.car_park_id != self.car_park_id:
            raise ValidationError({"pool": _("Choose a pool of the same car park.")})
        if self.tariff_id and self.car_park_id:
            currency = self.car_park.airport.currency
            if self.tariff.currency != currency:
                raise ValidationError(
                    {
                        "tariff": _("Choose a tariff in %(currency)s, the airport's currency.")
                        % {"currency": currency}
                    }
                )
            policy_currency = self.policy.currency if self.policy_id else ""
            if policy_currency and policy_currency != currency:
                raise ValidationError(
                    {"policy": _("Choose a policy whose fee is in %(currency)s.") % {"currency": currency}}
                )
