"""What the post office keeps about a person."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from communications.services import person as messages
from foundation.personal import ERASED, KEPT_AS_PROOF, NOT_A_CUSTOMER, SHORT_LIVED, Person

FIELDS = {
    **{
        f"communications.Message.{name}": ERASED
        for name in (
            "to", "to_name", "other_address", "variables", "calendar", "qr_text", "attachment", "reference", "condition",
            "subject", "body_text", "body_html", "error_text",
        )
    },
    "communications.Message.unsaved_words": NOT_A_CUSTOMER,  # a template that staff try on themselves
    "communications.Message.campaign_key": NOT_A_CUSTOMER,
    "communications.DeliveryEvent.detail": ERASED,
    **{f"communications.Recipient.{name}": ERASED for name in ("address", "name", "reference", "variables")},
    "communications.InboundText.phone": ERASED,
    "communications.InboundText.body": ERASED,
    "communications.InboundText.reply": ERASED,
    "communications.ConsentEntry.address": ERASED,
    "communications.ConsentEntry.ip_address": ERASED,
    "communications.ConsentEntry.note": ERASED,
    "communications.ConsentEntry.wording": KEPT_AS_PROOF,  # our own words
    "communications.ConsentEntry.address_key": KEPT_AS_PROOF,  # a hash: their no still stands
    "communications.ConsentState.address_key": KEPT_AS_PROOF,
    "communications.Suppression.address": ERASED,
    "communications.Suppression.detail": ERASED,
    "communications.Suppression.address_key": KEPT_AS_PROOF,
    "communications.Suppression.lift_reason": KEPT_AS_PROOF,  # written by staff
    "communications.SmsSpend.key": SHORT_LIVED,
    "communications.SmsBreaker.prefix": NOT_A_CUSTOMER,  # of 10,000 numbers
    **{
        f"communications.{field}": NOT_A_CUSTOMER
        for field in (
            "TemplateVersion.body", "TemplateVersion.subject", "TemplateVersion.button_label", "OwnWords.body", "OwnWords.subject",
            "OwnWords.button_label", "Outage.error_text", "Campaign.name", "Campaign.audience", "Campaign.prepared_to",
            "EmergencyAlert.place", "EmergencyAlert.audience", "EmergencyAlert.audience_text",
        )
    },
}  # fmt: skip


def export(person: Person) -> dict[str, Any]:
    """Return messages to and from the person, what they agreed to, and whether they are suppressed."""
    if not person.emails and not person.phones:
        return {}
    rows = messages.export(email=person.emails, phone=person.phones, user=person.user)
    return {"messages_and_consent": list(rows)}


def open_matters(person: Person, *, now: datetime) -> list[str]:
    """Nothing here keeps anybody from being forgotten: what waits to be sent is not sent."""
    return []


def forget_elsewhere(person: Person, *, now: datetime) -> bool:
    """The senders keep logs of their own for a few weeks (docs/personal-data.md); there is no call that ends them earlier."""
    return True


def forget(person: Person, *, by: Any, reason: str, now: datetime) -> dict[str, int]:
    """Blank what messages say and to whom they went."""
    if not person.emails and not person.phones:
        return {}
    erased = messages.erase(
        email=person.emails, phone=person.phones, user=person.user, by=by, reason=reason, now=now
    )
    return {"messages": erased}
