"""Addresses of the account pages that are ours; allauth has the rest under /accounts/."""

from django.urls import path

from accounts.pages import profile

app_name = "accounts"

urlpatterns = [path("account", profile.profile, name="profile")]
