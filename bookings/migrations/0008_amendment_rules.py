"""What PostgreSQL holds about changes of bookings: transitions, what is fixed at birth, and that each has the space it needs."""

from django.db import migrations

from foundation.transitions import transition_trigger

TRANSITIONS = {
    "held": {"applied", "expired", "cancelled"},
    "applied": set(),
    "expired": {"applied"},
    "cancelled": set(),
}

FIXED = """
CREATE FUNCTION bookings_amendment_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'changes of bookings are never deleted'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'bookings_amendment_kept';
    END IF;
    IF to_jsonb(NEW) - ARRAY['status', 'applied_at', 'closed_at']
            IS DISTINCT FROM to_jsonb(OLD) - ARRAY['status', 'applied_at', 'closed_at'] THEN
        RAISE EXCEPTION 'change of a booking: only its state changes'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'bookings_amendment_fixed';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER bookings_amendment_fixed BEFORE UPDATE OR DELETE ON bookings_amendment
    FOR EACH ROW EXECUTE FUNCTION bookings_amendment_fixed();
"""

# The stay's own space is the row without a change; the rows of a change are the extra time that waits for payment.
BOOKING_SPACE = """
CREATE OR REPLACE FUNCTION bookings_space_agrees() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    subject bigint;
    booking bookings_booking%ROWTYPE;
    has_space boolean;
BEGIN
    IF TG_TABLE_NAME = 'bookings_booking' THEN
        subject := NEW.id;
    ELSE
        subject := OLD.booking_id;
    END IF;
    SELECT * INTO booking FROM bookings_booking WHERE id = subject;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF booking.status IN ('held', 'confirmed', 'arrived') THEN
        SELECT EXISTS (
            SELECT 1 FROM bookings_occupancy AS o
            WHERE o.booking_id = booking.id AND o.released_at IS NULL AND o.pool_id = booking.pool_id{own_row}
                AND o.period = tstzrange(booking.start_at, booking.end_at)
        ) INTO has_space;
        IF NOT has_space THEN
            RAISE EXCEPTION 'booking % is % without its space', booking.reference, booking.status
                USING ERRCODE = 'check_violation', CONSTRAINT = 'booking_has_its_space';
        END IF;
    ELSIF booking.status IN ('expired', 'cancelled') THEN
        SELECT EXISTS (
            SELECT 1 FROM bookings_occupancy AS o WHERE o.booking_id = booking.id AND o.released_at IS NULL
        ) INTO has_space;
        IF has_space THEN
            RAISE EXCEPTION 'booking % is % and still takes a space', booking.reference, booking.status
                USING ERRCODE = 'check_violation', CONSTRAINT = 'booking_gave_its_space_back';
        END IF;
    END IF;
    RETURN NULL;
END $$;
"""

# Judged at commit, from either table: the space of the stay and that of a held change cover the new stay without a gap, and a change
# that is not held takes none.
AMENDMENT_SPACE = """
CREATE FUNCTION bookings_amendment_space() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    subject bigint;
    amendment bookings_amendment%ROWTYPE;
    covered boolean;
BEGIN
    subject := CASE WHEN TG_OP = 'DELETE' THEN OLD.booking_id ELSE NEW.booking_id END;
    FOR amendment IN SELECT * FROM bookings_amendment WHERE booking_id = subject LOOP
        IF amendment.status = 'held' THEN
            SELECT COALESCE(range_agg(o.period), '{}'::tstzmultirange)
                    @> tstzrange(amendment.new_start_at, amendment.new_end_at)
                INTO covered FROM bookings_occupancy AS o WHERE o.booking_id = subject AND o.released_at IS NULL;
            IF NOT covered THEN
                RAISE EXCEPTION 'change % is held without its space', amendment.id
                    USING ERRCODE = 'check_violation', CONSTRAINT = 'amendment_has_its_space';
            END IF;
        ELSIF EXISTS (SELECT 1 FROM bookings_occupancy AS o
                WHERE o.amendment_id = amendment.id AND o.released_at IS NULL) THEN
            RAISE EXCEPTION 'change % is % and still takes a space', amendment.id, amendment.status
                USING ERRCODE = 'check_violation', CONSTRAINT = 'amendment_gave_its_space_back';
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER bookings_amendment_space AFTER INSERT OR UPDATE OF status
    ON bookings_amendment DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION bookings_amendment_space();
CREATE CONSTRAINT TRIGGER bookings_occupancy_amendment AFTER UPDATE OR DELETE
    ON bookings_occupancy DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION bookings_amendment_space();
CREATE CONSTRAINT TRIGGER bookings_occupancy_of_amendment AFTER INSERT
    ON bookings_occupancy DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.amendment_id IS NOT NULL)
    EXECUTE FUNCTION bookings_amendment_space();
"""

# Several rows of one booking change in one transaction: taking all their days first, in order, keeps two of them from waiting for
# each other.
LOCK_GATES = """
CREATE FUNCTION bookings_lock_gates(of_pool bigint, first_at timestamptz, last_at timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    first_day date := (first_at AT TIME ZONE 'UTC')::date;
    last_day date := ((last_at - interval '1 microsecond') AT TIME ZONE 'UTC')::date;
BEGIN
    PERFORM bookings_ensure_gates(of_pool, first_day, last_day);
    PERFORM 1 FROM bookings_capacitygate WHERE pool_id = of_pool AND utc_day BETWEEN first_day AND last_day
        ORDER BY utc_day FOR NO KEY UPDATE;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("bookings", "0007_amendments")]
    operations = [
        transition_trigger("bookings_amendment", TRANSITIONS, initial={"held", "applied"}),
        migrations.RunSQL(
            FIXED,
            "DROP TRIGGER bookings_amendment_fixed ON bookings_amendment; DROP FUNCTION bookings_amendment_fixed();",
        ),
        migrations.RunSQL(
            BOOKING_SPACE.replace("{own_row}", " AND o.amendment_id IS NULL"),
            BOOKING_SPACE.replace("{own_row}", ""),
        ),
        migrations.RunSQL(
            AMENDMENT_SPACE,
            "DROP TRIGGER bookings_amendment_space ON bookings_amendment;"
            "DROP TRIGGER bookings_occupancy_amendment ON bookings_occupancy;"
            "DROP TRIGGER bookings_occupancy_of_amendment ON bookings_occupancy; DROP FUNCTION bookings_amendment_space();",
        ),
        migrations.RunSQL(LOCK_GATES, "DROP FUNCTION bookings_lock_gates(bigint, timestamptz, timestamptz);"),
    ]
