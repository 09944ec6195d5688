"""The staff's landing page, navigation, and one booking's whole story.

Here, on the top floor, because a figure or a story may need every app.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.db.models import Count, Min, Q, Sum
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import NoReverseMatch, reverse
from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from bookings.admin import local_days
from bookings.models import Airport, Booking, CarPark, Occupancy, Pool
from communications.models import Message, SmsBreaker
from foundation import features
from foundation.money import Money
from parking_site import system, system_page
from parking_site.system_page import age
from payments.models import (
    ANSWERABLE,
    OPEN,
    Break,
    Dispute,
    Payment,
    Provider,
    ReconciliationRun,
    Refund,
)
from payments.queries import refunds_waiting, refunds_waiting_for
from payments.services.approval import REMIND_AFTER
from payments.services.retry import unresolved

EXPECTED = (Booking.Status.CONFIRMED, Booking.Status.ARRIVED, Booking.Status.COMPLETED)
REFUNDS_ON_THEIR_WAY = ("requested", "submitted", "pending", "unknown")
QUEUE_IS_LATE_AFTER = timedelta(seconds=system.red("outbox_oldest_seconds"))
RECONCILIATION_IS_LATE_AFTER = timedelta(seconds=system.red("reconciliation_age_seconds"))
CLOCK_SKEW_SECONDS = system.red("provider_clock_skew_seconds")

# (group, [(icon, model)]) in the order in which a day's work needs them.
NAVIGATION = [
    (gettext_lazy("Desk"), [
        ("local_parking", "bookings.Booking"),
        ("payments", "payments.Payment"),
        ("currency_exchange", "payments.Refund"),
        ("gavel", "payments.Dispute"),
        ("outgoing_mail", "communications.Message"),
        ("crisis_alert", "communications.EmergencyAlert"),
    ]),
    (gettext_lazy("Car parks"), [
        ("flight", "bookings.Airport"),
        ("garage", "bookings.CarPark"),
        ("business", "bookings.Operator"),
        ("sell", "bookings.Tariff"),
        ("redeem", "bookings.PromoCode"),
        ("policy", "bookings.CancellationPolicy"),
    ]),
    (gettext_lazy("Books"), [
        ("rule", "payments.Break"),
        ("credit_card_off", "payments.CardBreaker"),
        ("sync", "payments.ReconciliationRun"),
        ("account_balance", "payments.LedgerTransaction"),
        ("savings", "payments.Payout"),
        ("receipt_long", "payments.Document"),
        ("webhook", "payments.ProviderEvent"),
    ]),
    (gettext_lazy("Messages"), [
        ("insights", "communications.MessageCount"),
        ("campaign", "communications.Campaign"),
        ("draft", "communications.MessageTemplate"),
        ("sms", "communications.InboundText"),
        ("fact_check", "communications.ConsentEntry"),
        ("block", "communications.Suppression"),
        ("data_usage", "communications.SmsSpend"),
        ("electric_bolt", "communications.SmsBreaker"),
    ]),
    (gettext_lazy("People and trail"), [
        ("person", "accounts.User"),
        ("person_off", "accounts.Erasure"),
        ("credit_card", "payments.StoredMethod"),
        ("badge", "auth.Group"),
        ("tune", "foundation.Choice"),
        ("history", "foundation.AuditEntry"),
        ("schedule", "procrastinate.ProcrastinateJob"),
    ]),
]  # fmt: skip

# What a library calls a model, and a person would not.
TITLES = {"procrastinate.ProcrastinateJob": gettext_lazy("Background jobs")}


def environment_badge(request: HttpRequest) -> list[Any] | None:
    """Mark every page outside production, so that nobody refunds a customer in the wrong window."""
    if settings.PRODUCTION:
        return None
    return [_("Sandbox") if settings.SANDBOX_URL else _("Test"), "warning"]


def stylesheet(request: HttpRequest) -> str:
    return static("operations/operations.css")


def browser_tab_icon(request: HttpRequest) -> str:
    return static("img/sign.svg")


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the sidebar: only pages that this person may open."""
    first = [{"title": _("Today"), "icon": "space_dashboard", "link": reverse("admin:index")}]
    if request.user.has_perm(system_page.PERMISSION):
        first.append({"title": _("System"), "icon": "monitor_heart", "link": reverse("system")})
    groups: list[dict[str, Any]] = [{"items": first}]
    for title, entries in NAVIGATION:
        items = [item for icon, label in entries if (item := _navigation_item(request, icon, label))]
        if items:
            groups.append({"title": str(title), "separator": True, "items": items})
    return groups


