"""What accounts keep about a person: the account itself, sign-ins, and what the audit log says about them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from allauth.account.models import EmailAddress
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Exists, OuterRef, Q
from django.utils.translation import gettext as _

from accounts.models import Erasure, TokenFamily, User
from foundation.models import AuditEntry, IdempotencyRecord
from foundation.personal import (
    ERASED,
    GONE,
    KEPT_AS_PROOF,
    NOT_A_CUSTOMER,
    SHORT_LIVED,
    Person,
    gone_address,
    instant,
)

FIELDS = {
    **{f"accounts.User.{name}": ERASED for name in ("email", "name", "phone", "password", "offers_wording")},
    "mfa.Authenticator.data": ERASED,
    "accounts.Erasure.emails": ERASED,
    "accounts.Erasure.phones": ERASED,
    "accounts.Erasure.reason": KEPT_AS_PROOF,
    "account.EmailAddress.email": ERASED,
    "account.EmailConfirmation.key": ERASED,
    "admin.LogEntry.object_repr": ERASED,
    "admin.LogEntry.change_message": KEPT_AS_PROOF,  # names of fields
    "foundation.AuditEntry.data": KEPT_AS_PROOF,
    "foundation.AuditEntry.reason": KEPT_AS_PROOF,
    "foundation.AuditEntry.subject": KEPT_AS_PROOF,
    "foundation.IdempotencyRecord.body": SHORT_LIVED,
    "foundation.IdempotencyRecord.principal": SHORT_LIVED,
    "sessions.Session.session_data": SHORT_LIVED,
    "auth.Group.name": NOT_A_CUSTOMER,
    "foundation.Choice.reason": NOT_A_CUSTOMER,
}
# Of second factors: public keys and secrets. They go with the account, if the app is installed.
SECOND_FACTORS = ("mfa", "Authenticator")
SIGN_INS = ("usersessions", "UserSession")


def export(person: Person) -> dict[str, Any]:
    """Return the account, its addresses and API sign-ins, and every audit entry by or about it. Staff are named as "staff" only."""
    user = person.user
    if user is None:
        return {"person": {"emails": list(person.emails), "phones": list(person.phones)}}
    about = AuditEntry.objects.filter(
        Q(actor=user) | Q(subject=f"user:{user.pk}") | Q(subject__in=_references(user))
    )
    return {
        "account": {
            "email": user.email,
            "name": user.name,
            "phone": str(user.phone or ""),
            "language": user.language,
            "joined": instant(user.date_joined),
            "last_sign_in": instant(user.last_login),
            "offers_by_email": user.marketing_consent,
            "offers_by_sms": user.wants_sms_offers,
        },
        "email_addresses": [
            {"email": one.email, "verified": one.verified, "primary": one.primary}
            for one in EmailAddress.objects.filter(user=user).order_by("pk")
        ],
        "api_sign_ins": [
            {
                "began": instant(one.created_at),
                "last_used": instant(one.last_used_at),
                "expires": instant(one.expires_at),
                "ended": instant(one.revoked_at),
            }
            for one in TokenFamily.objects.filter(user=user).order_by("created_at")
        ],
        "audit_log": [
            {
                "at": instant(one.at),
                "who": "you" if one.actor_id == user.pk else "staff" if one.actor_id else "system",
                "what": one.action,
                "about": one.subject,
                "details": one.data,
            }
            for one in about.order_by("at", "pk")
        ],
    }


def _references(user: Any) -> list[str]:
    return [f"booking:{reference}" for reference in user.bookings.values_list("reference", flat=True)]


def open_matters(person: Person, *, now: datetime) -> list[str]:
    """A member of staff stays known to the audit log: the rights are taken first. A guest who has an account goes with it, or not at all:
    the account's stays would lose their messages."""
    if person.user is None and _has_account(person.emails):
        return [_("This address has an account: log in and ask there.")]
    if person.user is not None and (person.user.is_staff or person.user.is_superuser):
        return [_("This is an account of staff: take its rights first.")]
    return []


def _has_account(emails: tuple[str, ...]) -> bool:
    unproven = EmailAddress.objects.filter(
        user=OuterRef("pk"), email__iexact=OuterRef("email"), verified=False
    )
    mine = User.objects.filter(~Exists(unproven), email__in=emails, is_active=True)
    others = EmailAddress.objects.filter(email__in=emails, verified=True, user__is_active=True)
    return mine.exists() or others.exists()


def forget_elsewhere(person: Person, *, now: datetime) -> bool:
    """Accounts are nowhere else."""
    return True


def forget(person: Person, *, by: Any, reason: str, now: datetime) -> dict[str, int]:
    """Leave of the account an empty row that bookings and the books can point at. Nobody can sign in to it."""
    user = person.user
    if user is None:
        return {}
    close(user)
    EmailAddress.objects.filter(user=user).delete()
    TokenFamily.objects.filter(user=user).delete()
    if apps.is_installed("allauth." + SECOND_FACTORS[0]):
        apps.get_model(*SECOND_FACTORS).objects.filter(user=user).delete()
    if apps.is_installed("allauth." + SIGN_INS[0]):  # from where, and with what, somebody was signed in
        apps.get_model(*SIGN_INS).objects.filter(user=user).delete()
    IdempotencyRecord.objects.filter(principal=f"user:{user.pk}").delete()
    LogEntry.objects.filter(
        content_type=ContentType.objects.get_for_model(User), object_id=str(user.pk)
    ).update(object_repr=GONE)
    Erasure.objects.filter(user=user).exclude(status=Erasure.Status.RUNNING).update(emails=[], phones=[])
    User.objects.filter(pk=user.pk).update(
        email=gone_address(user.pk), name="", phone="", offers_wording="", last_login=None
    )
    return {"accounts": 1}


def close(user: Any) -> None:
    """Let nobody sign in any more, and end every session and token: they hang on the password and on `is_active`."""
    row = User.objects.select_for_update(no_key=True).get(pk=user.pk)
    row.set_unusable_password()
    row.is_active = False
    row.save(update_fields=["password", "is_active"])
