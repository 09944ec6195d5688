"""Bearer tokens for API clients."""

from __future__ import annotations

from typing import Any

from allauth.mfa.models import Authenticator
from django.db.models import Exists, OuterRef
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext as _
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework_simplejwt.authentication import JWTAuthentication
from rest_framework_simplejwt.exceptions import AuthenticationFailed
from rest_framework_simplejwt.tokens import Token

from accounts import second_factor
from accounts.models import TokenFamily, User


class BearerAuthentication(JWTAuthentication):
    """JWT access tokens: `Authorization: Bearer <access>`.

    A logout, a reused refresh token, a changed password or rank, or a closed account ends them at once. Costs one query.

    An account with a second factor, and staff where one is required, must have signed in with a one-time code: until then the token
    opens only views that say `is_open_without_second_factor`.
    """

    def authenticate(self, request: Request) -> tuple[Any, Token] | None:
        found = super().authenticate(request)
        if found is None:
            return None
        user: Any = found[0]
        view = (request.parser_context or {}).get("view")
        if user.lacks_second_factor and not getattr(view, "is_open_without_second_factor", False):
            raise PermissionDenied(
                _(
                    "This account works with a second factor. Sign in again at /api/auth/token with the one-time `code` of your "
                    "authenticator app. Staff who have none set it up on the website, on the page Account."
                ),
                code="second_factor_required",
            )
        return user, found[1]

    def get_user(self, validated_token: Token) -> User:  # type: ignore[override]  # theirs is a free TypeVar
        factors = Authenticator.objects.filter(user=OuterRef("user"), type__in=second_factor.FACTORS)
        family = (
            TokenFamily.objects.select_related("user")
            .annotate(has_factor=Exists(factors))
            .filter(
                pk=validated_token.get("family"),
                revoked_at=None,
                user_id=validated_token.get("user_id"),
                user__is_active=True,
            )
            .first()
        )
        if family is None or not constant_time_compare(
            str(validated_token.get("standing")), family.user.standing()
        ):
            raise AuthenticationFailed(_("This sign-in has ended. Please sign in again."), code="signed_out")
        user = family.user
        needs_factor = family.has_factor or second_factor.is_required_of(user)
        user.lacks_second_factor = needs_factor and not (family.second_factor_at and family.has_factor)
        return user


class BearerScheme(OpenApiAuthenticationExtension):
    """How the schema describes the tokens."""

    target_class = BearerAuthentication
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
