"""Payouts: taken over from what the provider lists."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from foundation.transitions import change_status
from payments.gateways.statement import ListedPayout
from payments.models import PAYOUT_TRANSITIONS, Payout, PayoutStatus
from payments.services import ledger


def record_from_provider(provider: str, listed: ListedPayout, *, now: datetime) -> bool:
    """Take over a payout: its state, and its money into the ledger, once. Returns whether that changed anything. Locks the row.

    The money leaves the provider's balance on the day it is made, whatever the bank says later; a returned one comes back there.
    """
    with transaction.atomic():
        payout, is_new = Payout.objects.get_or_create(
            provider=provider,
            provider_ref=listed.ref,
            defaults={
                "status": listed.status,
                "amount_minor": listed.amount_minor,
                "currency": listed.currency,
                "made_at": listed.made_at,
                "arrives_on": listed.arrives_on,
                "failure_code": listed.failure_code[:64],
            },
        )
        payout = Payout.objects.select_for_update().get(pk=payout.pk)
        changes = listed.status in PAYOUT_TRANSITIONS[PayoutStatus(payout.status)]
        if changes:
            change_status(payout, PayoutStatus(listed.status), PAYOUT_TRANSITIONS)
            payout.arrives_on = listed.arrives_on or payout.arrives_on
            payout.failure_code = listed.failure_code[:64]
            payout.save(update_fields=["status", "arrives_on", "failure_code"])
        ledger.post_payout("payout", payout, at=payout.made_at)
        if payout.status == PayoutStatus.FAILED:
            ledger.post_payout("payout_reversal", payout, at=now)
        return is_new or changes
