"""Sign-up and API tokens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from allauth.account.adapter import get_adapter
from allauth.account.models import EmailAddress
from django.contrib.auth.hashers import make_password
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext_lazy as _
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.tokens import RefreshToken
from rest_framework_simplejwt.utils import datetime_from_epoch

from accounts import second_factor
from accounts.models import TokenFamily, User
from communications.models import ConsentSource
from communications.services.consent import is_reached_by, record_consent
from foundation import audit
from foundation.errors import DomainError, InvalidInput


class WrongCredentials(DomainError):
    code = "wrong_credentials"
    message = _("The e-mail address or the password is wrong.")


class EmailNotVerified(DomainError):
    code = "email_not_verified"
    message = _("Please follow the link in the letter that we sent to this address, then sign in.")


class TokenNotValid(DomainError):
    code = "token_not_valid"
    message = _("This token is not valid any more. Please sign in again.")


@dataclass(frozen=True)
class Tokens:
    access: str
    refresh: str


def register(
    *, email: str, password: str, name: str, phone: Any = "", language: str = "en", request: HttpRequest
) -> User | None:
    """Open an account and send the verification letter.

    None when the address is known: its owner gets a letter that says so, and the caller must not show the difference.
    Both ways hash one password, so that they take alike. `request` is only for the links in the letters.
    Raises InvalidInput for a weak password.
    """
    email = email.strip().lower()
    try:
        validate_password(password, user=User(email=email, name=name))
    except ValidationError as error:
        raise InvalidInput(" ".join(error.messages), field="password") from error
    if not _is_known(email):
        try:
            with transaction.atomic():
                user = User.objects.create_user(email, password, name=name, phone=phone, language=language)
                address = EmailAddress.objects.create(user=user, email=email, primary=True, verified=False)
                address.send_confirmation(request, signup=True)
            return user
        except IntegrityError:
            if not _is_known(email):
                raise
    else:
        make_password(password)
    get_adapter(request).send_account_already_exists_mail(email)
    return None


def _is_known(email: str) -> bool:
    return (
        User.objects.filter(email__iexact=email).exists()
        or EmailAddress.objects.filter(email__iexact=email).exists()
    )


def user_of(*, email: str, password: str) -> User:
    """Return the active user with these credentials; every answer hashes one password, so that they take alike.

    Raises WrongCredentials, and EmailNotVerified for right credentials of an address that was never confirmed.
    A user whom staff made has no address row and counts as vouched for.
    """
    user = User.objects.filter(email=email.strip().lower()).first()
    if user is None:
        make_password(password)
        raise WrongCredentials
    if not user.check_password(password) or not user.is_active:
        raise WrongCredentials
    if EmailAddress.objects.filter(user=user, email__iexact=user.email, verified=False).exists():
        raise EmailNotVerified
    return user


def issue_tokens(user: User, *, code: str = "", client: str = "") -> Tokens:
    """Start a new token family for the user and return its first pair.

    With a one-time code of the user's the family counts as signed in with a second factor; raises WrongCode for a wrong one.
    client: what the program calls itself, for the list of sign-ins.
    """
    if code:
        second_factor.check_code(user, code)
    refresh = _refresh_for(user)
    family = TokenFamily(
        user=user,
        current_jti=refresh["jti"],
        expires_at=datetime_from_epoch(refresh["exp"]),
        second_factor_at=timezone.now() if code else None,
        client="".join(filter(str.isprintable, client))[:200],
    )
    refresh["family"] = str(family.pk)
    family.save(force_insert=True)
    return Tokens(access=str(refresh.access_token), refresh=str(refresh))


def _refresh_for(user: User) -> RefreshToken:
    token = RefreshToken.for_user(user)
    token["standing"] = user.standing()
    return token


def rotate(text: str, *, now: datetime) -> Tokens:
    """Exchange a refresh token for a new pair. Of parallel calls with the same token exactly one wins.

    A token that was exchanged before is a copy in other hands: the whole family is revoked. Raises TokenNotValid.
    """
    old = _read(text)
    family = TokenFamily.objects.select_related("user").filter(pk=old.get("family"), revoked_at=None).first()
    if family is None or not family.user.is_active:
        raise TokenNotValid
    if not constant_time_compare(str(old.get("standing")), family.user.standing()):
        raise TokenNotValid
    new = _refresh_for(family.user)
    new["family"] = str(family.pk)
    # One statement on the family's own columns decides the race: PostgreSQL re-reads the row for the one that waited.
    won = TokenFamily.objects.filter(pk=family.pk, current_jti=old["jti"], revoked_at=None).update(
        current_jti=new["jti"], last_used_at=now, expires_at=datetime_from_epoch(new["exp"])
    )
    if not won:
        if TokenFamily.objects.filter(pk=family.pk, revoked_at=None).update(revoked_at=now):
            audit.record(actor=family.user, action="refresh_token_reused", subject=f"user:{family.user_id}")
        raise TokenNotValid
    return Tokens(access=str(new.access_token), refresh=str(new))


def revoke(text: str, *, now: datetime) -> None:
    """End the family of this refresh token. A token that is no longer good is refused with TokenNotValid."""
    token = _read(text)
    if not TokenFamily.objects.filter(pk=token.get("family"), revoked_at=None).update(revoked_at=now):
        raise TokenNotValid


def _read(text: str) -> RefreshToken:
    try:
        return RefreshToken(text)  # type: ignore[arg-type]
    except TokenError as error:
        raise TokenNotValid from error


def change_profile(
    user: User,
    *,
    source: str = ConsentSource.ACCOUNT,
    wording: str = "",
    ip_address: str = "",
    marketing_consent: bool | None = None,
    sms_offers: bool | None = None,
    sms_wording: str = "",
    **changes: Any,
) -> User:
    """Write the named profile fields. A yes or no to offers goes into the consent ledger with the wording that was shown.

    Raises InvalidInput, with nothing written, for a yes to SMS for a phone that no message to this person has reached: it may be
    anybody's.
    """
    for field, value in changes.items():
        setattr(user, field, value)
    with transaction.atomic():
        if changes:
            user.save(update_fields=list(changes))
        if marketing_consent is not None and marketing_consent != user.marketing_consent:
            note_consent(user, marketing_consent, source=source, wording=wording, ip_address=ip_address)
        if sms_offers is not None and user.phone and sms_offers != user.wants_sms_offers:
            if sms_offers and not is_reached_by(user, channel="sms", address=str(user.phone)):
                raise InvalidInput(
                    _(
                        "Offers by SMS go only to a number that has had an SMS about your booking. Book with this number first, then tick this."
                    ),
                    field="sms_offers",
                )
            note_consent(
                user, sms_offers, source=source, wording=sms_wording, ip_address=ip_address, channel="sms"
            )
    return user


def note_consent(
    user: User, is_granted: bool, *, source: str, wording: str, ip_address: str = "", channel: str = "email"
) -> None:
    """Write what the user says about offers on a channel into the consent ledger, and into the audit log."""
    entry = record_consent(
        channel=channel,
        address=user.email if channel == "email" else str(user.phone),
        is_granted=is_granted,
        source=source,
        now=timezone.now(),
        wording=wording,
        language=user.language,
        ip_address=ip_address,
        user=user,
    )
    if entry is None:  # it stood already
        return
    audit.record(
        actor=user,
        action="marketing_consent_given" if is_granted else "marketing_consent_withdrawn",
        subject=f"user:{user.pk}",
        data={"channel": channel},
    )


def forget_expired_families(*, now: datetime) -> int:
    """Delete token families whose last token can no longer be used; return how many."""
    return TokenFamily.objects.filter(expires_at__lt=now).delete()[0]
