"""The providers, each behind the same verbs."""

from __future__ import annotations

from payments.gateways.base import Gateway, Rejected


def gateway_for(provider: str) -> Gateway:
    """Return the gateway of a provider ("stripe"). Raises Rejected for one that is not built in."""
    from payments.gateways.stripe import StripeGateway

    if provider == "stripe":
        return StripeGateway()
    raise Rejected(f"There is no payment provider called {provider[:32]!r}.")
