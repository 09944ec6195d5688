"""What tells of a person in rows that otherwise never change may be replaced by nothing, and by nothing else."""

from django.db import migrations

from foundation.transitions import erasable_append_only

AMENDMENT = """
CREATE OR REPLACE FUNCTION bookings_amendment_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'changes of bookings are never deleted'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'bookings_amendment_kept';
    END IF;
    IF to_jsonb(NEW) - ARRAY['status', 'applied_at', 'closed_at'{more}]
            IS DISTINCT FROM to_jsonb(OLD) - ARRAY['status', 'applied_at', 'closed_at'{more}]{unless} THEN
        RAISE EXCEPTION 'change of a booking: only its state changes'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'bookings_amendment_fixed';
    END IF;
    RETURN NEW;
END $$;
"""
PROMO_USE = """
CREATE OR REPLACE FUNCTION bookings_promo_use_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR to_jsonb(NEW) - 'given_back_at'{more} IS DISTINCT FROM to_jsonb(OLD) - 'given_back_at'{more}{unless} THEN
        RAISE EXCEPTION 'uses of promo codes are kept as they are' USING ERRCODE = 'check_violation', CONSTRAINT = 'promo_use_kept';
    END IF;
    UPDATE bookings_promocode SET used = used
        + (CASE WHEN NEW.given_back_at IS NULL THEN 1 ELSE 0 END) - (CASE WHEN OLD.given_back_at IS NULL THEN 1 ELSE 0 END)
        WHERE id = NEW.promo_id AND (NEW.given_back_at IS NULL) IS DISTINCT FROM (OLD.given_back_at IS NULL);
    RETURN NEW;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("bookings", "0013_promo_code_rules")]
    operations = [
        erasable_append_only("bookings_bookingevent", data="""'{"erased": true}'::jsonb"""),
        erasable_append_only("bookings_cancellation", reason="''"),
        migrations.RunSQL(
            AMENDMENT.format(
                more=", 'reason'",
                unless="\n            OR NEW.reason IS DISTINCT FROM OLD.reason AND NEW.reason <> ''",
            ),
            AMENDMENT.format(more="", unless=""),
        ),
        migrations.RunSQL(
            PROMO_USE.format(
                more=" - 'customer'",
                unless="\n            OR NEW.customer <> OLD.customer AND NEW.customer <> 'erased:' || NEW.id",
            ),
            PROMO_USE.format(more="", unless=""),
        ),
    ]
