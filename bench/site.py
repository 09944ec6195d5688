"""The site as production starts it, all its start-up checks included, but with the limits on one caller lifted.

The load comes from one address; production itself refuses to start with RATE_LIMITS_ENABLED off.
"""

from __future__ import annotations

from django.conf import settings

from parking_site.wsgi import application

settings.RATE_LIMITS_ENABLED = settings.RATELIMIT_ENABLE = False

__all__ = ["application"]
