"""Saved payment methods: kept only with the provider's word, gone for the customer at once, detached until the provider says so."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from foundation.errors import DomainError, NotFound
from foundation.transitions import change_status
from payments.gateways import gateway_for
from payments.gateways.base import Missing, ProviderError, ProviderMethod
from payments.models import STORED_METHOD_TRANSITIONS, ProviderCustomer, StoredMethod, StoredMethodStatus
from payments.services import declines
from payments.services.customers import (
    adopt_customer,
    customer_ref_of,
    forget_customer,
    known_customer_ref,
)

logger = logging.getLogger(__name__)


class SetupUnfinished(DomainError):
    code = "setup_unfinished"
    message = _("It is not saved yet: finish the steps of your bank or of PayPal, or begin again.")


class MethodRemoved(DomainError):
    code = "method_removed"
    message = _("This payment method was removed. Add it again to use it.")


class TooManyMethods(DomainError):
    code = "too_many_methods"
    message = _("That is as many saved payment methods as we keep. Remove one first.")


MOST_PER_USER = 20


@dataclass(frozen=True)
class SetupSession:
    """What the customer's browser or app needs to enter a card that is to be saved, or to agree at `approve_url`."""

    provider: str
    setup_ref: str
    client_secret: str
    publishable_key: str
    approve_url: str = ""


def begin_setup(user: Any, *, provider: str = "stripe", address: str = "") -> SetupSession:
    """Ask the provider for a place where the customer may enter a card or agree; nothing is saved or charged.

    Raises TooManyMethods, TooManyDeclines (of this user or from this address), Unavailable, OutcomeUnknown, Rejected.
    """
    if StoredMethod.objects.filter(user=user, status=StoredMethodStatus.ACTIVE).count() >= MOST_PER_USER:
        raise TooManyMethods
    gateway = gateway_for(provider)
    if gateway.takes_cards:
        keys = {declines.key_of("account", f"user:{user.pk}"), declines.key_of("address", address)}
        declines.refuse_keys(keys, now=timezone.now())
    customer_ref = customer_ref_of(user, provider=provider, gateway=gateway)
    try:
        setup = gateway.create_setup(customer_ref)
    except Missing:  # somebody deleted the customer there
        forget_customer(customer_ref, provider=provider)
        setup = gateway.create_setup(customer_ref_of(user, provider=provider, gateway=gateway))
    if not customer_ref:  # the provider has just made a customer, unless another tab was faster
        customer_ref = adopt_customer(user, setup.customer_ref, provider=provider)
        if customer_ref != setup.customer_ref:
            setup = gateway.create_setup(customer_ref)
    return SetupSession(provider, setup.ref, setup.client_secret, gateway.publishable_key, setup.approve_url)


def save_method(user: Any, *, setup_ref: str, provider: str = "stripe") -> StoredMethod:
    """Store the method that the provider says this very customer has saved. A repeat returns the same row.

    Raises NotFound (unknown, or another customer's), SetupUnfinished, MethodRemoved, Unavailable, OutcomeUnknown (a repeat looks first).
    """
    gateway = gateway_for(provider)
    setup = gateway.fetch_setup(setup_ref)
    own = known_customer_ref(user.pk, provider=provider)
    if setup is None or not own or setup.customer_ref != own:
        raise NotFound(_("There is no such payment method being saved here."))
    if setup.is_agreed:
        setup = gateway.complete_setup(setup)
    if not setup.has_succeeded:
        raise SetupUnfinished
    stored = keep(user, provider=provider, method=setup.method) if setup.method else None
    if stored is None or stored.status != StoredMethodStatus.ACTIVE:
        raise MethodRemoved
    return stored


def keep(user: Any, *, provider: str, method: ProviderMethod, paid_with: bool = False) -> StoredMethod | None:
    """Store a method that the provider keeps, once; a removed one stays removed. None when it is not this user's there.

    paid_with: a payment that we made for this user saved it, so a customer that the provider made with it stands for the user.
    The first becomes the default. Locks the user.
    """
    with transaction.atomic():
        _lock_user(user.pk)
        own = known_customer_ref(user.pk, provider=provider)
        if paid_with and not own and method.customer_ref:
            own = adopt_customer(user, method.customer_ref, provider=provider)
        known = StoredMethod.objects.filter(provider=provider, provider_ref=method.ref).first()
        if method.customer_ref != own or (known is not None and known.user_id != user.pk):
            logger.warning("a method at %s is not that of the user who should have saved it", provider)
            return None
        if known is not None:
            return known
        return StoredMethod.objects.create(
            user_id=user.pk,
            provider=provider,
            provider_ref=method.ref,
            is_default=not StoredMethod.objects.filter(user_id=user.pk, is_default=True).exists(),
            **_shown(method),
        )


