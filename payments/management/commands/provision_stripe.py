"""Make the rows that dj-stripe needs to receive webhooks. Safe to repeat."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import transaction
from django.utils import timezone
from djstripe.models import WebhookEndpoint


class Command(BaseCommand):
    help = (
        "Create or update Stripe's webhook endpoint row from STRIPE_WEBHOOK_UUID and STRIPE_WEBHOOK_SECRET."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        url = f"{settings.SITE_URL}/stripe/webhook/{settings.STRIPE_WEBHOOK_UUID}/"
        with transaction.atomic():
            endpoint, created = WebhookEndpoint.objects.update_or_create(
                djstripe_uuid=settings.STRIPE_WEBHOOK_UUID,
                defaults={
                    "url": url,
                    "secret": settings.STRIPE_WEBHOOK_SECRET,
                    "livemode": settings.STRIPE_LIVE_MODE,
                    "status": "enabled",
                    "enabled_events": ["*"],
                    "api_version": settings.STRIPE_API_VERSION,
                    "djstripe_validation_method": "verify_signature",
                },
                create_defaults={
                    "id": f"we_{settings.STRIPE_WEBHOOK_UUID.replace('-', '')}",
                    "created": timezone.now(),
                    "url": url,
                    "secret": settings.STRIPE_WEBHOOK_SECRET,
                    "livemode": settings.STRIPE_LIVE_MODE,
                    "status": "enabled",
                    "enabled_events": ["*"],
                    "api_version": settings.STRIPE_API_VERSION,
                    "djstripe_validation_method": "verify_signature",
                },
            )
        self.stdout.write(f"{'created' if created else 'updated'}: Stripe delivers to {endpoint.url}")
