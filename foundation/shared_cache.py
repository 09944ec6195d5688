"""Answers that a cache in front of the site may give to everybody who is nobody in particular."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.utils.cache import patch_cache_control

View = Callable[..., HttpResponseBase]


def shared_for(seconds: int) -> Callable[[View], View]:
    """Let a shared cache keep a view's 200 for so many seconds, for callers without a session or a token; browsers ask again each time.

    Anybody else's answer is `private`. So is one that sets a cookie. The view must not say anything that depends on who asks.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            response = view(request, *args, **kwargs)
            known = settings.SESSION_COOKIE_NAME in request.COOKIES or "Authorization" in request.headers
            # A session that the view began is set as a cookie further out, by the session's middleware.
            begun = getattr(request, "session", None) is not None and request.session.modified
            if (
                known
                or begun
                or response.cookies
                or response.status_code != 200
                or request.method not in ("GET", "HEAD")
            ):
                patch_cache_control(response, private=True, no_store=True)
            else:
                patch_cache_control(response, public=True, max_age=0, s_maxage=seconds)
            return response

        return answer

    return decorate
