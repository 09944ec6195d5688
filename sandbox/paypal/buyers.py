"""The one buyer of the sandbox, and how the money behaves, as chosen on the approval page."""

from __future__ import annotations

BUYERS = {
    "at_once": "pays at once",
    "echeck": "pays by eCheck (pending)",
    "review": "is held for review (pending)",
    "declined": "is declined",
    "asked": "is asked again whenever the saved wallet pays",
    "saved_later": "has the wallet saved a minute after paying",
}
# Why a capture of that buyer's money is pending.
PENDING = {"echeck": "ECHECK", "review": "PENDING_REVIEW"}
PAYER_ID, PAYER_EMAIL = "SANDB2XBUYER2", "buyer@sandbox.example"
PAYER = {
    "name": {"given_name": "Pat", "surname": "Buyer"},
    "email_address": PAYER_EMAIL,
    "payer_id": PAYER_ID,
    "address": {"country_code": "US"},
}
WALLET = {
    "email_address": PAYER_EMAIL,
    "account_id": PAYER_ID,
    "account_status": "VERIFIED",
    "name": PAYER["name"],
    "address": PAYER["address"],
}
