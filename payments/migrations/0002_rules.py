"""What PostgreSQL itself refuses, whoever writes: transitions, refunds beyond the capture, unbalanced or altered ledgers."""

from django.db import migrations

from foundation.transitions import append_only_trigger, transition_trigger
from payments.models.payment import PAYMENT_TRANSITIONS
from payments.models.refund import REFUND_TRANSITIONS

CURRENCY_OF_BOOKING = migrations.RunSQL(
    """
    CREATE FUNCTION payments_payment_currency() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NOT EXISTS (SELECT 1 FROM bookings_booking b WHERE b.id = NEW.booking_id AND b.currency = NEW.currency) THEN
            RAISE EXCEPTION 'payment: the currency % is not the booking''s', NEW.currency
                USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_payment_currency';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER payments_payment_currency BEFORE INSERT OR UPDATE OF currency, booking_id ON payments_payment
        FOR EACH ROW EXECUTE FUNCTION payments_payment_currency();
    """,
    "DROP TRIGGER payments_payment_currency ON payments_payment; DROP FUNCTION payments_payment_currency();",
)

# The check reserved <= captured on the payment row then refuses the refund that would be too much, also in parallel:
# the UPDATE waits for the row lock and sees the newest row.
REFUND_RESERVES = migrations.RunSQL(
    """
    CREATE FUNCTION payments_refund_reserve() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'INSERT' THEN
            UPDATE payments_payment SET reserved_minor = reserved_minor + NEW.amount_minor
                WHERE id = NEW.payment_id AND currency = NEW.currency;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'refund: the currency % is not the payment''s', NEW.currency
                    USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_refund_currency';
            END IF;
        ELSIF TG_OP = 'DELETE' THEN
            RAISE EXCEPTION 'refunds are never deleted'
                USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_refund_kept';
        ELSE
            IF (NEW.amount_minor, NEW.currency, NEW.payment_id) IS DISTINCT FROM (OLD.amount_minor, OLD.currency, OLD.payment_id) THEN
                RAISE EXCEPTION 'refund: amount, currency and payment are fixed at birth'
                    USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_refund_frozen';
            END IF;
            IF NEW.status IS DISTINCT FROM OLD.status THEN
                UPDATE payments_payment SET
                    refunded_minor = refunded_minor + NEW.amount_minor
                        * ((NEW.status = 'succeeded')::int - (OLD.status = 'succeeded')::int),
                    reserved_minor = reserved_minor - NEW.amount_minor * (NEW.status IN ('failed', 'cancelled'))::int
                WHERE id = NEW.payment_id AND (NEW.status IN ('succeeded', 'failed', 'cancelled'));
            END IF;
        END IF;
        RETURN COALESCE(NEW, OLD);
    END $$;
    CREATE TRIGGER payments_refund_reserve AFTER INSERT OR UPDATE OR DELETE ON payments_refund
        FOR EACH ROW EXECUTE FUNCTION payments_refund_reserve();
    """,
    "DROP TRIGGER payments_refund_reserve ON payments_refund; DROP FUNCTION payments_refund_reserve();",
)

# Checked at commit, on both tables: a transaction without entries is as wrong as one that does not balance.
LEDGER_BALANCES = migrations.RunSQL(
    """
    CREATE FUNCTION payments_ledger_balance() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE subject bigint;
    BEGIN
        IF TG_TABLE_NAME = 'payments_ledgerentry' THEN subject := NEW.transaction_id; ELSE subject := NEW.id; END IF;
        IF NOT EXISTS (SELECT 1 FROM payments_ledgerentry e WHERE e.transaction_id = subject)
            OR EXISTS (SELECT 1 FROM payments_ledgerentry e WHERE e.transaction_id = subject
                       GROUP BY e.currency HAVING sum(e.amount_minor) <> 0) THEN
            RAISE EXCEPTION 'ledger transaction % does not add up to zero', subject
                USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_ledger_balance';
        END IF;
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER payments_ledger_balance AFTER INSERT ON payments_ledgertransaction
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION payments_ledger_balance();
    CREATE CONSTRAINT TRIGGER payments_ledger_balance AFTER INSERT ON payments_ledgerentry
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION payments_ledger_balance();
    """,
    """
    DROP TRIGGER payments_ledger_balance ON payments_ledgertransaction;
    DROP TRIGGER payments_ledger_balance ON payments_ledgerentry; DROP FUNCTION payments_ledger_balance();
    """,
)


class Migration(migrations.Migration):
    dependencies = [("payments", "0001_initial")]
    operations = [
        transition_trigger("payments_payment", PAYMENT_TRANSITIONS, initial={"created"}),
        transition_trigger("payments_refund", REFUND_TRANSITIONS, initial={"requested", "submitted"}),
        CURRENCY_OF_BOOKING,
        REFUND_RESERVES,
        append_only_trigger("payments_ledgertransaction"),
        append_only_trigger("payments_ledgerentry"),
        LEDGER_BALANCES,
    ]
