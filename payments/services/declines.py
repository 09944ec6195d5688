"""Trying out stolen cards: declines are counted by customer, internet address and card, and too many stop further tries with any card.

A card is known by the fingerprint that the provider gives it, and kept like the address and the customer: as a keyed hash.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from bookings.models import Booking
from foundation import audit, jobs
from foundation.addresses import network_of
from foundation.errors import DomainError, InvalidInput
from payments.gateways.base import ProviderPayment
from payments.models import CardBreaker, Decline, DeclineScope, Payment

KEPT = timedelta(days=30)
FIELDS = {
    DeclineScope.ADDRESS: "address_key",
    DeclineScope.ACCOUNT: "account_key",
    DeclineScope.CARD: "card_key",
}


class TooManyDeclines(DomainError):
    code = "too_many_declines"
    message = _(
        "Several cards were declined here, so no card is taken for a while. Nothing was taken. Pay another way, try again in an hour, or "
        "ask us for help."
    )


def key_of(scope: str, value: str) -> str:
    """Return the keyed hash under which a customer, an address or a card is counted; "" for nothing."""
    if not value:
        return ""
    if scope == DeclineScope.ADDRESS:
        value = network_of(value)
    return hmac.new(
        settings.ADDRESS_KEY.encode(), f"decline:{scope}:{value}".encode(), hashlib.sha256
    ).hexdigest()


def account_of(booking: Booking, user: Any) -> str:
    """Name who pays: the account, or a guest by the e-mail address of the booking."""
    pk = getattr(user, "pk", None) or booking.user_id
    return f"user:{pk}" if pk else f"email:{booking.driver_email.lower()}"


def refuse_stopped(booking: Booking, *, user: Any, address: str, now: datetime) -> None:
    """Raise TooManyDeclines while cards of this customer, from this address, or one that was tried for this booking, are stopped."""
    since = now - timedelta(minutes=settings.CARD_DECLINE_MINUTES)
    tried = Decline.objects.filter(payment__booking=booking, at__gt=since).values_list("card_key", flat=True)
    refuse_keys(
        {
            key_of(DeclineScope.ADDRESS, address),
            key_of(DeclineScope.ACCOUNT, account_of(booking, user)),
            *tried,
        },
        now=now,
    )


def refuse_keys(keys: set[str], *, now: datetime) -> None:
    """Raise TooManyDeclines while any of these is stopped."""
    stopped = CardBreaker.objects.filter(key__in=keys - {""}, reset_at=None, until__gt=now)
    if settings.RATE_LIMITS_ENABLED and stopped.exists():
        raise TooManyDeclines


def note(payment: Payment, truth: ProviderPayment, *, now: datetime) -> None:
    """Count a decline that the provider tells of, once, in the caller's transaction.

    When it is one too many, what it counts for is stopped, and the payment is withdrawn: the browser that holds its secret could go on
    trying cards without us.
    """
    if not truth.decline_ref:
        return
    decline, is_new = Decline.objects.get_or_create(
        ref=truth.decline_ref[:255],
        defaults={
            "payment": payment,
            "at": now,
            "code": truth.failure_code[:64],
            "address_key": payment.address_key,
            "account_key": key_of(DeclineScope.ACCOUNT, account_of(payment.booking, payment.user)),
            "card_key": key_of(DeclineScope.CARD, truth.card_fingerprint),
        },
    )
    if not is_new or not settings.RATE_LIMITS_ENABLED:
        return
    tripped = [scope for scope in FIELDS if _trip(scope, decline, now=now)]
    if tripped:
        jobs.defer("payments.withdraw_payment", payment_id=str(payment.pk))


def _trip(scope: DeclineScope, decline: Decline, *, now: datetime) -> bool:
    key = getattr(decline, FIELDS[scope])
    if not key:
        return False
    window = timedelta(minutes=settings.CARD_DECLINE_MINUTES)
    since = now - window
    let_go = CardBreaker.objects.filter(scope=scope, key=key, reset_at__gt=since).order_by("-reset_at")
    since = let_go.values_list("reset_at", flat=True).first() or since
    count = Decline.objects.filter(Q(**{FIELDS[scope]: key}), at__gt=since).count()
    if count < dict(zip(FIELDS, settings.CARD_DECLINES, strict=True))[scope]:
        return False
    breaker, is_new = CardBreaker.objects.update_or_create(
        scope=scope,
        key=key,
        reset_at=None,
        defaults={
            "payment": decline.payment,
            "declines": count,
            "tripped_at": now,
            "until": now + window,
        },
    )
    audit.record(
        actor=None,
        action="card_breaker.tripped",
        subject=f"cardbreaker:{breaker.pk}",
        data={"scope": scope.value, "declines": count, "again": not is_new},
    )
    return True


def let_go(breaker_id: Any, *, by: Any, reason: str, now: datetime) -> CardBreaker:
    """Let cards be tried again; declines before now count no more. Raises InvalidInput without a reason. Twice is once."""
    if not reason.strip():
        raise InvalidInput(_("Say why."), field="reason")
    with transaction.atomic():
        breaker = CardBreaker.objects.select_for_update().get(pk=breaker_id)
        if breaker.reset_at is None:
            breaker.reset_at, breaker.reset_by, breaker.reset_reason = now, by, reason.strip()[:500]
            breaker.save(update_fields=["reset_at", "reset_by", "reset_reason"])
            audit.record(
                actor=by, action="card_breaker.reset", subject=f"cardbreaker:{breaker.pk}", reason=reason
            )
    return breaker


def forget_old(*, now: datetime) -> int:
    """Delete declines and stops that count no more; return how many rows."""
    before = now - KEPT
    stops = CardBreaker.objects.filter(until__lt=before).delete()[0]
    return stops + Decline.objects.filter(at__lt=before).delete()[0]
