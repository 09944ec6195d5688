"""Captures and refunds: the money itself."""

from __future__ import annotations

from sandbox.core import Sandbox
from sandbox.paypal import disputes, ipn, money
from sandbox.paypal.buyers import PENDING
from sandbox.paypal.call import Answer, Body, Call, iso, new_id
from sandbox.paypal.errors import refused
from sandbox.paypal.parameters import REFUND

CAPTURE_JOB, REFUND_JOB = "paypal.capture.finish", "paypal.refund.finish"
DAY = 86_400
# Days on the sandbox's clock until a pending payment moves by itself.
PENDING_DAYS = {"ECHECK": 3, "PENDING_REVIEW": 1}
REFUNDABLE = ("COMPLETED", "PARTIALLY_REFUNDED")


def take(call: Call, order: Body) -> Body:
    """Capture an approved order's money, or leave it pending as its buyer pays."""
    unit = order["unit"]
    reason = PENDING.get(order["buyer"])
    capture = {
        "id": new_id(), "object": "paypal_capture", "created": call.now, "updated": call.now, "order": order["id"],
        "status": "PENDING" if reason else "COMPLETED", "reason": reason, "amount_minor": order["amount_minor"],
        "currency": order["currency"], "fee_minor": 0, "refunded_minor": 0,
        "custom_id": unit.get("custom_id"), "invoice_id": unit.get("invoice_id"),
    }  # fmt: skip
    if reason:
        call.save(capture)
        due_at = call.box.clock.now() + PENDING_DAYS[reason] * DAY
        call.box.state.later(due_at, CAPTURE_JOB, {"capture": capture["id"], "status": "COMPLETED"})
        call.emit("PAYMENT.CAPTURE.PENDING", capture_shown(call, capture))
        ipn.post(call, "Pending", capture, capture, capture["amount_minor"])
    else:
        _receive(call, capture)
    return capture


def _receive(call: Call, capture: Body) -> None:
    capture["fee_minor"] = money.fee(capture["amount_minor"], capture["currency"])
    call.save(capture)
    call.enter("charge", capture, capture["amount_minor"])
    call.enter("fee", capture, -capture["fee_minor"])
    call.emit("PAYMENT.CAPTURE.COMPLETED", capture_shown(call, capture))
    ipn.post(call, "Completed", capture, capture, capture["amount_minor"])


def finish_capture(box: Sandbox, capture_id: str, status: str) -> Body:
    """A pending capture becomes COMPLETED or DECLINED. Raises PayPalError for any other step."""
    call = Call(box)
    with box.state.transaction():
        capture = call.find("paypal_capture", capture_id)
        if capture["status"] != "PENDING" or status not in {"COMPLETED", "DECLINED"}:
            raise refused(
                "CAPTURE_STATUS_NOT_VALID",
                f"A capture that is {capture['status']} cannot become {status[:40] or 'nothing'}.",
            )
        reviewed, capture["reason"] = capture["reason"] == "PENDING_REVIEW", None
        capture["status"] = status
        if status == "COMPLETED":
            _receive(call, capture)
        else:
            call.save(capture)
            # A person denies, a bank declines.
            call.emit(
                "PAYMENT.CAPTURE.DENIED" if reviewed else "PAYMENT.CAPTURE.DECLINED",
                capture_shown(call, capture),
            )
            ipn.post(call, "Denied" if reviewed else "Failed", capture, capture, capture["amount_minor"])
    return capture_shown(call, capture)


