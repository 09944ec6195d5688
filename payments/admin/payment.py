"""Payments, and the refund of one with a preview."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core import signing
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

from foundation.admin import ReadOnlyAdmin, ReadOnlyInline, ReasonForm, local_and_utc, money
from foundation.errors import DomainError
from foundation.models import IdempotencyRecord
from foundation.money import Money
from payments.admin.shared import DocumentInline, demand, link_to, page_of
from payments.models import Payment, Refund, RefundSource
from payments.services import refund as refunds

REFUND_PERMISSION = "payments.refund_payment"
PREVIEW_LIVES_SECONDS = 15 * 60

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


@dataclass(frozen=True)
class Preview:
    """What a confirmed refund will do; `token` works once and stands for exactly this amount and reason."""

    amount: Money
    reason: str
    remains: Money
    left_after: Money
    token: str


class RefundInline(ReadOnlyInline, TabularInline):
    model = Refund
    fields = ["amount_text", "status", "source", "reason", "requested_by", "created_at", "finished_at"]
    readonly_fields = fields
    show_change_link = True
    tab = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Refund]:
        return super().get_queryset(request).select_related("requested_by", "payment")

    @display(description=_("amount"))
    def amount_text(self, refund: Refund) -> SafeString:
        return money(refund.amount_minor, refund.currency)


@admin.register(Payment)
class PaymentAdmin(ReadOnlyAdmin):
    list_display = [
        "booking_link", "status_badge", "amount_text", "captured_text", "refunded_text", "provider_ref", "method_label", "created_at",
    ]  # fmt: skip
    list_display_links = ["status_badge", "amount_text"]
    list_filter = ["status", "provider", "currency", "created_at"]
    list_select_related = ["booking"]
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

    @action(description=_("Refund…"), url_path="refund-form", icon="currency_exchange")
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
            amount, reason = form.cleaned_data["amount"], form.cleaned_data["reason"]
            try:
                refunds.preview_refund(payment, amount.amount_minor)
            except DomainError as error:
                form.add_error("amount", str(error.message))
            else:
                preview = Preview(
                    amount=amount,
                    reason=reason,
                    remains=Money(
                        payment.captured_minor - payment.reserved_minor - amount.amount_minor, amount.currency
                    ),
                    left_after=left - amount,
                    token=self._token(request, payment, amount, reason),
                )
        return self._render(request, payment, form=form, preview=preview, left=left)

    def _token(self, request: HttpRequest, payment: Payment, amount: Money, reason: str) -> str:
        promise = {
            "payment": str(payment.pk),
            "amount_minor": amount.amount_minor,
            "reason": reason,
            "user": request.user.pk,
            "once": secrets.token_urlsafe(16),
        }
        return signing.dumps(promise, salt="payments.admin.refund", compress=True)

    def _confirm(self, request: HttpRequest, payment: Payment) -> HttpResponse:
        back = HttpResponseRedirect(page_of(payment))
        again = HttpResponseRedirect(reverse("admin:payments_payment_refund", args=[payment.pk]))
        try:
            promise = signing.loads(
                request.POST["token"], salt="payments.admin.refund", max_age=PREVIEW_LIVES_SECONDS
            )
        except signing.BadSignature:
            self.message_user(
                request, _("That preview has lapsed. Please check the amount again."), messages.ERROR
            )
            return again
        if promise["payment"] != str(payment.pk) or promise["user"] != request.user.pk:
            self.message_user(
                request, _("That preview belongs to another payment. Please start again."), messages.ERROR
            )
            return again
        try:
            with transaction.atomic():
                # The token is spent in the same commit as the refund is born: a second click finds it spent, whenever it comes.
                IdempotencyRecord.objects.create(
                    principal=f"user:{request.user.pk}",
                    route="admin refund",
                    key=promise["once"],
                    fingerprint=f"payment:{payment.pk}"[:64],
                    finished_at=timezone.now(),
                )
                refund = refunds.request_refund(
                    payment,
                    amount_minor=promise["amount_minor"],
                    reason=promise["reason"],
                    requested_by=request.user,
                    source=RefundSource.STAFF,
                )
                self.log_change(
                    request,
                    payment,
                    gettext("Refund of %(amount)s requested: %(reason)s")
                    % {"amount": Money(refund.amount_minor, refund.currency), "reason": promise["reason"]},
                )
        except IntegrityError as error:
            constraint = getattr(getattr(error.__cause__, "diag", None), "constraint_name", "")
            if constraint != "idempotency_unique_call":
                self.message_user(
                    request,
                    _("The database refused the refund: less is left than asked for. Nothing was sent."),
                    messages.ERROR,
                )
                return again
            self.message_user(
                request,
                _("This refund was already requested. It was not sent a second time."),
                messages.WARNING,
            )
            return back
        except DomainError as error:
            self.message_user(request, str(error.message), messages.ERROR)
            return again
        self.message_user(
            request,
            _("%(amount)s is on its way back. The customer is told when the provider has it.")
            % {"amount": Money(refund.amount_minor, refund.currency)},
            messages.SUCCESS,
        )
        return back

    def _render(
        self,
        request: HttpRequest,
        payment: Payment,
        *,
        form: RefundForm,
        preview: Preview | None,
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
