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
    ("promotion", "email"): Words(
        subject="Ihr nächster Aufenthalt kostet weniger",
        heading="{{ customer_name }}, beim nächsten Mal parken Sie günstiger",
        body=(
            "Guten Tag {{ customer_name }},\n\nvielen Dank, dass Sie bei uns parken. Mit dem Code {{ promo_code }} wird Ihr nächster "
            "Aufenthalt günstiger.\n\nDie Schaltfläche öffnet {{ site_name }}, der Code ist schon eingetragen."
        ),
        button_label="Code einlösen",
        button_variable="offer_url",
    ),
    ("promotion", "sms"): Words(
        body="{{ site_name }}: Mit {{ promo_code }} wird Ihr nächster Aufenthalt günstiger. {{ offer_url }}"
    ),
    ("emergency_alert", "email"): Words(
        subject="{{ car_park_name }}: Bitte lesen Sie dies sofort",
        heading="Wichtig: {{ car_park_name }}",
        body=(
            "Guten Tag {{ customer_name }},\n\nes geht um Ihr Auto {{ plate }} auf {{ car_park_name }}, {{ airport_name }} "
            "(Buchung {{ reference }}).\n\nHier steht, was geschehen ist und was zu tun ist.\n\nHilfe erhalten Sie unter {{ support_phone }}."
        ),
    ),
    ("emergency_alert", "sms"): Words(
        body="{{ car_park_name }}, Auto {{ plate }}: Hier steht, was zu tun ist. Hilfe: {{ support_phone }}"
    ),
}
