"""Disputes, and the answer to one."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
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
from foundation.admin import ReadOnlyAdmin, ReasonForm, local_and_utc, local_in_list, money, short_reference
from foundation.errors import DomainError
from foundation.text import is_storable
from payments.admin.shared import demand, link_to, page_of
from payments.models import ANSWERABLE, MONEY_AT_STAKE, OPEN, Dispute, Provider
from payments.paper import evidence
from payments.services import answers, approval

ANSWER_PERMISSION = "payments.answer_dispute"
ACCEPT_PERMISSION = "payments.accept_dispute"

DISPUTE_COLOURS = {
    "needs_response": "danger", "warning_needs_response": "danger", "under_review": "info", "warning_under_review": "info",
    "won": "success", "lost": "", "waiting": "warning", "warning_closed": "", "refunded": "",
}  # fmt: skip


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
        return _storable(self.cleaned_data["answer"])


class AcceptForm(forms.Form):
    """Why we give the money up."""

    reason = forms.CharField(
        label=_("Reason"),
        max_length=answers.LONGEST_REASON,
        strip=True,
        widget=forms.Textarea(attrs={"rows": 3, "class": "ops-input"}),
        help_text=_("The audit log keeps it with your name. PayPal gets it as a note."),
    )

    def clean_reason(self) -> str:
        return _storable(self.cleaned_data["reason"])


def _storable(text: str) -> str:
    if not is_storable(text):
        raise ValidationError(_("The text holds a character that cannot be stored."), code="unstorable")
    return text


class OpenDisputeFilter(admin.SimpleListFilter):
    title = _("what is to be done")
    parameter_name = "todo"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [
            ("answer", _("Needs an answer")),
            ("approve", _("Waits for a second person")),
            ("open", _("Open")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Dispute]) -> QuerySet[Dispute]:
        if self.value() == "answer":
            return queryset.filter(status__in=ANSWERABLE, answered_at__isnull=True, accepted_at__isnull=True)
        if self.value() == "approve":
            return queryset.filter(
                status__in=MONEY_AT_STAKE,
                accepted_at__isnull=False,
                acceptance_needs_approval=True,
                acceptance_approved_by__isnull=True,
            )
        return queryset.filter(status__in=OPEN) if self.value() == "open" else queryset


@admin.register(Dispute)
class DisputeAdmin(ReadOnlyAdmin):
    """Disputes with their deadlines. Answering previews the evidence, asks for words, and is done once."""

    list_display = [
        "due",
        "booking_link",
        "status_badge",
        "amount_text",
        "reason_text",
        "listed_case",
        "listed_opened",
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
    actions_detail = ["answer_action", "pack_action", "accept_action"]
    readonly_fields = [
        "booking_link", "payment_link", "status", "amount_text", "reason_text", "case", "due", "opened", "answered", "accepted",
    ]  # fmt: skip
    fields = [
        "booking_link", "payment_link", "status", "amount_text", "reason_text", "due", "opened", "closed_at", "case",
        "answer", "answered_by", "answered", "acceptance", "accepted_by", "accepted",
        "acceptance_approved_by", "failure",
    ]  # fmt: skip

    def get_urls(self) -> list[Any]:
        answer = path(
            "<uuid:dispute_id>/answer/",
            self.admin_site.admin_view(self.answer_view),
            name="payments_dispute_answer",
        )
        accept = path(
            "<uuid:dispute_id>/accept/",
            self.admin_site.admin_view(self.accept_view),
            name="payments_dispute_accept",
        )
        pack = path(
            "<uuid:dispute_id>/evidence.pdf",
            self.admin_site.admin_view(self.pack_view),
            name="payments_dispute_pack",
        )
        return [answer, accept, pack, *super().get_urls()]

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        """Show what fits the dispute and what this person may do; the pages behind refuse the rest as well."""
        dispute = self.get_object(request, object_id)  # None for what is no id at all
        may = request.user.has_perm
        fits = {
            "answer_action": dispute is not None and dispute.is_answerable and may(ANSWER_PERMISSION),
            "accept_action": dispute is not None
            and (
                (dispute.is_acceptable and may(ACCEPT_PERMISSION))
                or (
                    dispute.waits_for_approval
                    and (may(approval.PERMISSION) or dispute.accepted_by_id == request.user.pk)
                )
            ),
        }
        return [
            one
            for one in super().get_actions_detail(request, object_id)
            if all(fit or not one.action_name.endswith(name) for name, fit in fits.items())
        ]

    @action(permissions=["view"], description=_("Answer…"), url_path="answer-form", icon="gavel")
    def answer_action(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return HttpResponseRedirect(
            reverse("admin:payments_dispute_answer", args=[self._found(request, object_id).pk])
        )

    @action(permissions=["view"], description=_("Accept..."), url_path="accept-now", icon="handshake")
    def accept_action(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return HttpResponseRedirect(
            reverse("admin:payments_dispute_accept", args=[self._found(request, object_id).pk])
        )

    @action(permissions=["view"], description=_("Evidence pack"), url_path="pack", icon="picture_as_pdf")
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
            "is_overdue": dispute.due_by is not None and dispute.due_by < timezone.now(),
            "form": form,
            "media": self.media,
        }
        return TemplateResponse(
            request, "admin/payments/answer.html", context, status=400 if form.is_bound else 200
        )

    def accept_view(self, request: HttpRequest, dispute_id: Any) -> HttpResponse:
        """Show what giving in means, ask why, and record it once for the worker to tell the provider; above the limit for a second person."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        dispute = self._found(request, str(dispute_id))
        if dispute.waits_for_approval:
            return self._decide_view(request, dispute)
        demand(request, ACCEPT_PERMISSION, attempted="dispute.accept", subject=f"dispute:{dispute_id}")
        form = AcceptForm(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            try:
                answers.accept(
                    dispute, reason=form.cleaned_data["reason"], by=request.user, now=timezone.now()
                )
            except DomainError as error:
                self.message_user(request, str(error.message), messages.ERROR)
            else:
                self.log_change(request, dispute, form.cleaned_data["reason"])
                dispute.refresh_from_db()
                if dispute.waits_for_approval:
                    waits = _("It waits for another person to approve it; the provider was told nothing yet.")
                    self.message_user(request, waits, messages.WARNING)
                else:
                    self.message_user(request, _("The provider is told that we accept."), messages.SUCCESS)
            return HttpResponseRedirect(page_of(dispute))
        context = {
            **self.admin_site.each_context(request),
            "title": _("Accept the dispute of %(reference)s")
            % {"reference": dispute.payment.booking.reference},
            "opts": self.opts,
            "dispute": dispute,
            "due": self.due(dispute),
            "dispute_page": page_of(dispute),
            "answer_page": reverse("admin:payments_dispute_answer", args=[dispute.pk]),
            "second_person": (limit := approval.limit_of(dispute.currency)) is not None
            and dispute.amount_minor > limit,
            "form": form,
            "media": self.media,
        }
        return TemplateResponse(
            request, "admin/payments/accept.html", context, status=400 if form.is_bound else 200
        )

    def _decide_view(self, request: HttpRequest, dispute: Dispute) -> HttpResponse:
        """Let a second person approve that we give in, or not; who asked for it can only take it back."""
        own = dispute.accepted_by_id == request.user.pk
        approving = request.method == "POST" and request.POST.get("decision") == "approve"
        demand_recent_sign_in(request)
        if approving or not (own and request.user.has_perm(ACCEPT_PERMISSION)):
            demand(request, approval.PERMISSION, attempted="dispute.approve", subject=f"dispute:{dispute.pk}")
        form = ReasonForm(request.POST if request.method == "POST" and not approving else None)
        if approving or (form.is_bound and form.is_valid()):
            now = timezone.now()
            try:
                if approving:
                    answers.approve_acceptance(dispute.pk, by=request.user, now=now)
                    done = _("Approved. The provider is told that we accept.")
                else:
                    reason = form.cleaned_data["reason"]
                    answers.reject_acceptance(dispute.pk, by=request.user, reason=reason, now=now)
                    done = _("We do not give in. The dispute can be answered.")
            except DomainError as error:
                self.message_user(request, str(error.message), messages.ERROR)
            else:
                self.message_user(request, done, messages.SUCCESS)
            return HttpResponseRedirect(page_of(dispute))
        context = {
            **self.admin_site.each_context(request),
            "title": _("Giving in waits for a second person"),
            "opts": self.opts,
            "dispute": dispute,
            "due": self.due(dispute),
            "dispute_page": page_of(dispute),
            "own": own,
            "asked_at": self.accepted(dispute),
            "form": form,
            "media": self.media,
        }
        return TemplateResponse(
            request, "admin/payments/decide_acceptance.html", context, status=400 if form.is_bound else 200
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

    @display(description=_("reason given to the bank"), ordering="reason")
    def reason_text(self, dispute: Dispute) -> str:
        return dispute.reason_words

    @display(description=_("case"), ordering="provider_ref")
    def case(self, dispute: Dispute) -> SafeString:
        return format_html(
            '{}<br><span class="ops-mono">{}</span>', Provider(dispute.provider).label, dispute.provider_ref
        )

    @display(description=_("case"), ordering="provider_ref")
    def listed_case(self, dispute: Dispute) -> SafeString:
        return format_html(
            "{}<br>{}", Provider(dispute.provider).label, short_reference(dispute.provider_ref)
        )

    @display(description=_("opened"), ordering="opened_at")
    def listed_opened(self, dispute: Dispute) -> SafeString:
        return local_in_list(dispute.opened_at, dispute.payment.booking.zone)

    @display(description=_("accepted"))
    def accepted(self, dispute: Dispute) -> SafeString:
        return local_and_utc(dispute.accepted_at, dispute.payment.booking.zone)

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
    def status_badge(self, dispute: Dispute) -> tuple[str, Any]:
        if dispute.waits_for_approval:
            return "waiting", _("giving in waits for a second person")
        return dispute.status, dispute.get_status_display()

    @display(description=_("amount"), ordering="amount_minor")
    def amount_text(self, dispute: Dispute) -> SafeString:
        return money(dispute.amount_minor, dispute.currency)
