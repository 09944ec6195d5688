"""allauth's letters go through our own post office: an outbox, retries and a log like every other."""

from __future__ import annotations

import hashlib
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.models import EmailAddress
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from communications.models import ConsentSource
from communications.services.outbox import queue_message
from foundation.text import holds_link


def site_url(name: str) -> str:
    """Return the full address of a named page on this site."""
    return settings.SITE_URL + reverse(name)


class AccountAdapter(DefaultAccountAdapter):
    """Queue a letter of our catalogue where allauth would send its own."""

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Queue the letter. The same link asked for twice is one letter; kinds we do not send are dropped.

        allauth's "unknown account" letter is among the dropped: we do not write to strangers.
        """
        user: User | None = context.get("user") or User.objects.filter(email__iexact=email).first()
        kind, variables = "", {"customer_name": _greeted(user, email)}
        if template_prefix in ("account/email/email_confirmation", "account/email/email_confirmation_signup"):
            kind = "verify_email"
            variables["verify_url"] = context["activate_url"]
        elif template_prefix == "account/email/password_reset_key":
            kind = "password_reset"
            variables["reset_url"] = context["password_reset_url"]
        elif template_prefix == "account/email/account_already_exists":
            kind = "already_registered"
            variables |= {
                "login_url": site_url("account_login"),
                "reset_url": site_url("account_reset_password"),
            }
        if not kind:
            return
        link = variables.get("verify_url") or (variables.get("reset_url") if kind == "password_reset" else "")
        once = link or str(self._quarter_hour())
        key = hashlib.sha256(f"{email.lower()} {once}".encode()).hexdigest()[:40]
        with transaction.atomic():
            queue_message(
                kind=kind,
                channel="email",
                to=email,
                to_name=user.get_full_name() if user else "",
                language=user.language if user else settings.LANGUAGE_CODE,
                variables=variables,
                dedupe_key=f"{kind}:{key}",
                user=user,
            )

    def _quarter_hour(self) -> int:
        """Number the current quarter of an hour: who signs up again and again gets one letter in it."""
        return int(timezone.now().timestamp() // 900)

    def confirm_email(self, request: HttpRequest, email_address: EmailAddress) -> bool:
        """Mark the address as confirmed and welcome its owner, once."""
        with transaction.atomic():
            confirmed = super().confirm_email(request, email_address)
            if confirmed:
                from accounts.services import note_consent  # which needs this adapter

                user: User = email_address.user
                if user.offers_wording:
                    note_consent(user, True, source=ConsentSource.SIGN_UP, wording=user.offers_wording)
                queue_message(
                    kind="welcome",
                    channel="email",
                    to=email_address.email,
                    to_name=user.get_full_name(),
                    language=user.language,
                    variables={
                        "customer_name": _greeted(user, user.email),
                        "site_name": settings.SITE_NAME,
                        "home_url": site_url("bookings:home"),
                    },
                    dedupe_key=f"welcome:{user.pk}",
                    user=user,
                )
        return confirmed


def _greeted(user: Any, email: str) -> str:
    """Return the name for a letter to an address that anybody may have typed; none with a link, or strangers would advertise through us."""
    name = user.get_full_name() if user else ""
    return email if not name or holds_link(name) else name
