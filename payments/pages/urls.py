"""Addresses of paying and of the confirmation."""

from django.urls import path

from payments.pages import pay

app_name = "payments"

urlpatterns = [
    path("pay/<str:reference>", pay.pay, name="pay"),
    path("pay/<str:reference>/paypal", pay.pay_with_paypal, name="paypal"),
    path("pay/<str:reference>/return", pay.returned, name="return"),
    path("bookings/<str:reference>/confirmed", pay.confirmed, name="confirmed"),
]
