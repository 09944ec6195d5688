"""What customers were sent stays readable: a version of the words is never changed or deleted."""

from django.db import migrations

from foundation.transitions import append_only_trigger


class Migration(migrations.Migration):
    dependencies = [("communications", "0002_guards")]
    operations = [append_only_trigger("communications_templateversion")]
