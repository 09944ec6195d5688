"""The counts by month, so that years of them are read as quickly as days."""
# ruff: noqa: S608 - SQL made of our own words

from django.db import migrations, models

KEY = "day, channel, kind, status, reason, delay_seconds, currency"
SUMS = "messages, segments, price, estimated_price"
ADDED = "sum(messages), sum(segments), sum(price), sum(estimated_price)"
MONTH = KEY.replace("day,", "date_trunc('month', day)::date,", 1)
EMPTY = "messages = 0 AND segments = 0 AND price = 0 AND estimated_price = 0"
BY_MONTH = f"""
    DELETE FROM communications_messagemonth;
    INSERT INTO communications_messagemonth ({KEY}, {SUMS})
    SELECT {MONTH}, {ADDED} FROM communications_messagecount GROUP BY {MONTH};"""


def added_to(table: str, key: str) -> str:
    return f"""
        INSERT INTO {table} AS counts ({KEY}, {SUMS})
        SELECT {key}, {ADDED} FROM gone GROUP BY {key}
        ON CONFLICT ({KEY}) DO UPDATE SET messages = counts.messages + EXCLUDED.messages, segments = counts.segments + EXCLUDED.segments,
            price = counts.price + EXCLUDED.price, estimated_price = counts.estimated_price + EXCLUDED.estimated_price"""


def functions(*, with_months: bool) -> str:
    months = f", by_month AS ({added_to('communications_messagemonth', MONTH)})" if with_months else ""
    tidy = f"DELETE FROM communications_messagemonth WHERE {EMPTY};" if with_months else ""
    return f"""
-- Folding and recounting exclude each other by a lock on communications_messagecount that only they take; readers never wait.
CREATE OR REPLACE FUNCTION communications_fold_counts(most integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE folded integer;
BEGIN
    LOCK TABLE communications_messagecount IN SHARE ROW EXCLUSIVE MODE;
    WITH gone AS (
        DELETE FROM communications_messagecountchange
        WHERE id IN (SELECT id FROM communications_messagecountchange ORDER BY id LIMIT most) RETURNING *
    ), by_day AS ({added_to("communications_messagecount", KEY)}){months}
    SELECT count(*) INTO folded FROM gone;
    DELETE FROM communications_messagecount WHERE {EMPTY};
    {tidy}
    RETURN folded;
END $$;
-- For a transaction that is REPEATABLE READ and took the lock before its snapshot: what it sees is in the rows that it counts, what it does
-- not see leaves changes that it does not see either.
CREATE OR REPLACE FUNCTION communications_recount() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE counted bigint;
BEGIN
    DELETE FROM communications_messagecountchange;
    DELETE FROM communications_messagecount;
    INSERT INTO communications_messagecount ({KEY}, {SUMS})
    SELECT {KEY}, {ADDED} FROM ({COUNTED}) AS rows GROUP BY {KEY};
    {BY_MONTH if with_months else ""}
    SELECT coalesce(sum(messages), 0) INTO counted FROM communications_messagecount;
    RETURN counted;
END $$;
"""


# What is counted of each message, as the triggers of 0041 count it.
COUNTED = """SELECT communications_day(m.queued_at) AS day, m.channel, m.kind, m.status,
        CASE WHEN m.status = 'suppressed' THEN m.error_code ELSE '' END AS reason,
        CASE WHEN m.status = 'delivered' THEN communications_delay_step(m.delivered_at - coalesce(m.sent_at, m.queued_at)) ELSE 0 END
            AS delay_seconds,
        m.price_currency AS currency, 1 AS messages, coalesce(m.segments, 0) AS segments, coalesce(m.price, 0) AS price,
        CASE WHEN m.is_price_estimated THEN coalesce(m.price, 0) ELSE 0 END AS estimated_price
    FROM communications_message m"""
# Nobody folds while the months are made of the days.
MADE = f"LOCK TABLE communications_messagecount IN SHARE ROW EXCLUSIVE MODE; {BY_MONTH}"


class Migration(migrations.Migration):
    dependencies = [("communications", "0045_fallbacks_and_outages")]

    operations = [
        migrations.CreateModel(
            name="MessageMonth",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("day", models.DateField(verbose_name="day")),
                ("channel", models.CharField(max_length=8, verbose_name="channel")),
                ("kind", models.CharField(max_length=40, verbose_name="kind")),
                ("status", models.CharField(max_length=12, verbose_name="status")),
                ("reason", models.CharField(blank=True, max_length=60, verbose_name="reason")),
                ("delay_seconds", models.IntegerField(default=0, verbose_name="seconds to delivery")),
                ("currency", models.CharField(blank=True, max_length=3, verbose_name="currency")),
                ("messages", models.BigIntegerField(verbose_name="messages")),
                ("segments", models.BigIntegerField(default=0, verbose_name="SMS parts")),
                (
                    "price",
                    models.DecimalField(decimal_places=5, default=0, max_digits=16, verbose_name="price"),
                ),
                (
                    "estimated_price",
                    models.DecimalField(
                        decimal_places=5, default=0, max_digits=16, verbose_name="estimated price"
                    ),
                ),
            ],
            options={
                "verbose_name": "message count of a month",
                "verbose_name_plural": "message counts of months",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("day", "channel", "kind", "status", "reason", "delay_seconds", "currency"),
                        name="message_month_once",
                    )
                ],
            },
        ),
        migrations.RunSQL(MADE + functions(with_months=True), functions(with_months=False)),
    ]
