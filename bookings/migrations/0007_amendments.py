"""Changes of bookings, and what we hold of a customer's money instead of what went back."""

import django.db.models.deletion
import django.db.models.expressions
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("bookings", "0006_operator_vat"),
        # Its triggers write the column that goes here; payments fills the new one.
        ("payments", "0012_lost_disputes_count"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RemoveField(
            model_name="booking",
            name="refunded_minor",
        ),
        migrations.AddField(
            model_name="booking",
            name="kept_minor",
            field=models.PositiveIntegerField(
                db_default=0, default=0, editable=False, verbose_name="held of the customer's money"
            ),
        ),
        migrations.AlterField(
            model_name="bookingevent",
            name="kind",
            field=models.CharField(
                choices=[
                    ("held", "Space held"),
                    ("confirmed", "Booking confirmed"),
                    ("expired", "Hold expired"),
                    ("cancelled", "Booking cancelled"),
                    ("arrived", "Car arrived"),
                    ("completed", "Car collected"),
                    ("no_show", "Car did not arrive"),
                    ("amendment_held", "Change waits for payment"),
                    ("amended", "Booking changed"),
                    ("amendment_expired", "Change not paid in time"),
                    ("amendment_cancelled", "Change withdrawn"),
                    ("details_changed", "Details changed"),
                    ("note", "Note"),
                ],
                max_length=32,
                verbose_name="what",
            ),
        ),
        migrations.AlterField(
            model_name="occupancy",
            name="booking",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="occupancies", to="bookings.booking"
            ),
        ),
        migrations.CreateModel(
            name="Amendment",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("held", "Waiting for payment"),
                            ("applied", "Made"),
                            ("expired", "Not paid in time"),
                            ("cancelled", "Withdrawn"),
                        ],
                        max_length=12,
                        verbose_name="status",
                    ),
                ),
                ("old_start_at", models.DateTimeField(verbose_name="drop-off before")),
                ("old_end_at", models.DateTimeField(verbose_name="return before")),
                ("new_start_at", models.DateTimeField(verbose_name="new drop-off")),
                ("new_end_at", models.DateTimeField(verbose_name="new return")),
                ("lines", models.JSONField(default=list, verbose_name="how the difference is made up")),
                ("old_total_minor", models.PositiveIntegerField(verbose_name="total before")),
                ("new_total_minor", models.PositiveIntegerField(verbose_name="new total")),
                ("difference_minor", models.IntegerField(verbose_name="difference")),
                ("refund_minor", models.PositiveIntegerField(default=0, verbose_name="refund")),
                (
                    "refund_percent",
                    models.PositiveSmallIntegerField(
                        default=100, verbose_name="refundable part of what was paid"
                    ),
                ),
                ("currency", models.CharField(max_length=3, verbose_name="currency")),
                ("hold_expires_at", models.DateTimeField(blank=True, null=True, verbose_name="held until")),
                ("reason", models.TextField(blank=True, verbose_name="reason")),
                ("created_at", models.DateTimeField(verbose_name="requested")),
                ("applied_at", models.DateTimeField(blank=True, null=True, verbose_name="made")),
                (
                    "closed_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="lapsed or withdrawn"),
                ),
                (
                    "booking",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="amendments",
                        to="bookings.booking",
                        verbose_name="booking",
                    ),
                ),
                (
                    "requested_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="requested by",
                    ),
                ),
            ],
            options={
                "verbose_name": "change of a booking",
                "verbose_name_plural": "changes of bookings",
                "ordering": ["-created_at", "-pk"],
            },
        ),
        migrations.AddField(
            model_name="occupancy",
            name="amendment",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="occupancies",
                to="bookings.amendment",
            ),
        ),
        migrations.AddConstraint(
            model_name="occupancy",
            constraint=models.UniqueConstraint(
                condition=models.Q(("amendment__isnull", True)),
                fields=("booking",),
                name="occupancy_one_per_stay",
            ),
        ),
        migrations.AddIndex(
            model_name="amendment",
            index=models.Index(
                condition=models.Q(("status", "held")),
                fields=["hold_expires_at"],
                name="amendment_held_by_expiry",
            ),
        ),
        migrations.AddConstraint(
            model_name="amendment",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status", "held")),
                fields=("booking",),
                name="amendment_one_held_per_booking",
            ),
        ),
        migrations.AddConstraint(
            model_name="amendment",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["held", "applied", "expired", "cancelled"])),
                name="amendment_status_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="amendment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("new_end_at__gt", models.F("new_start_at")), ("old_end_at__gt", models.F("old_start_at"))
                ),
                name="amendment_ends_after_start",
            ),
        ),
        migrations.AddConstraint(
            model_name="amendment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("difference_minor__gte", 0),
                        (
                            "new_total_minor",
                            django.db.models.expressions.CombinedExpression(
                                models.F("old_total_minor"), "+", models.F("difference_minor")
                            ),
                        ),
                        ("refund_minor", 0),
                    ),
                    models.Q(
                        ("difference_minor__lt", 0),
                        (
                            "new_total_minor",
                            django.db.models.expressions.CombinedExpression(
                                models.F("old_total_minor"), "-", models.F("refund_minor")
                            ),
                        ),
                        (
                            "refund_minor__lte",
                            django.db.models.expressions.CombinedExpression(
                                models.F("difference_minor"), "*", models.Value(-1)
                            ),
                        ),
                    ),
                    _connector="OR",
                ),
                name="amendment_adds_up",
            ),
        ),
        migrations.AddConstraint(
            model_name="amendment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("new_total_minor__gte", 0),
                    ("new_total_minor__lte", 99999999),
                    ("old_total_minor__lte", 99999999),
                ),
                name="amendment_totals_in_range",
            ),
        ),
        migrations.AddConstraint(
            model_name="amendment",
            constraint=models.CheckConstraint(
                condition=models.Q(("refund_percent__lte", 100)), name="amendment_refund_percent_in_range"
            ),
        ),
        migrations.AddConstraint(
            model_name="amendment",
            constraint=models.CheckConstraint(
                condition=models.Q(("currency__regex", "^[A-Z]{3}$")), name="amendment_currency_code"
            ),
        ),
        migrations.AddConstraint(
            model_name="amendment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("difference_minor__gt", 0), ("hold_expires_at__isnull", False)),
                    models.Q(
                        ("difference_minor__lte", 0), ("hold_expires_at__isnull", True), ("status", "applied")
                    ),
                    _connector="OR",
                ),
                name="amendment_held_for_money_only",
            ),
        ),
        migrations.AddConstraint(
            model_name="amendment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("applied_at__isnull", False), ("status", "applied")),
                    models.Q(models.Q(("status", "applied"), _negated=True), ("applied_at__isnull", True)),
                    _connector="OR",
                ),
                name="amendment_applied_when",
            ),
        ),
        migrations.AddConstraint(
            model_name="amendment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("status__in", ["expired", "cancelled"]), _negated=True),
                    ("closed_at__isnull", False),
                    _connector="OR",
                ),
                name="amendment_closed_when",
            ),
        ),
    ]