def own_method(user: Any, method_id: Any) -> StoredMethod:
    """Return a method that this user may pay with. Raises NotFound for what is removed or somebody else's."""
    method = StoredMethod.objects.filter(
        pk=method_id, user_id=user.pk, status=StoredMethodStatus.ACTIVE
    ).first()
    if method is None:
        raise NotFound(_("There is no such saved payment method here."))
    return method


def make_default(user: Any, method_id: Any) -> StoredMethod:
    """Make this the method that is offered first. Locks the user. Raises NotFound."""
    with transaction.atomic():
        _lock_user(user.pk)
        method = own_method(user, method_id)
        if not method.is_default:
            StoredMethod.objects.filter(user_id=user.pk, is_default=True).update(is_default=False)
            method.is_default = True
            method.save(update_fields=["is_default"])
    return method


def remove(user: Any, method_id: Any, *, now: datetime) -> StoredMethod:
    """Take a method from the customer's list at once, and make the provider forget it; the janitor repeats what did not arrive.

    If it was the default, the newest one left becomes it. Locks the user. Raises NotFound, also for the second removal.
    """
    with transaction.atomic():
        _lock_user(user.pk)
        method = own_method(user, method_id)
        _end(method, StoredMethodStatus.REMOVING, now=now)
    return finish_removal(method.pk)


def finish_removal(method_id: Any) -> StoredMethod:
    """Make the provider forget a method that is being removed. Stays "removing" while nobody knows that it did."""
    method = StoredMethod.objects.get(pk=method_id)
    if method.status != StoredMethodStatus.REMOVING:
        return method
    try:
        gateway_for(method.provider).detach_method(method.provider_ref)
    except ProviderError as error:
        logger.warning("saved method %s: the provider did not confirm that it is gone: %s", method.pk, error)
        return method
    with transaction.atomic():
        method = StoredMethod.objects.select_for_update().get(pk=method_id)
        change_status(method, StoredMethodStatus.REMOVED, STORED_METHOD_TRANSITIONS)
        method.save(update_fields=["status"])
    return method


def look_again(provider: str, method_ref: str, *, now: datetime, may_be_new: bool = False) -> None:
    """Make our row agree with the provider's method: a renewed card shows its new date, a detached one is gone here too.

    may_be_new: what one of our users saved there, and we have not heard of, is stored.
    """
    is_known = StoredMethod.objects.filter(provider=provider, provider_ref=method_ref).exists()
    if not is_known and not may_be_new:
        return
    truth = gateway_for(provider).fetch_method(method_ref)
    if not is_known:
        if truth is not None:
            _take_over(provider, truth)
        return
    with transaction.atomic():
        owner_id = StoredMethod.objects.values_list("user_id", flat=True).get(
            provider=provider, provider_ref=method_ref
        )
        _lock_user(owner_id)
        method = StoredMethod.objects.select_for_update().get(provider=provider, provider_ref=method_ref)
        if truth is None:
            if method.status == StoredMethodStatus.ACTIVE:
                _end(method, StoredMethodStatus.REMOVED, now=now)
            elif method.status == StoredMethodStatus.REMOVING:
                change_status(method, StoredMethodStatus.REMOVED, STORED_METHOD_TRANSITIONS)
                method.save(update_fields=["status"])
        elif method.status == StoredMethodStatus.ACTIVE:
            StoredMethod.objects.filter(pk=method.pk).update(**_shown(truth))


def take_over_setup(provider: str, setup_ref: str) -> None:
    """Store what a customer saved at the provider and never came back from, such as with the tab closed."""
    setup = gateway_for(provider).fetch_setup(setup_ref)
    if setup is not None and setup.has_succeeded and setup.method is not None:
        _take_over(provider, setup.method)


def _take_over(provider: str, method: ProviderMethod) -> None:
    owner = (
        ProviderCustomer.objects.select_related("user")
        .filter(provider=provider, provider_ref=method.customer_ref)
        .first()
    )
    if owner is not None:
        keep(owner.user, provider=provider, method=method)


def _end(method: StoredMethod, status: StoredMethodStatus, *, now: datetime) -> None:
    """Nobody pays with it from now on. The user must be locked."""
    was_default = method.is_default
    change_status(method, status, STORED_METHOD_TRANSITIONS)
    method.removed_at, method.is_default = now, False
    method.save(update_fields=["status", "removed_at", "is_default"])
    if was_default:
        left = StoredMethod.objects.filter(user_id=method.user_id, status=StoredMethodStatus.ACTIVE)
        following = left.order_by("-created_at").first()
        if following is not None:
            following.is_default = True
            following.save(update_fields=["is_default"])


def _lock_user(user_id: Any) -> None:
    # Not the key: rows that only name the user (bookings, messages) need not wait.
    get_user_model().objects.select_for_update(no_key=True).get(pk=user_id)


def _shown(method: ProviderMethod) -> dict[str, Any]:
    return {
        "brand": method.brand[:32],
        "last4": method.last4,
        "exp_month": method.exp_month,
        "exp_year": method.exp_year,
        "label": method.label[:64],
    }
