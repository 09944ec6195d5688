"""What each call takes, field by field. What is not named here is refused, never ignored."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sandbox.addresses import is_web_address
from sandbox.paypal.errors import malformed

Check = Callable[[Any, str], None]
DEEPEST = 20


@dataclass(frozen=True)
class Text:
    longest: int = 127
    shortest: int = 1
    pattern: str = ""

    def __call__(self, value: Any, at: str) -> None:
        if not isinstance(value, str):
            raise malformed(at, "INVALID_PARAMETER_SYNTAX", "The value must be a string.", value)
        if len(value) < self.shortest:
            raise malformed(at, "INVALID_STRING_MIN_LENGTH", "The value of a field is too short.", value)
        if len(value) > self.longest:
            raise malformed(
                at,
                "INVALID_STRING_MAX_LENGTH",
                f"The value of a field is too long: {self.longest} at most.",
                value,
            )
        if self.pattern and not re.fullmatch(self.pattern, value):
            raise malformed(
                at,
                "INVALID_PARAMETER_SYNTAX",
                "The value of a field does not conform to the expected format.",
                value,
            )


@dataclass(frozen=True)
class Choice:
    values: tuple[str, ...]

    def __call__(self, value: Any, at: str) -> None:
        if value not in self.values:
            raise malformed(
                at, "INVALID_PARAMETER_VALUE", f"The value must be one of {', '.join(self.values)}.", value
            )


@dataclass(frozen=True)
class Many:
    item: Check
    fewest: int = 1
    most: int = 10

    def __call__(self, value: Any, at: str) -> None:
        if not isinstance(value, list):
            raise malformed(at, "INVALID_PARAMETER_SYNTAX", "The value must be an array.", value)
        if len(value) < self.fewest:
            raise malformed(at, "INVALID_ARRAY_MIN_ITEMS", f"The array needs at least {self.fewest} items.")
        if len(value) > self.most:
            raise malformed(
                at, "INVALID_ARRAY_MAX_ITEMS", f"The sandbox takes at most {self.most} items here."
            )
        for number, item in enumerate(value):
            self.item(item, f"{at}/{number}")


@dataclass(frozen=True)
class Fields:
    """An object with these fields and no others."""

    known: dict[str, Check] = field(default_factory=dict)
    required: tuple[str, ...] = ()

    def __call__(self, value: Any, at: str) -> None:
        if not isinstance(value, dict):
            raise malformed(at or "/", "INVALID_PARAMETER_SYNTAX", "The value must be an object.", value)
        for name in value:
            if name not in self.known:
                raise malformed(
                    f"{at}/{name}"[:200], "INVALID_PARAMETER",
                    "The sandbox does not know or play this field, and ignores none.",
                )  # fmt: skip
        for name in self.required:
            if value.get(name) is None:
                raise malformed(
                    f"{at}/{name}", "MISSING_REQUIRED_PARAMETER", "A required field / parameter is missing."
                )
        for name, item in value.items():
            self.known[name](item, f"{at}/{name}")


def boolean(value: Any, at: str) -> None:
    if not isinstance(value, bool):
        raise malformed(at, "INVALID_PARAMETER_SYNTAX", "The value must be true or false.", value)


def address(value: Any, at: str) -> None:
    if not is_web_address(value):
        raise malformed(at, "INVALID_PARAMETER_SYNTAX", "The value must be an http or https address.", value)


def read(body: str) -> dict[str, Any]:
    """The JSON object of a request; an empty body is an empty object. Raises MALFORMED_REQUEST_JSON."""
    problem = malformed(
        "/", "MALFORMED_REQUEST_JSON", "The request JSON is not well formed."
    )  # fmt: skip
    if not body.strip():
        return {}
    try:
        value = json.loads(body, parse_constant=_no_constant)
        text = json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise problem from error
    if not isinstance(value, dict) or b"\\u0000" in text:
        raise problem
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON.")


MONEY = Fields({"currency_code": Text(3, 3), "value": Text(32)}, ("currency_code", "value"))
EMAIL = Text(254, 3, r"[^@\s]+@[^@\s]+\.[^@\s]+")
LANGUAGE = Text(10, 2, r"[a-z]{2}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?")
CUSTOMER_ID = Text(22, 1, r"[0-9a-zA-Z_-]+")
PLAIN_DESCRIPTION = Text(128, 1)
SHIPPING_PREFERENCE = Choice(("GET_FROM_FILE", "NO_SHIPPING", "SET_PROVIDED_ADDRESS"))

_CONTEXT: dict[str, Check] = {
    "brand_name": Text(127), "locale": LANGUAGE, "shipping_preference": SHIPPING_PREFERENCE,
    "return_url": address, "cancel_url": address, "user_action": Choice(("CONTINUE", "PAY_NOW")),
}  # fmt: skip
_WALLET_CONTEXT = Fields(
    {
        **_CONTEXT,
        "landing_page": Choice(("LOGIN", "GUEST_CHECKOUT", "NO_PREFERENCE")),
        "payment_method_preference": Choice(("UNRESTRICTED", "IMMEDIATE_PAYMENT_REQUIRED")),
        "payment_method_selected": Choice(("PAYPAL",)),
        "contact_preference": Choice(("NO_CONTACT_INFO",)),
    }
)
_USAGE: dict[str, Check] = {
    "usage_type": Choice(("MERCHANT", "PLATFORM")), "customer_type": Choice(("CONSUMER", "BUSINESS")),
    "description": PLAIN_DESCRIPTION, "permit_multiple_payment_tokens": boolean,
    "usage_pattern": Choice((
        "IMMEDIATE", "DEFERRED", "RECURRING_PREPAID", "RECURRING_POSTPAID", "THRESHOLD_PREPAID", "THRESHOLD_POSTPAID",
        "SUBSCRIPTION_PREPAID", "SUBSCRIPTION_POSTPAID", "UNSCHEDULED_PREPAID", "UNSCHEDULED_POSTPAID",
        "INSTALLMENT_PREPAID", "INSTALLMENT_POSTPAID",
    )),
}  # fmt: skip
_CUSTOMER = Fields({"id": CUSTOMER_ID})
_WALLET = Fields(
    {
        "vault_id": Text(255, 1, r"[0-9a-zA-Z_-]+"),
        "email_address": EMAIL,
        "name": Fields({"given_name": Text(140), "surname": Text(140)}),
        "experience_context": _WALLET_CONTEXT,
        "attributes": Fields(
            {
                "customer": _CUSTOMER,
                "vault": Fields(
                    {**_USAGE, "store_in_vault": Choice(("ON_SUCCESS",))}, ("usage_type", "store_in_vault")
                ),
            }
        ),
        "stored_credential": Fields(
            {
                "payment_initiator": Choice(("CUSTOMER", "MERCHANT")),
                "charge_pattern": _USAGE["usage_pattern"],
                "usage_pattern": _USAGE["usage_pattern"],
                "usage": Choice(("FIRST", "SUBSEQUENT", "DERIVED")),
            },
            ("payment_initiator",),
        ),
    }
)
BREAKDOWN = ("item_total", "shipping", "handling", "tax_total", "insurance", "shipping_discount", "discount")
_ITEM = Fields(
    {
        "name": Text(127), "quantity": Text(10, 1, "[1-9][0-9]{0,9}"), "unit_amount": MONEY, "tax": MONEY,
        "description": Text(2_048), "sku": Text(127), "url": address, "image_url": address,
        "category": Choice(("DIGITAL_GOODS", "PHYSICAL_GOODS")),
    },
    ("name", "quantity", "unit_amount"),
)  # fmt: skip
_UNIT = Fields(
    {
        "reference_id": Text(256), "description": Text(127), "custom_id": Text(127), "invoice_id": Text(127),
        "soft_descriptor": Text(22), "items": Many(_ITEM, most=100),
        "payee": Fields({"email_address": EMAIL, "merchant_id": Text(20)}),
        "amount": Fields(
            {**MONEY.known, "breakdown": Fields(dict.fromkeys(BREAKDOWN, MONEY))}, MONEY.required
        ),
    },
    ("amount",),
)  # fmt: skip
ORDER = Fields(
    {
        "intent": Choice(("CAPTURE", "AUTHORIZE")),
        "purchase_units": Many(_UNIT, most=1),
        "payment_source": Fields({"paypal": _WALLET}, ("paypal",)),
        "application_context": Fields(
            {
                **_CONTEXT,
                "landing_page": Choice(("LOGIN", "BILLING", "NO_PREFERENCE")),
                "payment_method": Fields(
                    {"payee_preferred": Choice(("UNRESTRICTED", "IMMEDIATE_PAYMENT_REQUIRED"))}
                ),
            }
        ),
    },
    ("intent", "purchase_units"),
)
CAPTURE = Fields({"payment_source": Fields({"paypal": _WALLET}, ("paypal",))})
REFUND = Fields(
    {"amount": MONEY, "custom_id": Text(127), "invoice_id": Text(127), "note_to_payer": Text(255)}
)
SETUP_TOKEN = Fields(
    {
        "customer": _CUSTOMER,
        "payment_source": Fields(
            {
                "paypal": Fields(
                    {
                        **_USAGE,
                        "experience_context": Fields(
                            {
                                **_CONTEXT,
                                "vault_instruction": Choice(
                                    ("ON_PAYER_APPROVAL", "ON_CREATE_PAYMENT_TOKENS")
                                ),
                            }
                        ),
                    }
                )
            },
            ("paypal",),
        ),
    },
    ("payment_source",),
)
PAYMENT_TOKEN = Fields(
    {
        "customer": _CUSTOMER,
        "payment_source": Fields(
            {
                "token": Fields(
                    {"id": Text(36, 1, r"[0-9a-zA-Z_-]+"), "type": Choice(("SETUP_TOKEN",))}, ("id", "type")
                )
            },
            ("token",),
        ),
    },
    ("payment_source",),
)
WEBHOOK = Fields(
    {"url": address, "event_types": Many(Fields({"name": Text(100)}, ("name",)), most=500)},
    ("url", "event_types"),
)


def anything(value: Any, at: str) -> None:
    if not isinstance(value, dict):
        raise malformed(at, "INVALID_PARAMETER_SYNTAX", "The value must be an object.", value)


_VERIFIED = (
    "auth_algo",
    "cert_url",
    "transmission_id",
    "transmission_sig",
    "transmission_time",
    "webhook_id",
)
VERIFICATION = Fields(
    {**dict.fromkeys(_VERIFIED, Text(500)), "webhook_event": anything}, (*_VERIFIED, "webhook_event")
)
EVIDENCE_TYPES = (
    "PROOF_OF_FULFILLMENT", "PROOF_OF_REFUND", "PROOF_OF_DELIVERY_SIGNATURE", "PROOF_OF_RECEIPT_COPY",
    "RETURN_POLICY", "BILLING_AGREEMENT", "PROOF_OF_RESHIPMENT", "ITEM_DESCRIPTION", "POLICE_REPORT", "AFFIDAVIT",
    "PAID_WITH_OTHER_METHOD", "COPY_OF_CONTRACT", "TERMINAL_ATM_RECEIPT", "PRICE_DIFFERENCE_REASON",
    "SOURCE_CONVERSION_RATE", "BANK_STATEMENT", "CREDIT_DUE_REASON", "REQUEST_CREDIT_RECEIPT", "PROOF_OF_RETURN",
    "CREATE", "CHANGE_REASON", "PROOF_OF_REFUND_OUTSIDE_PAYPAL", "RECEIPT_OF_MERCHANDISE", "CUSTOMS_DOCUMENT",
    "CUSTOMS_FEE_RECEIPT", "INFORMATION_ON_RESOLUTION", "ADDITIONAL_INFORMATION_OF_ITEM", "DETAILS_OF_PURCHASE",
    "PROOF_OF_SIGNIFICANT_DIFFERENCE", "PROOF_OF_SOFTWARE_OR_SERVICE_NOT_AS_DESCRIBED", "PROOF_OF_CONFISCATION",
    "PROOF_OF_DAMAGE", "COPY_OF_LAW_ENFORCEMENT_AGENCY_REPORT", "ADDITIONAL_PROOF_OF_SHIPMENT",
    "PROOF_OF_DENIAL_BY_CARRIER", "THIRDPARTY_PROOF_FOR_DAMAGE_OR_SIGNIFICANT_DIFFERENCE",
    "VALID_SUPPORTING_DOCUMENT", "LEGIBLE_SUPPORTING_DOCUMENT", "RETURN_TRACKING_INFORMATION", "DELIVERY_RECEIPT",
    "PROOF_OF_INSTORE_RECEIPT", "ADDITIONAL_TRACKING_INFORMATION", "PROOF_OF_SHIPMENT_POSTAGE",
    "ONLINE_TRACKING_INFORMATION", "PROOF_OF_INSTORE_REFUND", "PROOF_FOR_SOFTWARE_OR_SERVICE_DELIVERED",
    "RETURN_ADDRESS_FOR_SHIPPING", "COPY_OF_THE_EPARCEL_MANIFEST", "COPY_OF_SHIPPING_MANIFEST",
    "APPEAL_AFFIDAVIT", "RECEIPT_OF_REPLACEMENT", "COPY_OF_DRIVERS_LICENSE", "ACCOUNT_CHANGE_INFORMATION",
    "DELIVERY_ADDRESS", "CONFIRMATION_OF_RESOLUTION", "MERCHANT_RESPONSE", "PERMISSION_DESCRIPTION",
    "STATUS_OF_MERCHANDISE", "LOST_CARD_DETAILS", "LAST_VALID_TRANSACTION_DETAILS", "ADDITIONAL_PROOF_OF_RETURN",
    "DECLARATION", "PROOF_OF_MISSING_ITEMS", "PROOF_OF_EMPTY_PACKAGE_OR_DIFFERENT_ITEM",
    "PROOF_OF_ITEM_NOT_RECEIVED", "ORDER_DETAILS", "LISTING_URL", "SHIPPING_INSURANCE", "BUYER_RESPONSE",
    "PHOTOS_OF_SHIPPED_ITEM", "OTHER",
)  # fmt: skip
EVIDENCE = Fields(
    {
        "evidences": Many(
            Fields(
                {
                    "evidence_type": Choice(EVIDENCE_TYPES),
                    "evidence_info": Fields(
                        {
                            "tracking_info": Many(
                                Fields(
                                    {
                                        "carrier_name": Text(250),
                                        "tracking_number": Text(250),
                                        "tracking_url": address,
                                    }
                                )
                            ),
                            "refund_ids": Many(Text(255), most=100),
                        }
                    ),
                    "notes": Text(2_000),
                    "item_id": Text(255),
                },
                ("evidence_type",),
            ),
            most=100,
        )
    },
    ("evidences",),
)
ACCEPTANCE = Fields(
    {
        "note": Text(2_000),
        "accept_claim_reason": Choice(
            (
                "DID_NOT_SHIP_ITEM", "TOO_TIME_CONSUMING", "LOST_IN_MAIL", "NOT_ABLE_TO_WIN", "COMPANY_POLICY",
                "REASON_NOT_SET",
            )
        ),
        "accept_claim_type": Choice(("REFUND",)),
    },
    ("note",),
)  # fmt: skip
