"""Rate limits on what strangers may try often: a page that says so, with status 429."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django_ratelimit.core import is_ratelimited

View = Callable[..., HttpResponse]


def limit_posts(*, group: str, rate: str) -> Callable[[View], View]:
    """Answer 429 with a page once one address has posted more than `rate` ("10/m") to the group."""
    return _limit(group=group, rate=rate, methods=("POST",))


def limit_visits(*, group: str, rate: str) -> Callable[[View], View]:
    """The same for a page whose mere showing makes something elsewhere."""
    return _limit(group=group, rate=rate, methods=("GET", "HEAD"))


def _limit(*, group: str, rate: str, methods: tuple[str, ...]) -> Callable[[View], View]:
    def decorate(view: View) -> View:
        @wraps(view)
        def limited(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if is_ratelimited(request, group=group, key="ip", rate=rate, method=methods, increment=True):
                response = render(request, "429.html", status=429)
                response["Retry-After"] = "60"
                return response
            return view(request, *args, **kwargs)

        return limited

    return decorate
