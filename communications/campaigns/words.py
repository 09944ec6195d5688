"""What a campaign or an alert says: its own words, begun from the house's template, checked as templates are."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _

from communications import rendering
from communications.catalogue import EMAIL, KINDS, PROMOTIONAL, SMS
from communications.models import Campaign, Message, OwnWords, SmsShare
from communications.services import wording
from communications.services.wording import Draft
from foundation import audit


def newest(owner: str) -> dict[tuple[str, str], OwnWords]:
    """Return the words that count, by channel and language."""
    rows = OwnWords.objects.filter(owner=owner).order_by("channel", "language", "-number")
    return {(row.channel, row.language): row for row in rows.distinct("channel", "language")}


def words_for(owner: str, channel: str, language: str) -> OwnWords:
    """Return the words in the language, else its base language, else the operator's first, else any. Raises LookupError without."""
    found = {lang: row for (where, lang), row in newest(owner).items() if where == channel}
    for candidate in (language, language.split("-")[0], settings.LANGUAGE_CODE):
        if candidate in found:
            return found[candidate]
    for row in found.values():
        return row
    raise LookupError(f"{owner} says nothing by {channel}.")


def beginning(kind: str, channel: str, language: str) -> Draft:
    """Return the template's words, from which staff write their own."""
    return Draft.of(wording.version_for(kind, channel, language))


def save_words(
    campaign: Campaign, *, channel: str, language: str, draft: Draft, by: Any, based_on: int | None = None
) -> OwnWords:
    """Make the draft the campaign's newest words. Raises ValidationError by field, and SavedMeanwhile where the newest words are not those
    that the draft is `based_on` (0: none yet); PostgreSQL refuses once it is scheduled.
    """
    wording.check_draft(draft, kind=KINDS[campaign.kind], channel=channel)
    with transaction.atomic():
        Campaign.objects.select_for_update().get(pk=campaign.pk)
        current = newest(campaign.key).get((channel, language))
        if current is not None and draft == Draft.of(current):
            return current
        if current is not None and based_on is not None and current.number != based_on:
            raise wording.SavedMeanwhile(current)
        made = OwnWords.objects.create(
            owner=campaign.key,
            channel=channel,
            language=language,
            number=current.number + 1 if current else 1,
            created_by=by,
            **vars(draft),
        )
        audit.record(
            actor=by,
            action="campaign_words_edited",
            subject=f"campaign:{campaign.pk}",
            data={"channel": channel, "language": language, "version": made.number},
        )
    return made


def shown(
    words: Any, *, kind: str, channel: str, language: str, values: dict[str, Any]
) -> rendering.Rendered:
    """Return the message as somebody with these values would get it; samples where a value is missing."""
    known = KINDS[kind]
    here = f"{settings.SITE_URL}/#"
    return rendering.render(
        words,
        kind=known,
        channel=channel,
        language=language,
        variables={**known.sample, **values},
        links={"unsubscribe_url": here, "preferences_url": here} if known.purpose == PROMOTIONAL else None,
    )


def written_again(message: Message) -> rendering.Rendered:
    """Return a message of a campaign or alert as it was sent: its words are frozen, its values kept. Raises LookupError without words."""
    own: Any = words_for(message.campaign_key.removeprefix("test:"), message.channel, message.language)
    here = f"{settings.SITE_URL}/#"  # the way out of offers acts for the person, so staff do not get it
    kind = KINDS[message.kind]
    return rendering.render(
        own,
        kind=kind,
        channel=message.channel,
        language=message.language,
        variables=message.variables,
        links={"unsubscribe_url": here, "preferences_url": here} if kind.purpose == PROMOTIONAL else None,
    )


def missing(campaign: Campaign) -> list[str]:
    """Say which channels have no words yet."""
    written = {channel for channel, _language in newest(campaign.key)}
    names = {EMAIL: _("e-mail"), "sms": _("SMS")}
    return [names[channel] for channel in campaign.channels if channel not in written]


def needs_code(campaign: Campaign) -> bool:
    """Say whether the words name a promo code that the campaign does not have."""
    if campaign.promo_code:
        return False
    rows = newest(campaign.key).values()
    return any(
        "promo_code" in rendering.PLACEHOLDER.sub(r"\1", row.body + row.subject + row.heading) for row in rows
    )


def send_test(
    campaign: Campaign, *, channel: str, language: str, to: str, by: Any, now: datetime, token: str = ""
) -> bool:
    """Queue the campaign's words with sample values to an address of staff's choice; False when the same token queued it before.

    Raises InvalidInput, and BudgetExceeded where no SMS may go.
    """
    from communications.services import budget  # these need this module
    from communications.services.outbox import check_address, queue_message, was_queued

    check_address(channel, to)
    if channel == SMS:
        own_words = words_for(campaign.key, channel, language)
        text = shown(own_words, kind=campaign.kind, channel=channel, language=language, values={}).text
        budget.refuse_number(to, share=SmsShare.OTHER)
        budget.refuse_spent(to, share=SmsShare.OTHER, segments=rendering.sms_segments(text), now=now)
    key = f"test:{campaign.key}:{channel}:{language}:{token[:64] or uuid.uuid4()}"
    if was_queued(key):
        return False
    kind = KINDS[campaign.kind]
    own = set(rendering.site_variables())
    values = {name: value for name, value in kind.sample.items() if name not in own}
    if campaign.promo_code:
        values |= {
            "promo_code": campaign.promo_code,
            "offer_url": f"{settings.SITE_URL}/?code={campaign.promo_code}",
        }
    with transaction.atomic():
        queue_message(
            kind=campaign.kind,
            channel=channel,
            to=to,
            language=language,
            variables=values,
            dedupe_key=key,
            user=by,
            campaign_key=f"test:{campaign.key}",
        )
        audit.record(
            actor=by,
            action="campaign_tested",
            subject=f"campaign:{campaign.pk}",
            data={"channel": channel, "to": to},
        )
    return True
