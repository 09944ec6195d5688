"""The System page of the admin: every condition with its state in words, and what to do about those that are not well."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import django
from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from communications.models import Channel
from parking_site import system
from parking_site.system import AMBER, GREEN, NEVER, OFF, RED, UNREADABLE, Condition, Reading
from payments.models import Provider

PERMISSION = "foundation.view_system"
REFRESH_SECONDS = 30
_began = time.monotonic()
# state -> the word, the icon, the mood of its colour
LOOKS = {
    RED: (gettext_lazy("Act now"), "error", "bad"),
    UNREADABLE: (gettext_lazy("Cannot be read"), "help", "bad"),
    AMBER: (gettext_lazy("Watch"), "warning", "wait"),
    GREEN: (gettext_lazy("Well"), "check_circle", "good"),
    OFF: (gettext_lazy("Nothing to watch"), "remove", ""),
}


NAMES: dict[str, Any] = {**dict(Provider.choices), **dict(Channel.choices)}


@dataclass(frozen=True)
class Row:
    """A reading in words. `link` is where one acts; "" where there is no such list, or this person may not see it."""

    reading: Reading
    value: str
    limits: str
    word: str
    icon: str
    mood: str
    link: str
    may_see: bool

    @property
    def title(self) -> Any:
        return self.reading.condition.title

    @property
    def is_bad(self) -> bool:
        return self.mood == "bad"

    @property
    def is_wait(self) -> bool:
        return self.mood == "wait"


@never_cache
@require_safe
def system_page(request: HttpRequest) -> HttpResponse:
    """Show it to whoever has `foundation.view_system`. Loads itself anew, unless asked not to (?refresh=off)."""
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    now = timezone.now()
    rows = [row_of(reading, request.user) for reading in system.look(now=now)]
    areas: dict[Any, list[Row]] = {}
    for row in rows:
        areas.setdefault(row.reading.condition.area, []).append(row)
    context = {
        **admin.site.each_context(request),
        "title": _("System"),
        "urgent": sorted((row for row in rows if row.is_bad or row.is_wait), key=lambda row: row.is_wait),
        "bad": sum(row.is_bad for row in rows),
        "wait": sum(row.is_wait for row in rows),
        "areas": list(areas.items()),
        "facts": _facts(),
        "now": now,
        "refreshes": request.GET.get("refresh") != "off",
        "refresh_seconds": REFRESH_SECONDS,
    }
    return TemplateResponse(request, "admin/system.html", context)


def row_of(reading: Reading, user: Any) -> Row:
    """Say a reading in words, for this person."""
    condition = reading.condition
    word, icon, mood = LOOKS[reading.state]
    may_see, link = True, ""
    if condition.link is not None:
        label, query = condition.link
        model = apps.get_model(label)
        may_see = user.has_perm(f"{model._meta.app_label}.view_{model._meta.model_name}")
        if may_see:
            link = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
            link += f"?{query}" if query else ""
    return Row(reading, _values(reading), _limits(condition), str(word), icon, mood, link, may_see)


def _values(reading: Reading) -> str:
    unit = reading.condition.unit
    if not reading.values:
        return "-"
    if "" in reading.values:
        return in_words(reading.values[""], unit)
    return ", ".join(
        f"{NAMES.get(label, label)} {in_words(value, unit)}" for label, value in reading.values.items()
    )


def in_words(value: float, unit: str) -> str:
    """Say a value: "3 min", "21 days", "down"."""
    if value == NEVER:
        return _("never")
    if unit == "seconds":
        if 0 < value < 0.001:
            return _("under 1 ms")
        if 0 < value < 10:
            return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
        return age(timedelta(seconds=value))
    if unit == "days":
        return ngettext("%(count)d day", "%(count)d days", int(value)) % {"count": int(value)}
    if unit == "down":
        return _("down") if value else _("answers")
    return formats.number_format(int(value))


def _limits(condition: Condition) -> str:
    if condition.unit == "down":
        return _("red when down") if condition.red is not None else _("amber when down")
    said = []
    for limit, above, below in (
        (condition.amber, _("amber above %(limit)s"), _("amber below %(limit)s")),
        (condition.red, _("red above %(limit)s"), _("red below %(limit)s")),
    ):
        if limit is not None:
            words = in_words(limit, condition.unit) if limit else "0"
            said.append((below if condition.is_low_bad else above) % {"limit": words})
    return ", ".join(said)


def _facts() -> list[tuple[str, str]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('server_version'), now() - pg_postmaster_start_time(),"
            " (SELECT count(*) FROM procrastinate_workers WHERE last_heartbeat > now() - interval '2 minutes')"
        )
        version, database_up, workers = cursor.fetchone()
    return [
        (_("Release"), settings.RELEASE),
        (_("Environment"), settings.ENVIRONMENT),
        (_("This process up for"), age(timedelta(seconds=time.monotonic() - _began))),
        (_("Workers alive"), str(workers)),
        (_("PostgreSQL"), f"{version.split(' ')[0]}, {_('up for %(age)s') % {'age': age(database_up)}}"),
        (_("Python and Django"), f"{platform.python_version()}, {django.get_version()}"),
    ]


def age(span: timedelta) -> str:
    """Say how long in its largest unit: "3 min", "5 h", "2 d"."""
    seconds = max(0, int(span.total_seconds()))
    if seconds < 90:
        return _("%(count)d s") % {"count": seconds}
    if seconds < 90 * 60:
        return _("%(count)d min") % {"count": seconds // 60}
    if seconds < 48 * 3600:
        return _("%(count)d h") % {"count": seconds // 3600}
    return _("%(count)d d") % {"count": seconds // 86400}
