"""The site under test: parking_site.wsgi with the fail points in it."""

from __future__ import annotations

from parking_site.wsgi import application

from bench.chaos import entry  # isort: skip  # Django must be set up first

entry.prepare()
__all__ = ["application"]
