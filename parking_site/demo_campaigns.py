"""Two campaigns for the demo: one that is over, sent through the sandbox, and one that waits for its day."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import F

from accounts.models import User
from bookings.models import Booking, PromoCode
from communications.campaigns import dispatch, people, steps, words
from communications.catalogue import EMAIL
from communications.models import Campaign, CampaignStatus, ConsentSource, Message
from communications.services import consent

CODE = "AUTUMN15"
# They have not agreed to offers, so that the counts have something to tell.
SILENT = ("fleet@northwind.example", "anita@example.com", "hedy@example.com", "karen@example.com")


def make_code() -> None:
    """Make the code that the finished campaign offered, if it is not there."""
    PromoCode.objects.get_or_create(
        code=CODE, defaults={"name": "15 % in autumn", "percent": Decimal(15), "max_uses": 500}
    )


def make(*, now: datetime) -> None:
    """Make both, once. Needs the sandbox: the finished one is sent there."""
    if Campaign.objects.exists():
        return
    by = User.objects.filter(is_superuser=True).first()
    zone = ZoneInfo(settings.HOME_TIMEZONE)
    noon = (now.astimezone(zone) - timedelta(days=2)).replace(hour=12, minute=0, second=0, microsecond=0)
    for email in Booking.objects.order_by().values_list("driver_email", flat=True).distinct():
        if email not in SILENT:
            _agree(email, now=noon - timedelta(days=1))
    done = _draft("15 % in autumn", audience={}, by=by, promo_code=CODE, per_minute=300)
    _run(done, at=noon)
    start = (now.astimezone(zone) + timedelta(days=5)).replace(hour=10, minute=0, second=0, microsecond=0)
    later = _draft("Christmas at Heathrow", audience={"airports": ["LHR"]}, by=by, per_minute=600)
    steps.schedule(later, start_at=start, by=by, now=now)


def _agree(email: str, *, now: datetime) -> None:
    consent.record_consent(
        channel=EMAIL, address=email, is_granted=True, source=ConsentSource.BOOKING, now=now, wording="Send me offers by e-mail."
    )  # fmt: skip


def _draft(name: str, *, audience: dict[str, object], by: User | None, **more: object) -> Campaign:
    campaign = Campaign.objects.create(
        name=name,
        audience=audience,
        created_by=by,
        timezone=settings.HOME_TIMEZONE,
        **more,
    )
    for language, _name in settings.LANGUAGES:
        begun = words.beginning(campaign.kind, "email", language)
        if not campaign.promo_code:
            begun = words.Draft(
                subject="Where will you park at Christmas?",
                heading="{{ customer_name }}, Christmas fills up early",
                body="Hello {{ customer_name }},\n\nthe days around Christmas are our busiest. Book now and your space is kept.",
                button_label="Find a space",
                button_variable="offer_url",
            )
        words.save_words(campaign, channel="email", language=language, draft=begun, by=by)
    return campaign


def _run(campaign: Campaign, *, at: datetime) -> None:
    """Send it as if it were `at`; reports come minutes later, as they do."""
    steps.schedule(campaign, start_at=at, by=campaign.created_by, now=at)
    while people.prepare_batch(campaign.pk, now=at):
        pass
    moments = [at]
    for _batch in range(1000):
        again = dispatch.send_for(campaign, seconds=0, clock=lambda: moments[-1])
        if again is None:
            break
        moments.append(max(again, moments[-1]) + timedelta(minutes=1))
    sent = Message.objects.filter(campaign_key=campaign.key, status="sent").exclude(
        to__endswith="@bounce.example"
    )
    sent.update(status="delivered", delivered_at=F("sent_at") + timedelta(minutes=2))
    assert Campaign.objects.filter(pk=campaign.pk, status=CampaignStatus.FINISHED).exists()
