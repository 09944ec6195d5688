"""What became of the messages, for programs."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from communications.api import serializers as s
from communications.api.views import demand
from communications.models import MessageStatus
from communications.queries import Tally, analytics
from foundation.api import query_of

NOT_ALLOWED = _("Only staff who may view messages may see their analytics.")


class AnalyticsView(APIView):
    @extend_schema(parameters=[s.AnalyticsQuery], responses=s.AnalyticsAnswer, tags=["messages"])
    def get(self, request: Request) -> Response:
        """Count messages by state, channel, kind and day. Staff who may view messages. The numbers are those of the message log now."""
        demand(request, "communications.view_message", words=NOT_ALLOWED)
        asked = query_of(s.AnalyticsQuery, request)
        found = analytics(
            first=asked.get("from"),
            last=asked.get("to"),
            channel=asked.get("channel", ""),
            kind=asked.get("kind", ""),
        )
        over_time = sorted(found.by_day.items())
        return Response(
            {
                "from": asked.get("from"),
                "to": asked.get("to"),
                "timezone": found.zone.key,
                **_tally(found.total),
                "suppressedReasons": dict(found.total.reasons),
                "channels": [
                    {"channel": name, **_tally(one)} for name, one in sorted(found.by_channel.items())
                ],
                "kinds": [{"kind": name, **_tally(one)} for name, one in sorted(found.by_kind.items())],
                "days": [] if found.is_by_month else [{"day": day, **_tally(one)} for day, one in over_time],
                "months": [{"month": f"{day:%Y-%m}", **_tally(one)} for day, one in over_time]
                if found.is_by_month
                else [],
            }
        )


def _tally(tally: Tally) -> dict[str, Any]:
    return {
        "total": tally.total,
        "statuses": {status: tally.statuses[status] for status in MessageStatus.values},
        "optedOut": tally.opted_out,
        "deliveryRate": None if tally.delivery_rate is None else round(tally.delivery_rate, 4),
        "medianSecondsToDelivery": tally.median_delay_seconds,
        "smsSegments": tally.segments,
        "smsCost": [
            {"currency": currency, "amount": f"{amount:.4f}", "estimated": f"{tally.estimated[currency]:.4f}"}
            for currency, amount in sorted(tally.prices.items())
        ],
    }
