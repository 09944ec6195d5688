"""People to write to who never booked anything, and a campaign for them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from communications.campaigns import dispatch, people, steps, words
from communications.campaigns.audience import Choices, Member
from communications.catalogue import PROMOTIONAL
from communications.models import Campaign, CampaignStatus
from communications.services.consent import Verdict
from communications.services.wording import Draft

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


class Crowd:
    """An audience of e-mail addresses, in the order of the alphabet."""

    addresses: list[str] = []

    def choices(self) -> Choices:
        return Choices([("LHR", "LHR")], [("GBP", "GBP")])

    def check(self, definition: dict[str, Any]) -> dict[str, Any]:
        return definition

    def describe(self, definition: dict[str, Any]) -> list[tuple[str, str]]:
        return [("Everybody", "of the crowd")]

    def members(self, definition: dict[str, Any], *, channel: str, after: str, limit: int) -> list[Member]:
        found = sorted(address for address in self.addresses if address > after)[:limit]
        return [
            Member(address, f"Person {address.partition('@')[0]}", "en", "Europe/London") for address in found
        ]

    def without_address(self, definition: dict[str, Any], *, channel: str) -> int:
        return 0


crowd = Crowd()


class Clock:
    """A clock that stands until it is set."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


class Ticking:
    """A clock that says a given moment now, and runs from there."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now, self.began = now, time.monotonic()

    def __call__(self) -> datetime:
        return self.now + timedelta(seconds=time.monotonic() - self.began)


AGREED: set[str] = set()


def consenting(*addresses: str) -> None:
    """Let everybody agree to offers."""
    AGREED.clear()
    AGREED.update(addresses)


def withdrawn(*addresses: str) -> None:
    """Let these say that they want no more offers."""
    AGREED.difference_update(addresses)


def agreed(*, purpose: str, channel: str, addresses: Any) -> dict[str, Any]:
    """What the consent ledger would answer about the crowd."""
    return {
        address: Verdict(True, "")
        if purpose != PROMOTIONAL or address in AGREED
        else Verdict(False, "no_consent")
        for address in addresses
    }


def draft(**given: Any) -> Campaign:
    campaign = Campaign.objects.create(**{"name": "Spring", "per_minute": 60_000, **given})
    for channel in campaign.channels:
        body = "Hello {{ customer_name }}, park with us: {{ offer_url }}"
        subject = "Spring, {{ customer_name }}" if channel == "email" else ""
        words.save_words(
            campaign, channel=channel, language="en", draft=Draft(body=body, subject=subject), by=None
        )
    return campaign


def scheduled(campaign: Campaign, *, now: datetime = NOON) -> Campaign:
    """Schedule it for `now` and let the clock begin it."""
    return steps.schedule(campaign, start_at=now, by=None, now=now)


def run_out(campaign: Campaign, *, now: datetime = NOON) -> None:
    """Choose and send until nothing more is to do at `now` and shortly after."""
    while people.prepare_batch(campaign.pk, now=now):
        pass
    clock = Clock(now)
    for _round in range(1000):
        again = dispatch.send_for(campaign, seconds=0, clock=clock)
        if again is None:
            return
        clock.now = max(again, clock.now + timedelta(milliseconds=1))
    raise AssertionError(
        f"The campaign is still {CampaignStatus(Campaign.objects.get(pk=campaign.pk).status)}"
    )
