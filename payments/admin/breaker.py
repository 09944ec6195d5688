"""Staff's view of stopped card tries. Letting one go asks why."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action, display

from foundation.admin import ReadOnlyAdmin, ask_why
from payments.admin.shared import demand, link_to
from payments.models import CardBreaker
from payments.services import declines

RESET_PERMISSION = "payments.reset_cardbreaker"


@admin.register(CardBreaker)
class CardBreakerAdmin(ReadOnlyAdmin):
    """Customers, addresses and cards of which too many tries were declined."""

    list_display = [
        "tripped_at",
        "scope",
        "declines",
        "last_payment",
        "state",
        "until",
        "reset_by",
        "reset_reason",
    ]
    list_filter = ["scope", ("reset_at", admin.EmptyFieldListFilter)]
    list_select_related = ["reset_by", "payment__booking"]
    list_fullwidth = True
    search_fields = ["payment__booking__reference", "payment__booking__driver_email", "key__startswith"]
    search_help_text = _("Booking reference or e-mail address of the last declined payment")
    show_full_result_count = False
    actions_detail = ["reset_action"]
    fields = [
        "tripped_at", "scope", "declines", "last_payment", "state", "until", "reset_at", "reset_by", "reset_reason", "key",
    ]  # fmt: skip
    empty_text = _("Nobody had so many cards declined that it looked like trying out stolen ones.")

    @display(description=_("last declined payment"))
    def last_payment(self, breaker: CardBreaker) -> SafeString:
        return link_to(breaker.payment, breaker.payment.booking.reference)

    @display(description=_("state"), label={"stopped": "danger", "over": "info", "free": "success"})
    def state(self, breaker: CardBreaker) -> tuple[str, Any]:
        if breaker.reset_at is not None:
            return "free", _("let go")
        return ("stopped", _("stopped")) if breaker.until > timezone.now() else ("over", _("over"))

    def get_urls(self) -> list[Any]:
        reset = path(
            "<int:pk>/reset/", self.admin_site.admin_view(self.reset_view), name="payments_cardbreaker_reset"
        )
        return [reset, *super().get_urls()]

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        found = self.get_object(request, object_id)  # None for what is no id at all
        stopped = found is not None and found.reset_at is None and found.until > timezone.now()
        may = stopped and request.user.has_perm(RESET_PERMISSION)
        return super().get_actions_detail(request, object_id) if may else []

    @action(permissions=["view"], description=_("Let it go…"), url_path="reset-form", icon="lock_open")
    def reset_action(self, request: HttpRequest, object_id: str) -> HttpResponse:
        found = self.get_object(request, object_id)
        if found is None:
            raise Http404
        return HttpResponseRedirect(reverse("admin:payments_cardbreaker_reset", args=[found.pk]))

    def reset_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Say what letting go means, ask why, and do it once."""
        demand(request, RESET_PERMISSION, attempted="card_breaker.reset", subject=f"cardbreaker:{pk}")
        found = self.get_object(request, str(pk))
        if found is None:
            raise Http404
        return ask_why(
            self,
            request,
            found=found,
            title=_("Take cards again?"),
            template="admin/payments/reset_breaker.html",
            done=_("Cards are taken again."),
            act=lambda reason: declines.let_go(pk, by=request.user, reason=reason, now=timezone.now()),
        )
