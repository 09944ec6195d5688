"""What became of the messages, for staff: figures, charts, tables and a spreadsheet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from communications.admin.charts import PARTS, bars_over
from communications.campaigns.people import reason_text
from communications.catalogue import KIND_CHOICES
from communications.models import Channel, MessageCount, MessageStatus
from communications.queries import OPTED_OUT, Analytics, Tally, analytics, counted_rows
from communications.services.counting import counted_zone
from foundation import audit
from foundation.admin import ReadOnlyAdmin
from foundation.spreadsheet import lines, safe

DATE = {"type": "date", "class": "ops-input"}
HEADER = ["day", "channel", "kind", "status", "reason", "messages", "sms_segments", "price", "of_it_estimated", "currency"]  # fmt: skip
PERIODS = [
    ("1", gettext_lazy("Today")),
    ("7", gettext_lazy("7 days")),
    ("30", gettext_lazy("30 days")),
    ("90", gettext_lazy("90 days")),
    ("365", gettext_lazy("365 days")),
    ("all", gettext_lazy("All")),
]
NOTHING = "-"


class FilterForm(forms.Form):
    """Which messages are counted. Without days: the last thirty."""

    first = forms.DateField(
        label=gettext_lazy("First day"), required=False, widget=forms.DateInput(attrs=DATE, format="%Y-%m-%d")
    )
    last = forms.DateField(
        label=gettext_lazy("Last day"), required=False, widget=forms.DateInput(attrs=DATE, format="%Y-%m-%d")
    )
    channel = forms.ChoiceField(
        label=gettext_lazy("Channel"),
        required=False,
        choices=[("", gettext_lazy("both")), *Channel.choices],
        widget=forms.Select(attrs={"class": "ops-input"}),
    )
    kind = forms.ChoiceField(
        label=gettext_lazy("Kind"),
        required=False,
        choices=[("", gettext_lazy("every kind")), *KIND_CHOICES],
        widget=forms.Select(attrs={"class": "ops-input"}),
    )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("first") and cleaned.get("last") and cleaned["last"] < cleaned["first"]:
            self.add_error("last", _("The last day is before the first."))
        return cleaned


@dataclass(frozen=True)
class Number:
    """A figure with the way to the messages that it counts."""

    label: str
    value: str
    link: str = ""
    note: str = ""
    mood: str = ""


class Links:
    """Addresses of the message list that show exactly what a figure counts."""

    def __init__(self, found: Analytics, **fixed: str) -> None:
        self.found = found
        self.fixed = {f"{name}__exact": value for name, value in fixed.items() if value}
        self.list = reverse("admin:communications_message_changelist")

    def to(
        self, *statuses: str, first: date | None = None, last: date | None = None, reasons: tuple[str, ...] = (), **fixed: str
    ) -> str:  # fmt: skip
        chosen = {**self.fixed, **{f"{name}__exact": value for name, value in fixed.items()}}
        first, last = first or self.found.first, last or self.found.last
        if first:
            chosen["queued_at__gte"] = self.found.starts_at(first).isoformat(sep=" ")
        if last:
            chosen["queued_at__lt"] = self.found.starts_at(last + timedelta(days=1)).isoformat(sep=" ")
        if len(statuses) == 1:
            chosen["status__exact"] = statuses[0]
        elif statuses:
            chosen["status__in"] = ",".join(statuses)
        if reasons:
            chosen["error_code__exact" if len(reasons) == 1 else "error_code__in"] = ",".join(reasons)
        return f"{self.list}?{urlencode(chosen)}"


@admin.register(MessageCount)
class AnalyticsAdmin(ReadOnlyAdmin):
    """One page instead of a list: the counts by state, channel, kind and day. For whoever may view messages."""

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("communications.view_message")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.changelist_view)
        return [path("", view, name="communications_messagecount_changelist"), *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        """Show the counts, or send them as a CSV file (`format=csv`)."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        today = timezone.now().astimezone(ZoneInfo(counted_zone())).date()
        period = request.GET.get("period", "")
        asked = {name: request.GET.get(name, "") for name in ("first", "last", "channel", "kind")}
        if period in ("1", "7", "30", "90", "365"):
            asked |= {"first": str(today - timedelta(days=int(period) - 1)), "last": str(today)}
        elif period == "all":
            asked |= {"first": "", "last": ""}
        elif not asked["first"] and not asked["last"]:
            period = "30"
            asked |= {"first": str(today - timedelta(days=29)), "last": str(today)}
        form = FilterForm(asked)
        chosen: dict[str, Any] = form.cleaned_data if form.is_valid() else {"first": today, "last": today}
        found = analytics(
            first=chosen.get("first"),
            last=chosen.get("last"),
            channel=chosen.get("channel", ""),
            kind=chosen.get("kind", ""),
        )
        if request.GET.get("format") == "csv" and form.is_valid():
            return self._csv(request, found, chosen)
        links = Links(found, channel=chosen.get("channel", ""), kind=chosen.get("kind", ""))
        chart = bars_over(found)
        kept = {name: value for name, value in asked.items() if value and name in ("channel", "kind")}
        context = {
            **self.admin_site.each_context(request),
            "title": _("Message analytics"),
            "opts": self.opts,
            "media": self.media,
            "form": form,
            "period": period,
            "periods": [(key, label, urlencode({**kept, "period": key})) for key, label in PERIODS],
            "found": found,
            "days_of": found.zone.key,
            "numbers": _numbers(found.total, links),
            "chart": chart,
            "legend": list(zip(PARTS, _part_labels(), strict=True)),
            "bar_rows": [
                (bar.label, _cells(bar.tally, links, first=bar.first, last=bar.last))
                for bar in chart.bars
                if bar.tally.total
            ],
            "channel_rows": [
                (Channel(name).label, _cells(tally, links, channel=name))
                for name, tally in sorted(found.by_channel.items())
            ],
            "kind_rows": [
                (dict(KIND_CHOICES).get(name, name), _cells(tally, links, kind=name))
                for name, tally in sorted(found.by_kind.items(), key=lambda one: -one[1].total)
            ],
            "reasons": [
                Number(
                    reason_text(name) if name else _("no reason given"),
                    str(count),
                    links.to(MessageStatus.SUPPRESSED, reasons=(name,)),
                )
                for name, count in found.total.reasons.most_common()
            ],
            "csv": urlencode(
                {
                    **{name: value for name, value in asked.items() if value},
                    **({"period": "all"} if period == "all" else {}),
                    "format": "csv",
                }
            ),
        }
        return TemplateResponse(
            request, "communications/admin/analytics.html", context, status=200 if form.is_valid() else 400
        )

    def _csv(self, request: HttpRequest, found: Analytics, chosen: dict[str, Any]) -> StreamingHttpResponse:
        audit.record(
            actor=request.user,
            action="message_analytics.exported",
            subject="messages",
            data={name: str(value) for name, value in chosen.items() if value},
        )
        return StreamingHttpResponse(
            lines(_rows(found, chosen.get("channel", ""), chosen.get("kind", ""))),
            content_type="text/csv; charset=utf-8",
            headers={
                "Content-Disposition": 'attachment; filename="message-analytics.csv"',
                "Cache-Control": "private, no-store",
            },
        )


