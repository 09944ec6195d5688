"""Payments, refunds, the ledger, the inbox and the breaks between our books and a provider's."""

from payments.models.ledger import Account, LedgerEntry, LedgerTransaction
from payments.models.payment import (
    LIVE_STATUSES,
    PAYMENT_TRANSITIONS,
    Payment,
    PaymentStatus,
    Provider,
    ProviderCustomer,
)
from payments.models.provider_event import EventStatus, ProviderEvent
from payments.models.reconciliation import Break, BreakKind
from payments.models.refund import REFUND_TRANSITIONS, Refund, RefundSource, RefundStatus

__all__ = [
    "LIVE_STATUSES",
    "PAYMENT_TRANSITIONS",
    "REFUND_TRANSITIONS",
    "Account",
    "Break",
    "BreakKind",
    "EventStatus",
    "LedgerEntry",
    "LedgerTransaction",
    "Payment",
    "PaymentStatus",
    "Provider",
    "ProviderCustomer",
    "ProviderEvent",
    "Refund",
    "RefundSource",
    "RefundStatus",
]
