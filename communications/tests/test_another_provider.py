"""Another mail provider by a setting: the same message leaves through Postmark's API, and its reports move it."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.test import Client

from communications.catalogue import KINDS
from communications.models import Message, Suppression
from communications.senders.base import CalendarEntry
from communications.services import outbox, wording
from communications.services.outbox import queue_message
from parking_site import checks

pytestmark = pytest.mark.django_db
HOOK = "/webhooks/postmark/"


@pytest.fixture
def postmark(settings: Any) -> Iterator[dict[str, Any]]:
    """Postmark's API on loopback: what it received, and what to answer."""
    seen: dict[str, Any] = {
        "mails": [],
        "answer": (200, {"ErrorCode": 0, "Message": "OK", "MessageID": "pm-1"}),
    }

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen["mails"].append((self.path, self.headers["X-Postmark-Server-Token"], body))
            status, said = seen["answer"]
            answer = json.dumps({"To": body.get("To", ""), **said}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *arguments: Any) -> None:
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings.EMAIL_PROVIDER = "postmark"
    settings.EMAIL_BACKEND = "anymail.backends.postmark.EmailBackend"
    settings.POSTMARK_WEBHOOK_SECRET = "ours:a-long-password"
    settings.ANYMAIL = {
        **settings.ANYMAIL,
        "POSTMARK_SERVER_TOKEN": "token-1",
        "POSTMARK_API_URL": f"http://127.0.0.1:{server.server_port}/",
    }
    wording.install_default_templates()
    yield seen
    server.shutdown()
    server.server_close()


def sent(**more: Any) -> Message:
    message = queue_message(
        kind="booking_confirmation",
        channel="email",
        to="ada@example.com",
        variables=dict(KINDS["booking_confirmation"].sample),
        dedupe_key=f"k{Message.objects.count()}",
        qr_text="AP-7F3K2Q",
        **more,
    )
    assert message is not None
    assert message.due_at is not None
    done = outbox.send(message.pk, now=message.due_at)
    assert done is not None
    return done


def report(secret: str = "ours:a-long-password", **event: Any) -> int:
    basic = base64.b64encode(secret.encode()).decode()
    headers = {"Authorization": f"Basic {basic}"} if secret else {}
    return (
        Client().post(HOOK, json.dumps(event), content_type="application/json", headers=headers).status_code
    )


def test_the_same_mail_leaves_through_another_provider(postmark: dict[str, Any]) -> None:
    from datetime import UTC, datetime

    calendar = CalendarEntry(
        "x@y",
        datetime(2026, 12, 4, 6, tzinfo=UTC),
        datetime(2026, 12, 5, 6, tzinfo=UTC),
        "Europe/London",
        "Parking",
    )
    message = sent(calendar=calendar)
    assert (message.status, message.provider, message.provider_ref) == ("sent", "postmark", "pm-1")
    path, token, mail = postmark["mails"][0]
    assert (path, token, mail["Metadata"]["message_id"]) == ("/email", "token-1", str(message.pk))
    assert "AP-7F3K2Q" in mail["TextBody"] and "AP-7F3K2Q" in mail["HtmlBody"]
    assert {part["Name"] for part in mail["Attachments"]} >= {"parking.ics", "qr.png"}


def test_its_reports_move_the_message(postmark: dict[str, Any]) -> None:
    message = sent()
    about = {"MessageID": "pm-1", "Recipient": "ada@example.com", "Metadata": {"message_id": str(message.pk)}}
    assert report(RecordType="Delivery", DeliveredAt="2026-11-26T12:00:00Z", **about) == 200
    message.refresh_from_db()
    assert message.status == "delivered"
    bounce = {
        **about,
        "Email": "ada@example.com",
        "ID": 42,
        "Type": "HardBounce",
        "BouncedAt": "2026-11-26T12:01:00Z",
    }
    for _again in range(2):
        assert report(RecordType="Bounce", **bounce) == 200
    message.refresh_from_db()
    assert message.status == "bounced"
    assert Suppression.objects.get().cause == "hard_bounce"


@pytest.mark.parametrize("secret", ["", "ours:wrong", "a-long-password"])
def test_nobody_else_is_believed(postmark: dict[str, Any], settings: Any, secret: str) -> None:
    message = sent()
    about = {"RecordType": "Delivery", "MessageID": "pm-1", "Metadata": {"message_id": str(message.pk)}}
    assert report(secret, **about) == 403
    settings.POSTMARK_WEBHOOK_SECRET = ""
    assert report(**about) == 503
    message.refresh_from_db()
    assert message.status == "sent"


def test_its_refusals_are_told_apart(postmark: dict[str, Any]) -> None:
    postmark["answer"] = (422, {"ErrorCode": 300, "Message": "Invalid 'To' address: 'ada@example.com'."})
    refused = sent()
    assert (refused.status, refused.error_code) == ("failed", "address_refused")
    postmark["answer"] = (422, {"ErrorCode": 300, "Message": "Error parsing 'To': something"})
    assert sent().status == "maybe_sent"
    postmark["answer"] = (503, {"ErrorCode": 100, "Message": "Maintenance"})
    waits = sent()
    assert (waits.status, waits.error_code) == ("queued", "http_503")


def test_an_unknown_provider_is_named_at_the_start(settings: Any) -> None:
    settings.EMAIL_PROVIDER = "pigeon"
    problems = checks.business_rules_are_readable(None)
    assert any("EMAIL_PROVIDER" in problem.msg for problem in problems)
