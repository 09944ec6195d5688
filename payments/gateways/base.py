"""What a provider can be asked, what it answers, and how it can fail. No provider's words here."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from django.conf import settings
from django.db import connection
from django.utils.translation import gettext_lazy as _

from foundation.errors import DomainError
from foundation.money import Money

_calls_under_way = threading.BoundedSemaphore(settings.PROVIDER_CALLS_AT_ONCE)
LONGEST_WAIT_SECONDS = 1.0  # for one of those places


@contextmanager
def provider_call() -> Iterator[None]:
    """Stand around every call to a provider: no transaction is open, and a slow provider cannot stop the whole site.

    The pooled database connection goes back while the provider thinks, and of this process's threads only
    PROVIDER_CALLS_AT_ONCE may wait for providers; the next one is told Unavailable. Raises RuntimeError inside a transaction.
    """
    if connection.in_atomic_block:
        raise RuntimeError("A provider was called inside a transaction. Commit the intent first.")
    if connection.settings_dict["OPTIONS"].get("pool"):
        connection.close()
    if not _calls_under_way.acquire(timeout=LONGEST_WAIT_SECONDS):
        raise Unavailable
    try:
        yield
    finally:
        _calls_under_way.release()


class ProviderError(DomainError):
    code = "provider_error"
    message = _("The payment provider could not do that.")


class Declined(ProviderError):
    """An outcome: the bank said no."""

    code = "declined"
    message = _("The bank declined the payment.")


class Rejected(ProviderError):
    """Our fault: the provider refuses the request as it is. Repeating it is useless."""

    code = "provider_rejected"


class Gone(Rejected):
    """The provider knows no such payment any more, so nobody can pay with it."""


class Unavailable(ProviderError):
    """Nothing was done. Try again later."""

    code = "provider_unavailable"
    message = _(
        "The payment provider does not answer just now. Nothing was taken. Please try again in a minute."
    )


class OutcomeUnknown(ProviderError):
    """It may have been done. Look before any repeat."""

    code = "provider_unavailable"
    message = _("The payment provider did not answer in time. We are checking; please try again in a minute.")


@dataclass(frozen=True)
class ProviderRefund:
    """A refund as the provider has it; `status` is one of pending, succeeded, failed."""

    ref: str
    amount_minor: int
    currency: str
    status: str
    our_id: str
    failure_code: str


@dataclass(frozen=True)
class ProviderPayment:
    """A payment as the provider has it; `status` in our words. Amounts in minor units.

    `approve_url` is where the customer agrees to pay, when that is a page of the provider's. `awaits_capture`: the customer agreed,
    and nothing is taken before capture_payment is called.
    """

    ref: str
    status: str
    amount_minor: int
    currency: str
    captured_minor: int
    our_id: str
    client_secret: str = ""
    approve_url: str = ""
    awaits_capture: bool = False
    method_label: str = ""
    failure_code: str = ""
    failure_message: str = ""
    fee_minor: int = 0
    fee_currency: str = ""
    refunds: tuple[ProviderRefund, ...] = ()


class Gateway(Protocol):
    """A payment provider. Where its abilities differ, it says so here, and nobody else asks which provider it is."""

    resend_window_hours: int
    publishable_key: str

    def takes(self, amount: Money) -> bool:
        """Say whether the provider is configured and can take exactly this amount."""

    def create_payment(self, payment: Any, *, customer_ref: str) -> ProviderPayment: ...
    def find_payment(self, payment_id: str, *, since: datetime) -> ProviderPayment | None: ...

    def fetch_payment(self, ref: str) -> ProviderPayment:
        """Return the payment as it is now. Raises Gone, Unavailable, Rejected."""

    def capture_payment(self, payment: Any) -> ProviderPayment:
        """Take what the customer agreed to (`awaits_capture`), under a key of its own: a repeat takes nothing more. Raises Declined."""

    def cancel_payment(self, ref: str) -> ProviderPayment:
        """See to it that nobody can pay it any more, and return it as it is after that: paid, if that was faster."""

    def refund(self, refund: Any) -> ProviderRefund: ...
    def find_refund(self, payment_ref: str, refund_id: str) -> ProviderRefund | None: ...

    def create_customer(self, user: Any) -> str:
        """Return the provider's reference for our user; "" where the provider keeps none."""
