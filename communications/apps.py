from django.apps import AppConfig
from django.db.models.signals import post_migrate


class CommunicationsConfig(AppConfig):
    name = "communications"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        post_migrate.connect(_install_templates, sender=self, dispatch_uid="communications.default_templates")


def _install_templates(*, apps: object, **_arguments: object) -> None:
    """Write the first words after migrating; fails loudly rather than leave a house that cannot write."""
    from communications.services.wording import install_default_templates

    if not hasattr(apps, "get_model") or "communications_templateversion" not in _tables():
        return  # migrated back to zero
    install_default_templates()


def _tables() -> list[str]:
    from django.db import connection

    return connection.introspection.table_names()
