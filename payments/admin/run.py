"""Runs of the reconciliation, and payouts: to read, and to start a run."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action, display

from foundation import audit
from foundation.admin import ReadOnlyAdmin, money
from foundation.money import Money
from payments.admin.shared import demand
from payments.gateways import configured
from payments.models import Payout, Provider, ReconciliationRun
from payments.services import reconcile

START_PERMISSION = "payments.start_reconciliation"
FIGURES = (
    ("provider", _("The provider holds")),
    ("ours", _("Our books say")),
    ("refunds_on_their_way", _("Refunds on their way")),
    ("on_breaks", _("Told by breaks")),
    ("too_young", _("Too young to judge")),
    ("unexplained", _("Unexplained")),
    ("payouts_in_transit", _("Payouts that have not arrived")),
)


class StartForm(forms.Form):
    days = forms.TypedChoiceField(
        label=_("How far back"),
        coerce=int,
        choices=[(reconcile.LATELY_DAYS, _("3 days")), (reconcile.MONTH_DAYS, _("30 days"))],
        widget=forms.RadioSelect,
        initial=reconcile.LATELY_DAYS,
    )


@admin.register(ReconciliationRun)
class ReconciliationRunAdmin(ReadOnlyAdmin):
    """Every comparison with a provider: what was looked at, what was healed, what is left for people."""

    list_display = [
        "started_at",
        "provider",
        "result_badge",
        "checked",
        "healed",
        "opened",
        "closed",
        "unexplained",
    ]
    list_filter = ["provider", "started_at"]
    list_fullwidth = True
    date_hierarchy = "started_at"
    show_full_result_count = False
    actions_list = ["start_action"]
    readonly_fields = ["result", "balances_text"]
    fields = [
        "provider", "result", "since", "until", "started_at", "finished_at", "requested_by", "checked", "healed", "opened", "closed",
        "clock_skew_seconds", "error", "balances_text",
    ]  # fmt: skip

    def get_urls(self) -> list[Any]:
        start = path(
            "start/", self.admin_site.admin_view(self.start_view), name="payments_reconciliationrun_start"
        )
        return [start, *super().get_urls()]

    def get_actions_list(self, request: HttpRequest) -> Any:
        return super().get_actions_list(request) if request.user.has_perm(START_PERMISSION) else []

    @action(permissions=["view"], description=_("Reconcile now…"), url_path="start-form", icon="sync")
    def start_action(self, request: HttpRequest) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:payments_reconciliationrun_start"))

    def start_view(self, request: HttpRequest) -> HttpResponse:
        """Queue a comparison with every provider; one that waits already absorbs it."""
        demand(request, START_PERMISSION, attempted="reconciliation.start", subject="reconciliation")
        form = StartForm(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            days = form.cleaned_data["days"]
            with transaction.atomic():
                for provider in configured():
                    reconcile.ask_for(provider, days=days, by=request.user)
                audit.record(
                    actor=request.user,
                    action="reconciliation.started",
                    subject="reconciliation",
                    data={"days": days},
                )
            self.message_user(
                request,
                _("The comparison begins as soon as a worker is free. Reload this page in a minute."),
                messages.SUCCESS,
            )
            return HttpResponseRedirect(reverse("admin:payments_reconciliationrun_changelist"))
        context = {
            **self.admin_site.each_context(request),
            "title": _("Reconcile now"),
            "opts": self.opts,
            "form": form,
            "providers": [Provider(name).label for name in configured()],
            "back": reverse("admin:payments_reconciliationrun_changelist"),
            "media": self.media,
        }
        status = 400 if form.is_bound else 200
        return TemplateResponse(request, "admin/payments/reconcile.html", context, status=status)

    @display(
        description=_("result"),
        label={"running": "info", "failed": "danger", "healed": "warning", "agrees": "success"},
    )
    def result_badge(self, run: ReconciliationRun) -> tuple[str, str]:
        if run.finished_at is None:
            return "running", gettext("Under way")
        if run.error:
            return "failed", gettext("Failed")
        if run.healed or run.opened:
            return "healed", gettext("Differences found")
        return "agrees", gettext("Nothing new")

    @display(description=_("result"))
    def result(self, run: ReconciliationRun) -> str:
        return self.result_badge(run)[1]

    @display(description=_("unexplained"))
    def unexplained(self, run: ReconciliationRun) -> str:
        wrong = [Money(line["unexplained"], line["currency"]) for line in run.balances if line["unexplained"]]
        return ", ".join(map(str, wrong)) or "-"

    @display(description=_("balances"))
    def balances_text(self, run: ReconciliationRun) -> SafeString | str:
        codes = [line["currency"] for line in run.balances]
        rows = [
            (label, name == "unexplained", [Money(line[name], line["currency"]) for line in run.balances])
            for name, label in FIGURES
        ]
        return (
            render_to_string("admin/payments/balances.html", {"codes": codes, "rows": rows}) if codes else "-"
        )


@admin.register(Payout)
class PayoutAdmin(ReadOnlyAdmin):
    """Money that left the providers for our bank, to hold against the bank's statement."""

    empty_text = _(
        "A payout is listed here as soon as a provider sends money to our bank. Nobody has to record it."
    )
    list_display = ["made_at", "provider", "provider_ref", "status_badge", "amount_text", "arrives_on"]
    list_filter = ["status", "provider", "currency", "made_at"]
    list_fullwidth = True
    search_fields = ["provider_ref"]
    search_help_text = _("Provider reference")
    date_hierarchy = "made_at"
    show_full_result_count = False
    readonly_fields = ["status", "amount_text"]
    fields = ["provider", "provider_ref", "status", "amount_text", "made_at", "arrives_on", "failure_code"]

    @display(
        description=_("status"),
        ordering="status",
        label={"in_transit": "info", "paid": "success", "failed": "danger"},
    )
    def status_badge(self, payout: Payout) -> tuple[str, str]:
        return payout.status, payout.get_status_display()

    @display(description=_("amount"), ordering="amount_minor")
    def amount_text(self, payout: Payout) -> SafeString:
        return money(payout.amount_minor, payout.currency)
