"""allauth's forms in the house's words. Apart from accounts/forms.py, which allauth itself imports while it loads."""

from __future__ import annotations

from typing import Any

from allauth.account import forms as allauth_forms
from allauth.mfa.base import forms as mfa_forms
from allauth.mfa.totp import forms as totp_forms
from django.contrib.auth.hashers import make_password
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _


class HouseWords:
    """Says "E-mail" as every other page does, and has no placeholders that only repeat the label."""

    fields: dict[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            field.widget.attrs.pop("placeholder", None)
            if name in {"email", "login"}:
                field.label = _("E-mail")


class LoginForm(HouseWords, allauth_forms.LoginForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password"].help_text = ""  # the page itself says what to do about a forgotten one


class SignupForm(HouseWords, allauth_forms.SignupForm):
    def try_save(self, request: HttpRequest) -> Any:
        """Hash one password for a known address too, so that both ways take alike."""
        if self.account_already_exists:
            make_password(self.cleaned_data["password1"])
        return super().try_save(request)


class ResetPasswordForm(HouseWords, allauth_forms.ResetPasswordForm):
    pass


class AddEmailForm(HouseWords, allauth_forms.AddEmailForm):
    pass


class OneTimeCode(HouseWords):
    """A code from the phone: digits, in one row, offered by the phone's keyboard."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        code = self.fields["code"]
        code.max_length = 32
        code.label = _("Code")
        code.widget.attrs |= {
            "autocomplete": "one-time-code",
            "inputmode": "numeric",
            "autofocus": True,
            "maxlength": 32,
            "class": "code",
        }


class AuthenticateForm(OneTimeCode, mfa_forms.AuthenticateForm):
    pass


class ReauthenticateForm(OneTimeCode, mfa_forms.ReauthenticateForm):
    pass


class ActivateTOTPForm(OneTimeCode, totp_forms.ActivateTOTPForm):
    pass
