"""Breaks: open questions about money, and what settles them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import F, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action, display

from foundation import audit
from foundation.admin import ReadOnlyAdmin, ReasonForm, money, short_reference
from foundation.errors import DomainError
from foundation.money import Money
from payments.admin.shared import demand, link_to, page_of
from payments.gateways import gateway_for
from payments.models import Break, Provider, StrayRefund
from payments.services import approval, desk, recheck, strays

RESOLVE_PERMISSION = "payments.change_break"
REFUND_PERMISSION = "payments.refund_payment"


class OpenBreakFilter(admin.SimpleListFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [("open", _("Open")), ("resolved", _("Resolved"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Break]) -> QuerySet[Break]:
        if self.value() in ("open", "resolved"):
            return queryset.filter(resolved_at__isnull=self.value() == "open")
        return queryset


class LookForm(forms.Form):
    """Nothing to fill in: looking changes only what the provider says anyway."""


class StrayForm(ReasonForm):
    """Why a charge that is not in our books goes back. `shown` is the amount that was previewed, in minor units."""

    shown = forms.IntegerField(widget=forms.HiddenInput, required=False)


class ConfirmForm(ReasonForm):
    """What a person saw at the provider."""

    outcome = forms.ChoiceField(
        label=_("At the provider"),
        choices=[
            ("made", _("The refund was made: book it and tell the customer")),
            ("not_made", _("It was not made: its amount is free for another refund")),
        ],
        widget=forms.RadioSelect,
    )
    field_order = ["outcome", "reason"]


@dataclass(frozen=True)
class Act:
    """One thing that settles a break: who may, when it fits, what the page says, and what the button does."""

    name: str
    permission: str
    title: Any
    button: Any
    explanation: Any
    form: type[forms.Form]
    fits: Callable[[Break], bool]
    or_permission: str = ""

    def may(self, user: Any) -> bool:
        return user.has_perm(self.permission) or (
            bool(self.or_permission) and user.has_perm(self.or_permission)
        )


def _is_open(found: Break) -> bool:
    return found.resolved_at is None


def _is_stray(found: Break) -> bool:
    return _is_open(found) and found.kind in strays.STRAY and strays.refund_under_way(found) is None


def _waits(found: Break) -> bool:
    return strays.waiting_refund(found) is not None


ACTS = {
    act.name: act
    for act in (
        Act(
            "look", RESOLVE_PERMISSION, _("Look again"), _("Look at the provider now"),
            _("The provider is asked and our books follow it, as they do by themselves. The break closes if its cause is gone."),
            LookForm, _is_open,
        ),
        Act(
            "refund", REFUND_PERMISSION, _("Refund at the provider"), _("Send the money back"),
            _(
                "The charge is not in our books. All that is left of it goes back the way it came; the break closes when the "
                "provider has made the refund."
            ),
            StrayForm, strays.can_refund,
        ),
        Act(
            "approve", approval.PERMISSION, _("Approve the refund at the provider"), _("Approve it"),
            _("Another person asked for this. Check the charge at the provider first: approving sends the money at once."),
            LookForm, _waits,
        ),
        Act(
            "reject", REFUND_PERMISSION, _("Reject or take back the refund"), _("Do not send it"),
            _("It waits for a second person, and nothing was sent. The break stays open."),
            ReasonForm, _waits, approval.PERMISSION,
        ),
        Act(
            "not-ours", RESOLVE_PERMISSION, _("It is not ours"), _("It is not ours"),
            _(
                "The money belongs to something else on the same account. The break closes and is not opened again for it; its "
                "money stays out of our books."
            ),
            ReasonForm, _is_stray,
        ),
        Act(
            "confirm", REFUND_PERMISSION, _("Confirm the refund by hand"), _("Record what I saw"),
            _(
                "We do not know whether this refund was made, and it is too late to ask again without the risk of paying twice. "
                "Look at the provider, then say what you saw."
            ),
            ConfirmForm, lambda found: strays.refund_to_confirm(found) is not None,
        ),
        Act(
            "resolve", RESOLVE_PERMISSION, _("Resolve a break"), _("Resolve"),
            _("Resolving closes the break; it moves no money. Refund or settle first if money must move."),
            ReasonForm, lambda _found: True,
        ),
    )
}  # fmt: skip


@admin.register(Break)
class BreakAdmin(ReadOnlyAdmin):
    """Where the books and a provider disagree. A person looks, settles it, and says how."""

    list_display = [
        "kind", "state_badge", "age", "provider_text", "reference", "booking_text", "taken_text", "detail_text",
    ]  # fmt: skip
    list_filter = [OpenBreakFilter, "kind", "provider"]
    list_select_related = ["payment__booking", "resolved_by"]
    list_fullwidth = True
    search_fields = ["provider_ref", "object_ref", "detail", "payment__booking__reference"]
    search_help_text = _("Provider reference, booking reference or words of the detail")
    show_full_result_count = False
    # The queue: what is open, the oldest first; then what was settled last.
    ordering = [F("resolved_at").desc(nulls_first=True), "opened_at"]
    actions_detail = [
        "look_action",
        {
            "title": _("Settle it…"),
            "icon": "rule",
            "items": [
                "approve_action",
                "reject_action",
                "refund_action",
                "not_ours_action",
                "confirm_action",
                "resolve_action",
            ],
        },
    ]
    readonly_fields = [
        "state_text",
        "booking_text",
        "at_provider",
        "taken_text",
        "unbooked_text",
        "our_refund",
        "refund_text",
        "age",
    ]
    fields = [
        "kind", "state_text", "age", "provider_text", "at_provider", "booking_text", "payment", "our_refund", "detail", "taken_text", "unbooked_text",
        "refund_text", "opened_at", "resolved_at", "resolved_by", "resolution",
    ]  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Break]:
        return super().get_queryset(request).prefetch_related("stray_refunds")

    def get_urls(self) -> list[Any]:
        acts = [
            path(
                f"<int:break_id>/{name}/",
                self.admin_site.admin_view(self._view_of(act)),
                name=f"payments_break_{name.replace('-', '_')}",
            )
            for name, act in ACTS.items()
        ]
        return [*acts, *super().get_urls()]

    def _view_of(self, act: Act) -> Callable[..., HttpResponse]:
        return lambda request, break_id: self.act_view(request, break_id, act)

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        """Show what fits this break and what this person may do; the pages behind refuse the rest as well."""
        found = self.get_object(request, object_id)  # None for what is no id at all
        if found is None or not _is_open(found):
            return []
        return [
            one
            for one in super().get_actions_detail(request, object_id)
            if any(
                one.action_name.endswith(f"{name.replace('-', '_')}_action")
                and act.may(request.user)
                and act.fits(found)
                for name, act in ACTS.items()
            )
        ]

    def _to(self, name: str, request: HttpRequest, object_id: str) -> HttpResponse:
        found = self.get_object(request, object_id)
        if found is None:
            raise Http404
        return HttpResponseRedirect(reverse(f"admin:payments_break_{name}", args=[found.pk]))

    @action(permissions=["view"], description=_("Look again…"), url_path="look-form", icon="search")
    def look_action(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._to("look", request, object_id)

    @action(
        permissions=["view"],
        description=_("Refund at the provider…"),
        url_path="refund-form",
        icon="currency_exchange",
    )
    def refund_action(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._to("refund", request, object_id)

    @action(
        permissions=["view"], description=_("Approve the refund…"), url_path="approve-form", icon="verified"
    )
    def approve_action(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._to("approve", request, object_id)

    @action(
        permissions=["view"], description=_("Do not send the refund…"), url_path="reject-form", icon="cancel"
    )
    def reject_action(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._to("reject", request, object_id)

    @action(permissions=["view"], description=_("It is not ours…"), url_path="not-ours-form", icon="block")
    def not_ours_action(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._to("not_ours", request, object_id)

    @action(
        permissions=["view"], description=_("Confirm by hand…"), url_path="confirm-form", icon="fact_check"
    )
    def confirm_action(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._to("confirm", request, object_id)

    @action(permissions=["view"], description=_("Resolve…"), url_path="resolve-form", icon="rule")
    def resolve_action(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._to("resolve", request, object_id)

    def act_view(self, request: HttpRequest, break_id: int, act: Act) -> HttpResponse:
        """Say what an act does, ask why, and do it once under that person's name."""
        if not act.may(request.user):
            demand(request, act.permission, attempted=f"break.{act.name}", subject=f"break:{break_id}")
        found = self.get_object(request, str(break_id))
        if found is None:
            raise Http404
        if not _is_open(found) or not act.fits(found):
            self.message_user(request, _why_not(found), messages.WARNING)
            return HttpResponseRedirect(page_of(found))
        form = act.form(request.POST if request.method == "POST" else None)
        preview = None
        try:
            if act.name == "refund":
                preview = strays.preview_refund(found)
                form.initial["shown"] = preview.amount.amount_minor
                if (
                    form.is_bound
                    and form.is_valid()
                    and form.cleaned_data["shown"] != preview.amount.amount_minor
                ):
                    raise strays.NotRefundable(
                        _("What is left of the charge has changed meanwhile. Look at the amount again.")
                    )
            if request.method == "POST" and form.is_valid():
                level, said = self._do(request, found, act, form, preview)
                self.log_change(request, found, f"{act.title}: {form.cleaned_data.get('reason', '')}")
                self.message_user(request, said, level)
                return HttpResponseRedirect(page_of(found))
        except DomainError as error:
            self.message_user(request, str(error.message), messages.ERROR)
            return HttpResponseRedirect(page_of(found))
        return self._show(request, found, act, form, preview)

    def _do(
        self, request: HttpRequest, found: Break, act: Act, form: Any, preview: strays.StrayPreview | None
    ) -> tuple[int, str]:
        now, told = timezone.now(), form.cleaned_data
        if act.name == "look":
            closed = recheck.look_again(found.pk, now=now)
            audit.record(
                actor=request.user,
                action="break.looked_again",
                subject=f"break:{found.pk}",
                data={"closed": closed},
            )
            if closed:
                return messages.SUCCESS, gettext("Its cause is gone: the break is closed.")
            return messages.WARNING, gettext("The difference is still there.")
        if act.name == "refund" and preview is not None:
            made = strays.request_refund(
                found.pk, amount=preview.amount, reason=told["reason"], by=request.user
            )
            if made.needs_approval:
                return messages.WARNING, gettext(
                    "It waits for another person to approve it; nothing was sent yet."
                )
            return messages.SUCCESS, gettext("%(amount)s is on its way back.") % {"amount": preview.amount}
        if act.name == "approve":
            sent = strays.approve(found.pk, by=request.user, now=now)
            return messages.SUCCESS, gettext("%(amount)s is on its way back.") % {"amount": sent.amount}
        if act.name == "reject":
            strays.reject(found.pk, by=request.user, reason=told["reason"], now=now)
            return messages.SUCCESS, gettext("Nothing is sent. The break is still open.")
        if act.name == "confirm":
            was_made = told["outcome"] == "made"
            strays.confirm_refund(
                found.pk, was_made=was_made, reason=told["reason"], by=request.user, now=now
            )
            return messages.SUCCESS, gettext("It is recorded, and the break is closed.")
        audited = "break.not_ours" if act.name == "not-ours" else "break.resolved"
        if desk.resolve_break(found.pk, by=request.user, reason=told["reason"], now=now, action=audited):
            return messages.SUCCESS, gettext("The break is resolved.")
        return messages.WARNING, gettext("Somebody resolved this break before. Nothing was changed.")

    def _show(
        self, request: HttpRequest, found: Break, act: Act, form: Any, preview: strays.StrayPreview | None
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": act.title,
            "opts": self.opts,
            "break": found,
            "break_page": page_of(found),
            "at_provider": self.at_provider(found),
            "provider": self.provider_text(found),
            "act": act,
            "preview": preview,
            "refund": strays.refund_to_confirm(found) if act.name == "confirm" else None,
            "waiting": strays.waiting_refund(found),
            "second_person": preview is not None
            and strays.needs_approval(preview.amount, by=request.user, now=timezone.now()),
            "unbooked": _amount(found.unbooked_minor, found.currency),
            "form": form,
            "media": self.media,
        }
        return TemplateResponse(
            request, "admin/payments/break_action.html", context, status=400 if form.is_bound else 200
        )

    @display(description=_("state"))
    def state_text(self, found: Break) -> str:
        return self.state_badge(found)[1]

    @display(description=_("state"), label={"open": "danger", "waiting": "warning", "resolved": "success"})
    def state_badge(self, found: Break) -> tuple[str, str]:
        if found.resolved_at is None and any(stray.waits_for_approval for stray in found.stray_refunds.all()):
            return "waiting", gettext("Waits for a second person")
        return ("open", gettext("Open")) if found.resolved_at is None else ("resolved", gettext("Resolved"))

    @display(description=_("age"), ordering="opened_at")
    def age(self, found: Break) -> str:
        return timesince(found.opened_at, found.resolved_at or timezone.now(), depth=1)

    @display(description=_("provider"), ordering="provider")
    def provider_text(self, found: Break) -> str:
        return Provider(found.provider).label

    @display(description=_("reference"), ordering="provider_ref")
    def reference(self, found: Break) -> SafeString:
        return short_reference(found.provider_ref)

    @display(description=_("detail"))
    def detail_text(self, found: Break) -> str:
        return found.detail if len(found.detail) <= 90 else found.detail[:89] + "…"

    @display(description=_("at the provider"))
    def at_provider(self, found: Break) -> SafeString | str:
        gateway, refund = gateway_for(found.provider), recheck.refund_of(found)
        # Of a refund, the page of its payment: not every provider has one for the refund, and some refunds have no reference yet.
        url = gateway.dashboard_url((refund.payment.provider_ref if refund else found.provider_ref) or "")
        if not url:
            return found.provider_ref or "-"
        return format_html(
            '<a class="ops-mono underline" href="{}" target="_blank" rel="noopener noreferrer">{}</a>',
            url,
            found.provider_ref,
        )

    @display(description=_("booking"))
    def booking_text(self, found: Break) -> SafeString | str:
        return link_to(found.payment.booking, found.payment.booking.reference) if found.payment else "-"

    @display(description=_("refund"))
    def our_refund(self, found: Break) -> SafeString | str:
        """The refund of ours that it is about: its page sends a failed one again."""
        refund = recheck.refund_of(found)
        return link_to(refund, f"{refund.amount} · {refund.get_status_display()}") if refund else "-"

    @display(description=_("taken there"))
    def taken_text(self, found: Break) -> SafeString | str:
        return money(found.taken_minor, found.currency) if found.taken else "-"

    @display(description=_("not in our books"))
    def unbooked_text(self, found: Break) -> SafeString | str:
        return money(found.unbooked_minor, found.currency) if found.unbooked_minor else "-"

    @display(description=_("refund at the provider"))
    def refund_text(self, found: Break) -> str:
        stray = StrayRefund.objects.filter(question=found).order_by("-created_at").first()
        if stray is None:
            return "-"
        if stray.waits_for_approval:
            return gettext("%(amount)s waits for a second person") % {"amount": stray.amount}
        return f"{stray.amount} · {stray.get_status_display()} {stray.failure_code}".strip()


def _why_not(found: Break) -> str:
    """Say why an act does nothing: how the break was closed, or that it is open and of another kind."""
    if found.resolved_at is None:
        return gettext("This does not fit this break. Nothing was changed.")
    told = {
        "at": f"{formats.date_format(found.resolved_at.astimezone(UTC), 'j M Y H:i')} UTC",
        "by": found.resolved_by or gettext("the comparison itself"),
        "how": found.resolution.rstrip(".") or "-",
    }
    return gettext("This break was closed on %(at)s by %(by)s: %(how)s. Nothing was changed.") % told


def _amount(amount_minor: int, currency: str) -> Money | None:
    return Money(amount_minor, currency) if amount_minor and currency else None
