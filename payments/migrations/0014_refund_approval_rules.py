"""What PostgreSQL holds about refunds besides the sums: who approved them is fixed, none is sent into a dispute, a retry has a failure."""

from django.db import migrations

REFUND_CONTROL = migrations.RunSQL(
    """
    CREATE FUNCTION payments_refund_control() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'INSERT' THEN
            IF NEW.approved_by_id IS NOT NULL THEN
                RAISE EXCEPTION 'refund: none is born approved'
                    USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_refund_control';
            END IF;
            IF NEW.retries_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM payments_refund r WHERE r.id = NEW.retries_id
                    AND r.payment_id = NEW.payment_id AND r.status IN ('failed', 'cancelled')) THEN
                RAISE EXCEPTION 'refund: it can take the place only of one of the same payment that failed or was cancelled'
                    USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_refund_control';
            END IF;
            RETURN NEW;
        END IF;
        IF (NEW.needs_approval, NEW.requested_by_id, NEW.retries_id, NEW.source)
                IS DISTINCT FROM (OLD.needs_approval, OLD.requested_by_id, OLD.retries_id, OLD.source) THEN
            RAISE EXCEPTION 'refund: who asked for it, why, and whether it needs a second person are fixed at birth'
                USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_refund_control';
        END IF;
        IF (NEW.approved_by_id, NEW.approved_at) IS DISTINCT FROM (OLD.approved_by_id, OLD.approved_at)
                AND (OLD.approved_by_id IS NOT NULL OR OLD.status <> 'requested') THEN
            RAISE EXCEPTION 'refund: it is approved once, before it is sent'
                USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_refund_control';
        END IF;
        IF OLD.status = 'requested' AND NEW.status = 'submitted' AND EXISTS (SELECT 1 FROM payments_dispute d
                WHERE d.payment_id = NEW.payment_id AND d.status IN ('needs_response', 'under_review')) THEN
            RAISE EXCEPTION 'refund: a bank holds this payment''s money in a dispute'
                USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_refund_undisputed';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER payments_refund_control BEFORE INSERT OR UPDATE ON payments_refund
        FOR EACH ROW EXECUTE FUNCTION payments_refund_control();
    """,
    "DROP TRIGGER payments_refund_control ON payments_refund; DROP FUNCTION payments_refund_control();",
)


# A refund that was paid another way leaves the provider's balance alone: the debit is what every document has.
DOCUMENT_OF_ANY_PAYER = migrations.RunSQL(
    """
    CREATE OR REPLACE FUNCTION payments_document_guard() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NOT EXISTS (SELECT 1 FROM payments_documentcounter c WHERE c.operator_id = NEW.operator_id AND c.kind = NEW.kind
                       AND c.year = NEW.year AND c.last = NEW.serial) THEN
            RAISE EXCEPTION 'document: % is not the number that its series is at', NEW.number
                USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_document_next_number';
        END IF;
        IF NOT EXISTS (
            SELECT 1 FROM payments_ledgertransaction t JOIN payments_ledgerentry e ON e.transaction_id = t.id
            WHERE t.payment_id = NEW.payment_id AND t.refund_id IS NOT DISTINCT FROM NEW.refund_id
              AND t.kind = CASE NEW.kind WHEN 'receipt' THEN 'capture' WHEN 'credit_note' THEN 'refund' ELSE 'refund_reversal' END
              AND e.amount_minor = NEW.total_minor AND e.currency = NEW.currency) THEN
            RAISE EXCEPTION 'document: the ledger has no entry of this kind and amount'
                USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_document_is_the_ledger';
        END IF;
        RETURN NEW;
    END $$;
    """,
    """
    CREATE OR REPLACE FUNCTION payments_document_guard() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NOT EXISTS (SELECT 1 FROM payments_documentcounter c WHERE c.operator_id = NEW.operator_id AND c.kind = NEW.kind
                       AND c.year = NEW.year AND c.last = NEW.serial) THEN
            RAISE EXCEPTION 'document: % is not the number that its series is at', NEW.number
                USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_document_next_number';
        END IF;
        IF NOT EXISTS (
            SELECT 1 FROM payments_ledgertransaction t JOIN payments_ledgerentry e ON e.transaction_id = t.id
            WHERE t.payment_id = NEW.payment_id AND t.refund_id IS NOT DISTINCT FROM NEW.refund_id
              AND t.kind = CASE NEW.kind WHEN 'receipt' THEN 'capture' WHEN 'credit_note' THEN 'refund' ELSE 'refund_reversal' END
              AND e.account = 'provider_balance' AND abs(e.amount_minor) = NEW.total_minor AND e.currency = NEW.currency) THEN
            RAISE EXCEPTION 'document: the ledger has no entry of this kind and amount'
                USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_document_is_the_ledger';
        END IF;
        RETURN NEW;
    END $$;
    """,
)


class Migration(migrations.Migration):
    dependencies = [("payments", "0013_refund_approval")]
    operations = [REFUND_CONTROL, DOCUMENT_OF_ANY_PAYER]
