"""Promo codes: made by staff or by a campaign, with what became of them."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from bookings.models import Product, PromoCode
from bookings.services.promo import tidy
from foundation.admin import AuditedAdmin, money
from foundation.money import Money


class PromoCodeForm(forms.ModelForm):
    amount = forms.CharField(
        label=_("Amount off"),
        required=False,
        max_length=20,
        help_text=_("As customers read it, such as 5.00; it needs a currency."),
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal", "autocomplete": "off"}),
    )

    class Meta:
        model = PromoCode
        fields = [
            "code", "name", "kind", "percent", "currency", "valid_from", "valid_until", "max_uses", "max_uses_per_customer", "airports",
            "products", "is_active",
        ]  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        products: Any = self.fields.get("products")
        if products is not None:
            products.queryset = Product.objects.select_related("car_park__airport").order_by(
                "car_park__airport__iata", "car_park__name", "name"
            )
            products.label_from_instance = lambda row: (
                f"{row.car_park.airport.iata} · {row.car_park.name} · {row.name}"
            )
        amount = self.instance.amount
        if amount is not None:
            self.initial["amount"] = amount.to_major()

    def clean_code(self) -> str:
        return tidy(self.cleaned_data["code"])

    def clean_currency(self) -> str:
        return self.cleaned_data["currency"].strip().upper()

    def clean(self) -> Any:
        cleaned: dict[str, Any] = super().clean() or {}
        self.instance.amount_minor = 0
        if cleaned.get("kind") == PromoCode.Kind.PERCENT:
            return cleaned
        cleaned["percent"] = None
        text = (cleaned.get("amount") or "").strip()
        try:
            amount = Money.from_major(text, cleaned.get("currency") or "")
        except ValueError as error:
            self.add_error("amount" if cleaned.get("currency") else "currency", str(error))
            return cleaned
        if amount.amount_minor <= 0:
            self.add_error("amount", _("Enter more than zero."))
        else:
            self.instance.amount_minor = amount.amount_minor
        return cleaned


@admin.register(PromoCode)
class PromoCodeAdmin(AuditedAdmin):
    """Promo codes. A change never touches quotes or bookings already made."""

    form = PromoCodeForm
    refusals = {
        "bookings_promocode_code_key": _("There is such a code already. Choose another one."),
        "promo_code_takes_something_off": _("Enter either percent, or an amount with its currency."),
    }
    list_display = ["code_text", "name", "takes_off", "uses_text", "valid_until", "is_active"]
    list_display_links = ["code_text"]
    list_filter = ["is_active", "kind", "airports"]
    search_fields = ["code", "name"]
    list_fullwidth = True
    autocomplete_fields = ["airports"]
    readonly_fields = ["uses"]
    fieldsets = [
        (None, {"fields": ["code", "name", "kind", "percent", ("amount", "currency"), "is_active"]}),
        (_("When and how often"), {"fields": ["valid_from", "valid_until", ("max_uses", "max_uses_per_customer")]}),
        (_("Where"), {"fields": ["airports", "products"]}),
        (_("Bookings made with it"), {"fields": ["uses"]}),
    ]  # fmt: skip

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """A code that somebody used keeps its name: it stands on their price lines."""
        return ["uses", "code"] if obj is not None and obj.uses.exists() else ["uses"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and (obj is None or not obj.uses.exists())

    @display(description=_("code"), ordering="code")
    def code_text(self, promo: PromoCode) -> SafeString:
        return format_html('<span class="ops-mono">{}</span>', promo.code)

    @display(description=_("takes off"))
    def takes_off(self, promo: PromoCode) -> SafeString | str:
        if promo.kind == PromoCode.Kind.AMOUNT:
            return money(promo.amount_minor, promo.currency)
        return f"{promo.percent:f}".rstrip("0").rstrip(".") + " %"

    @display(description=_("uses"), ordering="used")
    def uses_text(self, promo: PromoCode) -> str:
        return f"{promo.used} / {promo.max_uses}" if promo.max_uses is not None else str(promo.used)

    @display(description=_("newest"))
    def uses(self, promo: PromoCode) -> SafeString | str:
        if promo.pk is None:
            return "-"
        rows = promo.uses.select_related("booking")[:50]
        return (
            format_html_join(
                "",
                '<p><a class="ops-mono underline" href="{}">{}</a> {} {}</p>',
                (
                    (
                        reverse("admin:bookings_booking_change", args=[use.booking_id]),
                        use.booking.reference,
                        use.booking.get_status_display(),
                        money(-use.discount_minor, use.booking.currency),
                    )
                    for use in rows
                ),
            )
            or "-"
        )
