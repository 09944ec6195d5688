"""People: one user model, known by e-mail address."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext_lazy as _
from phonenumber_field.modelfields import PhoneNumberField

from communications.services.consent import wants_offers
from foundation.text import is_one_line


def one_line(value: str) -> None:
    """Raise ValidationError for a name that holds line ends or other control characters: it stands in mail headers."""
    if not is_one_line(value):
        raise ValidationError(
            _("Enter a name in one line of ordinary characters."), code="control_characters"
        )


class UserManager(BaseUserManager["User"]):
    """Django's createsuperuser and allauth need these two verbs on the manager."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        if not email:
            raise ValueError("A user needs an e-mail address.")
        user = self.model(email=email.strip().lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        return self.create_user(email, password, **{**fields, "is_staff": True, "is_superuser": True})

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(email__iexact=username)


class User(AbstractBaseUser, PermissionsMixin):
    """A person with a login. The address is kept in lower case and is unique whatever its case."""

    email = models.EmailField(_("e-mail address"), max_length=254, unique=True)
    name = models.CharField(_("name"), max_length=120, blank=True, validators=[one_line])
    phone = PhoneNumberField(_("phone"), blank=True)
    language = models.CharField(_("language"), max_length=8, default="en")
    # What was ticked when signing up; it becomes consent when the address is confirmed, so that nobody signs up a stranger.
    offers_wording = models.CharField(_("offers asked for at sign-up"), max_length=500, blank=True)
    is_staff = models.BooleanField(_("staff"), default=False)
    is_active = models.BooleanField(_("active"), default=True)
    date_joined = models.DateTimeField(_("joined"), default=timezone.now)
    sign_ins_ended_at = models.DateTimeField(
        _("signed out everywhere at"), null=True, blank=True, editable=False
    )

    # Set on the user of one request whose sign-in has not shown the second factor that it needs. Such a user has no permission at all.
    lacks_second_factor = False

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        verbose_name = _("user")
        verbose_name_plural = _("users")
        constraints = [models.UniqueConstraint(Lower("email"), name="user_email_unique_ignoring_case")]

    def __str__(self) -> str:
        return self.email

    def has_perm(self, perm: str, obj: Any = None) -> bool:
        return not self.lacks_second_factor and super().has_perm(perm, obj)

    def has_module_perms(self, app_label: str) -> bool:
        return not self.lacks_second_factor and super().has_module_perms(app_label)

    def standing(self, *, secret: str | None = None) -> str:
        """Return what every session and token of this user is bound to.

        It changes, and they all end at once, with the password, with the rank of staff or superuser, and with "sign out everywhere",
        whoever changed it and by whatever way. A closed account is refused besides.
        """
        ended = self.sign_ins_ended_at.isoformat() if self.sign_ins_ended_at else ""
        facts = f"{self.password}|{self.is_staff:d}{self.is_superuser:d}|{ended}"
        return salted_hmac("accounts.standing", facts, secret=secret, algorithm="sha256").hexdigest()

    def _get_session_auth_hash(self, secret: str | None = None) -> str:
        """Django's hook behind get_session_auth_hash and its fallbacks for older secrets."""
        return self.standing(secret=secret)

    def get_full_name(self) -> str:
        return self.name or self.email

    @property
    def marketing_consent(self) -> bool:
        """Whether this person wants offers by e-mail, by the consent ledger."""
        return wants_offers(channel="email", address=self.email)

    @property
    def wants_sms_offers(self) -> bool:
        """Whether this person wants offers by SMS to the phone in their account, by the consent ledger."""
        return bool(self.phone) and wants_offers(channel="sms", address=str(self.phone))

    def get_short_name(self) -> str:
        return self.name.split(" ")[0] if self.name else self.email


class TokenFamily(models.Model):
    """One sign-in of an API client: a chain of refresh tokens of which only the newest is good.

    Presenting an older one means that a copy exists, so the whole family ends (see accounts.services.rotate).
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(
        User, on_delete=models.CASCADE, related_name="token_families", verbose_name=_("user")
    )
    current_jti = models.CharField(max_length=64)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    # When this sign-in gave a one-time code; it is not asked again while the family lives.
    second_factor_at = models.DateTimeField(null=True, blank=True)
    client = models.CharField(max_length=200, blank=True)
    expires_at = models.DateTimeField(db_index=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("API sign-in")
        verbose_name_plural = _("API sign-ins")

    def __str__(self) -> str:
        return str(self.pk)


class Erasure(models.Model):
    """A person's wish to be forgotten, from the asking to the last trace. It can be killed half way and goes on where it was.

    `emails` and `phones` are whom to look for; they are emptied when it is done.
    """

    class Status(models.TextChoices):
        ASKED = "asked", _("asked for")
        RUNNING = "running", _("under way")
        DONE = "done", _("done")
        WITHDRAWN = "withdrawn", _("withdrawn")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(
        User,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="erasures",
        verbose_name=_("account"),
    )
    status = models.CharField(_("status"), max_length=12, choices=Status.choices, default=Status.ASKED)
    emails = models.JSONField(_("e-mail addresses"), default=list)
    phones = models.JSONField(_("phones"), default=list)
    asked_at = models.DateTimeField(_("asked"))
    asked_by_person = models.BooleanField(_("asked by the person"), default=False)
    reason = models.CharField(_("reason"), max_length=500, blank=True)
    carried_out_by = models.ForeignKey(
        User,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        verbose_name=_("carried out by"),
    )
    began_at = models.DateTimeField(_("began"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    steps = models.JSONField(_("what was erased"), default=dict)

    class Meta:
        verbose_name = _("erasure of a person")
        verbose_name_plural = _("erasures of persons")
        ordering = ["-asked_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["user"],
                condition=models.Q(status__in=["asked", "running"]),
                name="erasure_one_open_per_account",
            ),
            models.CheckConstraint(
                condition=~models.Q(status="done")
                | models.Q(emails=[], phones=[], finished_at__isnull=False),
                name="erasure_done_names_nobody",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_status_display()} {self.asked_at:%Y-%m-%d}"
