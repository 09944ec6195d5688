"""The oracle: re-derive every sum and state, and name each violation. Exit code 1 when there is one."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand
from django.db import connection

# rule -> SQL that returns one text per violation
RULES = {
    "a ledger transaction does not add up to zero": """
        SELECT t.source_key || ' ' || e.currency || ' ' || sum(e.amount_minor)
        FROM payments_ledgertransaction t JOIN payments_ledgerentry e ON e.transaction_id = t.id
        GROUP BY t.source_key, e.currency HAVING sum(e.amount_minor) <> 0""",
    "a ledger transaction has no entries": """
        SELECT t.source_key FROM payments_ledgertransaction t
        WHERE NOT EXISTS (SELECT 1 FROM payments_ledgerentry e WHERE e.transaction_id = t.id)""",
    "a payment's captured amount is not its one capture in the ledger": """
        SELECT p.id || ' captured ' || p.captured_minor || ', ledger ' || COALESCE(sum(e.amount_minor), 0)
        FROM payments_payment p
        LEFT JOIN payments_ledgertransaction t ON t.payment_id = p.id AND t.kind = 'capture'
        LEFT JOIN payments_ledgerentry e ON e.transaction_id = t.id AND e.account = 'provider_balance' AND e.currency = p.currency
        GROUP BY p.id HAVING p.captured_minor <> COALESCE(sum(e.amount_minor), 0)
            OR count(DISTINCT t.id) <> (p.captured_minor > 0)::int""",
    "a payment's refunded amount is not what the ledger says": """
        SELECT p.id || ' refunded ' || p.refunded_minor || ', ledger ' || COALESCE(sum(e.amount_minor), 0)
        FROM payments_payment p
        LEFT JOIN payments_ledgertransaction t ON t.payment_id = p.id AND t.kind IN ('refund', 'refund_reversal')
        LEFT JOIN payments_ledgerentry e ON e.transaction_id = t.id AND e.account = 'customer_refunds'
        GROUP BY p.id HAVING p.refunded_minor <> COALESCE(sum(e.amount_minor), 0)""",
    "a payment's reserved or refunded amount is not the sum of its refunds": """
        SELECT p.id::text FROM payments_payment p LEFT JOIN payments_refund r ON r.payment_id = p.id GROUP BY p.id
        HAVING p.reserved_minor <> COALESCE(sum(r.amount_minor) FILTER (WHERE r.status NOT IN ('failed', 'cancelled')), 0)
            OR p.refunded_minor <> COALESCE(sum(r.amount_minor) FILTER (WHERE r.status = 'succeeded'), 0)""",
    "more was refunded than captured": """
        SELECT id::text FROM payments_payment WHERE refunded_minor > captured_minor OR captured_minor > amount_minor""",
    "the ledger has a capture, refund or returned refund without a document of the same amount": """
        SELECT t.source_key FROM payments_ledgertransaction t JOIN payments_ledgerentry e ON e.transaction_id = t.id
        LEFT JOIN payments_document d ON d.payment_id = t.payment_id AND d.refund_id IS NOT DISTINCT FROM t.refund_id
            AND d.kind = CASE t.kind WHEN 'capture' THEN 'receipt' WHEN 'refund' THEN 'credit_note' ELSE 'credit_note_cancellation' END
        WHERE t.kind IN ('capture', 'refund', 'refund_reversal') AND e.amount_minor > 0
          AND (d.id IS NULL OR d.total_minor <> abs(e.amount_minor) OR d.currency <> e.currency)""",
    "a document has no entry in the ledger, or its lines or its VAT do not add up to its total": """
        SELECT d.number FROM payments_document d WHERE NOT EXISTS (
            SELECT 1 FROM payments_ledgertransaction t WHERE t.payment_id = d.payment_id AND t.refund_id IS NOT DISTINCT FROM d.refund_id
              AND t.kind = CASE d.kind WHEN 'receipt' THEN 'capture' WHEN 'credit_note' THEN 'refund' ELSE 'refund_reversal' END)
          OR d.total_minor <> (SELECT sum((line ->> 'amount_minor')::bigint) FROM jsonb_array_elements(d.content -> 'lines') AS line)
          OR EXISTS (SELECT 1 FROM jsonb_array_elements(d.content -> 'vat') AS line GROUP BY d.id
              HAVING sum((line ->> 'vat_minor')::bigint) <> d.vat_minor
                  OR sum((line ->> 'net_minor')::bigint + (line ->> 'vat_minor')::bigint) <> d.total_minor)""",
    "the numbers of a series of documents have a gap": """
        SELECT c.kind || ' ' || c.year || ': at ' || c.last || ', ' || count(d.id) || ' documents' FROM payments_documentcounter c
        LEFT JOIN payments_document d ON d.operator_id = c.operator_id AND d.kind = c.kind AND d.year = c.year
        GROUP BY c.id HAVING c.last <> count(d.id) OR c.last <> COALESCE(max(d.serial), 0)""",
    "a payment's disputed amount is not what its disputes say": """
        SELECT p.id::text FROM payments_payment p LEFT JOIN payments_dispute d ON d.payment_id = p.id GROUP BY p.id
        HAVING p.disputed_minor <> LEAST(p.captured_minor, COALESCE(sum(d.amount_minor)
            FILTER (WHERE d.status IN ('needs_response', 'under_review', 'lost')), 0))""",
    "a dispute is won, ended by a refund, or an inquiry closed, but the ledger has not all its money back": """
        SELECT d.provider_ref || ' ' || sum(e.amount_minor) FROM payments_dispute d
        JOIN payments_ledgertransaction t ON t.dispute_id = d.id JOIN payments_ledgerentry e ON e.transaction_id = t.id
        WHERE d.status IN ('won', 'warning_closed', 'refunded') AND e.account = 'customer_disputes'
        GROUP BY d.id, e.currency HAVING sum(e.amount_minor) <> 0""",
    "a lost dispute took no money in the ledger": """
        SELECT d.provider_ref FROM payments_dispute d WHERE d.status = 'lost' AND NOT EXISTS (
            SELECT 1 FROM payments_ledgertransaction t WHERE t.dispute_id = d.id AND t.kind = 'dispute')""",
    "a booking that stands was not paid what it costs, or more": """
        SELECT b.reference || ' costs ' || b.total_minor || ', paid ' || COALESCE(paid.sum, 0) || ', given back by changes '
            || COALESCE(given.sum, 0)
        FROM bookings_booking b
        LEFT JOIN (SELECT p.booking_id, sum(p.captured_minor) AS sum FROM payments_payment p WHERE NOT EXISTS (
            SELECT 1 FROM payments_refund r WHERE r.payment_id = p.id AND r.source = 'late_payment') GROUP BY p.booking_id) AS paid
            ON paid.booking_id = b.id
        LEFT JOIN (SELECT a.booking_id, sum(a.refund_minor) AS sum FROM bookings_amendment a WHERE a.status = 'applied'
            GROUP BY a.booking_id) AS given ON given.booking_id = b.id
        WHERE b.status IN ('confirmed', 'arrived', 'completed', 'no_show')
          AND b.total_minor <> COALESCE(paid.sum, 0) - COALESCE(given.sum, 0)""",
    "a booking's price lines do not add up to its total": """
        SELECT b.reference || ' costs ' || b.total_minor FROM bookings_booking b
        WHERE b.total_minor <> (SELECT COALESCE(sum((line ->> 'amount_minor')::bigint), 0) FROM jsonb_array_elements(b.lines) AS line)""",
    "a change's lines do not add up to what the booking costs more or less": """
        SELECT b.reference || ' change ' || a.id FROM bookings_amendment a JOIN bookings_booking b ON b.id = a.booking_id
        WHERE a.new_total_minor - a.old_total_minor <> (
            SELECT COALESCE(sum((line ->> 'amount_minor')::bigint), 0) FROM jsonb_array_elements(a.lines) AS line)""",
    "a change that costs more was made without being paid": """
        SELECT b.reference || ' change ' || a.id FROM bookings_amendment a JOIN bookings_booking b ON b.id = a.booking_id
        WHERE a.status = 'applied' AND a.difference_minor > 0 AND NOT EXISTS (
            SELECT 1 FROM payments_payment p WHERE p.amendment_id = a.id AND p.captured_minor = a.difference_minor)""",
    "a change that waits for payment has not its space": """
        SELECT b.reference || ' change ' || a.id FROM bookings_amendment a JOIN bookings_booking b ON b.id = a.booking_id
        WHERE a.status = 'held' AND NOT (SELECT COALESCE(range_agg(o.period), '{}'::tstzmultirange) FROM bookings_occupancy o
            WHERE o.booking_id = b.id AND o.released_at IS NULL) @> tstzrange(a.new_start_at, a.new_end_at)""",
    "a change that does not wait for payment takes space": """
        SELECT b.reference || ' change ' || a.id FROM bookings_amendment a JOIN bookings_booking b ON b.id = a.booking_id
        JOIN bookings_occupancy o ON o.amendment_id = a.id WHERE a.status <> 'held' AND o.released_at IS NULL""",
    "a change is stuck": """
        SELECT b.reference || ' change ' || a.id FROM bookings_amendment a JOIN bookings_booking b ON b.id = a.booking_id
        WHERE a.status = 'held' AND a.hold_expires_at < now() - interval '1 hour'""",
    "money was captured for a change that was not made, and no refund is under way": """
        SELECT p.id::text FROM payments_payment p JOIN bookings_amendment a ON a.id = p.amendment_id
        WHERE p.captured_minor > p.reserved_minor AND a.status <> 'applied'""",
    "money was captured for a booking that was not given, and no refund is under way": """
        SELECT b.reference FROM bookings_booking b JOIN payments_payment p ON p.booking_id = b.id
        WHERE p.captured_minor > 0 AND b.status IN ('held', 'expired')
          AND p.reserved_minor + p.disputed_minor < p.captured_minor""",
    "a ledger entry stands on an account that its kind of transaction does not use": """
        SELECT t.source_key || ' ' || e.account || ' ' || e.amount_minor
        FROM payments_ledgertransaction t JOIN payments_ledgerentry e ON e.transaction_id = t.id
        WHERE (t.kind, e.account, sign(e.amount_minor)) NOT IN (
            ('capture', 'provider_balance', 1), ('capture', 'customer_payments', -1),
            ('refund', 'customer_refunds', 1), ('refund', 'provider_balance', -1),
            ('refund', 'paid_elsewhere', -1),
            ('refund_reversal', 'provider_balance', 1), ('refund_reversal', 'customer_refunds', -1),
            ('fee', 'provider_fees', 1), ('fee', 'provider_balance', -1),
            ('dispute', 'customer_disputes', 1), ('dispute', 'provider_balance', -1),
            ('dispute_reversal', 'provider_balance', 1), ('dispute_reversal', 'customer_disputes', -1),
            ('dispute_fee', 'dispute_fees', 1), ('dispute_fee', 'provider_balance', -1), -- charged
            ('dispute_fee', 'dispute_fees', -1), ('dispute_fee', 'provider_balance', 1), -- given back
            ('payout', 'bank', 1), ('payout', 'provider_balance', -1),
            ('payout_reversal', 'provider_balance', 1), ('payout_reversal', 'bank', -1))""",
    "a payout is not in the ledger once, or one that was returned not back": """
        SELECT p.provider || ' ' || p.provider_ref || ' ' || p.status || ': ' || COALESCE(sum(e.amount_minor), 0)
        FROM payments_payout p LEFT JOIN payments_ledgertransaction t ON t.payout_id = p.id
        LEFT JOIN payments_ledgerentry e ON e.transaction_id = t.id AND e.account = 'bank' AND e.currency = p.currency
        GROUP BY p.id HAVING COALESCE(sum(e.amount_minor), 0) <> CASE p.status WHEN 'failed' THEN 0 ELSE p.amount_minor END
            OR count(DISTINCT t.id) <> CASE p.status WHEN 'failed' THEN 2 ELSE 1 END""",
    "a payment has two fees, or one in the ledger before it was captured": """
        SELECT p.id::text FROM payments_payment p JOIN payments_ledgertransaction t ON t.payment_id = p.id AND t.kind = 'fee'
        GROUP BY p.id HAVING count(*) > 1 OR p.captured_minor = 0""",
    "a break's sum of what is not in our books is not that of its movements": """
        SELECT b.provider || ' ' || b.provider_ref FROM payments_break b
        WHERE b.unbooked_minor <> COALESCE((SELECT sum(value::bigint) FROM jsonb_each_text(b.movements)), 0)""",
    "a reconciliation is stuck": """
        SELECT provider || ' ' || started_at FROM payments_reconciliationrun
        WHERE finished_at IS NULL AND alive_at < now() - interval '1 hour'""",
    "a refund of a charge that is not ours is stuck": """
        SELECT id || ' ' || status FROM payments_strayrefund
        WHERE status IN ('requested', 'submitted', 'unknown') AND created_at < now() - interval '1 hour'""",
    "a ledger transaction names another booking than its payment": """
        SELECT t.source_key || ' ' || t.booking_reference
        FROM payments_ledgertransaction t JOIN payments_payment p ON p.id = t.payment_id
        JOIN bookings_booking b ON b.id = p.booking_id WHERE b.reference <> t.booking_reference""",
    "a booking and its payment are in different currencies": """
        SELECT b.reference FROM payments_payment p JOIN bookings_booking b ON b.id = p.booking_id
        WHERE p.currency <> b.currency""",
    "a booking was paid twice, and no refund of the second payment is under way": """
        SELECT b.reference FROM bookings_booking b JOIN payments_payment p ON p.booking_id = b.id
        WHERE p.captured_minor > p.reserved_minor GROUP BY b.reference, p.amendment_id HAVING count(*) > 1""",
    "a paid booking was cancelled without a record of what is due": """
        SELECT b.reference FROM bookings_booking b JOIN payments_payment p ON p.booking_id = b.id
        WHERE b.status = 'cancelled' AND p.captured_minor > p.reserved_minor
          AND NOT EXISTS (SELECT 1 FROM bookings_cancellation c WHERE c.booking_id = b.id)""",
    "what a booking says we hold of its money is not what its payments say": """
        SELECT b.reference FROM bookings_booking b LEFT JOIN payments_payment p ON p.booking_id = b.id AND NOT EXISTS (
            SELECT 1 FROM payments_refund r WHERE r.payment_id = p.id AND r.source = 'late_payment')
        GROUP BY b.id HAVING b.kept_minor <> COALESCE(sum(p.captured_minor - LEAST(p.captured_minor, p.reserved_minor + COALESCE(
            (SELECT sum(d.amount_minor) FROM payments_dispute d WHERE d.payment_id = p.id AND d.status = 'lost'), 0))), 0)""",
    "what a booking says banks gave back is not what its disputes say": """
        SELECT b.reference FROM bookings_booking b LEFT JOIN payments_payment p ON p.booking_id = b.id AND NOT EXISTS (
            SELECT 1 FROM payments_refund r WHERE r.payment_id = p.id AND r.source = 'late_payment')
        GROUP BY b.id HAVING b.taken_back_minor <> COALESCE(sum(LEAST(p.captured_minor,
            (SELECT COALESCE(sum(d.amount_minor), 0) FROM payments_dispute d WHERE d.payment_id = p.id AND d.status = 'lost'))), 0)""",
    "a booking that stands has no space": """
        SELECT b.reference FROM bookings_booking b
        WHERE b.status IN ('held', 'confirmed', 'arrived')
          AND NOT EXISTS (SELECT 1 FROM bookings_occupancy o WHERE o.booking_id = b.id AND o.released_at IS NULL
              AND o.amendment_id IS NULL AND o.period = tstzrange(b.start_at, b.end_at))""",
    "a day gate does not count the stays of its day": """
        SELECT g.pool_id || ' on ' || g.utc_day || ': ' || g.touch || ', not ' || count(o.id)
        FROM bookings_capacitygate g LEFT JOIN bookings_occupancy o ON o.pool_id = g.pool_id AND o.released_at IS NULL
            AND o.period && tstzrange(g.utc_day::timestamp AT TIME ZONE 'UTC', (g.utc_day + 1)::timestamp AT TIME ZONE 'UTC')
        WHERE g.touch > 0 OR o.id IS NOT NULL
        GROUP BY g.id HAVING g.touch <> count(o.id)""",
    "a pool is over its capacity": """
        SELECT k.name || ' at ' || s.at || ': ' || max(s.taken) || ' of ' || k.capacity FROM (
            SELECT pool_id, at, sum(step) OVER (PARTITION BY pool_id ORDER BY at, step ROWS UNBOUNDED PRECEDING) AS taken FROM (
                SELECT pool_id, lower(period) AS at, 1 AS step FROM bookings_occupancy WHERE released_at IS NULL
                UNION ALL
                SELECT pool_id, upper(period), -1 FROM bookings_occupancy WHERE released_at IS NULL) AS steps) AS s
        JOIN bookings_pool k ON k.id = s.pool_id WHERE s.taken > k.capacity GROUP BY k.name, s.at, k.capacity""",
    "a payment is stuck": """
        SELECT id || ' ' || status FROM payments_payment
        WHERE status IN ('created', 'submitted', 'unknown') AND created_at < now() - interval '1 hour'
        UNION ALL
        SELECT p.id || ' ' || p.status FROM payments_payment p JOIN bookings_booking b ON b.id = p.booking_id
        LEFT JOIN bookings_amendment a ON a.id = p.amendment_id
        WHERE p.status = 'requires_action' AND COALESCE(a.status, b.status) <> 'held' AND p.created_at < now() - interval '1 hour'""",
    "a refund is stuck": """
        SELECT r.id || ' ' || r.status FROM payments_refund r
        WHERE r.status IN ('requested', 'submitted', 'unknown')
          AND COALESCE(r.submitted_at, r.approved_at, r.created_at) < now() - interval '1 hour'
          AND NOT (r.status = 'requested' AND r.needs_approval AND r.approved_by_id IS NULL)
          AND NOT EXISTS (SELECT 1 FROM payments_break k WHERE k.provider_ref = r.id::text AND k.resolved_at IS NULL) -- asked
          AND NOT EXISTS (SELECT 1 FROM payments_dispute d WHERE d.payment_id = r.payment_id
              AND (d.status IN ('needs_response', 'under_review') OR d.closed_at > now() - interval '1 hour'))""",
    "a refund was sent that needed a second person and had none": """
        SELECT r.id::text FROM payments_refund r WHERE r.needs_approval AND r.status NOT IN ('requested', 'cancelled')
          AND (r.approved_by_id IS NULL OR r.approved_by_id = r.requested_by_id)""",
    "a saved method is stuck in its removal": """
        SELECT id::text FROM payments_storedmethod WHERE status = 'removing' AND removed_at < now() - interval '1 hour'""",
    "an event is stuck": """
        SELECT event_ref FROM payments_providerevent
        WHERE status = 'received' AND received_at < now() - interval '1 hour'""",
    "a cancellation's or a change's refund was not requested": """
        SELECT b.reference FROM bookings_booking b JOIN (
            SELECT c.booking_id, c.created_at FROM bookings_cancellation c WHERE c.refund_minor > 0
                AND NOT EXISTS (SELECT 1 FROM payments_refund r WHERE r.cancellation_id = c.id)
            UNION ALL
            SELECT a.booking_id, a.applied_at FROM bookings_amendment a WHERE a.refund_minor > 0 AND a.status = 'applied'
                AND NOT EXISTS (SELECT 1 FROM payments_refund r WHERE r.amendment_id = a.id)) AS owed ON owed.booking_id = b.id
        WHERE b.kept_minor > 0 AND owed.created_at < now() - interval '10 minutes'
          AND NOT EXISTS (SELECT 1 FROM payments_dispute d JOIN payments_payment p ON p.id = d.payment_id
              WHERE p.booking_id = b.id AND d.status IN ('needs_response', 'under_review'))""",
}


# what a person should look at, though nothing is wrong -> SQL that returns one text for each
REMINDERS = {
    "a refund has waited for a second person for more than 24 hours": """
        SELECT b.reference || ' ' || r.amount_minor || ' ' || r.currency || ' since ' || r.created_at::timestamptz(0)
        FROM payments_refund r JOIN payments_payment p ON p.id = r.payment_id JOIN bookings_booking b ON b.id = p.booking_id
        WHERE r.status = 'requested' AND r.needs_approval AND r.approved_by_id IS NULL
          AND r.created_at < now() - interval '24 hours' ORDER BY r.created_at""",
    "a refund failed, and nobody has sent it again or settled it otherwise": """
        SELECT b.reference || ' ' || r.amount_minor || ' ' || r.currency || ' ' || r.failure_code
        FROM payments_refund r JOIN payments_payment p ON p.id = r.payment_id JOIN bookings_booking b ON b.id = p.booking_id
        WHERE r.status = 'failed' AND r.note = ''
          AND NOT EXISTS (SELECT 1 FROM payments_refund n WHERE n.retries_id = r.id AND n.status <> 'cancelled')
        ORDER BY r.created_at""",
}


class Command(BaseCommand):
    help = "Check the books against every rule. Exits 1 and lists the violations if there are any."

    def handle(self, *args: Any, **options: Any) -> None:
        violations = 0
        with connection.cursor() as cursor:
            for rule, sql in RULES.items():
                cursor.execute(sql)
                for (text,) in cursor.fetchall():
                    violations += 1
                    self.stderr.write(f"{rule}: {text}")
            for reminder, sql in REMINDERS.items():
                cursor.execute(sql)
                for (text,) in cursor.fetchall():
                    self.stdout.write(f"Reminder, {reminder}: {text}")
        if violations:
            self.stderr.write(f"{violations} violations")
            raise SystemExit(1)
        self.stdout.write(f"The books are right: {len(RULES)} rules hold.")
