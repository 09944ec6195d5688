"""What a shop may switch off, and what goes with it: pages, API and every link.

The default comes from the environment (`FEATURES=paypal:off,campaigns:on`), and staff overrule it at run time with a reason. Money that is under
way is never switched off: webhooks, refunds and what was begun go on.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from foundation import overrides


@dataclass(frozen=True)
class Feature:
    """`hides` matches the paths that answer 404 while it is off."""

    name: str
    what: Any
    hides: str = ""
    is_on: bool = True


FEATURES = {
    one.name: one
    for one in (
        Feature("paypal", gettext_lazy("Paying with PayPal, and saving a wallet"), r"^/(pay/[^/]+/paypal|account/payment-methods/add-paypal)$"),
        Feature(
            "saved_methods",
            gettext_lazy("Saving cards and wallets, and paying with them"),
            r"^/(account/payment-methods(/.*)?|api/payments/(save-method|methods)(/.*)?|pay/[^/]+/(charge|keep))$",
        ),
        Feature("promo_codes", gettext_lazy("Promo codes on new bookings")),
        Feature("guest_checkout", gettext_lazy("Booking without an account")),
        Feature("amendments", gettext_lazy("Customers change their bookings"), r"^/(bookings/[^/]+/change|api/bookings/[^/]+/amend)$"),
        Feature("sign_up", gettext_lazy("Opening an account"), r"^/(accounts/signup/|api/auth/register)$"),
        Feature("sms", gettext_lazy("Sending SMS; e-mail goes on"), r"^/api/communication/send-sms$"),
        Feature("campaigns", gettext_lazy("Promotional campaigns"), r"^/admin/communications/campaign/"),
        Feature(
            "partner_api",
            gettext_lazy("The API for partners: airports, search, quotes, bookings, and its documentation"),
            r"^/api/(airports|search|quotes|bookings|schema|docs)(/.*)?$",
        ),
    )
}  # fmt: skip


def is_on(name: str) -> bool:
    """Say whether a feature is on now: staff's word, else the environment's, else its default. Raises KeyError for an unknown one."""
    feature = FEATURES[name]
    chosen = overrides.current().get(f"feature:{name}")
    return bool(default_of(feature) if chosen is None else chosen)


def default_of(feature: Feature) -> bool:
    """Return what the environment says, else the feature's own default."""
    return settings.FEATURES.get(feature.name, "on" if feature.is_on else "off") == "on"


def problems() -> list[str]:
    """Name what the environment's FEATURES says wrongly."""
    known = ", ".join(FEATURES)
    said = [f"{name} is unknown; there are: {known}" for name in settings.FEATURES if name not in FEATURES]
    return said + [
        f"{name} is {value!r}; write on or off"
        for name, value in settings.FEATURES.items()
        if value not in {"on", "off"}
    ]


class FeatureMiddleware:
    """Hide what is switched off, page and API, as if it did not exist."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *args: Any) -> HttpResponse | None:
        for feature in FEATURES.values():
            if feature.hides and re.match(feature.hides, request.path_info) and not is_on(feature.name):
                if request.path_info.startswith("/api/"):
                    return JsonResponse(
                        {
                            "type": "about:blank",
                            "title": _("Switched off"),
                            "status": 404,
                            "code": "feature_off",
                            "detail": _("This part of the service is switched off."),
                        },
                        status=404,
                        content_type="application/problem+json",
                    )
                raise Http404(_("This part of the service is switched off."))
        return None


def context(request: HttpRequest) -> dict[str, Any]:
    """Give templates `features`, such as features.promo_codes."""
    return {"features": {name: is_on(name) for name in FEATURES}}
