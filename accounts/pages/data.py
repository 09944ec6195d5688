"""A person's own data: take it along, or ask to be forgotten. For accounts, and for guests whose address a letter has proven."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_ratelimit.core import is_ratelimited

from accounts import persons
from accounts.models import Erasure, User
from accounts.sign_ins import renew_session
from foundation.errors import DomainError, NotFound
from foundation.languages import language_of
from foundation.personal import Person

PROVEN = "proven_address"
PROVEN_SECONDS = 1800
View = Callable[..., HttpResponse]


class PasswordForm(forms.Form):
    """Once more the password: an open screen is not the person."""

    password = forms.CharField(
        label=gettext_lazy("Your password"), max_length=4096, strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
        error_messages={"required": gettext_lazy("Enter your password.")},
    )  # fmt: skip

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        if not self.user.check_password(password):
            raise forms.ValidationError(_("This is not your password."))
        return password


class AddressForm(forms.Form):
    email = forms.EmailField(
        label=gettext_lazy("E-mail"), max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
        error_messages={"required": gettext_lazy("Enter the e-mail address that you booked with.")},
    )  # fmt: skip


def limited(view: View) -> View:
    """Answer 429 with a page when an address or an account has posted too often: passwords and addresses are guessed here."""

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        per_address, per_account = settings.RATE_LIMITS["personal_data"]
        buckets: list[tuple[str, Any, str]] = [("address", "ip", per_address)]
        if request.user.is_authenticated:
            buckets.append(("account", "user", per_account))
        over = [
            is_ratelimited(
                request, group=f"personal_data.{name}", key=key, rate=rate, method="POST", increment=True
            )
            for name, key, rate in buckets
        ]
        if any(over):
            response = render(request, "429.html", status=429)
            response["Retry-After"] = "60"
            return response
        return view(request, *args, **kwargs)

    return wrapper


@never_cache
@login_required
@require_safe
def own_data(request: HttpRequest) -> HttpResponse:
    """Show what can be done, and what stands in the way of being forgotten."""
    return _own_page(request)


@never_cache
@login_required
@require_POST
@limited
def download(request: HttpRequest) -> HttpResponse:
    """Hand over everything as JSON, against the password."""
    user = _user(request)
    form = PasswordForm(request.POST, user=user, prefix="download")
    if not form.is_valid():
        return _own_page(request, download_form=form)
    return _file(persons.person_of(user), by=user)


@never_cache
@login_required
@require_POST
@limited
def ask(request: HttpRequest) -> HttpResponse:
    """Note the wish to be forgotten, against the password; or take it back."""
    user = _user(request)
    person, now = persons.person_of(user), timezone.now()
    if request.POST.get("withdraw"):
        return _withdrawn(request, person, "accounts:data")
    form = PasswordForm(request.POST, user=user, prefix="erase")
    if not form.is_valid():
        return _own_page(request, erase_form=form)
    try:
        persons.ask(person, now=now)
    except persons.StillOpen:
        return _own_page(request, status=409)
    messages.success(request, _("We have your request. We carry it out within a month, usually sooner."))
    return redirect("accounts:data")


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@limited
def guest(request: HttpRequest) -> HttpResponse:
    """Send a letter that proves the address. Every address gets the same answer."""
    form = AddressForm(request.POST or None)
    sent = False
    if request.method == "POST" and form.is_valid():
        persons.send_link(
            form.cleaned_data["email"],
            url=lambda token: settings.SITE_URL + reverse("accounts:guest_data_link", args=[token]),
            language=language_of(request),
            now=timezone.now(),
        )
        sent = True
    context = {"form": form, "sent": sent, "proven": _proven(request)}
    return render(request, "accounts/guest_data.html", context, status=422 if form.errors else 200)


@never_cache
@require_safe
def guest_link(request: HttpRequest, token: str) -> HttpResponse:
    """Exchange the letter's link for half an hour of this session; the token leaves the address bar."""
    try:
        address = persons.proven_address(token)
    except NotFound as error:
        messages.error(request, str(error.message))
        return redirect("accounts:guest_data")
    renew_session(request)
    request.session[PROVEN] = [address, int(timezone.now().timestamp()) + PROVEN_SECONDS]
    return redirect("accounts:guest_own_data")


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@limited
def guest_own_data(request: HttpRequest) -> HttpResponse:
    """What a guest may do once the address is proven: take the data along, ask to be forgotten, take that back."""
    address = _proven(request)
    if not address:
        return redirect("accounts:guest_data")
    person, now = persons.guest(address), timezone.now()
    status = 200
    if request.method == "POST":
        match request.POST.get("do"):
            case "download":
                return _file(person, by=None)
            case "withdraw":
                return _withdrawn(request, person, "accounts:guest_own_data")
            case "erase":
                try:
                    persons.ask(person, now=now)
                except persons.StillOpen:
                    status = 409
                else:
                    messages.success(
                        request, _("We have your request. We carry it out within a month, usually sooner.")
                    )
                    return redirect("accounts:guest_own_data")
            case _:
                raise Http404
    return render(
        request, "accounts/guest_own_data.html", _state(person) | {"address": address}, status=status
    )


def _state(person: Person) -> dict[str, Any]:
    erasure = persons.open_erasure(person)
    return {
        "erasure": erasure,
        "can_withdraw": erasure is not None and erasure.status == Erasure.Status.ASKED,
        "matters": persons.open_matters(person, now=timezone.now()),
    }


def _proven(request: HttpRequest) -> str:
    address, until = request.session.get(PROVEN) or ("", 0)
    return address if until > timezone.now().timestamp() else ""


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)  # login_required
    return request.user


def _own_page(
    request: HttpRequest,
    *,
    download_form: PasswordForm | None = None,
    erase_form: PasswordForm | None = None,
    status: int = 200,
) -> HttpResponse:
    user = _user(request)
    context = {
        **_state(persons.person_of(user)),
        "download_form": download_form or PasswordForm(user=user, prefix="download"),
        "erase_form": erase_form or PasswordForm(user=user, prefix="erase"),
    }
    wrong = next((form for form in (download_form, erase_form) if form is not None), None)
    return render(
        request, "accounts/data.html", context | {"form": wrong}, status=422 if wrong is not None else status
    )


def _withdrawn(request: HttpRequest, person: Person, page: str) -> HttpResponse:
    try:
        persons.withdraw(person, now=timezone.now())
    except DomainError as error:
        messages.error(request, str(error.message))
    else:
        messages.success(request, _("Taken back: nothing is erased."))
    return redirect(page)


def _file(person: Person, *, by: Any) -> HttpResponse:
    now = timezone.now()
    found = persons.export(person, now=now)
    persons.note_export(person, by=by, now=now)
    return JsonResponse(
        found,
        json_dumps_params={"ensure_ascii": False, "indent": 2},
        headers={
            "Content-Disposition": f'attachment; filename="my-data-{now:%Y-%m-%d}.json"',
            "Cache-Control": "private, no-store",
        },
    )
