"""Answering disputes, or giving in: recorded by staff, sent once by the worker; and finding disputes that nobody told us of."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from foundation import audit, jobs
from foundation.errors import DomainError, InvalidInput
from payments.gateways import configured, gateway_for
from payments.gateways.base import Evidence, ProviderError, Rejected
from payments.models import ANSWERABLE, MONEY_AT_STAKE, BreakKind, Dispute, DocumentKind, Payment
from payments.paper import evidence, receipt
from payments.services import approval, settle
from payments.services.approval import NotWaiting, OwnRequest
from payments.services.breaks import open_break

LOOK_BACK = timedelta(days=3)
LONGEST_ANSWER = 5000
LONGEST_REASON = 500
logger = logging.getLogger(__name__)


class NotAnswerable(DomainError):
    code = "not_answerable"
    message = _("This dispute takes no answer now: it was answered, or the bank has decided.")


class DeadlinePassed(DomainError):
    code = "deadline_passed"
    message = _(
        "The time to answer this dispute is over, and no evidence is taken any more. The bank decides without us; look here for the outcome."
    )


class NotAcceptable(DomainError):
    code = "not_acceptable"
    message = _(
        "This dispute cannot be accepted now: an answer is on its way, or the bank has decided. An inquiry has taken no money: refund "
        "the payment instead."
    )


def answer(dispute: Dispute, *, text: str, by: Any, now: datetime) -> Dispute:
    """Record what we say to the bank and who said so; the worker sends it with the evidence. It can be sent once.

    Locks the dispute. Raises NotAnswerable, DeadlinePassed, InvalidInput.
    """
    text = text.strip()
    if not text or len(text) > LONGEST_ANSWER:
        raise InvalidInput(_("Say in your own words why the charge is right."), field="answer")
    with transaction.atomic():
        dispute = Dispute.objects.select_for_update().select_related("payment").get(pk=dispute.pk)
        if not dispute.is_answerable:
            raise NotAnswerable
        if dispute.due_by is not None and dispute.due_by < now:
            raise DeadlinePassed
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
        said_at=dispute.answered_at,
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


def accept(dispute: Dispute, *, reason: str, by: Any, now: datetime) -> Dispute:
    """Record that we give the money up, and who decided so; the worker tells the provider. It cannot be taken back.

    Above the limit for refunds it lies still until a second person approves it. Locks the dispute. Raises NotAcceptable, InvalidInput.
    """
    reason = reason.strip()
    if not reason or len(reason) > LONGEST_REASON:
        raise InvalidInput(_("Say why we give in."), field="reason")
    with transaction.atomic():
        dispute = Dispute.objects.select_for_update().select_related("payment").get(pk=dispute.pk)
        if not dispute.is_acceptable:
            raise NotAcceptable
        limit = approval.limit_of(dispute.currency)
        dispute.acceptance, dispute.accepted_by, dispute.accepted_at, dispute.failure = reason, by, now, ""
        dispute.acceptance_needs_approval = limit is not None and dispute.amount_minor > limit
        dispute.acceptance_approved_by = dispute.acceptance_approved_at = None
        dispute.save()
        audit.record(
            actor=by,
            action="dispute.accepted",
            subject=f"payment:{dispute.payment_id}",
            reason=reason,
            data={
                "dispute": dispute.provider_ref,
                "amount": str(dispute.amount),
                "needs approval": dispute.acceptance_needs_approval,
            },
        )
        if not dispute.acceptance_needs_approval:
            jobs.defer("payments.send_acceptance", dispute_id=str(dispute.pk))
    return dispute


def approve_acceptance(dispute_id: Any, *, by: Any, now: datetime) -> Dispute:
    """Let us give in, under the name of another person than the one who asked for it. Once.

    Locks the dispute. Raises NotWaiting, OwnRequest.
    """
    with transaction.atomic():
        dispute = Dispute.objects.select_for_update().get(pk=dispute_id)
        if not dispute.waits_for_approval:
            raise NotWaiting
        if dispute.accepted_by_id == by.pk:
            raise OwnRequest
        dispute.acceptance_approved_by, dispute.acceptance_approved_at = by, now
        dispute.save(update_fields=["acceptance_approved_by", "acceptance_approved_at"])
        _audit_decision(dispute, "dispute.acceptance_approved", by=by, reason=dispute.acceptance)
        jobs.defer("payments.send_acceptance", dispute_id=str(dispute.pk))
    return dispute


def reject_acceptance(dispute_id: Any, *, by: Any, reason: str, now: datetime) -> Dispute:
    """Do not give in: the dispute can be answered again. Who asked for it may take it back this way.

    Locks the dispute. Raises NotWaiting, InvalidInput without a reason.
    """
    if not reason.strip():
        raise InvalidInput(_("Say why."), field="reason")
    with transaction.atomic():
        dispute = Dispute.objects.select_for_update().get(pk=dispute_id)
        if not dispute.waits_for_approval:
            raise NotWaiting
        own = dispute.accepted_by_id == by.pk
        _forget_acceptance(dispute)
        action = "dispute.acceptance_withdrawn" if own else "dispute.acceptance_rejected"
        _audit_decision(dispute, action, by=by, reason=reason.strip()[:500])
    return dispute


def _forget_acceptance(dispute: Dispute) -> None:
    dispute.acceptance, dispute.accepted_by, dispute.accepted_at = "", None, None
    dispute.acceptance_needs_approval = False
    dispute.acceptance_approved_by = dispute.acceptance_approved_at = None
    dispute.save()


def _audit_decision(dispute: Dispute, action: str, *, by: Any, reason: str) -> None:
    data = {"dispute": dispute.provider_ref, "amount": str(dispute.amount)}
    audit.record(actor=by, action=action, subject=f"payment:{dispute.payment_id}", reason=reason, data=data)


def send_acceptance(dispute_id: Any) -> Dispute:
    """Tell the provider that we give in, after a look: a dispute that is over by now is left alone.

    The money is with the bank already, so nothing is refunded here: the dispute is lost, and the books have it once. What the provider
    refuses is given back to staff with its reason. Raises Unavailable, OutcomeUnknown (the job or the janitor tries again).
    """
    dispute = Dispute.objects.get(pk=dispute_id)
    settle.settle(dispute.payment_id)
    dispute.refresh_from_db()
    if dispute.accepted_at is None or dispute.status not in MONEY_AT_STAKE or dispute.waits_for_approval:
        return dispute
    try:
        gateway_for(dispute.provider).accept_dispute(dispute.provider_ref, reason=dispute.acceptance)
    except Rejected as error:
        why = str(error.details.get("provider_code", "")) or gettext("The provider refused it.")
        with transaction.atomic():
            refused = (
                Dispute.objects.select_for_update().filter(pk=dispute.pk, status__in=MONEY_AT_STAKE).first()
            )
            if refused is not None:
                refused.failure = why[:200]
                _forget_acceptance(refused)
    settle.settle(dispute.payment_id)
    dispute.refresh_from_db()
    return dispute


def look_for_new() -> None:
    """Find disputes of the last days whose webhook was lost, and settle their payments. Each provider on its own."""
    for provider in configured():
        try:
            _look_for_new(provider)
        except ProviderError as error:
            logger.warning("%s was not asked for new disputes: %s", provider, error)


def _look_for_new(provider: str) -> None:
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
            settle.settle(payment.pk, is_disputed=True)
