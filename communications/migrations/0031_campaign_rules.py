"""What PostgreSQL holds about campaigns and alerts: legal steps, and that what is under way cannot be changed."""

from django.db import migrations

from foundation.transitions import append_only_trigger, transition_trigger

CAMPAIGN = {
    "draft": {"scheduled"},
    "scheduled": {"draft", "preparing", "stopped"},
    "preparing": {"sending", "paused", "stopped"},
    "sending": {"paused", "stopped", "finished"},
    "paused": {"preparing", "sending", "stopped"},
    "stopped": set(),
    "finished": set(),
}
ALERT = {"sending": {"finished"}, "finished": {"sending"}}

FIXED = """
CREATE FUNCTION communications_campaign_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status <> 'draft' AND (NEW.by_email, NEW.by_sms, NEW.audience, NEW.promo_code, NEW.start_at, NEW.timezone)
            IS DISTINCT FROM (OLD.by_email, OLD.by_sms, OLD.audience, OLD.promo_code, OLD.start_at, OLD.timezone) THEN
        RAISE EXCEPTION 'a campaign that is scheduled keeps its audience, channels, code and time'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'campaign_is_fixed';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER communications_campaign_fixed BEFORE UPDATE ON communications_campaign
    FOR EACH ROW EXECUTE FUNCTION communications_campaign_fixed();

CREATE FUNCTION communications_alert_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR to_jsonb(NEW) - ARRAY['status', 'rounds', 'finished_at', 'created_by_id']
            IS DISTINCT FROM to_jsonb(OLD) - ARRAY['status', 'rounds', 'finished_at', 'created_by_id'] THEN
        RAISE EXCEPTION 'an alert stays as it was confirmed' USING ERRCODE = 'check_violation', CONSTRAINT = 'alert_is_fixed';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER communications_alert_fixed BEFORE UPDATE OR DELETE ON communications_emergencyalert
    FOR EACH ROW EXECUTE FUNCTION communications_alert_fixed();

-- The words of a campaign end with its draft; those of an alert are written with it, once.
CREATE FUNCTION communications_own_words_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    sender bigint := split_part(NEW.owner, ':', 2)::bigint;
BEGIN
    IF split_part(NEW.owner, ':', 1) = 'campaign' THEN
        IF NOT EXISTS (SELECT 1 FROM communications_campaign WHERE id = sender AND status = 'draft') THEN
            RAISE EXCEPTION 'the words of % are fixed', NEW.owner USING ERRCODE = 'check_violation', CONSTRAINT = 'own_words_are_fixed';
        END IF;
    ELSIF split_part(NEW.owner, ':', 1) <> 'alert' OR NEW.number <> 1
            OR NOT EXISTS (SELECT 1 FROM communications_emergencyalert WHERE id = sender)
            OR EXISTS (SELECT 1 FROM communications_recipient WHERE alert_id = sender) THEN
        RAISE EXCEPTION 'the words of % are fixed', NEW.owner USING ERRCODE = 'check_violation', CONSTRAINT = 'own_words_are_fixed';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER communications_own_words_fixed BEFORE INSERT ON communications_ownwords
    FOR EACH ROW EXECUTE FUNCTION communications_own_words_fixed();
"""


class Migration(migrations.Migration):
    dependencies = [("communications", "0030_campaigns")]
    operations = [
        transition_trigger("communications_campaign", CAMPAIGN, initial={"draft"}),
        transition_trigger("communications_emergencyalert", ALERT, initial={"sending"}),
        migrations.RunSQL(
            FIXED,
            "DROP TRIGGER communications_own_words_fixed ON communications_ownwords; DROP FUNCTION communications_own_words_fixed();"
            "DROP TRIGGER communications_alert_fixed ON communications_emergencyalert; DROP FUNCTION communications_alert_fixed();"
            "DROP TRIGGER communications_campaign_fixed ON communications_campaign; DROP FUNCTION communications_campaign_fixed();",
        ),
        append_only_trigger("communications_ownwords"),
    ]
