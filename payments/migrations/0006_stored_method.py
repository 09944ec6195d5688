"""Saved payment methods: provider tokens, what names them to a person, and the rules that hold whoever writes."""

import uuid

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from foundation.transitions import transition_trigger
from payments.models.stored_method import STORED_METHOD_TRANSITIONS

# A token that moved to another person would let that person pay with somebody else's card.
METHOD_IS_FIXED = migrations.RunSQL(
    """
    CREATE FUNCTION payments_storedmethod_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF (NEW.user_id, NEW.provider, NEW.provider_ref) IS DISTINCT FROM (OLD.user_id, OLD.provider, OLD.provider_ref) THEN
            RAISE EXCEPTION 'stored method: owner and token are fixed at birth'
                USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_storedmethod_fixed';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER payments_storedmethod_fixed BEFORE UPDATE ON payments_storedmethod
        FOR EACH ROW EXECUTE FUNCTION payments_storedmethod_fixed();
    """,
    "DROP TRIGGER payments_storedmethod_fixed ON payments_storedmethod; DROP FUNCTION payments_storedmethod_fixed();",
)


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0005_refund_words"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="payment",
            name="is_off_session",
            field=models.BooleanField(default=False, verbose_name="charged in the customer's absence"),
        ),
        migrations.AddField(
            model_name="payment",
            name="saves_method",
            field=models.BooleanField(default=False, verbose_name="saves the method"),
        ),
        migrations.CreateModel(
            name="StoredMethod",
            fields=[
                (
                    "id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                ("provider", models.CharField(max_length=16, verbose_name="provider")),
                ("provider_ref", models.CharField(max_length=255, verbose_name="provider reference")),
                (
                    "status",
                    models.CharField(
                        choices=[("active", "active"), ("removing", "being removed"), ("removed", "removed")],
                        default="active",
                        max_length=16,
                        verbose_name="status",
                    ),
                ),
                ("brand", models.CharField(blank=True, max_length=32, verbose_name="brand")),
                ("last4", models.CharField(blank=True, max_length=4, verbose_name="last four digits")),
                (
                    "exp_month",
                    models.PositiveSmallIntegerField(blank=True, null=True, verbose_name="expiry month"),
                ),
                (
                    "exp_year",
                    models.PositiveSmallIntegerField(blank=True, null=True, verbose_name="expiry year"),
                ),
                ("label", models.CharField(max_length=64, verbose_name="shown as")),
                ("is_default", models.BooleanField(default=False, verbose_name="default")),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="saved")),
                ("removed_at", models.DateTimeField(blank=True, null=True, verbose_name="removed at")),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="stored_methods",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="customer",
                    ),
                ),
            ],
            options={
                "verbose_name": "saved payment method",
                "verbose_name_plural": "saved payment methods",
                "ordering": ["-created_at"],
            },
        ),
        migrations.AddField(
            model_name="payment",
            name="stored_method",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="payments",
                to="payments.storedmethod",
                verbose_name="saved method",
            ),
        ),
        migrations.AddIndex(
            model_name="storedmethod",
            index=models.Index(
                condition=models.Q(("status", "removing")),
                fields=["removed_at"],
                name="stored_method_being_removed",
            ),
        ),
        migrations.AddConstraint(
            model_name="storedmethod",
            constraint=models.UniqueConstraint(
                fields=("provider", "provider_ref"), name="stored_method_ref_unique"
            ),
        ),
        migrations.AddConstraint(
            model_name="storedmethod",
            constraint=models.UniqueConstraint(
                condition=models.Q(("is_default", True)),
                fields=("user",),
                name="stored_method_one_default_per_user",
            ),
        ),
        migrations.AddConstraint(
            model_name="storedmethod",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("removed_at__isnull", True), ("status", "active")),
                    models.Q(
                        models.Q(("status", "active"), _negated=True),
                        ("is_default", False),
                        ("removed_at__isnull", False),
                    ),
                    _connector="OR",
                ),
                name="stored_method_removed_says_when",
            ),
        ),
        migrations.AddConstraint(
            model_name="storedmethod",
            constraint=models.CheckConstraint(
                condition=models.Q(("last4", ""), ("last4__regex", "^[0-9]{4}$"), _connector="OR"),
                name="stored_method_last4_is_four_digits",
            ),
        ),
        migrations.AddConstraint(
            model_name="storedmethod",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("exp_month__isnull", True), ("exp_year__isnull", True)),
                    models.Q(
                        ("exp_month__gte", 1),
                        ("exp_month__lte", 12),
                        ("exp_year__gte", 2000),
                        ("exp_year__lte", 2999),
                    ),
                    _connector="OR",
                ),
                name="stored_method_expiry_is_a_month",
            ),
        ),
        migrations.AddConstraint(
            model_name="storedmethod",
            constraint=models.CheckConstraint(
                condition=models.Q(("label__regex", "([0-9][ -]?){12}"), _negated=True),
                name="stored_method_label_is_no_card_number",
            ),
        ),
        transition_trigger("payments_storedmethod", STORED_METHOD_TRANSITIONS, initial={"active"}),
        METHOD_IS_FIXED,
    ]
