"""The map of every door. API paths have no trailing slash."""

from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView

from accounts.pages.admin_login import admin_login
from foundation.api import unknown_path
from parking_site.docs import DocsView, SchemaView
from parking_site.health import liveness, readiness
from parking_site.system_page import system_page

urlpatterns = [
    path("health", liveness, name="health"),
    path("api/health", readiness, name="api-health"),
    path("api/schema", SchemaView.as_view(), name="api-schema"),
    path("api/docs", DocsView.as_view(), name="api-docs"),
    path("api/", include("accounts.api.urls")),
    path("api/", include("communications.api.urls")),
    path("api/", include("bookings.api.urls")),
    path("api/", include("payments.api.urls")),
    re_path(r"^api(/[\s\S]*)?$", unknown_path),
    path("admin/system/", admin.site.admin_view(system_page), name="system"),
    # One log-in for all, with its limits and its second factor; and one page that changes a password.
    path("admin/login/", admin_login),
    path("admin/password_change/", RedirectView.as_view(pattern_name="account_change_password")),
    path("admin/", admin.site.urls),
    path("accounts/sessions/", RedirectView.as_view(pattern_name="accounts:sign_ins")),
    path("accounts/", include("allauth.urls")),
    path("webhooks/", include("communications.webhooks.urls")),
    path("messages/", include("communications.pages.urls")),
    path("", include("bookings.pages.urls")),
    path("", include("payments.pages.urls")),
    path("", include("accounts.pages.urls")),
    path("", include("payments.webhooks.urls")),
    path("stripe/", include("djstripe.urls", namespace="djstripe")),
]

handler400 = "parking_site.errors.bad_request"
handler403 = "parking_site.errors.forbidden"
handler404 = "parking_site.errors.not_found"
handler500 = "parking_site.errors.server_error"
