"""Why money did not reach a customer, in words: providers' codes -> what staff should know, and what the customer may."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy as _


@dataclass(frozen=True)
class Cause:
    """`staff` says what happened and what to do; `customer` says what happened, without our affairs."""

    staff: Any
    customer: Any


_RETURNED = _("Your bank returned it.")
_STOPPED = _("It could not be sent to the card or account that paid.")
_CLOSED = Cause(
    _("The card is closed or expired, so the bank returned the money. Pay the customer another way."),
    _("The card that paid is closed or has expired, so the bank returned the money."),
)
_NO_FUNDS = Cause(
    _("Our balance at the provider was too low. Top it up, then send the refund again."),
    _("It has not been sent yet."),
)
_TOO_MUCH = Cause(
    _(
        "The provider has given this money back already, or has less left than asked for. Compare the payment with the provider's own page."
    ),
    _STOPPED,
)
_DISPUTED = Cause(
    _("The payment is disputed, and the provider sends no refund meanwhile. Wait for the decision."),
    _("The payment is disputed at your bank, which decides about it."),
)
_ACCOUNT = Cause(
    _("The customer's account at the provider is closed or restricted. Pay the customer another way."),
    _("The account that paid is closed or restricted."),
)
_TOO_OLD = Cause(
    _("The payment is too old for a refund at the provider. Pay the customer another way."),
    _STOPPED,
)
CAUSES = {
    "lost_or_stolen_card": Cause(
        _(
            "The card was reported lost or stolen, so the bank returned the money. Pay the customer another way."
        ),
        _("The card that paid was replaced, so the bank returned the money."),
    ),
    "expired_or_canceled_card": _CLOSED,
    "insufficient_funds": _NO_FUNDS,
    "balance_insufficient": _NO_FUNDS,
    "REFUND_FAILED_INSUFFICIENT_FUNDS": _NO_FUNDS,
    "declined": Cause(
        _("The customer's bank refused the money. Try once more, or pay the customer another way."), _RETURNED
    ),
    "merchant_request": Cause(
        _("The refund was cancelled at the provider by somebody of ours. Send it again if it is still due."),
        _("It has not been sent yet."),
    ),
    "charge_already_refunded": _TOO_MUCH,
    "CAPTURE_FULLY_REFUNDED": _TOO_MUCH,
    "REFUND_AMOUNT_EXCEEDED": _TOO_MUCH,
    "CAPTURED_AMOUNT_FULLY_REFUNDED": _TOO_MUCH,
    "charge_disputed": _DISPUTED,
    "charge_for_pending_refund_disputed": _DISPUTED,
    "TRANSACTION_DISPUTED": _DISPUTED,
    "REFUND_NOT_PERMITTED_DUE_TO_CHARGEBACK": _DISPUTED,
    "MAX_NUMBER_OF_REFUNDS_EXCEEDED": Cause(
        _("The provider takes no further refund of this payment. Pay the customer another way."), _STOPPED
    ),
    "PAYER_ACCOUNT_RESTRICTED": _ACCOUNT,
    "PAYER_ACCOUNT_LOCKED_OR_CLOSED": _ACCOUNT,
    "REFUND_TIME_LIMIT_EXCEEDED": _TOO_OLD,
}
UNKNOWN_CAUSE = Cause(
    _(
        "The provider gave no reason that we know. Look at the refund on its own page before you send it again."
    ),
    _STOPPED,
)


def cause_of(failure_code: str) -> Cause:
    """Return what a refund's failure code means."""
    return CAUSES.get(failure_code, UNKNOWN_CAUSE)
