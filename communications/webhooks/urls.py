"""Where mail and SMS providers report. Mounted at /webhooks/."""

from __future__ import annotations

from django.urls import path

from communications.webhooks import inbound, postmark, sendgrid, twilio

urlpatterns = [
    path("sendgrid/", sendgrid.events, name="sendgrid_events"),
    path("postmark/", postmark.events, name="postmark_events"),
    path("twilio/status/", twilio.status, name="twilio_status"),
    path("twilio/inbound/", inbound.inbound, name="twilio_inbound"),
]
