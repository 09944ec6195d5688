"""The audit log's entries may go after a year at the earliest, when their term (KEEP_AUDIT_LOG_DAYS) is over. Nothing in one ever changes."""

from django.db import migrations

GUARD = """
CREATE OR REPLACE FUNCTION foundation_auditentry_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {unless}
    RAISE EXCEPTION 'foundation_auditentry is append-only'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'foundation_auditentry_append_only';
END $$;
"""
OLD = """IF TG_OP = 'DELETE' THEN
        IF OLD.at < now() - interval '365 days' THEN
            RETURN OLD;
        END IF;
    END IF;"""


class Migration(migrations.Migration):
    dependencies = [("foundation", "0002_audit_append_only")]
    operations = [migrations.RunSQL(GUARD.format(unless=OLD), GUARD.format(unless=""))]
