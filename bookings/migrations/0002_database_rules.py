"""What PostgreSQL itself refuses: overselling, illegal states, a rewritten timeline."""

from django.db import migrations

from foundation.transitions import append_only_trigger, transition_trigger

TRANSITIONS = {
    "held": {"confirmed", "expired", "cancelled"},
    "confirmed": {"arrived", "cancelled", "no_show"},
    "arrived": {"completed"},
    "completed": set(),
    "expired": {"confirmed"},
    "cancelled": set(),
    "no_show": set(),
}

PERIOD_FORM = """
ALTER TABLE bookings_occupancy ADD CONSTRAINT occupancy_period_half_open
    CHECK (lower_inc(period) AND NOT upper_inc(period));
"""

# The most spaces taken at any one instant of `during`: +1 where a stay begins, -1 where it ends, a running sum by time. At one
# instant the ends come before the starts, so that a space can be sold again from the minute in which it becomes free.
PEAK = """
CREATE FUNCTION bookings_peak(of_pool bigint, during tstzrange, except_id bigint DEFAULT 0) RETURNS integer
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT COALESCE(max(running), 0)::integer
    FROM (
        SELECT sum(step) OVER (ORDER BY at, step) AS running
        FROM bookings_occupancy AS o
        CROSS JOIN LATERAL (
            VALUES (greatest(lower(o.period), lower(during)), 1), (upper(o.period), -1)
        ) AS steps (at, step)
        WHERE o.pool_id = of_pool AND o.released_at IS NULL AND o.period && during AND o.id <> except_id
    ) AS sums
$$;
"""

# Makes the missing gates of a span. Takes the pool before any gate, as a capacity edit does, so that the two cannot deadlock,
# and an edit under way is waited for: it could not lock a gate that did not exist yet.
ENSURE_GATES = """
CREATE FUNCTION bookings_ensure_gates(of_pool bigint, first_day date, last_day date) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT count(*) FROM bookings_capacitygate WHERE pool_id = of_pool AND utc_day BETWEEN first_day AND last_day)
        = last_day - first_day + 1 THEN
        RETURN;
    END IF;
    PERFORM 1 FROM bookings_pool WHERE id = of_pool FOR SHARE;
    INSERT INTO bookings_capacitygate (pool_id, utc_day, touch)
    SELECT of_pool, day::date, 0
    FROM generate_series(first_day::timestamp, last_day::timestamp, interval '1 day') AS day
    ORDER BY day
    ON CONFLICT (pool_id, utc_day) DO NOTHING;
END $$;
"""

