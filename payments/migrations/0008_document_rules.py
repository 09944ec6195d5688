"""What PostgreSQL holds about documents: append-only, numbered without gaps, and of the same amount as their entry in the ledger."""

from django.db import migrations

from foundation.transitions import append_only_trigger

NEXT_NUMBER_ONLY = migrations.RunSQL(
    """
    CREATE FUNCTION payments_documentcounter_step() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'DELETE' OR TG_OP = 'INSERT' AND NEW.last <> 0 OR TG_OP = 'UPDATE' AND (NEW.last <> OLD.last + 1
                OR (NEW.operator_id, NEW.kind, NEW.year) IS DISTINCT FROM (OLD.operator_id, OLD.kind, OLD.year)) THEN
            RAISE EXCEPTION 'document counter: it begins at 0 and goes up by one'
                USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_documentcounter_step';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER payments_documentcounter_step BEFORE INSERT OR UPDATE OR DELETE ON payments_documentcounter
        FOR EACH ROW EXECUTE FUNCTION payments_documentcounter_step();
    """,
    "DROP TRIGGER payments_documentcounter_step ON payments_documentcounter; DROP FUNCTION payments_documentcounter_step();",
)

SAME_AS_THE_LEDGER = migrations.RunSQL(
    """
    CREATE FUNCTION payments_document_guard() RETURNS trigger LANGUAGE plpgsql AS $$
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
    CREATE TRIGGER payments_document_guard BEFORE INSERT ON payments_document
        FOR EACH ROW EXECUTE FUNCTION payments_document_guard();
    """,
    "DROP TRIGGER payments_document_guard ON payments_document; DROP FUNCTION payments_document_guard();",
)


class Migration(migrations.Migration):
    dependencies = [("payments", "0007_documents")]
    operations = [
        NEXT_NUMBER_ONLY,
        SAME_AS_THE_LEDGER,
        append_only_trigger("payments_document"),
    ]
