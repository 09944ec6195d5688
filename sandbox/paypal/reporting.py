"""Transaction search: what moved on the seller's account, so that books can be compared."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sandbox.paypal import money
from sandbox.paypal.buyers import PAYER, PAYER_EMAIL, PAYER_ID
from sandbox.paypal.call import Answer, Body, Call, iso
from sandbox.paypal.errors import malformed

LONGEST_DAYS = 31
MOST_PER_PAGE = 500
FIELDS = frozenset(
    [
        "all",
        "transaction_info",
        "payer_info",
        "shipping_info",
        "auction_info",
        "cart_info",
        "incentive_info",
        "store_info",
    ]
)
PAID, REFUNDED, HELD, RELEASED = "T0006", "T1107", "T1110", "T1111"
WITHDRAWN, RETURNED = "T0400", "T1101"
STATUSES = {"PENDING": "P", "DECLINED": "D", "FAILED": "D", "REFUNDED": "V"}
QUERY = (
    "start_date end_date fields page page_size transaction_id transaction_type transaction_status "
    "transaction_currency balance_affecting_records_only"
)


def transactions(call: Call) -> Answer:
    """Movements that began between start_date and end_date (at most 31 days), oldest first."""
    query = call.query
    start, end = (moment(call, name) for name in ("start_date", "end_date"))
    if not start <= end <= start + LONGEST_DAYS * 86_400:
        raise _wrong("end_date", f"The end date must follow the start date by at most {LONGEST_DAYS} days.")
    wanted = set(query.get("fields", "transaction_info").split(","))
    if not wanted <= FIELDS:
        raise _wrong("fields", f"Choose from {', '.join(sorted(FIELDS))}.")
    balance_only = query.get("balance_affecting_records_only", "Y")
    if balance_only not in {"Y", "N"}:
        raise _wrong("balance_affecting_records_only", "Y or N.")
    page, size = number(call, "page", 1, 10_000), number(call, "page_size", 100, MOST_PER_PAGE)
    equal = {
        "transaction_id": "transaction_id", "transaction_type": "transaction_event_code",
        "transaction_status": "transaction_status",
    }  # fmt: skip
    found = [
        info
        for began, moved, info in sorted(_everything(call), key=lambda item: item[0])
        if start <= began <= end
        and (moved or balance_only == "N")
        and all(info[field] == query[name] for name, field in equal.items() if name in query)
        and info["transaction_amount"]["currency_code"]
        == query.get("transaction_currency", info["transaction_amount"]["currency_code"])
    ]
    payer = {
        "account_id": PAYER_ID, "email_address": PAYER_EMAIL, "address_status": "N", "payer_status": "Y",
        "payer_name": PAYER["name"], "country_code": "US",
    }  # fmt: skip
    more = {"payer_info": payer} if wanted & {"all", "payer_info"} else {}
    return 200, {
        "transaction_details": [
            {"transaction_info": info, **more} for info in found[(page - 1) * size : page * size]
        ],
        "account_number": call.box.options.paypal_merchant_id,
        "start_date": iso(start), "end_date": iso(end), "last_refreshed_datetime": iso(call.now), "page": page,
        "total_items": len(found), "total_pages": -(-len(found) // size),
        "links": [call.link("/v1/reporting/transactions")],
    }  # fmt: skip


def moment(call: Call, name: str) -> float:
    try:
        when = dt.datetime.fromisoformat(call.query[name])
    except (KeyError, ValueError) as problem:
        raise _wrong(name, "An Internet date and time with seconds is required.") from problem
    if when.tzinfo is None:
        raise _wrong(name, "The date needs a time zone.")
    return when.timestamp()


def number(call: Call, name: str, default: int, most: int) -> int:
    text = call.query.get(name, str(default))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:6]) <= most:
        raise _wrong(name, f"A whole number from 1 to {most}.")
    return int(text)


def _wrong(name: str, description: str) -> Exception:
    return malformed(name, "INVALID_PARAMETER_VALUE", description, location="query")


def _everything(call: Call) -> list[tuple[int, bool, dict[str, Any]]]:
    """(began, did it move money, what the report shows), of captures, refunds and disputes."""
    state = call.box.state
    found = []
    for capture in state.select("paypal_capture", limit=1_000_000):
        info = _info(capture, PAID, capture["amount_minor"], capture["order"], "ODR")
        info["fee_amount"] = money.shown(-capture["fee_minor"], capture["currency"])
        info["protection_eligibility"] = "01"
        found.append((capture["created"], capture["status"] not in {"PENDING", "DECLINED"}, info))
    for refund in state.select("paypal_refund", limit=1_000_000):
        info = _info(refund, REFUNDED, -refund["amount_minor"], refund["capture"], "TXN")
        info["fee_amount"] = money.shown(0, refund["currency"])
        found.append((refund["created"], refund["status"] != "FAILED", info))
    for dispute in state.select("paypal_dispute", limit=1_000_000):
        if not dispute["hold"]:
            continue
        info = _info(dispute, HELD, -dispute["amount_minor"], dispute["capture"], "TXN")
        info["transaction_id"] = dispute["hold"]
        found.append((dispute["created"], True, info))
        if dispute["release"]:
            info = _info(dispute, RELEASED, dispute["amount_minor"], dispute["capture"], "TXN")
            info["transaction_id"] = dispute["release"]
            found.append((dispute["updated"], True, info))
    for withdrawal in state.select("paypal_withdrawal", limit=1_000_000):
        sent = {**withdrawal, "status": "PENDING" if withdrawal["status"] == "PENDING" else "COMPLETED"}
        found.append(
            (withdrawal["created"], True, _info(sent, WITHDRAWN, -withdrawal["amount_minor"], "", ""))
        )
        if withdrawal["returned"]:
            back = {**sent, "id": withdrawal["returned"], "created": withdrawal["updated"]}
            info = _info(back, RETURNED, withdrawal["amount_minor"], withdrawal["id"], "TXN")
            found.append((withdrawal["updated"], True, info))
    return found


def balances(call: Call) -> Answer:
    """What the account holds per currency, now or at as_of_time. Money that a dispute holds has left it, as in the report."""
    at = moment(call, "as_of_time") if "as_of_time" in call.query else call.box.clock.now()
    wanted = call.query.get("currency_code")
    sums: dict[str, int] = {}
    rows = call.box.state.rows(
        "SELECT kind, currency, amount_minor FROM ledger WHERE provider = 'paypal' AND at <= ?", at
    )
    for row in rows:
        code = str(row["currency"]).upper()
        if wanted in {None, code}:
            sums[code] = sums.get(code, 0) + row["amount_minor"]
    codes = sorted(sums) or [wanted or "USD"]
    listed = [
        {
            "currency": code, "primary": code == codes[0],
            "total_balance": money.shown(sums.get(code, 0), code),
            "available_balance": money.shown(sums.get(code, 0), code),
            "withheld_balance": money.shown(0, code),
        }
        for code in codes
    ]  # fmt: skip
    return 200, {
        "balances": listed, "account_id": call.box.options.paypal_merchant_id, "as_of_time": iso(at),
        "last_refresh_time": iso(call.now),
    }  # fmt: skip


def _info(record: Body, code: str, amount: int, reference: str, kind: str) -> dict[str, Any]:
    return {
        "paypal_account_id": PAYER_ID, "transaction_id": record["id"],
        **({"paypal_reference_id": reference, "paypal_reference_id_type": kind} if reference else {}),
        "transaction_event_code": code,
        "transaction_initiation_date": iso(record["created"]), "transaction_updated_date": iso(record["updated"]),
        "transaction_amount": money.shown(amount, record["currency"]),
        "transaction_status": STATUSES.get(record["status"], "S"),
        **{shown: record[name] for name, shown in (("invoice_id", "invoice_id"), ("custom_id", "custom_field")) if record.get(name)},
    }  # fmt: skip
