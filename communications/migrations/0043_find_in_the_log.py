"""Indexes by which staff's list of messages stays quick at millions of rows, built while messages come and go."""

from django.contrib.postgres.operations import AddIndexConcurrently, TrigramExtension
from django.db import migrations, models

# What staff search by, in capitals: address, name, reference, and the plate with and without its space.
HAYSTACK = """
CREATE FUNCTION communications_haystack("to" text, to_name text, reference text, variables jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT upper($1 || ' ' || $2 || ' ' || $3 || ' ' || coalesce(replace($4->>'plate', ' ', '') || ' ' || ($4->>'plate'), ''))
$$
"""
FOUND = """
CREATE INDEX CONCURRENTLY message_found ON communications_message
    USING gin (communications_haystack("to", to_name, reference, variables) gin_trgm_ops)
"""


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("communications", "0042_count_the_log")]
    operations = [
        TrigramExtension(),
        migrations.RunSQL(HAYSTACK, "DROP FUNCTION communications_haystack(text, text, text, jsonb)"),
        migrations.RunSQL(FOUND, "DROP INDEX CONCURRENTLY message_found"),
        AddIndexConcurrently(
            "message", models.Index(fields=["status", "-queued_at"], name="message_by_status")
        ),
        AddIndexConcurrently("message", models.Index(fields=["kind", "-queued_at"], name="message_by_kind")),
        # The index of the state alone, now part of message_by_status.
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
                default="queued",
                max_length=12,
                verbose_name="status",
            ),
        ),
    ]
