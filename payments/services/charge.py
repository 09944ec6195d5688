"""Charging a saved method: with the customer at the page, or in the customer's absence."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from bookings.models import Booking
from bookings.services.amend import could_apply
from bookings.services.confirm import could_confirm, lock_booking
from foundation.errors import DomainError
from payments.gateways import gateway_for
from payments.gateways.base import Declined, OutcomeUnknown, ProviderPayment, Rejected, Unavailable
from payments.models import Payment, PaymentStatus, StoredMethod, StoredMethodStatus
from payments.services import checkout, methods, settle
from payments.services.customers import customer_ref_of


class MethodDeclined(DomainError):
    code = "declined"
    message = _("The payment was declined. Nothing was taken. Pay with something else, or ask your bank.")


class PaymentOver(DomainError):
    code = "payment_over"
    message = _("This payment can no longer be made. Nothing was taken.")


def pay_with_saved(
    booking: Booking, *, method: StoredMethod, address: str = "", now: datetime
) -> checkout.CheckoutSession:
    """Pay a held booking with one of the customer's saved methods, the customer being there.

    Returns the session with the payment as it then stands: captured, processing, or requires_action with the question of the bank or
    the provider open for the customer to answer. Raises what checkout.start raises, MethodDeclined, MethodRemoved, PaymentOver.
    """
    session = checkout.start(
        booking, provider=method.provider, user=method.user, method=method, address=address, now=now
    )
    return _charge(session.payment, session.truth, method, is_off_session=False, now=now)


def charge_saved_method(payment: Payment, *, method: StoredMethod, now: datetime) -> Payment:
    """Take a live payment from a saved method in the customer's absence, and return it as it then stands.

    Where the bank wants the customer, the payment requires_action and the same commit queues the e-mail with the link to the payment page.
    Raises MethodDeclined, MethodRemoved, PaymentOver, ProviderUnavailable (the outcome may be unknown: the janitor finds it).
    """
    gateway = gateway_for(payment.provider)
    if payment.provider_ref is None:  # so that it is born as one which a saved method pays
        payment = _intend(payment.pk, method, is_off_session=True, takes=False)
    payment, truth = checkout.submit(payment, gateway, now=now)
    return _charge(payment, truth, method, is_off_session=True, now=now).payment


def _charge(
    payment: Payment, truth: ProviderPayment, method: StoredMethod, *, is_off_session: bool, now: datetime
) -> checkout.CheckoutSession:
    gateway = gateway_for(payment.provider)
    payment = _intend(payment.pk, method, is_off_session=is_off_session, takes=gateway.has_fixed_terms)
    problem: DomainError | None = None
    try:
        if not gateway.has_fixed_terms:
            customer_ref = customer_ref_of(method.user, provider=method.provider, gateway=gateway)
            if truth.customer_ref != customer_ref:
                gateway.revise_payment(truth.ref, customer_ref=customer_ref, keep_method=payment.saves_method)
        gateway.charge_method(truth.ref, method.provider_ref, is_off_session=is_off_session)
    except Declined as error:
        problem = MethodDeclined(declineCode=str(error.details.get("provider_code", "")))
    except Rejected as error:
        # The method is gone there, or somebody was faster with this payment: the looks below tell.
        methods.look_again(method.provider, method.provider_ref, now=now)
        problem = error
    except (OutcomeUnknown, Unavailable) as error:
        if isinstance(error, OutcomeUnknown):
            Payment.objects.filter(
                pk=payment.pk, status__in=[PaymentStatus.REQUIRES_ACTION, PaymentStatus.PROCESSING]
            ).update(status=PaymentStatus.UNKNOWN)
        problem = checkout.ProviderUnavailable(error.message)
    if not isinstance(problem, checkout.ProviderUnavailable):  # the answer is here: nobody takes it any more
        Payment.objects.filter(pk=payment.pk).update(taking_since=None)
    try:
        truth = gateway.fetch_payment(truth.ref)
    except (Unavailable, Rejected) as error:
        # A decline is an answer. Otherwise nobody knows, and the customer must not be told that nothing was taken.
        if isinstance(problem, MethodDeclined):
            raise problem from error
        raise checkout.ProviderUnavailable(OutcomeUnknown.message) from error
    payment = settle.record(payment.pk, truth, now=now)
    if payment.is_live and truth.status == PaymentStatus.CAPTURED:
        raise checkout.PaymentInDoubt  # not what we asked for, so settle took it for a break
    asks = truth.bank_asks or (is_off_session and truth.needs_customer)
    if payment.status in (PaymentStatus.CAPTURED, PaymentStatus.PROCESSING) or asks:
        return checkout.CheckoutSession(payment, truth, gateway.publishable_key)
    if isinstance(problem, Rejected):
        method.refresh_from_db()
        if method.status != StoredMethodStatus.ACTIVE:
            raise methods.MethodRemoved
        raise checkout.ProviderUnavailable from problem
    if isinstance(problem, MethodDeclined) and truth.is_untaken:  # the provider's payment does not tell of it
        Payment.objects.filter(pk=payment.pk).update(failure_code=problem.details["declineCode"][:64])
    raise problem or MethodDeclined(declineCode=payment.failure_code)


def _intend(payment_id: Any, method: StoredMethod, *, is_off_session: bool, takes: bool) -> Payment:
    """Commit which method is about to be charged, before the provider is asked; `takes`: and that the money is taken only now, so not
    for a booking that cannot be given. Locks the booking, then the payment."""
    with transaction.atomic():
        booking = lock_booking(Payment.objects.values_list("booking_id", flat=True).get(pk=payment_id))
        payment = Payment.objects.select_for_update().get(pk=payment_id)
        if payment.status == PaymentStatus.CAPTURED:
            raise checkout.AlreadyPaid
        if not payment.is_live:
            raise PaymentOver
        methods.own_method(method.user, method.pk)
        payment.user_id = method.user_id
        payment.stored_method, payment.is_off_session = method, is_off_session
        if takes:
            now = timezone.now()
            wanted = (
                could_confirm(booking, now=now)
                if payment.amendment is None
                else could_apply(payment.amendment, booking, now=now)
            )
            if not wanted:
                raise PaymentOver
            payment.status, payment.taking_since = PaymentStatus.PROCESSING, timezone.now()
        payment.save(update_fields=["user", "stored_method", "is_off_session", "status", "taking_since"])
    return payment
