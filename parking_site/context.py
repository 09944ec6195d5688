"""What every page template may use."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from foundation.middleware import current_request_id


def is_for_staff(request: HttpRequest) -> bool:
    """Is this a page of the admin? Its errors lead back there, not to the shop."""
    return request.path.startswith(reverse("admin:index"))


def site(request: HttpRequest) -> dict[str, Any]:
    """Return the shop's name, help contacts, what error pages say and, outside production, where the sandbox's screens are."""
    return {
        "site_name": settings.SITE_NAME,
        "support_email": settings.SUPPORT_EMAIL,
        "support_phone": settings.SUPPORT_PHONE,
        "sandbox_url": settings.SANDBOX_URL,
        "request_id": current_request_id(),
        "for_staff": is_for_staff(request),
    }
