"""What the demo sells: airports, car parks, prices and policies, as plain tables. Amounts are in minor units."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

# IATA, name, city, country, time zone, latitude, longitude, currency
AIRPORTS = [
    ("LHR", "London Heathrow", "London", "GB", "Europe/London", "51.4706", "-0.4619", "GBP"),
    ("LGW", "London Gatwick", "London", "GB", "Europe/London", "51.1481", "-0.1903", "GBP"),
    ("MAN", "Manchester", "Manchester", "GB", "Europe/London", "53.3537", "-2.2750", "GBP"),
    ("EDI", "Edinburgh", "Edinburgh", "GB", "Europe/London", "55.9500", "-3.3725", "GBP"),
    ("DUB", "Dublin", "Dublin", "IE", "Europe/Dublin", "53.4213", "-6.2701", "EUR"),
    ("AMS", "Amsterdam Schiphol", "Amsterdam", "NL", "Europe/Amsterdam", "52.3086", "4.7639", "EUR"),
    ("FRA", "Frankfurt", "Frankfurt am Main", "DE", "Europe/Berlin", "50.0333", "8.5706", "EUR"),
    ("JFK", "New York John F. Kennedy", "New York", "US", "America/New_York", "40.6398", "-73.7789", "USD"),
    ("LAX", "Los Angeles", "Los Angeles", "US", "America/Los_Angeles", "33.9425", "-118.4080", "USD"),
    ("PHX", "Phoenix Sky Harbor", "Phoenix", "US", "America/Phoenix", "33.4343", "-112.0120", "USD"),
    ("YYZ", "Toronto Pearson", "Toronto", "CA", "America/Toronto", "43.6772", "-79.6306", "CAD"),
    ("SYD", "Sydney Kingsford Smith", "Sydney", "AU", "Australia/Sydney", "-33.9461", "151.1770", "AUD"),
]

# Streets that the airports' car parks stand in: (long stay, by the terminal)
STREETS = {
    "LHR": ("Northern Perimeter Road, Hounslow TW6 2QX", "Nelson Road, Hounslow TW6 2GU"),
    "LGW": ("Charlwood Road, Horley RH6 0PJ", "Furlong Way, Gatwick RH6 0JJ"),
    "MAN": ("Styal Road, Manchester M22 5WY", "Malaga Avenue, Manchester M90 3RR"),
    "EDI": ("Fairview Road, Ingliston EH28 8AU", "Jubilee Road, Edinburgh EH12 9FU"),
    "DUB": ("Swords Road, Cloghran K67 X3Y2", "Corballis Road South, Dublin K67 Y0H9"),
    "AMS": ("Loevesteinse Randweg 10, 1118 Schiphol", "Vertrekpassage 1, 1118 Schiphol"),
    "FRA": ("Hugo-Eckener-Ring 130, 60549 Frankfurt", "Kapitän-Lehmann-Straße 1, 60547 Frankfurt"),
    "JFK": ("Lefferts Boulevard, Jamaica, NY 11430", "JFK Expressway, Jamaica, NY 11430"),
    "LAX": ("Aviation Boulevard, Los Angeles, CA 90045", "World Way, Los Angeles, CA 90045"),
    "PHX": ("East Buckeye Road, Phoenix, AZ 85034", "East Sky Harbor Boulevard, Phoenix, AZ 85034"),
    "YYZ": ("Viscount Road, Mississauga, ON L4V 1W1", "Terminal Road, Mississauga, ON L5P 1B2"),
    "SYD": ("Ross Smith Avenue, Mascot NSW 2020", "Arrivals Court, Mascot NSW 2020"),
}

# key, name, kind, metres north and east of the airport, minutes, capacity, height limit, covered, amenities, description
CAR_PARKS = [
    (
        "economy", "Economy Park & Ride", "park_and_ride", (0.0150, 0.0120), 15, 2400, None, False,
        ["shuttle", "cctv", "fenced", "24h"],
        "The best price for a holiday. Park, keep your keys, and take the shuttle, which runs every ten minutes.",
    ),
    (
        "covered", "Covered Park & Ride", "park_and_ride", (0.0110, -0.0140), 12, 1200, 210, True,
        ["shuttle", "covered", "cctv", "24h"],
        "Under a roof, with a shuttle to every terminal. Come back to a dry car.",
    ),
    (
        "walk", "Park & Walk", "park_and_walk", (-0.0030, 0.0040), 8, 800, 200, True,
        ["covered", "cctv", "lifts", "ev_charging", "24h"],
        "Eight minutes on foot to check-in, step-free all the way. No shuttle to wait for.",
    ),
    (
        "greet", "Meet & Greet", "meet_and_greet", (0.0012, 0.0015), 2, 320, None, False,
        ["key_handover", "insured", "cctv"],
        "Drive to the terminal; a driver meets you at the door, parks your car and brings it back.",
    ),
    (
        "valet", "Terminal Valet", "valet", (0.0006, -0.0008), 1, 150, None, True,
        ["key_handover", "covered", "insured", "wash_available"],
        "Hand over your keys at the kerb and walk in. Your car waits indoors and can be washed while you fly.",
    ),
]  # fmt: skip

# Per day, in whole units. CAD and AUD are the dollar prices times 1.35 and 1.5, rounded.
PER_DAY = {
    "economy": {"GBP": 11, "EUR": 10, "USD": 13, "CAD": 18, "AUD": 20},
    "covered": {"GBP": 16, "EUR": 15, "USD": 19, "CAD": 26, "AUD": 29},
    "walk": {"GBP": 24, "EUR": 24, "USD": 32, "CAD": 43, "AUD": 48},
    "greet": {"GBP": 28, "EUR": 30, "USD": 38, "CAD": 51, "AUD": 57},
    "valet": {"GBP": 45, "EUR": 45, "USD": 55, "CAD": 74, "AUD": 83},
}
EV_FEE_MINOR = {"GBP": 1200, "EUR": 1200, "USD": 1200, "CAD": 1600, "AUD": 1800}
SAVER_FEE_MINOR = {"GBP": 1500, "EUR": 1500, "USD": 1500, "CAD": 2000, "AUD": 2300}

# kind, label, percent, conditions
RULES: list[tuple[str, str, Decimal, dict[str, Any]]] = [
    ("length_of_stay", "2 to 7 days", Decimal(-10), {"min_days": 2, "max_days": 7}),
    ("length_of_stay", "8 to 14 days", Decimal(-20), {"min_days": 8, "max_days": 14}),
    ("length_of_stay", "15 days or more", Decimal(-28), {"min_days": 15}),
    ("early_bird", "Booked 30 days ahead", Decimal(-10), {"hours_ahead": 30 * 24}),
    ("last_minute", "Booked under 48 hours ahead", Decimal(15), {"hours_ahead": 48}),
    ("arrival_weekday", "Arrival from Friday to Sunday", Decimal(8), {"weekdays": [4, 5, 6]}),
    ("season", "Summer season", Decimal(20), {"season_from": "2026-07-01", "season_to": "2026-08-31"}),
    ("season", "Christmas season", Decimal(20), {"season_from": "2026-12-18", "season_to": "2027-01-04"}),
    ("occupancy", "Nearly full", Decimal(12), {"occupancy_percent": 85}),
]

# name, summary, tiers of (hours of notice, percent back); "Saver" has a fee and so one policy per currency
POLICIES = [
    ("Flex", "Free cancellation until your stay starts.", [(0, 100)]),
    ("Standard", "90 % back until 24 hours before drop-off.", [(24, 90)]),
    ("Tiered", "All back until 24 hours before drop-off, half until 12 hours before.", [(24, 100), (12, 50)]),
    ("Non-flex", "No refund after booking.", []),
]
SAVER = ("Saver", "All but a fee back until 48 hours before drop-off.", [(48, 100)])

POLICY_OF = {"economy": "Saver", "covered": "Standard", "walk": "Tiered", "greet": "Flex", "valet": "Flex"}
