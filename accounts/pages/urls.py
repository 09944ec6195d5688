"""Addresses of the account pages that are ours; allauth has the rest under /accounts/."""

from django.urls import path

from accounts.pages import data, profile, sign_ins

app_name = "accounts"

urlpatterns = [
    path("account", profile.profile, name="profile"),
    path("account/data", data.own_data, name="data"),
    path("account/data/download", data.download, name="data_download"),
    path("account/data/erase", data.ask, name="data_erase"),
    path("your-data", data.guest, name="guest_data"),
    path("your-data/mine", data.guest_own_data, name="guest_own_data"),
    path("your-data/<str:token>", data.guest_link, name="guest_data_link"),
    path("account/sign-ins", sign_ins.sign_in_list, name="sign_ins"),
]
