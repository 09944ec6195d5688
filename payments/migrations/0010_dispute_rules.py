"""What PostgreSQL holds about disputes: transitions, the payment's disputed amount, and no refund of ours while a bank has the money."""

from django.db import migrations

from foundation.transitions import transition_trigger
from payments.models.dispute import DISPUTE_TRANSITIONS

DISPUTE_COUNTS = migrations.RunSQL(
    """
    CREATE FUNCTION payments_dispute_counts() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'DELETE' THEN
            RAISE EXCEPTION 'disputes are never deleted'
                USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_dispute_kept';
        END IF;
        IF TG_OP = 'UPDATE' AND (NEW.payment_id, NEW.provider, NEW.provider_ref, NEW.currency)
                IS DISTINCT FROM (OLD.payment_id, OLD.provider, OLD.provider_ref, OLD.currency) THEN
            RAISE EXCEPTION 'dispute: payment, provider, reference and currency are fixed at birth'
                USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_dispute_fixed';
        END IF;
        UPDATE payments_payment p SET disputed_minor = LEAST(p.captured_minor, (
                SELECT COALESCE(sum(d.amount_minor), 0) FROM payments_dispute d
                WHERE d.payment_id = p.id AND d.status IN ('needs_response', 'under_review', 'lost')))
            WHERE p.id = NEW.payment_id AND p.currency = NEW.currency;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'dispute: the currency % is not the payment''s', NEW.currency
                USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_dispute_currency';
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER payments_dispute_counts AFTER INSERT OR UPDATE OR DELETE ON payments_dispute
        FOR EACH ROW EXECUTE FUNCTION payments_dispute_counts();
    """,
    "DROP TRIGGER payments_dispute_counts ON payments_dispute; DROP FUNCTION payments_dispute_counts();",
)

# What was refunded at the provider has happened, whatever we think of it.
NO_REFUND_WHILE_DISPUTED = migrations.RunSQL(
    """
    CREATE FUNCTION payments_refund_undisputed() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.source <> 'external' AND EXISTS (SELECT 1 FROM payments_dispute d WHERE d.payment_id = NEW.payment_id
                AND d.status IN ('needs_response', 'under_review')) THEN
            RAISE EXCEPTION 'refund: a bank holds this payment''s money in a dispute'
                USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_refund_undisputed';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER payments_refund_undisputed BEFORE INSERT ON payments_refund
        FOR EACH ROW EXECUTE FUNCTION payments_refund_undisputed();
    """,
    "DROP TRIGGER payments_refund_undisputed ON payments_refund; DROP FUNCTION payments_refund_undisputed();",
)


class Migration(migrations.Migration):
    dependencies = [("payments", "0009_disputes")]
    operations = [
        transition_trigger("payments_dispute", DISPUTE_TRANSITIONS, initial=set(DISPUTE_TRANSITIONS)),
        DISPUTE_COUNTS,
        NO_REFUND_WHILE_DISPUTED,
    ]
