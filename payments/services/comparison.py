"""Comparing one payment here with the same payment there. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Q

from foundation.money import Money
from payments.gateways.base import ProviderDispute, ProviderPayment, ProviderRefund
from payments.models import (
    BreakKind,
    Dispute,
    LedgerEntry,
    LedgerTransaction,
    Payment,
    PaymentStatus,
    Refund,
    RefundSource,
    RefundStatus,
)

EXPECTED_THERE = (RefundStatus.PENDING, RefundStatus.SUCCEEDED)
IS_EXPECTED_THERE = Q(status__in=EXPECTED_THERE) & ~Q(source=RefundSource.ELSEWHERE)


@dataclass(frozen=True)
class Difference:
    """What a person must look at: `provider_ref` is the object it is about. Amounts in minor units."""

    kind: str
    provider_ref: str
    detail: str


def said(amount_minor: int, currency: str) -> str:
    """An amount in the detail of a break, the same in every language: 50.00 GBP."""
    return f"{Money(amount_minor, currency).to_major()} {currency}" if currency else str(amount_minor)


def differences(payment: Payment, truth: ProviderPayment) -> list[Difference]:
    """Return where our books and the provider's fresh truth disagree about a payment, its fee, refunds and disputes."""
    ref = payment.provider_ref or truth.ref
    if truth.our_id and truth.our_id != str(payment.pk):
        return [
            Difference(
                BreakKind.STATE,
                ref,
                f"The provider's object names payment {truth.our_id[:64]}, not {payment.pk}.",
            )
        ]
    if truth.currency != payment.currency:
        return [
            Difference(
                BreakKind.CURRENCY,
                ref,
                f"We asked for {payment.currency}; the provider has {truth.currency}.",
            )
        ]
    taken = truth.captured_minor if truth.status == PaymentStatus.CAPTURED else 0
    if taken and taken != payment.amount_minor:
        detail = f"We asked for {said(payment.amount_minor, payment.currency)}; the provider took {said(taken, truth.currency)}."
        return [Difference(BreakKind.AMOUNT, ref, detail)]
    if taken != payment.captured_minor:
        return [
            Difference(
                BreakKind.STATE, ref, f"The payment is {payment.status} here and {truth.status} there."
            )
        ]
    if not taken:
        return []
    return [
        *_of_fee(payment, truth, ref),
        *(found for one in truth.refunds for found in _of_refund(payment, one)),
        *_missing_refunds(payment, truth),
        *(found for one in truth.disputes for found in _of_dispute(payment, one)),
    ]


def booked_fees(payment_ids: Any) -> dict[Any, tuple[int, str]]:
    """Return payment id -> (fee in minor units, its currency) as the ledger has it."""
    entries = LedgerEntry.objects.filter(
        transaction__kind="fee", account="provider_fees", transaction__payment_id__in=payment_ids
    )
    return {
        payment: (amount, currency)
        for payment, amount, currency in entries.values_list(
            "transaction__payment_id", "amount_minor", "currency"
        )
    }


def _of_fee(payment: Payment, truth: ProviderPayment, ref: str) -> list[Difference]:
    here = booked_fees([payment.pk]).get(payment.pk, (0, truth.fee_currency))
    if here == (truth.fee_minor, truth.fee_currency):
        return []
    detail = f"The fee is {said(*here)} in our books; the provider took {said(truth.fee_minor, truth.fee_currency)}."
    return [Difference(BreakKind.AMOUNT, ref, detail)]


def known_refund(payment: Payment, truth: ProviderRefund) -> Refund | None:
    return next(
        (
            one
            for one in payment.refunds.all()
            if truth.ref == one.provider_ref or truth.our_id == str(one.pk)
        ),
        None,
    )


def _of_refund(payment: Payment, truth: ProviderRefund) -> list[Difference]:
    here = known_refund(payment, truth)
    if here is None:
        if truth.status == RefundStatus.FAILED:
            return []
        detail = "A refund made at the provider does not fit what is left of the payment."
        return [Difference(BreakKind.AMOUNT, truth.ref, detail)]
    if (here.amount_minor, here.currency) != (truth.amount_minor, truth.currency):
        detail = f"The refund is {said(here.amount_minor, here.currency)} here and {said(truth.amount_minor, truth.currency)} there."
        return [Difference(BreakKind.AMOUNT, truth.ref, detail)]
    if here.status != truth.status:
        return [
            Difference(
                BreakKind.STATE, truth.ref, f"The refund is {here.status} here and {truth.status} there."
            )
        ]
    return []


def _missing_refunds(payment: Payment, truth: ProviderPayment) -> list[Difference]:
    there = {one.ref for one in truth.refunds} | {one.our_id for one in truth.refunds if one.our_id}
    return [
        Difference(
            BreakKind.MISSING_REMOTE,
            one.provider_ref or str(one.pk),
            f"A refund of {said(one.amount_minor, one.currency)} that is {one.status} here is unknown there.",
        )
        for one in payment.refunds.filter(IS_EXPECTED_THERE)
        if one.provider_ref not in there and str(one.pk) not in there
    ]


def _of_dispute(payment: Payment, truth: ProviderDispute) -> list[Difference]:
    here = Dispute.objects.filter(provider=payment.provider, provider_ref=truth.ref).first()
    if here is None or here.status != truth.status:
        state = here.status if here else "unknown"
        return [
            Difference(BreakKind.STATE, truth.ref, f"A dispute that is {state} here is {truth.status} there.")
        ]
    keys = [
        f"{'dispute' if move.amount_minor < 0 else 'dispute_reversal'}:{move.ref}"
        for move in truth.moves
        if move.amount_minor
    ]
    if LedgerTransaction.objects.filter(source_key__in=keys).count() == len(set(keys)):
        return []
    return [Difference(BreakKind.STATE, truth.ref, "A dispute moved money that is not in our books.")]
