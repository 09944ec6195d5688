"""German."""

from __future__ import annotations

from communications.words.base import Words

DATE_PATTERN = "EEE, d. MMM y"
TEMPLATES: dict[tuple[str, str], Words] = {
    ("welcome", "email"): Words(
        subject="Willkommen bei {{ site_name }}",
        heading="Willkommen, {{ customer_name }}",
        body=(
            "Ihr Konto ist bereit. Ihre Buchungen, Belege und gespeicherten Angaben finden Sie jetzt an einem Ort.\n\n"
            "Fragen? Schreiben Sie an {{ support_email }}."
        ),
        button_label="Parkplatz suchen",
        button_variable="home_url",
    ),
    ("verify_email", "email"): Words(
        subject="Bestätigen Sie Ihre E-Mail-Adresse",
        heading="Ist das Ihre Adresse?",
        body=(
            "Guten Tag {{ customer_name }},\n\nbitte bestätigen Sie diese Adresse, um Ihr Konto bei {{ site_name }} fertig anzulegen.\n\n"
            "Wenn Sie sich nicht angemeldet haben, beachten Sie diese Nachricht nicht: Ohne Ihre Bestätigung geschieht nichts."
        ),
        button_label="Adresse bestätigen",
        button_variable="verify_url",
    ),
    ("password_reset", "email"): Words(
        subject="Neues Passwort festlegen",
        heading="Neues Passwort festlegen",
        body=(
            "Guten Tag {{ customer_name }},\n\njemand, vermutlich Sie, möchte ein neues Passwort. Der Link gilt einmal.\n\n"
            "Wenn Sie es nicht waren, beachten Sie diese Nachricht nicht: Ihr Passwort bleibt, wie es ist."
        ),
        button_label="Passwort festlegen",
        button_variable="reset_url",
    ),
    ("password_changed", "email"): Words(
        subject="Ihr Passwort wurde geändert",
        heading="Ihr Passwort wurde geändert",
        body=(
            "Guten Tag {{ customer_name }},\n\ndas Passwort Ihres Kontos bei {{ site_name }} wurde am {{ changed_at }} geändert. Wer anderswo "
            "angemeldet war, ist abgemeldet.\n\nWaren Sie es nicht, legen Sie sofort ein neues Passwort fest und schreiben Sie an "
            "{{ support_email }}."
        ),
        button_label="Konto öffnen",
        button_variable="account_url",
    ),
    ("second_factor_added", "email"): Words(
        subject="Ein zweiter Faktor schützt Ihr Konto",
        heading="Ihr zweiter Faktor ist eingerichtet",
        body=(
            "Guten Tag {{ customer_name }},\n\nseit {{ changed_at }} fragt Ihr Konto bei {{ site_name }} neben dem Passwort nach einem Code "
            "Ihrer Authenticator-App.\n\nWaren Sie es nicht, schreiben Sie sofort an {{ support_email }}."
        ),
        button_label="Konto öffnen",
        button_variable="account_url",
    ),
    ("second_factor_removed", "email"): Words(
        subject="Ihr zweiter Faktor wurde entfernt",
        heading="Ihr zweiter Faktor wurde entfernt",
        body=(
            "Guten Tag {{ customer_name }},\n\nam {{ changed_at }} wurde der zweite Faktor Ihres Kontos bei {{ site_name }} entfernt: Das "
            "Passwort allein öffnet es jetzt.\n\nWenn Sie das nicht wollten, legen Sie sofort ein neues Passwort fest und schreiben Sie an "
            "{{ support_email }}."
        ),
        button_label="Konto öffnen",
        button_variable="account_url",
    ),
    ("recovery_codes_made", "email"): Words(
        subject="Neue Wiederherstellungscodes für Ihr Konto",
        heading="Neue Wiederherstellungscodes",
        body=(
            "Guten Tag {{ customer_name }},\n\nam {{ changed_at }} wurden neue Wiederherstellungscodes für Ihr Konto bei {{ site_name }} "
            "erzeugt. Die früheren gelten nicht mehr.\n\nWaren Sie es nicht, legen Sie sofort ein neues Passwort fest und schreiben Sie an "
            "{{ support_email }}."
        ),
        button_label="Konto öffnen",
        button_variable="account_url",
    ),
    ("already_registered", "email"): Words(
        subject="Sie haben bereits ein Konto",
        heading="Sie haben bereits ein Konto",
        body=(
            "Guten Tag {{ customer_name }},\n\njemand, vermutlich Sie, wollte mit dieser Adresse ein Konto bei {{ site_name }} anlegen. "
            "Es gibt schon eines: Melden Sie sich einfach an.\n\nPasswort vergessen? Legen Sie ein neues fest: {{ reset_url }}"
        ),
        button_label="Anmelden",
        button_variable="login_url",
    ),
    ("your_data", "email"): Words(
        subject="Ihre Daten bei {{ site_name }}",
        heading="Ihre Daten",
        body=(
            "Jemand, wahrscheinlich Sie, möchte sehen oder löschen, was {{ site_name }} zu dieser Adresse gespeichert hat. Der Link gilt "
            "eine Stunde.\n\nWenn Sie das nicht waren, brauchen Sie nichts zu tun: Es geschieht nichts."
        ),
        button_label="Meine Daten ansehen",
        button_variable="data_url",
    ),
    ("booking_confirmation", "email"): Words(
        subject="{{ reference }} bestätigt: {{ airport_iata }}, {{ drop_off_date }}",
        heading="Ihre Buchung steht, {{ customer_name }}",
        body=(
            "{{ car_park_name }} erwartet Sie am {{ drop_off_local }}. Die Kameras kennen Ihr Kennzeichen; Ihr QR-Code öffnet die "
            "Schranke, falls nicht.\n\n"
            "Stellplatz: {{ product_name }}\nBezahlt: {{ total }}\nAdresse: {{ address }}\n\n{{ directions }}"
        ),
        button_label="Buchung verwalten",
        button_variable="manage_url",
    ),
    ("booking_confirmation", "sms"): Words(
        body=(
            "{{ site_name }}: {{ reference }} ist gebucht. {{ car_park_name }}, {{ airport_iata }}, "
            "{{ drop_off_date }} {{ drop_off_time }}. {{ manage_url }}"
        )
    ),
    ("drop_off_reminder", "email"): Words(
        subject="{{ airport_iata }}, {{ drop_off_date }}, {{ drop_off_time }}: Ihr Parkplatz",
        heading="Um {{ drop_off_time }} Uhr geht es los, {{ customer_name }}",
        body=(
            "Ihr Platz bei {{ car_park_name }} ist bereit. Abgabe: {{ drop_off_local }}, Ortszeit am Flughafen.\n\n"
            "{{ address }}\n\n{{ directions }}\n\n"
            "Die Kameras kennen {{ plate }}. Kommen Sie früher, später oder mit einem anderen Auto? Ändern Sie die Buchung hier."
        ),
        button_label="Buchung öffnen",
        button_variable="manage_url",
    ),
    ("drop_off_reminder", "sms"): Words(
        body="{{ reference }}: Abgabe {{ drop_off_date }} {{ drop_off_time }}, {{ car_park_name }}, {{ airport_iata }}. {{ manage_url }}"
    ),
    ("return_reminder", "email"): Words(
        subject="{{ reference }}: Abholung am {{ return_date }}, {{ return_time }}",
        heading="Bis bald, {{ customer_name }}",
        body=(
            "Ihr Aufenthalt bei {{ car_park_name }} endet {{ return_local }}, Ortszeit am Flughafen.\n\n"
            "{{ address }}\n\n{{ directions }}\n\n"
            "Kommt Ihr Flug später? Verlängern Sie vor dem Ende: Das ist günstiger, als zu überziehen."
        ),
        button_label="Buchung öffnen",
        button_variable="manage_url",
    ),
    ("return_reminder", "sms"): Words(
        body="{{ reference }}: Abholung {{ car_park_name }} bis {{ return_date }} {{ return_time }}. Später? {{ manage_url }}"
    ),
    ("payment_confirmation", "email"): Words(
        subject="Zahlung für {{ reference }} erhalten: {{ amount }}",
        heading="Wir haben {{ amount }} erhalten",
        body=(
            "Guten Tag {{ customer_name }},\n\nvielen Dank. Ihre Zahlung für die Buchung {{ reference }}:\n\n"
            "Betrag: {{ amount }}\nBezahlt: {{ paid_at_local }}\nMit: {{ method_label }}\nÜber: {{ provider_name }}\n\n"
            "Ihr Beleg ist angehängt; Sie finden ihn auch auf der Seite Ihrer Buchung."
        ),
        button_label="Buchung ansehen",
        button_variable="manage_url",
    ),
    ("payment_confirmation", "sms"): Words(
        body="{{ reference }}: Wir haben {{ amount }} erhalten. {{ manage_url }}"
    ),
    ("payment_needs_customer", "email"): Words(
        subject="{{ reference }}: Bitte bestätigen Sie {{ amount }} bei Ihrer Bank",
        heading="Ihre Bank möchte von Ihnen hören",
        body=(
            "Guten Tag {{ customer_name }},\n\nwir wollten {{ amount }} für die Buchung {{ reference }} von {{ method_label }} abbuchen. "
            "Ihre Bank möchte, dass Sie das selbst bestätigen. Bisher wurde nichts abgebucht.\n\n"
            "Auf der Zahlungsseite bestätigen Sie, oder Sie zahlen mit einer anderen Karte."
        ),
        button_label="Zahlung bestätigen",
        button_variable="pay_url",
    ),
    ("cancellation", "email"): Words(
        subject="{{ reference }} ist storniert",
        heading="Ihre Buchung ist storniert",
        body=(
            "Guten Tag {{ customer_name }},\n\nIhr Parkplatz bei {{ car_park_name }} ab {{ drop_off_local }} ist storniert.\n\n"
            "Buchung: {{ reference }}\nErstattung: {{ refund_amount }}\n\n{{ refund_status_text }}"
        ),
        button_label="Buchung ansehen",
        button_variable="manage_url",
    ),
    ("cancellation", "sms"): Words(
        body="{{ reference }} ist storniert. Erstattung: {{ refund_amount }}. {{ refund_status_text }} {{ manage_url }}"
    ),
    ("booking_amended", "email"): Words(
        subject="{{ reference }} geändert: {{ drop_off_local }} bis {{ return_local }}",
        heading="Ihre Buchung ist geändert",
        body=(
            "Guten Tag {{ customer_name }},\n\nso parken Sie jetzt; es gilt der Parkschein oben. {{ money_text }}\n\n"
            "Stellplatz: {{ product_name }}\nKennzeichen: {{ plate }}\nPreis: {{ total }}\nAdresse: {{ address }}\n\n"
            "{{ directions }}\n\nDer mitgesandte Kalendereintrag ersetzt den früheren."
        ),
        button_label="Buchung ansehen",
        button_variable="manage_url",
    ),
    ("booking_amended", "sms"): Words(
        body=(
            "{{ reference }} geändert: Abgabe {{ drop_off_date }} {{ drop_off_time }}, Abholung {{ return_date }} {{ return_time }}. "
            "{{ money_text }}"
        )
    ),
    ("amendment_to_pay", "email"): Words(
        subject="{{ reference }}: Bitte zahlen Sie {{ amount }} für Ihre Änderung",
        heading="Ihre Änderung wartet auf {{ amount }}",
        body=(
            "Guten Tag {{ customer_name }},\n\nwie besprochen halten wir Ihnen die neuen Zeiten bei {{ car_park_name }} frei:\n\n"
            "Abgabe: {{ drop_off_local }}\nAbholung: {{ return_local }}\n\n"
            "Die Änderung gilt, sobald {{ amount }} bezahlt sind. Wir halten den Platz bis {{ pay_before_local }}, Ortszeit am Flughafen; "
            "danach gilt Ihre Buchung wie bisher."
        ),
        button_label="Jetzt zahlen",
        button_variable="manage_url",
    ),
    ("amendment_to_pay", "sms"): Words(
        body="{{ reference }}: Zahlen Sie {{ amount }} bis {{ pay_before_local }}, dann gilt Ihre Änderung. {{ manage_url }}"
    ),
    ("amendment_not_made", "email"): Words(
        subject="{{ reference }}: Ihre Änderung kam nicht zustande",
        heading="Ihre Buchung gilt wie bisher",
        body=(
            "Guten Tag {{ customer_name }},\n\nes tut uns leid: Die Änderung der Buchung {{ reference }} kam nicht zustande. "
            "{{ what_happened_text }}\n\nIhre Buchung selbst gilt unverändert."
        ),
        button_label="Buchung ansehen",
        button_variable="manage_url",
    ),
    ("amendment_not_made", "sms"): Words(
        body="{{ reference }}: Ihre Änderung kam leider nicht zustande. Die Buchung gilt wie bisher, und wir behalten nichts von {{ amount }}."
    ),
    ("refund_issued", "email"): Words(
        subject="Erstattung für {{ reference }}: {{ amount }}",
        heading="{{ amount }} gehen an Sie zurück",
        body="Guten Tag {{ customer_name }},\n\nwir haben {{ amount }} für die Buchung {{ reference }} erstattet.\n\n{{ refund_status_text }}",
        button_label="Buchung ansehen",
        button_variable="manage_url",
    ),
    ("refund_issued", "sms"): Words(
        body="{{ reference }}: Wir haben {{ amount }} erstattet. {{ refund_status_text }} {{ manage_url }}"
    ),
    ("late_payment_refunded", "email"): Words(
        subject="{{ reference }}: Wir konnten Ihren Platz nicht halten",
        heading="Es tut uns leid: Der Platz ist vergeben",
        body=(
            "Guten Tag {{ customer_name }},\n\nIhre Zahlung für {{ car_park_name }} kam nach der Zeit, für die wir Ihnen den Platz gehalten "
            "haben, und der Parkplatz war inzwischen voll. Sie haben für diese Tage keine Buchung bei uns.\n\n"
            "Wir erstatten alles: {{ amount }}. Sie müssen dafür nichts tun."
        ),
        button_label="Anderen Platz suchen",
        button_variable="search_url",
    ),
    ("late_payment_refunded", "sms"): Words(
        body="{{ reference }}: {{ car_park_name }} war leider voll, als Ihre Zahlung kam. Wir erstatten {{ amount }}. Mehr per E-Mail."
    ),
    ("second_payment_refunded", "email"): Words(
        subject="{{ reference }}: Ihre zweite Zahlung wird erstattet",
        heading="Sie haben zweimal gezahlt, {{ amount }} gehen zurück",
        body=(
            "Guten Tag {{ customer_name }},\n\nIhre Buchung {{ reference }} war schon bezahlt, als eine zweite Zahlung von {{ amount }} über "
            "{{ provider_name }} kam. Die Buchung gilt.\n\nWir erstatten die zweite Zahlung vollständig. Sie müssen dafür nichts tun."
        ),
        button_label="Buchung ansehen",
        button_variable="manage_url",
    ),
    ("second_payment_refunded", "sms"): Words(
        body="{{ reference }}: Sie haben zweimal gezahlt. Wir erstatten die zweite Zahlung, {{ amount }}. Ihre Buchung gilt."
    ),
    ("payment_failed", "email"): Words(
        subject="{{ reference }}: Ihre Zahlung kam nicht zustande",
        heading="{{ provider_name }} hat Ihre Zahlung nicht erhalten",
        body=(
            "Guten Tag {{ customer_name }},\n\nIhre Zahlung von {{ amount }} für die Buchung {{ reference }} wurde noch geprüft und kam nicht "
            "zustande. Wir haben nichts abgebucht, und Sie haben für diese Tage keine Buchung bei uns.\n\n"
            "Sie können neu buchen und anders zahlen."
        ),
        button_label="Neu buchen",
        button_variable="search_url",
    ),
    ("refund_failed", "email"): Words(
        subject="{{ reference }}: Ihre Erstattung kam nicht an",
        heading="Ihre Erstattung kam nicht an",
        body=(
            "Guten Tag {{ customer_name }},\n\nwir wollten {{ amount }} für die Buchung {{ reference }} erstatten, aber es kam nicht an. "
            "{{ cause }} Wir kümmern uns darum. Schreiben Sie an {{ support_email }}, wenn wir es auf anderem Weg senden sollen."
        ),
    ),
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
            "Aufenthalt günstiger.\n\nDer Link öffnet {{ site_name }}, der Code ist schon eingetragen."
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
            "Guten Tag {{ customer_name }},\n\nes geht um Ihr Auto {{ plate }} bei {{ car_park_name }}, {{ airport_name }} "
            "(Buchung {{ reference }}).\n\nSchreiben Sie hier, was geschehen ist und was zu tun ist.\n\nHilfe erhalten Sie unter {{ support_phone }}."
        ),
    ),
    ("emergency_alert", "sms"): Words(
        body="{{ car_park_name }}, Auto {{ plate }}: Schreiben Sie hier, was zu tun ist. Hilfe: {{ support_phone }}"
    ),
}
