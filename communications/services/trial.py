"""Sending staff a template as it will look."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from communications import rendering
from communications.catalogue import EMAIL, KINDS, SMS, site_variables
from communications.models import Message, MessageTemplate, SmsShare
from communications.services import budget, wording
from communications.services.outbox import check_address, queue_message, was_queued
from communications.services.wording import Draft
from foundation import audit, features
from foundation.errors import InvalidInput


def send_test(
    template: MessageTemplate,
    *,
    to: str,
    by: Any,
    now: datetime,
    token: uuid.UUID | None = None,
    draft: Draft | None = None,
    variables: dict[str, Any] | None = None,
    reference: str = "",
) -> tuple[Message, bool]:
    """Queue a template to an address of staff's choice, marked as a test; return the message, and whether this call queued it.

    The words are the draft's, else the newest saved ones; what `variables` lacks are samples. The same token twice is one message. Audited
    with the address and the booking whose values it shows. Raises InvalidInput for an address that cannot be reached or words that cannot
    be sent, and BudgetExceeded where no more SMS may go.
    """
    to = to.strip()
    check_address(template.channel, to)
    if template.channel == SMS and not features.is_on("sms"):
        raise InvalidInput(_("Sending SMS is switched off."))
    kind = KINDS[template.kind]
    if draft is not None:
        try:
            wording.check_draft(draft, kind=kind, channel=template.channel)
        except ValidationError as error:
            raise InvalidInput(" ".join(error.messages), field="body") from error
    if template.channel == SMS:
        text = wording.preview(template, variables=variables, draft=draft).text
        budget.refuse_number(to, share=SmsShare.OTHER)
        budget.refuse_spent(to, share=SmsShare.OTHER, segments=rendering.sms_segments(text), now=now)
    own = set(site_variables())
    values = {name: value for name, value in {**kind.sample, **(variables or {})}.items() if name not in own}
    key = f"test:{template.pk}:{token or uuid.uuid4()}"
    with transaction.atomic():
        is_new = not was_queued(key)
        message = queue_message(
            kind=template.kind,
            channel=template.channel,
            to=to,
            language=template.language,
            variables=values,
            dedupe_key=key,
            qr_text=(reference or "AP-7F3K2Q")
            if kind.shows_boarding_pass and template.channel == EMAIL
            else "",
            user=by,
            unsaved_words=vars(draft) if draft is not None else None,
        )
        assert message is not None  # it has an address
        if is_new:
            told = {"to": to, "booking": reference, "words": "as written" if draft else "as saved"}
            audit.record(
                actor=by,
                action="template_tested",
                subject=f"template:{template.pk}",
                data={name: value for name, value in told.items() if value},
            )
    return message, is_new
