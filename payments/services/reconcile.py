"""Reconciliation: our books against a provider's, in both directions, over a window of time.

What our own id or reference vouches for is healed by settle, the only way that money changes here; everything else is a question for
a person. A provider that does not answer ends the run, which says so; the next run starts from the beginning. A second run over
the same window changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from foundation import jobs
from foundation.errors import DomainError
from payments.gateways import configured, gateway_for
from payments.gateways.base import Gateway, Gone, OutcomeUnknown, Rejected, Unavailable
from payments.gateways.statement import (
    Balance,
    Movement,
    Statement,
)
from payments.models import (
    Break,
    BreakKind,
    Payment,
    PaymentStatus,
    ReconciliationRun,
    RefundStatus,
    StrayRefund,
)
from payments.services import balances, breaks, matching, payouts, settle, strays
from payments.services.comparison import differences, said
from payments.services.matching import Finding
from payments.services.recheck import close_what_is_gone

logger = logging.getLogger(__name__)

MARGIN = timedelta(minutes=15)  # the provider's clock and ours differ, and both ends of a window count
SLICE = timedelta(days=3)  # one listing at a time
SILENT_AFTER = timedelta(minutes=10)  # a run without a sign of life was killed
SKEW_TOLERATED = timedelta(minutes=2)  # Stripe refuses signatures that are five minutes off
MOST_RECHECKED = 500
LATELY_DAYS, MONTH_DAYS = 3, 30


class AlreadyReconciling(DomainError):
    code = "already_reconciling"
    message = _("A reconciliation of this provider is under way. Wait until it is finished.")


class Interrupted(DomainError):
    code = "interrupted"
    message = _("Another run took over, for this one was silent too long.")


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
        books = matching.books_for(provider, statement, begin, end)
        tally.checked += matching.count(statement, books)
        tally.suspects += matching.suspects(gateway, statement, books, now=now)
        tally.findings += matching.strays_in(provider, statement, books, now=now)
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
    held: tuple[Balance, ...] = ()
    for begin, end in _slices(run.since, run.until):
        _show_life(run)
        statement = gateway.statement(since=begin - MARGIN, until=end + MARGIN)
        held = statement.balances
        _compare(run, gateway, statement, begin, end, tally, now=now)
    for stray in StrayRefund.objects.filter(status=RefundStatus.PENDING, question__provider=provider):
        strays.follow(stray.pk)
    open_ones = Break.objects.filter(provider=provider, resolved_at__isnull=True).exclude(
        kind=BreakKind.BALANCE
    )
    for found in open_ones.order_by("opened_at")[:MOST_RECHECKED]:
        _show_life(run)
        tally.closed += close_what_is_gone(found, gateway, now=now)
    compared = balances.compare(provider, held, in_flight=tally.in_flight, now=now)
    tally.balances = compared.lines
    tally.opened += compared.opened
    tally.closed += compared.closed


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
    books = matching.books_for(provider, statement, begin, end)
    tally.checked += matching.count(statement, books)
    tally.clock_skew_seconds = max(
        tally.clock_skew_seconds, matching.clock_skew(statement, books, now=now), key=abs
    )
    for suspect in matching.suspects(gateway, statement, books, now=now):
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
    for one in matching.strays_in(provider, statement, books, now=now):
        tally.findings.append(one)
        tally.opened += _ask(provider, one)
    booked = matching.booked_in(provider, statement)
    breaks.forget_booked(provider, booked)
    unbooked: dict[str, list[Movement]] = {}
    for moved in statement.movements:
        if moved.ref not in booked and moved.at <= now - matching.GRACE:
            unbooked.setdefault(matching.subject_of(moved, books), []).append(moved)
        elif moved.ref not in booked:
            tally.add_in_flight(moved.currency, moved.net_minor)
    tally.opened += breaks.keep_unbooked(provider, unbooked)
    for currency, amount_minor in matching.not_listed_yet(gateway, statement, books, now=now):
        tally.add_in_flight(currency, amount_minor)


def _ask(provider: str, found: Finding) -> bool:
    return breaks.open_break(
        found.kind, provider=provider, provider_ref=found.provider_ref, detail=found.detail, payment=found.payment,
        object_ref=found.object_ref, taken_minor=found.taken_minor, currency=found.currency,
    )  # fmt: skip


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
