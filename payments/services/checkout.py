"""Checkout: one live payment for what a booking has to pay now, known to the provider, ready for the customer.

That is the price of a held booking, or the difference of a change that waits for payment.

Who chooses another provider leaves the first one: its payment is cancelled there before the second is made, and if both are paid
all the same, settle gives the second back.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from bookings.models import Booking
from bookings.services.confirm import confirm, lock_booking
from foundation import jobs
from foundation.errors import DomainError
from payments.gateways import gateway_for
from payments.gateways.base import (
    Declined,
    Gateway,
    Missing,
    OutcomeUnknown,
    ProviderError,
    ProviderPayment,
    Rejected,
    Unavailable,
)
from payments.models import LIVE_STATUSES, Payment, PaymentStatus, StoredMethod
from payments.services import declines, settle
from payments.services.customers import customer_ref_of, forget_customer, known_customer_ref
from payments.services.due import due_for


class HoldExpired(DomainError):
    code = "hold_expired"
    message = _("The time to pay is over and the space was let go. Search again; nothing was taken.")


class ChangeExpired(HoldExpired):
    message = _(
        "The time to pay for the change is over, so your booking stands as it was. Change it again; nothing was taken."
    )


class AlreadyPaid(DomainError):
    code = "already_paid"
    message = _("This booking is already paid.")


class PaymentInDoubt(DomainError):
    code = "payment_in_doubt"
    message = _(
        "A payment for this booking arrived that we must check. Please do not pay again; we write to you."
    )


class PaymentChanged(DomainError):
    code = "payment_changed"
    message = _("Another window or person changed how this is paid. Nothing was taken. Please try again.")


class ProviderUnavailable(DomainError):
    code = "provider_unavailable"
    message = _(
        "The payment provider does not answer just now. Nothing was taken. Please try again in a minute."
    )


class NotOffered(DomainError):
    code = "provider_not_offered"
    message = _(
        "This way of paying does not take this amount or currency. Choose another one, or ask us for help."
    )


class AmountMismatch(DomainError):
    code = "amount_mismatch"
    message = _("The amount is not what this booking costs.")


@dataclass(frozen=True)
class CheckoutSession:
    """What the customer's browser or app needs to pay."""

    payment: Payment
    truth: ProviderPayment
    publishable_key: str

    @property
    def client_secret(self) -> str:
        return self.truth.client_secret

    @property
    def provider_ref(self) -> str:
        return self.truth.ref

    @property
    def approve_url(self) -> str:
        return self.truth.approve_url


def start(
    booking: Booking,
    *,
    provider: str = "stripe",
    user: Any = None,
    saves_method: bool | None = None,
    method: StoredMethod | None = None,
    address: str = "",
    now: datetime,
) -> CheckoutSession:
    """Return the one live payment of what the booking has to pay, made at the provider; a second call returns the same.

    A live payment at another provider, for an earlier change, that could save a method for the wrong person, or on other terms where the
    provider's are fixed, is withdrawn first; one that may be paid already raises PaymentInDoubt.
    method: the saved method that charge.py is about to take it from.
    saves_method: whether the provider keeps the card for `user` once it has paid; None leaves it as it was (at first: no).
    address: where the customer's request came from; cards of whoever had too many declined are not taken (TooManyDeclines).
    A total of zero needs no provider: the booking is confirmed and AlreadyPaid raised.
    Raises NotOffered, TooManyDeclines, HoldExpired, AlreadyPaid, PaymentInDoubt, PaymentChanged, ProviderUnavailable.
    """
    gateway = gateway_for(provider)
    due = due_for(booking)
    if due is not None and due.amount and not gateway.takes(due.amount):
        raise NotOffered
    if gateway.takes_cards:
        declines.refuse_stopped(booking, user=user, address=address, now=now)
    for _attempt in range(
        2
    ):  # the second time when the live payment turns out to be cancelled at the provider
        _withdraw_others(booking, provider, gateway, user=user, saves_method=saves_method, method=method)
        payment = _intend(
            booking.pk,
            provider=provider,
            user=user,
            saves_method=saves_method,
            method=method,
            address=address,
            now=now,
        )
        payment, truth = submit(payment, gateway, now=now)
        if payment.status == PaymentStatus.CAPTURED:
            raise AlreadyPaid
        if payment.is_live and truth.status == PaymentStatus.CAPTURED:
            raise PaymentInDoubt  # not what we asked for, so settle took it for a break
        if payment.is_live:
            if saves_method is not None and not gateway.has_fixed_terms and not _agrees(truth, payment):
                truth = _revise(payment, truth, gateway)
            return CheckoutSession(payment, truth, gateway.publishable_key)
    raise ProviderUnavailable


