"""The judge: the sandbox's ledger against ours, what was said against what is stored, what was sent against what happened."""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from typing import Any

from django.core.management import call_command
from django.db import connection
from django.db.models import Count, Sum
from django.db.models.functions import Coalesce

from bench.chaos.customers import Journal
from bench.chaos.stack import Stack
from bookings.models import Booking
from communications.models import Message
from foundation.money import Money
from payments.management.commands import audit_books
from payments.models import Break, LedgerEntry, Payment, ProviderEvent, Refund

# Our kinds of ledger transactions -> the sandbox's.
REFUNDED = ("refund", "refund_reversal")
ENDED_REFUND = {"succeeded", "failed", "pending"}
# Told once for each booking and recipient; of the others as many as there are facts.
ONCE = (
    "booking_confirmation", "cancellation", "late_payment_refunded", "second_payment_refunded",
)  # fmt: skip


def judge(stack: Stack, journal: Journal, left: list[str], early: list[str]) -> list[str]:
    """Every violation, each with the rule that it breaks. `early` are those that were seen before the drain."""
    found = [*early, *(f"stuck: {row}" for row in left)]
    found += [f"answers: {row}" for row in journal.wrong]
    truth = stack.ask("/ledger.json")
    found += [f"ledger: {row}" for row in ledgers(truth, journal)]
    found += [f"audit_books: {row}" for row in audit()]
    found += [f"claims: {row}" for row in claims(journal)]
    found += [f"messages: {row}" for row in messages(stack)]
    return found


TWO_ALIVE = """
    SELECT b.reference || ': ' || string_agg(p.provider || ' ' || p.status, ', ')
    FROM payments_payment p JOIN bookings_booking b ON b.id = p.booking_id
    WHERE p.status IN ('created', 'submitted', 'requires_action', 'processing', 'unknown', 'captured')
    GROUP BY b.reference, p.provider
    HAVING count(*) > 1 AND bool_or(p.status <> 'captured')
"""


def payable_twice() -> list[str]:
    """Two payments of one booking at one provider that can be, or were, paid. At the end the janitor has cancelled the spare one."""
    with connection.cursor() as cursor:
        cursor.execute(TWO_ALIVE)
        return [f"payable twice: {text}" for (text,) in cursor.fetchall()]


def oversold() -> list[str]:
    """More stays than spaces at some instant. Asked while holds still stand: at the end they have run out."""
    with connection.cursor() as cursor:
        cursor.execute(audit_books.RULES["a pool is over its capacity"])
        return [f"oversold: {text}" for (text,) in cursor.fetchall()]


def audit() -> list[str]:
    told = io.StringIO()
    try:
        call_command("audit_books", stdout=io.StringIO(), stderr=told)
    except SystemExit:
        return told.getvalue().splitlines()
    return []


def ledgers(truth: dict[str, Any], journal: Journal) -> list[str]:
    """Both directions, per payment, refund, and movement of money; exact to the minor unit."""
    found: list[str] = []
    by_break = set(Break.objects.filter(resolved_at=None).values_list("provider_ref", flat=True))
    EXPECTED.update(journal.expected_breaks)
    for one in Break.objects.filter(resolved_at=None):
        if not {one.provider_ref, str(one.payment_id)} & EXPECTED:
            found.append(f"a break that nothing here explains: {one}: {one.detail}")

    taken: Counter[tuple[str, str, str]] = Counter()
    payment_of_charge: dict[str, str] = {}
    for charge in truth["charges"]:
        ref = charge.get("payment_intent") or charge.get("order") or ""
        payment_of_charge[charge["id"]] = ref
        if charge["status"] == "succeeded":
            taken[charge["provider"], ref, charge["currency"].upper()] += charge["captured_minor"]
            if not 0 <= charge["refunded_minor"] <= charge["captured_minor"]:
                found.append(f"{ref}: refunded {charge['refunded_minor']} of {charge['captured_minor']}")
    ours = {
        (one.provider, one.provider_ref or "", one.currency): one
        for one in Payment.objects.exclude(provider_ref=None).select_related("booking")
    }
    for key, amount in taken.items():
        known = ours.get(key)
        if (known is None or known.captured_minor != amount) and key[1] not in by_break:
            here = "unknown" if known is None else f"{known.status}, captured {known.captured_minor}"
            found.append(f"{key}: the provider took {amount}; here it is {here}")
    for key, payment in ours.items():
        if payment.captured_minor and not taken[key]:
            found.append(f"{key}: captured {payment.captured_minor} here; the provider took nothing")

    found += refunds(truth, payment_of_charge, by_break)
    found += movements(truth, payment_of_charge, by_break)
    return found