# READ COMMITTED gives each statement of this function a new snapshot: the capacity and the sweep are read after the lock.
GATE = """
CREATE FUNCTION bookings_occupancy_gate() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    was_live boolean := false;
    is_live boolean := false;
    old_first date;
    old_last date;
    new_first date;
    new_last date;
    room integer;
    is_open boolean;
    full_first date;
    full_last date;
    peak integer;
BEGIN
    IF TG_OP <> 'INSERT' THEN
        was_live := OLD.released_at IS NULL;
        old_first := (lower(OLD.period) AT TIME ZONE 'UTC')::date;
        old_last := ((upper(OLD.period) - interval '1 microsecond') AT TIME ZONE 'UTC')::date;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        is_live := NEW.released_at IS NULL;
        IF isempty(NEW.period) OR lower_inf(NEW.period) OR upper_inf(NEW.period) THEN
            RETURN NEW;  -- the check constraint refuses it
        END IF;
        new_first := (lower(NEW.period) AT TIME ZONE 'UTC')::date;
        new_last := ((upper(NEW.period) - interval '1 microsecond') AT TIME ZONE 'UTC')::date;
    END IF;
    IF TG_OP = 'UPDATE' AND was_live = is_live AND (
        NOT is_live OR (OLD.pool_id = NEW.pool_id AND OLD.period = NEW.period)
    ) THEN
        RETURN NEW;
    END IF;

    IF is_live THEN
        PERFORM bookings_ensure_gates(NEW.pool_id, new_first, new_last);
    END IF;
    PERFORM 1 FROM bookings_capacitygate
        WHERE (is_live AND pool_id = NEW.pool_id AND utc_day BETWEEN new_first AND new_last)
            OR (was_live AND pool_id = OLD.pool_id AND utc_day BETWEEN old_first AND old_last)
        ORDER BY pool_id, utc_day
        FOR NO KEY UPDATE;

    IF was_live THEN
        UPDATE bookings_capacitygate SET touch = touch - 1
            WHERE pool_id = OLD.pool_id AND utc_day BETWEEN old_first AND old_last;
    END IF;
    IF NOT is_live THEN
        RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
    END IF;

    SELECT p.capacity, c.is_open INTO room, is_open
        FROM bookings_pool AS p JOIN bookings_carpark AS c ON c.id = p.car_park_id WHERE p.id = NEW.pool_id;
    IF NOT was_live AND NOT is_open THEN
        RAISE EXCEPTION 'the car park of pool % is closed', NEW.pool_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'car_park_closed';
    END IF;
    SELECT min(utc_day), max(utc_day) INTO full_first, full_last
        FROM bookings_capacitygate
        WHERE pool_id = NEW.pool_id AND utc_day BETWEEN new_first AND new_last AND touch >= room;
    IF full_first IS NOT NULL THEN
        peak := bookings_peak(
            NEW.pool_id,
            NEW.period * tstzrange(full_first::timestamp AT TIME ZONE 'UTC', (full_last + 1)::timestamp AT TIME ZONE 'UTC'),
            NEW.id
        );
        IF peak >= room THEN
            RAISE EXCEPTION 'pool % is full', NEW.pool_id
                USING ERRCODE = 'check_violation', CONSTRAINT = 'car_park_full';
        END IF;
    END IF;
    UPDATE bookings_capacitygate SET touch = touch + 1
        WHERE pool_id = NEW.pool_id AND utc_day BETWEEN new_first AND new_last;
    RETURN NEW;
END $$;
CREATE TRIGGER bookings_occupancy_gate BEFORE INSERT OR UPDATE OR DELETE ON bookings_occupancy
    FOR EACH ROW EXECUTE FUNCTION bookings_occupancy_gate();
"""

CAPACITY_EDIT = """
CREATE FUNCTION bookings_pool_capacity_edit() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    sold integer;
BEGIN
    IF NEW.capacity >= OLD.capacity THEN
        RETURN NEW;
    END IF;
    PERFORM 1 FROM bookings_capacitygate WHERE pool_id = NEW.id AND utc_day >= today
        ORDER BY pool_id, utc_day FOR NO KEY UPDATE;
    sold := bookings_peak(NEW.id, tstzrange(now(), NULL));
    IF NEW.capacity < sold THEN
        RAISE EXCEPTION 'pool % has sold % spaces at its busiest moment; its capacity cannot be %', NEW.id, sold, NEW.capacity
            USING ERRCODE = 'check_violation', CONSTRAINT = 'pool_capacity_covers_sold';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER bookings_pool_capacity_edit BEFORE UPDATE OF capacity ON bookings_pool
    FOR EACH ROW EXECUTE FUNCTION bookings_pool_capacity_edit();
"""

# A gate that counts live stays must stay: without it the next stay would start counting from nought.
GATE_GUARD = """
CREATE FUNCTION bookings_capacitygate_guard() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.touch <> 0 THEN
        RAISE EXCEPTION 'the gate of pool % on % counts live stays', OLD.pool_id, OLD.utc_day
            USING ERRCODE = 'check_violation', CONSTRAINT = 'capacity_gate_in_use';
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER bookings_capacitygate_guard BEFORE DELETE ON bookings_capacitygate
    FOR EACH ROW EXECUTE FUNCTION bookings_capacitygate_guard();
"""

# `enough` saves the sweep: when the day gates alone prove that many, the answer is that lower bound instead of the exact number.
SPACES_LEFT = """
CREATE FUNCTION spaces_left(of_pool bigint, start_at timestamptz, end_at timestamptz, enough integer DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    room integer;
    is_open boolean;
    busiest integer;
BEGIN
    SELECT p.capacity, c.is_open INTO room, is_open
        FROM bookings_pool AS p JOIN bookings_carpark AS c ON c.id = p.car_park_id WHERE p.id = of_pool;
    IF NOT FOUND OR NOT is_open OR end_at <= start_at THEN
        RETURN 0;
    END IF;
    SELECT COALESCE(max(touch), 0) INTO busiest FROM bookings_capacitygate
        WHERE pool_id = of_pool
            AND utc_day BETWEEN (start_at AT TIME ZONE 'UTC')::date
            AND ((end_at - interval '1 microsecond') AT TIME ZONE 'UTC')::date;
    IF busiest = 0 OR room - busiest >= enough THEN
        RETURN room - busiest;
    END IF;
    RETURN greatest(room - bookings_peak(of_pool, tstzrange(start_at, end_at)), 0);
END $$;
"""

