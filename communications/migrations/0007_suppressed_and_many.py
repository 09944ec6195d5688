"""Messages that are not sent on purpose; what a message is one of many of, and what it takes the place of."""

import django.db.models.deletion
from django.db import migrations, models

from foundation.transitions import changed_transitions

BEFORE = {
    "queued": {"sending"},
    "sending": {"queued", "sent", "maybe_sent", "delivered", "bounced", "failed"},
    "maybe_sent": {"queued", "sent", "delivered", "bounced", "failed"},
    "sent": {"delivered", "bounced", "failed"},
    "delivered": {"bounced"},
    "bounced": {"queued"},
    "failed": {"queued"},
}
AFTER = {
    **BEFORE,
    "queued": {"sending", "suppressed"},
    "sending": BEFORE["sending"] | {"suppressed"},
    "suppressed": {"queued"},
}


class Migration(migrations.Migration):
    dependencies = [
        ("communications", "0004_message_attachment"),
    ]

    operations = [
        migrations.AddField(
            model_name="message",
            name="campaign_key",
            field=models.CharField(blank=True, db_index=True, max_length=60, verbose_name="campaign"),
        ),
        migrations.AddField(
            model_name="message",
            name="fallback_of",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="fallbacks",
                to="communications.message",
                verbose_name="takes the place of",
            ),
        ),
        migrations.AddField(
            model_name="message",
            name="timezone",
            field=models.CharField(blank=True, max_length=64, verbose_name="recipient's time zone"),
        ),
        migrations.AlterField(
            model_name="message",
            name="status",
            field=models.CharField(
                choices=[
                    ("queued", "queued"),
                    ("sending", "sending"),
                    ("sent", "sent"),
                    ("maybe_sent", "maybe sent"),
                    ("delivered", "delivered"),
                    ("bounced", "bounced"),
                    ("failed", "failed"),
                    ("suppressed", "not sent on purpose"),
                ],
                db_index=True,
                default="queued",
                max_length=12,
                verbose_name="status",
            ),
        ),
        changed_transitions("communications_message", before=BEFORE, after=AFTER, initial={"queued"}),
    ]
