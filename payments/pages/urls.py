"""Addresses of paying, of the confirmation and of a customer's saved cards and wallets."""

from django.urls import path

from payments.pages import documents, methods, pay, send_again

app_name = "payments"

urlpatterns = [
    path("pay/<str:reference>", pay.pay, name="pay"),
    path("pay/<str:reference>/charge", pay.charge, name="charge"),
    path("pay/<str:reference>/keep", pay.keep, name="keep"),
    path("pay/<str:reference>/paypal", pay.pay_with_paypal, name="paypal"),
    path("pay/<str:reference>/return", pay.returned, name="return"),
    path("bookings/<str:reference>/confirmed", pay.confirmed, name="confirmed"),
    path("account/payment-methods", methods.method_list, name="methods"),
    path("account/payment-methods/add", methods.add, name="add_method"),
    path("account/payment-methods/add-paypal", methods.add_paypal, name="add_paypal"),
    path("account/payment-methods/added", methods.added, name="method_added"),
    path(
        "account/payment-methods/<uuid:method_id>/default", methods.make_default, name="make_method_default"
    ),
    path("account/payment-methods/<uuid:method_id>/remove", methods.remove, name="remove_method"),
    path("bookings/<str:reference>/documents/<str:number>.pdf", documents.document, name="document"),
    path("bookings/<str:reference>/send-again", send_again.send_again, name="send_again"),
]
