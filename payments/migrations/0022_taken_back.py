"""A booking knows what banks gave its customer back, so that no policy gives it a second time."""

from django.db import migrations

# A payment that came too late or twice is owed in full, whoever gives it back: it has nothing to do with the booking's policy.
TAKEN_BACK = """
    (SELECT COALESCE(sum(LEAST(p.captured_minor, (SELECT COALESCE(sum(d.amount_minor), 0) FROM payments_dispute d
            WHERE d.payment_id = p.id AND d.status = 'lost'))), 0)
        FROM payments_payment p WHERE p.booking_id = b.id AND NOT EXISTS (
            SELECT 1 FROM payments_refund r WHERE r.payment_id = p.id AND r.source = 'late_payment'))"""


class Migration(migrations.Migration):
    dependencies = [("payments", "0021_shared_payments"), ("bookings", "0009_taken_back")]
    operations = [
        migrations.RunSQL(
            f"""
            CREATE FUNCTION payments_dispute_taken_back() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                UPDATE bookings_booking b SET taken_back_minor = {TAKEN_BACK}
                    FROM payments_payment own WHERE own.id = NEW.payment_id AND b.id = own.booking_id;
                RETURN NULL;
            END $$;
            CREATE TRIGGER payments_dispute_taken_back AFTER INSERT OR UPDATE OF status, amount_minor ON payments_dispute
                FOR EACH ROW EXECUTE FUNCTION payments_dispute_taken_back();
            UPDATE bookings_booking b SET taken_back_minor = {TAKEN_BACK}
                WHERE EXISTS (SELECT 1 FROM payments_payment p JOIN payments_dispute d ON d.payment_id = p.id WHERE p.booking_id = b.id);
            """,  # noqa: S608 - the statement is ours
            "DROP TRIGGER payments_dispute_taken_back ON payments_dispute; DROP FUNCTION payments_dispute_taken_back();",
        )
    ]
