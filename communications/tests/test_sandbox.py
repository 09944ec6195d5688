"""The whole way: a queued message, the sandbox's mailbox or phone, and its signed report back to our door."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.db import connection

from communications.catalogue import KINDS
from communications.models import Message
from communications.services import outbox
from communications.services.outbox import queue_message

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def site(live_server: Any, sandbox: Any, settings: Any) -> str:
    settings.SITE_URL = live_server.url
    settings.EMAIL_BACKEND = "anymail.backends.sendgrid.EmailBackend"  # test runners put a list in its place
    settings.SENDGRID_WEBHOOK_VERIFICATION_KEY = ""
    sandbox.post(
        "/webhooks/endpoints",
        {"provider": "sendgrid", "url": f"{live_server.url}/webhooks/sendgrid/", "secret": ""},
    )
    return str(live_server.url)


def send(channel: str, to: str) -> Message:
    message = queue_message(
        kind="booking_confirmation",
        channel=channel,
        to=to,
        variables=KINDS["booking_confirmation"].sample,
        dedupe_key="whole way",
        qr_text="AP-7F3K2Q" if channel == "email" else "",
    )
    assert message is not None
    outbox.send(message.pk, now=message.due_at)
    return message


def status_becomes(message: Message, status: str) -> bool:
    for _try in range(100):
        connection.close()
        message.refresh_from_db()
        if message.status == status:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize(
    ("channel", "to", "status"),
    [
        ("email", "ada@example.com", "delivered"),
        ("email", "ada@bounce.example", "bounced"),
        ("sms", "+442079460999", "delivered"),
        ("sms", "+15005550001", "failed"),
    ],
)
def test_a_message_goes_out_and_its_fate_comes_back(
    site: str, sandbox: Any, channel: str, to: str, status: str
) -> None:
    message = send(channel, to)
    assert status_becomes(message, status), (message.status, message.error_code, message.error_text)
