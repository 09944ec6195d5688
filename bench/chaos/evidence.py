"""The rows of one schedule, as they stand when the oracle refuses it."""

from __future__ import annotations

from typing import Any

from bookings.models import Amendment, Booking, Cancellation, Occupancy
from communications.models import Message
from payments.models import (
    Break,
    Dispute,
    LedgerTransaction,
    Payment,
    Payout,
    ProviderEvent,
    ReconciliationRun,
    Refund,
)


def rows(slug: str) -> dict[str, list[dict[str, Any]]]:
    """Bookings of the schedule's car park with all that hangs on them, and the inbox as a whole."""
    bookings = Booking.objects.filter(product__car_park__slug=slug)
    payments = Payment.objects.filter(booking__in=bookings)
    found: dict[str, Any] = {
        "bookings": bookings,
        "occupancy": Occupancy.objects.filter(booking__in=bookings),
        "changes": Amendment.objects.filter(booking__in=bookings),
        "cancellations": Cancellation.objects.filter(booking__in=bookings),
        "payments": payments,
        "refunds": Refund.objects.filter(payment__in=payments),
        "disputes": Dispute.objects.filter(payment__in=payments),
        "ledger": LedgerTransaction.objects.filter(payment__in=payments),
        "payouts": Payout.objects.all(),
        "reconciliations": ReconciliationRun.objects.all()[:6],
        "breaks": Break.objects.all(),
        "messages": Message.objects.filter(reference__in=bookings.values("reference")),
        "events": ProviderEvent.objects.order_by("-pk")[:200],
    }
    return {name: list(query.values()) for name, query in found.items()}
