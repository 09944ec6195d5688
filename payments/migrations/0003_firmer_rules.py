"""The database holds more by itself: what is fixed at birth, whole ledger transactions, and a booking's refunded sum."""

from django.db import migrations

BOOKING_KNOWS_ITS_REFUNDS = migrations.RunSQL(
    """
    CREATE FUNCTION payments_booking_refunded() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE bookings_booking SET refunded_minor =
            (SELECT COALESCE(sum(p.reserved_minor), 0) FROM payments_payment p WHERE p.booking_id = NEW.booking_id)
            WHERE id = NEW.booking_id;
        RETURN NULL;
    END $$;
    CREATE TRIGGER payments_booking_refunded AFTER UPDATE OF reserved_minor ON payments_payment
        FOR EACH ROW WHEN (NEW.reserved_minor IS DISTINCT FROM OLD.reserved_minor)
        EXECUTE FUNCTION payments_booking_refunded();
    UPDATE bookings_booking b SET refunded_minor = s.total FROM (
        SELECT booking_id, sum(reserved_minor) AS total FROM payments_payment GROUP BY booking_id) s
        WHERE s.booking_id = b.id AND s.total > 0;
    """,
    "DROP TRIGGER payments_booking_refunded ON payments_payment; DROP FUNCTION payments_booking_refunded();",
)

PAYMENT_IS_FIXED = migrations.RunSQL(
    """
    CREATE FUNCTION payments_payment_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF (NEW.booking_id, NEW.provider, NEW.amount_minor, NEW.currency)
                IS DISTINCT FROM (OLD.booking_id, OLD.provider, OLD.amount_minor, OLD.currency) THEN
            RAISE EXCEPTION 'payment: booking, provider, amount and currency are fixed at birth'
                USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_payment_fixed';
        END IF;
        IF OLD.captured_minor > 0 AND NEW.captured_minor <> OLD.captured_minor
                OR OLD.provider_ref IS NOT NULL AND NEW.provider_ref IS DISTINCT FROM OLD.provider_ref THEN
            RAISE EXCEPTION 'payment: what was captured, and under which reference, does not change'
                USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_payment_fixed';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER payments_payment_fixed BEFORE UPDATE ON payments_payment
        FOR EACH ROW EXECUTE FUNCTION payments_payment_fixed();
    """,
    "DROP TRIGGER payments_payment_fixed ON payments_payment; DROP FUNCTION payments_payment_fixed();",
)


class Migration(migrations.Migration):
    dependencies = [("payments", "0002_rules"), ("bookings", "0003_booking_refunded")]
    operations = [BOOKING_KNOWS_ITS_REFUNDS, PAYMENT_IS_FIXED]
