"""Staff door to money: read everything, refund with a preview, retry dead letters, resolve breaks. Nothing else is written."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

import djstripe.admin
import paypal.standard.ipn.admin  # noqa: F401 as above
from django import forms
from django.apps import apps
from django.contrib import admin, messages
from django.core import signing
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from paypal.standard.ipn.models import PayPalIPN
from unfold.admin import TabularInline
from unfold.decorators import action, display

from foundation import audit
from foundation.admin import ReadOnlyAdmin, ReadOnlyInline, ReasonForm, local_and_utc, money
from foundation.errors import DomainError
from foundation.models import IdempotencyRecord
from foundation.money import Money
from foundation.text import is_storable
from payments.models import (
    ANSWERABLE,
    OPEN,
    Break,
    Dispute,
    Document,
    EventStatus,
    LedgerEntry,
    LedgerTransaction,
    Payment,
    ProviderEvent,
    Refund,
    RefundSource,
    StoredMethod,
)
from payments.pages.documents import pdf
from payments.paper import evidence
from payments.services import answers, desk
from payments.services import refund as refunds

# dj-stripe's own pages show API keys and can write at Stripe past our ledger; django-paypal's send postbacks to addresses that the
# caller chose. Both register on import: import, then remove.
for _model in (*apps.get_app_config(djstripe.admin.__name__.split(".")[0]).get_models(), PayPalIPN):
    if admin.site.is_registered(_model):
        admin.site.unregister(_model)

REFUND_PERMISSION = "payments.refund_payment"
ANSWER_PERMISSION = "payments.answer_dispute"
RESOLVE_PERMISSION = "payments.change_break"
RETRY_PERMISSION = "payments.change_providerevent"
PREVIEW_LIVES_SECONDS = 15 * 60

PAYMENT_COLOURS = {
    "created": "", "submitted": "info", "requires_action": "warning", "processing": "info", "unknown": "danger",
    "captured": "success", "failed": "danger", "cancelled": "",
}  # fmt: skip
REFUND_COLOURS = {
    "requested": "info", "submitted": "info", "pending": "warning", "unknown": "danger", "succeeded": "success", "failed": "danger",
    "cancelled": "",
}  # fmt: skip


def page_of(row: Any) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def link_to(row: Any, text: str) -> SafeString:
    return format_html('<a class="ops-mono underline" href="{}">{}</a>', page_of(row), text)


def demand(request: HttpRequest, permission: str, *, attempted: str, subject: str) -> None:
    """Raise PermissionDenied (403) without the permission, and leave the attempt in the audit log."""
    if request.user.has_perm(permission):
        return
    audit.record(
        actor=request.user,
        action=f"{attempted}.denied",
        subject=subject,
        reason="",
        data={"needs": permission},
    )
    raise PermissionDenied


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


class AnswerForm(forms.Form):
    """What we say to the bank, in our own words."""

    answer = forms.CharField(
        label=_("Our answer"),
        max_length=answers.LONGEST_ANSWER,
        strip=True,
        widget=forms.Textarea(attrs={"rows": 8, "class": "ops-input"}),
        help_text=_("Why the charge is right. The bank reads it; the audit log keeps it with your name."),
    )

    def clean_answer(self) -> str:
        text = self.cleaned_data["answer"]
        if not is_storable(text):
            raise ValidationError(_("The text holds a character that cannot be stored."), code="unstorable")
        return text


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


def paper_of(document: Document) -> SafeString:
    return format_html(
        '<a class="ops-mono underline" href="{}">{}</a>',
        reverse("admin:payments_document_pdf", args=[document.pk]),
        document.number,
    )


class DocumentInline(ReadOnlyInline, TabularInline):
    model = Document
    fields = ["paper", "kind", "total_text", "vat_text", "issued_at"]
    readonly_fields = fields
    tab = False

    @display(description=_("number"))
    def paper(self, document: Document) -> SafeString:
        return paper_of(document)

    @display(description=_("total"))
    def total_text(self, document: Document) -> SafeString:
        return money(document.total_minor, document.currency)

    @display(description=_("VAT in it"))
    def vat_text(self, document: Document) -> SafeString:
        return money(document.vat_minor, document.currency)


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


@admin.register(Refund)
class RefundAdmin(ReadOnlyAdmin):
    list_display = [
        "id_text",
        "booking_link",
        "status_badge",
        "amount_text",
        "source",
        "requested_by",
        "created_at",
        "finished_at",
    ]
    list_filter = ["status", "source", "currency", "created_at"]
    list_select_related = ["payment__booking", "requested_by"]
    list_fullwidth = True
    search_fields = [
        "payment__booking__reference",
        "provider_ref",
        "payment__provider_ref",
        "payment__booking__driver_email",
    ]
    search_help_text = _("Booking reference, provider reference or e-mail")
    date_hierarchy = "created_at"
    show_full_result_count = False
    inlines = [DocumentInline]
    readonly_fields = ["booking_link", "payment_link", "status", "amount_text"]
    fields = [
        "booking_link", "payment_link", "status", "amount_text", "source", "reason", "requested_by", "provider_ref",
        "failure_code", "created_at", "submitted_at", "finished_at",
    ]  # fmt: skip

    @display(description=_("refund"))
    def id_text(self, refund: Refund) -> SafeString:
        return format_html('<span class="ops-mono">{}</span>', str(refund.pk)[:8])

    @display(description=_("booking"))
    def booking_link(self, refund: Refund) -> SafeString:
        return link_to(refund.payment.booking, refund.payment.booking.reference)

    @display(description=_("payment"))
    def payment_link(self, refund: Refund) -> SafeString:
        return link_to(refund.payment, refund.payment.provider_ref or str(refund.payment_id))

    @display(description=_("status"), ordering="status", label=REFUND_COLOURS)
    def status_badge(self, refund: Refund) -> tuple[str, str]:
        return refund.status, refund.get_status_display()

    @display(description=_("amount"), ordering="amount_minor")
    def amount_text(self, refund: Refund) -> SafeString:
        return money(refund.amount_minor, refund.currency)


METHOD_COLOURS = {"active": "success", "removing": "warning", "removed": ""}


@admin.register(StoredMethod)
class StoredMethodAdmin(ReadOnlyAdmin):
    """Customers' saved cards as customers see them. Nobody here can pay with one or look at more of it."""

    list_display = [
        "label",
        "customer",
        "expiry_text",
        "status_badge",
        "is_default",
        "provider",
        "created_at",
        "removed_at",
    ]
    list_filter = ["status", "provider", "brand", "created_at"]
    list_select_related = ["user"]
    list_fullwidth = True
    search_fields = ["user__email", "user__name", "last4", "provider_ref"]
    search_help_text = _("Customer, last four digits or provider reference")
    show_full_result_count = False
    readonly_fields = ["customer", "expiry_text", "status"]
    fields = [
        "label", "customer", "expiry_text", "status", "is_default", "provider", "provider_ref", "created_at", "removed_at",
    ]  # fmt: skip

    @display(description=_("customer"), ordering="user__email")
    def customer(self, method: StoredMethod) -> SafeString:
        return link_to(method.user, method.user.email)

    @display(description=_("good through"))
    def expiry_text(self, method: StoredMethod) -> str:
        return method.expiry or "-"

    @display(description=_("status"), ordering="status", label=METHOD_COLOURS)
    def status_badge(self, method: StoredMethod) -> tuple[str, str]:
        return method.status, method.get_status_display()


