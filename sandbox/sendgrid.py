"""SendGrid: Mail Send v3 and the signed Event Webhook."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import re
from typing import Any

from flask import Blueprint, Response, request

from sandbox import faults
from sandbox.core import Sandbox, current
from sandbox.state import identifier

blueprint = Blueprint("sendgrid", __name__)

JOB = "sendgrid.event"
LARGEST_MESSAGE = 30 * 1024 * 1024
DOMAIN_OF_SENDERS = "runway.example"
MOST_RECIPIENTS = 1_000
LONGEST_SUBJECT = 998
LARGEST_CUSTOM_ARGS = 10_000
ADDRESS = re.compile(r"[^@\s<>\x00-\x1f\x7f]{1,64}@[^@\s<>\x00-\x1f\x7f]{1,255}")
_TOP_LEVEL = """
    personalizations from reply_to reply_to_list subject content attachments template_id headers
    categories custom_args send_at batch_id asm ip_pool_name mail_settings tracking_settings
"""
TOP_LEVEL = frozenset(_TOP_LEVEL.split())
_PERSONAL = """
    to cc bcc from subject headers substitutions dynamic_template_data custom_args send_at
"""
PERSONAL = frozenset(_PERSONAL.split())
_RESERVED_HEADERS = """
    x-sg-id x-sg-eid received dkim-signature content-type content-transfer-encoding to from subject
    reply-to cc bcc
