"""After the storm: providers behave, everything runs, the janitor comes round, and what is left over is a finding."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from asgiref.sync import sync_to_async
from django.db import InterfaceError, OperationalError, connection, connections
from django.db.models import Q
from procrastinate.exceptions import ConnectorException

from bench.chaos.stack import Stack, forget_connections
from bookings.models import Amendment, Booking
from bookings.services.hold import expire_overdue_holds
from bookings.services.lapse import expire_overdue_amendments
from communications.models import Message
from communications.services import outbox as post_office
from foundation import jobs
from payments.gateways import configured
from payments.models import LIVE_STATUSES, MONEY_AT_STAKE, Break, Dispute, Payment, ProviderEvent, Refund
from payments.services import inbox, janitor, reconcile

ROUNDS = 14
LONGEST_SECONDS = 60.0
LOST = (OperationalError, InterfaceError, ConnectorException)
LISTED_BY_THEN = timedelta(hours=4)  # PayPal promises three
MISSED_HEARTBEAT_SECONDS = 3  # workers' hearts beat twice a second here


def calm(stack: Stack) -> None:
    """End every fault: providers tell the truth, webhooks arrive, everybody is alive."""
    stack.disarm()
    stack.ask("/faults", method="DELETE")
    stack.ask(
        "/webhooks/mode",
        {"mode": "deliver", "duplicate": 0, "shuffle": False, "delay_seconds": 0, "skew_seconds": 0, "forge": False, "release": True},
    )  # fmt: skip
    stack.supervisor.check()


def settle_down(stack: Stack) -> list[str]:
    """Bring everything to its end and return what did not get there. Time moves where services take `now`, never by waiting."""
    left: list[str] = []
    deadline = time.monotonic() + LONGEST_SECONDS
    for turn in range(ROUNDS):
        try:
            left = _turn(stack, turn)
        except LOST:  # connections to a server that was restarted
            forget_connections()
            continue
        if not left and turn > 0:  # turn 0 leaves the holds as they are; from then on nobody pays any more
            break
        if time.monotonic() > deadline:
            break
    stack.ask("/clock", {"set": None})
    return left


def _turn(stack: Stack, turn: int) -> list[str]:
    now = datetime.now(UTC)
    stack.ask("/clock", {"advance_seconds": 15 if turn == 0 else 120})  # retries of webhooks fall due
    if turn:
        _let_paypal_decide(stack)
    _wait_for_webhooks(stack)
    _wait_for_jobs()
    if turn:
        Booking.objects.filter(status="held").update(hold_expires_at=now - timedelta(seconds=1))
        expire_overdue_holds(now=now)
        expire_overdue_amendments(now=now + timedelta(hours=1))
    later = now + timedelta(seconds=61 * (turn + 1))
    janitor.sweep(now=later)
    for event_id in ProviderEvent.objects.filter(status="received", attempts__gt=0).values_list(
        "pk", flat=True
    ):
        inbox.process_event(event_id)
    post_office.sweep(now=now + timedelta(minutes=11))
    for message_id in Message.objects.filter(
        Q(status="queued") | Q(status="maybe_sent", was_resent=False)
    ).values_list("pk", flat=True):
        if turn:  # first those for whom a job waits
            post_office.send(message_id, now=now + timedelta(hours=3))
    _wait_for_jobs()
    left = unfinished()
    if turn and not left:  # before, there is always money on its way
        left = _reconcile(now)
        _wait_for_jobs()
        left += unfinished()
    return left


def _reconcile(now: datetime) -> list[str]:
    """Hold our books against both accounts as hours later, when nothing is too young any more; return what is unexplained."""
    found = []
    for provider in configured():
        run = reconcile.reconcile(
            provider, since=now - timedelta(minutes=30), until=now + LISTED_BY_THEN, now=now + LISTED_BY_THEN
        )
        if run.error:
            found.append(f"reconciliation of {provider} ended with: {run.error}")
        found += [
            f"{provider} holds {line['unexplained']} {line['currency']} more than is explained: {line}"
            for line in run.balances
            if line["unexplained"]
        ]
    return found


def _let_paypal_decide(stack: Stack) -> None:
    """End the reviews that nobody in the schedule lived to see the end of."""
    for charge in stack.ask("/ledger.json")["charges"]:
        if charge["provider"] == "paypal" and charge["status"] == "pending":
            stack.ask(f"/paypal-captures/{charge['id']}", {"status": "COMPLETED"})


def _wait_for_webhooks(stack: Stack) -> None:
    for _look in range(50):
        if not any(
            stack.ask(f"/webhooks.json?status={status}&limit=1")["deliveries"]
            for status in ("pending", "delivering")
        ):
            return
        time.sleep(0.1)


def _wait_for_jobs(seconds: float = 8.0) -> None:
    """Let the workers empty the queue; the jobs of the dead go back into it."""
    deadline = time.monotonic() + seconds
    rescued = time.monotonic()
    while time.monotonic() < deadline:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE procrastinate_jobs SET scheduled_at = NULL WHERE status = 'todo' AND scheduled_at > now()"
            )
            cursor.execute(
                "SELECT count(*) FILTER (WHERE status = 'todo'), count(*) FILTER (WHERE status = 'doing') "
                "FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"
            )
            waiting, running = cursor.fetchone()
        if not waiting and not running:
            return
        if running and not waiting and time.monotonic() - rescued > 1:
            asyncio.run(_rescue())
            rescued = time.monotonic()
        time.sleep(0.1)


async def _rescue() -> None:
    """The product's rescue with a shorter patience. Its thread's connection may be one to a server that is gone."""
    await sync_to_async(connections.close_all)()
    await jobs.rescue_stalled(seconds_since_heartbeat=MISSED_HEARTBEAT_SECONDS)
    await sync_to_async(connections.close_all)()


def unfinished() -> list[str]:
    """Rows that are neither at an end nor handed to a person by a break."""
    asked = set(Break.objects.filter(resolved_at=None).values_list("provider_ref", flat=True))
    rows: list[tuple[str, Any, str]] = []
    for payment in Payment.objects.filter(status__in=LIVE_STATUSES):
        if payment.provider_ref not in asked:
            rows.append(("payment", payment.pk, payment.status))
    banks_decide = Dispute.objects.filter(status__in=MONEY_AT_STAKE).values("payment")
    for refund in Refund.objects.filter(status__in=["requested", "submitted", "unknown"]):
        waits = refund.status == "requested" and banks_decide.filter(payment=refund.payment_id).exists()
        if str(refund.pk) not in asked and not waits:
            rows.append(("refund", refund.pk, refund.status))
    for event in ProviderEvent.objects.filter(status="received"):
        rows.append(("event", event.event_ref, f"{event.attempts} attempts, {event.last_error}"))
    for message in Message.objects.filter(
        Q(status__in=["queued", "sending"]) | Q(status="maybe_sent", was_resent=False)
    ):
        rows.append(("message", message.pk, f"{message.kind} {message.status}"))
    for booking in Booking.objects.filter(status="held"):
        rows.append(("hold", booking.reference, booking.status))
    for change in Amendment.objects.filter(status="held"):
        rows.append(("change", change.pk, change.status))
    return [f"{kind} {key} is still {state}" for kind, key, state in rows]
