"""Addresses of the search, booking and managing pages."""

from django.urls import path

from bookings.pages import booking, change, manage, search

app_name = "bookings"

urlpatterns = [
    path("", search.home, name="home"),
    path("search", search.results, name="search"),
    path("book/<int:product_id>", booking.book, name="book"),
    path("bookings", manage.booking_list, name="list"),
    path("bookings/find", manage.find, name="find"),
    path("bookings/<str:reference>", manage.detail, name="detail"),
    path("bookings/<str:reference>/change", change.change_booking, name="change"),
    path("bookings/<str:reference>/change/withdraw", change.withdraw_change, name="withdraw_change"),
    path("bookings/<str:reference>/cancel", manage.cancel_booking, name="cancel"),
    path("bookings/<str:reference>/calendar.ics", manage.calendar, name="calendar"),
    path("bookings/<str:reference>/qr.svg", manage.qr, name="qr"),
    path("b/<str:reference>/<str:token>", manage.guest_link, name="guest_link"),
]
