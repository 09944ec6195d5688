"""Quotes, bookings, and the timeline of a booking."""

from __future__ import annotations

import uuid
from datetime import datetime
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from phonenumber_field.modelfields import PhoneNumberField

from bookings.models.airport import Airport
from foundation.money import LARGEST_MINOR, Money


class Quote(models.Model):
    """A priced answer that promises no space. The price and the policy hold until `expires_at`."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    product = models.ForeignKey("bookings.Product", on_delete=models.PROTECT, related_name="quotes")
    start_at = models.DateTimeField(_("drop-off"))
    end_at = models.DateTimeField(_("return"))
    total_minor = models.PositiveIntegerField(_("total"))
    currency = models.CharField(_("currency"), max_length=3)
    lines = models.JSONField(_("price lines"), default=list)
    policy = models.JSONField(_("cancellation policy"), default=dict)
    promo = models.ForeignKey(
        "bookings.PromoCode",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        verbose_name=_("promo code"),
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="quotes"
    )
    created_at = models.DateTimeField(_("made"))
    expires_at = models.DateTimeField(_("valid until"), db_index=True)

    class Meta:
        verbose_name = _("quote")
        verbose_name_plural = _("quotes")
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(end_at__gt=models.F("start_at")), name="quote_ends_after_start"
            ),
            models.CheckConstraint(
                condition=models.Q(total_minor__gte=0, total_minor__lte=LARGEST_MINOR),
                name="quote_total_in_range",
            ),
            models.CheckConstraint(
                condition=models.Q(currency__regex=r"^[A-Z]{3}$"), name="quote_currency_code"
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def total(self) -> Money:
        return Money(self.total_minor, self.currency)


class Booking(models.Model):
    """The customer's contract: a space of a pool for a stay, at a frozen price under a frozen policy."""

    class Status(models.TextChoices):
        HELD = "held", _("Held")
        CONFIRMED = "confirmed", _("Confirmed")
        ARRIVED = "arrived", _("Arrived")
        COMPLETED = "completed", _("Completed")
        EXPIRED = "expired", _("Expired")
        CANCELLED = "cancelled", _("Cancelled")
        NO_SHOW = "no_show", _("No-show")

    reference = models.CharField(_("reference"), max_length=12, unique=True)
    status = models.CharField(_("status"), max_length=12, choices=Status.choices, default=Status.HELD)
    product = models.ForeignKey("bookings.Product", on_delete=models.PROTECT, related_name="bookings")
    pool = models.ForeignKey("bookings.Pool", on_delete=models.PROTECT, related_name="bookings")
    quote = models.ForeignKey(Quote, on_delete=models.PROTECT, related_name="bookings")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="bookings",
        verbose_name=_("customer"),
    )
    start_at = models.DateTimeField(_("drop-off"))
    end_at = models.DateTimeField(_("return"))
    driver_name = models.CharField(_("driver"), max_length=120)
    driver_email = models.EmailField(_("driver's e-mail address"), max_length=254)
    driver_phone = PhoneNumberField(_("driver's phone"), max_length=20)
    plate = models.CharField(_("number plate"), max_length=12)
    outbound_flight = models.CharField(_("outbound flight"), max_length=8, blank=True)
    return_flight = models.CharField(_("return flight"), max_length=8, blank=True)
    language = models.CharField(_("language"), max_length=8, default="en")
    # What was ticked when booking; it becomes consent when the booking is paid, so that nobody signs up a stranger.
    offers_wording = models.CharField(_("offers asked for"), max_length=500, blank=True, editable=False)
    # Where the hold came from, as a keyed hash, for the cap on open holds.
    held_from_key = models.CharField(max_length=64, blank=True, editable=False)
    total_minor = models.PositiveIntegerField(_("total"))
    currency = models.CharField(_("currency"), max_length=3)
    lines = models.JSONField(_("price lines"), default=list)
    policy = models.JSONField(_("cancellation policy"), default=dict)
    # What we hold of the customer's money: taken, less what went back, is on its way back, or was given back by a bank for good.
    # Triggers of payments keep it, so that neither a cancellation nor a change promises money twice.
    kept_minor = models.PositiveIntegerField(
        _("held of the customer's money"), default=0, db_default=0, editable=False
    )
    # What banks gave the customer back for good: it counts as given by whatever the policy gives later. Kept by payments as well.
    taken_back_minor = models.PositiveIntegerField(
        _("given back by banks"), default=0, db_default=0, editable=False
    )
    hold_expires_at = models.DateTimeField(_("held until"))
    guest_token_hash = models.CharField(max_length=64)
    created_at = models.DateTimeField(_("made"), default=timezone.now)
    confirmed_at = models.DateTimeField(_("confirmed at"), null=True, blank=True)
    cancelled_at = models.DateTimeField(_("cancelled at"), null=True, blank=True)
    expired_at = models.DateTimeField(_("expired at"), null=True, blank=True)

    class Meta:
        verbose_name = _("booking")
        verbose_name_plural = _("bookings")
        ordering = ["-created_at", "-pk"]
        indexes = [
            models.Index(fields=["user", "-start_at"], name="booking_by_customer"),
            models.Index(fields=["status", "start_at"], name="booking_by_status"),
            models.Index(
                fields=["end_at"],
                condition=models.Q(status__in=["confirmed", "arrived"]),
                name="booking_by_return",
            ),
            models.Index(Lower("driver_email"), name="booking_by_email"),
            models.Index(
                fields=["held_from_key"],
                condition=models.Q(status="held") & ~models.Q(held_from_key=""),
                name="booking_held_from",
            ),
            models.Index(fields=["driver_phone"], name="booking_by_phone"),
            models.Index(
                fields=["pool", "hold_expires_at"],
                condition=models.Q(status="held"),
                name="booking_held_by_pool",
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["quote", "plate"],
                condition=models.Q(status="held"),
                name="booking_one_hold_per_quote_and_car",
            ),
            models.CheckConstraint(
                condition=models.Q(end_at__gt=models.F("start_at")), name="booking_ends_after_start"
            ),
            models.CheckConstraint(
                condition=models.Q(total_minor__gte=0, total_minor__lte=LARGEST_MINOR),
                name="booking_total_in_range",
            ),
            models.CheckConstraint(
                condition=models.Q(currency__regex=r"^[A-Z]{3}$"), name="booking_currency_code"
            ),
            models.CheckConstraint(
                condition=models.Q(plate__regex=r"^[A-Z0-9]{2,12}$"), name="booking_plate_plain"
            ),
            models.CheckConstraint(
                condition=models.Q(reference__regex=r"^(AP-[2-9A-HJKMNP-Z]{6}|test-booking)$"),
                name="booking_reference_form",
            ),
            models.CheckConstraint(condition=~models.Q(driver_name=""), name="booking_driver_named"),
            models.CheckConstraint(
                condition=models.Q(driver_email__contains="@"), name="booking_driver_reachable"
            ),
            models.CheckConstraint(
                condition=models.Q(guest_token_hash__regex=r"^[0-9a-f]{64}$"),  # noqa: S106 - a pattern
                name="booking_guest_token_hashed",
            ),
            models.CheckConstraint(
                condition=~models.Q(status__in=["confirmed", "arrived", "completed", "no_show"])
                | models.Q(confirmed_at__isnull=False),
                name="booking_confirmed_when",
            ),
            models.CheckConstraint(
                condition=~models.Q(status="cancelled") | models.Q(cancelled_at__isnull=False),
                name="booking_cancelled_when",
            ),
            models.CheckConstraint(
                condition=~models.Q(status="expired") | models.Q(expired_at__isnull=False),
                name="booking_expired_when",
            ),
        ]

    def __str__(self) -> str:
        return self.reference

    @property
    def airport(self) -> Airport:
        return self.product.car_park.airport

    @property
    def zone(self) -> ZoneInfo:
        return self.airport.zone

    @property
    def local_start(self) -> datetime:
        """Drop-off on the airport's clock."""
        return self.start_at.astimezone(self.zone)

    @property
    def local_end(self) -> datetime:
        """Return on the airport's clock."""
        return self.end_at.astimezone(self.zone)

    @property
    def total(self) -> Money:
        return Money(self.total_minor, self.currency)

    @property
    def contact_language(self) -> str:
        return self.language or settings.LANGUAGE_CODE


