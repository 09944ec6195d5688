"""What a provider says it holds, against what our ledger says it holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q, Sum

from payments.gateways.statement import Balance
from payments.models import (
    Break,
    BreakKind,
    LedgerEntry,
    Payout,
    PayoutStatus,
    ReconciliationRun,
    Refund,
    RefundStatus,
)
from payments.services import breaks
from payments.services.comparison import said


@dataclass(frozen=True)
class Compared:
    """A line per currency, in minor units, and how many breaks that opened and closed."""

    lines: list[dict[str, Any]]
    opened: int
    closed: int


def compare(
    provider: str, balances: tuple[Balance, ...], *, in_flight: dict[str, int], now: datetime
) -> Compared:
    """Hold what the provider says it has against our ledger, and ask when the same difference stays unexplained in two runs.

    Explained is what refunds on their way have left there already, what breaks tell of, and what is too young to judge. Two runs,
    because money moves between one question and the next.
    """
    last = ReconciliationRun.objects.filter(provider=provider, finished_at__isnull=False, error="").first()
    unexplained_before = {line["currency"]: line["unexplained"] for line in last.balances} if last else {}
    pending = _sums(
        Refund.objects.filter(payment__provider=provider, status=RefundStatus.PENDING), "amount_minor"
    )
    on_breaks = _sums(Break.objects.filter(provider=provider).exclude(unbooked_minor=0), "unbooked_minor")
    in_transit = _sums(
        Payout.objects.filter(provider=provider, status=PayoutStatus.IN_TRANSIT), "amount_minor"
    )
    lines: list[dict[str, Any]] = []
    opened = closed = 0
    listed = {one.currency: one.amount_minor for one in balances}
    booked_in = LedgerEntry.objects.filter(
        Q(transaction__payment__provider=provider) | Q(transaction__payout__provider=provider)
    )
    for code in sorted({*listed, *booked_in.values_list("currency", flat=True).distinct()}):
        amount = listed.get(code, 0)
        ours = (
            booked_in.filter(account="provider_balance", currency=code).aggregate(total=Sum("amount_minor"))[
                "total"
            ]
            or 0
        )
        explained = -pending.get(code, 0) + on_breaks.get(code, 0) + in_flight.get(code, 0)
        unexplained = amount - ours - explained
        line = {
            "currency": code, "provider": amount, "ours": ours, "refunds_on_their_way": -pending.get(code, 0),
            "on_breaks": on_breaks.get(code, 0), "too_young": in_flight.get(code, 0),
            "payouts_in_transit": in_transit.get(code, 0), "unexplained": unexplained,
        }  # fmt: skip
        lines.append(line)
        about = Break.objects.filter(
            kind=BreakKind.BALANCE, provider=provider, provider_ref=code, resolved_at__isnull=True
        ).first()
        if unexplained and unexplained_before.get(code) == unexplained:
            detail = f"The provider holds {said(unexplained, code)} more than our books and open questions explain."
            if about is not None and about.detail != detail:
                closed += breaks.close_by_itself(about, note="The difference is another one now.", now=now)
            opened += breaks.open_break(
                BreakKind.BALANCE, provider=provider, provider_ref=code, detail=detail, currency=code
            )
        elif about is not None and not unexplained:
            closed += breaks.close_by_itself(about, note="The balances agree now.", now=now)
    return Compared(lines, opened, closed)


def _sums(rows: Any, name: str) -> dict[str, int]:
    return dict(rows.order_by().values_list("currency").annotate(Sum(name)))
