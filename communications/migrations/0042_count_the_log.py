"""Count what is there, while messages come and go: the triggers of the migration before note what happens meanwhile."""

from django.db import connection, migrations, transaction


def count(apps, schema_editor):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("LOCK TABLE communications_messagecount IN SHARE ROW EXCLUSIVE MODE")
        cursor.execute("SELECT communications_recount()")


class Migration(migrations.Migration):
    atomic = False  # the triggers must be committed before the count begins
    dependencies = [("communications", "0041_message_counts")]
    operations = [migrations.RunPython(count, migrations.RunPython.noop)]
