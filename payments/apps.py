from django.apps import AppConfig


class PaymentsConfig(AppConfig):
    name = "payments"
    default_auto_field = "django.db.models.BigAutoField"
    default = True


class InstantNotificationsConfig(AppConfig):
    """django-paypal's notifications, with the keys that its own migrations made and our postback instead of its own."""

    name = "paypal.standard.ipn"
    default_auto_field = "django.db.models.AutoField"
    default = False

    def ready(self) -> None:
        from paypal.standard.ipn.models import PayPalIPN

        from payments.webhooks.ipn import ask_paypal

        PayPalIPN._postback = ask_paypal
