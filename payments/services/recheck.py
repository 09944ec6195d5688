"""Looking at a break again: is its cause gone? Settles, and never writes money itself."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from payments.gateways import gateway_for
from payments.gateways.base import Gateway, Gone, ProviderPayment, Rejected
from payments.models import Break, BreakKind, Payment, PaymentStatus, Refund, RefundStatus
from payments.services import settle
from payments.services.breaks import close_by_itself
from payments.services.comparison import EXPECTED_THERE, differences

KNOWN_NOW = "The payment is in our books now."
GIVEN_BACK = "The provider has given all of it back."
EXPLAINED = "Our books know all that moved."
AGREED = "Both sides agree now."


def look_again(break_id: Any, *, now: datetime) -> bool:
    """Look at one open break and close it if its cause is gone. Returns whether it is closed. Raises Unavailable, OutcomeUnknown."""
    found = Break.objects.get(pk=break_id)
    if found.resolved_at is None:
        close_what_is_gone(found, gateway_for(found.provider), now=now)
        found.refresh_from_db()
    return found.resolved_at is not None


def close_what_is_gone(found: Break, gateway: Gateway, *, now: datetime) -> bool:
    """Close a break whose cause is gone, with a note that says why, under nobody's name. Raises Unavailable, OutcomeUnknown."""
    try:
        note = _why_gone(found, gateway)
    except Rejected:  # Gone and Missing as well: what cannot be looked up is not settled
        return False
    return bool(note) and close_by_itself(found, note=note, now=now)


def _why_gone(found: Break, gateway: Gateway) -> str:
    if found.kind in (BreakKind.MISSING_LOCAL, BreakKind.DUPLICATE):
        return _stray_is_gone(found, gateway)
    refund = refund_of(found)
    if refund is not None and refund.status == RefundStatus.FAILED:
        return ""  # the customer waits for the money: no machine settles that
    payment = found.payment or (refund.payment if refund else None)
    if payment is None or not payment.provider_ref:
        return ""
    payment = settle.settle(payment.pk)
    truth = gateway.fetch_payment(payment.provider_ref or "")
    if refund is not None:
        refund.refresh_from_db()
        is_there = any(
            refund.provider_ref == one.ref or str(refund.pk) == one.our_id for one in truth.refunds
        )
        if not is_there or refund.status not in EXPECTED_THERE:
            return ""
    elif not _names(found, payment, truth):
        return ""
    still = {one.provider_ref for one in differences(payment, truth)}
    return "" if found.provider_ref in still else AGREED


def _names(found: Break, payment: Payment, truth: ProviderPayment) -> bool:
    """Whether the break is about something that this look has covered."""
    known = {payment.provider_ref, *(one.ref for one in truth.refunds), *(one.ref for one in truth.disputes)}
    return found.provider_ref in known


def _stray_is_gone(found: Break, gateway: Gateway) -> str:
    ref = found.provider_ref
    known = Payment.objects.filter(provider=found.provider, provider_ref=ref, status=PaymentStatus.CAPTURED)
    if known.exists() or Refund.objects.filter(payment__provider=found.provider, provider_ref=ref).exists():
        return KNOWN_NOW
    if (
        found.currency and not found.taken_minor
    ):  # movements that nobody knew: our books hold them now, or they undid each other
        return "" if found.unbooked_minor else EXPLAINED
    try:
        truth = gateway.fetch_payment(ref)
    except Gone:
        return ""
    given = sum(one.amount_minor for one in truth.refunds if one.status == RefundStatus.SUCCEEDED)
    return GIVEN_BACK if truth.captured_minor and given >= truth.captured_minor else ""


def refund_of(found: Break) -> Refund | None:
    """The refund of ours that a break is about, if it is about one."""
    by_ref = Refund.objects.filter(payment__provider=found.provider, provider_ref=found.provider_ref)
    refund = by_ref.select_related("payment").first() if found.provider_ref else None
    if refund is None:
        try:
            refund = Refund.objects.select_related("payment").get(pk=uuid.UUID(found.provider_ref))
        except (ValueError, Refund.DoesNotExist):
            return None
    return refund
