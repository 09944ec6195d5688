"""Consent: an append-only ledger, the state that follows from it, suppressed addresses, received SMS."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

LEDGER = migrations.RunSQL(
    """
    CREATE FUNCTION communications_consent_guard() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'UPDATE' AND (NEW.id, NEW.channel, NEW.address_key, NEW.is_granted, NEW.source, NEW.wording, NEW.language, NEW.at)
                IS NOT DISTINCT FROM (OLD.id, OLD.channel, OLD.address_key, OLD.is_granted, OLD.source, OLD.wording, OLD.language, OLD.at)
                AND (NEW.address = '' OR NEW.address = OLD.address) AND (NEW.note = '' OR NEW.note = OLD.note)
                AND (NEW.user_id IS NULL OR NEW.user_id = OLD.user_id)
                AND (NEW.ip_address IS NULL OR NEW.ip_address = OLD.ip_address) THEN
            RETURN NEW;  -- forgetting the person is all that may be done to an entry
        END IF;
        RAISE EXCEPTION 'communications_consententry is append-only'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'communications_consent_guard';
    END $$;
    CREATE TRIGGER communications_consent_guard BEFORE UPDATE OR DELETE ON communications_consententry
        FOR EACH ROW EXECUTE FUNCTION communications_consent_guard();
    CREATE TRIGGER communications_consent_truncate BEFORE TRUNCATE ON communications_consententry
        FOR EACH STATEMENT EXECUTE FUNCTION communications_consent_guard();
    CREATE FUNCTION communications_consent_state() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO communications_consentstate (channel, address_key, is_granted, since)
            VALUES (NEW.channel, NEW.address_key, NEW.is_granted, NEW.at)
            ON CONFLICT (channel, address_key) DO UPDATE SET is_granted = EXCLUDED.is_granted, since = EXCLUDED.since
            WHERE communications_consentstate.since <= EXCLUDED.since;
        RETURN NULL;
    END $$;
    CREATE TRIGGER communications_consent_state AFTER INSERT ON communications_consententry
        FOR EACH ROW EXECUTE FUNCTION communications_consent_state();
    CREATE FUNCTION communications_consentstate_kept() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF pg_trigger_depth() < 2 THEN
            RAISE EXCEPTION 'communications_consentstate follows the ledger: write an entry there'
                USING ERRCODE = 'check_violation', CONSTRAINT = 'communications_consentstate_kept';
        END IF;
        RETURN COALESCE(NEW, OLD);
    END $$;
    CREATE TRIGGER communications_consentstate_kept BEFORE INSERT OR UPDATE OR DELETE ON communications_consentstate
        FOR EACH ROW EXECUTE FUNCTION communications_consentstate_kept();
    """,
    """
    DROP TRIGGER communications_consentstate_kept ON communications_consentstate; DROP FUNCTION communications_consentstate_kept();
    DROP TRIGGER communications_consent_state ON communications_consententry; DROP FUNCTION communications_consent_state();
    DROP TRIGGER communications_consent_truncate ON communications_consententry;
    DROP TRIGGER communications_consent_guard ON communications_consententry; DROP FUNCTION communications_consent_guard();
    """,
)


class Migration(migrations.Migration):
    dependencies = [
        ("communications", "0007_suppressed_and_many"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="ConsentEntry",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "channel",
                    models.CharField(
                        choices=[("email", "e-mail"), ("sms", "SMS")], max_length=8, verbose_name="channel"
                    ),
                ),
                (
                    "address_key",
                    models.CharField(db_index=True, max_length=64, verbose_name="address, hashed"),
                ),
                ("address", models.CharField(blank=True, max_length=254, verbose_name="address")),
                ("is_granted", models.BooleanField(verbose_name="wants offers")),
                (
                    "source",
                    models.CharField(
                        choices=[
                            ("sign_up", "sign-up form"),
                            ("booking", "booking form"),
                            ("account", "account page"),
                            ("preferences", "preferences page"),
                            ("one_click", "one-click unsubscribe"),
                            ("sms", "answer by SMS"),
                            ("provider", "report of the provider"),
                            ("staff", "staff"),
                            ("import", "import"),
                        ],
                        max_length=16,
                        verbose_name="how",
                    ),
                ),
                (
                    "wording",
                    models.CharField(blank=True, max_length=500, verbose_name="wording that was shown"),
                ),
                ("language", models.CharField(blank=True, max_length=8, verbose_name="language")),
                ("note", models.CharField(blank=True, max_length=500, verbose_name="note")),
                (
                    "ip_address",
                    models.GenericIPAddressField(blank=True, null=True, verbose_name="IP address"),
                ),
                ("at", models.DateTimeField(db_index=True, verbose_name="when")),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="by",
                    ),
                ),
            ],
            options={
                "verbose_name": "consent entry",
                "verbose_name_plural": "consent ledger",
                "ordering": ["-at", "-pk"],
            },
        ),
        migrations.CreateModel(
            name="ConsentState",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "channel",
                    models.CharField(
                        choices=[("email", "e-mail"), ("sms", "SMS")], max_length=8, verbose_name="channel"
                    ),
                ),
                ("address_key", models.CharField(max_length=64, verbose_name="address, hashed")),
                ("is_granted", models.BooleanField(verbose_name="wants offers")),
                ("since", models.DateTimeField(verbose_name="since")),
            ],
            options={
                "verbose_name": "consent",
                "verbose_name_plural": "consents",
                "constraints": [
                    models.UniqueConstraint(fields=("channel", "address_key"), name="consent_state_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="InboundText",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("sid", models.CharField(max_length=64, unique=True, verbose_name="provider's reference")),
                ("phone", models.CharField(db_index=True, max_length=32, verbose_name="from")),
                ("to", models.CharField(max_length=32, verbose_name="to")),
                ("body", models.TextField(blank=True, max_length=1600, verbose_name="text")),
                (
                    "keyword",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("stop", "STOP"),
                            ("start", "START"),
                            ("help", "HELP"),
                            ("", "something else"),
                        ],
                        max_length=8,
                        verbose_name="understood as",
                    ),
                ),
                ("reply", models.CharField(blank=True, max_length=480, verbose_name="our answer")),
                ("received_at", models.DateTimeField(db_index=True, verbose_name="received")),
                ("handled_at", models.DateTimeField(blank=True, null=True, verbose_name="handled")),
                (
                    "handled_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="handled by",
                    ),
                ),
            ],
            options={
                "verbose_name": "received SMS",
                "verbose_name_plural": "received SMS",
                "ordering": ["-received_at", "-pk"],
            },
        ),
        migrations.CreateModel(
            name="Suppression",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "channel",
                    models.CharField(
                        choices=[("email", "e-mail"), ("sms", "SMS")], max_length=8, verbose_name="channel"
                    ),
                ),
                ("address_key", models.CharField(max_length=64, verbose_name="address, hashed")),
                ("address", models.CharField(blank=True, max_length=254, verbose_name="address")),
                (
                    "cause",
                    models.CharField(
                        choices=[
                            ("hard_bounce", "does not exist"),
                            ("spam_report", "reported us as spam"),
                            ("stopped", "answered STOP"),
                            ("staff", "entered by staff"),
                        ],
                        max_length=16,
                        verbose_name="why",
                    ),
                ),
                (
                    "detail",
                    models.CharField(blank=True, max_length=500, verbose_name="what the provider said"),
                ),
                ("at", models.DateTimeField(verbose_name="since")),
                ("lifted_at", models.DateTimeField(blank=True, null=True, verbose_name="lifted")),
                (
                    "lift_reason",
                    models.CharField(blank=True, max_length=500, verbose_name="why it was lifted"),
                ),
                (
                    "lifted_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="lifted by",
                    ),
                ),
                (
                    "message",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="communications.message",
                        verbose_name="message",
                    ),
                ),
            ],
            options={
                "verbose_name": "suppressed address",
                "verbose_name_plural": "suppressed addresses",
                "ordering": ["-at"],
                "permissions": [("lift_suppression", "Can lift the suppression of an address")],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("lifted_at__isnull", True)),
                        fields=("channel", "address_key", "cause"),
                        name="suppression_once",
                    )
                ],
            },
        ),
        LEDGER,
    ]
