"""What a bank gave the customer for good counts as given back, so that a cancellation promises it no second time."""

from django.db import migrations

GIVEN_BACK = """
    (SELECT COALESCE(sum(LEAST(p.captured_minor, p.reserved_minor + COALESCE(
            (SELECT sum(d.amount_minor) FROM payments_dispute d WHERE d.payment_id = p.id AND d.status = 'lost'), 0))), 0)
        FROM payments_payment p WHERE p.booking_id = b.id)"""

LOST_DISPUTES_COUNT = migrations.RunSQL(
    f"""
    CREATE OR REPLACE FUNCTION payments_booking_refunded() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE bookings_booking b SET refunded_minor = {GIVEN_BACK} WHERE b.id = NEW.booking_id;
        RETURN NULL;
    END $$;
    CREATE FUNCTION payments_dispute_given_back() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE bookings_booking b SET refunded_minor = {GIVEN_BACK}
            FROM payments_payment own WHERE own.id = NEW.payment_id AND b.id = own.booking_id;
        RETURN NULL;
    END $$;
    CREATE TRIGGER payments_dispute_given_back AFTER INSERT OR UPDATE OF status, amount_minor ON payments_dispute
        FOR EACH ROW EXECUTE FUNCTION payments_dispute_given_back();
    """,  # noqa: S608 - the statement is ours
    """
    DROP TRIGGER payments_dispute_given_back ON payments_dispute; DROP FUNCTION payments_dispute_given_back();
    CREATE OR REPLACE FUNCTION payments_booking_refunded() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE bookings_booking SET refunded_minor =
            (SELECT COALESCE(sum(p.reserved_minor), 0) FROM payments_payment p WHERE p.booking_id = NEW.booking_id)
            WHERE id = NEW.booking_id;
        RETURN NULL;
    END $$;
    """,
)


class Migration(migrations.Migration):
    dependencies = [("payments", "0011_payment_provider_choices")]
    operations = [LOST_DISPUTES_COUNT]
