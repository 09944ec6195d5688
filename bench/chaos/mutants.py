"""One safety removed at a time, to see that the oracle notices. Each is a change to the harness's own processes or database.

A mutant is on trial in every process, this one too: the drain runs the product's janitor and settles here.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.chaos.failpoints import replace

GATE_WITHOUT_LOCK = """
DO $$ DECLARE body text; BEGIN
    SELECT pg_get_functiondef('bookings_occupancy_gate'::regproc) INTO body;
    IF body NOT LIKE '%FOR NO KEY UPDATE%' THEN RAISE EXCEPTION 'the gate has no lock to remove'; END IF;
    EXECUTE replace(body, 'FOR NO KEY UPDATE', '');
END $$
"""


@dataclass(frozen=True)
class Mutant:
    """`sql` runs on the fresh database, `patch` in every process, `wants` names acts that can show it: others are not worth their time."""

    removes: str
    sql: str = ""
    patch: Callable[[], None] | None = None
    wants: tuple[str, ...] = ()


def _constant(value: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return lambda _real: lambda *_args, **_kwargs: value


def _without_row_locks() -> None:
    """Nobody locks bookings, payments or refunds any more."""

    def unlocked(real: Callable[..., Any]) -> Callable[..., Any]:
        def select_for_update(rows: Any, *args: Any, **kwargs: Any) -> Any:
            named = rows.model._meta.label
            return rows.all() if named in LOCKED else real(rows, *args, **kwargs)

        return select_for_update

    replace("django.db.models:QuerySet.select_for_update", unlocked)


LOCKED = {"bookings.Booking", "payments.Payment", "payments.Refund", "bookings.Cancellation"}


def _without_checkouts_lock() -> None:
    """Checkout reads the booking and locks it no more."""

    def unlocked(_real: Callable[..., Any]) -> Callable[..., Any]:
        def lock_booking(booking_id: int) -> Any:
            from bookings.services.access import with_places

            return with_places().get(pk=booking_id)

        return lock_booking

    replace("payments.services.checkout:lock_booking", unlocked)


def _without_signatures() -> None:
    replace("stripe:WebhookSignature.verify_header", _constant(True))


def _without_tolerance() -> None:
    def timeless(real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda payload, header, secret, tolerance=None, api=None: real(payload, header, secret, None)

    replace("stripe:WebhookSignature.verify_header", timeless)


def _without_paypals_word() -> None:
    replace("payments.gateways.paypal:PayPalGateway.verify_event", _constant(True))


def _without_amount_check() -> None:
    replace("payments.services.settle:_difference", _constant(None))


def _with_fresh_keys() -> None:
    """A refund of unknown outcome is sent again under a new key, and nobody looks first."""
    for gateway in ("stripe:StripeGateway", "paypal:PayPalGateway"):
        replace(f"payments.gateways.{gateway}.find_refund", _constant(None))

    def renamed(real: Callable[..., Any]) -> Callable[..., Any]:
        def refund(gateway: Any, row: Any) -> Any:
            known, row.pk = row.pk, uuid.uuid4()
            try:
                return real(gateway, row)
            finally:
                row.pk = known

        return refund

    for gateway in ("stripe:StripeGateway", "paypal:PayPalGateway"):
        replace(f"payments.gateways.{gateway}.refund", renamed)


def _pending_is_paid() -> None:
    replace("payments.gateways.paypal:STATUS_OF_CAPTURE", lambda real: {**real, "PENDING": "captured"})


def _without_claim() -> None:
    """Messages are sent by whoever comes, whatever the row says."""

    def claim(message_id: Any, *, now: Any) -> Any:
        from communications.models import Message

        Message.objects.filter(pk=message_id).update(status="sending")
        return Message.objects.filter(pk=message_id).first()

    replace("communications.services.outbox:_claim", lambda _real: claim)


def _without_janitor() -> None:
    replace("payments.services.janitor:sweep", _constant(None))


def _without_late_refund() -> None:
    """Money for a booking that cannot be given is kept."""

    def honour(real: Callable[..., Any]) -> Callable[..., Any]:
        def _honour(payment: Any, booking: Any, *, now: Any) -> None:
            from bookings.services.confirm import confirm
            from bookings.services.errors import CarParkFull
            from payments.services import messages

            if booking.status in ("held", "expired"):
                try:
                    confirm(booking, now=now)
                except CarParkFull:
                    return
                messages.tell_paid(payment)

        return _honour

    replace("payments.services.settle:_honour", honour)


def _with_the_callers_amount() -> None:
    """The doors believe the amount that the caller names."""
    replace("payments.api.views:_compare", _constant(None))


def _with_todays_price() -> None:
    """A payment takes what the tariff says now, and not what was quoted."""

    def repriced(real: Callable[..., Any]) -> Callable[..., Any]:
        def _live_payment(booking: Any, **more: Any) -> Any:
            from bookings.services.quote import price_stay

            priced = price_stay(
                booking.product, start_at=booking.start_at, end_at=booking.end_at, now=more["now"]
            )
            booking.total_minor = priced.total.amount_minor
            return real(booking, **more)

        return _live_payment

    replace("payments.services.checkout:_live_payment", repriced)


MUTANTS = {
    "row-locks": Mutant(
        "the row locks in settle, refund and cancel",
        patch=_without_row_locks,
        wants=(
            "staff_refunds",
            "cancelled_by_both",
            "double_click",
        ),
    ),
    "one-live-payment": Mutant(
        "the index and checkout's lock that keep one live payment per booking",
        sql="DROP INDEX payment_one_live_per_booking",
        patch=_without_checkouts_lock,
        wants=(
            "double_click",
            "by_pages",
            "two_tabs",
        ),
    ),
    "reservation-trigger": Mutant(
        "the trigger by which a refund reserves its money",
        sql="DROP TRIGGER payments_refund_reserve ON payments_refund",
        wants=(
            "staff_refunds",
            "cancelled_by_both",
        ),
    ),
    "capacity-lock": Mutant("the lock on the day gates", sql=GATE_WITHOUT_LOCK, wants=("rush",)),
    "event-once": Mutant(
        "the constraint that notes an event once",
        sql="ALTER TABLE payments_providerevent DROP CONSTRAINT provider_event_unique",
    ),
    "message-claim": Mutant(
        "the claim that lets one worker send a message", patch=_without_claim, wants=("doubled_jobs",)
    ),
    "stripe-signature": Mutant(
        "the check of Stripe's signature",
        patch=_without_signatures,
        wants=(
            "forger",
            "flood",
        ),
    ),
    "signature-age": Mutant(
        "the tolerance of a signature's time", patch=_without_tolerance, wants=("forger",)
    ),
    "paypal-signature": Mutant(
        "PayPal's word on its webhooks", patch=_without_paypals_word, wants=("paypal_forger",)
    ),
    "amount-check": Mutant(
        "settle's comparison of amount and currency", patch=_without_amount_check, wants=("other_amount",)
    ),
    "same-key": Mutant(
        "the look and the same key after an unknown outcome", patch=_with_fresh_keys, wants=("old_refund",)
    ),
    "pending-is-not-paid": Mutant(
        "the difference between pending and paid", patch=_pending_is_paid, wants=("pending",)
    ),
    "late-refund": Mutant(
        "the refund of money that comes too late or twice",
        patch=_without_late_refund,
        wants=(
            "late",
            "both_providers",
        ),
    ),
    "frozen-price": Mutant("the quote's frozen price", patch=_with_todays_price, wants=("price_edit",)),
    "server-price": Mutant(
        "the refusal of an amount that the caller names", patch=_with_the_callers_amount, wants=("tampered",)
    ),
    "janitor": Mutant("the janitor", patch=_without_janitor),
}


def install(name: str) -> None:
    """Patch this process as the mutant asks. Call after django.setup()."""
    patch = MUTANTS[name].patch if name else None
    if patch is not None:
        patch()