"""
RESERVED_HEADERS = frozenset(_RESERVED_HEADERS.split())
# By the recipient's domain: what happens to the message, with seconds after acceptance.
FATES: dict[str, list[tuple[float, str, dict[str, Any]]]] = {
    "bounce.example": [
        (0.2, "processed", {}),
        (0.8, "bounce", {"reason": "550 5.1.1 The email account that you tried to reach does not exist", "status": "5.1.1", "type": "bounce"}),
    ],
    "blocked.example": [
        (0.2, "processed", {}),
        (0.8, "bounce", {"reason": "550 5.7.1 Message blocked by the recipient's provider", "status": "5.7.1", "type": "blocked"}),
    ],
    "dropped.example": [(0.2, "dropped", {"reason": "Invalid", "status": "5.0.0"})],
    "spam.example": [(0.2, "processed", {}), (0.6, "delivered", {"response": "250 OK"}), (1.5, "spamreport", {})],
    "deferred.example": [
        (0.2, "processed", {}),
        (0.6, "deferred", {"response": "451 4.7.1 Please try again later", "attempt": "1"}),
        (30.0, "delivered", {"response": "250 OK"}),
    ],
}  # fmt: skip
DELIVERED = [(0.2, "processed", {}), (0.6, "delivered", {"response": "250 OK"})]
SUPPRESSING = {"bounce": "Bounced Address", "spamreport": "Spam Reporting Address"}


class MailError(Exception):
    """SendGrid's answer to a message it will not take."""

    def __init__(self, message: str, field: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.message, self.field, self.status = message, field, status


@blueprint.post("/sendgrid/v3/mail/send")
def send() -> Response:
    """Accept a message (202) or refuse it in SendGrid's words."""
    box = current()
    try:
        _authenticate()
    except MailError as error:
        return _error(error)
    fault = box.faults.take("sendgrid.mail.send")

    def execute() -> Response:
        try:
            message = _parse()
            return _accept(box, message)
        except MailError as error:
            return _error(error)

    return faults.play(fault, execute, _refusal)


@blueprint.get("/sendgrid/v3/scopes")
@blueprint.get("/sendgrid/v3/verified_senders")
@blueprint.get("/sendgrid/v3/whitelabel/domains")
@blueprint.get("/sendgrid/v3/user/webhooks/event/settings/all")
def settings() -> Response:
    """What the account may do, who it may send as, and where it reports: every sender's domain is authenticated here."""
    box = current()
    try:
        _authenticate()
    except MailError as error:
        return _error(error)
    name = request.path.rpartition("/v3/")[2]
    fault = box.faults.take(f"sendgrid.{name.replace('/', '.')}")

    def execute() -> Response:
        body: Any
        match name:
            case "scopes":
                body = {
                    "scopes": [
                        "mail.send",
                        "user.webhooks.event.settings.read",
                        "sender_verification_eligible",
                    ]
                }
            case "verified_senders":
                body = {"results": []}
            case "whitelabel/domains":
                body = [{"id": 1, "domain": DOMAIN_OF_SENDERS, "valid": True, "default": True}]
            case _:
                body = {
                    "max_allowed": 5,
                    "webhooks": [_hook(box, known) for known in box.webhooks.endpoints("sendgrid")],
                }
        return Response(json.dumps(body), mimetype="application/json")

    return faults.play(fault, execute, _refusal)


def _hook(box: Sandbox, known: dict[str, Any]) -> dict[str, Any]:
    events = dict.fromkeys(
        (
            "processed",
            "delivered",
            "deferred",
            "bounce",
            "dropped",
            "spam_report",
            "open",
            "click",
            "unsubscribe",
        ),
        True,
    )
    return {
        "id": known["id"], "enabled": True, "url": known["url"], "friendly_name": "Sandbox", "group_resubscribe": False,
        "group_unsubscribe": False, "public_key": box.webhooks.sendgrid_key.public_key, **events,
    }  # fmt: skip


@blueprint.route("/sendgrid/<path:path>", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
def elsewhere(path: str) -> Response:
    """Every other address of SendGrid's API."""
    return _error(
        MailError(
            f"The sandbox plays POST /v3/mail/send and the account's settings, not {path[:100]}.", status=404
        )
    )


def _authenticate() -> None:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not re.fullmatch(r"SG\.[\w.-]{6,}", key.strip()):
        raise MailError("The provided authorization grant is invalid, expired, or revoked", status=401)


def _refusal(status: int) -> Response:
    words = {429: "too many requests", 500: "internal server error"}
    return _error(MailError(words.get(status, "The sandbox was told to refuse this call."), status=status))


def _error(error: MailError) -> Response:
    body = {"errors": [{"message": error.message, "field": error.field, "help": None}]}
    return Response(json.dumps(body), status=error.status, mimetype="application/json")


# Reading


def _parse() -> dict[str, Any]:
    if (request.content_length or 0) > LARGEST_MESSAGE:
        raise MailError("Payload too large: a message may have up to 30 MB.", status=413)
    if request.mimetype != "application/json":
        raise MailError("Content-Type should be application/json.", status=415)
    try:
        message = json.loads(request.get_data(cache=False))
    except (ValueError, RecursionError) as problem:
        raise MailError("Bad Request: the body is not valid JSON.") from problem
    if not isinstance(message, dict):
        raise MailError("Bad Request: the body must be an object.")
    _no_broken_text(message, "")
    _check(message)
    return message


def _no_broken_text(value: Any, field: str) -> None:
    """NUL bytes and lone surrogates are no text that could be mailed."""
    if isinstance(value, str):
        if "\x00" in value or any(0xD800 <= ord(letter) <= 0xDFFF for letter in value):
            raise MailError("The text contains characters that cannot be sent.", field or None)
    elif isinstance(value, dict):
        for name, item in value.items():
            _no_broken_text(name, field)
            _no_broken_text(item, f"{field}.{name}" if field else name)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _no_broken_text(item, f"{field}.{index}")


def _check(message: dict[str, Any]) -> None:
    unknown = set(message) - TOP_LEVEL
    if unknown:
        raise MailError(f"Additional property {min(unknown)} is not allowed", min(unknown))
    _check_person(
        message.get("from"),
        "from",
        "The from object must be provided for every email send. It is an object that requires the email "
        "parameter, but may also contain a name parameter.",
    )
    personal = message.get("personalizations")
    if not isinstance(personal, list) or not personal:
        raise MailError(
            "The personalizations field is required and must have at least one personalization.",
            "personalizations",
        )
    if len(personal) > 1_000:
        raise MailError("There may be at most 1000 personalizations.", "personalizations")
    for index, item in enumerate(personal):
        _check_personalization(item, f"personalizations.{index}", message)
    if message.get("template_id"):
        raise MailError("The sandbox keeps no templates at SendGrid; send the content.", "template_id")
    _check_content(message.get("content"))
    _check_headers(message.get("headers"), "headers")
    _check_custom_args(message.get("custom_args"), "custom_args")
    if "reply_to" in message:
        _check_person(message["reply_to"], "reply_to", "The reply_to object requires the email parameter.")
    for name in ("mail_settings", "tracking_settings", "asm"):
        if not isinstance(message.get(name, {}), dict):
            raise MailError(f"{name} must be an object.", name)
    for name in ("batch_id", "ip_pool_name"):
        if not isinstance(message.get(name, ""), str):
            raise MailError(f"{name} must be a string.", name)
    many = message.get("reply_to_list") or []
    if not isinstance(many, list) or len(many) > MOST_RECIPIENTS:
        raise MailError(
            f"reply_to_list must be an array of at most {MOST_RECIPIENTS} addresses.", "reply_to_list"
        )
    for index, person in enumerate(many):
        _check_person(person, f"reply_to_list.{index}", "Every reply-to requires the email parameter.")
    _check_categories(message.get("categories"))
    _check_attachments(message.get("attachments"))
    _check_send_at(message.get("send_at"), "send_at")
    sandbox_mode = message.get("mail_settings", {}).get("sandbox_mode", {})
    if not isinstance(sandbox_mode, dict) or not isinstance(sandbox_mode.get("enable", False), bool):
        raise MailError(
            "sandbox_mode must be an object whose enable is true or false.", "mail_settings.sandbox_mode"
        )


def _check_person(person: Any, field: str, needed: str) -> None:
    if not isinstance(person, dict) or not isinstance(person.get("email"), str):
        raise MailError(needed, f"{field}.email")
    if set(person) - {"email", "name"}:
        raise MailError(f"Additional property {min(set(person) - {'email', 'name'})} is not allowed", field)
    if not ADDRESS.fullmatch(person["email"]):
        raise MailError("Does not contain a valid address.", f"{field}.email")
    name = person.get("name", "")
    if name is not None and (not isinstance(name, str) or "\n" in name or "\r" in name):
        raise MailError("The name must be a text on one line.", f"{field}.name")


def _check_personalization(item: Any, field: str, message: dict[str, Any]) -> None:
    if not isinstance(item, dict):
        raise MailError("A personalization must be an object.", field)
    unknown = set(item) - PERSONAL
    if unknown:
        raise MailError(f"Additional property {min(unknown)} is not allowed", f"{field}.{min(unknown)}")
    if not isinstance(item.get("to"), list) or not item["to"]:
        raise MailError(
            "The to array is required for all personalization objects, and must have at least one email object with a "
            "valid email address.",
            f"{field}.to",
        )
    seen: set[str] = set()
    for kind in ("to", "cc", "bcc"):
        people = item.get(kind, [])
        if not isinstance(people, list) or len(people) > MOST_RECIPIENTS:
            raise MailError(
                f"{kind} must be an array of at most {MOST_RECIPIENTS} addresses.", f"{field}.{kind}"
            )
        for index, person in enumerate(people):
            _check_person(person, f"{field}.{kind}.{index}", "The email parameter is required.")
            address = person["email"].lower()
            if address in seen:
                raise MailError(
                    "Each email address in the personalization block should be unique between to, cc, and bcc. We found "
                    f"the first duplicate instance of [{person['email']}] in the {field}.{kind} field.",
                    field,
                )
            seen.add(address)
    if "from" in item:
        _check_person(item["from"], f"{field}.from", "The from object requires the email parameter.")
    subject = item.get("subject", message.get("subject"))
    if not isinstance(subject, str) or not subject:
        raise MailError(
            "The subject is required. You can get around this requirement if you use a template with a subject defined "
            "or if every personalization has a subject defined.",
            "subject",
        )
    if "\n" in subject or "\r" in subject or len(subject) > LONGEST_SUBJECT:
        raise MailError(f"The subject must be one line of at most {LONGEST_SUBJECT} characters.", "subject")
    _check_headers(item.get("headers"), f"{field}.headers")
    _check_custom_args(item.get("custom_args"), f"{field}.custom_args")
    substitutions = item.get("substitutions")
    if substitutions is not None and not (
        isinstance(substitutions, dict) and all(isinstance(value, str) for value in substitutions.values())
    ):
        raise MailError("Substitution values must be strings.", f"{field}.substitutions")
    _check_send_at(item.get("send_at"), f"{field}.send_at")


def _check_content(content: Any) -> None:
    if not isinstance(content, list) or not content:
        raise MailError(
            "Unless a valid template_id is provided, the content parameter is required. There must be at least one "
            "defined content block. We typically suggest both text/plain and text/html blocks are included, but only one "
            "block is required.",
            "content",
        )
    kinds = []
    for index, block in enumerate(content):
        if not isinstance(block, dict) or not all(
            isinstance(block.get(name), str) for name in ("type", "value")
        ):
            raise MailError("Every content block needs a type and a value.", f"content.{index}")
        if not block["value"]:
            raise MailError(
                "The content value must be a string at least one character in length.",
                f"content.{index}.value",
            )
        kinds.append(block["type"].partition(";")[0].strip().lower())
    if len(set(kinds)) != len(kinds) or ("text/plain" in kinds and kinds.index("text/plain") != 0):
        raise MailError(
            "If present, text/plain and text/html may only be provided once. The first must be text/plain, followed by "
            "text/html.",
            "content",
        )


def _check_headers(headers: Any, field: str) -> None:
    if headers is None:
        return
    if not isinstance(headers, dict):
        raise MailError("headers must be an object.", field)
    for name, value in headers.items():
        if name.lower() in RESERVED_HEADERS:
            raise MailError(f"The header {name} is reserved and cannot be set.", f"{field}.{name}")
        if (
            not re.fullmatch(r"[!-9;-~]+", name)
            or not isinstance(value, str)
            or "\n" in value
            or "\r" in value
        ):
            raise MailError("Headers must be texts on one line.", field)


def _check_custom_args(arguments: Any, field: str) -> None:
    if arguments is None:
        return
    if not isinstance(arguments, dict) or not all(isinstance(value, str) for value in arguments.values()):
        raise MailError("custom_args must be an object whose values are strings.", field)
    if len(json.dumps(arguments).encode()) > LARGEST_CUSTOM_ARGS:
        raise MailError(f"custom_args may have up to {LARGEST_CUSTOM_ARGS} bytes.", field)


def _check_categories(categories: Any) -> None:
    if categories is None:
        return
    good = isinstance(categories, list) and all(
        isinstance(item, str) and len(item) <= 255 for item in categories
    )
    if not good or len(categories) > 10 or len(set(categories)) != len(categories):
        raise MailError(
            "categories must be at most 10 different texts of at most 255 characters.", "categories"
        )


def _check_attachments(attachments: Any) -> None:
    if attachments is None:
        return
    if not isinstance(attachments, list):
        raise MailError("attachments must be an array.", "attachments")
    for index, item in enumerate(attachments):
        field = f"attachments.{index}"
        if not isinstance(item, dict) or not isinstance(item.get("filename"), str) or not item["filename"]:
            raise MailError("The attachment filename parameter is required.", f"{field}.filename")
        try:
            content = base64.b64decode(item.get("content") or "", validate=True)
        except (binascii.Error, ValueError, TypeError) as problem:
            raise MailError("The attachment content must be base64 encoded.", f"{field}.content") from problem
        if not content:
            raise MailError("The attachment content is required.", f"{field}.content")
        for name in ("type", "content_id", "disposition"):
            if not isinstance(item.get(name, ""), str):
                raise MailError(f"The attachment {name} must be a string.", f"{field}.{name}")
        if item.get("disposition", "attachment") not in {"attachment", "inline"}:
            raise MailError(
                "The attachment disposition must be inline or attachment.", f"{field}.disposition"
            )


def _check_send_at(moment: Any, field: str) -> None:
    if moment is None:
        return
    if isinstance(moment, bool) or not isinstance(moment, int):
        raise MailError("send_at must be a unix timestamp.", field)
    if moment > current().clock.now() + 72 * 3_600:
        raise MailError("Scheduling more than 72 hours in advance is forbidden.", field)


# Accepting


def _accept(box: Sandbox, message: dict[str, Any]) -> Response:
    message_id = identifier("", 22)
    if message.get("mail_settings", {}).get("sandbox_mode", {}).get("enable"):
        return Response(status=200)
    with box.state.transaction():
        for index, personal in enumerate(message["personalizations"]):
            _store(box, message, personal, message_id, index)
    box.webhooks.wake()
    return Response(status=202, headers={"X-Message-Id": message_id}, mimetype="text/plain")


def _store(
    box: Sandbox, message: dict[str, Any], personal: dict[str, Any], message_id: str, index: int
) -> None:
    contents = {
        block["type"].partition(";")[0].strip().lower(): block["value"] for block in message["content"]
    }
    subject: str = personal.get("subject") or message["subject"]
    for old, new in (personal.get("substitutions") or {}).items():
        subject = subject.replace(old, new)
        contents = {kind: value.replace(old, new) for kind, value in contents.items()}
    now = box.clock.now()
    mail_id = message_id if index == 0 else f"{message_id}-{index}"
    record = {
        "id": mail_id,
        "message_id": message_id,
        "created_at": _iso(now),
        "from": personal.get("from", message["from"]),
        "to": personal["to"],
        "cc": personal.get("cc", []),
        "bcc": personal.get("bcc", []),
        "reply_to": message.get("reply_to_list") or ([message["reply_to"]] if "reply_to" in message else []),
        "subject": subject,
        "text": contents.get("text/plain", ""),
        "html": contents.get("text/html", ""),
        "other": {kind: value for kind, value in contents.items() if kind not in {"text/plain", "text/html"}},
        "headers": {**(message.get("headers") or {}), **(personal.get("headers") or {})},
        "custom_args": {**(message.get("custom_args") or {}), **(personal.get("custom_args") or {})},
        "categories": message.get("categories") or [],
        "attachments": [
            {
                "filename": item["filename"],
                "type": item.get("type", "application/octet-stream"),
                "disposition": item.get("disposition", "attachment"),
                "content_id": item.get("content_id", ""),
                "size": len(base64.b64decode(item["content"])),
                "content": item["content"],
            }
            for item in message.get("attachments") or []
        ],
        "events": [],
    }
    box.state.run(
        "INSERT INTO mail (id, created_at, body) VALUES (?, ?, ?)", mail_id, now, json.dumps(record)
    )
    start = max(now, float(personal.get("send_at") or message.get("send_at") or 0))
    for person in [*record["to"], *record["cc"], *record["bcc"]]:
        for delay, event, details in _fate(box, person["email"]):
            box.state.later(
                start + delay,
                JOB,
                {"mail": mail_id, "email": person["email"], "event": event, "details": details},
            )


def _fate(box: Sandbox, address: str) -> list[tuple[float, str, dict[str, Any]]]:
    suppressed = box.state.marked("suppressed", address.lower())
    if suppressed:
        return [(0.2, "dropped", {"reason": suppressed, "status": "5.0.0"})]
    return FATES.get(address.rpartition("@")[2].lower(), DELIVERED)


def happen(box: Sandbox, payload: dict[str, Any]) -> None:
    """One event in a message's life: kept with the message and published, signed."""
    found = box.state.row("SELECT body FROM mail WHERE id = ?", payload["mail"])
    if found is None:
        return
    record = json.loads(found["body"])
    event = {
        **record["custom_args"],
        "email": payload["email"],
        "timestamp": box.clock.timestamp(),
        "smtp-id": f"<{record['message_id']}@ismtpd0001.sandbox.example>",
        "event": payload["event"],
        **({"category": record["categories"]} if record["categories"] else {}),
        "sg_event_id": identifier("", 22),
        "sg_message_id": f"{record['message_id']}.recvd-sandbox-1",
        **payload["details"],
    }
    if payload["event"] in SUPPRESSING and payload["details"].get("type") != "blocked":
        box.state.mark("suppressed", payload["email"].lower(), SUPPRESSING[payload["event"]])
    record["events"].append({**event, "at": _iso(box.clock.now())})
    box.state.run("UPDATE mail SET body = ? WHERE id = ?", json.dumps(record), payload["mail"])
    box.webhooks.publish(
        "sendgrid", event_id=event["sg_event_id"], event_type=payload["event"],
        body=json.dumps([event], ensure_ascii=False),
    )  # fmt: skip


def mails(box: Sandbox, *, to: str = "", limit: int = 1_000) -> list[dict[str, Any]]:
    """Newest first; `to` narrows to one recipient's address."""
    most = -1 if to else limit
    rows = box.state.rows("SELECT body FROM mail ORDER BY seq DESC LIMIT ?", most)
    found = [json.loads(row["body"]) for row in rows]
    if to:
        found = [
            mail
            for mail in found
            if any(
                person["email"].lower() == to.lower() for person in [*mail["to"], *mail["cc"], *mail["bcc"]]
            )
        ]
    return found[:limit]


def mail(box: Sandbox, mail_id: str) -> dict[str, Any] | None:
    found = box.state.row("SELECT body FROM mail WHERE id = ?", mail_id)
    return None if found is None else json.loads(found["body"])


def _iso(moment: float) -> str:
    return dt.datetime.fromtimestamp(moment, tz=dt.UTC).isoformat()


def plug_in(box: Sandbox) -> None:
    box.webhooks.handle_jobs(JOB, lambda payload: happen(box, payload))
