"""English, and what is said where a language lacks a message."""

from __future__ import annotations

from communications.words.base import Words

TEMPLATES: dict[tuple[str, str], Words] = {
    ("welcome", "email"): Words(
        subject="Welcome to {{ site_name }}",
        heading="Welcome, {{ customer_name }}",
        body=(
            "Your account is ready. Your bookings, receipts and saved details are now in one place.\n\n"
            "Questions? Write to {{ support_email }}."
        ),
        button_label="Find parking",
        button_variable="home_url",
    ),
    ("verify_email", "email"): Words(
        subject="Confirm your e-mail address",
        heading="Is this your address?",
        body=(
            "Hello {{ customer_name }},\n\nPlease confirm this address to finish your {{ site_name }} account.\n\n"
            "If you did not sign up, ignore this message: nothing happens unless you confirm."
        ),
        button_label="Confirm address",
        button_variable="verify_url",
    ),
    ("password_reset", "email"): Words(
        subject="Set a new password",
        heading="Set a new password",
        body=(
            "Hello {{ customer_name }},\n\nSomebody, probably you, asked for a new password. The link works once.\n\n"
            "If it was not you, ignore this message: your password stays as it is."
        ),
        button_label="Set new password",
        button_variable="reset_url",
    ),
    ("password_changed", "email"): Words(
        subject="Your password was changed",
        heading="Your password was changed",
        body=(
            "Hello {{ customer_name }},\n\nThe password of your {{ site_name }} account was changed on {{ changed_at }}. Everybody who was "
            "signed in elsewhere is signed out.\n\nIf it was not you, set a new password at once and write to {{ support_email }}."
        ),
        button_label="Open my account",
        button_variable="account_url",
    ),
    ("second_factor_added", "email"): Words(
        subject="A second factor protects your account",
        heading="Your second factor is set up",
        body=(
            "Hello {{ customer_name }},\n\nSince {{ changed_at }} your {{ site_name }} account asks for a code of your authenticator app "
            "besides the password.\n\nIf it was not you, write to {{ support_email }} at once."
        ),
        button_label="Open my account",
        button_variable="account_url",
    ),
    ("second_factor_removed", "email"): Words(
        subject="Your second factor was removed",
        heading="Your second factor was removed",
        body=(
            "Hello {{ customer_name }},\n\nOn {{ changed_at }} the second factor of your {{ site_name }} account was removed: the password "
            "alone opens it now.\n\nIf you did not ask for that, set a new password at once and write to {{ support_email }}."
        ),
        button_label="Open my account",
        button_variable="account_url",
    ),
    ("recovery_codes_made", "email"): Words(
        subject="New recovery codes for your account",
        heading="New recovery codes",
        body=(
            "Hello {{ customer_name }},\n\nNew recovery codes of your {{ site_name }} account were made on {{ changed_at }}. The earlier ones "
            "no longer work.\n\nIf it was not you, set a new password at once and write to {{ support_email }}."
        ),
        button_label="Open my account",
        button_variable="account_url",
    ),
    ("already_registered", "email"): Words(
        subject="You already have an account",
        heading="You already have an account",
        body=(
            "Hello {{ customer_name }},\n\nSomebody, probably you, tried to sign up at {{ site_name }} with this address. "
            "It has an account already, so just sign in.\n\nForgotten the password? Set a new one: {{ reset_url }}"
        ),
        button_label="Sign in",
        button_variable="login_url",
    ),
    ("your_data", "email"): Words(
        subject="Your data at {{ site_name }}",
        heading="Your data",
        body=(
            "Somebody, probably you, asked to see or erase what {{ site_name }} keeps about this address. The link works for an hour.\n\n"
            "If it was not you, ignore this message: nothing happens."
        ),
        button_label="See my data",
        button_variable="data_url",
    ),
    ("booking_confirmation", "email"): Words(
        subject="{{ reference }} confirmed: {{ airport_iata }}, {{ drop_off_date }}",
        heading="You are booked, {{ customer_name }}",
        body=(
            "{{ car_park_name }} expects you on {{ drop_off_local }}. The cameras know your plate; your QR code opens the barrier if "
            "they miss it.\n\n"
            "Space: {{ product_name }}\nPaid: {{ total }}\nAddress: {{ address }}\n\n{{ directions }}"
        ),
        button_label="Manage booking",
        button_variable="manage_url",
    ),
    ("booking_confirmation", "sms"): Words(
        body=(
            "{{ site_name }}: {{ reference }} is booked. {{ car_park_name }}, {{ airport_iata }}, "
            "{{ drop_off_date }} {{ drop_off_time }}. {{ manage_url }}"
        )
    ),
    ("drop_off_reminder", "email"): Words(
        subject="{{ airport_iata }}, {{ drop_off_date }}, {{ drop_off_time }}: your parking",
        heading="See you at {{ drop_off_time }}, {{ customer_name }}",
        body=(
            "Your space at {{ car_park_name }} is ready. Drop-off: {{ drop_off_local }}, airport time.\n\n"
            "{{ address }}\n\n{{ directions }}\n\n"
            "The cameras know {{ plate }}. Running late or early, or another car? Change the booking here."
        ),
        button_label="Open the booking",
        button_variable="manage_url",
    ),
    ("drop_off_reminder", "sms"): Words(
        body="{{ reference }}: drop-off {{ drop_off_date }} {{ drop_off_time }}, {{ car_park_name }}, {{ airport_iata }}. {{ manage_url }}"
    ),
    ("return_reminder", "email"): Words(
        subject="{{ reference }}: collect your car on {{ return_date }}, {{ return_time }}",
        heading="Welcome back soon, {{ customer_name }}",
        body=(
            "Your stay at {{ car_park_name }} ends {{ return_local }}, airport time.\n\n"
            "{{ address }}\n\n{{ directions }}\n\n"
            "Is your flight later? Make the stay longer before it ends: it costs less than overstaying."
        ),
        button_label="Open the booking",
        button_variable="manage_url",
    ),
    ("return_reminder", "sms"): Words(
        body="{{ reference }}: your stay at {{ car_park_name }} ends {{ return_date }} {{ return_time }}. Later? Change it: {{ manage_url }}"
    ),
    ("payment_confirmation", "email"): Words(
        subject="Payment received for {{ reference }}: {{ amount }}",
        heading="We have received {{ amount }}",
        body=(
            "Hello {{ customer_name }},\n\nThank you. Here is your payment for booking {{ reference }}:\n\n"
            "Amount: {{ amount }}\nPaid: {{ paid_at_local }}\nWith: {{ method_label }}\nThrough: {{ provider_name }}\n\n"
            "Your receipt is attached; it is on your booking's page as well."
        ),
        button_label="See booking",
        button_variable="manage_url",
    ),
    ("payment_confirmation", "sms"): Words(
        body="{{ reference }}: we received {{ amount }}. {{ manage_url }}"
    ),
    ("payment_needs_customer", "email"): Words(
        subject="{{ reference }}: please confirm {{ amount }} with your bank",
        heading="Your bank wants to hear from you",
        body=(
            "Hello {{ customer_name }},\n\nWe tried to take {{ amount }} for booking {{ reference }} from {{ method_label }}. "
            "Your bank asks that you confirm it yourself. Nothing was taken yet.\n\n"
            "On the payment page you can confirm it, or pay with another card."
        ),
        button_label="Confirm payment",
        button_variable="pay_url",
    ),
    ("cancellation", "email"): Words(
        subject="{{ reference }} is cancelled",
        heading="Your booking is cancelled",
        body=(
            "Hello {{ customer_name }},\n\nYour parking at {{ car_park_name }} from {{ drop_off_local }} is cancelled.\n\n"
            "Booking: {{ reference }}\nRefund: {{ refund_amount }}\n\n{{ refund_status_text }}"
        ),
        button_label="See booking",
        button_variable="manage_url",
    ),
    ("cancellation", "sms"): Words(
        body="{{ reference }} is cancelled. Refund: {{ refund_amount }}. {{ refund_status_text }} {{ manage_url }}"
    ),
    ("booking_amended", "email"): Words(
        subject="{{ reference }} changed: {{ drop_off_local }} to {{ return_local }}",
        heading="Your booking is changed",
        body=(
            "Hello {{ customer_name }},\n\nThis is your parking now; the pass above is the one that counts. {{ money_text }}\n\n"
            "Space: {{ product_name }}\nPlate: {{ plate }}\nPrice: {{ total }}\nAddress: {{ address }}\n\n"
            "{{ directions }}\n\nThe calendar entry that comes along replaces the earlier one."
        ),
        button_label="See booking",
        button_variable="manage_url",
    ),
    ("booking_amended", "sms"): Words(
        body=(
            "{{ reference }} changed: drop-off {{ drop_off_date }} {{ drop_off_time }}, return {{ return_date }} {{ return_time }}. "
            "{{ money_text }}"
        )
    ),
    ("amendment_to_pay", "email"): Words(
        subject="{{ reference }}: please pay {{ amount }} for your change",
        heading="Your change waits for {{ amount }}",
        body=(
            "Hello {{ customer_name }},\n\nAs agreed we keep the new times for you at {{ car_park_name }}:\n\n"
            "Drop-off: {{ drop_off_local }}\nReturn: {{ return_local }}\n\n"
            "The change is made when {{ amount }} is paid. We keep the space until {{ pay_before_local }}, airport time; after that your "
            "booking stands as it was."
        ),
        button_label="Pay now",
        button_variable="manage_url",
    ),
    ("amendment_to_pay", "sms"): Words(
        body="{{ reference }}: pay {{ amount }} by {{ pay_before_local }} and your change is made. {{ manage_url }}"
    ),
    ("amendment_not_made", "email"): Words(
        subject="{{ reference }}: your change was not made",
        heading="Your booking stands as it was",
        body=(
            "Hello {{ customer_name }},\n\nWe are sorry: the change of booking {{ reference }} was not made. {{ what_happened_text }}\n\n"
            "Your booking itself stands as it was before."
        ),
        button_label="See booking",
        button_variable="manage_url",
    ),
    ("amendment_not_made", "sms"): Words(
        body=(
            "{{ reference }}: sorry, your change was not made. Your booking stands as it was, and we keep nothing of the {{ amount }} for it."
        )
    ),
    ("refund_issued", "email"): Words(
        subject="Refund for {{ reference }}: {{ amount }}",
        heading="{{ amount }} is on its way back",
        body="Hello {{ customer_name }},\n\nWe have refunded {{ amount }} for booking {{ reference }}.\n\n{{ refund_status_text }}",
        button_label="See booking",
        button_variable="manage_url",
    ),
    ("refund_issued", "sms"): Words(
        body="{{ reference }}: we refunded {{ amount }}. {{ refund_status_text }} {{ manage_url }}"
    ),
    ("late_payment_refunded", "email"): Words(
        subject="{{ reference }}: we could not keep your space",
        heading="We are sorry: the space is gone",
        body=(
            "Hello {{ customer_name }},\n\nYour payment for {{ car_park_name }} arrived after the time for which we kept your "
            "space, and by then the car park was full. You have no booking with us for these dates.\n\n"
            "We are giving back all of it: {{ amount }}. You need to do nothing for that."
        ),
        button_label="Find another space",
        button_variable="search_url",
    ),
    ("late_payment_refunded", "sms"): Words(
        body="{{ reference }}: sorry, {{ car_park_name }} was full when your payment came. We refund all of it: {{ amount }}. More in our e-mail."
    ),
    ("second_payment_refunded", "email"): Words(
        subject="{{ reference }}: your second payment is given back",
        heading="You paid twice, so {{ amount }} goes back",
        body=(
            "Hello {{ customer_name }},\n\nYour booking {{ reference }} was already paid when a second payment of {{ amount }} by "
            "{{ provider_name }} arrived. The booking stands.\n\nWe are giving back all of the second payment. You need to do nothing for "
            "that."
        ),
        button_label="See booking",
        button_variable="manage_url",
    ),
    ("second_payment_refunded", "sms"): Words(
        body="{{ reference }}: you paid twice. We refund the second payment, {{ amount }}. Your booking stands."
    ),
    ("payment_failed", "email"): Words(
        subject="{{ reference }}: your payment did not go through",
        heading="{{ provider_name }} did not receive your payment",
        body=(
            "Hello {{ customer_name }},\n\nYour payment of {{ amount }} for booking {{ reference }} was still being checked, and came to "
            "nothing. Nothing was taken by us, and you have no booking with us for these dates.\n\nYou can book again and pay another way."
        ),
        button_label="Book again",
        button_variable="search_url",
    ),
    ("refund_failed", "email"): Words(
        subject="{{ reference }}: your refund did not arrive",
        heading="Your refund did not arrive",
        body=(
            "Hello {{ customer_name }},\n\nWe tried to give back {{ amount }} for booking {{ reference }}, but it did not arrive. "
            "{{ cause }} We see to it. Write to {{ support_email }} if we should send it another way."
        ),
    ),
    ("staff_message", "email"): Words(
        subject="A message from {{ site_name }}",
        heading="A message from {{ site_name }}",
        body="Hello {{ customer_name }},\n\n{{ text }}",
    ),
    ("staff_message", "sms"): Words(body="{{ text }}"),
    ("promotion", "email"): Words(
        subject="A little off your next stay",
        heading="{{ customer_name }}, your next stay costs less",
        body=(
            "Hello {{ customer_name }},\n\nThank you for parking with us. With the code {{ promo_code }} your next stay costs less.\n\n"
            "The link opens {{ site_name }} with the code filled in."
        ),
        button_label="Use the code",
        button_variable="offer_url",
    ),
    ("promotion", "sms"): Words(
        body="{{ site_name }}: {{ promo_code }} takes something off your next stay. {{ offer_url }}"
    ),
    ("emergency_alert", "email"): Words(
        subject="{{ car_park_name }}: please read this now",
        heading="Important: {{ car_park_name }}",
        body=(
            "Hello {{ customer_name }},\n\nThis is about your car {{ plate }} at {{ car_park_name }}, {{ airport_name }} "
            "(booking {{ reference }}).\n\nWrite here what has happened and what to do.\n\nCall us on {{ support_phone }} if you need help."
        ),
    ),
    ("emergency_alert", "sms"): Words(
        body="{{ car_park_name }}, car {{ plate }}: write here what to do. Help: {{ support_phone }}"
    ),
}
