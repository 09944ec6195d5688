"""Second factors: who has to have one, which sign-in has shown one, and taking one from somebody who lost it.

allauth keeps the factors and asks for them at the log-in. Here stands what a sign-in without one may not do.
"""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlencode

from allauth.account.authentication import get_authentication_records
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts import throttle
from accounts.models import TokenFamily, User
from communications.services.outbox import queue_message
from foundation import audit
from foundation.errors import DomainError, InvalidInput, NotAllowed

# What proves a person. Recovery codes only stand in for one of them.
FACTORS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)
# Setting up a factor soon after the log-in does not ask for the password again, also where RECENT_SIGN_IN_MINUTES is 0.
SOON_MINUTES = 15


class WrongCode(DomainError):
    code = "wrong_code"
    message = _("The one-time code is wrong or was used already. Wait for the next one and try again.")


class RecentSignInNeeded(Exception):
    """Raised by a page for something grave when the person last proved who they are too long ago."""


def is_required_of(user: Any) -> bool:
    """Whether the user may do nothing as staff without a second factor."""
    return bool(settings.STAFF_MFA_REQUIRED and user.is_staff)


def has_one(user: Any) -> bool:
    return Authenticator.objects.filter(user_id=user.pk, type__in=FACTORS).exists()


def was_shown(request: HttpRequest, user: Any) -> bool:
    """Whether this session has shown a second factor that the user still has."""
    records = get_authentication_records(request, user)
    return any(record.get("method") == "mfa" for record in records) and has_one(user)


def note_shown(request: HttpRequest, user: Any) -> None:
    """Count the code that has just set a factor up as shown by this session."""
    from allauth.account.internal.flows.login import record_authentication

    record_authentication(request, user, method="mfa", type=Authenticator.Type.TOTP.value)


def mark(request: HttpRequest, user: Any) -> Any:
    """Return the session's user, without any staff permission where a second factor is required and was not shown."""
    if user.is_authenticated and is_required_of(user):
        user.lacks_second_factor = not was_shown(request, user)
    return user


def way_to_show(request: HttpRequest, user: Any) -> str:
    """Return the page where the user shows a second factor, or sets the first one up; it leads back here."""
    page = "mfa_reauthenticate" if has_one(user) else "mfa_activate_totp"
    return f"{reverse(page)}?{urlencode({'next': request.get_full_path()})}"


def way_to_sign_in_again(request: HttpRequest) -> str:
    """Return the page where the signed-in user proves who they are once more; it leads back here."""
    page = "mfa_reauthenticate" if has_one(request.user) else "account_reauthenticate"
    return f"{reverse(page)}?{urlencode({'next': request.get_full_path()})}"


def signed_in_within(request: HttpRequest, *, minutes: int) -> bool:
    """Whether this session's user gave a password or a code within the last minutes."""
    records = get_authentication_records(request, request.user)
    return bool(records) and time.time() - max(record["at"] for record in records) < minutes * 60


def demand_recent_sign_in(request: HttpRequest) -> None:
    """Raise RecentSignInNeeded unless the person proved who they are within RECENT_SIGN_IN_MINUTES (0: never asked)."""
    minutes = settings.RECENT_SIGN_IN_MINUTES
    if minutes and not signed_in_within(request, minutes=minutes):
        raise RecentSignInNeeded


def check_code(user: User, code: str) -> None:
    """Accept a one-time or recovery code once. Raises WrongCode, and TooManyRequests after too many wrong ones."""
    throttle.count_code(user.pk)
    for factor in Authenticator.objects.filter(user=user).exclude(type=Authenticator.Type.WEBAUTHN):
        if factor.wrap().validate_code(code.strip()):
            factor.record_usage()
            throttle.forget_codes(user.pk)
            return
    raise WrongCode


def reset(user: User, *, by: User | None, reason: str) -> int:
    """Take every second factor from a person who lost it, end all their sign-ins and write to them; return how many factors.

    `by`: the superuser who decided it, None for the command line. Raises NotAllowed for one's own, and InvalidInput without a reason or a factor.
    """
    if by is not None and (by.pk == user.pk or not by.is_superuser):
        raise NotAllowed(_("Only another administrator can do this for you."))
    if not reason.strip():
        raise InvalidInput(_("Say why: it is kept in the audit log."), field="reason")
    with transaction.atomic():
        taken = Authenticator.objects.filter(user=user).delete()[0]
        if not taken:
            raise InvalidInput(_("This person has no second factor. Nothing was changed."))
        end_sign_ins(user)
        audit.record(
            actor=by,
            action="second_factor.reset",
            subject=f"user:{user.pk}",
            reason=reason.strip(),
            data={"factors": taken},
        )
        tell(user, "second_factor_removed")
    return taken


def end_sign_ins(user: User) -> None:
    """End every session and every API sign-in of the user at once. The caller writes the audit log."""
    now = timezone.now()
    user.sign_ins_ended_at = now
    user.save(update_fields=["sign_ins_ended_at"])
    TokenFamily.objects.filter(user=user, revoked_at=None).update(revoked_at=now)


def tell(user: User, event: str) -> None:
    """Write to the person that something about how they sign in has changed. Queued in the caller's transaction."""
    queue_message(
        kind=event,
        channel="email",
        to=user.email,
        to_name=user.get_full_name(),
        language=user.language,
        variables={
            "customer_name": user.get_full_name(),
            "changed_at": f"{timezone.now():%Y-%m-%d %H:%M} UTC",
            "account_url": settings.SITE_URL + reverse("accounts:profile"),
        },
        dedupe_key=f"{event}:{user.pk}:{timezone.now():%Y%m%d%H%M%S%f}",
        user=user,
    )
