"""A second person above the limit whenever money leaves: strays that are sent back, and disputes in which we give in."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

STRAY_IS_FIXED = migrations.RunSQL(
    """
    CREATE FUNCTION payments_stray_refund_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'INSERT' THEN
            IF NEW.approved_by_id IS NOT NULL THEN
                RAISE EXCEPTION 'refund at the provider: none is born approved'
                    USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_stray_refund_fixed';
            END IF;
            RETURN NEW;
        END IF;
        IF (NEW.question_id, NEW.amount_minor, NEW.currency, NEW.requested_by_id, NEW.needs_approval)
                IS DISTINCT FROM (OLD.question_id, OLD.amount_minor, OLD.currency, OLD.requested_by_id, OLD.needs_approval)
                OR OLD.approved_by_id IS NOT NULL AND NEW.approved_by_id IS DISTINCT FROM OLD.approved_by_id THEN
            RAISE EXCEPTION 'refund at the provider: what it is, who asked for it and who approved it are fixed'
                USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_stray_refund_fixed';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER payments_stray_refund_fixed BEFORE INSERT OR UPDATE ON payments_strayrefund
        FOR EACH ROW EXECUTE FUNCTION payments_stray_refund_fixed();
    """,
    "DROP TRIGGER payments_stray_refund_fixed ON payments_strayrefund; DROP FUNCTION payments_stray_refund_fixed();",
)


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0022_taken_back"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="dispute",
            name="acceptance_approved_at",
            field=models.DateTimeField(blank=True, null=True, verbose_name="acceptance approved"),
        ),
        migrations.AddField(
            model_name="dispute",
            name="acceptance_approved_by",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
                verbose_name="acceptance approved by",
            ),
        ),
        migrations.AddField(
            model_name="dispute",
            name="acceptance_needs_approval",
            field=models.BooleanField(default=False, verbose_name="giving in needs a second person"),
        ),
        migrations.AddField(
            model_name="strayrefund",
            name="approved_at",
            field=models.DateTimeField(blank=True, null=True, verbose_name="approved"),
        ),
        migrations.AddField(
            model_name="strayrefund",
            name="approved_by",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
                verbose_name="approved by",
            ),
        ),
        migrations.AddField(
            model_name="strayrefund",
            name="needs_approval",
            field=models.BooleanField(default=False, verbose_name="needs a second person"),
        ),
        migrations.AlterField(
            model_name="strayrefund",
            name="question",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="stray_refunds",
                to="payments.break",
                verbose_name="break",
            ),
        ),
        migrations.AddConstraint(
            model_name="dispute",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("acceptance_approved_at__isnull", True), ("acceptance_approved_by__isnull", True)
                    ),
                    models.Q(
                        ("acceptance_approved_at__isnull", False),
                        ("acceptance_approved_by__isnull", False),
                        ("acceptance_needs_approval", True),
                        ("accepted_by__isnull", False),
                        models.Q(("acceptance_approved_by", models.F("accepted_by")), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="dispute_acceptance_approver_is_another",
            ),
        ),
        migrations.AddConstraint(
            model_name="strayrefund",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status__in", ["failed", "cancelled"]), _negated=True),
                fields=("question",),
                name="stray_refund_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="strayrefund",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("needs_approval", False),
                    ("approved_by__isnull", False),
                    ("status__in", ["requested", "cancelled"]),
                    _connector="OR",
                ),
                name="stray_refund_waits_for_approval",
            ),
        ),
        migrations.AddConstraint(
            model_name="strayrefund",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("approved_at__isnull", True), ("approved_by__isnull", True)),
                    models.Q(
                        ("approved_at__isnull", False),
                        ("approved_by__isnull", False),
                        ("needs_approval", True),
                    ),
                    _connector="OR",
                ),
                name="stray_refund_approval_says_when",
            ),
        ),
        migrations.AddConstraint(
            model_name="strayrefund",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("approved_by__isnull", True),
                    models.Q(("approved_by", models.F("requested_by")), _negated=True),
                    _connector="OR",
                ),
                name="stray_refund_approver_is_another",
            ),
        ),
        STRAY_IS_FIXED,
    ]
