"""How staff lists write dates: day first, 24 hours, and the zone said, because an operator's airports have many."""

DATE_FORMAT = "j M Y"
TIME_FORMAT = "H:i"
DATETIME_FORMAT = r"j M Y H:i \U\T\C"
SHORT_DATE_FORMAT = "j M Y"
SHORT_DATETIME_FORMAT = r"j M Y H:i \U\T\C"
