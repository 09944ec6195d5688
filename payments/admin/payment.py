"""Payments, and the refund of one with a preview."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline
from unfold.decorators import action, display

from foundation.admin import (
    ReadOnlyAdmin,
    ReadOnlyInline,
    ReasonForm,
    local_and_utc,
    local_in_list,
    money,
    short_reference,
)
from foundation.errors import DomainError
from foundation.money import Money
from payments.admin.shared import DocumentInline, demand, link_to, page_of
from payments.models import Payment, Refund
from payments.services.refund_preview import PreviewUsed, ShownRefund, refund_as_shown, show_refund

REFUND_PERMISSION = "payments.refund_payment"

PAYMENT_COLOURS = {
    "created": "", "submitted": "info", "requires_action": "warning", "processing": "info", "unknown": "danger",
    "captured": "success", "failed": "danger", "cancelled": "",
}  # fmt: skip


class RefundForm(ReasonForm):
    """How much of a payment goes back, as people write it (10.50), and why."""

    amount = forms.CharField(
        label=_("Amount"),
        max_length=20,
        widget=forms.TextInput(
            attrs={"class": "ops-input ops-money", "inputmode": "decimal", "autocomplete": "off"}
        ),
    )
    field_order = ["amount", "reason"]

    def __init__(self, *args: Any, left: Money, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.left = left
        self.fields["amount"].help_text = _("In %(currency)s. Up to %(left)s is left to refund.") % {
            "currency": left.currency,
            "left": left,
        }

    def clean_amount(self) -> Money:
        try:
            amount = Money.from_major(self.cleaned_data["amount"], self.left.currency)
        except ValueError as error:
            raise ValidationError(str(error), code="amount") from None
        if amount.amount_minor <= 0:
            raise ValidationError(_("Enter more than zero."), code="amount")
        if self.left < amount:
            raise ValidationError(
                _("Only %(left)s is left to refund. Enter that or less.") % {"left": self.left},
                code="over_refund",
            )
        return amount


class RefundInline(ReadOnlyInline, TabularInline):
    model = Refund
    fields = ["amount_text", "status_text", "source", "reason", "requested_by", "created_at", "finished_at"]
    readonly_fields = fields
    show_change_link = True
    tab = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Refund]:
        return super().get_queryset(request).select_related("requested_by", "payment")

    @display(description=_("status"))
    def status_text(self, refund: Refund) -> str:
        return (
            gettext("waits for a second person") if refund.waits_for_approval else refund.get_status_display()
        )

    @display(description=_("amount"))
    def amount_text(self, refund: Refund) -> SafeString:
        return money(refund.amount_minor, refund.currency)


@admin.register(Payment)
class PaymentAdmin(ReadOnlyAdmin):
    list_display = [
        "booking_link", "status_badge", "amount_text", "refunded_text", "method_label", "reference", "made",
    ]  # fmt: skip
    list_display_links = ["status_badge", "amount_text"]
    list_filter = ["status", "provider", "currency", "created_at"]
    list_select_related = ["booking__product__car_park__airport"]
    list_fullwidth = True
    search_fields = [
        "booking__reference",
        "provider_ref",
        "booking__driver_email",
        "booking__driver_name",
        "method_label",
    ]
    search_help_text = _("Booking reference, provider reference, e-mail or name")
    date_hierarchy = "created_at"
    show_full_result_count = False
    inlines = [RefundInline, DocumentInline]
    actions_detail = ["refund_action"]
    readonly_fields = [
        "booking_link", "status", "amount_text", "captured_text", "refunded_text", "reserved_text", "disputed_text",
        "left_text", "created", "submitted", "captured", "checked",
    ]  # fmt: skip
    fieldsets = [
        (
            None,
            {
                "fields": [
                    "booking_link",
                    "status",
                    "user",
                    "provider",
                    "provider_ref",
                    "method_label",
                    "stored_method",
                    "is_off_session",
                ]
            },
        ),
        (
            _("The money"),
            {
                "fields": [
                    "amount_text",
                    "captured_text",
                    "refunded_text",
                    "reserved_text",
                    "disputed_text",
                    "left_text",
                ]
            },
        ),
        (
            _("What happened"),
            {
                "fields": [
                    "created",
                    "submitted",
                    "captured",
                    "checked",
                    "failure_code",
                    "failure_message",
                    "idempotency_key",
                ]
            },
        ),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Payment]:
        return super().get_queryset(request).select_related("booking__product__car_park__airport", "user")

    def get_urls(self) -> list[Any]:
        refund = path(
            "<uuid:payment_id>/refund/",
            self.admin_site.admin_view(self.refund_view),
            name="payments_payment_refund",
        )
        return [refund, *super().get_urls()]

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        """Hide the button from those who may not press it; the page behind it refuses them as well."""
        offered = super().get_actions_detail(request, object_id)
        if request.user.has_perm(REFUND_PERMISSION):
            return offered
        return [one for one in offered if "refund_action" not in one.action_name]

    @action(permissions=["view"], description=_("Refund…"), url_path="refund-form", icon="currency_exchange")
    def refund_action(self, request: HttpRequest, object_id: str) -> HttpResponse:
        payment = self.get_object(request, object_id)
        if payment is None:
            raise Http404
        return HttpResponseRedirect(reverse("admin:payments_payment_refund", args=[payment.pk]))

    def refund_view(self, request: HttpRequest, payment_id: Any) -> HttpResponse:
        """Ask for amount and reason, show what that does, and do it once when confirmed."""
        demand(request, REFUND_PERMISSION, attempted="refund", subject=f"payment:{payment_id}")
        payment = self.get_object(request, str(payment_id))
        if payment is None:
            raise Http404
        left = payment.refundable
        if request.method == "POST" and "token" in request.POST:
            return self._confirm(request, payment)
        form = RefundForm(
            request.POST if request.method == "POST" else None,
            left=left,
            initial={"amount": left.to_major()} if left else None,
        )
        preview = None
        if request.method == "POST" and form.is_valid():
            try:
                preview = show_refund(
                    payment,
                    amount_minor=form.cleaned_data["amount"].amount_minor,
                    reason=form.cleaned_data["reason"],
                    principal=f"user:{request.user.pk}",
                    by_staff=True,
                    now=timezone.now(),
                )
            except DomainError as error:
                form.add_error("amount", str(error.message))
        return self._render(request, payment, form=form, preview=preview, left=left)

    def _confirm(self, request: HttpRequest, payment: Payment) -> HttpResponse:
        back = HttpResponseRedirect(page_of(payment))
        again = HttpResponseRedirect(reverse("admin:payments_payment_refund", args=[payment.pk]))
        try:
            with transaction.atomic():
                refund = refund_as_shown(
                    payment,
                    token=request.POST["token"],
                    principal=f"user:{request.user.pk}",
                    requested_by=request.user,
                    now=timezone.now(),
                )
                self.log_change(
                    request,
                    payment,
                    gettext("Refund of %(amount)s requested: %(reason)s")
                    % {"amount": refund.amount, "reason": refund.reason},
                )
        except IntegrityError:
            self.message_user(
                request,
                _("The database refused the refund: less is left than asked for. Nothing was sent."),
                messages.ERROR,
            )
            return again
        except PreviewUsed as error:
            self.message_user(request, str(error.message), messages.WARNING)
            return back
        except DomainError as error:
            self.message_user(request, str(error.message), messages.ERROR)
            return again
        done = (
            _("%(amount)s waits for another person to approve it. It goes out then; nothing was sent yet.")
            if refund.needs_approval
            else _("%(amount)s is on its way back. The customer is told when the provider has it.")
        )
        self.message_user(request, done % {"amount": refund.amount}, messages.SUCCESS)
        return back

    def _render(
        self,
        request: HttpRequest,
        payment: Payment,
        *,
        form: RefundForm,
        preview: ShownRefund | None,
        left: Money,
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": _("Refund %(reference)s") % {"reference": payment.booking.reference},
            "opts": self.opts,
            "payment": payment,
            "payment_page": page_of(payment),
            "booking": payment.booking,
            "form": form,
            "preview": preview,
            "left": left,
            "captured": Money(payment.captured_minor, payment.currency),
            "reserved": Money(payment.reserved_minor, payment.currency),
            "media": self.media,
        }
        status = 400 if form.is_bound and not form.is_valid() else 200
        return TemplateResponse(request, "admin/payments/refund.html", context, status=status)

    @display(description=_("provider reference"), ordering="provider_ref")
    def reference(self, payment: Payment) -> SafeString:
        return short_reference(payment.provider_ref or "")

    @display(description=_("made"), ordering="created_at")
    def made(self, payment: Payment) -> SafeString:
        return local_in_list(payment.created_at, payment.booking.zone)

    @display(description=_("booking"), ordering="booking__reference")
    def booking_link(self, payment: Payment) -> SafeString:
        return link_to(payment.booking, payment.booking.reference)

    @display(description=_("status"), ordering="status", label=PAYMENT_COLOURS)
    def status_badge(self, payment: Payment) -> tuple[str, str]:
        return payment.status, payment.get_status_display()

    @display(description=_("amount"), ordering="amount_minor")
    def amount_text(self, payment: Payment) -> SafeString:
        return money(payment.amount_minor, payment.currency)

    @display(description=_("captured"), ordering="captured_minor")
    def captured_text(self, payment: Payment) -> SafeString:
        return money(payment.captured_minor, payment.currency)

    @display(description=_("refunded"), ordering="refunded_minor")
    def refunded_text(self, payment: Payment) -> SafeString:
        return money(payment.refunded_minor, payment.currency)

    @display(description=_("refunded or on its way"))
    def reserved_text(self, payment: Payment) -> SafeString:
        return money(payment.reserved_minor, payment.currency)

    @display(description=_("disputed"))
    def disputed_text(self, payment: Payment) -> SafeString:
        return money(payment.disputed_minor, payment.currency)

    @display(description=_("left to refund"))
    def left_text(self, payment: Payment) -> SafeString:
        left = payment.refundable
        return money(left.amount_minor, left.currency)

    @display(description=_("started"))
    def created(self, payment: Payment) -> SafeString:
        return local_and_utc(payment.created_at, payment.booking.zone)

    @display(description=_("sent to the provider"))
    def submitted(self, payment: Payment) -> SafeString:
        return local_and_utc(payment.submitted_at, payment.booking.zone)

    @display(description=_("captured"))
    def captured(self, payment: Payment) -> SafeString:
        return local_and_utc(payment.captured_at, payment.booking.zone)

    @display(description=_("last looked up"))
    def checked(self, payment: Payment) -> SafeString:
        return local_and_utc(payment.last_checked_at, payment.booking.zone)
