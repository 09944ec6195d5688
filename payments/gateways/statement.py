"""What a provider's account shows in a window of time, so that books can be compared. Amounts in minor units, instants in UTC."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum


class MovementKind(StrEnum):
    CHARGE = "charge"
    REFUND = "refund"
    REFUND_RETURNED = "refund_returned"
    DISPUTE = "dispute"
    PAYOUT = "payout"
    OTHER = "other"


@dataclass(frozen=True)
class ListedPayment:
    """A payment that the account shows. `ref` is what our payments keep as provider_ref, `object_ref` the charge itself.

    `status` in our words; `our_id` is our payment's id where the object carries it. The fee is None where the list does not say.
    """

    ref: str
    object_ref: str
    status: str
    amount_minor: int
    currency: str
    our_id: str
    at: datetime
    fee_minor: int | None = None
    fee_currency: str = ""


@dataclass(frozen=True)
class ListedRefund:
    """A refund that the account shows; `payment_ref` is "" where the provider does not say whose it is."""

    ref: str
    payment_ref: str
    status: str
    amount_minor: int
    currency: str
    our_id: str
    at: datetime


@dataclass(frozen=True)
class Movement:
    """Money that came onto the account or left it. `net_minor` is signed and less the fee; `object_ref` is what moved it."""

    ref: str
    kind: MovementKind
    object_ref: str
    payment_ref: str
    amount_minor: int
    net_minor: int
    currency: str
    at: datetime


@dataclass(frozen=True)
class ListedPayout:
    """A payout to our bank; `status` is one of PayoutStatus."""

    ref: str
    status: str
    amount_minor: int
    currency: str
    made_at: datetime
    arrives_on: date | None
    failure_code: str = ""


@dataclass(frozen=True)
class Balance:
    """What the account held of one currency at `as_of`, whether it can be paid out yet or not."""

    currency: str
    amount_minor: int
    as_of: datetime


@dataclass(frozen=True)
class Statement:
    """Everything the account shows between two instants. Complete, or the call failed."""

    payments: tuple[ListedPayment, ...] = ()
    refunds: tuple[ListedRefund, ...] = ()
    movements: tuple[Movement, ...] = ()
    payouts: tuple[ListedPayout, ...] = ()
    balances: tuple[Balance, ...] = field(default=())