def _navigation_item(request: HttpRequest, icon: str, label: str) -> dict[str, Any] | None:
    try:
        model = apps.get_model(label)
    except LookupError:
        return None
    if label == "communications.Campaign" and not features.is_on("campaigns"):
        return None
    model_admin = admin.site._registry.get(model)
    if model_admin is None or not model_admin.has_view_permission(request):
        return None
    title = str(TITLES.get(label, model._meta.verbose_name_plural))
    return {
        "title": title[:1].upper() + title[1:],
        "icon": icon,
        "link": reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"),
    }


# --- The landing page -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CarParkToday:
    """One car park's day on its airport's own calendar. `inside` is spaces taken at this moment."""

    car_park: CarPark
    now_local: datetime
    arrivals: int
    departures: int
    inside: int
    capacity: int

    @property
    def clock(self) -> str:
        """The airport's weekday and time; a template filter would turn it back into UTC."""
        return formats.date_format(self.now_local, "D H:i")

    @property
    def percent(self) -> int:
        return round(100 * self.inside / self.capacity) if self.capacity else 0


@dataclass(frozen=True)
class Figure:
    """One number on the landing page. `mood` is good, bad, wait or nothing."""

    label: str
    value: str
    note: str = ""
    mood: str = ""
    link: str = ""
    is_word: bool = False


