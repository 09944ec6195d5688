"""A worker that dies between the provider's answer and its own commit: a real process and a real SIGKILL."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import settings as site
from django.db import connection
from django.utils import timezone

from communications.catalogue import KINDS
from communications.models import Message
from communications.services import outbox, wording
from communications.services.delivery import record_delivery

pytestmark = pytest.mark.django_db(transaction=True)

WORKER = """
import os, signal, sys
import django
django.setup()
from django.conf import settings
from django.utils import timezone
from communications.services import outbox
base = sys.argv[2]
settings.ANYMAIL = {**settings.ANYMAIL, "SENDGRID_API_URL": base + "/v3/"}
settings.TWILIO_API_BASE = base
outbox._record_sent = lambda *given, **more: os.kill(os.getpid(), signal.SIGKILL)
outbox.send(sys.argv[1], now=timezone.now())
"""


@pytest.mark.parametrize("channel", ["email", "sms"])
@pytest.mark.parametrize("is_known", [True, False])
def test_a_killed_worker_leaves_one_message_in_doubt_and_at_most_one_more(
    wire: Any, channel: str, is_known: bool
) -> None:
    wording.install_default_templates()
    message = outbox.queue_message(
        kind="booking_confirmation",
        channel=channel,
        to="ada@example.com" if channel == "email" else "+442079460999",
        variables=KINDS["booking_confirmation"].sample,
        dedupe_key=f"killed:{channel}",
    )
    assert message is not None
    ours = connection.settings_dict
    host = quote(str(ours["OPTIONS"].get("host") or ours["HOST"]))
    user, password, name = (quote(str(ours[part]), safe="") for part in ("USER", "PASSWORD", "NAME"))
    address = f"postgres://{user}:{password}@:{ours['PORT'] or 5432}/{name}?host={host}"
    died = subprocess.run(
        [sys.executable, "-c", WORKER, str(message.pk), site.TWILIO_API_BASE],
        cwd=site.BASE_DIR,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "parking_site.settings",
            "DATABASE_URL": address,
        },
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert died.returncode == -9, died.stderr[-2000:]
    message.refresh_from_db()
    assert (message.status, len(wire.received)) == ("sending", 1)

    outbox.sweep(now=timezone.now() + outbox.STUCK_AFTER + timedelta(seconds=5))
    message.refresh_from_db()
    assert (message.status, message.error_code) == ("maybe_sent", "worker_lost")
    if is_known and channel == "email":
        record_delivery(
            channel="email",
            event_id="e",
            kind="delivered",
            to_status="delivered",
            message_id=str(message.pk),
            recipient=message.to,
        )
    elif is_known:
        wire.listed = [
            {
                "sid": "SM" + "c" * 32,
                "body": wire.received[0]["Body"],
                "date_created": timezone.now().strftime("%a, %d %b %Y %H:%M:%S +0000"),
            }
        ]
    due = timezone.now() + outbox.STUCK_AFTER + outbox.RESEND_AFTER + timedelta(minutes=1)
    outbox.send(message.pk, now=due)
    outbox.send(message.pk, now=due + timedelta(days=1))
    message.refresh_from_db()
    assert message.status == ("delivered" if is_known and channel == "email" else "sent")
    assert len(wire.received) == (1 if is_known else 2)
    assert message.was_resent == (not (is_known and channel == "email"))
    assert Message.objects.count() == 1
