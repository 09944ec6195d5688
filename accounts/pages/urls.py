"""Addresses of the account pages that are ours; allauth has the rest under /accounts/."""

from django.urls import path

from accounts.pages import profile, sign_ins

app_name = "accounts"

urlpatterns = [
    path("account", profile.profile, name="profile"),
    path("account/sign-ins", sign_ins.sign_in_list, name="sign_ins"),
]
