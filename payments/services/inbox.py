"""The inbox: a verified notice is a reason to look, never a fact."""

from __future__ import annotations

import logging

from django.db.models import F
from django.utils import timezone

from foundation.personal import is_gone
from payments.models import BreakKind, EventStatus, Payment, ProviderEvent
from payments.services import methods, settle
from payments.services.breaks import open_break
from payments.webhooks import paypal, stripe
from payments.webhooks.notices import Correspondent

logger = logging.getLogger(__name__)
MOST_ATTEMPTS = 8
CORRESPONDENTS: dict[str, Correspondent] = {"stripe": stripe, "paypal": paypal}


def process_event(event_id: int) -> ProviderEvent:
    """Settle the payment that an event is about, or look at the saved method, and refresh the mirror.

    A failure is kept on the row and tried again by the janitor; after MOST_ATTEMPTS the event is given up and waits in the admin.
    """
    event = ProviderEvent.objects.get(pk=event_id)
    if event.status != EventStatus.RECEIVED:
        return event
    try:
        _look(event)
    except Exception as error:
        logger.exception("event %s failed", event.event_ref)
        ProviderEvent.objects.filter(pk=event.pk).update(
            attempts=F("attempts") + 1, last_error=str(error)[:500]
        )
        event.refresh_from_db()
        if event.attempts >= MOST_ATTEMPTS:
            ProviderEvent.objects.filter(pk=event.pk).update(
                status=EventStatus.DEAD, processed_at=timezone.now()
            )
    else:
        ProviderEvent.objects.filter(pk=event.pk).update(
            status=EventStatus.PROCESSED,
            processed_at=timezone.now(),
            attempts=F("attempts") + 1,
            last_error="",
        )
    event.refresh_from_db()
    return event


def _look(event: ProviderEvent) -> None:
    correspondent = CORRESPONDENTS[event.provider]
    notice = correspondent.look(event.object_kind, event.object_ref)
    if notice is None:
        return
    if notice.setup_ref:
        methods.take_over_setup(event.provider, notice.setup_ref)
    if notice.method_ref:
        methods.look_again(
            event.provider, notice.method_ref, now=timezone.now(), may_be_new=notice.may_be_new
        )
    payment = None
    if notice.payment_id:
        payment = Payment.objects.filter(pk=notice.payment_id).first()
    if payment is None and notice.payment_ref:
        payment = Payment.objects.filter(provider=event.provider, provider_ref=notice.payment_ref).first()
    if payment is not None:
        payment = settle.settle(payment.pk, is_disputed=notice.is_disputed)
    if payment is not None and notice.took_money and payment.provider_ref not in (None, notice.payment_ref):
        open_break(
            BreakKind.DUPLICATE,
            provider=event.provider,
            provider_ref=notice.payment_ref,
            detail=f"The provider took money twice for this payment: here, and with {payment.provider_ref}.",
            payment=payment,
        )
    elif payment is None and notice.is_disputed:
        open_break(
            BreakKind.MISSING_LOCAL,
            provider=event.provider,
            provider_ref=notice.payment_ref,
            detail="A payment that we do not know is disputed.",
        )
    elif payment is None and notice.took_money:
        open_break(
            BreakKind.MISSING_LOCAL,
            provider=event.provider,
            provider_ref=notice.payment_ref,
            detail="The provider took money for a payment that we do not know.",
        )
    if payment is None or not is_gone(
        payment.booking.driver_email
    ):  # a late event does not bring an erased person back
        correspondent.mirror(event.object_kind, notice.data)