Status = Booking.Status
TRANSITIONS: dict[str, frozenset[str]] = {
    Status.HELD.value: frozenset({"confirmed", "expired", "cancelled"}),
    Status.CONFIRMED.value: frozenset({"arrived", "cancelled", "no_show"}),
    Status.ARRIVED.value: frozenset({"completed"}),
    Status.COMPLETED.value: frozenset(),
    Status.EXPIRED.value: frozenset({"confirmed"}),  # only by re-acquiring capacity in the same transaction
    Status.CANCELLED.value: frozenset(),
    Status.NO_SHOW.value: frozenset(),
}


class BookingEvent(models.Model):
    """One line of a booking's timeline. Append-only in the database."""

    class Kind(models.TextChoices):
        HELD = "held", _("Space held")
        CONFIRMED = "confirmed", _("Booking confirmed")
        EXPIRED = "expired", _("Hold expired")
        CANCELLED = "cancelled", _("Booking cancelled")
        ARRIVED = "arrived", _("Car arrived")
        COMPLETED = "completed", _("Car collected")
        NO_SHOW = "no_show", _("Car did not arrive")
        AMENDMENT_HELD = "amendment_held", _("Change waits for payment")
        AMENDED = "amended", _("Booking changed")
        AMENDMENT_EXPIRED = "amendment_expired", _("Change not paid in time")
        AMENDMENT_CANCELLED = "amendment_cancelled", _("Change withdrawn")
        DETAILS_CHANGED = "details_changed", _("Details changed")
        NOTE = "note", _("Note")

    booking = models.ForeignKey(Booking, on_delete=models.PROTECT, related_name="events")
    kind = models.CharField(_("what"), max_length=32, choices=Kind.choices)
    at = models.DateTimeField(_("when"))
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        verbose_name=_("who"),
    )
    data = models.JSONField(_("details"), default=dict, blank=True)

    class Meta:
        verbose_name = _("booking event")
        verbose_name_plural = _("booking events")
        ordering = ["at", "pk"]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.at:%Y-%m-%d %H:%M}Z"
