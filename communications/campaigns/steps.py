"""How a campaign moves: scheduled, begun by the clock, paused, resumed, stopped. Asking for what is already so changes nothing."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils.translation import gettext_lazy as _

from communications.campaigns import audience as seam
from communications.campaigns import dispatch, words
from communications.models import (
    CAMPAIGN_TRANSITIONS,
    AlertStatus,
    Campaign,
    CampaignStatus,
    EmergencyAlert,
    Message,
    MessageStatus,
    Recipient,
)
from foundation import audit
from foundation.errors import DomainError
from foundation.jobs import defer
from foundation.transitions import change_status

Status = CampaignStatus
PREPARE_TASK = "communications.prepare_campaign"
State = Recipient.State


class CampaignNotReady(DomainError):
    code = "campaign_not_ready"


class CampaignIsOver(DomainError):
    code = "campaign_is_over"
    message = _("This campaign has ended. Make a new one.")


def schedule(campaign: Campaign, *, start_at: datetime, by: Any, now: datetime) -> Campaign:
    """Fix what is sent and to whom, and let the clock begin at start_at (aware). Raises CampaignNotReady."""
    with transaction.atomic():
        row = _locked(campaign)
        if row.status == Status.SCHEDULED:
            return row
        if row.status != Status.DRAFT:
            raise CampaignIsOver(_("Only a draft can be scheduled."))
        if start_at < now - timedelta(minutes=2):
            raise CampaignNotReady(_("That moment is past. Choose a later one."))
        if missing := words.missing(row):
            raise CampaignNotReady(
                _("Write the words first: %(channels)s.") % {"channels": ", ".join(map(str, missing))}
            )
        if words.needs_code(row):
            raise CampaignNotReady(
                _("The words name a promo code. Choose one for the campaign, or take it out.")
            )
        row.audience = seam.audience().check(row.audience)
        if row.promo_code:
            row.promo_code = seam.promo_codes().link(row.promo_code)
        change_status(row, Status.SCHEDULED, CAMPAIGN_TRANSITIONS)
        row.start_at = start_at
        row.status_reason = ""
        row.save()
        _note(row, "campaign.scheduled", by=by, data={"start_at": start_at.isoformat()})
        if start_at <= now:
            begin(row.pk, now=now)
            row.refresh_from_db()
    return row


def unschedule(campaign: Campaign, *, by: Any) -> Campaign:
    """Make a scheduled campaign a draft again. Raises CampaignIsOver once it has begun."""
    with transaction.atomic():
        row = _locked(campaign)
        if row.status == Status.DRAFT:
            return row
        if row.status != Status.SCHEDULED:
            raise CampaignIsOver(_("It has begun. Pause or stop it instead."))
        change_status(row, Status.DRAFT, CAMPAIGN_TRANSITIONS)
        row.save(update_fields=["status"])
        _note(row, "campaign.unscheduled", by=by)
    return row


def begin(campaign_id: int, *, now: datetime) -> bool:
    """Begin a scheduled campaign whose time has come; say whether it did."""
    with transaction.atomic():
        row = Campaign.objects.select_for_update().get(pk=campaign_id)
        if row.status != Status.SCHEDULED or row.start_at is None or row.start_at > now:
            return False
        change_status(row, Status.PREPARING, CAMPAIGN_TRANSITIONS)
        row.started_at = now
        row.save(update_fields=["status", "started_at"])
        defer_preparing(row)
    return True


def pause(campaign: Campaign, *, reason: str, by: Any) -> Campaign:
    """Stop sending before the next message; everybody not yet written to waits. Raises CampaignIsOver."""
    with transaction.atomic():
        row = _locked(campaign)
        if row.status == Status.PAUSED:
            return row
        if row.status not in (Status.PREPARING, Status.SENDING):
            raise CampaignIsOver(_("It is not running, so there is nothing to pause."))
        change_status(row, Status.PAUSED, CAMPAIGN_TRANSITIONS)
        row.status_reason = reason[:500]
        row.save(update_fields=["status", "status_reason"])
        _not_yet_begun(row).update(state=State.WAITING, taken_at=None)
        _note(row, "campaign.paused", by=by, reason=reason)
    return row


def resume(campaign: Campaign, *, by: Any, reason: str = "") -> Campaign:
    """Go on where it was paused. Raises CampaignIsOver."""
    with transaction.atomic():
        row = _locked(campaign)
        if row.status in (Status.PREPARING, Status.SENDING):
            return row
        if row.status != Status.PAUSED:
            raise CampaignIsOver
        change_status(row, Status.SENDING if row.prepared_at else Status.PREPARING, CAMPAIGN_TRANSITIONS)
        row.status_reason, row.next_slot_at = "", None
        row.save(update_fields=["status", "status_reason", "next_slot_at"])
        _note(row, "campaign.resumed", by=by, reason=reason)
        if row.prepared_at:
            dispatch.defer_lanes(row)
        else:
            defer_preparing(row)
    return row


def stop(campaign: Campaign, *, reason: str, by: Any, now: datetime) -> Campaign:
    """End it for good; who was not written to is left out. Raises CampaignIsOver for one that ended otherwise."""
    with transaction.atomic():
        row = _locked(campaign)
        if row.status == Status.STOPPED:
            return row
        if row.status not in (Status.SCHEDULED, Status.PREPARING, Status.SENDING, Status.PAUSED):
            raise CampaignIsOver
        change_status(row, Status.STOPPED, CAMPAIGN_TRANSITIONS)
        row.status_reason, row.finished_at = reason[:500], now
        row.save(update_fields=["status", "status_reason", "finished_at"])
        Message.objects.filter(campaign_key=row.key, status=MessageStatus.QUEUED).update(
            status=MessageStatus.SUPPRESSED, error_code="stopped", error_text=_("The campaign was stopped.")
        )
        _not_yet_begun(row).update(state=State.SKIPPED, reason="stopped")
        _note(row, "campaign.stopped", by=by, reason=reason)
    return row


def look_at_the_clock(*, now: datetime) -> int:
    """Begin what is due, and queue again the jobs of what runs (a killed worker's are absorbed by those that wait). Return how many run."""
    for pk in Campaign.objects.filter(status=Status.SCHEDULED, start_at__lte=now).values_list(
        "pk", flat=True
    ):
        begin(pk, now=now)
    running = list(Campaign.objects.filter(status__in=[Status.PREPARING, Status.SENDING]))
    alerts = list(EmergencyAlert.objects.filter(status=AlertStatus.SENDING))
    for campaign in running:
        if campaign.status == Status.PREPARING:
            defer_preparing(campaign)
        elif campaign.next_slot_at is None or campaign.next_slot_at <= now:
            dispatch.defer_lanes(campaign)
    for alert in alerts:
        dispatch.defer_lanes(alert)
    return len(running) + len(alerts)


def defer_preparing(campaign: Campaign) -> None:
    defer(
        PREPARE_TASK,
        queueing_lock=f"prepare:{campaign.key}",
        queue="campaigns",
        priority=-100,
        campaign_id=campaign.pk,
    )


def _locked(campaign: Campaign) -> Campaign:
    return Campaign.objects.select_for_update(of=("self",)).get(pk=campaign.pk)


def _not_yet_begun(campaign: Campaign) -> Any:
    """Recipients whose message was not handed to a provider: none made, or still in the queue, or just withdrawn from it."""
    begun = Message.objects.filter(campaign_key=campaign.key).exclude(
        status__in=[MessageStatus.QUEUED, MessageStatus.SUPPRESSED]
    )
    return Recipient.objects.filter(campaign=campaign, state__in=[State.WAITING, State.TAKEN]).exclude(
        message__in=begun
    )


def _note(
    campaign: Campaign, action: str, *, by: Any, reason: str = "", data: dict[str, Any] | None = None
) -> None:
    audit.record(actor=by, action=action, subject=f"campaign:{campaign.pk}", reason=reason, data=data)
