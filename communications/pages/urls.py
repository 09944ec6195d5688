"""The pages behind the links of promotions. Mounted at /messages/."""

from django.urls import path

from communications.pages import preferences

app_name = "communications"

urlpatterns = [
    path("unsubscribe/<str:token>", preferences.unsubscribe, name="unsubscribe"),
    path("preferences/<str:token>", preferences.choose, name="preferences"),
]
