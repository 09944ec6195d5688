"""German."""

from __future__ import annotations

from communications.words.base import Words

TEMPLATES: dict[tuple[str, str], Words] = {
    ("staff_message", "email"): Words(
        subject="Eine Nachricht von {{ site_name }}",
        heading="Eine Nachricht von {{ site_name }}",
        body="Guten Tag {{ customer_name }},\n\n{{ text }}",
    ),
    ("staff_message", "sms"): Words(body="{{ text }}"),
}
