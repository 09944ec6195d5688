"""Staff door to airports, car parks, prices, policies and bookings."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import Count, Q, QuerySet, Sum
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.admin import StackedInline, TabularInline
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from bookings import admin_promo  # noqa: F401 - registers its page
from bookings.admin_amend import AmendingAdmin
from bookings.models import (
    Airport,
    Booking,
    CancellationPolicy,
    CarPark,
    Operator,
    PolicyTier,
    Pool,
    Product,
    Tariff,
    TariffRule,
)
from bookings.services.stay import Driver, clean_driver, clean_flight, clean_plate
from foundation.admin import AuditedAdmin, local_and_utc, local_in_list, money
from foundation.errors import InvalidInput
from foundation.money import Money, exponent
from foundation.text import is_storable

REFUSALS = {
    "pool_capacity_covers_sold": _(
        "More cars than that are already booked at the same time. Enter a capacity that holds them all."
    ),
    "product_pool_in_car_park": _("Choose a pool of the same car park."),
    "pool_capacity_in_range": _("Enter a capacity between 0 and 100,000."),
    "pool_name_once_per_car_park": _("This car park already has a pool of that name."),
    "product_name_once_per_car_park": _("This car park already has a product of that name."),
    "car_park_name_once_per_airport": _("This airport already has a car park of that name."),
}


class WordsField(forms.CharField):
    """A list of words, written with commas between them."""

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(str(word) for word in value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        if isinstance(value, list):
            return value
        return [
            word for word in (part.strip() for part in (super().to_python(value) or "").split(",")) if word
        ]

    def validate(self, value: Any) -> None:
        if not all(is_storable(word) for word in value):
            raise ValidationError(_("The text holds a character that cannot be stored."), code="unstorable")
        super().validate(value)

    def run_validators(self, value: Any) -> None:
        super().run_validators(", ".join(value))

    def has_changed(self, initial: Any, data: Any) -> bool:
        return self.to_python(initial or []) != self.to_python(data or "")


class MajorUnitsForm(forms.ModelForm):
    """A form that asks for amounts as people write them (10.50) and keeps them in minor units.

    `amounts` maps the form's field to the model's. The currency comes from the same form.
    """

    amounts: dict[str, str] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, column in self.amounts.items():
            kept = getattr(self.instance, column)
            currency = self.instance.currency
            if self.instance.pk and currency and kept is not None:
                self.initial[name] = Money(kept, currency).to_major()

    def clean_currency(self) -> str:
        currency = self.cleaned_data["currency"].strip().upper()
        if currency:
            try:
                exponent(currency)
            except ValueError as error:
                raise ValidationError(str(error), code="currency") from None
        return currency

    def clean(self) -> Any:
        cleaned = super().clean()
        currency = self.cleaned_data.get("currency")
        for name, column in self.amounts.items():
            text = (self.cleaned_data.get(name) or "").strip()
            if not text or text == "0":
                setattr(self.instance, column, 0)
                continue
            if not currency:
                if "currency" not in self.errors:
                    self.add_error("currency", _("An amount needs its currency."))
                continue
            try:
                amount = Money.from_major(text, currency)
            except ValueError as error:
                self.add_error(name, str(error))
                continue
            if amount.amount_minor < 0:
                self.add_error(name, _("Enter zero or more."))
                continue
            setattr(self.instance, column, amount.amount_minor)
        return cleaned


def _amount_field(label: Any, *, required: bool = False, help_text: Any = "") -> forms.CharField:
    return forms.CharField(
        label=label,
        required=required,
        max_length=20,
        help_text=help_text,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal", "autocomplete": "off"}),
    )


def iata(airport: Airport) -> SafeString:
    return format_html('<span class="ops-iata" title="{}">{}</span>', airport.name, airport.iata)


@admin.register(Airport)
class AirportAdmin(AuditedAdmin):
    list_display = ["code", "name", "city", "country", "timezone", "currency", "car_park_count", "is_active"]
    list_display_links = ["code", "name"]
    list_filter = ["is_active", "country", "currency"]
    search_fields = ["iata", "name", "city"]
    search_help_text = _("IATA code, name or city")
    list_fullwidth = True
    fieldsets = [
        (None, {"fields": ["iata", "name", "city", "country", "is_active"]}),
        (_("Local"), {"fields": ["timezone", "currency", "latitude", "longitude"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Airport]:
        return super().get_queryset(request).annotate(car_parks_here=Count("car_parks"))

    @display(description=_("code"), ordering="iata")
    def code(self, airport: Airport) -> SafeString:
        return iata(airport)

    @display(description=_("car parks"), ordering="car_parks_here")
    def car_park_count(self, airport: Any) -> int:
        return airport.car_parks_here


@admin.register(Operator)
class OperatorAdmin(AuditedAdmin):
    list_display = ["name", "legal_name", "email", "phone", "vat_number", "vat_percent"]
    search_fields = ["name", "legal_name", "email", "vat_number"]
    list_fullwidth = True


class CarParkForm(forms.ModelForm):
    amenities = WordsField(
        label=_("Amenities"),
        required=False,
        max_length=500,
        widget=UnfoldAdminTextInputWidget(),
        help_text=_("Words with commas between them, such as: cctv, shuttle."),
    )

    class Meta:
        model = CarPark
        fields = [
            "airport", "operator", "name", "slug", "kind", "is_open", "latitude", "longitude", "transfer_minutes", "address",
            "directions", "description", "height_limit_cm", "is_covered", "amenities",
        ]  # fmt: skip


class PoolInline(TabularInline):
    model = Pool
    extra = 0
    fields = ["name", "kind", "capacity"]
    tab = True


class ProductInline(StackedInline):
    model = Product
    extra = 0
    fields = ["name", "pool", "tariff", "policy", "is_active", "needs_flight_number", "description"]
    tab = True

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Offer this car park's own pools only."""
        if db_field.name == "pool":
            match = request.resolver_match
            given = (match.kwargs.get("object_id") or "") if match else ""
            mine = int(given) if given.isascii() and given.isdigit() and len(given) < 19 else 0
            kwargs["queryset"] = Pool.objects.filter(car_park=mine).select_related("car_park")
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


