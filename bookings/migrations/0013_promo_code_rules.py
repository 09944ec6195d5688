"""PostgreSQL counts the uses of promo codes: never one too many, given back when a hold lapses or a booking is cancelled."""

from django.db import migrations

TAKE = """
CREATE FUNCTION bookings_promo_use_taken() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    code bookings_promocode%ROWTYPE;
BEGIN
    IF NEW.given_back_at IS NOT NULL THEN
        RAISE EXCEPTION 'a use of a promo code is born taken' USING ERRCODE = 'check_violation', CONSTRAINT = 'promo_use_born_taken';
    END IF;
    SELECT * INTO code FROM bookings_promocode WHERE id = NEW.promo_id FOR UPDATE;
    IF code.max_uses IS NOT NULL AND code.used >= code.max_uses THEN
        RAISE EXCEPTION 'promo code % is used up', code.code USING ERRCODE = 'check_violation', CONSTRAINT = 'promo_code_used_up';
    END IF;
    IF code.max_uses_per_customer IS NOT NULL AND (
        SELECT count(*) FROM bookings_promouse
        WHERE promo_id = NEW.promo_id AND customer = NEW.customer AND given_back_at IS NULL
    ) >= code.max_uses_per_customer THEN
        RAISE EXCEPTION 'promo code %: this customer used it', code.code
            USING ERRCODE = 'check_violation', CONSTRAINT = 'promo_code_used_by_customer';
    END IF;
    UPDATE bookings_promocode SET used = used + 1 WHERE id = NEW.promo_id;
    RETURN NEW;
END $$;
CREATE TRIGGER bookings_promo_use_taken BEFORE INSERT ON bookings_promouse
    FOR EACH ROW EXECUTE FUNCTION bookings_promo_use_taken();

CREATE FUNCTION bookings_promo_use_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR to_jsonb(NEW) - 'given_back_at' IS DISTINCT FROM to_jsonb(OLD) - 'given_back_at' THEN
        RAISE EXCEPTION 'uses of promo codes are kept as they are' USING ERRCODE = 'check_violation', CONSTRAINT = 'promo_use_kept';
    END IF;
    UPDATE bookings_promocode SET used = used
        + (CASE WHEN NEW.given_back_at IS NULL THEN 1 ELSE 0 END) - (CASE WHEN OLD.given_back_at IS NULL THEN 1 ELSE 0 END)
        WHERE id = NEW.promo_id AND (NEW.given_back_at IS NULL) IS DISTINCT FROM (OLD.given_back_at IS NULL);
    RETURN NEW;
END $$;
CREATE TRIGGER bookings_promo_use_kept BEFORE UPDATE OR DELETE ON bookings_promouse
    FOR EACH ROW EXECUTE FUNCTION bookings_promo_use_kept();
"""

# Money that came after the hold had lapsed confirms at the promised price, so its use is taken again, over the limit if need be.
FOLLOW = """
CREATE FUNCTION bookings_promo_use_follows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status IN ('expired', 'cancelled') THEN
        UPDATE bookings_promouse SET given_back_at = COALESCE(NEW.cancelled_at, NEW.expired_at, now())
            WHERE booking_id = NEW.id AND given_back_at IS NULL;
    ELSIF OLD.status = 'expired' THEN
        UPDATE bookings_promouse SET given_back_at = NULL WHERE booking_id = NEW.id AND given_back_at IS NOT NULL;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER bookings_promo_use_follows AFTER UPDATE OF status ON bookings_booking
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION bookings_promo_use_follows();
"""


class Migration(migrations.Migration):
    dependencies = [("bookings", "0012_promo_codes")]
    operations = [
        migrations.RunSQL(
            TAKE,
            "DROP TRIGGER bookings_promo_use_taken ON bookings_promouse; DROP FUNCTION bookings_promo_use_taken();"
            "DROP TRIGGER bookings_promo_use_kept ON bookings_promouse; DROP FUNCTION bookings_promo_use_kept();",
        ),
        migrations.RunSQL(
            FOLLOW,
            "DROP TRIGGER bookings_promo_use_follows ON bookings_booking; DROP FUNCTION bookings_promo_use_follows();",
        ),
    ]
