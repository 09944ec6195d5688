"""What we write to people about: each kind of message, the words it may use, and an example of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.utils.translation import gettext_lazy as _

EMAIL = "email"
SMS = "sms"

# What a message is for decides what may hold it back. TRANSACTIONAL belongs to something the person did or has: no consent is asked.
# PROMOTIONAL leaves only with consent and never in quiet hours. EMERGENCY is for a person's car or safety: at once, at any hour.
TRANSACTIONAL = "transactional"
PROMOTIONAL = "promotional"
EMERGENCY = "emergency"


@dataclass(frozen=True)
class Variable:
    """A word that a template may use. `is_secret` words are forgotten once the message has left; a link that `acts_for_customer`
    is kept for another sending but never shown to staff, who act under their own names."""

    name: str
    description: Any
    sample: str
    is_url: bool = False
    is_secret: bool = False
    acts_for_customer: bool = False


@dataclass(frozen=True)
class Kind:
    """One occasion on which we write. `shows_boarding_pass` puts the booking card on top of the e-mail.

    `has_own_words`: each sending brings its own text (models.OwnWords); the template is only where that text begins.
    """

    code: str
    label: Any
    variables: tuple[Variable, ...]
    has_sms: bool = False
    shows_boarding_pass: bool = False
    purpose: str = TRANSACTIONAL
    has_own_words: bool = False
    by_name: dict[str, Variable] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "by_name", {variable.name: variable for variable in (*self.variables, *EVERYWHERE)}
        )

    @property
    def channels(self) -> tuple[str, ...]:
        return (EMAIL, SMS) if self.has_sms else (EMAIL,)

    @property
    def sample(self) -> dict[str, str]:
        """A complete set of example values."""
        return {variable.name: variable.sample for variable in self.by_name.values()} | site_variables()

    @property
    def secrets(self) -> frozenset[str]:
        return frozenset(variable.name for variable in self.by_name.values() if variable.is_secret)


def site_variables() -> dict[str, str]:
    """What every template may say without being given it."""
    return {
        "site_name": settings.SITE_NAME,
        "support_email": settings.SUPPORT_EMAIL,
        "support_phone": settings.SUPPORT_PHONE,
        "postal_address": settings.POSTAL_ADDRESS,
    }


EVERYWHERE = (
    Variable("site_name", _("The name of this service"), "Runway Parking"),
    Variable("support_email", _("Where customers may write to"), "help@runway.example"),
    Variable("support_phone", _("Where customers may call"), "+44 20 7946 0123"),
    Variable("postal_address", _("Our postal address"), "1 Perimeter Road, Hounslow TW6 2GA, United Kingdom"),
)
CUSTOMER = Variable("customer_name", _("The customer's name"), "Ada Lovelace")
REFERENCE = Variable("reference", _("The booking reference"), "AP-7F3K2Q")
MANAGE_URL = Variable(
    "manage_url",
    _("The booking's own page"),
    "https://parking.example/b/AP-7F3K2Q/mfzwizltmf2wk43uobqxe33om4",  # as long as a guest's link is
    is_url=True,
    acts_for_customer=True,
)
STAY = (
    Variable("airport_name", _("The airport"), "London Heathrow"),
    Variable("airport_iata", _("The airport's three letters"), "LHR"),
    Variable("car_park_name", _("The car park"), "Runway Park & Ride"),
    Variable("drop_off_local", _("Drop-off, date and time at the airport"), "Fri 4 Dec 2026, 06:30"),
    Variable("return_local", _("Return, date and time at the airport"), "Fri 11 Dec 2026, 21:15"),
    Variable("drop_off_time", _("Drop-off, time only"), "06:30"),
    Variable("drop_off_date", _("Drop-off, date only"), "Fri 4 Dec"),
    Variable("return_time", _("Return, time only"), "21:15"),
    Variable("return_date", _("Return, date only"), "Fri 11 Dec"),
    Variable("timezone_name", _("The airport's time zone, as people say it"), "London time"),
)
CHANGED_AT = Variable("changed_at", _("When it was changed"), "2026-12-04 06:30 UTC")
ACCOUNT_URL = Variable(
    "account_url", _("The person's account"), "https://parking.example/account", is_url=True
)
REFUND_STATUS = Variable(
    "refund_status_text",
    _("Where the refund stands, as a sentence"),
    "Your bank usually shows it within 5 to 10 days.",
)

KINDS: dict[str, Kind] = {
    kind.code: kind
    for kind in (
        Kind(
            "welcome",
            _("Welcome"),
            (CUSTOMER, Variable("home_url", _("The front page"), "https://parking.example/", is_url=True)),
        ),
        Kind(
            "verify_email",
            _("Verify the e-mail address"),
            (
                CUSTOMER,
                Variable(
                    "verify_url",
                    _("The one-time link that verifies the address"),
                    "https://parking.example/accounts/confirm-email/sample",
                    is_url=True,
                    is_secret=True,
                ),
            ),
        ),
        Kind(
            "password_reset",
            _("Password reset"),
            (
                CUSTOMER,
                Variable(
                    "reset_url",
                    _("The one-time link that sets a new password"),
                    "https://parking.example/accounts/password/reset/sample",
                    is_url=True,
                    is_secret=True,
                ),
            ),
        ),
        *(
            Kind(code, label, (CUSTOMER, CHANGED_AT, ACCOUNT_URL))
            for code, label in (
                ("password_changed", _("The password was changed")),
                ("second_factor_added", _("A second factor was set up")),
                ("second_factor_removed", _("The second factor was removed")),
                ("recovery_codes_made", _("New recovery codes were made")),
            )
        ),
        Kind(
            "already_registered",
            _("Somebody signed up with an address we know"),
            (
                CUSTOMER,
                Variable(
                    "login_url", _("Where to sign in"), "https://parking.example/accounts/login/", is_url=True
                ),
                Variable(
                    "reset_url",
                    _("Where to ask for a new password"),
                    "https://parking.example/accounts/password/reset/",
                    is_url=True,
                ),
            ),
        ),
        Kind(
            "your_data",
            _("A guest asks for their data"),
            (
                Variable(
                    "data_url",
                    _("The link that proves the address, good for an hour"),
                    "https://parking.example/your-data/sample",
                    is_url=True,
                    is_secret=True,
                ),
            ),
        ),
        Kind(
            "booking_confirmation",
            _("Booking confirmed"),
            (
                CUSTOMER,
                REFERENCE,
                *STAY,
                Variable("address", _("The car park's address"), "Perimeter Road 12, Hounslow TW6 2GA"),
                Variable("directions", _("How to get there"), "Follow the signs for Zone P from the A4."),
                Variable("plate", _("The number plate"), "AB12 CDE"),
                Variable("product_name", _("What was booked"), "Standard space"),
                Variable("total", _("The price"), "£84.50"),
                MANAGE_URL,
            ),
            has_sms=True,
            shows_boarding_pass=True,
        ),
        Kind(
            "drop_off_reminder",
            _("Reminder before drop-off"),
            (
                CUSTOMER,
                REFERENCE,
                *STAY,
                Variable("address", _("The car park's address"), "Perimeter Road 12, Hounslow TW6 2GA"),
                Variable("directions", _("How to get there"), "Follow the signs for Zone P from the A4."),
                Variable("plate", _("The number plate"), "AB12 CDE"),
                Variable("product_name", _("What was booked"), "Standard space"),
                Variable("total", _("The price"), "£84.50"),
                MANAGE_URL,
            ),
            has_sms=True,
            shows_boarding_pass=True,
        ),
        Kind(
            "return_reminder",
            _("Reminder before return"),
            (
                CUSTOMER,
                REFERENCE,
                *STAY,
                Variable("address", _("The car park's address"), "Perimeter Road 12, Hounslow TW6 2GA"),
                Variable("directions", _("How to get there"), "Follow the signs for Zone P from the A4."),
                Variable("plate", _("The number plate"), "AB12 CDE"),
                Variable("product_name", _("What was booked"), "Standard space"),
                Variable("total", _("The price"), "£84.50"),
                MANAGE_URL,
            ),
            has_sms=True,
            shows_boarding_pass=True,
        ),
        Kind(
            "payment_confirmation",
            _("Payment received"),
            (
                CUSTOMER,
                REFERENCE,
                Variable("amount", _("The amount"), "£84.50"),
                Variable("provider_name", _("Who took the payment"), "Stripe"),
                Variable(
                    "paid_at_local",
                    _("When it was paid, at the airport"),
                    "Mon 23 Nov 2026, 11:42 (London time)",
                ),
                Variable("method_label", _("What it was paid with"), "Visa ending 4242"),
                MANAGE_URL,
            ),
            has_sms=True,
        ),
        Kind(
            "payment_needs_customer",
            _("Payment waits for the customer"),
            (
                CUSTOMER,
                REFERENCE,
                Variable("amount", _("The amount"), "£18.00"),
                Variable("method_label", _("What it is paid with"), "Visa •••• 4242"),
                Variable(
                    "pay_url",
                    _("The payment page"),
                    "https://parking.example/accounts/login/?next=%2Fpay%2FAP-7F3K2Q",
                    is_url=True,
                    acts_for_customer=True,
                ),
            ),
        ),
        Kind(
            "cancellation",
            _("Booking cancelled"),
            (
                CUSTOMER,
                REFERENCE,
                *STAY,
                Variable("plate", _("The number plate"), "AB12 CDE"),
                Variable("refund_amount", _("What is given back"), "£84.50"),
                REFUND_STATUS,
                MANAGE_URL,
            ),
            has_sms=True,
            shows_boarding_pass=True,
        ),
        Kind(
            "booking_amended",
            _("Booking changed"),
            (
                CUSTOMER,
                REFERENCE,
                *STAY,
                Variable("address", _("The car park's address"), "Perimeter Road 12, Hounslow TW6 2GA"),
                Variable("directions", _("How to get there"), "Follow the signs for Zone P from the A4."),
                Variable("plate", _("The number plate"), "AB12 CDE"),
                Variable("product_name", _("What was booked"), "Standard space"),
                Variable("total", _("The price after the change"), "£104.50"),
                Variable(
                    "money_text",
                    _("What the change costs or gives back, as a sentence"),
                    "You paid £20.00 more.",
                ),
                MANAGE_URL,
            ),
            has_sms=True,
            shows_boarding_pass=True,
        ),
        Kind(
            "amendment_to_pay",
            _("Change waits for payment"),
            (
                CUSTOMER,
                REFERENCE,
                *STAY[:5],
                Variable("amount", _("What the change costs"), "£20.00"),
                Variable(
                    "pay_before_local", _("Until when it is kept, at the airport"), "Fri 4 Dec 2026 18:00"
                ),
                MANAGE_URL,
            ),
            has_sms=True,
        ),
        Kind(
            "amendment_not_made",
            _("Change was not made"),
            (
                CUSTOMER,
                REFERENCE,
                Variable("amount", _("What was paid or should have been"), "£20.00"),
                Variable(
                    "what_happened_text",
                    _("Why, and where the money is, as a sentence"),
                    "Your payment came when the extra time was no longer free. We are giving back all of it: £20.00.",
                ),
                MANAGE_URL,
            ),
            has_sms=True,
        ),
        Kind(
            "refund_issued",
            _("Refund issued"),
            (
                CUSTOMER,
                REFERENCE,
                Variable("amount", _("What is given back"), "£20.00"),
                REFUND_STATUS,
                MANAGE_URL,
            ),
            has_sms=True,
        ),
        Kind(
            "late_payment_refunded",
            _("Payment came too late and is given back"),
            (
                CUSTOMER,
                REFERENCE,
                Variable("amount", _("What is given back"), "£84.50"),
                Variable("car_park_name", _("The car park"), "Runway Park & Ride"),
                Variable(
                    "search_url",
                    _("Where to look for another space"),
                    "https://parking.example/search",
                    is_url=True,
                ),
            ),
            has_sms=True,
        ),
        Kind(
            "second_payment_refunded",
            _("Paid a second time, which is given back"),
            (
                CUSTOMER,
                REFERENCE,
                Variable("amount", _("What is given back"), "£84.50"),
                Variable("provider_name", _("Who took the second payment"), "PayPal"),
                MANAGE_URL,
            ),
            has_sms=True,
        ),
        Kind(
            "payment_failed",
            _("A pending payment came to nothing"),
            (
                CUSTOMER,
                REFERENCE,
                Variable("amount", _("What was not paid"), "£84.50"),
                Variable("provider_name", _("Who was asked to pay"), "PayPal"),
                Variable(
                    "search_url",
                    _("Where to look for another space"),
                    "https://parking.example/search",
                    is_url=True,
                ),
            ),
        ),
        Kind(
            "refund_failed",
            _("Refund failed"),
            (
                CUSTOMER,
                REFERENCE,
                Variable("amount", _("What should have been given back"), "£20.00"),
                Variable(
                    "cause", _("Why it did not arrive, as a sentence"), "The card that paid has expired."
                ),
            ),
        ),
        Kind(
            "staff_message",
            _("Message from staff"),
            (CUSTOMER, Variable("text", _("What staff wrote"), "Your shuttle leaves from bay 4 today.")),
            has_sms=True,
        ),
        Kind(
            "promotion",
            _("Promotion"),
            (
                CUSTOMER,
                Variable("promo_code", _("The campaign's promo code"), "SPRING20"),
                Variable(
                    "offer_url",
                    _("The front page, with the promo code filled in"),
                    "https://parking.example/?code=SPRING20",
                    is_url=True,
                ),
            ),
            has_sms=True,
            purpose=PROMOTIONAL,
            has_own_words=True,
        ),
        Kind(
            "emergency_alert",
            _("Emergency alert"),
            (
                CUSTOMER,
                REFERENCE,
                Variable("plate", _("The number plate"), "AB12 CDE"),
                *STAY[:5],
            ),
            has_sms=True,
            purpose=EMERGENCY,
            has_own_words=True,
        ),
    )
}
KIND_CHOICES = [(kind.code, kind.label) for kind in KINDS.values()]


def kind_choices() -> list[tuple[str, Any]]:
    """Return what a field of kinds may hold. Fields name this function, so that a new kind needs no migration."""
    return KIND_CHOICES
