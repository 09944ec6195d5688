"""What the account doors take and give."""

from __future__ import annotations

from django.conf import settings
from django.utils.translation import gettext_lazy as _
from phonenumber_field.serializerfields import PhoneNumberField
from rest_framework import serializers

from accounts.models import User, one_line
from foundation.api import StrictSerializer


class RegisterInput(StrictSerializer):
    email = serializers.EmailField(max_length=254)
    password = serializers.CharField(max_length=128, trim_whitespace=False, write_only=True)
    name = serializers.CharField(max_length=120, validators=[one_line])
    phone = PhoneNumberField(required=False, allow_blank=True, default="")


class RegisterAnswer(serializers.Serializer):
    email = serializers.EmailField()
    status = serializers.CharField(
        help_text=_("Always “verification_sent”, whether the address was known or not.")
    )


class TokenInput(StrictSerializer):
    email = serializers.CharField(max_length=254)
    password = serializers.CharField(max_length=128, trim_whitespace=False, write_only=True)
    code = serializers.CharField(
        max_length=32,
        required=False,
        default="",
        allow_blank=True,
        help_text=_(
            "The one-time code of an authenticator app, or a recovery code. Accounts with a second factor, and staff, need it for "
            "everything but their own profile."
        ),
    )


class RefreshInput(StrictSerializer):
    refresh = serializers.CharField(max_length=2000)


class TokenAnswer(serializers.Serializer):
    access = serializers.CharField()
    refresh = serializers.CharField()


class ProfileInput(StrictSerializer):
    """Every field is optional; what is not named stays."""

    name = serializers.CharField(max_length=120, required=False, validators=[one_line])
    phone = PhoneNumberField(required=False, allow_blank=True)
    language = serializers.ChoiceField(
        choices=[code for code, _name in settings.MESSAGE_LANGUAGES], required=False
    )
    marketingConsent = serializers.BooleanField(source="marketing_consent", required=False)


class ProfileAnswer(serializers.Serializer):
    email = serializers.EmailField()
    name = serializers.CharField()
    phone = serializers.SerializerMethodField()
    language = serializers.CharField()
    marketingConsent = serializers.BooleanField(source="marketing_consent")

    def get_phone(self, user: User) -> str:
        return user.phone.as_e164 if user.phone and user.phone.is_valid() else str(user.phone or "")