EXPECTED: set[str] = set()  # what breaks may be about in this epoch: references, or payments' ids


def refunds(truth: dict[str, Any], payment_of_charge: dict[str, str], by_break: set[str]) -> list[str]:
    found = []
    theirs = {one["id"]: one for one in truth["refunds"]}
    ours = {one.provider_ref: one for one in Refund.objects.exclude(provider_ref=None)}
    for ref, one in theirs.items():
        mine = ours.get(ref)
        payment_ref = payment_of_charge.get(one["charge"], "")
        if mine is None:
            if one["status"] != "failed" and payment_ref not in by_break:
                found.append(
                    f"refund {ref} of {one['amount_minor']} {one['status']} at the provider is unknown here"
                )
        elif (mine.amount_minor, mine.currency, mine.status) != (
            one["amount_minor"], one["currency"].upper(), one["status"].replace("canceled", "failed"),
        ):  # fmt: skip
            found.append(
                f"refund {ref} is {mine.amount_minor} {mine.currency} {mine.status} here, "
                f"{one['amount_minor']} {one['currency'].upper()} {one['status']} there"
            )
    for given in Refund.objects.filter(status__in=["succeeded", "pending"]):
        if given.provider_ref not in theirs:
            found.append(f"refund {given.pk} is {given.status} here; the provider does not know it")
    return found


def movements(truth: dict[str, Any], payment_of_charge: dict[str, str], by_break: set[str]) -> list[str]:
    """What stands on our account at each provider, payment by payment, against the provider's own entries."""
    theirs: Counter[tuple[str, str, str]] = Counter()
    for entry in truth["entries"]:
        is_payout = entry["kind"].startswith("payout")
        ref = (
            entry["object_id"]
            if is_payout
            else payment_of_charge.get(entry["payment_id"], entry["payment_id"])
        )
        theirs[entry["provider"], ref, entry["currency"].upper()] += entry["amount_minor"]
    ours: Counter[tuple[str, str, str]] = Counter()
    rows = (
        LedgerEntry.objects.filter(account="provider_balance")
        .values(
            "currency",
            provider=Coalesce("transaction__payment__provider", "transaction__payout__provider"),
            ref=Coalesce("transaction__payment__provider_ref", "transaction__payout__provider_ref"),
        )
        .annotate(total=Sum("amount_minor"))
    )
    for row in rows:
        ours[row["provider"], row["ref"] or "", row["currency"]] += row["total"]
    return [
        f"{key}: {theirs[key]} on the provider's account there, {ours[key]} here"
        for key in theirs.keys() | ours.keys()
        if theirs[key] != ours[key] and key[1] not in by_break
    ]


