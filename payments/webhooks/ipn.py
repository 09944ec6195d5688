"""PayPal's older notifications (IPN): one more reason to look, never a fact.

django-paypal reads the form and asks PayPal whether it sent it. What the library does not check is checked here first, so that
nothing is asked about a notification that could not be ours; nothing of it is stored, for it is full of personal data.
"""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import Any

import requests
from django.conf import settings
from django.core.cache import cache
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseNotFound, QueryDict
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from paypal.standard.ipn.forms import PayPalIPNForm
from paypal.standard.ipn.models import PayPalIPN
from redis.exceptions import RedisError

from foundation.metrics import provider_called
from payments.gateways.base import Unavailable, provider_call
from payments.models import Payment
from payments.webhooks.notices import note, payment_id_in
from payments.webhooks.paypal import REVERSED_ORDER

logger = logging.getLogger(__name__)
REVERSALS = frozenset({"Reversed", "Canceled_Reversal"})


def ask_paypal(notification: Any) -> bytes:
    """The library's postback, which has no timeout and chooses its address by what the caller posted. Bound in payments.apps."""
    answer = requests.post(
        settings.PAYPAL_IPN_URL,
        data=b"cmd=_notify-validate&" + notification.query.encode("ascii"),
        headers={"Content-Type": "application/x-www-form-urlencoded", "User-Agent": "airport-parking"},
        timeout=settings.PAYPAL_TIMEOUT_SECONDS,
        allow_redirects=False,
    )
    answer.raise_for_status()
    return answer.content[:64]


@csrf_exempt
@require_POST
def door(request: HttpRequest) -> HttpResponse:
    """Note a notification about one of our payments that PayPal says it sent. Anything else is ignored and counted, with 200.

    400 for what is not a form; 503 while PayPal cannot be asked, so that it sends again.
    """
    if not settings.PAYPAL_CLIENT_ID:
        return HttpResponseNotFound()
    if request.content_type != "application/x-www-form-urlencoded":
        return HttpResponseBadRequest()
    try:
        text = request.body.decode("ascii")
        told = QueryDict(text, encoding=request.POST.get("charset") or "windows-1252")
    except (ValueError, LookupError, RequestDataTooBig):
        return HttpResponseBadRequest()
    payment = _payment_of(told)
    objection = _objection(told, payment)
    if objection or payment is None:
        return _ignore(objection)
    form = PayPalIPNForm(told)
    if not form.is_valid():
        return _ignore("malformed")
    notification: PayPalIPN = form.save(commit=False)
    notification.query = text
    try:
        with provider_called("paypal", "verify_notification"), provider_call():
            notification.response = notification._postback().decode("ascii", "replace")
    except (Unavailable, requests.RequestException):
        return HttpResponse(status=503)
    notification._verify_postback()
    if notification.flag:
        return _ignore("not-verified")
    note(
        "paypal",
        event_ref=f"ipn:{notification.txn_id}:{notification.payment_status}",
        kind=f"ipn.{notification.payment_status}",
        object_kind=REVERSED_ORDER if notification.payment_status in REVERSALS else "checkout-order",
        object_ref=payment.provider_ref or "",
        livemode=settings.PAYPAL_LIVE_MODE,
    )
    return HttpResponse()


def _payment_of(told: QueryDict) -> Payment | None:
    payment_id = payment_id_in(told.get("custom"))
    if not payment_id:
        return None
    return Payment.objects.filter(pk=payment_id, provider="paypal", provider_ref__isnull=False).first()


def _objection(told: QueryDict, payment: Payment | None) -> str:
    """Say why a notification cannot be about our money; "" when nothing speaks against it."""
    if settings.PRODUCTION and "test_ipn" in told:
        return "test-notification"
    if told.get("receiver_email", "").casefold() != settings.PAYPAL_RECEIVER_EMAIL.casefold():
        return "another-receiver"
    if payment is None or not told.get("txn_id"):
        return "unknown-payment"
    if told.get("mc_currency") != payment.currency:
        return "another-currency"
    asked = payment.amount.major
    try:
        gross = Decimal(told.get("mc_gross", ""))
        # What goes back to the buyer is negative, and may be a part of it.
        fits = gross == asked if gross >= 0 else -gross <= asked
    except ArithmeticError:  # no number, NaN, or one too large to calculate with
        fits = False
    return "" if fits else "another-amount"


def _ignore(reason: str) -> HttpResponse:
    key = f"paypal-ipn-ignored:{reason}"
    try:
        cache.add(key, 0, timeout=None)
        number: Any = cache.incr(key)
    except (RedisError, OSError, ValueError):  # counting is worth no error
        number = "unknown"
    logger.warning("An instant payment notification was ignored (%s), number %s", reason, number)
    return HttpResponse()
