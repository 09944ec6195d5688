"""Sign-up, tokens and profile for programs."""

from __future__ import annotations

from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import services
from accounts.api.serializers import (
    ProfileAnswer,
    ProfileInput,
    RefreshInput,
    RegisterAnswer,
    RegisterInput,
    TokenAnswer,
    TokenInput,
)
from accounts.models import User
from foundation.api import limit_rate, valid
from foundation.languages import language_of


class PublicView(APIView):
    """A door for callers who have no token yet; an old one in the header does no harm."""

    authentication_classes = []
    permission_classes = [AllowAny]


class RegisterView(PublicView):
    @extend_schema(request=RegisterInput, responses={201: RegisterAnswer}, tags=["auth"])
    def post(self, request: Request) -> Response:
        """Open an account. The answer is the same for an address that is known; the letter tells its owner more."""
        given = valid(RegisterInput, request)
        limit_rate(request, "register", account=given["email"].lower())
        services.register(**given, language=language_of(request._request), request=request._request)
        return Response({"email": given["email"].strip().lower(), "status": "verification_sent"}, status=201)


class TokenView(PublicView):
    @extend_schema(request=TokenInput, responses={200: TokenAnswer}, tags=["auth"])
    def post(self, request: Request) -> Response:
        """Exchange e-mail address and password for a short-lived access token and a refresh token."""
        given = valid(TokenInput, request)
        limit_rate(request, "token", account=given["email"].strip().lower())
        return Response(TokenAnswer(services.issue_tokens(services.user_of(**given))).data)


class RefreshView(PublicView):
    @extend_schema(request=RefreshInput, responses={200: TokenAnswer}, tags=["auth"])
    def post(self, request: Request) -> Response:
        """Exchange a refresh token for a new pair. Each works once; using one again ends the whole sign-in."""
        given = valid(RefreshInput, request)
        return Response(TokenAnswer(services.rotate(given["refresh"], now=timezone.now())).data)


class LogoutView(PublicView):
    @extend_schema(
        request=RefreshInput, responses={205: OpenApiResponse(description="Signed out")}, tags=["auth"]
    )
    def post(self, request: Request) -> Response:
        """End this sign-in: its refresh token and its access tokens stop working at once."""
        services.revoke(valid(RefreshInput, request)["refresh"], now=timezone.now())
        return Response(status=205)


class MeView(APIView):
    @extend_schema(responses={200: ProfileAnswer}, tags=["auth"])
    def get(self, request: Request) -> Response:
        """Return the caller's own profile."""
        return Response(ProfileAnswer(request.user).data)

    @extend_schema(request=ProfileInput, responses={200: ProfileAnswer}, tags=["auth"])
    def patch(self, request: Request) -> Response:
        """Change the named fields of the caller's own profile."""
        assert isinstance(request.user, User)  # IsAuthenticated is the default
        user = services.change_profile(request.user, **valid(ProfileInput, request))
        return Response(ProfileAnswer(user).data)
