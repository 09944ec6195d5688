from django.db import migrations

from foundation.transitions import transition_trigger

TRANSITIONS = {
    "queued": {"sending"},
    "sending": {"queued", "sent", "maybe_sent", "delivered", "bounced", "failed"},
    "maybe_sent": {"queued", "sent", "delivered", "bounced", "failed"},
    "sent": {"delivered", "bounced", "failed"},
    "delivered": {"bounced"},
    "bounced": {"queued"},
    "failed": {"queued"},
}


class Migration(migrations.Migration):
    dependencies = [("communications", "0001_initial")]
    operations = [transition_trigger("communications_message", TRANSITIONS, initial={"queued"})]
