"""Whom a campaign writes to: counted before, chosen in batches when it starts. Who must not be written to is asked for each of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from django.db import transaction
from django.db.models import Min
from django.utils.translation import gettext_lazy as _

from communications.campaigns import audience as seam
from communications.campaigns.audience import Member
from communications.catalogue import KINDS, SMS
from communications.models import CAMPAIGN_TRANSITIONS, Campaign, CampaignStatus, ConsentEntry, Recipient
from communications.services.consent import REASONS as CONSENT_REASONS
from communications.services.consent import allowed_addresses
from communications.services.outbox import check_address
from foundation.errors import InvalidInput
from foundation.transitions import change_status

BATCH = 2000
SAMPLE = 8
REASONS = {
    "no_address": _("They left no address for this channel."),
    "bad_address": _("The address cannot be written to."),
    "stopped": _("The campaign was stopped."),
    "switched_off": _("Sending SMS is switched off."),
    "quiet_hours": _("It waits for the end of quiet hours."),
    **CONSENT_REASONS,
}


def reason_text(code: str) -> str:
    return str(REASONS.get(code, code.replace("_", " ")))


@dataclass
class ChannelCount:
    """What one channel would reach. `left_out` is {reason code: people}."""

    channel: str
    reached: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    sample: list[Member] = field(default_factory=list)

    @property
    def left_out_texts(self) -> list[tuple[str, int]]:
        return [(reason_text(code), count) for code, count in self.left_out.most_common()]

    @property
    def everybody(self) -> int:
        return self.reached + sum(self.left_out.values())


def count_audience(campaign: Campaign) -> list[ChannelCount]:
    """Say, by channel, how many would get it now, who the first are, and why how many would not. Exact; memory is bounded."""
    counts = []
    for channel in campaign.channels:
        found = ChannelCount(channel)
        for member, reason in _judged(campaign, channel=channel, after=""):
            if reason:
                found.left_out[reason] += 1
                continue
            found.reached += 1
            found.languages[member.language] += 1
            if len(found.sample) < SAMPLE:
                found.sample.append(member)
        if missing := seam.audience().without_address(campaign.audience, channel=channel):
            found.left_out["no_address"] += missing
        counts.append(found)
    return counts


def _judged(campaign: Campaign, *, channel: str, after: str) -> Iterator[tuple[Member, str]]:
    while members := seam.audience().members(campaign.audience, channel=channel, after=after, limit=BATCH):
        yield from judge(members, kind=campaign.kind, channel=channel)
        after = members[-1].address


def judge(members: list[Member], *, kind: str, channel: str) -> list[tuple[Member, str]]:
    """Return each with the reason why it may not be written to, "" for none: two questions to the database for all of them."""
    purpose = KINDS[kind].purpose
    verdicts = allowed_addresses(
        purpose=purpose, channel=channel, addresses=[member.address for member in members]
    )
    judged = []
    for member in members:
        verdict = verdicts[member.address]
        reason = "" if verdict.is_allowed else verdict.reason
        if not reason:
            try:
                check_address(channel, member.address)
            except InvalidInput:
                reason = "bad_address"
        judged.append((member, reason))
    return judged


def prepare_batch(campaign_id: int, *, now: datetime) -> bool:
    """Choose the next recipients; say whether there is more to choose. A killed worker's batch is chosen again, once.

    Locks the campaign for one batch. The last batch makes the campaign "sending".
    """
    with transaction.atomic():
        campaign = Campaign.objects.select_for_update().get(pk=campaign_id)
        if campaign.status != CampaignStatus.PREPARING:
            return False
        channel, after = campaign.prepared_to.get("channel"), campaign.prepared_to.get("after", "")
        channel = channel or campaign.channels[0]
        members = seam.audience().members(campaign.audience, channel=channel, after=after, limit=BATCH)
        Recipient.objects.bulk_create(
            [
                Recipient(
                    campaign=campaign,
                    channel=channel,
                    address=member.address,
                    name=member.name[:120],
                    language=member.language[:8],
                    timezone=member.timezone,
                    state=Recipient.State.SKIPPED if reason else Recipient.State.WAITING,
                    reason=reason[:60],
                )
                for member, reason in judge(members, kind=campaign.kind, channel=channel)
            ],
            ignore_conflicts=True,
        )
        if members:
            campaign.prepared_to = {"channel": channel, "after": members[-1].address}
        else:
            following = campaign.channels[campaign.channels.index(channel) + 1 :]
            if not following:
                change_status(campaign, CampaignStatus.SENDING, CAMPAIGN_TRANSITIONS)
                campaign.prepared_at = now
                campaign.save(update_fields=["status", "prepared_at"])
                return False
            campaign.prepared_to = {"channel": following[0], "after": ""}
        campaign.save(update_fields=["prepared_to"])
    return True


def masked(address: str, channel: str) -> str:
    """Show enough of an address to recognise it, and no more: ad•••@example.com, +44•••123."""
    if channel == SMS:
        return f"{address[:3]}•••{address[-3:]}" if len(address) > 6 else "•••"
    name, _at, domain = address.partition("@")
    return f"{name[:2]}•••@{domain}"


def prepare(campaign_id: int, *, now: datetime, seconds: float = 2.0) -> None:
    """Choose recipients for about so many seconds, then queue what follows: the rest of the choosing, or the sending."""
    from communications.campaigns import dispatch, steps  # they need this module

    began = time.monotonic()
    while prepare_batch(campaign_id, now=now):
        if time.monotonic() - began >= seconds:
            break
    campaign = Campaign.objects.get(pk=campaign_id)
    if campaign.status == CampaignStatus.PREPARING:
        steps.defer_preparing(campaign)
    elif campaign.status == CampaignStatus.SENDING:
        dispatch.defer_lanes(campaign)


def withdrawals(campaign: Campaign) -> list[datetime]:
    """Return when those written to have said since that they want no more, each person's first word."""
    if campaign.started_at is None:
        return []
    noes = (
        ConsentEntry.objects.filter(
            is_granted=False, at__gte=campaign.started_at, channel__in=campaign.channels
        )
        .exclude(address="")
        .order_by()
        .values_list("channel", "address")
        .annotate(Min("at"))
    )
    written_to: set[tuple[str, str]] = set()
    for channel in campaign.channels:
        addresses = [address for where, address, _at in noes if where == channel]
        rows = Recipient.objects.filter(campaign=campaign, channel=channel, message__isnull=False)
        for start in range(0, len(addresses), BATCH):
            found = rows.filter(address__in=addresses[start : start + BATCH])
            written_to |= {(channel, address) for address in found.values_list("address", flat=True)}
    return [at for channel, address, at in noes if (channel, address) in written_to]
