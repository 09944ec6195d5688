"""What a booking is made of. Each module says which rows are legal; PostgreSQL says it too."""

from bookings.models.airport import Airport
from bookings.models.amendment import AMENDMENT_TRANSITIONS, Amendment
from bookings.models.booking import TRANSITIONS, Booking, BookingEvent, Quote
from bookings.models.cancellation import Cancellation, CancellationPolicy, PolicyTier
from bookings.models.capacity import CapacityGate, Occupancy
from bookings.models.car_park import CarPark, Operator, Pool, Product
from bookings.models.promo import PromoCode, PromoUse
from bookings.models.reminder import Reminder
from bookings.models.tariff import Tariff, TariffRule

__all__ = [
    "AMENDMENT_TRANSITIONS",
    "TRANSITIONS",
    "Airport",
    "Amendment",
    "Booking",
    "BookingEvent",
    "Cancellation",
    "CancellationPolicy",
    "CapacityGate",
    "CarPark",
    "Occupancy",
    "Operator",
    "PolicyTier",
    "Pool",
    "Product",
    "PromoCode",
    "PromoUse",
    "Quote",
    "Reminder",
    "Tariff",
    "TariffRule",
]
