from django.db import migrations

from communications.models import MESSAGE_TRANSITIONS
from foundation.transitions import transition_trigger


class Migration(migrations.Migration):
    dependencies = [("communications", "0001_initial")]
    operations = [
        transition_trigger("communications_message", MESSAGE_TRANSITIONS, initial={"queued"}),
    ]
