"""A booking knows what we hold of its customer's money; a payment for a change of a booking is for exactly that change."""

from django.db import migrations

# What went back, is on its way back, or a bank gave back for good is not ours; nor is a payment that came too late or twice: all of it
# is owed, whether or not its refund worked.
KEPT = """
    (SELECT COALESCE(sum(p.captured_minor - LEAST(p.captured_minor, p.reserved_minor + COALESCE(
            (SELECT sum(d.amount_minor) FROM payments_dispute d WHERE d.payment_id = p.id AND d.status = 'lost'), 0))), 0)
        FROM payments_payment p WHERE p.booking_id = b.id AND NOT EXISTS (
            SELECT 1 FROM payments_refund r WHERE r.payment_id = p.id AND r.source = 'late_payment'))"""

GIVEN_BACK = """
    (SELECT COALESCE(sum(LEAST(p.captured_minor, p.reserved_minor + COALESCE(
            (SELECT sum(d.amount_minor) FROM payments_dispute d WHERE d.payment_id = p.id AND d.status = 'lost'), 0))), 0)
        FROM payments_payment p WHERE p.booking_id = b.id)"""

BOOKING_KNOWS_WHAT_IS_KEPT = migrations.RunSQL(
    f"""
    DROP TRIGGER payments_dispute_given_back ON payments_dispute; DROP FUNCTION payments_dispute_given_back();
    DROP TRIGGER payments_booking_refunded ON payments_payment; DROP FUNCTION payments_booking_refunded();
    CREATE FUNCTION payments_booking_kept() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE bookings_booking b SET kept_minor = {KEPT} WHERE b.id = NEW.booking_id;
        RETURN NULL;
    END $$;
    CREATE TRIGGER payments_booking_kept AFTER UPDATE OF captured_minor, reserved_minor ON payments_payment
        FOR EACH ROW WHEN ((NEW.captured_minor, NEW.reserved_minor) IS DISTINCT FROM (OLD.captured_minor, OLD.reserved_minor))
        EXECUTE FUNCTION payments_booking_kept();
    CREATE FUNCTION payments_dispute_kept() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE bookings_booking b SET kept_minor = {KEPT}
            FROM payments_payment own WHERE own.id = NEW.payment_id AND b.id = own.booking_id;
        RETURN NULL;
    END $$;
    CREATE TRIGGER payments_dispute_kept AFTER INSERT OR UPDATE OF status, amount_minor ON payments_dispute
        FOR EACH ROW EXECUTE FUNCTION payments_dispute_kept();
    UPDATE bookings_booking b SET kept_minor = {KEPT}
        WHERE EXISTS (SELECT 1 FROM payments_payment p WHERE p.booking_id = b.id AND p.captured_minor > 0);
    """,  # noqa: S608 - the statement is ours
    f"""
    DROP TRIGGER payments_dispute_kept ON payments_dispute; DROP FUNCTION payments_dispute_kept();
    DROP TRIGGER payments_booking_kept ON payments_payment; DROP FUNCTION payments_booking_kept();
    CREATE FUNCTION payments_booking_refunded() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE bookings_booking b SET refunded_minor = {GIVEN_BACK} WHERE b.id = NEW.booking_id;
        RETURN NULL;
    END $$;
    CREATE TRIGGER payments_booking_refunded AFTER UPDATE OF reserved_minor ON payments_payment
        FOR EACH ROW WHEN (NEW.reserved_minor IS DISTINCT FROM OLD.reserved_minor)
        EXECUTE FUNCTION payments_booking_refunded();
    CREATE FUNCTION payments_dispute_given_back() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE bookings_booking b SET refunded_minor = {GIVEN_BACK}
            FROM payments_payment own WHERE own.id = NEW.payment_id AND b.id = own.booking_id;
        RETURN NULL;
    END $$;
    CREATE TRIGGER payments_dispute_given_back AFTER INSERT OR UPDATE OF status, amount_minor ON payments_dispute
        FOR EACH ROW EXECUTE FUNCTION payments_dispute_given_back();
    """,  # noqa: S608 - the statement is ours
)

PAYMENT_IS_FIXED = """
    CREATE OR REPLACE FUNCTION payments_payment_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF (NEW.booking_id, {new_amendment}NEW.provider, NEW.amount_minor, NEW.currency)
                IS DISTINCT FROM (OLD.booking_id, {old_amendment}OLD.provider, OLD.amount_minor, OLD.currency) THEN
            RAISE EXCEPTION 'payment: booking, change, provider, amount and currency are fixed at birth'
                USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_payment_fixed';
        END IF;
        IF OLD.captured_minor > 0 AND NEW.captured_minor <> OLD.captured_minor
                OR OLD.provider_ref IS NOT NULL AND NEW.provider_ref IS DISTINCT FROM OLD.provider_ref THEN
            RAISE EXCEPTION 'payment: what was captured, and under which reference, does not change'
                USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_payment_fixed';
        END IF;
        RETURN NEW;
    END $$;
"""

PAYMENT_FITS_AMENDMENT = migrations.RunSQL(
    """
    CREATE FUNCTION payments_payment_amendment() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NOT EXISTS (SELECT 1 FROM bookings_amendment a WHERE a.id = NEW.amendment_id AND a.booking_id = NEW.booking_id
                AND a.difference_minor = NEW.amount_minor AND a.currency = NEW.currency) THEN
            RAISE EXCEPTION 'payment: not the booking or the difference of change %', NEW.amendment_id
                USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_payment_amendment';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER payments_payment_amendment BEFORE INSERT ON payments_payment
        FOR EACH ROW WHEN (NEW.amendment_id IS NOT NULL) EXECUTE FUNCTION payments_payment_amendment();
    """,
    "DROP TRIGGER payments_payment_amendment ON payments_payment; DROP FUNCTION payments_payment_amendment();",
)


class Migration(migrations.Migration):
    dependencies = [("payments", "0017_payments_for_amendments")]
    operations = [
        BOOKING_KNOWS_WHAT_IS_KEPT,
        migrations.RunSQL(
            PAYMENT_IS_FIXED.format(new_amendment="NEW.amendment_id, ", old_amendment="OLD.amendment_id, "),
            PAYMENT_IS_FIXED.format(new_amendment="", old_amendment=""),
        ),
        PAYMENT_FITS_AMENDMENT,
    ]