def capture_shown(call: Call, capture: Body, *, within_order: bool = False) -> Body:
    amount, currency = capture["amount_minor"], capture["currency"]
    gross = money.shown(amount, currency)
    breakdown = {"gross_amount": gross}
    if capture["status"] not in {"PENDING", "DECLINED"}:
        breakdown |= {
            "paypal_fee": money.shown(capture["fee_minor"], currency),
            "net_amount": money.shown(amount - capture["fee_minor"], currency),
        }
    path = f"/v2/payments/captures/{capture['id']}"
    links = [call.link(path)]
    if capture["status"] in REFUNDABLE:
        links.append(call.link(f"{path}/refund", "refund", "POST"))
    links.append(call.link(f"/v2/checkout/orders/{capture['order']}", "up"))
    shown: Body = {
        "id": capture["id"], "status": capture["status"], "amount": gross, "final_capture": True,
        "disbursement_mode": "INSTANT",
        "seller_protection": {
            "status": "ELIGIBLE", "dispute_categories": ["ITEM_NOT_RECEIVED", "UNAUTHORIZED_TRANSACTION"],
        },
        "seller_receivable_breakdown": breakdown,
        **{name: capture[name] for name in ("custom_id", "invoice_id") if capture[name]},
    }  # fmt: skip
    if capture["reason"]:
        shown["status_details"] = {"reason": capture["reason"]}
    if not within_order:
        shown["payee"] = payee(call)
        shown["supplementary_data"] = {"related_ids": {"order_id": capture["order"]}}
    return {
        **shown, "create_time": iso(capture["created"]), "update_time": iso(capture["updated"]), "links": links,
    }  # fmt: skip


def payee(call: Call) -> Body:
    options = call.box.options
    return {"email_address": options.paypal_email, "merchant_id": options.paypal_merchant_id}


def get_capture(call: Call, capture_id: str) -> Answer:
    return 200, capture_shown(call, call.find("paypal_capture", capture_id))


def same_invoice(call: Call, invoice_id: str | None) -> bool:
    """Was money, or the promise of money, taken under this invoice number before?"""
    if not invoice_id:
        return False
    known = call.box.state.select("paypal_capture", equal={"invoice_id": invoice_id})
    return any(capture["status"] != "DECLINED" for capture in known)


# Refunds


def refund_capture(call: Call, capture_id: str) -> Answer:
    REFUND(call.body, "")
    capture = call.find("paypal_capture", capture_id)
    if capture["status"] == "PENDING":
        raise refused("PENDING_CAPTURE", "Cannot initiate a refund as the capture is pending.")
    if capture["status"] == "DECLINED":
        raise refused("REFUND_NOT_ALLOWED", "A declined capture has nothing to refund.")
    left = capture["amount_minor"] - capture["refunded_minor"]
    if left <= 0:
        raise refused("CAPTURE_FULLY_REFUNDED", "The capture has already been fully refunded.")
    amount, currency = left, capture["currency"]
    if call.body.get("amount"):
        amount, currency = money.minor(call.body["amount"], "/amount")
    if currency != capture["currency"]:
        raise refused(
            "REFUND_CAPTURE_CURRENCY_MISMATCH", "Refund must be in the same currency as the capture.",
            "/amount/currency_code", value=currency,
        )  # fmt: skip
    if amount > left:
        raise refused(
            "REFUND_AMOUNT_EXCEEDED", "The refund amount must be less than or equal to the capture amount that has not "
            "yet been refunded.", "/amount/value", value=money.shown(amount, currency)["value"],
        )  # fmt: skip
    invoice_id = call.body.get("invoice_id")
    if invoice_id and call.box.state.select("paypal_refund", equal={"invoice_id": invoice_id}):
        raise refused(
            "DUPLICATE_INVOICE_ID", "Requested invoice number has been previously refunded.", "/invoice_id"
        )
    dispute = disputes.of_capture(call, capture)
    if dispute is not None and dispute["outcome"]:
        raise refused(
            "REFUND_NOT_PERMITTED_DUE_TO_CHARGEBACK",
            "Refunds not allowed on this capture due to a chargeback.",
        )
    if dispute is not None and amount < left:
        raise refused(
            "TRANSACTION_DISPUTED",
            "Partial refunds cannot be offered at this time because there is an open case on this transaction.",
        )
    if dispute is not None:
        disputes.refund_instead(call, dispute)
    refund = _give_back(call, capture, amount, invoice_id)
    shown = refund_shown(call, refund)
    return 201, shown if call.full else {name: shown[name] for name in ("id", "status", "links")}


