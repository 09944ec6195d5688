from django.apps import AppConfig


class ParkingSiteConfig(AppConfig):
    name = "parking_site"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from parking_site import checks  # noqa: F401  registers the start-up checks
