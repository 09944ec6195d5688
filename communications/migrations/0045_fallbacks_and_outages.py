"""One fallback per message on the person's other channel, staff's "seen to", and providers that take nothing."""

from django.conf import settings
from django.db import migrations, models

FALLBACK_GUARD = """
CREATE FUNCTION communications_message_fallback_guard() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE first communications_message%ROWTYPE;
BEGIN
    SELECT * INTO first FROM communications_message WHERE id = NEW.fallback_of_id;
    IF first.fallback_of_id IS NOT NULL OR first.channel = NEW.channel OR first.kind <> NEW.kind THEN
        RAISE EXCEPTION 'communications_message: a fallback is the same message on the other channel, once'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'communications_message_fallback_guard';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER communications_message_fallback_guard BEFORE INSERT OR UPDATE OF fallback_of_id ON communications_message
    FOR EACH ROW WHEN (NEW.fallback_of_id IS NOT NULL) EXECUTE FUNCTION communications_message_fallback_guard();
"""
NO_FALLBACK_GUARD = """
DROP TRIGGER communications_message_fallback_guard ON communications_message;
DROP FUNCTION communications_message_fallback_guard();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("communications", "0044_sms_purses"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Outage",
            fields=[
                (
                    "channel",
                    models.CharField(
                        choices=[("email", "e-mail"), ("sms", "SMS")],
                        max_length=8,
                        primary_key=True,
                        serialize=False,
                        verbose_name="channel",
                    ),
                ),
                ("failures", models.PositiveIntegerField(default=0, verbose_name="failures in a row")),
                ("since", models.DateTimeField(blank=True, null=True, verbose_name="messages wait since")),
                ("next_try_at", models.DateTimeField(blank=True, null=True, verbose_name="next try")),
                ("error_code", models.CharField(blank=True, max_length=60, verbose_name="error")),
                ("error_text", models.CharField(blank=True, max_length=500, verbose_name="what happened")),
            ],
            options={
                "verbose_name": "outage of a provider",
                "verbose_name_plural": "outages of providers",
            },
        ),
        migrations.AddField(
            model_name="message",
            name="attended_at",
            field=models.DateTimeField(blank=True, null=True, verbose_name="seen to"),
        ),
        migrations.AddField(
            model_name="message",
            name="other_address",
            field=models.CharField(blank=True, max_length=254, verbose_name="other address"),
        ),
        migrations.AddIndex(
            model_name="message",
            index=models.Index(
                condition=models.Q(
                    ("attended_at", None), ("status__in", ["bounced", "failed", "maybe_sent"])
                ),
                fields=["queued_at"],
                name="message_needs_person",
            ),
        ),
        migrations.AddConstraint(
            model_name="message",
            constraint=models.UniqueConstraint(
                condition=models.Q(("fallback_of__isnull", False)),
                fields=("fallback_of",),
                name="one_fallback_per_message",
            ),
        ),
        migrations.AddConstraint(
            model_name="outage",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("next_try_at__isnull", True), ("since__isnull", True)),
                    models.Q(("next_try_at__isnull", False), ("since__isnull", False)),
                    _connector="OR",
                ),
                name="outage_has_a_next_try",
            ),
        ),
        migrations.RunSQL(FALLBACK_GUARD, NO_FALLBACK_GUARD),
    ]
