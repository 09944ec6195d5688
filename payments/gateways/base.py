"""What a provider can be asked, what it answers, and how it can fail. No provider's words here."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from django.conf import settings
from django.db import connection
from django.utils.translation import gettext_lazy as _

from foundation.errors import DomainError
from foundation.money import Money
from payments.gateways.statement import Statement

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


class Missing(Rejected):
    """The provider does not have what the request names, such as a customer that somebody deleted there."""


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
class ProviderMethod:
    """A way of paying that the provider keeps for a customer: its token and what names it, never the card.

    `exp_month` and `exp_year` are None where nothing expires.
    """

    ref: str
    customer_ref: str
    label: str
    brand: str = ""
    last4: str = ""
    exp_month: int | None = None
    exp_year: int | None = None


@dataclass(frozen=True)
class ProviderSetup:
    """A customer's saving of a method, under way or done. `method` is there once it succeeded and while the provider keeps it.

    `decline_ref` names the last try that a bank declined, `card_fingerprint` its card: the same for the same card, and no number.
    `approve_url` is where the customer agrees, when that is a page of the provider's. `is_agreed`: the customer did, and the method is
    kept once complete_setup is called.
    """

    ref: str
    customer_ref: str
    client_secret: str
    has_succeeded: bool
    method: ProviderMethod | None = None
    approve_url: str = ""
    is_agreed: bool = False


@dataclass(frozen=True)
class DisputeMove:
    """Money that a dispute moved: `amount_minor` is negative when the bank took it; the fee is what the provider charged on top."""

    ref: str
    amount_minor: int
    fee_minor: int
    currency: str


@dataclass(frozen=True)
class ProviderDispute:
    """A dispute as the provider has it; `status` is one of DisputeStatus. Amounts in minor units.

    `updated_at` is when it last changed there, where the provider says so: of two looks the older one is then known.
    """

    ref: str
    status: str
    amount_minor: int
    currency: str
    reason: str
    opened_at: datetime
    due_by: datetime | None
    moves: tuple[DisputeMove, ...] = ()
    updated_at: datetime | None = None


@dataclass(frozen=True)
class Evidence:
    """What we send to the bank: our words and when they were said, the facts of the booking, and two PDFs (`receipt` may be empty)."""

    text: str
    said_at: datetime
    customer_name: str
    customer_email: str
    product: str
    service_on: str
    policy: str
    pack: bytes
    receipt: bytes


@dataclass(frozen=True)
class ProviderPayment:
    """A payment as the provider has it; `status` in our words. Amounts in minor units.

    `bank_asks`: the bank's question (3-D Secure) is open now. `needs_customer`: it is, or the payment failed for want of it.
    `keeps_method`: the provider will keep the method for the customer once it is paid; `kept_method` is then what it keeps.
    `approve_url` is where the customer agrees to pay, when that is a page of the provider's. `is_untaken`: nothing was taken, and nothing
    will be but by a call of ours. `awaits_capture`: so it is, and the customer has agreed.
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
    is_untaken: bool = False
    method_label: str = ""
    failure_code: str = ""
    failure_message: str = ""
    fee_minor: int = 0
    fee_currency: str = ""
    refunds: tuple[ProviderRefund, ...] = ()
    customer_ref: str = ""
    bank_asks: bool = False
    needs_customer: bool = False
    keeps_method: bool = False
    kept_method: ProviderMethod | None = None
    disputes: tuple[ProviderDispute, ...] = ()
    decline_ref: str = ""
    card_fingerprint: str = ""


