"""Consent moves into the consent ledger of communications; what was ticked at sign-up waits there until the address is confirmed."""

from typing import Any

from django.db import migrations, models
from django.utils import timezone

from communications.services.consent import key_of


def into_the_ledger(apps: Any, _schema_editor: Any) -> None:
    user, entry = apps.get_model("accounts", "User"), apps.get_model("communications", "ConsentEntry")
    for one in user.objects.filter(marketing_consent=True, is_active=True).iterator():
        entry.objects.create(
            channel="email",
            address=one.email.lower(),
            address_key=key_of("email", one.email),
            is_granted=True,
            source="import",
            note="account page, before the ledger",
            language=one.language,
            user=one,
            at=timezone.now(),
        )


class Migration(migrations.Migration):
    dependencies = [("accounts", "0003_name_in_one_line"), ("communications", "0008_consent")]
    operations = [
        migrations.RunPython(into_the_ledger, migrations.RunPython.noop),
        migrations.RemoveField(model_name="user", name="marketing_consent"),
        migrations.AddField(
            model_name="user",
            name="offers_wording",
            field=models.CharField(blank=True, max_length=500, verbose_name="offers asked for at sign-up"),
        ),
    ]
