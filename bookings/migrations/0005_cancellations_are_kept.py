"""A cancellation is the promise of a refund: it is never changed or deleted."""

from django.db import migrations

from foundation.transitions import append_only_trigger


class Migration(migrations.Migration):
    dependencies = [("bookings", "0004_one_hold_per_quote_and_car")]
    operations = [append_only_trigger("bookings_cancellation")]
