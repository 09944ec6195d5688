from django.urls import path

from bookings.api import amend, messages, views

urlpatterns = [
    path("communication/booking-confirmation", messages.BookingConfirmationView.as_view()),
    path("communication/booking-reminder", messages.BookingReminderView.as_view()),
    path("airports", views.AirportsView.as_view()),
    path("search", views.SearchView.as_view()),
    path("quotes", views.QuotesView.as_view()),
    path("bookings", views.BookingsView.as_view()),
    path("bookings/<slug:reference>", views.BookingView.as_view()),
    path("bookings/<slug:reference>/amend", amend.AmendView.as_view()),
    path("bookings/<slug:reference>/cancellation", views.CancellationView.as_view()),
    path("bookings/<slug:reference>/cancel", views.CancelView.as_view()),
]
