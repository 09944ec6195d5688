"""Stripe's webhooks: dj-stripe verifies and stores; we only note that there is a reason to look."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import djstripe.models
import stripe
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from djstripe.views import ProcessWebhookView

from foundation.text import is_storable
from payments.gateways.stripe import StripeGateway
from payments.webhooks.notices import Notice, instant, note, payment_id_in

SIGNATURE_TOLERANCE_SECONDS = 300  # as Stripe recommends
MIRRORED = {
    "payment_intent": djstripe.models.PaymentIntent,
    "charge": djstripe.models.Charge,
    "refund": djstripe.models.Refund,
    "customer": djstripe.models.Customer,
    "payment_method": djstripe.models.PaymentMethod,
    "setup_intent": djstripe.models.SetupIntent,
    "dispute": djstripe.models.Dispute,
}


def enqueue(trigger: Any, *, api_key: str | None = None, **_more: Any) -> None:
    """dj-stripe's WEBHOOK_EVENT_CALLBACK, after the signature was verified: note the event once and queue the look.

    An event of the other mode (test on the live endpoint) is refused with 400.
    """
    body = trigger.json_body
    data = body.get("data")
    subject = data.get("object") if isinstance(data, dict) else None
    told = isinstance(subject, dict) and "\\u0000" not in trigger.body
    if not told or not body.get("id") or body.get("livemode") is not settings.STRIPE_LIVE_MODE:
        trigger.valid = False
        return
    assert isinstance(subject, dict)
    note(
        "stripe",
        event_ref=str(body["id"]),
        kind=str(body.get("type", "")),
        object_kind=str(subject.get("object", "")),
        object_ref=str(subject.get("id", "")),
        livemode=settings.STRIPE_LIVE_MODE,
        occurred_at=instant(lambda told: datetime.fromtimestamp(told, tz=UTC), body.get("created")),
    )


@csrf_exempt
@require_POST
def door(request: HttpRequest, uuid: uuid.UUID) -> HttpResponse:
    """Refuse what is not signed by Stripe before dj-stripe stores it, so that a flood of forgeries fills no table."""
    signature = request.headers.get("Stripe-Signature", "")
    try:
        body = request.body.decode()
        stripe.WebhookSignature.verify_header(
            body,
            signature if signature.isascii() else "",  # the comparison takes no other letters
            settings.STRIPE_WEBHOOK_SECRET,
            tolerance=SIGNATURE_TOLERANCE_SECONDS,
        )
        told = json.loads(body)
    except (stripe.SignatureVerificationError, ValueError, RecursionError, RequestDataTooBig):
        told = None
    if not isinstance(told, dict) or not is_storable(json.dumps(told, ensure_ascii=False)):
        return HttpResponseBadRequest()
    return ProcessWebhookView.as_view()(request, uuid=uuid)


def look(kind: str, ref: str) -> Notice | None:
    """Fetch the object that an event names, as it is now."""
    if kind not in MIRRORED:
        return None
    data = StripeGateway().retrieve(kind, ref)
    intent = data["id"] if kind == "payment_intent" else data.get("payment_intent")
    claimed = (data.get("metadata") or {}).get("payment_id", "") if kind == "payment_intent" else ""
    took_money = kind == "payment_intent" and data.get("status") == "succeeded"
    return Notice(
        payment_id=payment_id_in(claimed),
        payment_ref=intent or "",
        took_money=took_money,
        data=data,
        method_ref=data["id"] if kind == "payment_method" else "",
        setup_ref=data["id"] if kind == "setup_intent" else "",
    )


def mirror(kind: str, data: dict[str, Any]) -> None:
    """Refresh dj-stripe's copy of an object."""
    MIRRORED[kind].sync_from_stripe_data(data, api_key=settings.STRIPE_SECRET_KEY)
