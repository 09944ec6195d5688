"""Refunds: read them, decide about those that wait for a second person, and take up those that failed."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action, display

from accounts.second_factor import demand_recent_sign_in
from foundation.admin import ReadOnlyAdmin, ReasonForm, local_and_utc, money
from foundation.errors import DomainError
from foundation.money import Money
from payments import queries
from payments.admin.shared import DocumentInline, demand, link_to, page_of
from payments.causes import cause_of
from payments.models import MONEY_AT_STAKE, Refund, RefundStatus
from payments.services import approval, retry

REFUND_PERMISSION = "payments.refund_payment"

REFUND_COLOURS = {
    "requested": "info", "waiting": "warning", "submitted": "info", "pending": "warning", "unknown": "danger", "succeeded": "success",
    "failed": "danger", "cancelled": "",
}  # fmt: skip


class TodoFilter(admin.SimpleListFilter):
    """What waits for a person: an approval, or a failed refund that nobody took up."""

    title = _("to do")
    parameter_name = "todo"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [
            ("mine", _("Waits for my approval")),
            ("approve", _("Waits for a second person")),
            ("failed", _("Failed, nobody took it up")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Refund]) -> QuerySet[Refund]:
        rows = {
            "mine": lambda: queries.refunds_waiting_for(request.user),
            "approve": queries.refunds_waiting,
            "failed": retry.unresolved,
        }.get(self.value() or "")
        return queryset if rows is None else queryset.filter(pk__in=rows().values("pk"))


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
    list_filter = [TodoFilter, "status", "source", "currency", "created_at"]
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
    actions_detail = ["decide_action", "take_up_action"]
    readonly_fields = ["booking_link", "payment_link", "status_text", "amount_text", "cause", "retries_link"]
    fields = [
        "booking_link", "payment_link", "status_text", "amount_text", "source", "reason", "requested_by", "approved_by", "approved_at",
        "note", "retries_link", "provider_ref", "failure_code", "cause", "created_at", "submitted_at", "finished_at",
    ]  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Refund]:
        return super().get_queryset(request).select_related("payment__booking__product__car_park__airport")

    def get_urls(self) -> list[Any]:
        own = [
            path(
                "<uuid:refund_id>/decide/",
                self.admin_site.admin_view(self.decide_view),
                name="payments_refund_decide",
            ),
            path(
                "<uuid:refund_id>/take-up/",
                self.admin_site.admin_view(self.take_up_view),
                name="payments_refund_take_up",
            ),
        ]
        return [*own, *super().get_urls()]

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        """Show each button only where it does something, and only to those who may press it; the pages refuse the others as well."""
        refund = self.get_object(request, str(object_id))
        may = set()
        if refund is not None and refund.waits_for_approval and _may_decide(request.user, refund):
            may.add("decide_action")
        if refund is not None and request.user.has_perm(REFUND_PERMISSION):
            may |= {"take_up_action"} if retry.unresolved().filter(pk=refund.pk).exists() else set()
        return [
            one
            for one in super().get_actions_detail(request, object_id)
            if any(name in one.action_name for name in may)
        ]

    @action(
        permissions=["view"], description=_("Approve or reject…"), url_path="decide-form", icon="how_to_reg"
    )
    def decide_action(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._to("payments_refund_decide", request, object_id)

    @action(
        permissions=["view"], description=_("Send again or settle…"), url_path="take-up-form", icon="replay"
    )
    def take_up_action(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._to("payments_refund_take_up", request, object_id)

    def _to(self, page: str, request: HttpRequest, object_id: str) -> HttpResponse:
        refund = self.get_object(request, object_id)
        if refund is None:
            raise Http404
        return HttpResponseRedirect(reverse(f"admin:{page}", args=[refund.pk]))

    def decide_view(self, request: HttpRequest, refund_id: Any) -> HttpResponse:
        """Show what a waiting refund would do; send it on or cancel it. Who asked for it can only take it back."""
        refund = self._found(request, refund_id)
        demand_recent_sign_in(request)
        own = refund.requested_by_id == request.user.pk
        if (
            not own
            or request.POST.get("decision") == "approve"
            or not request.user.has_perm(REFUND_PERMISSION)
        ):
            demand(
                request,
                approval.PERMISSION,
                attempted="refund.approve",
                subject=f"payment:{refund.payment_id}",
            )
        rejecting = request.method == "POST" and request.POST.get("decision") != "approve"
        form = ReasonForm(request.POST if rejecting else None)
        if request.method == "POST" and (not rejecting or form.is_valid()):
            try:
                if rejecting:
                    reason = form.cleaned_data["reason"]
                    approval.reject(refund.pk, by=request.user, reason=reason, now=timezone.now())
                    done = _("Cancelled: nothing was sent, and the amount can be refunded again.")
                else:
                    approval.approve(refund.pk, by=request.user, now=timezone.now())
                    done = _("Approved. The customer is told when the provider has it.")
            except DomainError as error:
                self.message_user(request, str(error.message), messages.ERROR)
            else:
                self.message_user(request, done, messages.SUCCESS)
            return HttpResponseRedirect(page_of(refund))
        return self._render(
            request,
            refund,
            "admin/payments/decide_refund.html",
            title=_("A refund waits for a second person"),
            form=form,
            own=own,
            disputed=refund.payment.disputes.filter(status__in=MONEY_AT_STAKE).exists(),
        )

    def take_up_view(self, request: HttpRequest, refund_id: Any) -> HttpResponse:
        """Show why a refund failed and what sending it again would do; do that, or note how the customer got the money otherwise."""
        refund = self._found(request, refund_id)
        demand(request, REFUND_PERMISSION, attempted="refund.retry", subject=f"payment:{refund.payment_id}")
        now = timezone.now()
        how = request.POST.get("how", "") if request.method == "POST" else ""
        again = ReasonForm(request.POST if how == "again" else None, auto_id="again_%s")
        elsewhere = ReasonForm(request.POST if how == "elsewhere" else None, auto_id="elsewhere_%s")
        closing = ReasonForm(request.POST if how == "close" else None, auto_id="close_%s")
        form = {"elsewhere": elsewhere, "close": closing}.get(how, again)
        if form.is_bound and form.is_valid():
            reason = form.cleaned_data["reason"]
            try:
                if how == "elsewhere":
                    made = retry.settle_elsewhere(refund.pk, reason=reason, by=request.user, now=now)
                    done = (
                        _("It waits for another person to approve it; nothing was booked yet.")
                        if made.needs_approval
                        else _("Noted. The customer has a message and a credit note.")
                    )
                elif how == "close":
                    made = retry.close_failed(refund.pk, reason=reason, by=request.user, now=now)
                    done = _("Closed. No money was moved, and the customer was not written to.")
                else:
                    made = retry.retry_refund(
                        refund.pk,
                        reason=reason,
                        by=request.user,
                        shown_approval=request.POST.get("shown_approval") == "yes",
                        now=now,
                    )
                    done = (
                        _("It waits for another person to approve it; nothing was sent yet.")
                        if made.needs_approval
                        else _("It is sent again. The customer is told when the provider has it.")
                    )
            except DomainError as error:
                self.message_user(request, str(error.message), messages.ERROR)
                return HttpResponseRedirect(page_of(refund))
            self.log_change(request, refund, reason)
            self.message_user(request, done, messages.SUCCESS)
            return HttpResponseRedirect(page_of(made))
        return self._render(
            request,
            refund,
            "admin/payments/take_up_refund.html",
            title=_("A refund failed"),
            form=form,
            again=again,
            elsewhere=elsewhere,
            closing=closing,
            is_open=retry.unresolved().filter(pk=refund.pk).exists(),
            cause=cause_of(refund.failure_code).staff,
            needs_approval=retry.retry_needs_approval(refund, now=now),
            fits=refund.amount <= refund.payment.refundable,
        )

    def _found(self, request: HttpRequest, refund_id: Any) -> Refund:
        if not self.has_view_permission(request):
            raise PermissionDenied
        refund = self.get_object(request, str(refund_id))
        if refund is None:
            raise Http404
        return refund

    def _render(self, request: HttpRequest, refund: Refund, template: str, **more: Any) -> HttpResponse:
        payment = refund.payment
        form = more["form"]
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "refund": refund,
            "refund_page": page_of(refund),
            "payment": payment,
            "payment_page": page_of(payment),
            "booking": payment.booking,
            "asked_at": local_and_utc(refund.created_at, payment.booking.zone),
            "left": payment.refundable,
            "kept": Money(payment.captured_minor - payment.reserved_minor, payment.currency),
            "media": self.media,
            **more,
        }
        return TemplateResponse(request, template, context, status=400 if form.is_bound else 200)

    @display(description=_("refund"))
    def id_text(self, refund: Refund) -> SafeString:
        return format_html('<span class="ops-mono">{}</span>', str(refund.pk)[:8])

    @display(description=_("booking"))
    def booking_link(self, refund: Refund) -> SafeString:
        return link_to(refund.payment.booking, refund.payment.booking.reference)

    @display(description=_("payment"))
    def payment_link(self, refund: Refund) -> SafeString:
        return link_to(refund.payment, refund.payment.provider_ref or str(refund.payment_id))

    @display(description=_("takes the place of"))
    def retries_link(self, refund: Refund) -> SafeString | str:
        return link_to(refund.retries, str(refund.retries_id)[:8]) if refund.retries else "-"

    @display(description=_("why it failed"))
    def cause(self, refund: Refund) -> str:
        return str(cause_of(refund.failure_code).staff) if refund.status == RefundStatus.FAILED else "-"

    @display(description=_("status"))
    def status_text(self, refund: Refund) -> str:
        return str(self.status_badge(refund)[1])

    @display(description=_("status"), ordering="status", label=REFUND_COLOURS)
    def status_badge(self, refund: Refund) -> tuple[str, Any]:
        if refund.waits_for_approval:
            return "waiting", _("waits for a second person")
        return refund.status, refund.get_status_display()

    @display(description=_("amount"), ordering="amount_minor")
    def amount_text(self, refund: Refund) -> SafeString:
        return money(refund.amount_minor, refund.currency)


def _may_decide(user: Any, refund: Refund) -> bool:
    """Whether the user may approve or reject it, or take back what they asked for themselves."""
    own = refund.requested_by_id == user.pk and user.has_perm(REFUND_PERMISSION)
    return own or user.has_perm(approval.PERMISSION)
