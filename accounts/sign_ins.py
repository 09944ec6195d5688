"""Sign-ins of one person: sessions of browsers, which allauth lists, and token families of programs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import TokenFamily, User
from accounts.second_factor import end_sign_ins
from foundation import audit

BROWSERS = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
SYSTEMS = (
    ("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("Windows", "Windows"), ("Mac OS X", "Mac"), ("Linux", "Linux"),
)  # fmt: skip


@dataclass(frozen=True)
class SignIn:
    """One sign-in as its owner reads it. `key` names it in a form, and opens nothing."""

    key: str
    name: str
    address: str
    since: datetime
    is_program: bool = False
    is_current: bool = False


def of(user: User, *, here: str) -> list[SignIn]:
    """Return what is signed in as this user now, this session first, then the newest. `here`: this session's key."""
    browsers = [
        SignIn(
            key=f"session-{row.pk}",
            name=_device(row.user_agent),
            address=row.ip,
            since=row.created_at,
            is_current=row.session_key == here,
        )
        for row in UserSession.objects.purge_and_list(user)
    ]
    programs = [
        SignIn(
            key=f"family-{row.pk}",
            name=row.client or _("A program"),
            address="",
            since=row.created_at,
            is_program=True,
        )
        for row in TokenFamily.objects.filter(user=user, revoked_at=None, expires_at__gt=timezone.now())
    ]
    return sorted([*browsers, *programs], key=lambda one: (not one.is_current, -one.since.timestamp()))


def end_one(user: User, *, key: str) -> None:
    """End the sign-in with this key if it is the user's. One that is over already is no error."""
    kind, _dash, number = key.partition("-")
    if kind == "session" and re.fullmatch(r"\d{1,18}", number):
        row: Any = UserSession.objects.filter(user=user, pk=int(number)).first()
        if row is not None:
            row.end()
    elif kind == "family" and re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", number):
        TokenFamily.objects.filter(user=user, pk=UUID(number), revoked_at=None).update(
            revoked_at=timezone.now()
        )


def end_all(user: User) -> None:
    """End every sign-in of the user, also the one that asks. In the audit log."""
    with transaction.atomic():
        end_sign_ins(user)
        audit.record(actor=user, action="signed_out_everywhere", subject=f"user:{user.pk}")


def renew_session(request: HttpRequest) -> None:
    """Give this session a new key before it may open more: whoever planted the old one in this browser is not let in as well.

    The list of sign-ins goes on to know it.
    """
    old = request.session.session_key
    if old:
        request.session.cycle_key()
        UserSession.objects.filter(session_key=old).update(session_key=request.session.session_key)


def forget_ended_sessions(*, now: datetime) -> int:
    """Delete what the list knows of sessions that are over: addresses and browsers are kept no longer. Return how many."""
    running = Session.objects.filter(expire_date__gt=now).values("session_key")
    return UserSession.objects.exclude(session_key__in=running).delete()[0]


def _device(user_agent: str) -> str:
    browser = next((name for mark, name in BROWSERS if mark in user_agent), "")
    system = next((name for mark, name in SYSTEMS if mark in user_agent), "")
    if browser and system:
        return _("%(browser)s on %(system)s") % {"browser": browser, "system": system}
    return browser or system or user_agent[:60] or _("A browser")
