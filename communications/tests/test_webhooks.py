from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.test import Client
from twilio.request_validator import RequestValidator

from communications.models import DeliveryEvent, Message
from communications.services.outbox import queue_message
from communications.webhooks import sendgrid as sendgrid_door

pytestmark = pytest.mark.django_db
KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(autouse=True)
def verification_key(settings: Any) -> None:
    der = KEY.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    settings.SENDGRID_WEBHOOK_VERIFICATION_KEY = base64.b64encode(der).decode()


@pytest.fixture
def sent(db: None) -> Message:
    message = queue_message(
        kind="welcome", channel="email", to="ada@example.com", variables={}, dedupe_key="w"
    )
    assert message is not None
    Message.objects.filter(pk=message.pk).update(status="sending")
    Message.objects.filter(pk=message.pk).update(status="sent", provider_ref="SM1")
    message.refresh_from_db()
    return message


def mail_event(message: Message, what: str, event_id: str) -> dict[str, Any]:
    return {
        "event": what,
        "email": message.to,
        "timestamp": 1795000000,
        "sg_event_id": event_id,
        "message_id": str(message.pk),
        "reason": "mailbox full",
    }


def post_mail(events: Any, *, key: Any = KEY, tamper: bool = False) -> int:
    body = json.dumps(events).encode()
    signature = base64.b64encode(key.sign(b"1795000000" + body, ec.ECDSA(hashes.SHA256()))).decode()
    return int(
        Client()
        .post(
            "/webhooks/sendgrid/",
            body + (b" " if tamper else b""),
            content_type="application/json",
            headers={
                "X-Twilio-Email-Event-Webhook-Signature": signature,
                "X-Twilio-Email-Event-Webhook-Timestamp": "1795000000",
            },
        )
        .status_code
    )


def test_mail_events_move_forward_only_and_count_once(sent: Message) -> None:
    assert post_mail([mail_event(sent, "delivered", "e1"), mail_event(sent, "processed", "e0")]) == 200
    assert post_mail([mail_event(sent, "delivered", "e1")]) == 200
    assert post_mail([mail_event(sent, "deferred", "e2")]) == 200
    sent.refresh_from_db()
    assert (sent.status, sent.events.count()) == ("delivered", 3)
    assert sent.delivered_at is not None


def test_a_bounce_says_why(sent: Message) -> None:
    post_mail([mail_event(sent, "bounce", "e1")])
    post_mail([mail_event(sent, "delivered", "e2")])
    sent.refresh_from_db()
    assert (sent.status, sent.error_text) == ("bounced", "mailbox full")


def test_forged_or_unsigned_mail_events_are_refused(sent: Message) -> None:
    event = [mail_event(sent, "delivered", "e1")]
    assert post_mail(event, key=ec.generate_private_key(ec.SECP256R1())) == 403
    assert post_mail(event, tamper=True) == 403
    assert Client().post("/webhooks/sendgrid/", event, content_type="application/json").status_code == 403
    odd = {"X-Twilio-Email-Event-Webhook-Signature": "é", "X-Twilio-Email-Event-Webhook-Timestamp": "1"}
    answer = Client().post("/webhooks/sendgrid/", event, content_type="application/json", headers=odd)
    assert answer.status_code == 403
    assert not DeliveryEvent.objects.exists()


def test_without_a_key_nothing_is_accepted(sent: Message, settings: Any) -> None:
    settings.SENDGRID_WEBHOOK_VERIFICATION_KEY = ""
    settings.DEPLOYED = True
    assert post_mail([mail_event(sent, "delivered", "e1")]) == 503
    settings.DEPLOYED = False
    settings.SANDBOX_URL = "http://127.0.0.1:9"
    assert sendgrid_door.verification_key() == ""
    assert post_mail([mail_event(sent, "delivered", "e1")]) == 503
    assert not DeliveryEvent.objects.exists()


@pytest.mark.parametrize(
    "events", [{"event": "delivered"}, [1], [{}], "x", [{"event": "delivered", "message_id": "no"}]]
)
def test_odd_signed_bodies_are_no_server_error(sent: Message, events: Any) -> None:
    assert post_mail(events) in (200, 400)


def post_sms(
    settings: Any, message: Message, said: str, *, token: str | None = None, sid: str = "SM1", **more: str
) -> int:
    path = f"/webhooks/twilio/status/?message={message.pk}"
    fields = {"MessageSid": sid, "MessageStatus": said, "AccountSid": settings.TWILIO_ACCOUNT_SID, **more}
    signature = RequestValidator(token or settings.TWILIO_AUTH_TOKEN).compute_signature(
        settings.SITE_URL + path, fields
    )
    return int(Client().post(path, fields, headers={"X-Twilio-Signature": signature}).status_code)


def text_of(message: Message) -> Message:
    Message.objects.filter(pk=message.pk).update(channel="sms")
    return message


def test_sms_statuses_move_forward_only_and_count_once(sent: Message, settings: Any) -> None:
    message = text_of(sent)
    for said in ("delivered", "delivered", "sent", "queued"):
        assert post_sms(settings, message, said) == 204
    message.refresh_from_db()
    assert (message.status, message.events.count()) == ("delivered", 3)


def test_a_status_about_an_earlier_attempt_changes_nothing(sent: Message, settings: Any) -> None:
    message = text_of(sent)
    assert post_sms(settings, message, "undelivered", sid="SM0") == 204
    message.refresh_from_db()
    assert message.status == "sent"


def test_a_status_may_overtake_our_own_answer(settings: Any) -> None:
    message = queue_message(
        kind="refund_issued", channel="sms", to="+442079460999", variables={}, dedupe_key="early"
    )
    assert message is not None
    Message.objects.filter(pk=message.pk).update(status="sending")
    assert post_sms(settings, message, "delivered") == 204
    message.refresh_from_db()
    assert (message.status, message.provider_ref) == ("delivered", "SM1")


def test_forged_or_unsigned_sms_statuses_are_refused(sent: Message, settings: Any) -> None:
    assert post_sms(settings, sent, "delivered", token="guess") == 403
    assert (
        Client()
        .post("/webhooks/twilio/status/", {"MessageSid": "SM1", "MessageStatus": "delivered"})
        .status_code
        == 403
    )
    assert not DeliveryEvent.objects.exists()
