"""The providers, each behind the same verbs."""

from __future__ import annotations

from foundation import features
from foundation.money import Money
from payments.gateways.base import Gateway, Rejected
from payments.models import Provider


def gateway_for(provider: str) -> Gateway:
    """Return the gateway of a provider ("stripe", "paypal"). Raises Rejected for one that is not built in."""
    from payments.gateways.paypal import PayPalGateway
    from payments.gateways.stripe import StripeGateway

    gateways: dict[str, type[Gateway]] = {Provider.STRIPE: StripeGateway, Provider.PAYPAL: PayPalGateway}
    if provider not in gateways:
        raise Rejected(f"There is no payment provider called {provider[:32]!r}.")
    return gateways[provider]()


def offered(amount: Money) -> list[str]:
    """Return the providers that a customer may choose from for this amount, the first one first."""
    return [name for name in Provider.values if _is_on(name) and gateway_for(name).takes(amount)]


def savable() -> list[str]:
    """Return the providers with which a customer may save a way of paying."""
    return [name for name in configured() if _is_on(name) and features.is_on("saved_methods")]


def _is_on(name: str) -> bool:
    return name != Provider.PAYPAL or features.is_on("paypal")


def configured() -> list[str]:
    """Return the providers that we have keys for."""
    return [name for name in Provider.values if gateway_for(name).is_configured]