DISPUTE_COLOURS = {
    "needs_response": "danger", "warning_needs_response": "danger", "under_review": "info", "warning_under_review": "info",
    "won": "success", "lost": "", "warning_closed": "",
}  # fmt: skip


class OpenDisputeFilter(admin.SimpleListFilter):
    title = _("what is to be done")
    parameter_name = "todo"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [("answer", _("Needs an answer")), ("open", _("Open"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Dispute]) -> QuerySet[Dispute]:
        if self.value() == "answer":
            return queryset.filter(status__in=ANSWERABLE, answered_at__isnull=True)
        return queryset.filter(status__in=OPEN) if self.value() == "open" else queryset


@admin.register(Dispute)
class DisputeAdmin(ReadOnlyAdmin):
    """Disputes with their deadlines. Answering previews the evidence, asks for words, and is done once."""

    list_display = [
        "due",
        "booking_link",
        "status_badge",
        "amount_text",
        "reason",
        "provider_ref",
        "opened_at",
        "answered_at",
    ]
    list_display_links = ["due", "status_badge"]
    list_filter = [OpenDisputeFilter, "status", "provider", "reason"]
    list_select_related = ["payment__booking__product__car_park__airport", "answered_by"]
    list_fullwidth = True
    search_fields = [
        "provider_ref",
        "payment__booking__reference",
        "payment__booking__driver_email",
        "payment__provider_ref",
    ]
    search_help_text = _("Provider reference, booking reference or e-mail")
    date_hierarchy = "opened_at"
    show_full_result_count = False
    ordering = ["closed_at", "due_by"]
    actions_detail = ["answer_action", "pack_action"]
    readonly_fields = ["booking_link", "payment_link", "status", "amount_text", "due", "opened", "answered"]
    fields = [
        "booking_link", "payment_link", "status", "amount_text", "reason", "due", "opened", "closed_at", "provider", "provider_ref",
        "answer", "answered_by", "answered", "failure",
    ]  # fmt: skip

    def get_urls(self) -> list[Any]:
        answer = path(
            "<uuid:dispute_id>/answer/",
            self.admin_site.admin_view(self.answer_view),
            name="payments_dispute_answer",
        )
        pack = path(
            "<uuid:dispute_id>/evidence.pdf",
            self.admin_site.admin_view(self.pack_view),
            name="payments_dispute_pack",
        )
        return [answer, pack, *super().get_urls()]

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        offered = super().get_actions_detail(request, object_id)
        if request.user.has_perm(ANSWER_PERMISSION):
            return offered
        return [one for one in offered if "answer_action" not in one.action_name]

    @action(description=_("Answer…"), url_path="answer-form", icon="gavel")
    def answer_action(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return HttpResponseRedirect(
            reverse("admin:payments_dispute_answer", args=[self._found(request, object_id).pk])
        )

    @action(description=_("Evidence pack"), url_path="pack", icon="picture_as_pdf")
    def pack_action(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return HttpResponseRedirect(
            reverse("admin:payments_dispute_pack", args=[self._found(request, object_id).pk])
        )

    def pack_view(self, request: HttpRequest, dispute_id: Any) -> HttpResponse:
        """Show the evidence as it would be sent now."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        dispute = self._found(request, str(dispute_id))
        response = HttpResponse(evidence.render(dispute), content_type="application/pdf")
        response["Content-Disposition"] = (
            f'inline; filename="evidence-{dispute.payment.booking.reference}.pdf"'
        )
        return response

    def answer_view(self, request: HttpRequest, dispute_id: Any) -> HttpResponse:
        """Ask for our words, beside the facts and the evidence; record them once for the worker to send."""
        demand(request, ANSWER_PERMISSION, attempted="dispute.answer", subject=f"dispute:{dispute_id}")
        dispute = self._found(request, str(dispute_id))
        form = AnswerForm(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            try:
                answers.answer(dispute, text=form.cleaned_data["answer"], by=request.user, now=timezone.now())
            except DomainError as error:
                self.message_user(request, str(error.message), messages.ERROR)
            else:
                self.log_change(request, dispute, form.cleaned_data["answer"])
                self.message_user(
                    request, _("The answer and the evidence are on their way to the bank."), messages.SUCCESS
                )
            return HttpResponseRedirect(page_of(dispute))
        context = {
            **self.admin_site.each_context(request),
            "title": _("Answer the dispute of %(reference)s")
            % {"reference": dispute.payment.booking.reference},
            "opts": self.opts,
            "dispute": dispute,
            "due": self.due(dispute),
            "dispute_page": page_of(dispute),
            "pack_page": reverse("admin:payments_dispute_pack", args=[dispute.pk]),
            "form": form,
            "media": self.media,
        }
        return TemplateResponse(
            request, "admin/payments/answer.html", context, status=400 if form.is_bound else 200
        )

    def _found(self, request: HttpRequest, object_id: str) -> Dispute:
        dispute = self.get_object(request, object_id)
        if dispute is None:
            raise Http404
        return dispute

    @display(description=_("answer by"), ordering="due_by")
    def due(self, dispute: Dispute) -> SafeString:
        return local_and_utc(dispute.due_by, dispute.payment.booking.zone)

    @display(description=_("opened"))
    def opened(self, dispute: Dispute) -> SafeString:
        return local_and_utc(dispute.opened_at, dispute.payment.booking.zone)

    @display(description=_("answered"))
    def answered(self, dispute: Dispute) -> SafeString:
        return local_and_utc(dispute.answered_at, dispute.payment.booking.zone)

    @display(description=_("booking"), ordering="payment__booking__reference")
    def booking_link(self, dispute: Dispute) -> SafeString:
        return link_to(dispute.payment.booking, dispute.payment.booking.reference)

    @display(description=_("payment"))
    def payment_link(self, dispute: Dispute) -> SafeString:
        return link_to(dispute.payment, dispute.payment.provider_ref or str(dispute.payment_id))

    @display(description=_("status"), ordering="status", label=DISPUTE_COLOURS)
    def status_badge(self, dispute: Dispute) -> tuple[str, str]:
        return dispute.status, dispute.get_status_display()

    @display(description=_("amount"), ordering="amount_minor")
    def amount_text(self, dispute: Dispute) -> SafeString:
        return money(dispute.amount_minor, dispute.currency)


@admin.register(Document)
class DocumentAdmin(ReadOnlyAdmin):
    """Receipts and credit notes. Nobody writes them; they come with the money."""

    list_display = [
        "paper",
        "kind",
        "booking_link",
        "customer",
        "total_text",
        "vat_text",
        "operator",
        "issued_at",
    ]
    list_display_links = ["kind"]
    list_filter = ["kind", "operator", "currency", "issued_at"]
    list_select_related = ["payment__booking", "operator"]
    list_fullwidth = True
    search_fields = ["number", "payment__booking__reference", "payment__booking__driver_email"]
    search_help_text = _("Number, booking reference or e-mail")
    date_hierarchy = "issued_at"
    show_full_result_count = False
    readonly_fields = ["paper", "booking_link", "customer", "total_text", "vat_text"]
    fields = [
        "paper",
        "kind",
        "operator",
        "booking_link",
        "customer",
        "payment",
        "refund",
        "total_text",
        "vat_text",
        "issued_at",
    ]

    def get_urls(self) -> list[Any]:
        paper = path(
            "<uuid:document_id>/pdf/", self.admin_site.admin_view(self.pdf_view), name="payments_document_pdf"
        )
        return [paper, *super().get_urls()]

    def pdf_view(self, request: HttpRequest, document_id: Any) -> HttpResponse:
        """Return the paper itself."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        document = self.get_object(request, str(document_id))
        if document is None:
            raise Http404
        return pdf(document)

    @display(description=_("number"), ordering="number")
    def paper(self, document: Document) -> SafeString:
        return paper_of(document)

    @display(description=_("booking"), ordering="payment__booking__reference")
    def booking_link(self, document: Document) -> SafeString:
        return link_to(document.payment.booking, document.payment.booking.reference)

    @display(description=_("customer"))
    def customer(self, document: Document) -> str:
        return str(document.content["customer"]["name"])

    @display(description=_("total"), ordering="total_minor")
    def total_text(self, document: Document) -> SafeString:
        return money(document.total_minor, document.currency)

    @display(description=_("VAT in it"), ordering="vat_minor")
    def vat_text(self, document: Document) -> SafeString:
        return money(document.vat_minor, document.currency)


class LedgerEntryInline(ReadOnlyInline, TabularInline):
    model = LedgerEntry
    fields = ["account", "debit_or_credit"]
    readonly_fields = ["debit_or_credit"]

    @display(description=_("amount"))
    def debit_or_credit(self, entry: LedgerEntry) -> SafeString:
        return money(entry.amount_minor, entry.currency)


@admin.register(LedgerTransaction)
class LedgerTransactionAdmin(ReadOnlyAdmin):
    """The books: double entry, append-only. Each transaction's entries add up to nothing."""

    list_display = [
        "occurred_at",
        "kind",
        "booking_reference",
        "amount_text",
        "debited",
        "credited",
        "source_key",
    ]
    list_filter = ["kind", "occurred_at"]
    list_fullwidth = True
    search_fields = ["booking_reference", "source_key", "description"]
    search_help_text = _("Booking reference, source or description")
    date_hierarchy = "occurred_at"
    show_full_result_count = False
    inlines = [LedgerEntryInline]
    fields = [
        "occurred_at",
        "kind",
        "booking_reference",
        "payment",
        "refund",
        "dispute",
        "description",
        "source_key",
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[LedgerTransaction]:
        return super().get_queryset(request).select_related("payment", "refund").prefetch_related("entries")

    @display(description=_("amount"))
    def amount_text(self, row: LedgerTransaction) -> SafeString:
        debits = [entry for entry in row.entries.all() if entry.amount_minor > 0]
        return format_html_join(" ", "{}", ((money(entry.amount_minor, entry.currency),) for entry in debits))

    @display(description=_("debit"))
    def debited(self, row: LedgerTransaction) -> str:
        return ", ".join(entry.get_account_display() for entry in row.entries.all() if entry.amount_minor > 0)

    @display(description=_("credit"))
    def credited(self, row: LedgerTransaction) -> str:
        return ", ".join(entry.get_account_display() for entry in row.entries.all() if entry.amount_minor < 0)


EVENT_COLOURS = {EventStatus.RECEIVED: "info", EventStatus.PROCESSED: "success", EventStatus.DEAD: "danger"}


@admin.register(ProviderEvent)
class ProviderEventAdmin(ReadOnlyAdmin):
    """The inbox. An event that was given up can be looked at again; doing so twice changes nothing."""

    list_display = ["received_at", "provider", "kind", "object_ref", "status_badge", "attempts", "last_error"]
    list_filter = ["status", "provider", "livemode", "received_at"]
    list_fullwidth = True
    search_fields = ["event_ref", "object_ref", "kind"]
    search_help_text = _("Event, object or kind")
    date_hierarchy = "received_at"
    show_full_result_count = False
    actions = ["retry"]
    readonly_fields = ["status"]
    fields = [
        "received_at", "provider", "kind", "event_ref", "object_kind", "object_ref", "livemode", "status", "attempts",
        "last_error", "processed_at",
    ]  # fmt: skip

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(RETRY_PERMISSION)

    @admin.action(description=_("Try given-up events again"), permissions=["retry"])
    def retry(self, request: HttpRequest, queryset: QuerySet[ProviderEvent]) -> None:
        again = sum(desk.retry_event(event.pk, by=request.user) for event in queryset)
        if again:
            self.message_user(
                request, _("%(count)d events are tried again.") % {"count": again}, messages.SUCCESS
            )
        else:
            self.message_user(
                request, _("None of these was given up, so nothing was tried again."), messages.WARNING
            )

    @display(description=_("status"), ordering="status", label=EVENT_COLOURS)
    def status_badge(self, event: ProviderEvent) -> tuple[str, str]:
        return event.status, event.get_status_display()


class OpenBreakFilter(admin.SimpleListFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [("open", _("Open")), ("resolved", _("Resolved"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Break]) -> QuerySet[Break]:
        if self.value() in ("open", "resolved"):
            return queryset.filter(resolved_at__isnull=self.value() == "open")
        return queryset


@admin.register(Break)
class BreakAdmin(ReadOnlyAdmin):
    """Where the books and a provider disagree. A person looks, settles it, and says how."""

    list_display = [
        "kind",
        "state_badge",
        "provider",
        "provider_ref",
        "booking_text",
        "opened_at",
        "resolved_at",
        "resolved_by",
    ]
    list_filter = [OpenBreakFilter, "kind", "provider"]
    list_select_related = ["payment__booking", "resolved_by"]
    list_fullwidth = True
    search_fields = ["provider_ref", "detail", "payment__booking__reference"]
    search_help_text = _("Provider reference, booking reference or words of the detail")
    show_full_result_count = False
    actions_detail = ["resolve_action"]
    readonly_fields = ["state_text", "booking_text"]
    fields = [
        "kind", "state_text", "provider", "provider_ref", "booking_text", "payment", "detail", "opened_at", "resolved_at",
        "resolved_by", "resolution",
    ]  # fmt: skip

    def get_urls(self) -> list[Any]:
        resolve = path(
            "<int:break_id>/resolve/",
            self.admin_site.admin_view(self.resolve_view),
            name="payments_break_resolve",
        )
        return [resolve, *super().get_urls()]

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        offered = super().get_actions_detail(request, object_id)
        if request.user.has_perm(RESOLVE_PERMISSION):
            return offered
        return [one for one in offered if "resolve_action" not in one.action_name]

    @action(description=_("Resolve…"), url_path="resolve-form", icon="rule")
    def resolve_action(self, request: HttpRequest, object_id: str) -> HttpResponse:
        found = self.get_object(request, object_id)
        if found is None:
            raise Http404
        return HttpResponseRedirect(reverse("admin:payments_break_resolve", args=[found.pk]))

    def resolve_view(self, request: HttpRequest, break_id: int) -> HttpResponse:
        """Ask what settles the break, and close it under that person's name."""
        demand(request, RESOLVE_PERMISSION, attempted="break.resolve", subject=f"break:{break_id}")
        found = self.get_object(request, str(break_id))
        if found is None:
            raise Http404
        form = ReasonForm(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            resolved = desk.resolve_break(
                found.pk, by=request.user, reason=form.cleaned_data["reason"], now=timezone.now()
            )
            if resolved:
                self.log_change(request, found, form.cleaned_data["reason"])
                self.message_user(request, _("The break is resolved."), messages.SUCCESS)
            else:
                self.message_user(
                    request, _("Somebody resolved this break before. Nothing was changed."), messages.WARNING
                )
            return HttpResponseRedirect(page_of(found))
        context = {
            **self.admin_site.each_context(request),
            "title": _("Resolve a break"),
            "opts": self.opts,
            "break": found,
            "break_page": page_of(found),
            "form": form,
            "media": self.media,
        }
        return TemplateResponse(
            request, "admin/payments/resolve.html", context, status=400 if form.is_bound else 200
        )

    @display(description=_("state"))
    def state_text(self, found: Break) -> str:
        return self.state_badge(found)[1]

    @display(description=_("state"), label={"open": "danger", "resolved": "success"})
    def state_badge(self, found: Break) -> tuple[str, str]:
        return ("open", gettext("Open")) if found.resolved_at is None else ("resolved", gettext("Resolved"))

    @display(description=_("booking"))
    def booking_text(self, found: Break) -> SafeString | str:
        return link_to(found.payment.booking, found.payment.booking.reference) if found.payment else "-"
