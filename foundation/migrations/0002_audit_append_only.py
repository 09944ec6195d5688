from django.db import migrations

from foundation.transitions import append_only_trigger


class Migration(migrations.Migration):
    dependencies = [("foundation", "0001_initial")]
    operations = [append_only_trigger("foundation_auditentry")]
