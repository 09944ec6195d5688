"""Counts of the message log, kept by triggers in the transaction that changes it."""
# ruff: noqa: S608 - SQL made of our own words

from django.conf import settings
from django.db import migrations, models

KEY = "day, channel, kind, status, reason, delay_seconds, currency"
SUMS = "messages, segments, price, estimated_price"
# What is counted of one message `m`, as the columns KEY and SUMS.
FACTS = """communications_day(m.queued_at) AS day, m.channel, m.kind, m.status,
        CASE WHEN m.status = 'suppressed' THEN m.error_code ELSE '' END AS reason,
        CASE WHEN m.status = 'delivered' THEN communications_delay_step(m.delivered_at - coalesce(m.sent_at, m.queued_at)) ELSE 0 END
            AS delay_seconds,
        m.price_currency AS currency, 1 AS messages, coalesce(m.segments, 0) AS segments, coalesce(m.price, 0) AS price,
        CASE WHEN m.is_price_estimated THEN coalesce(m.price, 0) ELSE 0 END AS estimated_price"""
NEGATED = "-messages AS messages, -segments AS segments, -price AS price, -estimated_price AS estimated_price"
ADDED = "sum(messages), sum(segments), sum(price), sum(estimated_price)"
CHANGES = f"""
    INSERT INTO communications_messagecountchange ({KEY}, {SUMS})
    SELECT {KEY}, {ADDED} FROM ({{rows}}) AS rows GROUP BY {KEY}
    HAVING sum(messages) <> 0 OR sum(segments) <> 0 OR sum(price) <> 0 OR sum(estimated_price) <> 0;
    RETURN NULL;"""
NEW_ROWS = f"SELECT {FACTS} FROM new_messages m"
OLD_ROWS = f"SELECT {KEY}, {NEGATED} FROM (SELECT {FACTS} FROM old_messages m) AS gone"


def trigger(event: str, tables: str, rows: str) -> str:
    name = f"communications_count_{event.lower()}"
    return f"""
    CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {CHANGES.format(rows=rows)} END $$;
    CREATE TRIGGER {name} AFTER {event} ON communications_message REFERENCING {tables}
        FOR EACH STATEMENT EXECUTE FUNCTION {name}();"""


