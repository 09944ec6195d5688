"""Answering disputes: recorded by staff, sent once by the worker with the evidence; and finding disputes that nobody told us of."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from foundation import audit, jobs
from foundation.errors import DomainError, InvalidInput
from payments.gateways import gateway_for
from payments.gateways.base import Evidence, Rejected
from payments.models import ANSWERABLE, BreakKind, Dispute, DocumentKind, Payment
from payments.paper import evidence, receipt
from payments.services import settle
from payments.services.breaks import open_break

LOOK_BACK = timedelta(days=3)
LONGEST_ANSWER = 5000


class NotAnswerable(DomainError):
    code = "not_answerable"
    message = _("This dispute takes no answer now: it was answered, or the bank has decided.")


def answer(dispute: Dispute, *, text: str, by: Any, now: datetime) -> Dispute:
    """Record what we say to the bank and who said so; the worker sends it with the evidence. It can be sent once.

    Locks the dispute. Raises NotAnswerable, InvalidInput.
    """
    text = text.strip()
    if not text or len(text) > LONGEST_ANSWER:
        raise InvalidInput(_("Say in your own words why the charge is right."), field="answer")
    with transaction.atomic():
        dispute = Dispute.objects.select_for_update().select_related("payment").get(pk=dispute.pk)
        if not dispute.is_answerable:
            raise NotAnswerable
        dispute.answer, dispute.answered_by, dispute.answered_at, dispute.failure = text, by, now, ""
        dispute.save(update_fields=["answer", "answered_by", "answered_at", "failure"])
        audit.record(
            actor=by,
            action="dispute.answered",
            subject=f"payment:{dispute.payment_id}",
            reason=text[:500],
            data={"dispute": dispute.provider_ref},
        )
        jobs.defer("payments.send_answer", dispute_id=str(dispute.pk))
    return dispute


def send_answer(dispute_id: Any) -> Dispute:
    """Send the recorded answer with its evidence, after a look: what the bank already has is not sent again.

    A repeat after a lost answer replaces the same evidence by the same, so it harms nothing. An answer that the provider refuses is
    given back to staff with the reason. Raises Unavailable, OutcomeUnknown (the job or the janitor tries again).
    """
    dispute = Dispute.objects.select_related("payment").get(pk=dispute_id)
    settle.settle(dispute.payment_id)
    dispute.refresh_from_db()
    if dispute.answered_at is None or dispute.status not in ANSWERABLE:
        return dispute
    paper = dispute.payment.documents.filter(kind=DocumentKind.RECEIPT).first()
    booking = dispute.payment.booking
    proof = Evidence(
        text=dispute.answer,
        customer_name=booking.driver_name,
        customer_email=booking.driver_email,
        product=evidence.product_of(booking),
        service_on=booking.local_start.date().isoformat(),
        policy=str(booking.policy.get("summary", "")),
        pack=evidence.render(dispute),
        receipt=receipt.render(paper) if paper else b"",
    )
    try:
        gateway_for(dispute.provider).answer_dispute(dispute.provider_ref, proof)
    except Rejected as error:
        why = str(error.details.get("provider_code", "")) or gettext("The provider refused the answer.")
        Dispute.objects.filter(pk=dispute.pk, status__in=ANSWERABLE).update(
            answer="", answered_at=None, answered_by=None, failure=why[:200]
        )
    settle.settle(dispute.payment_id)
    dispute.refresh_from_db()
    return dispute


def look_for_new(*, provider: str = "stripe") -> None:
    """Find disputes of the last days whose webhook was lost, and settle their payments."""
    for ref in gateway_for(provider).disputed_payments(since=timezone.now() - LOOK_BACK):
        payment = Payment.objects.filter(provider=provider, provider_ref=ref).first()
        if payment is None:
            open_break(
                BreakKind.MISSING_LOCAL,
                provider=provider,
                provider_ref=ref,
                detail="A payment that we do not know is disputed.",
            )
        else:
            settle.settle(payment.pk)
