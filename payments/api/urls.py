from django.urls import path

from payments.api import views

urlpatterns = [
    path("payments/create-intent", views.CreateIntentView.as_view()),
    path("payments/confirm-stripe", views.ConfirmStripeView.as_view()),
    path("payments/confirm-paypal", views.ConfirmPayPalView.as_view()),
    path("payments/refund", views.RefundView.as_view()),
    path("payments/transactions", views.TransactionsView.as_view()),
    path("payments/transactions/<uuid:transaction_id>", views.TransactionView.as_view()),
]
