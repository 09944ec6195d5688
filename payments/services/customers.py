"""Which customer at a provider stands for one of our users."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction

from payments.gateways.base import Gateway
from payments.models import ProviderCustomer


def customer_ref_of(user: Any, *, provider: str, gateway: Gateway) -> str:
    """Return the provider's customer for a user, made there when it is missing. Raises ProviderError.

    "" without a user, and where the provider makes one with the first method that is saved.
    """
    if user is None:
        return ""
    known = known_customer_ref(user.pk, provider=provider)
    if known:
        return known
    ref = gateway.create_customer(user)
    return adopt_customer(user, ref, provider=provider) if ref else ""


def adopt_customer(user: Any, customer_ref: str, *, provider: str) -> str:
    """Note the customer that the provider made for a user, and return the one that stands for the user: an earlier one stays.

    "" for a customer that stands for somebody else.
    """
    try:
        with transaction.atomic():
            row, _created = ProviderCustomer.objects.get_or_create(
                user=user, provider=provider, defaults={"provider_ref": customer_ref}
            )
    except IntegrityError:
        return ""
    return row.provider_ref


def known_customer_ref(user_id: Any, *, provider: str) -> str:
    """Return the provider's customer for a user, or "" when there is none yet. Calls nobody."""
    refs = ProviderCustomer.objects.filter(user_id=user_id, provider=provider)
    return refs.values_list("provider_ref", flat=True).first() or ""


def forget_customer(customer_ref: str, *, provider: str) -> None:
    """Forget a customer that somebody deleted at the provider; the next use makes a new one."""
    ProviderCustomer.objects.filter(provider=provider, provider_ref=customer_ref).delete()