COUNTING = f"""
-- STABLE, not IMMUTABLE: plans that other sessions keep would go on with the old zone after it was replaced.
CREATE FUNCTION communications_home_zone() RETURNS text LANGUAGE sql STABLE AS $$ SELECT '{settings.HOME_TIMEZONE}'::text $$;
CREATE FUNCTION communications_day(at timestamptz) RETURNS date LANGUAGE sql STABLE
    AS $$ SELECT (at AT TIME ZONE communications_home_zone())::date $$;
-- Every second up to 6, then coarser: the greatest step that is not longer than the delay.
CREATE FUNCTION communications_delay_step(delay interval) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
    SELECT (steps.seconds)[width_bucket(greatest(extract(epoch FROM delay)::float8, 0), steps.limits)]
    FROM (SELECT ARRAY[0,1,2,3,4,5,6,8,10,15,20,30,45,60,120,300,600,1800,3600,14400,86400] AS seconds,
                 ARRAY[0,1,2,3,4,5,6,8,10,15,20,30,45,60,120,300,600,1800,3600,14400,86400]::float8[] AS limits) AS steps
$$;
{trigger("INSERT", "NEW TABLE AS new_messages", NEW_ROWS)}
{trigger("UPDATE", "OLD TABLE AS old_messages NEW TABLE AS new_messages", f"{OLD_ROWS} UNION ALL {NEW_ROWS}")}
{trigger("DELETE", "OLD TABLE AS old_messages", OLD_ROWS)}

-- Folding and recounting exclude each other by a lock on communications_messagecount that only they take; readers never wait.
CREATE FUNCTION communications_fold_counts(most integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE folded integer;
BEGIN
    LOCK TABLE communications_messagecount IN SHARE ROW EXCLUSIVE MODE;
    WITH gone AS (
        DELETE FROM communications_messagecountchange
        WHERE id IN (SELECT id FROM communications_messagecountchange ORDER BY id LIMIT most) RETURNING *
    ), summed AS (
        INSERT INTO communications_messagecount AS counts ({KEY}, {SUMS})
        SELECT {KEY}, {ADDED} FROM gone GROUP BY {KEY}
        ON CONFLICT ({KEY}) DO UPDATE SET messages = counts.messages + EXCLUDED.messages, segments = counts.segments + EXCLUDED.segments,
            price = counts.price + EXCLUDED.price, estimated_price = counts.estimated_price + EXCLUDED.estimated_price
    )
    SELECT count(*) INTO folded FROM gone;
    DELETE FROM communications_messagecount WHERE messages = 0 AND segments = 0 AND price = 0 AND estimated_price = 0;
    RETURN folded;
END $$;
-- For a transaction that is REPEATABLE READ and took the lock before its snapshot: what it sees is in the rows that it counts, what it does
-- not see leaves changes that it does not see either.
CREATE FUNCTION communications_recount() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE counted bigint;
BEGIN
    DELETE FROM communications_messagecountchange;
    DELETE FROM communications_messagecount;
    INSERT INTO communications_messagecount ({KEY}, {SUMS})
    SELECT {KEY}, {ADDED} FROM (SELECT {FACTS} FROM communications_message m) AS rows GROUP BY {KEY};
    SELECT coalesce(sum(messages), 0) INTO counted FROM communications_messagecount;
    RETURN counted;
END $$;
ALTER TABLE communications_messagecountchange SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
"""
UNDONE = """
DROP TRIGGER communications_count_insert ON communications_message; DROP FUNCTION communications_count_insert();
DROP TRIGGER communications_count_update ON communications_message; DROP FUNCTION communications_count_update();
DROP TRIGGER communications_count_delete ON communications_message; DROP FUNCTION communications_count_delete();
DROP FUNCTION communications_fold_counts(integer); DROP FUNCTION communications_recount();
DROP FUNCTION communications_delay_step(interval); DROP FUNCTION communications_day(timestamptz);
DROP FUNCTION communications_home_zone();
"""


def counted_fields():
    return [
        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
        ("day", models.DateField(verbose_name="day")),
        ("channel", models.CharField(max_length=8, verbose_name="channel")),
        ("kind", models.CharField(max_length=40, verbose_name="kind")),
        ("status", models.CharField(max_length=12, verbose_name="status")),
        ("reason", models.CharField(blank=True, max_length=60, verbose_name="reason")),
        ("delay_seconds", models.IntegerField(default=0, verbose_name="seconds to delivery")),
        ("currency", models.CharField(blank=True, max_length=3, verbose_name="currency")),
        ("messages", models.BigIntegerField(verbose_name="messages")),
        ("segments", models.BigIntegerField(default=0, verbose_name="SMS parts")),
        ("price", models.DecimalField(decimal_places=5, default=0, max_digits=16, verbose_name="price")),
        ("estimated_price", models.DecimalField(decimal_places=5, default=0, max_digits=16, verbose_name="estimated price")),
    ]  # fmt: skip


class Migration(migrations.Migration):
    dependencies = [
        ("communications", "0031_campaign_rules"),
    ]

    operations = [
        migrations.CreateModel(
            name="MessageCount",
            fields=counted_fields(),
            options={
                "verbose_name": "message count",
                "verbose_name_plural": "message analytics",
                "indexes": [
                    models.Index(
                        condition=models.Q(("messages", 0)), fields=["day"], name="message_count_empty"
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("day", "channel", "kind", "status", "reason", "delay_seconds", "currency"),
                        name="message_count_once",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="MessageCountChange",
            fields=counted_fields(),
            options={
                "verbose_name": "change of the message counts",
                "verbose_name_plural": "changes of the message counts",
            },
        ),
        migrations.RunSQL(COUNTING, UNDONE),
    ]
