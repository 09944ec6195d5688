"""The bare view behind the same start-up, settings and middleware as the site."""

from __future__ import annotations

from django.conf import settings

from parking_site.wsgi import application

settings.ROOT_URLCONF = "bench.bare"

__all__ = ["application"]