class Gateway(Protocol):
    """A payment provider. Where its abilities differ, it says so here, and nobody else asks which provider it is."""

    resend_window_hours: int
    publishable_key: str
    # A payment stays as it was born: who keeps its method, and whether a saved method pays it. Another wish needs another payment. It cannot
    # be cancelled there either, only never taken; so what is about to be taken is noted first.
    has_fixed_terms: bool
    # Whether customers enter card numbers there on our page, so that somebody could try out stolen ones.
    takes_cards: bool

    @property
    def is_configured(self) -> bool:
        """Whether we have its keys."""

    def takes(self, amount: Money) -> bool:
        """Say whether the provider is configured and can take exactly this amount."""

    def can_move(self, amount: Money) -> bool:
        """Say whether the provider's own decimals can name exactly this amount, to take it or to give it back."""

    def create_payment(self, payment: Any, *, customer_ref: str) -> ProviderPayment:
        """Make the payment there. Takes nothing, whoever pays and however: an answer that is lost costs nobody money."""

    def find_payment(self, payment_id: str, *, since: datetime) -> ProviderPayment | None: ...

    def fetch_payment(self, ref: str, *, with_disputes: bool = False) -> ProviderPayment:
        """Return the payment as it is now. Raises Gone, Unavailable, Rejected.

        with_disputes: there is a reason to ask for them, where the provider's payment itself does not tell of any.
        """

    def capture_payment(self, payment: Any) -> ProviderPayment:
        """Take what the customer agreed to (`awaits_capture`), under a key of its own: a repeat takes nothing more. Raises Declined."""

    def revise_payment(self, ref: str, *, customer_ref: str, keep_method: bool) -> ProviderPayment:
        """Change whose payment it is and whether the method is kept. Raises Rejected where terms are fixed."""

    def charge_method(self, ref: str, method_ref: str, *, is_off_session: bool) -> None:
        """Pay with a saved method, once, whatever is repeated. Look at the payment afterwards, however this ends: the provider may want
        the customer. Raises Declined, Rejected, OutcomeUnknown."""

    def cancel_payment(self, ref: str) -> ProviderPayment:
        """See to it that nobody can pay it any more, and return it as it is after that: paid, if that was faster."""

    def refund(self, refund: Any) -> ProviderRefund: ...
    def find_refund(self, payment_ref: str, refund_id: str) -> ProviderRefund | None: ...

    def create_customer(self, user: Any) -> str:
        """Return the provider's reference for our user; "" where the provider makes one with the first method that is saved."""

    def delete_customer(self, ref: str) -> None:
        """Make the provider forget a customer. One that is gone already is no error. Raises Unavailable, OutcomeUnknown, Rejected."""

    def create_setup(self, customer_ref: str) -> ProviderSetup: ...
    def fetch_setup(self, ref: str) -> ProviderSetup | None: ...

    def complete_setup(self, setup: ProviderSetup) -> ProviderSetup:
        """Have the provider keep what the customer agreed to (`is_agreed`), under a key of its own: a repeat keeps nothing more."""

    def fetch_method(self, ref: str) -> ProviderMethod | None: ...
    def detach_method(self, ref: str) -> None: ...
    def answer_dispute(self, ref: str, evidence: Evidence) -> None:
        """Send evidence, once: what the provider has of it already is not sent again. Raises Rejected, OutcomeUnknown, Unavailable."""

    def accept_dispute(self, ref: str, *, reason: str) -> None:
        """Give in: the customer keeps the money. Look at the dispute afterwards. Raises Rejected, OutcomeUnknown, Unavailable."""

    def disputed_payments(self, *, since: datetime) -> list[str]:
        """Return the references of the payments that were disputed since then; what is no payment of ours is among them."""

    # Reconciliation

    listed_within: timedelta
    """How long what happened may be missing from statement()."""

    def statement(self, *, since: datetime, until: datetime) -> Statement:
        """Return everything that the account shows between two instants, and its balances. Raises Unavailable, Rejected."""

    def dashboard_url(self, ref: str) -> str:
        """Return where staff see the payment at the provider; "" where it has no such page."""

    def refund_stray(self, object_ref: str, amount: Money, *, key: str) -> ProviderRefund:
        """Send a charge that is not in our books back, under a key of its own. Raises OutcomeUnknown, Unavailable, Rejected, Declined."""

    def find_stray_refund(self, object_ref: str, *, key: str) -> ProviderRefund | None:
        """Look for the refund that was sent under a key. None: the provider does not list it. Raises Unavailable, Rejected."""
