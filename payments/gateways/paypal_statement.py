"""PayPal's account over a window, from its transaction search and balances. Read only.

PayPal says that a movement may take three hours to appear there, and gives at most 31 days at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from foundation.money import exponent
from payments.gateways.base import Rejected
from payments.gateways.statement import (
    Balance,
    ListedPayment,
    ListedPayout,
    ListedRefund,
    Movement,
    MovementKind,
    Statement,
)

PAGE = 500
LONGEST = timedelta(days=31)
# developer.paypal.com, "Transaction event codes": the first three characters are the group.
PAID, REFUNDED, WITHDRAWN, WITHDRAWAL_RETURNED = "T00", "T1107", "T04", "T1101"
HELD = ("T1106", "T1110", "T1111", "T1201", "T1202")  # reversals, holds and chargebacks, and their release
STATUS_OF_PAYMENT = {"S": "captured", "V": "captured", "P": "processing", "D": "failed"}
STATUS_OF_REFUND = {"S": "succeeded", "V": "failed", "P": "pending", "D": "failed"}
STATUS_OF_PAYOUT = {"S": "paid", "P": "in_transit", "V": "failed", "D": "failed"}


def read_statement(
    search: Callable[[dict[str, Any]], dict[str, Any]],
    balances: Callable[[], dict[str, Any]],
    order_of: Callable[[str], str],
    *,
    since: datetime,
    until: datetime,
) -> Statement:
    """Page through the report, window by window; any page that fails fails the whole. Raises Unavailable, Rejected.

    `order_of` names the order of a capture that is not in the window.
    """
    rows = list(_every(search, since, until))
    held = balances()
    orders = {row["transaction_id"]: _order(row) for row in rows if _code(row).startswith(PAID)}

    def payment_of(capture_ref: str) -> str:
        if capture_ref and capture_ref not in orders:
            try:
                orders[capture_ref] = order_of(capture_ref)
            except Rejected:
                orders[capture_ref] = ""
        return orders.get(capture_ref, "")

    payments, refunds, movements, payouts = [], [], [], []
    returned = {row.get("paypal_reference_id") for row in rows if _code(row) == WITHDRAWAL_RETURNED}
    listed = {row["transaction_id"] for row in rows}
    for row in rows:
        code, amount = _code(row), _minor(row["transaction_amount"])
        currency, at = row["transaction_amount"]["currency_code"], _moment(row["transaction_initiation_date"])
        fee = -_minor(row["fee_amount"]) if row.get("fee_amount") else 0
        ref, about, status = (
            row["transaction_id"],
            row.get("paypal_reference_id") or "",
            row["transaction_status"],
        )
        our_id = row.get("custom_field") or ""
        kind, payment_ref, moved_by = MovementKind.OTHER, "", ref
        if code.startswith(PAID) and amount > 0:
            kind, payment_ref = MovementKind.CHARGE, _order(row) or ref
            payments.append(
                ListedPayment(
                    ref=payment_ref, object_ref=ref, status=STATUS_OF_PAYMENT[status], amount_minor=amount,
                    currency=currency, our_id=our_id, at=at, fee_minor=fee, fee_currency=currency,
                )
            )  # fmt: skip
        elif code == REFUNDED:
            kind, payment_ref = MovementKind.REFUND, payment_of(about)
            refunds.append(
                ListedRefund(
                    ref=ref, payment_ref=payment_ref, status=STATUS_OF_REFUND[status], amount_minor=abs(amount),
                    currency=currency, our_id=our_id, at=at,
                )
            )  # fmt: skip
        elif code in HELD:
            kind, payment_ref = MovementKind.DISPUTE, payment_of(about)
        elif code.startswith(WITHDRAWN):
            kind = MovementKind.PAYOUT
            payouts.append(
                ListedPayout(
                    ref=ref, status="failed" if ref in returned else STATUS_OF_PAYOUT[status],
                    amount_minor=abs(amount), currency=currency, made_at=at, arrives_on=_arrival(at, status),
                )
            )  # fmt: skip
        elif code == WITHDRAWAL_RETURNED:
            kind, moved_by = MovementKind.PAYOUT, about
            if about not in listed:  # it was made before this window
                payouts.append(ListedPayout(about, "failed", abs(amount), currency, at, None))
        movements.append(
            Movement(
                ref=ref, kind=kind, object_ref=moved_by, payment_ref=payment_ref, amount_minor=amount, net_minor=amount - fee,
                currency=currency, at=at,
            )
        )  # fmt: skip
    return Statement(
        payments=tuple(payments),
        refunds=tuple(refunds),
        movements=tuple(movements),
        payouts=tuple(payouts),
        balances=tuple(
            Balance(
                currency=one["total_balance"]["currency_code"],
                amount_minor=_minor(one["total_balance"]),
                as_of=_moment(held.get("as_of_time") or held["last_refresh_time"]),
            )
            for one in held.get("balances") or []
        ),
    )


def _every(
    search: Callable[[dict[str, Any]], dict[str, Any]], since: datetime, until: datetime
) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    start = since
    while start < until:
        end = min(start + LONGEST, until)
        page, pages = 1, 1
        while page <= pages:
            told = search(
                {
                    "start_date": start.isoformat(timespec="seconds"),
                    "end_date": end.isoformat(timespec="seconds"),
                    "fields": "transaction_info",
                    "page_size": PAGE,
                    "page": page,
                }
            )
            pages = int(told.get("total_pages") or 0)
            for detail in told.get("transaction_details") or []:
                row = detail["transaction_info"]
                if row["transaction_id"] not in seen:  # both ends of a window count, and windows touch
                    seen.add(row["transaction_id"])
                    yield row
            page += 1
        start = end


def _code(row: dict[str, Any]) -> str:
    return str(row.get("transaction_event_code") or "")


def _order(row: dict[str, Any]) -> str:
    return str(row.get("paypal_reference_id") or "") if row.get("paypal_reference_id_type") == "ODR" else ""


def _arrival(at: datetime, status: str) -> date | None:
    """PayPal's report does not name the day; it says when it is done."""
    return at.date() if status == "S" else None


def _minor(amount: dict[str, Any]) -> int:
    """Exact minor units. Not Money.from_major: what a whole account holds is larger than any payment."""
    return int(Decimal(amount["value"]).scaleb(exponent(amount["currency_code"])))


def _moment(text: str) -> datetime:
    """PayPal writes offsets with and without the colon."""
    return datetime.fromisoformat(text).astimezone(UTC)
