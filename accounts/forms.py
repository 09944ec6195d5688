"""Forms of the account pages."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts.models import User, one_line
from foundation.errors import InvalidInput
from foundation.languages import language_of
from foundation.phones import clean_phone

OFFERS = _("Send me offers by e-mail. I can stop them at any time.")

OFFERS_BY_SMS = _("Send me offers by SMS to this phone. I can stop them at any time: answer STOP.")


class SignupForm(forms.Form):
    """What we ask beside e-mail and password."""

    name = forms.CharField(
        label=_("Your name"), max_length=120, validators=[one_line], widget=forms.TextInput(attrs={"autocomplete": "name"}),
        error_messages={"required": _("Enter your name.")},
    )  # fmt: skip

    offers = forms.BooleanField(label=OFFERS, required=False)

    def signup(self, request: HttpRequest, user: User) -> None:
        user.name = self.cleaned_data["name"]
        user.offers_wording = str(self.fields["offers"].label) if self.cleaned_data["offers"] else ""
        user.language = language_of(request)
        user.save(update_fields=["name", "offers_wording", "language"])


class ProfileForm(forms.ModelForm):
    """What a customer may change about themselves; the e-mail address has its own, confirmed way."""

    # Held to the rule of bookings, not to the model field's stricter one.
    phone = forms.CharField(
        label=_("Mobile phone"), required=False, max_length=40,
        help_text=_("With the country code from abroad, such as +44 7700 900123."),
        widget=forms.TextInput(attrs={"autocomplete": "tel", "type": "tel"}),
    )  # fmt: skip

    language = forms.ChoiceField(label=_("Messages in"), choices=settings.MESSAGE_LANGUAGES, required=False)
    marketing_consent = forms.BooleanField(label=OFFERS, required=False)
    sms_offers = forms.BooleanField(label=OFFERS_BY_SMS, required=False)

    class Meta:
        model = User
        fields = ["name", "language"]
        labels = {"name": _("Your name")}
        widgets = {"name": forms.TextInput(attrs={"autocomplete": "name"})}

    def clean_phone(self) -> str:
        text = self.cleaned_data["phone"].strip()
        try:
            return clean_phone(text, field="phone") if text else ""
        except InvalidInput as error:
            raise forms.ValidationError(str(error.message)) from error

    def clean_language(self) -> str:
        return self.cleaned_data["language"] or self.instance.language

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial.setdefault("phone", str(self.instance.phone or ""))
        self.order_fields(["name", "phone", "language"])
        self.fields["name"].required = True
        self.fields["name"].error_messages["required"] = _("Enter your name.")
        for name in self.fields:
            if self.is_bound and self.errors.get(name):
                self.fields[name].widget.attrs |= {
                    "aria-invalid": "true",
                    "aria-describedby": f"{self[name].id_for_label}-error",
                }
