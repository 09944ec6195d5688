from django.urls import path

from payments.api import messages, methods, views

urlpatterns = [
    path("communication/payment-confirmation", messages.PaymentConfirmationView.as_view()),
    path("payments/create-intent", views.CreateIntentView.as_view()),
    path("payments/confirm-stripe", views.ConfirmStripeView.as_view()),
    path("payments/save-method", methods.SaveMethodView.as_view()),
    path("payments/methods", methods.MethodsView.as_view()),
    path("payments/methods/<uuid:method_id>", methods.MethodView.as_view()),
    path("payments/methods/<uuid:method_id>/default", methods.DefaultMethodView.as_view()),
    path("payments/confirm-paypal", views.ConfirmPayPalView.as_view()),
    path("payments/refund", views.RefundView.as_view()),
    path("payments/transactions", views.TransactionsView.as_view()),
    path("payments/transactions/<uuid:transaction_id>", views.TransactionView.as_view()),
]
