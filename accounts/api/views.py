"""Sign-up, tokens and profile for programs."""

from __future__ import annotations

from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import services, throttle
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
from foundation.middleware import client_address


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
        """Exchange e-mail address and password for a short-lived access token and a refresh token.

        Accounts with a second factor, and staff, send the one-time `code` of their authenticator app too: without it the tokens open
        only the account's own profile, and everything else answers 403 `second_factor_required`.
        """
        given = valid(TokenInput, request)
        address = client_address(request._request)
        # By account only from here: what strangers try elsewhere may not keep its owner out.
        limit_rate(request, "token", account=f"{given['email'].strip().lower()} {address}")
        attempt = throttle.attempt(account=given["email"], address=address)
        user = services.user_of(email=given["email"], password=given["password"])
        tokens = services.issue_tokens(user, code=given["code"], client=request.headers.get("User-Agent", ""))
        attempt.succeeded()
        return Response(TokenAnswer(tokens).data)


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
    is_open_without_second_factor = True

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
