"""What PostgreSQL holds about payouts and refunds of strays: transitions, and what is fixed at birth."""

from django.db import migrations

from foundation.transitions import transition_trigger
from payments.models.payout import PAYOUT_TRANSITIONS
from payments.models.refund import REFUND_TRANSITIONS


def fixed_at_birth(table: str, *columns: str) -> migrations.RunSQL:
    new, old = (", ".join(f"{row}.{column}" for column in columns) for row in ("NEW", "OLD"))
    return migrations.RunSQL(
        f"""
        CREATE FUNCTION {table}_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'DELETE' OR ({new}) IS DISTINCT FROM ({old}) THEN
                RAISE EXCEPTION '{table}: a row is never deleted, and its {", ".join(columns)} never change'
                    USING ERRCODE = 'check_violation', CONSTRAINT = '{table}_fixed';
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER {table}_fixed BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_fixed();
        """,
        f"DROP TRIGGER {table}_fixed ON {table}; DROP FUNCTION {table}_fixed();",
    )


class Migration(migrations.Migration):
    dependencies = [("payments", "0019_reconciliation")]
    operations = [
        transition_trigger("payments_payout", PAYOUT_TRANSITIONS, initial=set(PAYOUT_TRANSITIONS)),
        transition_trigger("payments_strayrefund", REFUND_TRANSITIONS, initial={"requested"}),
        fixed_at_birth("payments_payout", "provider", "provider_ref", "amount_minor", "currency"),
        fixed_at_birth("payments_strayrefund", "question_id", "amount_minor", "currency", "requested_by_id"),
    ]
