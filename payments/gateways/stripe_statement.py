"""Stripe's account over a window: intents, refunds, balance transactions, payouts, balance. Read only."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from payments.gateways.statement import (
    Balance,
    ListedPayment,
    ListedPayout,
    ListedRefund,
    Movement,
    MovementKind,
    Statement,
)

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = 100
KIND_OF_TYPE = {
    "charge": MovementKind.CHARGE,
    "payment": MovementKind.CHARGE,
    "refund": MovementKind.REFUND,
    "payment_refund": MovementKind.REFUND,
    "refund_failure": MovementKind.REFUND_RETURNED,
    "payment_failure_refund": MovementKind.REFUND_RETURNED,
    "payout": MovementKind.PAYOUT,
    "payout_failure": MovementKind.PAYOUT,
    "payout_cancel": MovementKind.PAYOUT,
}
DISPUTED = ("dispute", "dispute_reversal")  # said by reporting_category; the type is "adjustment"
STATUS_OF_PAYOUT = {
    "pending": "in_transit",
    "in_transit": "in_transit",
    "paid": "paid",
    "failed": "failed",
    "canceled": "failed",
}


def read_statement(
    client: Any,
    read: Callable[[Callable[[], Any]], Any],
    *,
    since: datetime,
    until: datetime,
    status_of_intent: dict[str, str],
    status_of_refund: dict[str, str],
) -> Statement:
    """Page through five lists; any page that fails fails the whole. Raises Unavailable, Rejected."""
    window = {"gte": int(since.timestamp()), "lt": int(until.timestamp())}

    def every(service: Any, **more: Any) -> list[dict[str, Any]]:
        params = {"created": window, "limit": PAGE, **more}
        return [json.loads(str(one)) for one in read(lambda: list(service.list(params).auto_paging_iter()))]

    intents = every(client.payment_intents, expand=["data.latest_charge.balance_transaction"])
    refunds = every(client.refunds)
    entries = every(client.balance_transactions, expand=["data.source"])
    payouts = every(client.payouts)
    as_of = datetime.now(UTC)
    balance = json.loads(str(read(client.balance.retrieve)))
    payments = {one.ref: one for intent in intents if (one := _of_intent(intent, status_of_intent))}
    for entry in entries:
        if KIND_OF_TYPE.get(entry["type"]) == MovementKind.CHARGE and isinstance(entry["source"], dict):
            charged = _of_charge(entry["source"], entry)
            payments[charged.ref] = charged
    return Statement(
        payments=tuple(payments.values()),
        refunds=tuple(_refund(one, status_of_refund) for one in refunds),
        movements=tuple(_movement(entry) for entry in entries),
        payouts=tuple(_payout(one) for one in payouts),
        balances=_balances(balance, as_of),
    )


def _of_intent(intent: dict[str, Any], status_of_intent: dict[str, str]) -> ListedPayment | None:
    charge = intent.get("latest_charge")
    status = status_of_intent[intent["status"]]
    entry = charge.get("balance_transaction") if isinstance(charge, dict) else None
    fee = entry if isinstance(entry, dict) else {}
    return ListedPayment(
        ref=intent["id"],
        object_ref=charge["id"] if isinstance(charge, dict) else str(charge or ""),
        status=status,
        amount_minor=intent.get("amount_received") or intent["amount"],
        currency=intent["currency"].upper(),
        our_id=(intent.get("metadata") or {}).get("payment_id", ""),
        at=_moment(intent["created"]),
        fee_minor=fee.get("fee"),
        fee_currency=(fee.get("currency") or "").upper(),
    )


def _of_charge(charge: dict[str, Any], entry: dict[str, Any]) -> ListedPayment:
    return ListedPayment(
        ref=charge.get("payment_intent") or charge["id"],
        object_ref=charge["id"],
        status="captured",
        amount_minor=charge["amount_captured"],
        currency=charge["currency"].upper(),
        our_id=(charge.get("metadata") or {}).get("payment_id", ""),
        at=_moment(entry["created"]),
        fee_minor=entry["fee"],
        fee_currency=entry["currency"].upper(),
    )


def _refund(refund: dict[str, Any], status_of_refund: dict[str, str]) -> ListedRefund:
    return ListedRefund(
        ref=refund["id"],
        payment_ref=refund.get("payment_intent") or refund.get("charge") or "",
        status=status_of_refund[refund["status"]],
        amount_minor=refund["amount"],
        currency=refund["currency"].upper(),
        our_id=(refund.get("metadata") or {}).get("refund_id", ""),
        at=_moment(refund["created"]),
    )


def _movement(entry: dict[str, Any]) -> Movement:
    kind = KIND_OF_TYPE.get(entry["type"], MovementKind.OTHER)
    if entry.get("reporting_category") in DISPUTED:
        kind = MovementKind.DISPUTE
    source = entry.get("source")
    whole = source if isinstance(source, dict) else {}
    object_ref = str(whole.get("id") or source or "")
    return Movement(
        ref=entry["id"],
        kind=kind,
        object_ref=object_ref,
        payment_ref=whole.get("payment_intent") or (object_ref if kind == MovementKind.CHARGE else ""),
        amount_minor=entry["amount"],
        net_minor=entry["net"],
        currency=entry["currency"].upper(),
        at=_moment(entry["created"]),
    )


def _payout(payout: dict[str, Any]) -> ListedPayout:
    return ListedPayout(
        ref=payout["id"],
        status=STATUS_OF_PAYOUT[payout["status"]],
        amount_minor=payout["amount"],
        currency=payout["currency"].upper(),
        made_at=_moment(payout["created"]),
        arrives_on=_moment(payout["arrival_date"]).date() if payout.get("arrival_date") else None,
        failure_code=payout.get("failure_code") or "",
    )


def _balances(balance: dict[str, Any], as_of: datetime) -> tuple[Balance, ...]:
    sums: dict[str, int] = {}
    for side in ("available", "pending"):
        for one in balance.get(side) or []:
            code = one["currency"].upper()
            sums[code] = sums.get(code, 0) + one["amount"]
    return tuple(Balance(code, amount, as_of) for code, amount in sorted(sums.items()))


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)
