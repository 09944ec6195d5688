"""What can stop a booking, named for the fact."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError
from django.utils.translation import gettext_lazy as _

from foundation.errors import DomainError, InvalidInput


class QuoteExpired(DomainError):
    code = "quote_expired"
    message = _("This price is no longer valid. Ask for a new one.")


class QuoteUsed(DomainError):
    code = "quote_used"
    message = _("This price was already used to hold a space for this car. Ask for a new one.")


class CarParkFull(DomainError):
    code = "car_park_full"
    message = _("The last space for these times has just gone. Choose another car park or other times.")


class CarParkClosed(CarParkFull):
    """A closed car park has no space to sell, whatever its capacity."""

    message = _("This car park is closed for booking. Choose another one.")


class StayIsOver(CarParkFull):
    """The stay is past, so no space can be given for it any more."""

    message = _("The time of this stay is over.")


class NotOnSale(DomainError):
    code = "not_on_sale"
    message = _("This product is not on sale now. Choose another one.")


class PromoCodeUsedUp(InvalidInput):
    """Another booking took the last use."""

    code = "promo_code_used_up"
    message = _("This promo code has been used as often as it can be. Go on without it.")

    def __init__(self, message: Any = None) -> None:
        super().__init__(message or self.message, field="promoCode")


class TooManyHolds(DomainError):
    code = "too_many_holds"
    message = _("You already hold several spaces. Pay for one or let one go before you hold another.")


class NotCancellable(DomainError):
    code = "not_cancellable"
    message = _("This booking can no longer be cancelled.")


class PreviewOutdated(DomainError):
    code = "preview_outdated"
    message = _("The refund you saw is no longer up to date. Look at the new amount and confirm again.")


class NotAmendable(DomainError):
    code = "not_amendable"
    message = _("This booking can no longer be changed.")


class ChangeOutdated(PreviewOutdated):
    message = _("The change you saw is no longer up to date. Look at the new price and confirm again.")


class AmbiguousTime(InvalidInput):
    """The clock shows this local time twice; `details["readings"]` has both, ISO 8601 with offset."""

    code = "ambiguous_time"


class ImpossibleTime(InvalidInput):
    """The clock skips this local time; `details["readings"]` has the nearest times before and after."""

    code = "impossible_time"


def constraint_of(error: IntegrityError) -> str:
    """Return the name of the constraint that PostgreSQL says was broken, or ""."""
    diagnostics: Any = getattr(error.__cause__, "diag", None)
    return getattr(diagnostics, "constraint_name", None) or ""


def capacity_error(error: IntegrityError) -> CarParkFull | None:
    """Translate the capacity trigger's refusal; None when the error is something else."""
    return {"car_park_full": CarParkFull, "car_park_closed": CarParkClosed}.get(
        constraint_of(error), lambda: None
    )()
