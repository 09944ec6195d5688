"""A purse for offers, when a number was last texted, and when its price was asked for."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("communications", "0042_count_the_log"),
    ]

    operations = [
        migrations.AddField(
            model_name="message",
            name="price_asked_at",
            field=models.DateTimeField(blank=True, null=True, verbose_name="price asked for"),
        ),
        migrations.AddField(
            model_name="smsspend",
            name="last_at",
            field=models.DateTimeField(blank=True, null=True, verbose_name="last"),
        ),
        migrations.AlterField(
            model_name="smsspend",
            name="share",
            field=models.CharField(
                choices=[
                    ("bookings", "bookings and payments"),
                    ("offers", "offers"),
                    ("other", "staff's own texts"),
                    ("emergency", "emergencies"),
                ],
                max_length=10,
                verbose_name="purse",
            ),
        ),
        migrations.AddIndex(
            model_name="smsspend",
            index=models.Index(
                fields=["scope", "key"], name="sms_spend_range", opclasses=["", "varchar_pattern_ops"]
            ),
        ),
    ]
