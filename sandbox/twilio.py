"""Twilio: Programmable Messaging, signed status callbacks, and answers typed on the sandbox phone."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import email.utils
import hmac
import json
import re
import secrets
import urllib.parse
import xml.etree.ElementTree as ET
from typing import Any

import requests
from flask import Blueprint, Response, request

from sandbox import faults
from sandbox.addresses import is_web_address
from sandbox.core import Sandbox, current

blueprint = Blueprint("twilio", __name__)

JOB = "twilio.status"
ACCOUNT = re.compile(r"AC[0-9a-fA-F]{32}")
SERVICE = re.compile(r"MG[0-9a-fA-F]{32}")
NUMBER = re.compile(r"\+[1-9]\d{6,14}")
SENDER_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}")
LONGEST_BODY = 1_600
LARGEST_REQUEST = 64 * 1024
GSM_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_EXTENDED = frozenset("^{}\\[~]|€\f")
FINAL = frozenset({"delivered", "undelivered", "failed"})
# Twilio's own magic numbers, refused at once.
REFUSED_TO = {
    "+15005550001": (21211, "Invalid 'To' Phone Number: {to}"),
    "+15005550002": (21612, "The 'To' phone number: {to}, is not currently reachable using the 'From' phone number: {sender} via SMS."),
    "+15005550003": (21408, "Permission to send an SMS has not been enabled for the region indicated by the 'To' number: {to}."),
    "+15005550004": (21610, "Attempt to send to unsubscribed recipient"),
    "+15005550009": (21614, "'To' number: {to}, is not a valid mobile number"),
}  # fmt: skip
REFUSED_FROM = {
    "+15005550001": (21212, "Invalid 'From' Phone Number: {sender}"),
    "+15005550007": (21606, "The 'From' phone number {sender} is not a valid, SMS-capable inbound phone number or short code for your account."),
    "+15005550008": (21611, "This 'From' number has exceeded the maximum number of queued messages"),
}  # fmt: skip
# By the end of the recipient's number: accepted, and then it goes wrong.
FATES = {
    "0003": ("undelivered", 30003, "Unreachable destination handset"),
    "0005": ("undelivered", 30005, "Unknown destination handset"),
    "0006": ("undelivered", 30006, "Landline or unreachable carrier"),
    "0007": ("undelivered", 30007, "Carrier violation"),
    "0008": ("failed", 30008, "Unknown error"),
}
# Dollars a part, by the beginning of the number; seconds until the price is known.
PRICES = {"+1": 0.0083, "+4": 0.0516, "+3": 0.0798}
PRICE_ELSEWHERE = 0.1
PRICED_AFTER = 30
STOP_WORDS = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT"})
START_WORDS = frozenset({"START", "YES", "UNSTOP"})
# What Twilio itself answers to its words, whatever the site does.
OWN_ANSWERS = {
    "STOP": "You have successfully been unsubscribed. You will not receive any more messages from this number. Reply START to resubscribe.",
    "START": "You have successfully been re-subscribed to messages from this number. Reply HELP for help. Reply STOP to unsubscribe.",
    "HELP": "Reply STOP to unsubscribe. Msg&Data Rates May Apply.",
}


class SmsError(Exception):
    """Twilio's answer to a call it will not carry out."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