def submit(payment: Payment, gateway: Gateway, *, now: datetime) -> tuple[Payment, ProviderPayment]:
    """Have a live payment at the provider, made or found there, and settle it. Raises ProviderUnavailable."""
    try:
        truth = _at_provider(payment, gateway)
    except (Unavailable, OutcomeUnknown) as error:
        if isinstance(error, OutcomeUnknown):
            _mark(payment, PaymentStatus.UNKNOWN)
        raise ProviderUnavailable from error
    except (Rejected, Declined) as error:
        if not payment.provider_ref:
            _mark(
                payment,
                PaymentStatus.FAILED,
                failure_code=str(error.details.get("provider_code", ""))[:64],
            )
        raise ProviderUnavailable from error
    payment = settle.record(payment.pk, truth, now=now)
    if truth.awaits_capture:  # the customer has agreed already
        payment = settle.settle(payment.pk)
    return payment, truth


def _agrees(truth: ProviderPayment, payment: Payment) -> bool:
    """Whether the provider keeps the card as we say, and for the same person."""
    if not payment.saves_method:
        return not truth.keeps_method
    return truth.keeps_method and truth.customer_ref == known_customer_ref(
        payment.user_id, provider=payment.provider
    )


def _revise(payment: Payment, truth: ProviderPayment, gateway: Gateway) -> ProviderPayment:
    """Tell the provider whose payment it is now and whether the card is kept; our row says so already."""
    try:
        customer_ref = customer_ref_of(payment.user, provider=payment.provider, gateway=gateway)
        return gateway.revise_payment(truth.ref, customer_ref=customer_ref, keep_method=payment.saves_method)
    except ProviderError as error:
        raise ProviderUnavailable from error


def withdraw(payment: Payment) -> Payment:
    """See to it that nobody can pay a live payment any more, and return it as it is then: cancelled, or paid if that was faster.

    Raises Unavailable, OutcomeUnknown.
    """
    if payment.provider_ref is None:  # nobody was given what it takes to pay it
        _mark(payment, PaymentStatus.CANCELLED)
        payment.refresh_from_db()
        return payment
    truth = gateway_for(payment.provider).cancel_payment(payment.provider_ref)
    return settle.record(payment.pk, truth, now=timezone.now())


def _withdraw_others(booking: Booking, provider: str, gateway: Gateway, **wish: Any) -> None:
    """Withdraw the live payment at another provider, for something else than is due now, or on terms that are not wished for any more.

    A provider who does not answer is asked again by a job and does not stop the customer.
    """
    other = booking.payments.filter(status__in=LIVE_STATUSES).first()
    due = due_for(booking)
    is_wanted = due is None or (other is not None and other.amendment_id == due.amendment_id)
    if other is None or (
        other.provider == provider
        and is_wanted
        and not _is_somebody_elses(other, user=wish["user"], saves_method=wish["saves_method"])
        and not (gateway.has_fixed_terms and _has_other_terms(other, **wish))
    ):
        return
    if other.provider_ref and other.status in (PaymentStatus.PROCESSING, PaymentStatus.UNKNOWN):
        raise PaymentInDoubt
    try:
        other = withdraw(other)
    except (Unavailable, OutcomeUnknown):
        with transaction.atomic():
            Payment.objects.filter(pk=other.pk, status=PaymentStatus.REQUIRES_ACTION).update(
                status=PaymentStatus.CANCELLED
            )
            jobs.defer("payments.withdraw_payment", payment_id=str(other.pk))
        return
    if other.is_live:
        raise PaymentInDoubt


def _has_other_terms(
    payment: Payment, *, user: Any, saves_method: bool | None, method: StoredMethod | None
) -> bool:
    if (method is None) != (payment.stored_method_id is None):
        return True
    if saves_method is not None and saves_method != payment.saves_method:
        return True
    return payment.saves_method and user is not None and payment.user_id != user.pk


def _is_somebody_elses(payment: Payment, *, user: Any, saves_method: bool | None) -> bool:
    """Whether handing the payment to this person could save one person's method for another.

    One that saves a method is handed to nobody but its user, and one that others were handed never begins to save.
    """
    is_own = payment.user_id == getattr(user, "pk", None)
    return (payment.saves_method and not is_own) or (bool(saves_method) and (payment.is_shared or not is_own))


