"""Instant payment notifications: PayPal's older form posts, and the postback that confirms them."""

from __future__ import annotations

import datetime as dt
import urllib.parse

from sandbox.core import Sandbox
from sandbox.paypal import money
from sandbox.paypal.buyers import PAYER_EMAIL, PAYER_ID
from sandbox.paypal.call import Body, Call, new_id

PROVIDER = "paypal_ipn"
HEADERS = {
    "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
    "User-Agent": "PayPal IPN ( https://www.paypal.com/ipn )",
}
POSTBACK = "cmd=_notify-validate&"
PENDING_REASONS = {"ECHECK": "echeck", "PENDING_REVIEW": "paymentreview"}


def post(call: Call, status: str, capture: Body, moved: Body, amount: int) -> None:
    """Tell the seller that `moved` (the capture itself, or a refund or dispute of it) has this payment_status now.

    amount is signed, in minor units.
    """
    if not call.box.webhooks.endpoints(PROVIDER):
        return
    options, currency = call.box.options, capture["currency"]
    when = dt.datetime.fromtimestamp(call.now, tz=dt.timezone(dt.timedelta(hours=-8)))
    reason = moved.get("reason") if status == "Pending" else None
    fields = {
        "txn_type": "express_checkout" if moved is capture else "", "payment_status": status,
        "payment_type": "echeck" if reason == "ECHECK" else "instant",
        "pending_reason": PENDING_REASONS.get(reason or "", ""), "txn_id": moved["id"],
        "parent_txn_id": "" if moved is capture else capture["id"],
        "mc_gross": money.shown(amount, currency)["value"], "mc_currency": currency,
        "mc_fee": money.shown(capture["fee_minor"], currency)["value"] if status == "Completed" else "",
        "receiver_email": options.paypal_email, "business": options.paypal_email,
        "receiver_id": options.paypal_merchant_id, "invoice": capture["invoice_id"], "custom": capture["custom_id"],
        "payer_email": PAYER_EMAIL, "payer_id": PAYER_ID, "payer_status": "verified",
        "first_name": "Pat", "last_name": "Buyer", "residence_country": "US",
        "payment_date": when.strftime("%H:%M:%S %b %d, %Y PST"), "test_ipn": "1", "charset": "utf-8",
        "notify_version": "3.9", "verify_sign": new_id(56), "ipn_track_id": new_id(13).lower(),
    }  # fmt: skip
    fields = {name: value for name, value in fields.items() if value}
    body = urllib.parse.urlencode(fields)
    call.box.state.put(
        {"id": fields["ipn_track_id"], "object": "paypal_ipn", "created": call.now, "body": body}
    )
    if call.box.webhooks.mode(PROVIDER)["forge"]:
        body = urllib.parse.urlencode({**fields, "txn_id": new_id()})
    call.box.webhooks.publish(
        PROVIDER, event_id=fields["ipn_track_id"], event_type=f"IPN {status}", body=body
    )


def genuine(box: Sandbox, text: str) -> bool:
    """Was exactly this posted from here? `text` is the whole postback."""
    body = text.removeprefix(POSTBACK)
    fields = dict(urllib.parse.parse_qsl(body))
    sent = box.state.get("paypal_ipn", fields.get("ipn_track_id", ""))
    return text.startswith(POSTBACK) and sent is not None and sent["body"] == body
