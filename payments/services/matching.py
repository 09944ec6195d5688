"""Holding a provider's statement against our rows: whom to look at, what nobody here knows, what our books hold. Reads only."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from payments.gateways.base import Gateway
from payments.gateways.statement import ListedPayment, ListedRefund, Movement, MovementKind, Statement
from payments.models import BreakKind, LedgerTransaction, Payment, PaymentStatus, Payout, Refund, RefundStatus
from payments.services.comparison import IS_EXPECTED_THERE, booked_fees, said

GRACE = timedelta(minutes=2)  # what is younger is still on its normal way: return page, webhook, janitor
CHUNK = 500


@dataclass(frozen=True)
class Finding:
    """A difference that no settling cures: what the break will say."""

    kind: str
    provider_ref: str
    detail: str
    payment: Payment | None = None
    object_ref: str = ""
    taken_minor: int = 0
    currency: str = ""


@dataclass(frozen=True)
class Books:
    """Our rows that a statement is about, or that it should be about."""

    by_ref: dict[str, Payment]
    by_id: dict[str, Payment]
    refunds: dict[str, Refund]  # by the provider's reference and by our id
    fees: dict[Any, tuple[int, str]]
    captured: list[Payment]  # in the window
    sent: list[Refund]  # in the window


# What is in our books


def books_for(provider: str, statement: Statement, begin: datetime, end: datetime) -> Books:
    refs = {one.ref for one in statement.payments} | {one.payment_ref for one in statement.refunds}
    refs |= {one.payment_ref for one in statement.movements}
    ids = {_uuid(one.our_id) for one in statement.payments}
    mine = Payment.objects.filter(provider=provider)
    payments = {one.pk: one for one in _in_chunks(mine, "provider_ref", refs - {""})}
    payments |= {one.pk: one for one in _in_chunks(mine, "pk", ids - {None})}
    captured = list(mine.filter(captured_at__gte=begin, captured_at__lt=end))
    returned = Refund.objects.filter(payment__provider=provider).select_related("payment")
    refund_refs = {one.ref for one in statement.refunds} | {
        one.object_ref for one in statement.movements if one.kind == MovementKind.REFUND
    }
    refunds = [
        *_in_chunks(returned, "provider_ref", refund_refs - {""}),
        *_in_chunks(returned, "pk", {_uuid(one.our_id) for one in statement.refunds} - {None}),
    ]
    sent = list(returned.filter(IS_EXPECTED_THERE, submitted_at__gte=begin, submitted_at__lt=end))
    payments |= {one.payment_id: one.payment for one in [*refunds, *sent]}
    return Books(
        by_ref={one.provider_ref: one for one in payments.values() if one.provider_ref},
        by_id={str(one.pk): one for one in payments.values()},
        refunds={one.provider_ref: one for one in refunds if one.provider_ref}
        | {str(one.pk): one for one in refunds},
        fees=booked_fees([*payments, *(one.pk for one in captured)]),
        captured=captured,
        sent=sent,
    )


def _in_chunks(rows: Any, name: str, values: Iterable[Any]) -> Iterator[Any]:
    wanted = list(values)
    for start in range(0, len(wanted), CHUNK):
        yield from rows.filter(**{f"{name}__in": wanted[start : start + CHUNK]})


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def count(statement: Statement, books: Books) -> int:
    """How many payments, refunds and payouts were compared, those counted once that both sides have."""
    payments = {one.ref for one in statement.payments} | {one.provider_ref for one in books.captured}
    refunds = {one.ref for one in statement.refunds} | {one.provider_ref for one in books.sent}
    return len(payments) + len(refunds) + len(statement.payouts)


# Whom settle should look at


def suspects(gateway: Gateway, statement: Statement, books: Books, *, now: datetime) -> list[Payment]:
    """Our payments that may disagree with the provider, each once. What is younger than the grace is left alone."""
    found: dict[Any, Payment] = {}
    for listed in statement.payments:
        ours = _ours(listed, books)
        if ours is not None and listed.at <= now - GRACE and _disagrees(listed, ours, books.fees):
            found[ours.pk] = ours
    for given in statement.refunds:
        ours = _payment_of(given, books)
        if ours is not None and given.at <= now - GRACE and _refund_disagrees(given, books):
            found[ours.pk] = ours
    for moved in statement.movements:
        ours = books.by_ref.get(moved.payment_ref)
        if (
            moved.kind == MovementKind.DISPUTE
            and ours is not None
            and not _is_booked_dispute(moved, ours, statement)
        ):
            found[ours.pk] = ours
    listed_by = now - gateway.listed_within
    there = {one.ref for one in statement.payments if one.status == PaymentStatus.CAPTURED}
    for payment in books.captured:
        if payment.provider_ref not in there and payment.captured_at and payment.captured_at <= listed_by:
            found[payment.pk] = payment
    returned = {one.ref for one in statement.refunds}
    for refund in books.sent:
        if refund.provider_ref not in returned and refund.submitted_at and refund.submitted_at <= listed_by:
            found[refund.payment_id] = refund.payment
    return list(found.values())


def _ours(listed: ListedPayment, books: Books) -> Payment | None:
    """The payment that the object is, by its reference, or by our id on it while we know of no other object."""
    ours = books.by_ref.get(listed.ref)
    if ours is None:
        named = books.by_id.get(listed.our_id)
        ours = named if named is not None and named.provider_ref is None else None
    return ours


def _payment_of(given: ListedRefund, books: Books) -> Payment | None:
    known = books.refunds.get(given.ref) or books.refunds.get(given.our_id)
    return known.payment if known is not None else books.by_ref.get(given.payment_ref)


def _disagrees(listed: ListedPayment, ours: Payment, fees: dict[Any, tuple[int, str]]) -> bool:
    is_taken = listed.status == PaymentStatus.CAPTURED
    if is_taken != (ours.status == PaymentStatus.CAPTURED) or ours.provider_ref is None:
        return is_taken or ours.status == PaymentStatus.CAPTURED or ours.provider_ref is None
    if not is_taken:
        return ours.is_live and listed.status in (PaymentStatus.CANCELLED, PaymentStatus.FAILED)
    fee_there = (listed.fee_minor, listed.fee_currency) if listed.fee_minor else None
    return (listed.amount_minor, listed.currency) != (ours.captured_minor, ours.currency) or (
        listed.fee_minor is not None and fees.get(ours.pk) != fee_there
    )


def _refund_disagrees(given: ListedRefund, books: Books) -> bool:
    known = books.refunds.get(given.ref) or books.refunds.get(given.our_id)
    if known is None:
        return given.status != RefundStatus.FAILED
    return (known.status, known.amount_minor, known.currency) != (
        given.status,
        given.amount_minor,
        given.currency,
    )


# What the provider has and we do not


def strays_in(provider: str, statement: Statement, books: Books, *, now: datetime) -> list[Finding]:
    """Money that the provider took, still has, and that no payment of ours stands for."""
    # Healing may have given a payment its reference since the books were read.
    known = set(
        Payment.objects.filter(
            provider=provider, provider_ref__in=[one.ref for one in statement.payments]
        ).values_list("provider_ref", flat=True)
    )
    given: dict[str, int] = {}
    for refund in statement.refunds:
        if refund.status == RefundStatus.SUCCEEDED:
            given[refund.payment_ref] = given.get(refund.payment_ref, 0) + refund.amount_minor
    found = []
    for listed in statement.payments:
        if given.get(listed.ref, 0) >= listed.amount_minor:
            continue
        if listed.ref in known or listed.status != PaymentStatus.CAPTURED or listed.at > now - GRACE:
            continue
        named = books.by_id.get(listed.our_id)
        charge = (listed.object_ref, listed.amount_minor, listed.currency)
        if named is not None and named.provider_ref != listed.ref:
            detail = f"The provider took {said(listed.amount_minor, listed.currency)} for this payment with another object than we know"
            detail += f" ({named.provider_ref}, {named.status} here)." if named.provider_ref else "."
            found.append(Finding(BreakKind.DUPLICATE, listed.ref, detail, named, *charge))
        else:
            detail = f"The provider took {said(listed.amount_minor, listed.currency)} for a payment that we do not know."
            if listed.our_id:
                detail += f" It names our payment {listed.our_id[:64]}."
            found.append(Finding(BreakKind.MISSING_LOCAL, listed.ref, detail, None, *charge))
    return found


# Movements and balances


def booked_in(provider: str, statement: Statement) -> set[str]:
    """The references of the movements that our books hold, or that a refund on its way stands for."""
    refs = {one.payment_ref for one in statement.movements} - {""}
    payments = {
        one.provider_ref: one
        for one in _in_chunks(Payment.objects.filter(provider=provider), "provider_ref", refs)
    }
    objects = {one.object_ref for one in statement.movements} - {""}
    refunds = {one.provider_ref for one in _in_chunks(Refund.objects.all(), "provider_ref", objects)}
    paid_out = {
        one.provider_ref
        for one in _in_chunks(Payout.objects.filter(provider=provider), "provider_ref", objects)
    }
    found = set()
    for one in statement.movements:
        ours = payments.get(one.payment_ref)
        if (
            (
                one.kind == MovementKind.CHARGE
                and ours is not None
                and ours.status == PaymentStatus.CAPTURED
                and (ours.captured_minor == one.amount_minor or ours.currency != one.currency)
            )
            or (one.kind in (MovementKind.REFUND, MovementKind.REFUND_RETURNED) and one.object_ref in refunds)
            or (one.kind == MovementKind.PAYOUT and one.object_ref in paid_out)
            or (
                one.kind == MovementKind.DISPUTE
                and ours is not None
                and _is_booked_dispute(one, ours, statement)
            )
        ):
            found.add(one.ref)
    return found


def _is_booked_dispute(moved: Movement, ours: Payment, statement: Statement) -> bool:
    """Whether the ledger has the movement: under its reference or, where a provider gives each notice another one, as many of this
    amount as the account shows.
    """
    rows = LedgerTransaction.objects.filter(
        payment=ours, kind="dispute" if moved.amount_minor < 0 else "dispute_reversal"
    )
    if rows.filter(source_key__endswith=f":{moved.ref}").exists():
        return True
    same = rows.filter(entries__account="provider_balance", entries__amount_minor=moved.amount_minor)
    shown = [
        one
        for one in statement.movements
        if (one.kind, one.payment_ref, one.amount_minor)
        == (MovementKind.DISPUTE, moved.payment_ref, moved.amount_minor)
    ]
    return same.count() >= len(shown)


def clock_skew(statement: Statement, books: Books, *, now: datetime) -> int:
    """How many seconds the provider's clock is ahead of ours (or behind, if negative), as far as objects betray it."""
    ahead = [(one.at - now).total_seconds() for one in statement.movements]
    behind = [
        (one.at - ours.created_at).total_seconds()  # nothing is made there before we asked for it
        for one in statement.payments
        if (ours := books.by_ref.get(one.ref)) is not None
    ]
    return round(max([*ahead, 0.0])) or round(min([*behind, 0.0]))


