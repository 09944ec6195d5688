from django.apps import AppConfig
from django.conf import settings


class FoundationConfig(AppConfig):
    name = "foundation"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from foundation import logs

        if settings.LOG_FORMAT == "json":  # somebody's program reads them, and takes no other lines
            logs.own_the_process()
