"""The ledger's only writer."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction

from payments.models import Account, LedgerEntry, LedgerTransaction

# kind -> (account that is debited, account that is credited)
SIDES = {
    "capture": (Account.PROVIDER_BALANCE, Account.CUSTOMER_PAYMENTS),
    "refund": (Account.CUSTOMER_REFUNDS, Account.PROVIDER_BALANCE),
    "refund_reversal": (Account.PROVIDER_BALANCE, Account.CUSTOMER_REFUNDS),
    "fee": (Account.PROVIDER_FEES, Account.PROVIDER_BALANCE),
    "dispute": (Account.CUSTOMER_DISPUTES, Account.PROVIDER_BALANCE),
    "dispute_reversal": (Account.PROVIDER_BALANCE, Account.CUSTOMER_DISPUTES),
    "dispute_fee": (Account.DISPUTE_FEES, Account.PROVIDER_BALANCE),
    "payout": (Account.BANK, Account.PROVIDER_BALANCE),
    "payout_reversal": (Account.PROVIDER_BALANCE, Account.BANK),
}


def post(
    kind: str,
    payment: Any,
    *,
    amount_minor: int,
    currency: str,
    at: datetime,
    refund: Any = None,
    dispute: Any = None,
    fact: str = "",
    out_of: Account | None = None,
) -> None:
    """Book one fact once: a repeat changes nothing. The payment row must be locked.

    `out_of` is the account that is credited where it is not the kind's own. The fact is the refund's, else the payment's, unless `fact`
    names it (a movement of a dispute). amount_minor is positive but for a fee that comes back.
    """
    _book(
        f"{kind}:{fact or (refund.pk if refund else payment.pk)}",
        kind,
        amount_minor=amount_minor,
        currency=currency,
        at=at,
        booking_reference=payment.booking.reference,
        payment=payment,
        refund=refund,
        dispute=dispute,
        out_of=out_of,
    )


def post_payout(kind: str, payout: Any, *, at: datetime) -> None:
    """Book once that a payout left the provider ("payout") or came back ("payout_reversal"). The payout row must be locked."""
    _book(
        f"{kind}:{payout.provider}:{payout.provider_ref}",
        kind,
        amount_minor=payout.amount_minor,
        currency=payout.currency,
        at=at,
        payout=payout,
    )


def _book(
    key: str,
    kind: str,
    *,
    amount_minor: int,
    currency: str,
    at: datetime,
    out_of: Account | None = None,
    **subject: Any,
) -> None:
    with transaction.atomic():  # the entries must commit with their transaction
        row, created = LedgerTransaction.objects.get_or_create(
            source_key=key, defaults={"kind": kind, "occurred_at": at, **subject}
        )
        if created:
            debit, credit = SIDES[kind]
            credit = out_of or credit
            LedgerEntry.objects.bulk_create(
                [
                    LedgerEntry(transaction=row, account=debit, amount_minor=amount_minor, currency=currency),
                    LedgerEntry(
                        transaction=row, account=credit, amount_minor=-amount_minor, currency=currency
                    ),
                ]
            )
