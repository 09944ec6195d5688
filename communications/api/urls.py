from django.urls import path

from communications.api import analytics, views

urlpatterns = [
    path("communication/send-email", views.SendEmailView.as_view()),
    path("communication/send-sms", views.SendSmsView.as_view()),
    path("communication/analytics", analytics.AnalyticsView.as_view()),
]