def subject_of(moved: Movement, books: Books) -> str:
    """What a break about the movement is about: the payment, or the refund or dispute of a payment that is in our books."""
    ours = books.by_ref.get(moved.payment_ref)
    if moved.kind != MovementKind.CHARGE and ours is not None and ours.status == PaymentStatus.CAPTURED:
        return moved.object_ref or moved.ref
    return moved.payment_ref or moved.object_ref or moved.ref


def not_listed_yet(
    gateway: Gateway, statement: Statement, books: Books, *, now: datetime
) -> Iterator[tuple[str, int]]:
    """Yield (currency, minor units) by which the provider's balance lags behind our books: what we have and it does not list yet."""
    listed_by = now - gateway.listed_within
    there = {one.ref for one in statement.payments} | {one.ref for one in statement.refunds}
    for payment in books.captured:
        if payment.provider_ref not in there and payment.captured_at and payment.captured_at > listed_by:
            fee, currency = books.fees.get(payment.pk, (0, payment.currency))
            yield payment.currency, -payment.captured_minor
            yield currency, fee
    for refund in books.sent:
        is_new = refund.submitted_at is not None and refund.submitted_at > listed_by
        if refund.provider_ref not in there and is_new and refund.status == RefundStatus.SUCCEEDED:
            yield refund.currency, refund.amount_minor
