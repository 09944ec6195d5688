"""allauth's forms in the house's words. Apart from accounts/forms.py, which allauth itself imports while it loads."""

from __future__ import annotations

from typing import Any

from allauth.account import forms as allauth_forms
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
    pass


class ResetPasswordForm(HouseWords, allauth_forms.ResetPasswordForm):
    pass


class AddEmailForm(HouseWords, allauth_forms.AddEmailForm):
    pass
