"""Payments, refunds, saved methods, the ledger, the inbox and the breaks between our books and a provider's."""

from payments.models.decline import CardBreaker, Decline, DeclineScope
from payments.models.dispute import (
    ANSWERABLE,
    DISPUTE_TRANSITIONS,
    MONEY_AT_STAKE,
    OPEN,
    Dispute,
    DisputeStatus,
)
from payments.models.document import SERIES, Document, DocumentCounter, DocumentKind
from payments.models.ledger import PAYOUT_KINDS, Account, LedgerEntry, LedgerKind, LedgerTransaction
from payments.models.payment import (
    LIVE_STATUSES,
    PAYMENT_TRANSITIONS,
    Payment,
    PaymentStatus,
    Provider,
    ProviderCustomer,
)
from payments.models.payout import PAYOUT_TRANSITIONS, Payout, PayoutStatus
from payments.models.provider_event import EventStatus, ProviderEvent
from payments.models.reconciliation import Break, BreakKind, ReconciliationRun, StrayRefund
from payments.models.refund import REFUND_TRANSITIONS, Refund, RefundSource, RefundStatus
from payments.models.stored_method import STORED_METHOD_TRANSITIONS, StoredMethod, StoredMethodStatus

__all__ = [
    "ANSWERABLE",
    "DISPUTE_TRANSITIONS",
    "LIVE_STATUSES",
    "MONEY_AT_STAKE",
    "OPEN",
    "PAYMENT_TRANSITIONS",
    "PAYOUT_KINDS",
    "PAYOUT_TRANSITIONS",
    "REFUND_TRANSITIONS",
    "SERIES",
    "STORED_METHOD_TRANSITIONS",
    "Account",
    "Break",
    "BreakKind",
    "CardBreaker",
    "Decline",
    "DeclineScope",
    "Dispute",
    "DisputeStatus",
    "Document",
    "DocumentCounter",
    "DocumentKind",
    "EventStatus",
    "LedgerEntry",
    "LedgerKind",
    "LedgerTransaction",
    "Payment",
    "PaymentStatus",
    "Payout",
    "PayoutStatus",
    "Provider",
    "ProviderCustomer",
    "ProviderEvent",
    "ReconciliationRun",
    "Refund",
    "RefundSource",
    "RefundStatus",
    "StoredMethod",
    "StoredMethodStatus",
    "StrayRefund",
]
