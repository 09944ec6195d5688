"""PayPal's webhooks: PayPal itself verifies each; we only note that there is a reason to look."""

from __future__ import annotations

import json
import logging
import threading
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseNotFound
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from foundation.text import is_storable
from payments.gateways.base import OutcomeUnknown, ProviderError, Unavailable
from payments.gateways.paypal import PayPalGateway, parent_of
from payments.webhooks.notices import Notice, instant, note, payment_id_in

logger = logging.getLogger(__name__)

# Our header -> its name in the call that verifies.
SIGNATURE = {
    "PayPal-Auth-Algo": "auth_algo",
    "PayPal-Cert-Url": "cert_url",
    "PayPal-Transmission-Id": "transmission_id",
    "PayPal-Transmission-Sig": "transmission_sig",
    "PayPal-Transmission-Time": "transmission_time",
}
LONGEST_HEADER = 1000
REVERSED_ORDER = "reversed-order"  # an order whose money an older notification says was taken back
LOOKED_AT = frozenset({"checkout-order", "capture", "refund", "dispute", REVERSED_ORDER})
# Each delivery costs a call to PayPal. One at a time, and few may wait for it: whoever floods us with forgeries holds no more threads
# than these, and PayPal sends again what it did not get rid of.
_verifications = threading.BoundedSemaphore(1)
_places = threading.BoundedSemaphore(2)
LONGEST_WAIT_SECONDS = 2.0


@csrf_exempt
@require_POST
def door(request: HttpRequest) -> HttpResponse:
    """Note an event that PayPal says it signed: 200. Anything else 400; 503 while PayPal cannot be asked, so that it sends again."""
    if not settings.PAYPAL_CLIENT_ID:
        return HttpResponseNotFound()
    headers = {name: request.headers.get(header, "") for header, name in SIGNATURE.items()}
    told = _event_in(request)
    if told is None or not all(0 < len(value) <= LONGEST_HEADER for value in headers.values()):
        return HttpResponseBadRequest()
    if not _is_paypals(headers["cert_url"]):
        logger.warning("An event was refused: its certificate would come from elsewhere.")
        return HttpResponseBadRequest()
    genuine = _is_genuine(headers, request.body.decode())
    if genuine is None:
        return HttpResponse(status=503)
    if not genuine:
        return HttpResponseBadRequest()
    object_kind, object_ref = _subject(str(told.get("resource_type", "")), told["resource"])
    note(
        "paypal",
        event_ref=told["id"],
        kind=str(told.get("event_type", "")),
        object_kind=object_kind,
        object_ref=object_ref,
        livemode=settings.PAYPAL_LIVE_MODE,
        occurred_at=instant(datetime.fromisoformat, told.get("create_time")),
    )
    return HttpResponse()


def _is_genuine(headers: dict[str, str], body: str) -> bool | None:
    """Have PayPal say whether it signed the event; None while it cannot be asked."""
    if not _places.acquire(blocking=False):
        return None
    try:
        if not _verifications.acquire(timeout=LONGEST_WAIT_SECONDS):
            return None
        try:
            return PayPalGateway().verify_event(headers, body)
        except (Unavailable, OutcomeUnknown):
            return None
        except ProviderError:  # PayPal finds the headers themselves wrong
            return False
        finally:
            _verifications.release()
    finally:
        _places.release()


def _event_in(request: HttpRequest) -> dict[str, Any] | None:
    """The event in a body of bounded size, or None for anything that is not one."""
    try:
        body = request.body.decode()
        told = json.loads(body)
    except (ValueError, RecursionError, RequestDataTooBig):
        return None
    if not isinstance(told, dict) or "\\u0000" in body or not isinstance(told.get("resource"), dict):
        return None
    if not is_storable(json.dumps(told, ensure_ascii=False)):
        return None
    event_ref = told.get("id")
    return told if isinstance(event_ref, str) and event_ref else None


def _subject(kind: str, resource: dict[str, Any]) -> tuple[str, str]:
    """What to look at. A wallet that a payment saved later than it paid names the order, which says whose it is."""
    metadata = resource.get("metadata")
    order = metadata.get("order_id") if isinstance(metadata, dict) else None
    if kind == "payment_token" and isinstance(order, str) and order:
        return "checkout-order", order
    return kind, str(resource.get("dispute_id" if kind == "dispute" else "id", ""))


def _is_paypals(url: str) -> bool:
    """Only a certificate of PayPal's own may vouch, on its own host or the API's. We fetch none: PayPal checks its own signature."""
    try:
        asked, api = urlsplit(url), urlsplit(settings.PAYPAL_API_BASE)
        host = asked.hostname or ""
    except ValueError:
        return False
    if (asked.scheme, asked.netloc) == (api.scheme, api.netloc):
        return True
    return asked.scheme == "https" and asked.netloc == host and host.endswith(".paypal.com")


def look(kind: str, ref: str) -> Notice | None:
    """Fetch the object that an event names, as it is now, up to the order that it belongs to."""
    if kind == "payment_token":  # the look at the method itself fetches it, or finds it gone
        return Notice(
            payment_id="", payment_ref="", took_money=False, data={}, method_ref=ref, may_be_new=True
        )
    if kind not in LOOKED_AT:
        return None
    gateway = PayPalGateway()
    data = gateway.retrieve("checkout-order" if kind == REVERSED_ORDER else kind, ref)
    if kind == "dispute":
        return Notice(
            payment_id=payment_id_in(data["disputed_transactions"][0].get("custom")),
            payment_ref=gateway.disputed_payment(data),
            took_money=False,
            data=data,
            is_disputed=True,
        )
    if kind in ("checkout-order", REVERSED_ORDER):
        unit = data["purchase_units"][0]
        captures = (unit.get("payments") or {}).get("captures") or []
        return Notice(
            payment_id=payment_id_in(unit.get("custom_id")),
            payment_ref=data["id"],
            took_money=any(one["status"] == "COMPLETED" for one in captures),
            data=data,
            is_disputed=kind == REVERSED_ORDER,
        )
    capture = gateway.retrieve("capture", parent_of(data)) if kind == "refund" else data
    return Notice(
        payment_id=payment_id_in(capture.get("custom_id")),
        payment_ref=parent_of(capture),
        took_money=kind == "capture" and capture["status"] == "COMPLETED",
        data=data,
    )


def mirror(kind: str, data: dict[str, Any]) -> None:
    """No copy of PayPal's objects is kept: settle has taken what we need."""
