"""Staff door to people: who may sign in, who is staff, and what each may do."""

from __future__ import annotations

from typing import Any, ClassVar

import allauth.account.admin
import allauth.mfa.admin
import allauth.usersessions.admin
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from accounts import second_factor
from accounts.admin_messages import PersonsMessages
from accounts.admin_personal import WholePerson
from accounts.admin_second_factor import PersonsSecondFactor
from accounts.models import User
from foundation.admin import AuditedAdmin, ReadOnlyAdmin, ReadOnlyInline

# The libraries' own pages are registered on import, so import first.
_registered_on_import = (allauth.account.admin, allauth.mfa.admin, allauth.usersessions.admin)
for _model in (EmailAddress, Group, Authenticator, UserSession):
    if admin.site.is_registered(_model):
        admin.site.unregister(_model)


class EmailAddressInline(ReadOnlyInline, TabularInline):
    model = EmailAddress
    fields = ["email", "verified", "primary"]
    verbose_name = _("confirmed address")
    verbose_name_plural = _("addresses for signing in")
    tab = True


@admin.register(User)
class UserAdmin(WholePerson, PersonsMessages, PersonsSecondFactor, AuditedAdmin, DjangoUserAdmin):
    """People. Rights are given by superusers only; nobody is deleted, because money and the audit log name them."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ["email", "name", "phone", "is_active", "is_staff", "date_joined", "last_login"]
    list_filter = ["is_active", "is_staff", "is_superuser", "groups"]
    list_fullwidth = True
    search_fields = ["email", "name", "phone"]
    search_help_text = _("E-mail, name or phone")
    ordering = ["email"]
    filter_horizontal: ClassVar[Any] = ["groups", "user_permissions"]
    readonly_fields = ["date_joined", "last_login", "wants_offers", "second_factor_since"]
    show_full_result_count = False
    change_form_outer_after_template = "communications/admin/user_messages.html"
    actions_detail = ["personal_action", "messages_action", "second_factor_action"]
    fieldsets = [
        (
            None,
            {
                "fields": [
                    "email",
                    "name",
                    "phone",
                    "language",
                    "wants_offers",
                    "password",
                    "second_factor_since",
                ]
            },
        ),
        (
            _("Rights"),
            {
                "classes": ["tab"],
                "fields": ["is_active", "is_staff", "is_superuser", "groups", "user_permissions"],
            },
        ),
        (_("Dates"), {"classes": ["tab"], "fields": ["date_joined", "last_login"]}),
    ]
    add_fieldsets = [(None, {"fields": ["email", "name", "usable_password", "password1", "password2"]})]
    inlines = [EmailAddressInline]

    @admin.display(description=_("wants offers"), boolean=True)
    def wants_offers(self, user: Any) -> bool:
        """What the consent ledger says; the person changes it, in their account or by a link."""
        return bool(user.pk) and user.marketing_consent

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        return self.inlines if obj else []

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if request.user.is_superuser:
            return self.readonly_fields
        return [*self.readonly_fields, "is_staff", "is_superuser", "groups", "user_permissions"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only a superuser may change another member of staff: a new password would hand over that person's rights."""
        if not super().has_change_permission(request, obj):
            return False
        return obj is None or request.user.is_superuser or not (obj.is_staff or obj.is_superuser)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Rights and addresses are changed only by somebody who has proved lately who they are."""
        if request.method == "POST":
            second_factor.demand_recent_sign_in(request)
        return super().changeform_view(request, *args, **kwargs)

    def user_change_password(
        self, request: HttpRequest, id: str, form_url: str = ""
    ) -> Any:  # Django's own names
        """The same for another person's password; and that person is told."""
        second_factor.demand_recent_sign_in(request)
        response = super().user_change_password(request, id, form_url)
        if request.method == "POST" and response.status_code == 302:
            second_factor.tell(self.get_object(request, id), "password_changed")
        return response

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        obj.email = obj.email.strip().lower()
        super().save_model(request, obj, form, change)


@admin.register(Group)
class GroupAdmin(AuditedAdmin, DjangoGroupAdmin):
    """Roles. A role gives rights to many, so only superusers write one."""

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if request.method == "POST":
            second_factor.demand_recent_sign_in(request)
        return super().changeform_view(request, *args, **kwargs)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.is_superuser

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_superuser

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_superuser


@admin.register(EmailAddress)
class EmailAddressAdmin(ReadOnlyAdmin):
    """Which addresses were confirmed, for the question "I never got the link"."""

    list_display = ["email", "user", "primary", "verified"]
    list_filter = ["primary", "verified"]
    list_select_related = ["user"]
    search_fields = ["email", "user__email", "user__name"]
    fields = ["user", "email", "primary", "verified"]