def segments(body: str) -> int:
    """How many parts a phone network sends: GSM-7 160/153 septets, else UCS-2 70/67 units."""
    if all(letter in GSM_BASIC or letter in GSM_EXTENDED for letter in body):
        size = sum(2 if letter in GSM_EXTENDED else 1 for letter in body)
        one, many = 160, 153
    else:
        size = len(body.encode("utf-16-be", "surrogatepass")) // 2
        one, many = 70, 67
    return 1 if size <= one else -(-size // many)


# Doors


@blueprint.route("/twilio/2010-04-01/Accounts/<account>/Messages.json", methods=["GET", "POST"])
def messages(account: str) -> Response:
    """Send a message, or list them."""
    box = current()
    try:
        _authenticate(box, account)
    except SmsError as error:
        return _error(error)
    if request.method == "GET":
        return _list(box, account)
    fault = box.faults.take("twilio.messages.create")

    def execute() -> Response:
        try:
            return _json(_shown(_create(box, account)), 201)
        except SmsError as error:
            return _error(error)

    return faults.play(fault, execute, _refusal)


@blueprint.get("/twilio/2010-04-01/Accounts/<account>/Messages/<sid>.json")
def message(account: str, sid: str) -> Response:
    box = current()
    try:
        _authenticate(box, account)
        fault = box.faults.take("twilio.messages.fetch")
        found = _find(box, sid)
        if found is None or found["account_sid"] != account:
            raise SmsError(20404, f"The requested resource {request.path[7:200]} was not found", 404)
    except SmsError as error:
        return _error(error)
    return faults.play(fault, lambda: _json(_shown(found), 200), _refusal)


@blueprint.get("/twilio/2010-04-01/Accounts/<account>.json")
def account_of(account: str) -> Response:
    try:
        _authenticate(current(), account)
    except SmsError as error:
        return _error(error)
    return _json({"sid": account, "friendly_name": "Sandbox", "status": "active", "type": "Trial"}, 200)


@blueprint.get("/twilio/2010-04-01/Accounts/<account>/IncomingPhoneNumbers.json")
def numbers(account: str) -> Response:
    """The account's numbers: the one that is asked for, unless it is one of Twilio's that nobody owns."""
    box = current()
    try:
        _authenticate(box, account)
    except SmsError as error:
        return _error(error)
    asked = request.args.get("PhoneNumber", "")
    owned = bool(NUMBER.fullmatch(asked)) and asked not in REFUSED_FROM
    inbound = box.webhooks.endpoints("twilio")
    found = [
        {
            "sid": "PN" + "5b" * 16, "account_sid": account, "phone_number": asked, "friendly_name": asked, "status": "in-use",
            "capabilities": {"voice": False, "sms": True, "mms": False, "fax": False},
            "sms_url": inbound[0]["url"] if inbound else "", "sms_method": "POST", "sms_application_sid": "",
        }
    ] if owned else []  # fmt: skip
    return _json({"incoming_phone_numbers": found, "page": 0, "page_size": 50, "next_page_uri": None}, 200)


@blueprint.route("/twilio/<path:path>", methods=["GET", "POST", "PUT", "DELETE"])
def elsewhere(path: str) -> Response:
    """Every other address of Twilio's API."""
    return _error(SmsError(20404, f"The requested resource /{path[:150]} was not found", 404))


def _authenticate(box: Sandbox, account: str) -> None:
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    try:
        sid, _, token = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        sid = token = ""
    known = hmac.compare_digest(token.encode(), box.options.twilio_token.encode())
    if scheme.lower() != "basic" or not ACCOUNT.fullmatch(sid) or sid != account or not known:
        raise SmsError(20003, "Authenticate", 401)


def _error(error: SmsError) -> Response:
    body = {
        "code": error.code, "message": error.message, "more_info": f"https://www.twilio.com/docs/errors/{error.code}",
        "status": error.status,
    }  # fmt: skip
    return _json(body, error.status)


def _refusal(status: int) -> Response:
    words = {429: (20429, "Too Many Requests"), 500: (20500, "Internal Server Error")}
    code, message_text = words.get(status, (20001, "The sandbox was told to refuse this call."))
    return _error(SmsError(code, message_text, status))


def _json(body: dict[str, Any], status: int) -> Response:
    return Response(json.dumps(body), status=status, mimetype="application/json")


# Sending


def _form() -> dict[str, str]:
    if (request.content_length or 0) > LARGEST_REQUEST:
        raise SmsError(20413, "Request entity too large", 413)
    try:
        pairs = urllib.parse.parse_qsl(
            request.get_data(cache=False)[: LARGEST_REQUEST + 1].decode("ascii"), keep_blank_values=True,
            errors="strict", max_num_fields=200,
        )  # fmt: skip
    except ValueError as problem:
        raise SmsError(20001, "The body is not valid form data in UTF-8") from problem
    if any("\x00" in value for _, value in pairs):
        raise SmsError(21619, "The message contains characters that cannot be sent")
    return dict(pairs)


def _create(box: Sandbox, account: str) -> dict[str, Any]:
    form = _form()
    recipient = form.get("To", "").strip()
    if not recipient:
        raise SmsError(21604, "A 'To' phone number is required.")
    service, sender = form.get("MessagingServiceSid", ""), form.get("From", "")
    if service and not SERVICE.fullmatch(service):
        raise SmsError(21701, "The Messaging Service Sid is invalid.")
    if not service and not sender:
        raise SmsError(21603, "A 'From' phone number is required.")
    if sender and not NUMBER.fullmatch(sender) and not SENDER_NAME.fullmatch(sender):
        raise SmsError(21212, f"Invalid 'From' Phone Number: {sender[:40]}")
    if not NUMBER.fullmatch(recipient):
        raise SmsError(21211, f"Invalid 'To' Phone Number: {recipient[:40]}")
    body = form.get("Body", "")
    if not body:
        raise SmsError(21602, "Message body is required.")
    if len(body) > LONGEST_BODY:
        raise SmsError(21617, f"The concatenated message body exceeds the {LONGEST_BODY} character limit")
    callback = form.get("StatusCallback", "")
    if callback and not is_web_address(callback):
        raise SmsError(21609, f"The 'StatusCallback' URL {callback[:200]} is not a valid URL.")
    for table, key in ((REFUSED_TO, recipient), (REFUSED_FROM, sender)):
        if key in table:
            code, words = table[key]
            raise SmsError(code, words.format(to=recipient, sender=sender))
    if sender == recipient:
        raise SmsError(21266, "'To' and 'From' number cannot be the same")
    shown_sender = sender or "+15005550006"
    if box.state.marked("opted_out", f"{shown_sender} {recipient}") is not None:
        raise SmsError(21610, "Attempt to send to unsubscribed recipient")
    with box.state.transaction():
        record = _store(
            box, account=account, sender=shown_sender, recipient=recipient, body=body, service=service,
            callback=callback, direction="outbound-api", status="accepted" if service else "queued",
        )  # fmt: skip
        _plan(box, record)
    box.webhooks.wake()
    return record


def _store(
    box: Sandbox, *, account: str, sender: str, recipient: str, body: str, service: str, callback: str,
    direction: str, status: str,
) -> dict[str, Any]:  # fmt: skip
    now = box.clock.now()
    record = {
        "sid": f"SM{secrets.token_hex(16)}", "account_sid": account, "from": sender, "to": recipient, "body": body,
        "messaging_service_sid": service or None, "direction": direction, "status": status,
        "num_segments": str(segments(body)), "error_code": None, "error_message": None, "callback": callback,
        "created_at": now, "updated_at": now, "sent_at": None, "history": [{"status": status, "at": now}],
    }  # fmt: skip
    box.state.run(
        "INSERT INTO sms (sid, created_at, body) VALUES (?, ?, ?)", record["sid"], now, json.dumps(record)
    )
    return record


def _plan(box: Sandbox, record: dict[str, Any]) -> None:
    """What will be reported about an accepted message, and when."""
    status, code, words = FATES.get(record["to"][-4:], ("delivered", None, None))
    steps = [(0.1, "queued", None, None), (0.4, "sent", None, None), (1.0, status, code, words)]
    if status == "failed":
        steps.pop(1)
    for delay, step, error_code, error_message in steps:
        box.state.later(
            record["created_at"] + delay, JOB,
            {"sid": record["sid"], "status": step, "error_code": error_code, "error_message": error_message},
        )  # fmt: skip


def happen(box: Sandbox, payload: dict[str, Any]) -> None:
    """A message moves on; whoever gave a StatusCallback hears of it, signed."""
    record = _find(box, payload["sid"])
    if record is None or record["status"] in FINAL:
        return
    now = box.clock.now()
    record.update(
        status=payload["status"],
        error_code=payload["error_code"],
        error_message=payload["error_message"],
        updated_at=now,
    )
    if payload["status"] == "sent":
        record["sent_at"] = now
    record["history"].append({"status": payload["status"], "at": now})
    box.state.run("UPDATE sms SET body = ? WHERE sid = ?", json.dumps(record), record["sid"])
    if not record["callback"]:
        return
    fields = {
        "AccountSid": record["account_sid"], "ApiVersion": "2010-04-01", "From": record["from"],
        "MessageSid": record["sid"], "MessageStatus": payload["status"], "SmsSid": record["sid"],
        "SmsStatus": payload["status"], "To": record["to"],
    }  # fmt: skip
    if record["messaging_service_sid"]:
        fields["MessagingServiceSid"] = record["messaging_service_sid"]
    if payload["error_code"]:
        fields["ErrorCode"] = str(payload["error_code"])
        fields["ErrorMessage"] = payload["error_message"]
    box.webhooks.queue(
        "twilio", url=record["callback"], secret=box.options.twilio_token,
        event_id=f"{record['sid']}:{payload['status']}", event_type=f"message.{payload['status']}",
        body=urllib.parse.urlencode(fields),
    )  # fmt: skip


# Answers from the sandbox phone


def receive(box: Sandbox, *, phone: str, number: str, body: str) -> dict[str, Any]:
    """Someone answers from `phone` to our `number`: Twilio's opt-out words act, the inbound webhook is told."""
    if not NUMBER.fullmatch(phone) or not number:
        raise SmsError(21211, "Give the phone as an international number, for example +4915112345678.")
    if not body or len(body) > LONGEST_BODY or "\x00" in body:
        raise SmsError(21617, f"Write a message of 1 to {LONGEST_BODY} characters.")
    with box.state.transaction():
        record = _store(
            box, account=_account(box), sender=phone, recipient=number, body=body, service="", callback="",
            direction="inbound", status="received",
        )  # fmt: skip
        word = body.strip().upper()
        fields = {
            "AccountSid": record["account_sid"], "ApiVersion": "2010-04-01", "Body": body, "From": phone,
            "MessageSid": record["sid"], "NumMedia": "0", "NumSegments": record["num_segments"],
            "SmsMessageSid": record["sid"], "SmsSid": record["sid"], "SmsStatus": "received", "To": number,
        }  # fmt: skip
        if word in STOP_WORDS:
            box.state.mark("opted_out", f"{number} {phone}")
            fields["OptOutType"] = "STOP"
        elif word in START_WORDS:
            box.state.unmark("opted_out", f"{number} {phone}")
            fields["OptOutType"] = "START"
        elif word in {"HELP", "INFO"}:
            fields["OptOutType"] = "HELP"
        if fields.get("OptOutType"):
            answer = _store(
                box, account=record["account_sid"], sender=number, recipient=phone, body=OWN_ANSWERS[fields["OptOutType"]],
                service="", callback="", direction="outbound-reply", status="queued",
            )  # fmt: skip
            _plan(box, answer)
        for endpoint in box.webhooks.endpoints("twilio"):
            box.webhooks.queue(
                "twilio", url=endpoint["url"], secret=box.options.twilio_token, event_id=record["sid"],
                event_type="message.received", body=urllib.parse.urlencode(fields),
            )  # fmt: skip
    box.webhooks.wake()
    return record


def _account(box: Sandbox) -> str:
    """The account whose messages the phone has seen last."""
    found = box.state.row("SELECT body FROM sms ORDER BY seq DESC LIMIT 1")
    return json.loads(found["body"])["account_sid"] if found else "AC" + "5a" * 16


def _read_answer(box: Sandbox, delivery: dict[str, Any], response: requests.Response) -> None:
    """TwiML in the answer to an inbound message: each <Message> becomes a reply."""
    if delivery["event_type"] != "message.received" or "xml" not in response.headers.get("Content-Type", ""):
        return
    text = response.text[:100_000]
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        return
    try:
        tree = ET.fromstring(text)  # noqa: S314 entities are refused above, and the site is ours
    except ET.ParseError:
        return
    fields = dict(urllib.parse.parse_qsl(delivery["body"], keep_blank_values=True))
    for reply in tree.iter("Message"):
        body = "".join(reply.itertext()).strip()[:LONGEST_BODY]
        if body:
            with box.state.transaction():
                record = _store(
                    box, account=fields["AccountSid"], sender=fields["To"], recipient=fields["From"], body=body,
                    service="", callback="", direction="outbound-reply", status="queued",
                )  # fmt: skip
                _plan(box, record)


# Reading


def _find(box: Sandbox, sid: str) -> dict[str, Any] | None:
    found = box.state.row("SELECT body FROM sms WHERE sid = ?", sid)
    return None if found is None else json.loads(found["body"])


def everything(box: Sandbox, *, number: str = "", limit: int = 1_000) -> list[dict[str, Any]]:
    """Newest first; `number` narrows to one phone, as sender or recipient."""
    most = -1 if number else limit
    rows = box.state.rows("SELECT body FROM sms ORDER BY seq DESC LIMIT ?", most)
    found = [json.loads(row["body"]) for row in rows]
    if number:
        found = [item for item in found if number in {item["to"], item["from"]}]
    return found[:limit]


def _date(moment: float | None) -> str | None:
    return (
        None if moment is None else email.utils.format_datetime(dt.datetime.fromtimestamp(moment, tz=dt.UTC))
    )


def _price(record: dict[str, Any]) -> str | None:
    """What was taken from the account. Twilio names it some time after the message has left, and nothing for one that did not."""
    if record["direction"] == "inbound" or record["sent_at"] is None:
        return None
    if current().clock.now() < record["sent_at"] + PRICED_AFTER:
        return None
    return f"-{int(record['num_segments']) * PRICES.get(record['to'][:2], PRICE_ELSEWHERE):.5f}"


def _shown(record: dict[str, Any]) -> dict[str, Any]:
    address = f"/2010-04-01/Accounts/{record['account_sid']}/Messages/{record['sid']}"
    return {
        "account_sid": record["account_sid"], "api_version": "2010-04-01", "body": record["body"],
        "date_created": _date(record["created_at"]), "date_sent": _date(record["sent_at"]),
        "date_updated": _date(record["updated_at"]), "direction": record["direction"],
        "error_code": record["error_code"], "error_message": record["error_message"], "from": record["from"],
        "messaging_service_sid": record["messaging_service_sid"], "num_media": "0",
        "num_segments": record["num_segments"], "price": _price(record), "price_unit": "USD", "sid": record["sid"],
        "status": record["status"],
        "subresource_uris": {"feedback": f"{address}/Feedback.json", "media": f"{address}/Media.json"},
        "to": record["to"], "uri": f"{address}.json",
    }  # fmt: skip


def _list(box: Sandbox, account: str) -> Response:
    found = [item for item in everything(box, limit=100_000) if item["account_sid"] == account]
    for name, key in (("To", "to"), ("From", "from")):
        if request.args.get(name):
            found = [item for item in found if item[key] == request.args[name]]
    try:
        size = min(max(int(request.args.get("PageSize", 50)), 1), 1_000)
        page = max(int(request.args.get("Page", 0)), 0)
    except ValueError:
        return _error(SmsError(20001, "PageSize and Page must be whole numbers"))
    part = found[page * size : (page + 1) * size]

    def address(number: int) -> str:
        query = {**request.args.to_dict(), "PageSize": size, "Page": number}
        return f"/2010-04-01/Accounts/{account}/Messages.json?{urllib.parse.urlencode(query)}"

    body = {
        "messages": [_shown(item) for item in part], "page": page, "page_size": size, "start": page * size,
        "end": page * size + max(len(part) - 1, 0), "uri": address(page), "first_page_uri": address(0),
        "next_page_uri": address(page + 1) if len(found) > (page + 1) * size else None,
        "previous_page_uri": address(page - 1) if page else None,
    }  # fmt: skip
    return _json(body, 200)


def plug_in(box: Sandbox) -> None:
    box.webhooks.handle_jobs(JOB, lambda payload: happen(box, payload))
    box.webhooks.read_answers("twilio", lambda delivery, response: _read_answer(box, delivery, response))
