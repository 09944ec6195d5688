"""How long payments keep what providers told. Ledger, payments, refunds and documents stay."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils.translation import gettext_lazy as _
from djstripe.models import Event, WebhookEventTrigger

from foundation.retention import Rule, delete_oldest
from payments.models import EventStatus, ProviderEvent, ReconciliationRun


def _events(before: datetime, most: int) -> int:
    old = ProviderEvent.objects.filter(received_at__lt=before).exclude(status=EventStatus.RECEIVED)
    return delete_oldest(old, most)


RULES = [
    Rule(
        "invalid deliveries",
        _("webhook calls that nobody signed"),
        0,
        lambda now, most: delete_oldest(
            WebhookEventTrigger.objects.filter(valid=False, created__lt=now - timedelta(hours=1)), most
        ),
    ),
    Rule(
        "webhook deliveries",
        _("webhook calls as they came"),
        "webhook_deliveries",
        lambda before, most: delete_oldest(WebhookEventTrigger.objects.filter(created__lt=before), most),
        least=1,
        most=90,
    ),
    Rule(
        "provider events",
        _("that a provider told us of something"),
        "provider_events",
        _events,
        least=30,
        most=730,
    ),
    Rule(
        "Stripe's events",
        _("copies of Stripe's events"),
        "provider_events",
        lambda before, most: delete_oldest(Event.objects.filter(created__lt=before), most),
        least=30,
        most=730,
    ),
    Rule(
        "reconciliations",
        _("what a comparison with a provider found"),
        "provider_events",
        lambda before, most: delete_oldest(ReconciliationRun.objects.filter(started_at__lt=before), most),
        least=30,
        most=730,
    ),
]
