"""Reconciliation: our books against a provider's, in both directions, over a window of time.

What our own id or reference vouches for is healed by settle, the only way that money changes here; everything else is a question for
a person. A provider that does not answer ends the run, which says so; the next run starts from the beginning. A second run over
the same window changes nothing.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction
from django.db.models import Q, Sum
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from foundation import jobs
from foundation.errors import DomainError
from payments.gateways import configured, gateway_for
from payments.gateways.base import Gateway, Gone, OutcomeUnknown, Rejected, Unavailable
from payments.gateways.statement import (
    Balance,
    ListedPayment,
    ListedRefund,
    Movement,
    MovementKind,
    Statement,
)
from payments.models import (
    Break,
    BreakKind,
    LedgerEntry,
    LedgerTransaction,
    Payment,
    PaymentStatus,
    Payout,
    PayoutStatus,
    ReconciliationRun,
    Refund,
    RefundStatus,
    StrayRefund,
)
from payments.services import breaks, payouts, settle, strays
from payments.services.comparison import EXPECTED_THERE, booked_fees, differences, said
from payments.services.recheck import close_what_is_gone

logger = logging.getLogger(__name__)

GRACE = timedelta(minutes=2)  # what is younger is still on its normal way: return page, webhook, janitor
MARGIN = timedelta(minutes=15)  # the provider's clock and ours differ, and both ends of a window count
SLICE = timedelta(days=3)  # one listing at a time
SILENT_AFTER = timedelta(minutes=10)  # a run without a sign of life was killed
SKEW_TOLERATED = timedelta(minutes=2)  # Stripe refuses signatures that are five minutes off
CHUNK = 500
LATELY_DAYS, MONTH_DAYS = 3, 30


class AlreadyReconciling(DomainError):
    code = "already_reconciling"
    message = _("A reconciliation of this provider is under way. Wait until it is finished.")


class Interrupted(DomainError):
    code = "interrupted"
    message = _("Another run took over, for this one was silent too long.")


@dataclass(frozen=True)
class Finding:
    """A difference that no settling cures: what the break will say. `is_new` is False where the question is open or answered."""

    kind: str
    provider_ref: str
    detail: str
    payment: Payment | None = None
    object_ref: str = ""
    taken_minor: int = 0
    currency: str = ""


@dataclass
class Tally:
    """What a run did, or in a rehearsal would do."""

    checked: int = 0
    healed: int = 0
    opened: int = 0
    closed: int = 0
    clock_skew_seconds: int = 0
    findings: list[Finding] = field(default_factory=list)
    suspects: list[Payment] = field(default_factory=list)
    in_flight: dict[str, int] = field(
        default_factory=dict
    )  # currency -> net minor units that are too young to judge
    balances: list[dict[str, Any]] = field(default_factory=list)
    failed: int = 0  # payments that could not be settled

    def add_in_flight(self, currency: str, amount_minor: int) -> None:
        self.in_flight[currency] = self.in_flight.get(currency, 0) + amount_minor


@dataclass(frozen=True)
class _Books:
    """Our rows that a statement is about, or that it should be about."""

    by_ref: dict[str, Payment]
    by_id: dict[str, Payment]
    refunds: dict[str, Refund]  # by the provider's reference and by our id
    fees: dict[Any, tuple[int, str]]
    captured: list[Payment]  # in the window
    sent: list[Refund]  # in the window


def reconcile(
    provider: str, *, since: datetime, until: datetime, now: datetime, requested_by: Any = None
) -> ReconciliationRun:
    """Compare, heal, ask, and write down the run. Never two at once per provider. Raises AlreadyReconciling.

    A provider that fails ends the run with its `error`; nothing is half done, for each payment is a commit of its own.
    """
    run = _begin(provider, since=since, until=until, now=now, requested_by=requested_by)
    tally, error = Tally(), ""
    try:
        _work(run, tally, now=now)
        if tally.failed:
            error = f"{tally.failed} payments could not be settled: see the log."
    except Unavailable:
        error = "The provider did not answer, or refused our keys (see the log). The next run begins again."
    except OutcomeUnknown:
        error = "The provider did not say how it went. The next run looks again."
    except (Rejected, Interrupted) as problem:
        error = f"{problem.message} {problem.details.get('provider_code', '')}".strip()
    except Exception as problem:
        logger.exception("reconciliation %s failed", run.pk)
        error = f"{type(problem).__name__}: see the log"
    if abs(tally.clock_skew_seconds) > SKEW_TOLERATED.total_seconds():
        logger.error("the provider's clock and ours differ by %d seconds", tally.clock_skew_seconds)
    ReconciliationRun.objects.filter(pk=run.pk, finished_at__isnull=True).update(
        finished_at=max(timezone.now(), now), checked=tally.checked, healed=tally.healed, opened=tally.opened,
        closed=tally.closed, clock_skew_seconds=tally.clock_skew_seconds, balances=tally.balances, error=error[:500],
    )  # fmt: skip
    run.refresh_from_db()
    log = logger.error if error else logger.info
    log(
        "reconciliation of %s: %d checked, %d healed, %d breaks opened, %d closed %s",
        *(provider, run.checked, run.healed, run.opened, run.closed, run.error),
    )
    return run


def rehearse(provider: str, *, since: datetime, until: datetime, now: datetime) -> Tally:
    """Compare and change nothing: whom settle would look at, and what would be asked. Raises Unavailable, Rejected."""
    tally, gateway = Tally(), gateway_for(provider)
    for begin, end in _slices(since, until):
        statement = gateway.statement(since=begin - MARGIN, until=end + MARGIN)
        books = _books(provider, statement, begin, end)
        tally.checked += _count(statement, books)
        tally.suspects += _suspects(gateway, statement, books, now=now)
        tally.findings += _strays(provider, statement, books, now=now)
    return tally


def ask_for(provider: str, *, days: int, by: Any = None) -> None:
    """Queue a reconciliation of the last days; one that waits already absorbs it."""
    jobs.defer(
        "payments.reconcile",
        queueing_lock=f"payments.reconcile:{provider}:{days}",
        provider=provider,
        days=days,
        requested_by=getattr(by, "pk", None),
    )


def ask_for_all(*, days: int) -> None:
    for provider in configured():
        ask_for(provider, days=days)


def reconcile_days(
    provider: str, *, days: int, requested_by_id: int | None, now: datetime
) -> ReconciliationRun | None:
    """Reconcile the last days; None when a run is under way that somebody started by hand."""
    asker = get_user_model().objects.filter(pk=requested_by_id).first() if requested_by_id else None
    try:
        return reconcile(provider, since=now - timedelta(days=days), until=now, now=now, requested_by=asker)
    except AlreadyReconciling:
        logger.info("a reconciliation of %s is under way; this one is left out", provider)
        return None


def _begin(
    provider: str, *, since: datetime, until: datetime, now: datetime, requested_by: Any
) -> ReconciliationRun:
    silent = ReconciliationRun.objects.filter(
        provider=provider, finished_at__isnull=True, alive_at__lt=timezone.now() - SILENT_AFTER
    )
    silent.update(finished_at=timezone.now(), error="It stopped without a word: its worker was killed.")
    try:
        with transaction.atomic():
            return ReconciliationRun.objects.create(
                provider=provider, since=since, until=until, started_at=now, alive_at=timezone.now(),
                requested_by=requested_by if getattr(requested_by, "pk", None) else None,
            )  # fmt: skip
    except IntegrityError as error:
        raise AlreadyReconciling from error


def _work(run: ReconciliationRun, tally: Tally, *, now: datetime) -> None:
    provider, gateway = run.provider, gateway_for(run.provider)
    balances: tuple[Balance, ...] = ()
    for begin, end in _slices(run.since, run.until):
        _show_life(run)
        statement = gateway.statement(since=begin - MARGIN, until=end + MARGIN)
        balances = statement.balances
        _compare(run, gateway, statement, begin, end, tally, now=now)
    for stray in StrayRefund.objects.filter(status=RefundStatus.PENDING, question__provider=provider):
        strays.follow(stray.pk)
    open_ones = Break.objects.filter(provider=provider, resolved_at__isnull=True).exclude(
        kind=BreakKind.BALANCE
    )
    for found in open_ones.order_by("opened_at")[:CHUNK]:
        _show_life(run)
        tally.closed += close_what_is_gone(found, gateway, now=now)
    _compare_balances(run, balances, tally, now=now)


def _show_life(run: ReconciliationRun) -> None:
    alive = ReconciliationRun.objects.filter(pk=run.pk, finished_at__isnull=True)
    if not alive.update(alive_at=timezone.now()):
        raise Interrupted


def _slices(since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    begin = since
    while begin < until:
        end = min(begin + SLICE, until)
        yield begin, end
        begin = end


def _compare(
    run: ReconciliationRun, gateway: Gateway, statement: Statement, begin: datetime, end: datetime, tally: Tally,
    *, now: datetime,
) -> None:  # fmt: skip
    provider = run.provider
    books = _books(provider, statement, begin, end)
    tally.checked += _count(statement, books)
    tally.clock_skew_seconds = max(tally.clock_skew_seconds, _skew(statement, books, now=now), key=abs)
    for suspect in _suspects(gateway, statement, books, now=now):
        _show_life(run)
        try:
            has_changed, findings = _heal(suspect, gateway)
        except (Unavailable, OutcomeUnknown):
            raise
        except Exception:  # one that cannot be settled must not keep the others from it
            logger.exception("reconciliation: payment %s could not be settled", suspect.pk)
            tally.failed += 1
            continue
        tally.healed += has_changed
        for one in findings:
            tally.findings.append(one)
            tally.opened += _ask(provider, one)
    for payout in statement.payouts:
        tally.healed += payouts.record_from_provider(provider, payout, now=now)
    for one in _strays(provider, statement, books, now=now):
        tally.findings.append(one)
        tally.opened += _ask(provider, one)
    booked = _booked(provider, statement)
    breaks.forget_booked(provider, booked)
    unbooked: dict[str, list[Movement]] = {}
    for moved in statement.movements:
        if moved.ref not in booked and moved.at <= now - GRACE:
            unbooked.setdefault(_subject(moved, books), []).append(moved)
        elif moved.ref not in booked:
            tally.add_in_flight(moved.currency, moved.net_minor)
    tally.opened += breaks.keep_unbooked(provider, unbooked)
    _count_unlisted(gateway, statement, books, tally, now=now)


def _subject(moved: Movement, books: _Books) -> str:
    """What a break about the movement is about: the payment, or the refund or dispute of a payment that is in our books."""
    ours = books.by_ref.get(moved.payment_ref)
    if moved.kind != MovementKind.CHARGE and ours is not None and ours.status == PaymentStatus.CAPTURED:
        return moved.object_ref or moved.ref
    return moved.payment_ref or moved.object_ref or moved.ref


def _count_unlisted(
    gateway: Gateway, statement: Statement, books: _Books, tally: Tally, *, now: datetime
) -> None:
    """What our books hold and the provider does not list yet, which its balance does not hold yet either."""
    listed_by = now - gateway.listed_within
    there = {one.ref for one in statement.payments} | {one.ref for one in statement.refunds}
    for payment in books.captured:
        if payment.provider_ref not in there and payment.captured_at and payment.captured_at > listed_by:
            fee, currency = books.fees.get(payment.pk, (0, payment.currency))
            tally.add_in_flight(payment.currency, -payment.captured_minor)
            tally.add_in_flight(currency, fee)
    for refund in books.sent:
        is_new = refund.submitted_at is not None and refund.submitted_at > listed_by
        if refund.provider_ref not in there and is_new and refund.status == RefundStatus.SUCCEEDED:
            tally.add_in_flight(refund.currency, refund.amount_minor)


def _ask(provider: str, found: Finding) -> bool:
    return breaks.open_break(
        found.kind, provider=provider, provider_ref=found.provider_ref, detail=found.detail, payment=found.payment,
        object_ref=found.object_ref, taken_minor=found.taken_minor, currency=found.currency,
    )  # fmt: skip


# What is in our books


def _books(provider: str, statement: Statement, begin: datetime, end: datetime) -> _Books:
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
    sent = list(returned.filter(status__in=EXPECTED_THERE, submitted_at__gte=begin, submitted_at__lt=end))
    payments |= {one.payment_id: one.payment for one in [*refunds, *sent]}
    return _Books(
        by_ref={one.provider_ref: one for one in payments.values() if one.provider_ref},
        by_id={str(one.pk): one for one in payments.values()},
        refunds={one.provider_ref: one for one in refunds if one.provider_ref}
        | {str(one.pk): one for one in refunds},
        fees=booked_fees(list(payments)),
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


def _count(statement: Statement, books: _Books) -> int:
    """How many payments, refunds and payouts were compared, those counted once that both sides have."""
    payments = {one.ref for one in statement.payments} | {one.provider_ref for one in books.captured}
    refunds = {one.ref for one in statement.refunds} | {one.provider_ref for one in books.sent}
    return len(payments) + len(refunds) + len(statement.payouts)


# Whom settle should look at


def _suspects(gateway: Gateway, statement: Statement, books: _Books, *, now: datetime) -> list[Payment]:
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


def _ours(listed: ListedPayment, books: _Books) -> Payment | None:
    """The payment that the object is, by its reference, or by our id on it while we know of no other object."""
    ours = books.by_ref.get(listed.ref)
    if ours is None:
        named = books.by_id.get(listed.our_id)
        ours = named if named is not None and named.provider_ref is None else None
    return ours


def _payment_of(given: ListedRefund, books: _Books) -> Payment | None:
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


def _refund_disagrees(given: ListedRefund, books: _Books) -> bool:
    known = books.refunds.get(given.ref) or books.refunds.get(given.our_id)
    if known is None:
        return given.status != RefundStatus.FAILED
    return (known.status, known.amount_minor, known.currency) != (
        given.status,
        given.amount_minor,
        given.currency,
    )


def _heal(suspect: Payment, gateway: Gateway) -> tuple[bool, list[Finding]]:
    """Settle a payment, then hold it against the provider's truth. Returns whether our books changed, and what still differs.

    Raises Unavailable, OutcomeUnknown.
    """
    before = _fingerprint(suspect.pk)
    try:
        payment = settle.settle(suspect.pk)
        truth = gateway.fetch_payment(payment.provider_ref) if payment.provider_ref else None
    except Gone:
        payment = Payment.objects.get(pk=suspect.pk)
        truth = None
    except Rejected as error:
        code = str(error.details.get("provider_code", "rejected"))
        detail = f"The provider refuses to show the payment ({code})."
        return False, [Finding(BreakKind.STATE, suspect.provider_ref or str(suspect.pk), detail, suspect)]
    has_changed = _fingerprint(suspect.pk) != before
    payment.refresh_from_db()
    if truth is None:
        if payment.status != PaymentStatus.CAPTURED:
            return has_changed, []
        detail = f"We took {said(payment.captured_minor, payment.currency)} with it; the provider does not know it."
        return has_changed, [
            Finding(BreakKind.MISSING_REMOTE, payment.provider_ref or str(payment.pk), detail, payment)
        ]
    return has_changed, [
        Finding(one.kind, one.provider_ref, one.detail, payment) for one in differences(payment, truth)
    ]


def _fingerprint(payment_id: Any) -> tuple[Any, ...]:
    payment = Payment.objects.get(pk=payment_id)
    return (
        payment.status, payment.provider_ref, payment.captured_minor, payment.reserved_minor, payment.refunded_minor,
        payment.disputed_minor, payment.ledger.count(),
        tuple(payment.refunds.order_by("pk").values_list("pk", "status", "provider_ref")),
        tuple(payment.disputes.order_by("pk").values_list("pk", "status")),
    )  # fmt: skip


# What the provider has and we do not


def _strays(provider: str, statement: Statement, books: _Books, *, now: datetime) -> list[Finding]:
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


def _booked(provider: str, statement: Statement) -> set[str]:
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


def _skew(statement: Statement, books: _Books, *, now: datetime) -> int:
    """How many seconds the provider's clock is ahead of ours (or behind, if negative), as far as objects betray it."""
    ahead = [(one.at - now).total_seconds() for one in statement.movements]
    behind = [
        (one.at - ours.created_at).total_seconds()  # nothing is made there before we asked for it
        for one in statement.payments
        if (ours := books.by_ref.get(one.ref)) is not None
    ]
    return round(max([*ahead, 0.0])) or round(min([*behind, 0.0]))