def _rows(found: Analytics, channel: str, kind: str) -> Iterator[list[object]]:
    yield list(HEADER)
    for day, *words, currency, messages, segments, price, estimated in counted_rows(
        first=found.first, last=found.last, channel=channel, kind=kind
    ):
        prices = [f"{price:.4f}", f"{estimated:.4f}"] if currency else ["", ""]
        yield [day.isoformat(), *map(safe, words), messages, segments, *prices, safe(currency)]


def _part_labels() -> list[str]:
    return [
        _("delivered"),
        _("on the way"),
        _("maybe sent"),
        _("not sent on purpose"),
        _("bounced or failed"),
    ]


def percent(share: float | None) -> str:
    """Write a share as a percentage with one decimal; a dash for none. 100 % means all of them."""
    if share is None:
        return NOTHING
    return f"{formats.number_format(int(share * 1000) / 10, 1)} %"


def span(seconds: int | None) -> str:
    """Write a time in its largest fitting unit."""
    if seconds is None:
        return NOTHING
    for size, words in ((86400, _("%(n)d d")), (3600, _("%(n)d h")), (60, _("%(n)d min"))):
        if seconds >= size:
            return words % {"n": seconds // size}
    return _("under 1 s") if seconds == 0 else _("%(n)d s") % {"n": seconds}


def cost(tally: Tally) -> str:
    """Write what SMS cost per currency."""
    return ", ".join(
        f"{formats.number_format(amount, 2, force_grouping=True)} {currency}" for currency, amount in sorted(tally.prices.items())
    )  # fmt: skip


def _number(count: int) -> str:
    return str(formats.number_format(count, force_grouping=True))


def _numbers(total: Tally, links: Links) -> list[Number]:
    statuses = total.statuses
    way = PARTS["way"]
    others = statuses[MessageStatus.SUPPRESSED] - total.opted_out
    estimated = sum(total.estimated.values())
    return [
        Number(_("Messages"), _number(total.total), links.to()),
        Number(
            _("Delivered"),
            _number(statuses[MessageStatus.DELIVERED]),
            links.to(MessageStatus.DELIVERED),
            _("%(rate)s of those that left") % {"rate": percent(total.delivery_rate)} if total.tried else "",
            "good" if statuses[MessageStatus.DELIVERED] else "",
        ),
        Number(_("Sent, no news yet"), _number(statuses[MessageStatus.SENT]), links.to(MessageStatus.SENT)),
        Number(
            _("Waiting"),
            _number(statuses[MessageStatus.QUEUED] + statuses[MessageStatus.SENDING]),
            links.to(*way[:2]),
        ),
        Number(
            _("Bounced"),
            _number(statuses[MessageStatus.BOUNCED]),
            links.to(MessageStatus.BOUNCED),
            mood="bad" if statuses[MessageStatus.BOUNCED] else "",
        ),
        Number(
            _("Failed"),
            _number(statuses[MessageStatus.FAILED]),
            links.to(MessageStatus.FAILED),
            mood="bad" if statuses[MessageStatus.FAILED] else "",
        ),
        Number(
            _("Maybe sent"),
            _number(statuses[MessageStatus.MAYBE_SENT]),
            links.to(MessageStatus.MAYBE_SENT),
            mood="wait" if statuses[MessageStatus.MAYBE_SENT] else "",
        ),
        Number(
            _("Opted out"),
            _number(total.opted_out),
            links.to(MessageStatus.SUPPRESSED, reasons=OPTED_OUT),
            _("and %(count)s not sent for other reasons") % {"count": _number(others)} if others else "",
        ),
        Number(_("Median to delivery"), span(total.median_delay_seconds), note=_("half took no longer")),
        Number(
            _("Cost of SMS"),
            cost(total) or NOTHING,
            note=_("%(amount)s of it estimated") % {"amount": formats.number_format(estimated, 2)}
            if estimated
            else "",
        ),
    ]


def _cells(tally: Tally, links: Links, **where: Any) -> list[tuple[str, str]]:
    """A table's row: each count with its link."""
    groups: list[tuple[str, ...]] = [
        (),
        (MessageStatus.DELIVERED,),
        PARTS["way"],
        (MessageStatus.BOUNCED,),
        (MessageStatus.FAILED,),
        (MessageStatus.MAYBE_SENT,),
        (MessageStatus.SUPPRESSED,),
    ]
    counted = [
        (tally.total if not group else sum(tally.statuses[status] for status in group), group)
        for group in groups
    ]
    cells = [(_number(count), links.to(*group, **where) if count else "") for count, group in counted]
    return [
        *cells,
        (percent(tally.delivery_rate), ""),
        (span(tally.median_delay_seconds), ""),
        (cost(tally) or NOTHING, ""),
    ]