def _give_back(call: Call, capture: Body, amount: int, invoice_id: str | None) -> Body:
    order = call.find("paypal_order", capture["order"])
    # Money that came from a bank goes back to it, which takes days.
    slow = PENDING.get(order["buyer"]) == "ECHECK"
    capture["refunded_minor"] += amount
    _restate(capture)
    refund = {
        "id": new_id(), "object": "paypal_refund", "created": call.now, "updated": call.now, "capture": capture["id"],
        "status": "PENDING" if slow else "COMPLETED", "amount_minor": amount, "currency": capture["currency"],
        "total_minor": capture["refunded_minor"], "invoice_id": invoice_id,
        "custom_id": call.body.get("custom_id"), "note_to_payer": call.body.get("note_to_payer"),
    }  # fmt: skip
    call.save(capture)
    call.save(refund)
    call.enter("refund", refund, -amount)
    if slow:
        due_at = call.box.clock.now() + PENDING_DAYS["ECHECK"] * DAY
        call.box.state.later(due_at, REFUND_JOB, {"refund": refund["id"], "status": "COMPLETED"})
        call.emit("PAYMENT.REFUND.PENDING", refund_shown(call, refund))
    else:
        call.emit("PAYMENT.CAPTURE.REFUNDED", refund_shown(call, refund))
    ipn.post(call, "Pending" if slow else "Refunded", capture, refund, -amount)
    return refund


def _restate(capture: Body) -> None:
    given = capture["refunded_minor"]
    capture["status"] = (
        "COMPLETED" if not given else "REFUNDED" if given >= capture["amount_minor"] else "PARTIALLY_REFUNDED"
    )


def finish_refund(box: Sandbox, refund_id: str, status: str) -> Body:
    """PENDING -> COMPLETED or FAILED; a COMPLETED one may FAIL too, when the buyer's bank returns it."""
    call = Call(box)
    with box.state.transaction():
        refund = call.find("paypal_refund", refund_id)
        allowed = {"PENDING": {"COMPLETED", "FAILED"}, "COMPLETED": {"FAILED"}}
        if status not in allowed.get(refund["status"], set()):
            raise refused(
                "REFUND_STATUS_NOT_VALID",
                f"A refund that is {refund['status']} cannot become {status[:40] or 'nothing'}.",
            )
        refund["status"] = status
        call.save(refund)
        capture = call.find("paypal_capture", refund["capture"])
        if status == "FAILED":
            capture["refunded_minor"] -= refund["amount_minor"]
            _restate(capture)
            call.save(capture)
            call.enter("refund_failure", refund, refund["amount_minor"])
        call.emit(
            "PAYMENT.REFUND.FAILED" if status == "FAILED" else "PAYMENT.CAPTURE.REFUNDED",
            refund_shown(call, refund),
        )
        ipn.post(
            call, "Failed" if status == "FAILED" else "Refunded", capture, refund, -refund["amount_minor"]
        )
    return refund_shown(call, refund)


def refund_shown(call: Call, refund: Body) -> Body:
    currency = refund["currency"]
    amount = money.shown(refund["amount_minor"], currency)
    shown: Body = {
        "id": refund["id"], "status": refund["status"], "amount": amount,
        # PayPal keeps its fee: the seller pays the buyer back in full.
        "seller_payable_breakdown": {
            "gross_amount": amount, "paypal_fee": money.shown(0, currency), "net_amount": amount,
            "total_refunded_amount": money.shown(refund["total_minor"], currency),
        },
        **{name: refund[name] for name in ("invoice_id", "custom_id", "note_to_payer") if refund[name]},
    }  # fmt: skip
    if refund["status"] == "PENDING":
        shown["status_details"] = {"reason": "ECHECK"}
    return {
        **shown, "create_time": iso(refund["created"]), "update_time": iso(refund["updated"]),
        "links": [
            call.link(f"/v2/payments/refunds/{refund['id']}"),
            call.link(f"/v2/payments/captures/{refund['capture']}", "up"),
        ],
    }  # fmt: skip


def get_refund(call: Call, refund_id: str) -> Answer:
    return 200, refund_shown(call, call.find("paypal_refund", refund_id))
