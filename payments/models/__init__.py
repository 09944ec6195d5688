"""Payments, refunds, the ledger, the inbox and the breaks between our books and a provider's."""

from payments.models.document import SERIES, Document, DocumentCounter, DocumentKind
from payments.models.ledger import Account, LedgerEntry, LedgerTransaction
from payments.models.payment import (
    LIVE_STATUSES,
    PAYMENT_TRANSITIONS,
    Payment,
    PaymentStatus,
    ProviderCustomer,
)
from payments.models.provider_event import EventStatus, ProviderEvent
from payments.models.reconciliation import Break, BreakKind
from payments.models.refund import REFUND_TRANSITIONS, Refund, RefundSource, RefundStatus

__all__ = [
    "LIVE_STATUSES",
    "PAYMENT_TRANSITIONS",
    "REFUND_TRANSITIONS",
    "SERIES",
    "Account",
    "Break",
    "BreakKind",
    "Document",
    "DocumentCounter",
    "DocumentKind",
    "EventStatus",
    "LedgerEntry",
    "LedgerTransaction",
    "Payment",
    "PaymentStatus",
    "ProviderCustomer",
    "ProviderEvent",
    "Refund",
    "RefundSource",
    "RefundStatus",
]
