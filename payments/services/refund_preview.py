"""A refund is shown first and then done exactly as shown: the token is bound to the person, the payment, the amount and the reason."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.core import signing
from django.db import IntegrityError, transaction
from django.utils.translation import gettext_lazy as _

from foundation.errors import DomainError
from foundation.models import IdempotencyRecord
from foundation.money import Money
from payments.models import Payment, Refund, RefundSource
from payments.services import approval
from payments.services.refund import preview_refund, refuse_odd_amount, request_refund

SALT = "payments.refund_preview"
PREVIEW_LIVES = timedelta(minutes=15)


class PreviewOutdated(DomainError):
    code = "preview_outdated"
    message = _(
        "This preview has lapsed or is about something else. Look at the refund again and confirm what you see then."
    )


class PreviewUsed(DomainError):
    code = "preview_used"
    message = _("This refund was already requested. It was not sent a second time.")


@dataclass(frozen=True)
class ShownRefund:
    """What a confirmed refund will do until `expires_at`. `remains` is what we keep of the payment."""

    amount: Money
    reason: str
    remains: Money
    left_after: Money
    needs_approval: bool
    token: str
    expires_at: datetime


def show_refund(
    payment: Payment, *, amount_minor: int, reason: str, principal: str, by_staff: bool, now: datetime
) -> ShownRefund:
    """Say what a refund would do and give the token that does it. Changes nothing.

    `principal` names who may use the token ("user:7"). Raises InvalidInput, PaymentDisputed, RefundExceedsCaptured.
    """
    preview = preview_refund(payment, amount_minor)
    if by_staff:
        refuse_odd_amount(payment, amount_minor)
    waits = by_staff and approval.needs_approval(payment, amount_minor, now=now)
    promise = {
        "payment": str(payment.pk),
        "amount_minor": amount_minor,
        "reason": reason,
        "principal": principal,
        "needs_approval": waits,
        "at": now.timestamp(),
        "once": secrets.token_urlsafe(16),
    }
    kept = payment.captured_minor - payment.reserved_minor - amount_minor
    return ShownRefund(
        amount=preview.amount,
        reason=reason,
        remains=Money(kept, payment.currency),
        left_after=preview.left_after,
        needs_approval=waits,
        token=signing.dumps(promise, salt=SALT, compress=True),
        expires_at=now + PREVIEW_LIVES,
    )


def read_token(token: str, payment: Payment, *, principal: str, now: datetime) -> dict[str, Any]:
    """Return what was shown. Raises PreviewOutdated when the token is forged, lapsed, another person's or another payment's."""
    try:
        promise: dict[str, Any] = signing.loads(token, salt=SALT)
    except (signing.BadSignature, ValueError, UnicodeError):
        raise PreviewOutdated from None
    lapsed = not 0 <= now.timestamp() - promise["at"] < PREVIEW_LIVES.total_seconds()
    if lapsed or promise["payment"] != str(payment.pk) or promise["principal"] != principal:
        raise PreviewOutdated
    return promise


def refund_as_shown(
    payment: Payment, *, token: str, principal: str, requested_by: Any, now: datetime
) -> Refund:
    """Request exactly the refund that was shown to staff, once: a second use of the token finds it spent, whenever it comes.

    Raises PreviewOutdated, PreviewUsed, PaymentDisputed, RefundExceedsCaptured.
    """
    promise = read_token(token, payment, principal=principal, now=now)
    with transaction.atomic():
        try:
            # Spent in the same commit as the refund is born; a twin waits here until that commit.
            with transaction.atomic():
                IdempotencyRecord.objects.create(
                    principal=principal,
                    route="refund preview",
                    key=promise["once"],
                    fingerprint=f"payment:{payment.pk}"[:64],
                    finished_at=now,
                )
        except IntegrityError:
            raise PreviewUsed from None
        refund = request_refund(
            payment,
            amount_minor=promise["amount_minor"],
            reason=promise["reason"],
            requested_by=requested_by,
            source=RefundSource.STAFF,
        )
        if refund.needs_approval != promise["needs_approval"]:  # other refunds of this booking came between
            raise PreviewOutdated
    return refund