# The lock is per customer, so that parallel requests cannot pass the cap together. Far below the cap nobody waits.
OPEN_HOLDS = """
CREATE FUNCTION bookings_open_holds(customer bigint, email text, at timestamptz, cap integer) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    open_holds integer;
BEGIN
    IF cap <= 50 THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('hold:' || lower(email), 0));
        IF customer IS NOT NULL THEN
            PERFORM pg_advisory_xact_lock(hashtextextended('hold of user:' || customer, 0));
        END IF;
    END IF;
    SELECT count(*) INTO open_holds FROM bookings_booking
        WHERE status = 'held' AND hold_expires_at > at AND (user_id = customer OR lower(driver_email) = lower(email));
    RETURN open_holds;
END $$;
"""

# A booking that promises a space has exactly that space, and one that ended has none: judged at commit, from either table.
BOOKING_SPACE = """
CREATE FUNCTION bookings_space_agrees() RETURNS trigger
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
            WHERE o.booking_id = booking.id AND o.released_at IS NULL AND o.pool_id = booking.pool_id
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
CREATE CONSTRAINT TRIGGER bookings_booking_space AFTER INSERT OR UPDATE OF status, pool_id, start_at, end_at
    ON bookings_booking DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION bookings_space_agrees();
CREATE CONSTRAINT TRIGGER bookings_occupancy_space AFTER UPDATE OR DELETE
    ON bookings_occupancy DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION bookings_space_agrees();
"""

PRODUCT_POOL = """
CREATE FUNCTION bookings_product_pool() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM bookings_pool WHERE id = NEW.pool_id AND car_park_id = NEW.car_park_id) THEN
        RAISE EXCEPTION 'pool % is not in car park %', NEW.pool_id, NEW.car_park_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'product_pool_in_car_park';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER bookings_product_pool BEFORE INSERT OR UPDATE OF pool_id, car_park_id ON bookings_product
    FOR EACH ROW EXECUTE FUNCTION bookings_product_pool();
"""


class Migration(migrations.Migration):
    dependencies = [("bookings", "0001_initial")]
    operations = [
        migrations.RunSQL(
            PERIOD_FORM, "ALTER TABLE bookings_occupancy DROP CONSTRAINT occupancy_period_half_open;"
        ),
        migrations.RunSQL(PEAK, "DROP FUNCTION bookings_peak(bigint, tstzrange, bigint);"),
        migrations.RunSQL(ENSURE_GATES, "DROP FUNCTION bookings_ensure_gates(bigint, date, date);"),
        migrations.RunSQL(
            GATE,
            "DROP TRIGGER bookings_occupancy_gate ON bookings_occupancy; DROP FUNCTION bookings_occupancy_gate();",
        ),
        migrations.RunSQL(
            CAPACITY_EDIT,
            "DROP TRIGGER bookings_pool_capacity_edit ON bookings_pool; DROP FUNCTION bookings_pool_capacity_edit();",
        ),
        migrations.RunSQL(
            GATE_GUARD,
            "DROP TRIGGER bookings_capacitygate_guard ON bookings_capacitygate;"
            "DROP FUNCTION bookings_capacitygate_guard();",
        ),
        migrations.RunSQL(
            SPACES_LEFT, "DROP FUNCTION spaces_left(bigint, timestamptz, timestamptz, integer);"
        ),
        migrations.RunSQL(
            OPEN_HOLDS, "DROP FUNCTION bookings_open_holds(bigint, text, timestamptz, integer);"
        ),
        migrations.RunSQL(
            BOOKING_SPACE,
            "DROP TRIGGER bookings_booking_space ON bookings_booking;"
            "DROP TRIGGER bookings_occupancy_space ON bookings_occupancy; DROP FUNCTION bookings_space_agrees();",
        ),
        migrations.RunSQL(
            PRODUCT_POOL,
            "DROP TRIGGER bookings_product_pool ON bookings_product; DROP FUNCTION bookings_product_pool();",
        ),
        transition_trigger("bookings_booking", TRANSITIONS, initial={"held"}),
        append_only_trigger("bookings_bookingevent"),
    ]
