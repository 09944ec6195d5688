"""Where payment providers report to. Stripe's address is dj-stripe's own, which its endpoint row is registered under."""

from django.urls import path

from payments.webhooks import ipn, paypal, stripe

urlpatterns = [
    path("stripe/webhook/<uuid:uuid>/", stripe.door),
    path("webhooks/paypal/", paypal.door, name="paypal-webhook"),
    path("webhooks/paypal/ipn/", ipn.door, name="paypal-ipn"),
]
