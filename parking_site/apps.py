from __future__ import annotations

from typing import Any

from django.apps import AppConfig


class ParkingSiteConfig(AppConfig):
    name = "parking_site"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from parking_site import checks  # noqa: F401  registers the start-up checks

        let_the_webhook_callback_be()


def let_the_webhook_callback_be() -> None:
    """Drop the one notice of dj-stripe that has no id to silence it by: that its webhook callback is deprecated.

    The signals that it offers instead run inside its transaction, where a job for the event would be queued before the event is stored. Its
    errors about the callback are still reported.
    """
    from django.core.checks.registry import registry
    from djstripe.checks import check_webhook_event_callback_accepts_api_key as original

    if original not in registry.registered_checks:
        return
    registry.registered_checks.discard(original)

    def check_webhook_event_callback(app_configs: Any = None, **kwargs: Any) -> Any:
        return [
            message
            for message in original(app_configs=app_configs, **kwargs)
            if message.id or message.is_serious()
        ]

    registry.register(check_webhook_event_callback, *getattr(original, "tags", ()))
