"""Headers that every answer carries, whoever made it."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

# Pages that show the same to everybody who is nobody: a proxy may keep them.
PUBLIC_VIEWS = {"bookings:home", "bookings:search", "health", "api-health", "api-schema", "api-docs"}


class HeadersMiddleware:
    """Say what a page may do, and let nobody keep what was made for one person.

    An answer that says nothing about being kept is `private, no-store`, unless it is a public page or API call and the caller showed
    neither cookie nor token. A new page is private until somebody lists it above.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers.setdefault("Permissions-Policy", settings.PERMISSIONS_POLICY)
        if request.path.startswith(
            "/b/"
        ):  # its address is a secret, also where the answer is an error page with links
            response.headers["Referrer-Policy"] = "no-referrer"
        if request.path.startswith("/admin/"):
            response.headers.setdefault("Content-Security-Policy", settings.ADMIN_CONTENT_SECURITY_POLICY)
        if "Cache-Control" not in response.headers and not _is_public(request):
            response.headers["Cache-Control"] = "private, no-store"
        return response


def _is_public(request: HttpRequest) -> bool:
    if request.method not in ("GET", "HEAD") or settings.SESSION_COOKIE_NAME in request.COOKIES:
        return False
    if request.path.startswith("/api/"):
        return not any(name in request.headers for name in ("Authorization", "X-Guest-Token"))
    match = request.resolver_match
    return match is not None and match.view_name in PUBLIC_VIEWS
