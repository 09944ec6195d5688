"""Sending staff a template with sample values."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import transaction

from communications.catalogue import KINDS, SMS, site_variables
from communications.models import Message, MessageTemplate
from communications.services.outbox import check_address, queue_message
from foundation import audit


def send_test(template: MessageTemplate, *, to: str, by: Any) -> Message | None:
    """Queue the template with sample values to an address of staff's choice; None without one. Raises InvalidInput."""
    to = to.strip()
    if not to:
        return None
    check_address(template.channel, to)
    kind = KINDS[template.kind]
    own = set(site_variables())
    with transaction.atomic():
        message = queue_message(
            kind=template.kind,
            channel=template.channel,
            to=to,
            language=template.language,
            variables={name: value for name, value in kind.sample.items() if name not in own},
            dedupe_key=f"test:{uuid.uuid4()}",
            qr_text="AP-7F3K2Q" if kind.shows_boarding_pass and template.channel != SMS else "",
            user=by,
        )
        audit.record(actor=by, action="template_tested", subject=f"template:{template.pk}")
    return message