def claims(journal: Journal) -> list[str]:
    """What people were told is true in the database."""
    found = []
    for what, key, detail in dict.fromkeys(journal.claims):
        if what == "booking" and not Booking.objects.filter(reference=key).exists():
            found.append(f"booking {key} was answered with 201 and is not there")
        elif what == "payment" and not Payment.objects.filter(pk=key).exists():
            found.append(f"payment {key} was answered with 201 and is not there")
        elif what == "captured" and not Payment.objects.filter(pk=key, status="captured").exists():
            found.append(f"payment {key} was said to be captured")
        elif (
            what == "confirmed"
            and not Booking.objects.filter(reference=key, confirmed_at__isnull=False).exists()
        ):
            found.append(f"booking {key} was said to be confirmed")
        elif what == "cancelled" and not Booking.objects.filter(reference=key, status="cancelled").exists():
            found.append(f"booking {key} was said to be cancelled")
        elif what == "honoured" and not honoured(key):
            found.append(f"payment {key} was captured for a change that was neither made nor given back")
        elif what == "refund" and not Refund.objects.filter(pk=key).exists():
            found.append(f"refund {key} of {detail} was answered with 202 and is not there")
        elif what == "dead" and not ProviderEvent.objects.filter(event_ref=key, status="dead").exists():
            found.append(f"the poison event {key} is not given up")
    for reference, price in journal.prices.items():
        for payment in Payment.objects.filter(booking__reference=reference, amendment=None):
            if Money(payment.amount_minor, payment.currency).to_major() != price:
                found.append(
                    f"{reference} was quoted {price}; its payment asks {payment.amount_minor} {payment.currency}"
                )
    twice = (
        ProviderEvent.objects.values("provider", "event_ref").annotate(times=Count("pk")).filter(times__gt=1)
    )
    for one in twice.order_by():
        found.append(f"the event {one['event_ref']} was noted {one['times']} times")
    for event in ProviderEvent.objects.filter(event_ref__in=journal.forged_events):
        found.append(f"the forged event {event.event_ref} was noted")
    return found


def honoured(payment_id: str) -> bool:
    """Whether the change that a payment was for is made, or all of the money goes back."""
    payment = Payment.objects.select_related("amendment").get(pk=payment_id)
    if payment.amendment is not None and payment.amendment.status == "applied":
        return True
    return payment.reserved_minor == payment.captured_minor


def messages(stack: Stack) -> list[str]:
    """At most one for each fact and recipient; at most one more where the provider's answer was lost."""
    found = []
    rows = {str(one.pk): one for one in Message.objects.all()}
    arrived: Counter[str] = Counter(
        mail["custom_args"]["message_id"]
        for mail in stack.ask("/mail.json?limit=100000")["mail"]
        if "message_id" in (mail.get("custom_args") or {})
    )
    for message_id, times in arrived.items():
        row = rows.get(message_id)
        if row is None:
            found.append(f"an e-mail left for a message that is not there: {message_id}")
        elif times > 1 + row.was_resent:
            found.append(f"{row.kind} to {row.to} left {times} times")
    texts: Counter[tuple[str, str]] = Counter()
    for sms in stack.ask("/sms.json?limit=100000")["sms"]:
        if sms.get("direction", "outbound-api").startswith("outbound"):
            texts[sms["to"], sms["body"]] += 1
    allowed: dict[tuple[str, str], int] = defaultdict(int)
    for row in rows.values():
        if row.channel == "sms":
            allowed[row.to, row.body_text] += 1 + row.was_resent
    unknown = {key: times for key, times in texts.items() if times > max(allowed[key], 1)}
    found += [f"an SMS to {to} left {times} times: {body[:60]}" for (to, body), times in unknown.items()]
    per_fact: Counter[tuple[str, str, str, str]] = Counter(
        (row.kind, row.channel, row.reference, row.to) for row in rows.values() if row.kind in ONCE
    )
    found += [f"{key} was queued {times} times" for key, times in per_fact.items() if times > 1]
    payments = dict(
        Payment.objects.values_list("booking__reference").filter(captured_minor__gt=0).annotate(Count("pk"))
    )
    told = Counter(
        (row.channel, row.reference, row.to) for row in rows.values() if row.kind == "payment_confirmation"
    )
    found += [
        f"{key} was told of {times} payments"
        for key, times in told.items()
        if times > payments.get(key[1], 0)
    ]
    return found
