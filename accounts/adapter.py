"""allauth's letters go through our own post office: an outbox, retries and a log like every other."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
from typing import Any
from urllib.parse import urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.models import EmailAddress
from allauth.core import context as allauth_context
from allauth.mfa.adapter import DefaultMFAAdapter
from cryptography.fernet import Fernet
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme

from accounts import throttle
from accounts.models import User
from communications.models import ConsentSource
from communications.services.outbox import queue_message
from foundation import audit
from foundation.api import TooManyRequests
from foundation.middleware import client_address
from foundation.text import holds_link

# allauth's notice -> (what the audit log says, the letter to the person)
NOTICES = {
    "account/email/password_changed": ("password.changed", "password_changed"),
    "account/email/password_set": ("password.changed", "password_changed"),
    "account/email/password_reset": ("password.reset", "password_changed"),
    "mfa/email/totp_activated": ("second_factor.added", "second_factor_added"),
    "mfa/email/totp_deactivated": ("second_factor.removed", "second_factor_removed"),
    "mfa/email/recovery_codes_generated": ("recovery_codes.made", "recovery_codes_made"),
}


def site_url(name: str) -> str:
    """Return the full address of a named page on this site."""
    return settings.SITE_URL + reverse(name)


class AccountAdapter(DefaultAccountAdapter):
    """Queue a letter of our catalogue where allauth would send its own; our limits, our address, and our origin in every link."""

    def get_client_ip(self, request: HttpRequest) -> str:
        """The address as our own proxy set it: one answer for allauth's limits and ours. What is none, as of a unix socket, is
        0.0.0.0."""
        address = client_address(request)
        try:
            ipaddress.ip_address(address)
        except ValueError:
            return "0.0.0.0"  # noqa: S104 - nothing listens there
        return address

    def is_safe_url(self, url: str) -> bool:
        """Whether `next` may be followed: a path of ours or our own origin, whatever Host the request claims."""
        return url_has_allowed_host_and_scheme(
            url,
            allowed_hosts={urlsplit(settings.SITE_URL).netloc},
            require_https=settings.SITE_URL.startswith("https"),
        )

    def get_reset_password_from_key_url(self, key: str) -> str:
        return _on_our_origin(super().get_reset_password_from_key_url(key))

    def get_email_confirmation_url(self, request: HttpRequest, emailconfirmation: Any) -> str:
        return _on_our_origin(super().get_email_confirmation_url(request, emailconfirmation))

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        self._attempt = self._try(request, str(credentials.get("email", "")))

    def authenticate(self, request: HttpRequest, **credentials: Any) -> Any:
        user = super().authenticate(request, **credentials)
        if user is not None:
            self._attempt.succeeded()
        return user

    def reauthenticate(self, user: Any, password: str) -> bool:
        """Whether this is the signed-in user's password. Counted like any other try."""
        attempt = self._try(allauth_context.request, user.email)
        is_right = bool(user.check_password(password))
        if is_right:
            attempt.succeeded()
        return is_right

    def _try(self, request: HttpRequest, account: str) -> throttle.Attempt:
        try:
            return throttle.attempt(account=account, address=self.get_client_ip(request))
        except TooManyRequests as error:
            raise self.validation_error("too_many_login_attempts") from error

    def pre_login(self, request: HttpRequest, user: Any, **more: Any) -> HttpResponse | None:
        """A user whom staff made has no address row and counts as vouched for, as over the API."""
        if not EmailAddress.objects.filter(user=user).exists():
            EmailAddress.objects.create(user=user, email=user.email, primary=True, verified=True)
        return super().pre_login(request, user, **more)

    def is_reauthentication_required(self, *, app: str, **more: Any) -> bool:
        """Who has just logged in is not asked for the password again."""
        from accounts import second_factor  # which needs the post office, as this adapter does

        request = allauth_context.request
        minutes = settings.RECENT_SIGN_IN_MINUTES or second_factor.SOON_MINUTES
        if second_factor.signed_in_within(request, minutes=minutes):
            return False
        return super().is_reauthentication_required(app=app, **more)

    def send_notification_mail(
        self, template_prefix: str, user: Any, context: dict[str, Any] | None = None, email: str | None = None
    ) -> None:
        """Note in the audit log how somebody's sign-in changed, and write to them. Other notices are not sent."""
        from accounts import second_factor

        if template_prefix not in NOTICES:
            return
        action, letter = NOTICES[template_prefix]
        with transaction.atomic():
            audit.record(actor=user, action=action, subject=f"user:{user.pk}")
            second_factor.tell(user, letter)
        if action == "second_factor.added":
            second_factor.note_shown(allauth_context.request, user)

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


class SecondFactorAdapter(DefaultMFAAdapter):
    """Secrets of authenticator apps are encrypted: a copy of the database is nobody's second factor."""

    def encrypt(self, text: str) -> str:
        return _cipher().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        return _cipher().decrypt(encrypted_text.encode()).decode()

    def get_totp_issuer(self) -> str:
        """What the app on the phone shows; not the Host of the request."""
        return settings.SITE_NAME


def _cipher() -> Fernet:
    """Keyed like the addresses of consent, because that key is never changed either."""
    key = hashlib.sha256(f"accounts.second-factor {settings.ADDRESS_KEY}".encode()).digest()
    return Fernet(base64.urlsafe_b64encode(key))


def _on_our_origin(url: str) -> str:
    """The same path on SITE_URL: a link in a letter never follows the Host header of whoever asked for it."""
    parts = urlsplit(url)
    return settings.SITE_URL + parts.path + (f"?{parts.query}" if parts.query else "")


def _greeted(user: Any, email: str) -> str:
    """Return the name for a letter to an address that anybody may have typed; none with a link, or strangers would advertise through us."""
    name = user.get_full_name() if user else ""
    return email if not name or holds_link(name) else name