def landing(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add today's figures to the admin index; each part only for those who may view its rows."""
    now = timezone.now()
    user = request.user
    if user.has_perm("bookings.view_booking"):
        context["car_parks_today"] = car_parks_today(now=now)
    if user.has_perm("payments.view_payment"):
        context["money_figures"] = money_figures(now=now) + refund_todo_figures(user, now=now)
    if user.has_perm("communications.view_message"):
        context["message_figures"] = message_figures(now=now)
    context["system_figures"] = system_figures(user, now=now)
    context["now"] = now
    context["title"] = _("Today")
    return context


def car_parks_today(*, now: datetime) -> list[CarParkToday]:
    """Return each open car park's arrivals, departures and spaces taken now. Days are local to each airport."""
    zones = (
        Airport.objects.filter(car_parks__isnull=False)
        .order_by()
        .values_list("timezone", flat=True)
        .distinct()
    )
    arriving, departing = Q(pk__in=[]), Q(pk__in=[])
    for name in zones:
        first, end = local_days(ZoneInfo(name), now, 0, 1)
        here = Q(product__car_park__airport__timezone=name)
        arriving |= here & Q(start_at__gte=first, start_at__lt=end)
        departing |= here & Q(end_at__gte=first, end_at__lt=end)
    moves: dict[int, Any] = {
        row["product__car_park"]: row
        for row in Booking.objects.filter(arriving | departing, status__in=EXPECTED)
        .order_by()
        .values("product__car_park")
        .annotate(arrivals=Count("pk", filter=arriving), departures=Count("pk", filter=departing))
    }
    inside = dict(
        Occupancy.objects.filter(period__contains=now, released_at__isnull=True)
        .order_by()
        .values_list("pool__car_park")
        .annotate(Count("pk"))
    )
    capacity = dict(Pool.objects.order_by().values_list("car_park").annotate(Sum("capacity")))
    car_parks = CarPark.objects.select_related("airport").order_by("airport__iata", "name")
    return [
        CarParkToday(
            car_park=car_park,
            now_local=now.astimezone(car_park.airport.zone),
            arrivals=moves.get(car_park.pk, {}).get("arrivals", 0),
            departures=moves.get(car_park.pk, {}).get("departures", 0),
            inside=inside.get(car_park.pk, 0),
            capacity=capacity.get(car_park.pk) or 0,
        )
        for car_park in car_parks
        if car_park.is_open or car_park.pk in moves or car_park.pk in inside
    ]


def money_figures(*, now: datetime) -> list[Figure]:
    """Return today's takings per currency (UTC day), refunds on their way, and open breaks with the oldest's age."""
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    payments_link = _changelist(Payment)
    takings = (
        Payment.objects.filter(
            captured_at__gte=day, captured_at__lt=day + timedelta(days=1), captured_minor__gt=0
        )
        .order_by("currency")
        .values_list("currency")
        .annotate(Sum("captured_minor"), Count("pk"))
    )
    figures = [
        Figure(
            label=_("Taken today, %(currency)s") % {"currency": currency},
            value=str(Money(total, currency)),
            note=ngettext("%(count)d payment", "%(count)d payments", count) % {"count": count},
            link=payments_link,
        )
        for currency, total, count in takings
    ] or [Figure(label=_("Taken today"), value=_("Nothing yet"), link=payments_link, is_word=True)]
    on_their_way = Refund.objects.filter(status__in=REFUNDS_ON_THEIR_WAY).exclude(
        pk__in=refunds_waiting().values("pk")
    )
    pending = on_their_way.aggregate(count=Count("pk"), oldest=Min("created_at"))
    sums = on_their_way.order_by("currency").values_list("currency").annotate(Sum("amount_minor"))
    figures.append(
        Figure(
            label=_("Refunds on their way"),
            value=str(pending["count"]),
            note=", ".join(str(Money(total, currency)) for currency, total in sums),
            mood="wait" if pending["count"] else "",
            link=_changelist(Refund),
        )
    )
    figures.append(_dispute_figure())
    breaks = Break.objects.filter(resolved_at__isnull=True).aggregate(
        count=Count("pk"), oldest=Min("opened_at")
    )
    figures.append(
        Figure(
            label=_("Open breaks"),
            value=str(breaks["count"]),
            note=_("oldest %(age)s") % {"age": age(now - breaks["oldest"])}
            if breaks["oldest"]
            else _("the books agree"),
            mood="bad" if breaks["count"] else "good",
            link=_changelist(Break),
        )
    )
    figures.append(_reconciliation_figure(now=now))
    return figures


def refund_todo_figures(user: Any, *, now: datetime) -> list[Figure]:
    """Return the refunds that wait for a person: for this user's approval, and failed ones that nobody took up. Only where there are any."""
    figures = []
    mine = refunds_waiting_for(user).aggregate(count=Count("pk"), oldest=Min("created_at"))
    if mine["count"]:
        waited = now - mine["oldest"]
        figures.append(
            Figure(
                label=_("Refunds that wait for you"),
                value=str(mine["count"]),
                note=_("oldest %(age)s") % {"age": age(waited)},
                mood="bad" if waited > REMIND_AFTER else "wait",
                link=f"{_changelist(Refund)}?todo=mine",
            )
        )
    failed = unresolved().aggregate(count=Count("pk"), oldest=Min("finished_at"))
    if failed["count"]:
        figures.append(
            Figure(
                label=_("Refunds that failed"),
                value=str(failed["count"]),
                note=_("nobody took them up; oldest %(age)s") % {"age": age(now - failed["oldest"])},
                mood="bad",
                link=f"{_changelist(Refund)}?todo=failed",
            )
        )
    return figures


def _reconciliation_figure(*, now: datetime) -> Figure:
    """How long ago our books were compared with the providers', the slowest first, and what went wrong."""
    done = ReconciliationRun.objects.filter(finished_at__isnull=False)
    last = {
        run.provider: run
        for run in done.order_by("started_at", "pk").filter(started_at__gte=now - timedelta(days=2))
    }
    if not last:
        return Figure(
            label=_("Compared with the providers"),
            value=_("Never") if not done.exists() else _("Not for days"),
            mood="bad" if done.exists() else "wait",
            link=_changelist(ReconciliationRun),
            is_word=True,
        )
    oldest = now - min(run.finished_at for run in last.values() if run.finished_at)
    failed = [Provider(name).label for name, run in last.items() if run.error]
    skew = max((run.clock_skew_seconds for run in last.values()), key=abs)
    notes = []
    if failed:
        notes.append(_("failed: %(names)s") % {"names": ", ".join(failed)})
    if abs(skew) > CLOCK_SKEW_SECONDS:
        notes.append(_("clocks differ by %(count)d s") % {"count": abs(skew)})
    is_late = oldest > RECONCILIATION_IS_LATE_AFTER
    return Figure(
        label=_("Compared with the providers"),
        value=_("%(age)s ago") % {"age": age(oldest)},
        note=", ".join(notes),
        mood="bad" if notes or is_late else "good",
        link=_changelist(ReconciliationRun),
        is_word=True,
    )


def message_figures(*, now: datetime) -> list[Figure]:
    """Return messages that failed in 7 days, those that may have been sent, and how long the oldest waits."""
    # One small question each, so that an index answers it however long the log is.
    week, waiting = now - timedelta(days=7), Message.objects.filter(status__in=["queued", "sending"])
    counts: dict[str, Any] = {
        "failed": Message.objects.filter(status__in=["failed", "bounced"], queued_at__gte=week).count(),
        "maybe": Message.objects.filter(status="maybe_sent", queued_at__gte=week).count(),
        "sent": Message.objects.filter(
            queued_at__gte=now - timedelta(days=3), sent_at__gte=now - timedelta(days=1)
        ).count(),
        **waiting.aggregate(waiting=Count("pk"), oldest=Min("queued_at")),
    }
    waited = now - counts["oldest"] if counts["oldest"] else timedelta()
    link = _changelist(Message)
    cut_off = SmsBreaker.objects.filter(reset_at=None).count()
    broken = Figure(
        label=_("Number ranges cut off"),
        value=str(cut_off),
        note=_("many of their numbers were texted at once"),
        mood="bad",
        link=f"{_changelist(SmsBreaker)}?reset_at__isempty=1",
    )
    return [
        *([broken] if cut_off else []),
        Figure(
            label=_("Failed or bounced, 7 days"),
            value=str(counts["failed"]),
            note=_("%(count)d may have been sent") % {"count": counts["maybe"]} if counts["maybe"] else "",
            mood="bad" if counts["failed"] else "good",
            link=f"{link}?{urlencode({'status__in': 'failed,bounced', 'queued_at__gte': week.isoformat(sep=' ', timespec='seconds')})}",
        ),
        Figure(
            label=_("Waiting to be sent"),
            value=str(counts["waiting"]),
            note=_("oldest %(age)s") % {"age": age(waited)} if counts["waiting"] else _("nothing waits"),
            mood="bad" if waited > QUEUE_IS_LATE_AFTER else "",
            link=link,
        ),
        Figure(label=_("Sent in 24 hours"), value=str(counts["sent"]), link=link),
    ]


def system_figures(user: Any, *, now: datetime) -> list[Figure]:
    """Return how the system is in one figure, what is wrong of what this person may see, and the payment mode.

    What is amber about money and messages stands in their own figures.
    """
    rows = [system_page.row_of(reading, user) for reading in system.look(now=now)]
    seen = [row for row in rows if row.may_see]
    bad = sum(row.is_bad for row in seen)
    wait = sum(row.is_wait for row in seen)
    said = [
        ngettext("%(count)d red", "%(count)d red", bad) % {"count": bad} if bad else "",
        ngettext("%(count)d amber", "%(count)d amber", wait) % {"count": wait} if wait else "",
    ]
    return [
        Figure(
            label=_("Conditions"),
            value=", ".join(filter(None, said)) or _("All well"),
            note=_("%(count)d are watched") % {"count": len(seen)},
            mood="bad" if bad else "wait" if wait else "good",
            link=reverse("system") if user.has_perm(system_page.PERMISSION) else "",
            is_word=True,
        ),
        *(
            Figure(
                label=str(row.title),
                value=row.value,
                note=row.word,
                mood="bad" if row.is_bad else "wait",
                link=row.link,
                is_word=True,
            )
            for row in seen
            if row.is_bad
            or (row.is_wait and row.reading.condition.area not in (system.MONEY, system.MESSAGES))
        ),
        Figure(
            label=_("Payments are"),
            value=_("Live")
            if settings.STRIPE_LIVE_MODE
            else _("Sandbox")
            if settings.SANDBOX_URL
            else _("Test mode"),
            note=_("real money moves") if settings.STRIPE_LIVE_MODE else _("no real money moves"),
            mood="" if settings.STRIPE_LIVE_MODE else "wait",
            is_word=True,
        ),
    ]


def _dispute_figure() -> Figure:
    rows = Dispute.objects.filter(status__in=OPEN)
    due_by = rows.filter(status__in=ANSWERABLE, answered_at__isnull=True).aggregate(Min("due_by"))[
        "due_by__min"
    ]
    count = rows.count()
    note = (
        _("answer the next by %(when)s UTC") % {"when": formats.date_format(due_by, "j M H:i")}
        if due_by
        else ""
    )
    return Figure(
        label=_("Open disputes"),
        value=str(count),
        note=note,
        mood="bad" if due_by else "wait" if count else "",
        link=_changelist(Dispute),
    )


def _changelist(model: Any) -> str:
    try:
        return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    except NoReverseMatch:
        return ""