@admin.register(CarPark)
class CarParkAdmin(AuditedAdmin):
    """Car parks with their pools and products. Products come after the first save: they are sold from a pool."""

    form = CarParkForm
    refusals = REFUSALS
    list_display = ["name", "airport_code", "operator", "kind", "spaces", "transfer", "is_open"]
    list_filter = ["is_open", "airport", "operator", "kind"]
    list_select_related = ["airport", "operator"]
    search_fields = ["name", "slug", "airport__iata", "airport__name", "operator__name"]
    search_help_text = _("Name, airport or operator")
    list_fullwidth = True
    prepopulated_fields = {"slug": ["name"]}
    fieldsets = [
        (None, {"fields": ["airport", "operator", "name", "slug", "kind", "is_open"]}),
        (
            _("Finding it"),
            {
                "classes": ["tab"],
                "fields": ["address", "directions", "latitude", "longitude", "transfer_minutes"],
            },
        ),
        (
            _("What it offers"),
            {"classes": ["tab"], "fields": ["description", "height_limit_cm", "is_covered", "amenities"]},
        ),
    ]
    inlines = [PoolInline, ProductInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[CarPark]:
        return super().get_queryset(request).annotate(capacity_sum=Sum("pools__capacity"))

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        return self.inlines if obj else [PoolInline]

    @display(description=_("airport"), ordering="airport__iata")
    def airport_code(self, car_park: CarPark) -> SafeString:
        return iata(car_park.airport)

    @display(description=_("spaces"), ordering="capacity_sum")
    def spaces(self, car_park: Any) -> int:
        return car_park.capacity_sum or 0

    @display(description=_("transfer"), ordering="transfer_minutes")
    def transfer(self, car_park: CarPark) -> str:
        return _("%(minutes)d min") % {"minutes": car_park.transfer_minutes}


class TariffForm(MajorUnitsForm):
    amounts = {"daily": "daily_minor", "stay_fee": "stay_fee_minor"}
    daily = _amount_field(
        _("Price per day"), required=True, help_text=_("As customers read it, such as 10.50.")
    )
    stay_fee = _amount_field(_("Fee per stay"), help_text=_("Added once to each stay; empty for none."))

    class Meta:
        model = Tariff
        fields = ["name", "currency", "is_active"]


class TariffRuleForm(forms.ModelForm):
    weekdays = forms.TypedMultipleChoiceField(
        label=_("Weekdays"),
        required=False,
        coerce=int,
        choices=[
            (0, _("Monday")), (1, _("Tuesday")), (2, _("Wednesday")), (3, _("Thursday")), (4, _("Friday")), (5, _("Saturday")),
            (6, _("Sunday")),
        ],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text=_("The local day on which the stay begins."),
    )  # fmt: skip

    class Meta:
        model = TariffRule
        fields = [
            "kind", "label", "percent", "position", "min_days", "max_days", "hours_ahead", "weekdays", "season_from", "season_to",
            "occupancy_percent",
        ]  # fmt: skip


class TariffRuleInline(StackedInline):
    model = TariffRule
    form = TariffRuleForm
    extra = 0
    fields = [
        ("kind", "label"),
        ("percent", "position"),
        ("min_days", "max_days"),
        ("hours_ahead", "occupancy_percent"),
        ("season_from", "season_to"),
        "weekdays",
    ]


@admin.register(Tariff)
class TariffAdmin(AuditedAdmin):
    """Prices. A change never touches quotes or bookings already made."""

    form = TariffForm
    list_display = ["name", "price_per_day", "fee_per_stay", "rule_count", "product_count", "is_active"]
    list_filter = ["is_active", "currency"]
    search_fields = ["name", "currency"]
    list_fullwidth = True
    fields = ["name", "currency", "daily", "stay_fee", "is_active"]
    inlines = [TariffRuleInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tariff]:
        return (
            super()
            .get_queryset(request)
            .annotate(
                rules_here=Count("rules", distinct=True), products_here=Count("products", distinct=True)
            )
        )

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if self.has_change_permission(request, obj):
            return self.fields
        return ["name", "currency", "price_per_day", "fee_per_stay", "is_active"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [] if self.has_change_permission(request, obj) else ["price_per_day", "fee_per_stay"]

    @display(description=_("price per day"), ordering="daily_minor")
    def price_per_day(self, tariff: Tariff) -> SafeString:
        return money(tariff.daily_minor, tariff.currency)

    @display(description=_("fee per stay"), ordering="stay_fee_minor")
    def fee_per_stay(self, tariff: Tariff) -> SafeString:
        return money(tariff.stay_fee_minor, tariff.currency)

    @display(description=_("rules"))
    def rule_count(self, tariff: Any) -> int:
        return tariff.rules_here

    @display(description=_("products"))
    def product_count(self, tariff: Any) -> int:
        return tariff.products_here


class CancellationPolicyForm(MajorUnitsForm):
    amounts = {"fee": "fee_minor"}
    fee = _amount_field(
        _("Cancellation fee"), help_text=_("As customers read it, such as 5.00; empty for none.")
    )

    class Meta:
        model = CancellationPolicy
        fields = ["name", "summary", "currency"]


class PolicyTierInline(TabularInline):
    model = PolicyTier
    extra = 0
    fields = ["notice_hours", "refund_percent"]


@admin.register(CancellationPolicy)
class CancellationPolicyAdmin(AuditedAdmin):
    """What comes back after a cancellation. Frozen into each booking: a change is for bookings still to come."""

    form = CancellationPolicyForm
    list_display = ["name", "summary", "fee_text", "tier_text"]
    search_fields = ["name", "summary"]
    list_fullwidth = True
    fields = ["name", "summary", "fee", "currency"]
    inlines = [PolicyTierInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[CancellationPolicy]:
        return super().get_queryset(request).prefetch_related("tiers")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields if self.has_change_permission(request, obj) else ["name", "summary", "fee_text"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [] if self.has_change_permission(request, obj) else ["fee_text"]

    @display(description=_("fee"), ordering="fee_minor")
    def fee_text(self, policy: CancellationPolicy) -> SafeString:
        return money(policy.fee_minor if policy.currency else None, policy.currency)

    @display(description=_("comes back"))
    def tier_text(self, policy: CancellationPolicy) -> SafeString:
        tiers = sorted(policy.tiers.all(), key=lambda tier: -tier.notice_hours)
        return format_html_join(
            ", ", "{} h: {} %", [(tier.notice_hours, tier.refund_percent) for tier in tiers]
        )


class DropOffFilter(admin.SimpleListFilter):
    """Drop-off on the airport's own calendar: "today" in Auckland is not "today" in London."""

    title = _("drop-off")
    parameter_name = "drop_off"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [
            ("yesterday", _("Yesterday")),
            ("today", _("Today")),
            ("tomorrow", _("Tomorrow")),
            ("week", _("The next 7 days")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Booking]) -> QuerySet[Booking]:
        days = {"yesterday": (-1, 0), "today": (0, 1), "tomorrow": (1, 2), "week": (0, 7)}.get(
            self.value() or ""
        )
        if days is None:
            return queryset
        condition = Q(pk__in=[])
        for name in Airport.objects.order_by().values_list("timezone", flat=True).distinct():
            first, end = local_days(ZoneInfo(name), timezone.now(), *days)
            condition |= Q(product__car_park__airport__timezone=name, start_at__gte=first, start_at__lt=end)
        return queryset.filter(condition)


def local_days(zone: ZoneInfo, now: datetime, first: int, end: int) -> tuple[datetime, datetime]:
    """Return the instants at which the local days `first` and `end` (0 is today) begin in the zone."""
    today = now.astimezone(zone).date()
    return tuple(datetime.combine(today + timedelta(days=day), time.min, tzinfo=zone) for day in (first, end))  # type: ignore[return-value]


class BookingForm(forms.ModelForm):
    """What may be put right on the phone: who drives, how to reach them, which car and flights. Never money or dates.

    The rules are those of place_hold, so that whatever a customer could book staff can save.
    """

    driver_phone = forms.CharField(
        label=_("Driver's phone"), max_length=40, widget=UnfoldAdminTextInputWidget()
    )
    plate = forms.CharField(label=_("Number plate"), max_length=60, widget=UnfoldAdminTextInputWidget())
    outbound_flight = forms.CharField(
        label=_("Outbound flight"), max_length=20, required=False, widget=UnfoldAdminTextInputWidget()
    )
    return_flight = forms.CharField(
        label=_("Return flight"), max_length=20, required=False, widget=UnfoldAdminTextInputWidget()
    )

    language = forms.ChoiceField(
        label=_("Messages in"),
        choices=settings.MESSAGE_LANGUAGES,
        required=False,
        widget=UnfoldAdminSelectWidget(),
    )

    class Meta:
        model = Booking
        fields = [
            "driver_name",
            "driver_email",
            "driver_phone",
            "plate",
            "outbound_flight",
            "return_flight",
            "language",
        ]

    def clean_language(self) -> str:
        return self.cleaned_data["language"] or self.instance.language

    def clean(self) -> Any:
        cleaned = super().clean() or self.cleaned_data
        if {"driver_name", "driver_email", "driver_phone"} <= cleaned.keys():
            given = Driver(cleaned["driver_name"], cleaned["driver_email"], str(cleaned["driver_phone"]))
            try:
                driver = clean_driver(given)
            except InvalidInput as error:
                self.add_error(
                    f"driver_{(error.field or '').rpartition('.')[2] or 'name'}", str(error.message)
                )
            else:
                cleaned |= {
                    "driver_name": driver.name,
                    "driver_email": driver.email,
                    "driver_phone": driver.phone,
                }
        for name, tidy in (
            ("plate", clean_plate),
            ("outbound_flight", partial(clean_flight, field="outbound_flight")),
            ("return_flight", partial(clean_flight, field="return_flight")),
        ):
            if name in cleaned:
                try:
                    cleaned[name] = tidy(cleaned[name])
                except InvalidInput as error:
                    self.add_error(name, str(error.message))
        return cleaned

    def _get_validation_exclusions(self) -> set[str]:
        """Skip the model's own check of the phone: it refuses numbers whose plan is newer than our copy of it."""
        inherited = super()._get_validation_exclusions()  # type: ignore[misc]  # private: not in the stubs
        return {*inherited, "driver_phone"}


STATUS_COLOURS = {
    Booking.Status.HELD: "warning",
    Booking.Status.CONFIRMED: "success",
    Booking.Status.ARRIVED: "info",
    Booking.Status.COMPLETED: "",
    Booking.Status.EXPIRED: "",
    Booking.Status.CANCELLED: "danger",
    Booking.Status.NO_SHOW: "danger",
}


@admin.register(Booking)
class BookingAdmin(AmendingAdmin, AuditedAdmin):
    """Bookings. Money, dates and states are read here and changed by services only."""

    form = BookingForm
    list_display = [
        "reference_text",
        "status_badge",
        "driver",
        "place",
        "listed_drop_off",
        "listed_return",
        "total_text",
    ]
    list_filter = ["status", ("product__car_park__airport", admin.RelatedOnlyFieldListFilter), DropOffFilter]
    list_select_related = ["product__car_park__airport"]
    list_fullwidth = True
    list_per_page = 50
    search_fields = ["reference", "plate", "driver_email", "driver_phone", "driver_name"]
    search_help_text = _("Reference, number plate, e-mail, phone or name")
    date_hierarchy = "start_at"
    show_full_result_count = False
    change_form_outer_after_template = "admin/bookings/booking_story.html"
    ordering = ["-created_at", "-pk"]
    shown = [
        "reference", "status", "place_text", "product_name", "drop_off", "pick_up", "customer", "total_text",
        "lines_text", "policy_text", "made", "held_until",
    ]  # fmt: skip
    fieldsets = [
        (_("The stay"), {"fields": ["reference", "status", "place_text", "product_name", "drop_off", "pick_up"]}),
        (
            _("The driver"),
            {
                "fields": [
                    "driver_name", "driver_email", "driver_phone", "plate", "outbound_flight", "return_flight", "language",
                    "customer",
                ]
            },
        ),
        (_("The money"), {"fields": ["total_text", "lines_text", "policy_text", "made", "held_until"]}),
    ]  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Booking]:
        return super().get_queryset(request).select_related("product__car_park__airport", "pool", "user")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.shown

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Find what people say on the phone: any way of writing a plate, reference or phone number; e-mail; name."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if not is_storable(term):
            return queryset.none(), False
        plain = re.sub(r"[^A-Z0-9]", "", term.upper())
        digits = re.sub(r"\D", "", term).lstrip("0")
        found = Q(driver_email__icontains=term)
        names = Q()
        for word in term.split()[:6]:
            names &= Q(driver_name__icontains=word)
        found |= names
        if plain:
            found |= Q(plate__contains=plain)
            found |= Q(reference__contains=plain[2:] if plain.startswith("AP") and len(plain) > 2 else plain)
        if len(digits) >= 5 and not re.search(r"[^\W\d]", term):
            found |= Q(driver_phone__contains=digits)
        return queryset.filter(found), False

    @display(description=_("reference, plate"), ordering="reference")
    def reference_text(self, booking: Booking) -> SafeString:
        return format_html('<span class="ops-mono">{}<br>{}</span>', booking.reference, booking.plate)

    @display(description=_("status"), ordering="status", label=STATUS_COLOURS)
    def status_badge(self, booking: Booking) -> tuple[str, str]:
        return booking.status, booking.get_status_display()

    @display(description=_("driver"), ordering="driver_name")
    def driver(self, booking: Booking) -> SafeString:
        return format_html(
            '{}<br><span class="ops-quiet">{}</span>', booking.driver_name, booking.driver_email
        )

    @display(description=_("car park"), ordering="product__car_park__name")
    def place(self, booking: Booking) -> SafeString:
        return format_html("{} {}", iata(booking.airport), booking.product.car_park.name)

    place_text = place

    @display(description=_("product"))
    def product_name(self, booking: Booking) -> str:
        return f"{booking.product.name} ({booking.pool.get_kind_display()})"

    @display(description=_("drop-off"), ordering="start_at")
    def listed_drop_off(self, booking: Booking) -> SafeString:
        return local_in_list(booking.start_at, booking.zone)

    @display(description=_("return"), ordering="end_at")
    def listed_return(self, booking: Booking) -> SafeString:
        return local_in_list(booking.end_at, booking.zone)

    @display(description=_("drop-off"), ordering="start_at")
    def drop_off(self, booking: Booking) -> SafeString:
        return local_and_utc(booking.start_at, booking.zone)

    @display(description=_("return"), ordering="end_at")
    def pick_up(self, booking: Booking) -> SafeString:
        return local_and_utc(booking.end_at, booking.zone)

    @display(description=_("total"), ordering="total_minor")
    def total_text(self, booking: Booking) -> SafeString:
        return money(booking.total_minor, booking.currency)

    @display(description=_("customer"))
    def customer(self, booking: Booking) -> str:
        return booking.user.email if booking.user else str(_("Guest, without an account"))

    @display(description=_("price lines"))
    def lines_text(self, booking: Booking) -> SafeString:
        rows = [
            (line.get("label", ""), money(line.get("amount_minor"), booking.currency))
            for line in booking.lines
        ]
        return format_html_join(SafeString("<br>"), "{}: {}", rows)

    @display(description=_("cancellation policy"))
    def policy_text(self, booking: Booking) -> SafeString:
        policy = booking.policy or {}
        return format_html(
            '{}<br><span class="ops-quiet">{}</span>', policy.get("name", ""), policy.get("summary", "")
        )

    @display(description=_("made"))
    def made(self, booking: Booking) -> SafeString:
        return local_and_utc(booking.created_at, booking.zone)

    @display(description=_("held until"))
    def held_until(self, booking: Booking) -> SafeString:
        return local_and_utc(booking.hold_expires_at, booking.zone)
