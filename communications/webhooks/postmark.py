"""Postmark's webhook: name and password in its address, one event a call."""

from __future__ import annotations

from anymail.webhooks.postmark import PostmarkTrackingWebhookView
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from communications.webhooks import mail


@csrf_exempt
@require_POST
def events(request: HttpRequest) -> HttpResponse:
    """Take an event from whoever knows POSTMARK_WEBHOOK_SECRET; 503 where none is set, so that nobody is believed."""
    if not settings.POSTMARK_WEBHOOK_SECRET:
        return HttpResponse(status=503)
    return mail.receive(request, PostmarkTrackingWebhookView(webhook_secret=settings.POSTMARK_WEBHOOK_SECRET))