def _intend(
    booking_id: Any,
    *,
    provider: str,
    user: Any,
    saves_method: bool | None,
    method: StoredMethod | None,
    address: str,
    now: datetime,
) -> Payment:
    """Commit that we are about to ask the provider, before asking. Locks the booking."""
    with transaction.atomic():
        booking = lock_booking(booking_id)
        free = booking.status == Booking.Status.HELD and booking.total_minor == 0
        if free:
            confirm(booking, now=now)
        else:
            payment = _live_payment(
                booking,
                provider=provider,
                user=user,
                saves_method=saves_method,
                method=method,
                address=address,
                now=now,
            )
    if free:
        raise AlreadyPaid(_("There is nothing to pay: the booking is confirmed."))
    return payment


def _live_payment(
    booking: Booking,
    *,
    provider: str,
    user: Any,
    saves_method: bool | None,
    method: StoredMethod | None,
    address: str,
    now: datetime,
) -> Payment:
    due = due_for(booking)
    if due is None:
        paid = booking.status in (
            Booking.Status.CONFIRMED,
            Booking.Status.ARRIVED,
            Booking.Status.COMPLETED,
        )
        if paid and not booking.total_minor:
            raise AlreadyPaid(_("There is nothing to pay: the booking is confirmed."))
        raise AlreadyPaid if paid or _was_paid(booking, None) else HoldExpired
    if _was_paid(booking, due.amendment_id):
        raise AlreadyPaid
    if due.expires_at <= now:
        raise ChangeExpired if due.amendment else HoldExpired
    payment = booking.payments.filter(status__in=LIVE_STATUSES).first()
    if payment is not None and (payment.provider, payment.amendment_id) != (provider, due.amendment_id):
        raise PaymentChanged
    if payment is not None and _is_somebody_elses(payment, user=user, saves_method=saves_method):
        raise PaymentChanged
    if payment is None:
        payment = Payment(
            booking=booking,
            user=user if getattr(user, "pk", None) else booking.user,
            is_shared=not getattr(user, "pk", None),  # whoever has the guest link
            provider=provider,
            amendment=due.amendment,
            amount_minor=due.amount.amount_minor,
            currency=due.amount.currency,
            saves_method=bool(saves_method),
            stored_method=method,
            address_key=declines.key_of("address", address),
        )
        payment.idempotency_key = str(payment.pk)
        payment.save(force_insert=True)
        payment.status, payment.submitted_at = PaymentStatus.SUBMITTED, now
        payment.save(update_fields=["status", "submitted_at"])
    else:
        payment.is_shared = payment.is_shared or payment.user_id != getattr(user, "pk", None)
        if saves_method is not None:
            payment.saves_method = saves_method
        payment.address_key = declines.key_of("address", address) or payment.address_key
        payment.save(update_fields=["saves_method", "is_shared", "address_key"])
    return payment


def _was_paid(booking: Booking, amendment_id: Any) -> bool:
    return booking.payments.filter(status=PaymentStatus.CAPTURED, amendment_id=amendment_id).exists()


def _at_provider(payment: Payment, gateway: Gateway) -> ProviderPayment:
    """Return the provider's payment: the known one, else one found by our id, else a new one under our key."""
    if payment.provider_ref:
        return gateway.fetch_payment(payment.provider_ref)
    customer_ref = customer_ref_of(payment.user, provider=payment.provider, gateway=gateway)
    if payment.status == PaymentStatus.UNKNOWN and payment.submitted_at:
        found = gateway.find_payment(str(payment.pk), since=payment.submitted_at)
        if found:
            return found
        # The old key would bring the lost answer back for a day. A new one is safe: nobody was given the secret of what the
        # old call may still have made, so nobody can pay it.
        _renew_key(payment)
    try:
        return gateway.create_payment(payment, customer_ref=customer_ref)
    except Missing:
        if not customer_ref:
            raise
    # Somebody deleted the customer at the provider. A refused key keeps its refusal, so it gets a new one as well.
    forget_customer(customer_ref, provider=payment.provider)
    _renew_key(payment)
    customer_ref = customer_ref_of(payment.user, provider=payment.provider, gateway=gateway)
    return gateway.create_payment(payment, customer_ref=customer_ref)


def _renew_key(payment: Payment) -> None:
    payment.idempotency_key = f"{payment.pk}:{secrets.token_hex(8)}"
    Payment.objects.filter(pk=payment.pk).update(idempotency_key=payment.idempotency_key)


def _mark(payment: Payment, status: PaymentStatus, **fields: str) -> None:
    """Note what became of our own call. A settle that was faster wins."""
    Payment.objects.filter(
        pk=payment.pk, provider_ref__isnull=True, status__in=[PaymentStatus.SUBMITTED, PaymentStatus.UNKNOWN]
    ).update(status=status, **fields)
