"""Bearer tokens for API clients."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework_simplejwt.authentication import JWTAuthentication
from rest_framework_simplejwt.exceptions import AuthenticationFailed
from rest_framework_simplejwt.tokens import Token
from rest_framework_simplejwt.utils import get_md5_hash_password

from accounts.models import User


class BearerAuthentication(JWTAuthentication):
    """JWT access tokens: `Authorization: Bearer <access>`.

    A logout, a reused refresh token, a changed password or a closed account ends them at once. Costs one query.
    """

    def get_user(self, validated_token: Token) -> User:  # type: ignore[override]  # theirs is a free TypeVar
        user = User.objects.filter(
            pk=validated_token.get("user_id"),
            is_active=True,
            token_families__pk=validated_token.get("family"),
            token_families__revoked_at=None,
        ).first()
        if user is None or validated_token.get("hash_password") != get_md5_hash_password(user.password):
            raise AuthenticationFailed(_("This sign-in has ended. Please sign in again."), code="signed_out")
        return user


class BearerScheme(OpenApiAuthenticationExtension):
    """How the schema describes the tokens."""

    target_class = BearerAuthentication
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