def _compare_balances(
    run: ReconciliationRun, balances: tuple[Balance, ...], tally: Tally, *, now: datetime
) -> None:
    """Hold what the provider says it has against our ledger, and ask when the same difference stays unexplained in two runs.

    Explained is what refunds on their way have left there already, what breaks tell of, and what is too young to judge. Two runs,
    because money moves between one question and the next.
    """
    provider = run.provider
    last = ReconciliationRun.objects.filter(provider=provider, finished_at__isnull=False, error="").first()
    unexplained_before = {line["currency"]: line["unexplained"] for line in last.balances} if last else {}
    pending = _sums(
        Refund.objects.filter(payment__provider=provider, status=RefundStatus.PENDING), "amount_minor"
    )
    on_breaks = _sums(Break.objects.filter(provider=provider).exclude(unbooked_minor=0), "unbooked_minor")
    in_transit = _sums(
        Payout.objects.filter(provider=provider, status=PayoutStatus.IN_TRANSIT), "amount_minor"
    )
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
        explained = -pending.get(code, 0) + on_breaks.get(code, 0) + tally.in_flight.get(code, 0)
        unexplained = amount - ours - explained
        line = {
            "currency": code, "provider": amount, "ours": ours, "refunds_on_their_way": -pending.get(code, 0),
            "on_breaks": on_breaks.get(code, 0), "too_young": tally.in_flight.get(code, 0),
            "payouts_in_transit": in_transit.get(code, 0), "unexplained": unexplained,
        }  # fmt: skip
        tally.balances.append(line)
        about = Break.objects.filter(
            kind=BreakKind.BALANCE, provider=provider, provider_ref=code, resolved_at__isnull=True
        ).first()
        if unexplained and unexplained_before.get(code) == unexplained:
            detail = f"The provider holds {said(unexplained, code)} more than our books and open questions explain."
            if about is not None and about.detail != detail:
                tally.closed += breaks.close_by_itself(
                    about, note="The difference is another one now.", now=now
                )
            tally.opened += breaks.open_break(
                BreakKind.BALANCE, provider=provider, provider_ref=code, detail=detail, currency=code
            )
        elif about is not None and not unexplained:
            tally.closed += breaks.close_by_itself(about, note="The balances agree now.", now=now)


def _sums(rows: Any, name: str) -> dict[str, int]:
    return dict(rows.order_by().values_list("currency").annotate(Sum(name)))
